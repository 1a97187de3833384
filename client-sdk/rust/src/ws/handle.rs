//! The application's handle. Everything goes to the driver's task through one bounded queue.

use std::sync::Arc;
use std::time::Duration;

use realtime_proto::ConnectionId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::driver::Driver;
use super::event::{Events, SendError};
use super::options::{BadUrl, Options};
use super::wire::{self, Outgoing};

/// Requests that may wait for the driver; callers beyond wait themselves.
const COMMAND_QUEUE: usize = 64;

/// A request to the driver.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe(String),
    Unsubscribe(String),
    Send {
        frame: String,
        /// Wait for the ack of this id.
        ack: Option<String>,
        done: oneshot::Sender<Result<(), SendError>>,
    },
}

/// Where the connection stands.
#[derive(Debug, Clone)]
pub(super) enum State {
    Connecting,
    Connected(ConnectionId),
    Closed { code: Option<u16>, reason: String },
}

/// A WebSocket client that keeps itself connected. Clones share the connection; when the last is dropped,
/// the connection is closed.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    cancel: CancellationToken,
    _last_handle: Arc<DropGuard>,
    send_timeout: Duration,
    ack_timeout: Duration,
}

impl Client {
    /// Starts connecting and returns at once; must be called within a tokio runtime. What happens is told
    /// by the events.
    ///
    /// # Errors
    /// When the address or the application's id is malformed.
    pub fn connect(options: Options) -> Result<(Self, Events), BadUrl> {
        let uri = options.session_uri()?;
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (event_queue, events) = mpsc::channel(options.event_queue);
        let (state_sender, state) = watch::channel(State::Connecting);
        let cancel = CancellationToken::new();
        let client = Self {
            commands,
            state,
            cancel: cancel.clone(),
            _last_handle: Arc::new(cancel.clone().drop_guard()),
            send_timeout: options.send_timeout,
            ack_timeout: options.ack_timeout,
        };
        // Ends when the last handle is dropped or the client gives up.
        tokio::spawn(Driver::new(options, uri, event_queue, command_queue, state_sender, cancel).run());
        Ok((client, Events(events)))
    }

    /// Waits until a session is ready.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the client has given up, [`SendError::Disconnected`] when it takes too long.
    pub async fn connected(&self) -> Result<ConnectionId, SendError> {
        let mut state = self.state.clone();
        let ready = state.wait_for(|s| !matches!(s, State::Connecting));
        match timeout(self.send_timeout, ready).await {
            Err(_) => Err(SendError::Disconnected),
            Ok(Err(_)) => Err(self.closed()),
            Ok(Ok(state)) => match &*state {
                State::Connected(id) => Ok(*id),
                State::Closed { code, reason } => {
                    Err(SendError::Closed { code: *code, reason: reason.clone() })
                }
                State::Connecting => Err(SendError::Disconnected),
            },
        }
    }

    /// Subscribes to a topic now and after every reconnect. The event `Welcome` tells when it is in force.
    ///
    /// # Errors
    /// When the topic is malformed or the client has given up.
    pub async fn subscribe(&self, topic: &str) -> Result<(), SendError> {
        wire::check_topic(topic)?;
        self.command(Command::Subscribe(topic.to_owned())).await
    }

    /// Leaves a topic now and for every later session.
    ///
    /// # Errors
    /// When the topic is malformed or the client has given up.
    pub async fn unsubscribe(&self, topic: &str) -> Result<(), SendError> {
        wire::check_topic(topic)?;
        self.command(Command::Unsubscribe(topic.to_owned())).await
    }

    /// Publishes on a topic; returns the message's id once it is written to the connection.
    ///
    /// # Errors
    /// When nothing could be sent. A refusal by the server comes as an event.
    pub async fn publish(&self, topic: &str, message: Outgoing) -> Result<String, SendError> {
        self.send(Some(topic), message, Ack::Ignore).await
    }

    /// Publishes and waits for the ack, which the application must have enabled.
    ///
    /// # Errors
    /// When nothing could be sent, the server refused, or no ack came.
    pub async fn publish_acked(&self, topic: &str, message: Outgoing) -> Result<String, SendError> {
        self.send(Some(topic), message, Ack::Await).await
    }

    /// Sends a message to the application's backend; returns its id once it is written to the connection.
    ///
    /// # Errors
    /// When nothing could be sent. A refusal by the server comes as an event.
    pub async fn message(&self, message: Outgoing) -> Result<String, SendError> {
        self.send(None, message, Ack::Ignore).await
    }

    /// Sends a message to the backend and waits for the ack, which the application must have enabled.
    ///
    /// # Errors
    /// When nothing could be sent, the server refused, or no ack came.
    pub async fn message_acked(&self, message: Outgoing) -> Result<String, SendError> {
        self.send(None, message, Ack::Await).await
    }

    /// Says goodbye to the server and waits until the connection is closed. Other clones end with it.
    pub async fn close(mut self) {
        self.cancel.cancel();
        let _ = self.state.wait_for(|s| matches!(s, State::Closed { .. })).await;
    }

    async fn send(&self, topic: Option<&str>, message: Outgoing, ack: Ack) -> Result<String, SendError> {
        let (frame, id) = message.into_frame(topic)?;
        self.connected().await?;
        let (done, result) = oneshot::channel();
        let ack = matches!(ack, Ack::Await).then(|| id.clone());
        self.command(Command::Send { frame, ack, done }).await?;
        match timeout(self.ack_timeout, result).await {
            Ok(Ok(result)) => result.map(|()| id),
            Ok(Err(_)) | Err(_) => Err(SendError::Unconfirmed),
        }
    }

    async fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands.send(command).await.map_err(|_| self.closed())
    }

    fn closed(&self) -> SendError {
        match &*self.state.borrow() {
            State::Closed { code, reason } => SendError::Closed { code: *code, reason: reason.clone() },
            State::Connecting | State::Connected(_) => SendError::Disconnected,
        }
    }
}

enum Ack {
    Await,
    Ignore,
}
