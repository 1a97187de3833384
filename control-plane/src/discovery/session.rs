//! One stream after its hello: updates and usage out, answers and reports in, the lease kept alive.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use realtime_proto::generated::discovery as wire;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
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
use crate::registry::Place;
use crate::shared::Shared;

/// How long a receiver may take to answer an update. Compiling 10,000 applications' keys takes seconds; one
/// that has forgotten its answer would never get another update, and starts over this way.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A registered stream.
pub(super) struct Session {
    shared: Shared,
    position: Position,
    revisions: watch::Receiver<u64>,
    /// What goes out before anything new is made: `Registered`, then usage and an update's messages, and a
    /// command at most for each word of an operator.
    outbox: VecDeque<ResponseKind>,
    /// Nodes are members, gateways are not.
    node: Option<Node>,
}

struct Node {
    candidate: Candidate,
    registration: Registration,
    place: Place,
    displaced: CancellationToken,
    /// The number of the operator's word that was passed on, or needed no passing on.
    passed_on: u64,
    /// Ends when the membership has expired. Polled beside all else: a store that does not answer for seconds keeps
    /// nobody from being heard.
    kept: BoxFuture<'static, MembershipError>,
    usage: Feed,
    /// It is no member any more, by its own word.
    left: bool,
}

/// What woke the session.
enum Wake {
    /// A message has gone out.
    Sent,
    /// The receiver has gone.
    Gone,
    Request(wire::StreamRequest),
    Displaced,
    Changed,
    Expired(MembershipError),
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
        let registered = match &node {
            Some(node) => wire::Registered {
                connection_id_prefix: node.registration.prefix.to_string(),
                interest_key: shared.interest_key.clone(),
            },
            None => wire::Registered::default(),
        };
        // Before the position is fixed, so that no change falls between the two.
        let revisions = shared.model.revisions();
        let position = Position::new(hello.audience, hello.held(&shared).await);
        let mut outbox = VecDeque::from([ResponseKind::Registered(registered)]);
        outbox.extend(node.iter_mut().flat_map(|node| node.usage.messages()));
        let mut session = Self { shared, position, revisions, outbox, node };
        // An operator's word that has waited for the node.
        session.check_membership().map_err(status)?;
        Ok(session)
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
                Wake::Displaced => return Err(self.displaced()),
                Wake::Changed => self.check_membership().map_err(status)?,
                Wake::Expired(error) => return Err(status(error)),
                Wake::Overdue => return Err(Status::deadline_exceeded("an update was not answered in time")),
            }
        }
    }

    fn next_update(&mut self) {
        let deadline = Instant::now() + ANSWER_WAIT;
        let update = self.position.next(&self.shared.model.read(), &self.shared.view, deadline);
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
        let (displaced, kept, usage) = match &mut self.node {
            Some(node) => (Some(&node.displaced), Some(&mut node.kept), Some(&mut node.usage)),
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
            () = cancelled(displaced) => Wake::Displaced,
            _ = self.revisions.changed() => Wake::Changed,
            error = expired(kept) => Wake::Expired(error),
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
            Some(RequestKind::Leave(_)) => {
                self.leave().await;
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
                status.rejections = rejections.into_iter().map(|r| (r.app_id, r.reason)).collect();
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
        if state != node.candidate.state && !node.left {
            let membership = &self.shared.membership;
            membership.set_state(&node.candidate, node.registration, state).await.map_err(status)?;
            node.candidate.state = state;
        }
        Ok(())
    }

    /// The node is done: its lease is kept alive no longer, and ends at once where the store answers.
    async fn leave(&mut self) {
        let Some(node) = self.node.as_mut().filter(|node| !node.left) else { return };
        node.left = true;
        node.kept = pending().boxed();
        tracing::info!(node = node.candidate.id, "a node leaves");
        self.shared.membership.leave(node.registration).await;
    }

    /// Whether the node is still the member that registered on this stream, and what an operator wants of it.
    fn check_membership(&mut self) -> Result<(), MembershipError> {
        let Some(node) = self.node.as_mut().filter(|node| !node.left) else { return Ok(()) };
        let (mine, registration) = (&node.candidate, node.registration);
        let state = self.shared.model.read();
        let member = match state.members.get(&mine.id) {
            Some(member) if member.incarnation() == mine.incarnation && member.is_by(registration) => member,
            Some(member) if member.revision > registration.revision => {
                let same = member.incarnation() == mine.incarnation;
                return Err(if same { MembershipError::Replaced } else { MembershipError::Superseded });
            }
            None if state.revision >= registration.revision => return Err(MembershipError::Expired),
            // The model has not seen the registration yet.
            Some(_) | None => return Ok(()),
        };
        if let Some(wanted) = member.wanted().filter(|wanted| wanted.number > node.passed_on) {
            // The first look: the word may be an old one, which the node has obeyed.
            let obeyed = node.passed_on == 0 && wanted.state == mine.state;
            node.passed_on = wanted.number;
            self.outbox.extend((!obeyed).then(|| command(wanted.state)));
        }
        Ok(())
    }

    /// Another stream has the node's place.
    fn displaced(&self) -> Status {
        let displaced = |node: &Node| self.shared.registry.displaced(&node.candidate);
        status(self.node.as_ref().map_or(MembershipError::Replaced, displaced))
    }
}

impl Node {
    async fn register(shared: &Shared, mut candidate: Candidate) -> Result<Self, MembershipError> {
        let registration = shared.membership.register(&candidate).await?;
        candidate.prefix = Some(registration.prefix);
        let entered = shared.registry.enter(&candidate.id, &candidate.incarnation, registration.revision);
        let (place, displaced) = entered.ok_or_else(|| shared.registry.displaced(&candidate))?;
        tracing::info!(node = candidate.id, prefix = %registration.prefix, "a node has registered");
        // Then the first update holds the node itself.
        shared.model.reached(registration.revision).await;
        shared.registry.forget_unless(|id| shared.model.read().members.contains_key(id));
        let kept = shared.membership.clone().keep(registration).boxed();
        let usage = Feed::new(shared.usage.clone(), &candidate.incarnation);
        Ok(Self { candidate, registration, place, displaced, passed_on: 0, kept, usage, left: false })
    }
}

fn command(wanted: NodeState) -> ResponseKind {
    let kind = match wanted {
        NodeState::Draining => CommandKind::Drain(wire::Drain {}),
        NodeState::Ready => CommandKind::Undrain(wire::Undrain {}),
    };
    ResponseKind::Command(wire::Command { kind: Some(kind) })
}

/// `ALREADY_EXISTS` tells a client not to come back; everything else, to try again.
fn status(error: MembershipError) -> Status {
    match error {
        MembershipError::Superseded => Status::already_exists(error.to_string()),
        MembershipError::Replaced => Status::aborted(error.to_string()),
        MembershipError::Expired
        | MembershipError::Unknown
        | MembershipError::Contended
        | MembershipError::Store(_) => Status::unavailable(error.to_string()),
    }
}

async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => pending().await,
    }
}

async fn expired(kept: Option<&mut BoxFuture<'static, MembershipError>>) -> MembershipError {
    match kept {
        Some(kept) => kept.await,
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
