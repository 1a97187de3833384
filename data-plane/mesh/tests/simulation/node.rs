//! A node of the simulated cluster: the mesh's core, and a shard reduced to who subscribes to what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use realtime_mesh::{InterestKey, Member, Mesh, MeshLimits, OwnSession};
use realtime_proto::generated::peer::Publish;
use realtime_proto::{AppId, ConnectionId, NodePrefix};

pub(crate) const APP: &str = "app";

/// A publish's identity: the node's life that took it, and its place among that life's publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PublishId {
    pub(crate) life: u64,
    pub(crate) number: u64,
}

/// A subscriber of a topic; the shard has one at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscriber {
    ticket: u64,
    pub(crate) welcomed: bool,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) life: u64,
    pub(crate) member: Member,
    pub(crate) mesh: Mesh,
    pub(crate) subscribers: BTreeMap<String, Subscriber>,
    next_ticket: u64,
    published: u64,
    /// What has arrived here: nothing may come twice.
    arrived: BTreeSet<PublishId>,
    /// The last publish of each life and topic.
    last: BTreeMap<(u64, String), u64>,
    sessions: u64,
    /// What discovery has told so far.
    pub(crate) members: Vec<Member>,
}

impl Node {
    pub(crate) fn new(place: usize, life: u64, queue_bytes: usize) -> Self {
        let prefix = NodePrefix((life as u32).to_be_bytes());
        let member = Member {
            id: Arc::from(format!("node-{place}")),
            incarnation: Arc::from(format!("life-{life}")),
            prefix,
        };
        let limits = MeshLimits {
            queue_bytes,
            hashes: 2,
            message_bytes: 40,
            // Two sessions.
            mirror_bytes: 200,
            ..MeshLimits::default()
        };
        Self {
            life,
            member,
            mesh: Mesh::new(prefix, InterestKey::new([7; 16]), limits),
            subscribers: BTreeMap::new(),
            next_ticket: 1,
            published: 0,
            arrived: BTreeSet::new(),
            last: BTreeMap::new(),
            sessions: 0,
            members: Vec::new(),
        }
    }

    pub(crate) fn subscribe(&mut self, topic: &str) {
        if self.subscribers.contains_key(topic) {
            return;
        }
        let subscriber = Subscriber { ticket: self.next_ticket, welcomed: false };
        self.next_ticket += 1;
        self.subscribers.insert(topic.to_owned(), subscriber);
        self.mesh.subscribed(0, subscriber.ticket, APP.as_bytes(), topic.as_bytes());
        self.welcome();
    }

    pub(crate) fn unsubscribe(&mut self, topic: &str) {
        if self.subscribers.remove(topic).is_some() {
            self.mesh.unsubscribed(APP.as_bytes(), topic.as_bytes());
        }
    }

    /// A session opens.
    pub(crate) fn open(&mut self) -> ConnectionId {
        self.sessions += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.member.prefix.0);
        id[8..].copy_from_slice(&self.sessions.to_be_bytes());
        let id = ConnectionId(id);
        let app = AppId::parse(APP).expect("an id");
        let session = OwnSession { app, subject: id.to_string().into(), permissions: Arc::default() };
        self.mesh.session_opened(id, session);
        id
    }

    /// Welcomes whoever waited for what is confirmed now.
    pub(crate) fn welcome(&mut self) {
        for confirmation in self.mesh.confirmations() {
            for subscriber in self.subscribers.values_mut().filter(|s| s.ticket <= confirmation.ticket) {
                subscriber.welcomed = true;
            }
        }
    }

    pub(crate) fn is_welcomed(&self, topic: &str) -> bool {
        self.subscribers.get(topic).is_some_and(|subscriber| subscriber.welcomed)
    }

    /// A new publish of this node.
    pub(crate) fn next_publish(&mut self, topic: &str) -> (PublishId, Publish) {
        self.published += 1;
        let id = PublishId { life: self.life, number: self.published };
        let publish = Publish {
            app_id: Bytes::from_static(APP.as_bytes()),
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            json: Bytes::from(format!("{} {}", id.life, id.number)),
            compress: false,
            receipt: 0,
        };
        (id, publish)
    }

    /// Whether a publish of another node has come.
    pub(crate) fn has(&self, id: PublishId) -> bool {
        self.arrived.contains(&id)
    }

    /// A publish of another node has come.
    pub(crate) fn take(&mut self, publish: &Publish) -> PublishId {
        let text = std::str::from_utf8(&publish.json).expect("text");
        let (life, number) = text.split_once(' ').expect("an id");
        let id = PublishId { life: life.parse().expect("a life"), number: number.parse().expect("a number") };
        assert!(self.arrived.insert(id), "{id:?} came twice");
        let topic = String::from_utf8(publish.topic.to_vec()).expect("text");
        let before = self.last.insert((id.life, topic), id.number);
        assert!(before.is_none_or(|before| before < id.number), "{id:?} came after {before:?}");
        id
    }
}
