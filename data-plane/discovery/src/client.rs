//! The task that owns the stream. Its state is what it holds; a session is one life of the stream.
//!
//! Invariants: an update is published in the watch channel before it is acknowledged; nothing that readers
//! see changes when a stream is lost or opened again.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use realtime_auth::JwksCache;
use realtime_proto::NodePrefix;
use realtime_proto::generated::discovery as wire;
use realtime_proto::ids::{hex, random};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

use crate::backoff::{Backoff, Failure};
use crate::held::{Held, Removed, Update, Violation};
use crate::outage::Outage;
use crate::replicas::Replicas;
use crate::usage::{self, Counted, UsageOutlets};
use crate::{Command, Figures, Registration, Report, Snapshot};

/// From the attempt to open the stream to its first answer. A replica that takes connections and does not
/// answer is given up for another; a busy one answers within a second.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The contract's shortest time between reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Requests that wait for the transport: hello, one answer and one report are all that can be.
const OUTBOUND: usize = 4;

/// The writing sides of what readers see.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub(crate) prefix: watch::Sender<Option<NodePrefix>>,
    pub(crate) interest_key: watch::Sender<Option<[u8; 16]>>,
    pub(crate) superseded: watch::Sender<bool>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) report: watch::Receiver<Report>,
    pub(crate) usage: UsageOutlets,
    pub(crate) leave: watch::Receiver<bool>,
    pub(crate) figures: watch::Sender<Figures>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Status),
    #[error("the server broke the contract: {0}")]
    Violation(#[from] Violation),
    #[error("no answer within {OPEN_TIMEOUT:?}")]
    NoAnswer,
    #[error("closed by the server")]
    Closed,
}

impl End {
    /// Whether a newer incarnation has registered under our id: coming back would throw it out.
    fn superseded(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::AlreadyExists)
    }
}

/// The client's state between streams.
#[derive(Debug)]
pub(crate) struct Client {
    replicas: Replicas,
    registration: Registration,
    incarnation: String,
    jwks: JwksCache,
    outlets: Outlets,
    held: Option<Held>,
    outage: Outage,
    /// The newest command that its reader has not had room for. A later one takes its place: only the
    /// last of several unread drains and undrains means anything.
    unread_command: Option<Command>,
    /// Whether `outlets.report` still has a sender.
    reporting: bool,
    /// Whether `outlets.usage.counted` still has one.
    counting: bool,
}

/// One life of the stream.
struct Session {
    requests: mpsc::Sender<wire::StreamRequest>,
    responses: Streaming<wire::StreamResponse>,
    /// The chunks of a snapshot so far, and their nonce.
    chunks: Option<(u64, Vec<wire::Resource>)>,
    /// What the server knows of us.
    reported: Report,
    next_report: Instant,
    /// Whether the server was told that we leave.
    leaving: bool,
    /// What the server knows of our usage.
    counted: Counted,
    next_counted: Instant,
}

impl Session {
    async fn send(&self, kind: RequestKind) -> Result<(), End> {
        self.requests.send(wire::StreamRequest { kind: Some(kind) }).await.map_err(|_| End::Closed)
    }
}

impl Client {
    pub(crate) fn new(
        replicas: Replicas,
        registration: Registration,
        jwks: JwksCache,
        outlets: Outlets,
    ) -> Self {
        Self {
            replicas,
            registration,
            incarnation: hex(&random::<16>()),
            jwks,
            outlets,
            held: None,
            outage: Outage::default(),
            unread_command: None,
            reporting: true,
            counting: true,
        }
    }

    pub(crate) fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Keeps a stream open until a newer incarnation takes the id. Dropping the future ends it at any time.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.replicas.count());
        loop {
            let (end, failure) = match self.open().await {
                Ok(session) => {
                    let opened = Instant::now();
                    self.outage.opened(opened);
                    self.outlets.figures.send_modify(|figures| {
                        figures.connected = true;
                        figures.streams += 1;
                    });
                    let end = self.follow(session).await;
                    self.outlets.figures.send_modify(|figures| figures.connected = false);
                    (end, Failure::Stream(opened.elapsed()))
                }
                Err(end) => (end, Failure::Attempt),
            };
            self.outage.lost(Instant::now());
            if end.superseded() {
                tracing::error!(id = self.registration.id, "another process has registered under this id");
                self.outlets.superseded.send_replace(true);
                return;
            }
            if *self.outlets.leave.borrow() {
                // Another stream would make this process a member again.
                return tracing::warn!(error = %end, "the discovery stream ended while this process was stopping");
            }
            self.replicas.move_on();
            let wait = backoff.failed(failure, u64::from_le_bytes(random()));
            tracing::warn!(error = %end, ?wait, "the discovery stream ended; going on with what is held");
            sleep(wait).await;
        }
    }

    async fn open(&mut self) -> Result<Session, End> {
        timeout(OPEN_TIMEOUT, self.register()).await.map_err(|_| End::NoAnswer)?
    }

    async fn register(&mut self) -> Result<Session, End> {
        let (requests, outbound) = mpsc::channel(OUTBOUND);
        let report = *self.outlets.report.borrow();
        let hello = wire::StreamRequest { kind: Some(RequestKind::Hello(self.hello(report))) };
        requests.send(hello).await.map_err(|_| End::Closed)?;
        let mut responses = self.replicas.client().stream(ReceiverStream::new(outbound)).await?.into_inner();
        match responses.message().await?.ok_or(End::Closed)?.kind {
            Some(ResponseKind::Registered(registered)) => self.registered(&registered)?,
            _ => return Err(Violation::NotRegistered.into()),
        }
        // Hello told the state; a new stream's server counts no connections for us yet.
        let reported = Report { draining: report.draining, connections: 0 };
        let now = Instant::now();
        Ok(Session {
            requests,
            responses,
            chunks: None,
            reported,
            next_report: now,
            leaving: false,
            counted: Counted::default(),
            next_counted: now,
        })
    }

    fn hello(&self, report: Report) -> wire::Hello {
        // With something refused, a new replica must learn of it: saying that nothing is held makes it send
        // everything again, and the answer to that names what is wrong.
        let held = self
            .held
            .as_ref()
            .filter(|h| h.rejections.is_empty())
            .map(|h| wire::Revision { store_id: h.snapshot.store_id.clone(), number: h.snapshot.revision });
        wire::Hello {
            role: self.registration.role.into(),
            id: self.registration.id.clone(),
            incarnation: self.incarnation.clone(),
            listen: self.registration.listen.clone(),
            peer: self.registration.peer.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            held,
            state: state(report).into(),
            connection_id_prefix: self.outlets.prefix.borrow().map(|p| p.to_string()).unwrap_or_default(),
        }
    }

    fn registered(&self, registered: &wire::Registered) -> Result<(), Violation> {
        // Gateways have no prefix.
        if !registered.connection_id_prefix.is_empty() {
            let prefix = NodePrefix::parse(&registered.connection_id_prefix).ok_or(Violation::BadPrefix)?;
            let key = (&*registered.interest_key).try_into().map_err(|_| Violation::BadInterestKey)?;
            // Before the prefix: who has that has this.
            self.outlets.interest_key.send_if_modified(|held| held.replace(key) != Some(key));
            self.outlets.prefix.send_if_modified(|held| held.replace(prefix) != Some(prefix));
        } else if self.registration.role == wire::Role::Node {
            return Err(Violation::BadPrefix);
        }
        tracing::info!(prefix = registered.connection_id_prefix, "registered with the control plane");
        Ok(())
    }

    /// Serves the stream until it ends.
    async fn follow(&mut self, mut session: Session) -> End {
        loop {
            if let Err(end) = self.step(&mut session).await {
                return end;
            }
        }
    }

    async fn step(&mut self, session: &mut Session) -> Result<(), End> {
        let report = *self.outlets.report.borrow();
        let report_due = at((report != session.reported).then_some(session.next_report));
        let news = self.outlets.usage.counted.borrow().number != session.counted.number;
        let usage_due = at(news.then_some(session.next_counted));
        let mut leave = self.outlets.leave.clone();
        let leaving = async {
            if leave.wait_for(|leave| *leave).await.is_err() {
                pending().await
            }
        };
        let over_at = at(self.outage.over_at());
        tokio::select! {
            message = session.responses.message() => {
                let response = message?.ok_or(End::Closed)?;
                self.respond(session, response).await
            }
            changed = self.outlets.report.changed(), if self.reporting => {
                self.reporting = changed.is_ok();
                Ok(())
            }
            changed = self.outlets.usage.counted.changed(), if self.counting => {
                self.counting = changed.is_ok();
                Ok(())
            }
            () = leaving, if !session.leaving => {
                session.leaving = true;
                session.send(RequestKind::Leave(wire::Leave {})).await
            }
            () = over_at => {
                self.outage.over();
                self.forget_missed();
                Ok(())
            }
            () = usage_due => self.report_usage(session).await,
            () = report_due => {
                session.reported = report;
                session.next_report = Instant::now() + REPORT_INTERVAL;
                let state = state(report).into();
                session.send(RequestKind::Report(wire::Report { state, connections: report.connections })).await
            }
            room = self.outlets.commands.clone().reserve_owned(), if self.unread_command.is_some() => {
                let command = self.unread_command.take();
                // Without a reader, commands are of no interest.
                if let (Ok(room), Some(command)) = (room, command) {
                    room.send(command);
                }
                Ok(())
            }
        }
    }

    async fn report_usage(&self, session: &mut Session) -> Result<(), End> {
        let counted = self.outlets.usage.counted.borrow().clone();
        for message in usage::report(&session.counted.table, &counted) {
            session.send(message).await?;
        }
        session.counted = counted;
        session.next_counted = Instant::now() + REPORT_INTERVAL;
        Ok(())
    }

    async fn respond(&mut self, session: &mut Session, response: wire::StreamResponse) -> Result<(), End> {
        match response.kind {
            Some(ResponseKind::Snapshot(chunk)) => match assemble(session, chunk)? {
                Some((nonce, update)) => self.update(session, nonce, update).await,
                None => Ok(()),
            },
            Some(ResponseKind::Delta(delta)) => {
                if session.chunks.is_some() {
                    return Err(Violation::InsideSnapshot.into());
                }
                self.update(session, delta.nonce, Update::Delta(delta)).await
            }
            Some(ResponseKind::Command(command)) => {
                self.command(command);
                Ok(())
            }
            Some(ResponseKind::Registered(registered)) => Ok(self.registered(&registered)?),
            Some(ResponseKind::Usage(heard)) => {
                self.outlets.usage.heard(heard);
                Ok(())
            }
            // A kind that a newer release knows.
            None => Ok(()),
        }
    }

    fn command(&mut self, command: wire::Command) {
        self.unread_command = match command.kind {
            Some(wire::command::Kind::Drain(_)) => Some(Command::Drain),
            Some(wire::command::Kind::Undrain(_)) => Some(Command::Undrain),
            None => return,
        };
    }

    /// Members that were kept over an outage and have not come back.
    fn forget_missed(&mut self) {
        if let Some(next) = self.held.as_ref().and_then(Held::without_missed) {
            self.outlets.snapshots.send_replace(Some(Arc::clone(&next.snapshot)));
            self.held = Some(next);
        }
    }

    async fn update(&mut self, session: &Session, nonce: u64, update: Update) -> Result<(), End> {
        let (held, jwks) = (self.held.clone(), self.jwks.clone());
        let removed = if self.outage.over_at().is_some() { Removed::Missed } else { Removed::Gone };
        let whole = matches!(update, Update::Full { .. });
        // Compiling the keys of many apps takes long enough to hold up a thread that serves others.
        let applied = tokio::task::spawn_blocking(move || Held::apply(held.as_ref(), update, removed, &jwks));
        let next = applied.await.map_err(|e| Status::internal(format!("applying an update: {e}")))??;
        let unchanged = self.held.as_ref().is_some_and(|held| held.same_configuration(&next));
        if !unchanged {
            self.outlets.snapshots.send_replace(Some(Arc::clone(&next.snapshot)));
        }
        let rejections: Vec<_> = next
            .rejections
            .iter()
            .map(|(app_id, reason)| wire::Rejection { app_id: app_id.clone(), reason: reason.clone() })
            .collect();
        tracing::debug!(revision = next.snapshot.revision, whole, unchanged, "configuration in force");
        self.outlets.figures.send_modify(|figures| {
            *(if whole { &mut figures.snapshots } else { &mut figures.deltas }) += 1;
            figures.refused = next.rejections.len() as u64;
        });
        self.held = Some(next);
        if rejections.is_empty() {
            return session.send(RequestKind::Ack(wire::Ack { nonce })).await;
        }
        for rejection in &rejections {
            tracing::warn!(app = rejection.app_id, reason = rejection.reason, "configuration refused");
        }
        session.send(RequestKind::Nack(wire::Nack { nonce, rejections })).await
    }
}

/// Takes a chunk; the whole update once the last one is there.
fn assemble(session: &mut Session, chunk: wire::Snapshot) -> Result<Option<(u64, Update)>, Violation> {
    // Another nonce begins another snapshot: the server has given the first one up.
    let mut resources = match session.chunks.take() {
        Some((nonce, resources)) if nonce == chunk.nonce => resources,
        Some(_) | None => Vec::new(),
    };
    resources.extend(chunk.resources);
    if !chunk.last {
        session.chunks = Some((chunk.nonce, resources));
        return Ok(None);
    }
    let revision = chunk.revision.ok_or(Violation::NoRevision)?;
    Ok(Some((chunk.nonce, Update::Full { revision, resources })))
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

fn state(report: Report) -> wire::NodeState {
    if report.draining { wire::NodeState::Draining } else { wire::NodeState::Ready }
}
