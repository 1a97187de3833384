//! Who announces the sessions of a dead node, in clusters that are made and broken step by step.

use std::collections::HashMap;
use std::sync::Arc;

use realtime_mesh::{InterestKey, LinkId, Member, Mesh, MeshLimits, OwnSession};
use realtime_proto::{AppId, ConnectionId, NodePrefix};

/// Nodes by number, all linked but where a link was cut.
struct Cluster {
    nodes: Vec<Mesh>,
    links: HashMap<(usize, usize), LinkId>,
    now_ms: u64,
}

fn member(node: usize) -> Member {
    let prefix = NodePrefix((node as u32).to_be_bytes());
    Member { id: format!("node-{node}").into(), incarnation: format!("life-{node}").into(), prefix }
}

fn connection(number: u8) -> ConnectionId {
    ConnectionId([number; 16])
}

fn session() -> OwnSession {
    let app = AppId::parse("app").expect("an id");
    OwnSession { app, subject: "ann".into(), permissions: Arc::default() }
}

impl Cluster {
    fn new(count: usize, limits: MeshLimits) -> Self {
        let key = InterestKey::new([5; 16]);
        let nodes = (0..count).map(|node| Mesh::new(member(node).prefix, key, limits)).collect();
        let mut cluster = Self { nodes, links: HashMap::new(), now_ms: 0 };
        cluster.list(&(0..count).collect::<Vec<_>>());
        for a in 0..count {
            (a + 1..count).for_each(|b| cluster.link(a, b));
        }
        cluster
    }

    /// Discovery names these.
    fn list(&mut self, members: &[usize]) {
        for (own, node) in self.nodes.iter_mut().enumerate() {
            node.set_members(members.iter().filter(|other| **other != own).map(|other| member(*other)));
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let link = self.nodes[from].connected(member(to));
            self.links.insert((from, to), link);
        }
    }

    fn link(&mut self, a: usize, b: usize) {
        self.connect(a, b);
        self.exchange();
    }

    /// The link is broken for both, `first` notices first.
    fn cut(&mut self, first: usize, second: usize) {
        for (from, to) in [(first, second), (second, first)] {
            if let Some(link) = self.links.remove(&(from, to)) {
                self.nodes[from].disconnected(link);
            }
        }
        self.exchange();
    }

    fn cut_all(&mut self, node: usize) {
        (0..self.nodes.len()).for_each(|other| {
            if let Some(link) = self.links.remove(&(other, node)) {
                self.nodes[other].disconnected(link);
            }
            self.links.remove(&(node, other));
        });
    }

    /// Until nobody has anything to say.
    fn exchange(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            let links: Vec<_> = self.links.iter().map(|(ends, link)| (*ends, *link)).collect();
            for ((from, to), link) in links {
                let Some(message) = self.nodes[from].transmit(link) else { continue };
                busy = true;
                let back = self.links[&(to, from)];
                for item in message.items {
                    self.nodes[to].receive(back, item).expect("the protocol is kept");
                }
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms += 100;
            let now_ms = self.now_ms;
            self.nodes.iter_mut().for_each(|node| node.settle_departures(now_ms));
            self.exchange();
        }
    }

    /// The node that mirrors another.
    fn guardian_of(&self, node: usize) -> usize {
        let guardian = self.nodes[node].guardian().expect("a guardian");
        let link = self.links.iter().find(|((from, _), link)| *from == node && **link == guardian);
        link.expect("a link").0.1
    }

    /// What each node has announced.
    fn announced(&mut self) -> Vec<Vec<ConnectionId>> {
        let take = |node: &mut Mesh| {
            let mut ids: Vec<_> =
                std::iter::from_fn(|| node.next_departed()).map(|departed| departed.id).collect();
            ids.sort();
            ids
        };
        self.nodes.iter_mut().map(take).collect()
    }
}

/// With two sessions on node 0, and its guardian.
fn cluster(count: usize) -> (Cluster, usize) {
    let mut cluster = Cluster::new(count, MeshLimits::default());
    (1..3).for_each(|number| cluster.nodes[0].session_opened(connection(number), session()));
    cluster.exchange();
    let guardian = cluster.guardian_of(0);
    (cluster, guardian)
}

#[test]
fn the_guardian_alone_announces_the_sessions_that_were_open_and_only_once_discovery_has_dropped_the_node() {
    let (mut cluster, guardian) = cluster(4);
    cluster.nodes[0].session_ended(connection(1));
    cluster.nodes[0].session_opened(connection(7), session());
    cluster.exchange();
    cluster.cut_all(0);
    cluster.pass(20_000);
    assert!(cluster.announced().iter().all(Vec::is_empty), "it may be only this node that cannot reach it");
    cluster.list(&[1, 2, 3]);
    cluster.pass(2000);
    let announced = cluster.announced();
    assert_eq!(announced[guardian], [connection(2), connection(7)]);
    assert_eq!(announced.iter().flatten().count(), 2);
    assert_eq!(cluster.nodes[guardian].mirror_figures().guarded, 0);
}

#[test]
fn a_node_with_a_link_is_not_dead_whatever_discovery_says_and_one_that_comes_back_in_time_neither() {
    let (mut cluster, guardian) = cluster(3);
    cluster.list(&[1, 2]);
    cluster.pass(20_000);
    cluster.cut(0, guardian);
    cluster.pass(500);
    cluster.link(0, guardian);
    cluster.pass(20_000);
    cluster.list(&[0, 1, 2]);
    cluster.pass(20_000);
    assert!(cluster.announced().iter().all(Vec::is_empty));
}

#[test]
fn a_newer_guardian_supersedes_an_older_one_that_it_has_a_link_to() {
    let (mut cluster, older) = cluster(3);
    cluster.cut(0, older);
    let newer = cluster.guardian_of(0);
    assert_ne!(newer, older);
    assert_eq!(cluster.nodes[older].mirror_figures().guarded, 0);
    cluster.cut_all(0);
    cluster.list(&[1, 2]);
    cluster.pass(2000);
    let announced = cluster.announced();
    assert_eq!((announced[older].len(), announced[newer].len()), (0, 2));
}

#[test]
fn guardians_that_could_not_hear_each_other_settle_when_they_are_linked_again() {
    let (mut cluster, older) = cluster(3);
    let newer = 3 - older;
    cluster.cut(older, newer);
    cluster.cut(0, older);
    cluster.cut_all(0);
    assert_eq!(cluster.nodes[older].mirror_figures().guarded, 2);
    cluster.link(older, newer);
    assert_eq!(cluster.nodes[older].mirror_figures().guarded, 0);
}

#[test]
fn who_has_heard_of_a_newer_mirror_contradicts_a_claim_of_an_older_one() {
    let (mut cluster, older) = cluster(4);
    // Until the claim, the older guardian has no link to anybody.
    (0..4).filter(|node| *node != older).for_each(|node| cluster.cut(node, older));
    let newer = cluster.guardian_of(0);
    let witness = 6 - older - newer;
    cluster.cut_all(0);
    cluster.list(&[1, 2, 3]);
    cluster.link(older, witness);
    cluster.pass(2000);
    let announced = cluster.announced();
    assert_eq!((announced[older].len(), announced[newer].len()), (0, 2));
}

#[test]
fn a_claim_is_made_again_before_it_is_acted_upon() {
    // Guardians are chosen the same way every time.
    let (mut trial, older) = cluster(4);
    trial.cut(0, older);
    let newer = trial.guardian_of(0);
    let (mut cluster, _) = cluster(4);
    // The witness is linked with both throughout, and what it hears from one it does not pass on unasked.
    cluster.cut(older, newer);
    cluster.cut(0, older);
    assert_eq!(cluster.guardian_of(0), newer);
    assert_eq!(cluster.nodes[older].mirror_figures().guarded, 2);
    cluster.cut_all(0);
    cluster.list(&[1, 2, 3]);
    cluster.pass(2000);
    let announced = cluster.announced();
    assert_eq!((announced[older].len(), announced[newer].len()), (0, 2));
}

#[test]
fn a_mirror_counts_once_it_is_complete() {
    let limits = MeshLimits { mirror_bytes: 1, ..MeshLimits::default() };
    let mut cluster = Cluster::new(2, limits);
    cluster.cut(0, 1);
    (1..4).for_each(|number| cluster.nodes[0].session_opened(connection(number), session()));
    cluster.connect(0, 1);
    let message = cluster.nodes[0].transmit(cluster.links[&(0, 1)]).expect("the first session");
    for item in message.items {
        cluster.nodes[1].receive(cluster.links[&(1, 0)], item).expect("the protocol is kept");
    }
    assert_eq!(cluster.nodes[1].mirror_figures().guarded, 1);
    assert_eq!(cluster.nodes[0].guardian(), None);
    cluster.cut(0, 1);
    assert_eq!(cluster.nodes[1].mirror_figures().guarded, 0);
    cluster.link(0, 1);
    assert_eq!((cluster.guardian_of(0), cluster.nodes[1].mirror_figures().guarded), (1, 3));
}

#[test]
fn a_restarted_node_leaves_the_sessions_of_its_last_life_to_the_guardian() {
    let (mut cluster, guardian) = cluster(3);
    cluster.cut_all(0);
    let restarted = Member { incarnation: "life-9".into(), prefix: NodePrefix([9; 4]), ..member(0) };
    for node in [1, 2] {
        cluster.nodes[node].set_members([restarted.clone(), member(3 - node)]);
        cluster.nodes[node].connected(restarted.clone());
    }
    cluster.pass(2000);
    assert_eq!(cluster.announced()[guardian].len(), 2);
}

#[test]
fn a_process_that_discovery_never_named_is_none_that_it_has_dropped() {
    let mut cluster = Cluster::new(2, MeshLimits::default());
    cluster.cut(0, 1);
    cluster.list(&[]);
    cluster.link(0, 1);
    cluster.nodes[0].session_opened(connection(1), session());
    cluster.exchange();
    cluster.cut(0, 1);
    cluster.pass(50_000);
    assert_eq!(cluster.nodes[1].mirror_figures().guarded, 1);
    cluster.pass(20_000);
    assert_eq!(cluster.nodes[1].mirror_figures().guarded, 0);
    assert!(cluster.announced().iter().all(Vec::is_empty));
}

#[test]
fn a_node_that_ends_its_sessions_leaves_nothing_to_announce() {
    let (mut cluster, guardian) = cluster(3);
    (1..3).for_each(|number| cluster.nodes[0].session_ended(connection(number)));
    assert_ne!(cluster.nodes[0].presence_pending(), 0, "a node that stops waits");
    cluster.exchange();
    assert_eq!(cluster.nodes[0].presence_pending(), 0);
    assert_eq!(cluster.nodes[guardian].mirror_figures().guarded, 0);
    cluster.cut_all(0);
    cluster.list(&[1, 2]);
    cluster.pass(2000);
    assert!(cluster.announced().iter().all(Vec::is_empty));
}

#[test]
fn a_full_mirror_takes_no_further_session_until_one_has_ended() {
    let mut cluster = Cluster::new(2, MeshLimits { session_bytes: 300, ..MeshLimits::default() });
    (1..4).for_each(|number| cluster.nodes[0].session_opened(connection(number), session()));
    cluster.exchange();
    let figures = cluster.nodes[0].mirror_figures();
    assert_eq!((figures.mirrored, figures.unmirrored), (2, 1));
    cluster.nodes[0].session_ended(connection(3));
    cluster.nodes[0].session_ended(connection(1));
    cluster.nodes[0].session_opened(connection(4), session());
    cluster.exchange();
    assert_eq!(cluster.nodes[0].mirror_figures().mirrored, 2);
    assert_eq!(cluster.nodes[1].mirror_figures().guarded, 2);
}
