//! The client's one task: opens sessions, serves them, waits between them. It owns all state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Uri;
use realtime_proto::{CloseCode, ConnectionId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_util::sync::CancellationToken;

use super::backoff::{self, Backoff};
use super::event::{Event, SendError};
use super::handle::{Command, State};
use super::link::{self, End, Socket};
use super::options::{Options, TokenSource};
use super::topics::Topics;
use super::wire::{self, Incoming};

/// Silence after which the server is asked for a sign of life. Its own pings come more often, since it
/// closes clients that are silent for 30 s; this covers settings that turn that off.
const SILENCE: Duration = Duration::from_secs(45);
/// How long an answer to that may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// A write that takes longer means that nobody reads at the other end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Publishes that await their ack at one time; further commands wait.
const MAX_AWAITED: usize = 1024;
/// Pause before what the rate limit refused is sent again, and how many at once: the limit is per second.
const RATE_PAUSE: Duration = Duration::from_secs(1);
const RATE_BATCH: usize = 50;

type Awaited = HashMap<String, oneshot::Sender<Result<(), SendError>>>;

/// What ends a session or the waiting for one.
enum Stop {
    Ended(End),
    /// By this side.
    Cancelled,
}

pub(super) struct Driver {
    options: Options,
    uri: Uri,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    cancel: CancellationToken,
    topics: Topics,
    awaited: Awaited,
}

impl Driver {
    pub(super) fn new(
        options: Options,
        uri: Uri,
        events: mpsc::Sender<Event>,
        commands: mpsc::Receiver<Command>,
        state: watch::Sender<State>,
        cancel: CancellationToken,
    ) -> Self {
        let topics = Topics::default();
        Self { options, uri, events, commands, state, cancel, topics, awaited: Awaited::new() }
    }

    pub(super) async fn run(mut self) {
        let can_renew = matches!(self.options.token, TokenSource::Provider(_));
        let mut backoff = Backoff::new(self.options.retry, can_renew);
        loop {
            let (stop, lasted) = self.session().await;
            for (_, waiting) in self.awaited.drain() {
                let _ = waiting.send(Err(SendError::Unconfirmed));
            }
            let Stop::Ended(end) = stop else {
                return self.closed(Some(CloseCode::Normal.code()), "closed by this client".into());
            };
            let retry_in = backoff.after(end.code, end.retry_after, lasted, backoff::random());
            tracing::debug!(code = end.code, reason = end.reason, ?retry_in, "disconnected");
            let event = Event::Disconnected { code: end.code, reason: end.reason.clone(), retry_in };
            let Some(delay) = retry_in else {
                self.closed(end.code, end.reason);
                let _ = self.emit(event).await;
                return;
            };
            self.state.send_replace(State::Connecting);
            if matches!(self.emit(event).await, Some(Stop::Cancelled))
                || matches!(self.offline(sleep(delay)).await, Err(Stop::Cancelled))
            {
                return self.closed(Some(CloseCode::Normal.code()), "closed by this client".into());
            }
        }
    }

    fn closed(&self, code: Option<u16>, reason: String) {
        self.state.send_replace(State::Closed { code, reason });
    }

    /// Opens a session and serves it to its end; also how long it stood.
    async fn session(&mut self) -> (Stop, Duration) {
        let (options, uri) = (self.options.clone(), self.uri.clone());
        let opening = async move { link::open(&options, &uri).await };
        let (mut socket, id) = match self.offline(opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(end)) => return (Stop::Ended(end), Duration::ZERO),
            Err(stop) => return (stop, Duration::ZERO),
        };
        let since = Instant::now();
        let stop = match self.greet(&mut socket, id).await {
            Some(stop) => stop,
            None => self.serve(&mut socket).await,
        };
        if matches!(stop, Stop::Cancelled) {
            let normal = CloseFrame { code: CloseCode::Normal.code().into(), reason: "".into() };
            if write(&mut socket, Frame::Close(Some(normal))).await.is_ok() {
                link::finish(&mut socket).await;
            }
        }
        (stop, since.elapsed())
    }

    /// Runs `work` while there is no session: topics are noted, sends are refused.
    async fn offline<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Stop::Cancelled),
                done = &mut work => return Ok(done),
                Some(command) = self.commands.recv() => match command {
                    Command::Subscribe(topic) => drop(self.topics.subscribe(&topic)),
                    Command::Unsubscribe(topic) => drop(self.topics.unsubscribe(&topic)),
                    Command::Send { done, .. } => drop(done.send(Err(SendError::Disconnected))),
                },
            }
        }
    }

    /// Hands an event over, however long the application takes, unless the client is closed meanwhile.
    async fn emit(&self, event: Event) -> Option<Stop> {
        tokio::select! {
            () = self.cancel.cancelled() => Some(Stop::Cancelled),
            // The application may have dropped its end: then events are discarded.
            _ = self.events.send(event) => None,
        }
    }

    async fn greet(&mut self, socket: &mut Socket, id: ConnectionId) -> Option<Stop> {
        self.state.send_replace(State::Connected(id));
        if let Some(stop) = self.emit(Event::Connected { connection_id: id }).await {
            return Some(stop);
        }
        for frame in self.topics.for_new_session() {
            if let Err(end) = write(socket, Frame::text(frame)).await {
                return Some(Stop::Ended(end));
            }
        }
        None
    }

    async fn serve(&mut self, socket: &mut Socket) -> Stop {
        let events = self.events.clone();
        let mut quiet = Quiet::from_now();
        let mut resend_at = None;
        loop {
            if self.awaited.len() >= MAX_AWAITED {
                self.awaited.retain(|_, waiting| !waiting.is_closed());
            }
            let reading = AtomicBool::new(false);
            let stepped = tokio::select! {
                () = self.cancel.cancelled() => return Stop::Cancelled,
                (frame, place) = next(socket, &events, &reading) => {
                    quiet = Quiet::from_now();
                    self.frame(frame).map(|event| if let (Some(event), Some(place)) = (event, place) {
                        place.send(event);
                    })
                }
                Some(command) = self.commands.recv(), if self.awaited.len() < MAX_AWAITED => {
                    self.command(socket, command).await
                }
                () = sleep_until(resend_at.unwrap_or(quiet.until)), if resend_at.is_some() => {
                    resend_at = None;
                    self.resend(socket).await
                }
                () = sleep_until(quiet.until) => quiet.over(socket, reading.load(Ordering::Relaxed)).await,
            };
            if let Err(end) = stepped {
                if end.code.is_some() {
                    link::finish(socket).await;
                }
                return Stop::Ended(end);
            }
            if resend_at.is_none() && self.topics.has_limited() {
                resend_at = Some(Instant::now() + RATE_PAUSE);
            }
        }
    }

    /// A frame from the server: at most one event.
    fn frame(&mut self, frame: Option<Result<Frame, Error>>) -> Result<Option<Event>, End> {
        let frame = match frame {
            None => return Err(End::broken("the connection broke")),
            Some(frame) => frame?,
        };
        let text = match &frame {
            Frame::Text(text) => text.as_str(),
            Frame::Binary(bytes) => str::from_utf8(bytes).map_err(End::broken)?,
            Frame::Close(frame) => return Err(End::closed(frame.as_ref())),
            Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => return Ok(None),
        };
        let incoming =
            wire::read(text).map_err(|e| End::broken(format!("not a frame of this protocol: {e}")))?;
        Ok(Some(self.incoming(incoming)))
    }

    fn incoming(&mut self, incoming: Incoming) -> Event {
        match incoming {
            Incoming::Welcome { topic, .. } => {
                self.topics.welcomed(&topic);
                Event::Welcome { topic }
            }
            Incoming::Ack(id) => {
                if let Some(waiting) = self.awaited.remove(&id) {
                    let _ = waiting.send(Ok(()));
                }
                Event::Ack { id }
            }
            Incoming::Refused(refusal) => {
                self.topics.refused(&refusal);
                if let Some(waiting) = refusal.id.as_ref().and_then(|id| self.awaited.remove(id)) {
                    let _ = waiting.send(Err(SendError::Refused(refusal.clone())));
                }
                Event::Refused(refusal)
            }
            Incoming::Message(message) => Event::Message(message),
        }
    }

    async fn command(&mut self, socket: &mut Socket, command: Command) -> Result<(), End> {
        match command {
            Command::Subscribe(topic) => write(socket, Frame::text(self.topics.subscribe(&topic))).await,
            Command::Unsubscribe(topic) => write(socket, Frame::text(self.topics.unsubscribe(&topic))).await,
            Command::Send { frame, ack, done } => {
                if ack.as_ref().is_some_and(|id| self.awaited.contains_key(id)) {
                    let _ =
                        done.send(Err(SendError::Invalid("a message with this id awaits its ack already")));
                    return Ok(());
                }
                let written = write(socket, Frame::text(frame)).await;
                match (&written, ack) {
                    (Err(_), _) => drop(done.send(Err(SendError::Unconfirmed))),
                    (Ok(()), None) => drop(done.send(Ok(()))),
                    (Ok(()), Some(id)) => drop(self.awaited.insert(id, done)),
                }
                written
            }
        }
    }

    async fn resend(&mut self, socket: &mut Socket) -> Result<(), End> {
        for frame in self.topics.retry_limited(RATE_BATCH) {
            write(socket, Frame::text(frame)).await?;
        }
        Ok(())
    }
}

/// The next frame, read only once its event has a place in the queue (`None`: nobody listens). Both steps
/// may be dropped half-way without losing anything.
async fn next<'a>(
    socket: &mut Socket,
    events: &'a mpsc::Sender<Event>,
    reading: &AtomicBool,
) -> (Option<Result<Frame, Error>>, Option<mpsc::Permit<'a, Event>>) {
    let place = events.reserve().await.ok();
    reading.store(true, Ordering::Relaxed);
    (socket.next().await, place)
}

async fn write(socket: &mut Socket, frame: Frame) -> Result<(), End> {
    match timeout(WRITE_TIMEOUT, socket.send(frame)).await {
        Ok(sent) => sent.map_err(End::from),
        Err(_) => Err(End::broken("the server does not read")),
    }
}

/// How long nothing was heard.
struct Quiet {
    until: Instant,
    asked: bool,
}

impl Quiet {
    fn from_now() -> Self {
        Self { until: Instant::now() + SILENCE, asked: false }
    }

    /// The time is over: asks for a sign of life, and the next time gives up. While the application leaves
    /// its events lying (`reading` is false) silence says nothing about the server.
    async fn over(&mut self, socket: &mut Socket, reading: bool) -> Result<(), End> {
        if !reading {
            *self = Self::from_now();
            return Ok(());
        }
        if self.asked {
            return Err(End::broken("no sign of life from the server"));
        }
        *self = Self { until: Instant::now() + PONG_TIMEOUT, asked: true };
        write(socket, Frame::Ping(Bytes::new())).await
    }
}
