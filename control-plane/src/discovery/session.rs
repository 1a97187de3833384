//! One stream after its hello: updates and usage out, answers and reports in, the lease kept alive.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use realtime_proto::generated::{admin, discovery as wire};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tonic::{Status, Streaming};
use wire::command::Kind as CommandKind;
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

use super::Outbound;
use super::hello::Hello;
use super::position::Position;
use super::update::Audience;
use super::usage::Feed;
use crate::membership::{Candidate, MembershipError, NodeState, Registration};
use crate::registry::{Command, Place};
use crate::shared::Shared;

/// How long a receiver may take to answer an update. Compiling 10,000 applications' keys takes seconds; one
/// that has forgotten its answer would never get another update, and starts over this way.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Keep-alives per life of a lease: two may be lost.
const KEEP_ALIVES_PER_TTL: u32 = 3;

/// A registered stream.
pub(super) struct Session {
    shared: Shared,
    position: Position,
    revisions: watch::Receiver<u64>,
    /// What goes out before anything new is made: `Registered`, then usage and an update's
    /// messages, then commands.
    outbox: VecDeque<ResponseKind>,
    /// Nodes are members, gateways are not.
    node: Option<Node>,
}

struct Node {
    candidate: Candidate,
    registration: Registration,
    place: Place,
    commands: mpsc::Receiver<Command>,
    keep_alive: Interval,
    usage: Feed,
}

/// What woke the session.
enum Wake {
    /// A message has gone out.
    Sent,
    /// The receiver has gone.
    Gone,
    Request(wire::StreamRequest),
    Command(Option<Command>),
    Changed,
    KeepAlive,
    Usage,
    Overdue,
}

impl Session {
    /// Registers nodes; the answer to the hello goes out first.
    pub(super) async fn open(shared: Shared, hello: Hello) -> Result<Self, Status> {
        let mut node = match hello.audience {
            Audience::Node => Some(Node::register(&shared, hello.candidate.clone()).await.map_err(status)?),
            Audience::Gateway => None,
        };
        let prefix = node.as_ref().map(|n| n.registration.prefix.to_string());
        let registered = wire::Registered { connection_id_prefix: prefix.unwrap_or_default() };
        // Before the position is fixed, so that no change falls between the two.
        let revisions = shared.model.revisions();
        let position = Position::new(hello.audience, hello.held(&shared).await);
        let mut outbox = VecDeque::from([ResponseKind::Registered(registered)]);
        outbox.extend(node.iter_mut().flat_map(|node| node.usage.messages()));
        Ok(Self { shared, position, revisions, outbox, node })
    }

    /// Serves the stream until the receiver ends it.
    pub(super) async fn run(
        mut self,
        mut requests: Streaming<wire::StreamRequest>,
        out: Outbound,
    ) -> Result<(), Status> {
        loop {
            if self.outbox.is_empty() {
                self.next_update();
                self.outbox.extend(self.node.iter_mut().flat_map(|node| node.usage.messages()));
            }
            match self.wake(&mut requests, &out).await? {
                Wake::Sent | Wake::Usage => {}
                Wake::Gone => return Ok(()),
                Wake::Request(request) => self.receive(request).await?,
                Wake::Command(Some(command)) => self.outbox.push_back(command_message(command)),
                Wake::Command(None) => return Err(self.replaced()),
                Wake::Changed => self.check_membership().map_err(status)?,
                Wake::KeepAlive => self.keep_alive().await?,
                Wake::Overdue => return Err(Status::deadline_exceeded("an update was not answered in time")),
            }
        }
    }

    fn next_update(&mut self) {
        let deadline = Instant::now() + ANSWER_WAIT;
        let update = self.position.next(&self.shared.model.read(), self.shared.store.id(), deadline);
        self.outbox.extend(update.into_iter().flat_map(|update| update.messages));
    }

    /// Sends what waits as the transport takes it, and returns for whatever happens first.
    async fn wake(
        &mut self,
        requests: &mut Streaming<wire::StreamRequest>,
        out: &Outbound,
    ) -> Result<Wake, Status> {
        let overdue = self.position.in_flight().map(|update| update.deadline);
        let sending = !self.outbox.is_empty();
        let (commands, keep_alive, usage) = match &mut self.node {
            Some(node) => (Some(&mut node.commands), Some(&mut node.keep_alive), Some(&mut node.usage)),
            None => (None, None, None),
        };
        Ok(tokio::select! {
            room = out.reserve(), if sending => match room {
                Ok(room) => {
                    let kind = self.outbox.pop_front();
                    room.send(Ok(wire::StreamResponse { kind }));
                    Wake::Sent
                }
                Err(_) => Wake::Gone,
            },
            request = requests.message() => request?.map_or(Wake::Gone, Wake::Request),
            // One at a time: the outbox stays as short as what the receiver has not taken.
            command = next_command(commands), if !sending => Wake::Command(command),
            _ = self.revisions.changed() => Wake::Changed,
            () = tick(keep_alive) => Wake::KeepAlive,
            () = usage_due(usage), if !sending => Wake::Usage,
            () = due(overdue) => Wake::Overdue,
        })
    }

    async fn receive(&mut self, request: wire::StreamRequest) -> Result<(), Status> {
        match request.kind {
            Some(RequestKind::Ack(ack)) => self.answered(ack.nonce, Vec::new()),
            Some(RequestKind::Nack(nack)) => self.answered(nack.nonce, nack.rejections),
            Some(RequestKind::Report(report)) => self.report(&report).await,
            Some(RequestKind::Usage(report)) => {
                if let Some(node) = &mut self.node {
                    node.usage.report(&report);
                }
                Ok(())
            }
            Some(RequestKind::Hello(_)) => Err(Status::invalid_argument("a stream has one hello")),
            // A kind that a newer release knows.
            None => Ok(()),
        }
    }

    /// Every answer names all that the receiver does not have in force.
    fn answered(&mut self, nonce: u64, rejections: Vec<wire::Rejection>) -> Result<(), Status> {
        let Some(revision) = self.position.answered(nonce) else {
            return Err(Status::invalid_argument(format!("no update with the nonce {nonce} is in flight")));
        };
        for rejection in &rejections {
            let (app, reason) = (&rejection.app_id, &rejection.reason);
            tracing::warn!(
                node = self.node_id(),
                revision,
                app,
                reason,
                "a receiver refuses a configuration"
            );
        }
        if let Some(node) = &self.node {
            node.place.update(|status| {
                status.revision = revision;
                status.rejections = rejections
                    .into_iter()
                    .map(|r| admin::Rejection { app_id: r.app_id, reason: r.reason })
                    .collect();
            });
        }
        Ok(())
    }

    fn node_id(&self) -> &str {
        self.node.as_ref().map_or("gateway", |node| &node.candidate.id)
    }

    async fn report(&mut self, report: &wire::Report) -> Result<(), Status> {
        let Some(node) = &mut self.node else { return Ok(()) };
        node.place.update(|status| status.connections = report.connections);
        let state = NodeState::from_wire(report.state());
        if state != node.candidate.state {
            self.shared.membership.set_state(&node.candidate, state).await.map_err(status)?;
            node.candidate.state = state;
        }
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), Status> {
        let Some(node) = &self.node else { return Ok(()) };
        match self.shared.membership.keep_alive(node.registration).await {
            // The next one may get through; if none does, the membership expires and the stream ends.
            Err(MembershipError::Store(error)) => {
                tracing::warn!(%error, node = node.candidate.id, "a lease could not be kept alive");
                Ok(())
            }
            other => other.map_err(status),
        }
    }

    /// Whether the node is still the member that registered on this stream.
    fn check_membership(&self) -> Result<(), MembershipError> {
        let Some(node) = &self.node else { return Ok(()) };
        let (mine, registered) = (&node.candidate, node.registration.revision);
        let state = self.shared.model.read();
        match state.members.get(&mine.id) {
            Some(member) if member.incarnation() == mine.incarnation => Ok(()),
            Some(member) if member.revision > registered => Err(MembershipError::Superseded),
            None if state.revision >= registered => Err(MembershipError::Expired),
            // The model has not seen the registration yet.
            Some(_) | None => Ok(()),
        }
    }

    /// Another stream has the node's place.
    fn replaced(&self) -> Status {
        let other =
            |node: &Node| self.shared.registry.is_other(&node.candidate.id, &node.candidate.incarnation);
        if self.node.as_ref().is_some_and(other) {
            status(MembershipError::Superseded)
        } else {
            Status::aborted("the node has opened another stream")
        }
    }
}

impl Node {
    async fn register(shared: &Shared, mut candidate: Candidate) -> Result<Self, MembershipError> {
        let registration = shared.membership.register(&candidate).await?;
        candidate.prefix = Some(registration.prefix);
        let entered = shared.registry.enter(&candidate.id, &candidate.incarnation, registration.revision);
        let (place, commands) = entered.ok_or(MembershipError::Superseded)?;
        tracing::info!(node = candidate.id, prefix = %registration.prefix, "a node has registered");
        // Then the first update holds the node itself.
        shared.model.reached(registration.revision).await;
        shared.registry.forget_unless(|id| shared.model.read().members.contains_key(id));
        let period = (shared.membership.ttl() / KEEP_ALIVES_PER_TTL).max(Duration::from_millis(1));
        let mut keep_alive = interval(period);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let usage = Feed::new(shared.usage.clone(), &candidate.incarnation);
        Ok(Self { candidate, registration, place, commands, keep_alive, usage })
    }
}

fn command_message(command: Command) -> ResponseKind {
    let kind = match command {
        Command::Drain => CommandKind::Drain(wire::Drain {}),
        Command::Undrain => CommandKind::Undrain(wire::Undrain {}),
    };
    ResponseKind::Command(wire::Command { kind: Some(kind) })
}

/// `ALREADY_EXISTS` tells a client not to come back; everything else, to try again.
fn status(error: MembershipError) -> Status {
    match error {
        MembershipError::Superseded => Status::already_exists(error.to_string()),
        MembershipError::Expired | MembershipError::Contended | MembershipError::Store(_) => {
            Status::unavailable(error.to_string())
        }
    }
}

async fn next_command(commands: Option<&mut mpsc::Receiver<Command>>) -> Option<Command> {
    match commands {
        Some(commands) => commands.recv().await,
        None => pending().await,
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => pending().await,
    }
}

async fn usage_due(usage: Option<&mut Feed>) {
    match usage {
        Some(usage) => usage.due().await,
        None => pending().await,
    }
}

async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
