//! The mesh's one owner: a task that takes what shards, services, links and discovery bring, lets the core decide, and
//! hands out what comes of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use realtime_discovery::Snapshot;
use realtime_mesh::{Inbound, LinkId, Member, Mesh};
use realtime_proto::generated::peer as wire;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::item::Kind;
use wire::response::Kind as Answer;

use super::calls::{Answers, Call, Calls, Recipients};
use super::inbox::{MeshInbox, ToMesh};
use super::link::{LinkEvent, Outgoing};
use super::members::Dialed;
use super::{Connect, Figures, Identity, answer};
use crate::shard::inbox::Delivery;
use crate::{Receipt, Shards};

/// How often links tell what they have received, and figures are copied for readers.
const TICK: Duration = Duration::from_millis(100);
/// How often a link carries something, be it nothing: four in the time after which a silent peer is given up.
const BEAT: Duration = Duration::from_secs(1);
/// How long a publish waits before the shards are asked again for room.
const ROOM_PAUSE: Duration = Duration::from_millis(1);
/// Publishes handed to a shard at once.
const BATCH: usize = 4096;

/// A link that is up.
#[derive(Debug)]
struct Line {
    outgoing: Outgoing,
    stop: CancellationToken,
}

/// An application with a subscriber here, by its slot.
#[derive(Debug)]
struct LocalApp {
    id: Bytes,
    topics: usize,
}

pub(super) struct Driver {
    pub(super) mesh: Mesh,
    pub(super) shards: Arc<Shards>,
    pub(super) inbox: Arc<MeshInbox>,
    pub(super) identity: Arc<Identity>,
    pub(super) connect: Connect,
    pub(super) events: mpsc::Receiver<LinkEvent>,
    pub(super) events_in: mpsc::Sender<LinkEvent>,
    pub(super) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(super) figures: watch::Sender<Figures>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) started: Instant,
    pub(super) state: State,
}

/// What the driver remembers between turns.
#[derive(Default)]
pub(super) struct State {
    lines: HashMap<LinkId, Line>,
    pub(super) dialed: HashMap<Arc<str>, Dialed>,
    /// The process of each member, as discovery named it last.
    pub(super) incarnations: HashMap<Arc<str>, Arc<str>>,
    /// Processes that others have replaced.
    pub(super) retired: VecDeque<Arc<str>>,
    apps: HashMap<u32, LocalApp>,
    calls: Calls,
    /// Who waits until the peers have everything, and know what this node has of theirs.
    settling: Vec<oneshot::Sender<()>>,
    /// Publishes that peers had sent at the last tick.
    received_before: u64,
    next_beat: Option<Instant>,
    /// Publishes of peers that found no room in a shard's inbox: nothing more is taken from links meanwhile.
    pub(super) undelivered: VecDeque<(Delivery, Option<(LinkId, u64)>)>,
    work: Vec<ToMesh>,
    pub(super) figures: Figures,
}

impl Driver {
    /// Runs until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (stop, room) = (self.stop.clone(), Arc::clone(&self.identity));
        let inbox = Arc::clone(&self.inbox);
        self.take_members();
        loop {
            let full = !self.state.undelivered.is_empty();
            tokio::select! {
                () = inbox.filled() => {}
                event = self.events.recv(), if !full => match event {
                    Some(event) => self.on_event(event),
                    None => return,
                },
                () = room.room.notified() => {}
                // Discovery that has ended changes nothing: the process is stopping.
                Ok(()) = self.snapshots.changed() => self.take_members(),
                _ = ticks.tick() => self.tick(),
                () = sleep(ROOM_PAUSE), if full => {}
                () = stop.cancelled() => return,
            }
            self.drain_events();
            self.take_work();
            self.deliver();
            self.transmit();
            self.confirm();
        }
    }

    /// Takes what more has come meanwhile: one round for all of it.
    fn drain_events(&mut self) {
        while self.state.undelivered.is_empty()
            && let Ok(event) = self.events.try_recv()
        {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up { member, outgoing, stop, answer } => {
                let link = self.link_up(member, outgoing, stop);
                // Its task is told; if it has gone meanwhile, nothing reads the link and it breaks.
                let _ = answer.send(link);
            }
            LinkEvent::Message(link, message) => self.on_message(link, message),
            LinkEvent::Down(link) => self.link_down(link),
            LinkEvent::Answer(link, response) => self.respond(link, response),
        }
    }

    fn link_up(&mut self, member: Member, outgoing: Outgoing, stop: CancellationToken) -> Option<LinkId> {
        if self.state.retired.contains(&member.incarnation) {
            tracing::warn!(peer = %member.id, "refusing a link with a process that another has replaced");
            return None;
        }
        let older = self.mesh.links().find(|(_, node)| node.id == member.id).map(|(link, _)| link);
        tracing::info!(peer = %member.id, "linked with a peer");
        let link = self.mesh.connected(member);
        // Before the peer hears that its interest is known here: from then on it goes by that.
        self.inbox.set_has_peers(true);
        if let Some(older) = older {
            self.forget(older);
        }
        self.state.lines.insert(link, Line { outgoing, stop });
        Some(link)
    }

    fn link_down(&mut self, link: LinkId) {
        self.mesh.disconnected(link);
        self.forget(link);
        // Who is no member is called no more.
        let (mesh, dialed) = (&self.mesh, &mut self.state.dialed);
        dialed.retain(|id, _| mesh.status().any(|peer| peer.id == *id));
    }

    /// The link's stream ends, and what was asked over it has no answer.
    fn forget(&mut self, link: LinkId) {
        if let Some(line) = self.state.lines.remove(&link) {
            line.stop.cancel();
        }
        self.state.calls.lose(link);
    }

    fn on_message(&mut self, link: LinkId, message: wire::LinkMessage) {
        for item in message.items {
            match self.mesh.receive(link, item) {
                Ok(None) => {}
                Ok(Some(Inbound::Publish(publish))) => self.on_publish(link, &publish),
                Ok(Some(Inbound::Request(request))) => self.on_request(link, request),
                Ok(Some(Inbound::Response(response))) => self.state.calls.answer(link, response),
                Err(violation) => {
                    tracing::error!(%violation, "a peer breaks the protocol; closing the link");
                    return self.link_down(link);
                }
            }
        }
    }

    /// A peer's publish, for this node's own subscribers.
    fn on_publish(&mut self, link: LinkId, publish: &wire::Publish) {
        self.state.figures.received += 1;
        let receipt = (publish.receipt != 0).then_some((link, publish.receipt));
        match self.shards.delivery_of(publish) {
            Some(delivery) => self.state.undelivered.push_back((delivery, receipt)),
            // An application that this node does not have, yet or any more: nobody is subscribed.
            None => {
                if let Some((link, number)) = receipt {
                    let kind = Some(Answer::Receipt(wire::Receipt::default()));
                    self.respond(link, wire::Response { number, kind });
                }
            }
        }
    }

    fn respond(&mut self, link: LinkId, response: wire::Response) {
        if !self.mesh.send(link, Kind::Response(response)) {
            tracing::debug!("an answer has no link to go by");
        }
    }

    fn on_request(&mut self, link: LinkId, request: wire::Request) {
        let (shards, done) = (Arc::clone(&self.shards), self.events_in.clone());
        let node = Arc::clone(&self.identity.id);
        self.tasks.spawn(async move {
            let response = answer::answer(shards, node, request).await;
            // A mesh that has ended answers nobody.
            let _ = done.send(LinkEvent::Answer(link, response)).await;
        });
    }

    /// Hands peers' publishes to the shards, as far as there is room.
    fn deliver(&mut self) {
        while let Some((_, receipt)) = self.state.undelivered.front() {
            let done = match *receipt {
                None => self.deliver_batch(),
                Some((link, number)) => self.deliver_with_receipt(link, number),
            };
            if !done {
                return;
            }
        }
    }

    /// The publishes up to the next one with a receipt, in one batch for each shard.
    fn deliver_batch(&mut self) -> bool {
        let undelivered = &mut self.state.undelivered;
        let count = undelivered.iter().take_while(|(_, receipt)| receipt.is_none()).take(BATCH).count();
        let batch: Vec<Delivery> =
            undelivered.iter().take(count).map(|(delivery, _)| delivery.clone()).collect();
        let taken = self.shards.try_deliver(batch);
        if taken {
            self.state.undelivered.drain(..count);
        }
        taken
    }

    fn deliver_with_receipt(&mut self, link: LinkId, number: u64) -> bool {
        let Some((delivery, _)) = self.state.undelivered.front() else { return true };
        let Some(receipts) = self.shards.try_deliver_with_receipt(delivery.clone()) else { return false };
        self.state.undelivered.pop_front();
        let done = self.events_in.clone();
        self.tasks.spawn(async move {
            let answer = match Shards::sum_receipts(receipts).await {
                Ok(Receipt { matched, queued, dropped }) => {
                    Answer::Receipt(wire::Receipt { matched, queued, dropped })
                }
                Err(error) => Answer::Failure(error.code.name().to_owned()),
            };
            let response = wire::Response { number, kind: Some(answer) };
            let _ = done.send(LinkEvent::Answer(link, response)).await;
        });
        true
    }

    /// What shards and services have brought.
    fn take_work(&mut self) {
        let mut work = std::mem::take(&mut self.state.work);
        self.inbox.take(&mut work);
        for work in work.drain(..) {
            match work {
                ToMesh::Subscribed { shard, ticket, slot, app, topic } => {
                    let id = Bytes::copy_from_slice(app.as_str().as_bytes());
                    let app = self.state.apps.entry(slot).or_insert(LocalApp { id, topics: 0 });
                    app.topics += 1;
                    self.mesh.subscribed(shard, ticket, &app.id, topic.as_bytes());
                }
                ToMesh::Unsubscribed { slot, topic } => self.unsubscribed(slot, &topic),
                ToMesh::SessionOpened { id, session } => self.mesh.session_opened(id, session),
                ToMesh::SessionEnded(id) => self.mesh.session_ended(id),
                ToMesh::Publish(delivery) => self.publish(&delivery, 0, |_| {}),
                ToMesh::PublishWithReceipt(delivery, caller) => self.publish_with_receipt(&delivery, caller),
                ToMesh::Call(call, caller) => self.call(call, caller),
                ToMesh::Settle(caller) => self.state.settling.push(caller),
            }
        }
        self.state.work = work;
    }

    fn unsubscribed(&mut self, slot: u32, topic: &str) {
        let Some(app) = self.state.apps.get_mut(&slot) else { return };
        self.mesh.unsubscribed(&app.id, topic.as_bytes());
        app.topics -= 1;
        if app.topics == 0 {
            self.state.apps.remove(&slot);
        }
    }

    /// The publish as peers get it; `None`: its application has gone meanwhile.
    fn outbound(&mut self, delivery: &Delivery, receipt: u64) -> Option<wire::Publish> {
        let app_id = match self.state.apps.get(&delivery.slot) {
            Some(app) => app.id.clone(),
            None => Bytes::from(self.shards.app_id(delivery.slot)?.as_str().to_owned()),
        };
        Some(wire::Publish {
            app_id,
            topic: Bytes::copy_from_slice(delivery.topic.as_bytes()),
            json: delivery.frame.json(),
            compress: delivery.frame.has_deflated_variant(),
            receipt,
        })
    }

    /// Queues a publish for the peers that want it; `queued` is told their links.
    pub(super) fn publish(&mut self, delivery: &Delivery, receipt: u64, mut queued: impl FnMut(LinkId)) {
        if let Some(publish) = self.outbound(delivery, receipt) {
            let Figures { published, replicated, .. } = &mut self.state.figures;
            *published += 1;
            self.mesh.publish(&publish, |link| {
                *replicated += 1;
                queued(link);
            });
        }
    }

    fn publish_with_receipt(&mut self, delivery: &Delivery, caller: oneshot::Sender<Answers>) {
        let number = self.state.calls.number();
        let mut links = Vec::new();
        self.publish(delivery, number, |link| links.push(link));
        let open = self.mesh.links().filter(|(link, _)| links.contains(link));
        let open = open.map(|(link, node)| (link, Arc::clone(&node.id))).collect();
        // Members that could not be asked may have subscribers.
        let missing = self.mesh.unreachable().map(|node| Arc::clone(&node.id)).collect();
        self.state.calls.start(number, open, missing, caller);
    }

    fn call(&mut self, Call { to, mut request }: Call, caller: oneshot::Sender<Answers>) {
        let number = self.state.calls.number();
        request.number = number;
        let wanted = |node: &Member| match to {
            Recipients::All => true,
            Recipients::Owner(prefix) => node.prefix == prefix,
        };
        let links = self.mesh.links().filter(|(_, node)| wanted(node));
        let links: Vec<(LinkId, Arc<str>)> = links.map(|(link, node)| (link, Arc::clone(&node.id))).collect();
        let missing = self.mesh.unreachable().filter(|node| wanted(node));
        let mut missing: Vec<Arc<str>> = missing.map(|node| Arc::clone(&node.id)).collect();
        let mut open = Vec::new();
        for (link, node) in links {
            if self.mesh.send(link, Kind::Request(request.clone())) {
                open.push((link, node));
            } else {
                missing.push(node);
            }
        }
        self.state.calls.start(number, open, missing, caller);
    }

    /// Fills the links' queues.
    fn transmit(&mut self) {
        for (link, line) in &self.state.lines {
            while let Some(room) = line.outgoing.room() {
                let Some(message) = self.mesh.transmit(*link) else { break };
                self.state.figures.messages += 1;
                room.send(message);
            }
        }
    }

    /// Lets welcomes go that waited for peers.
    fn confirm(&mut self) {
        for confirmation in self.mesh.confirmations() {
            self.shards.confirm(confirmation.origin, confirmation.ticket);
        }
    }

    /// Lets every peer hear that this node is there. A link whose queue is full has something to carry.
    fn beat(&mut self) {
        let now = Instant::now();
        if self.state.next_beat.is_some_and(|at| now < at) {
            return;
        }
        self.state.next_beat = Some(now + BEAT);
        let rooms = self.state.lines.values().filter_map(|line| line.outgoing.room());
        rooms.for_each(|room| room.send(wire::LinkMessage::default()));
    }

    fn tick(&mut self) {
        self.mesh.report_received();
        self.state.calls.sweep();
        self.beat();
        self.mesh.settle_departures(self.started.elapsed().as_millis() as u64);
        self.announce_departed();
        // With nothing new since the last tick, its report named everything and is long sent: a peer whose link ends now
        // counts nothing as lost.
        let received = self.state.figures.received;
        let quiet = std::mem::replace(&mut self.state.received_before, received) == received;
        if quiet && self.mesh.pending() + self.mesh.presence_pending() == 0 {
            for caller in self.state.settling.drain(..) {
                // Who has given up waiting needs no answer.
                let _ = caller.send(());
            }
        }
        let status: Vec<_> = self.mesh.status().collect();
        self.inbox.set_has_peers(!status.is_empty());
        let (losses, mirror) = (self.mesh.losses(), self.mesh.mirror_figures());
        let figures = Figures {
            settled: self.snapshots.borrow().is_some(),
            losses,
            mirror,
            linked: status.iter().filter(|peer| peer.linked).count() as u64,
            unlinked: status.iter().filter(|peer| peer.member && !peer.linked).count() as u64,
            queued_bytes: status.iter().map(|peer| peer.queued_bytes as u64).sum(),
            topics: self.mesh.local_topics() as u64,
            ..self.state.figures
        };
        self.figures.send_if_modified(|last| std::mem::replace(last, figures) != figures);
    }
}
