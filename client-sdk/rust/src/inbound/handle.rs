//! The application's handle.

use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::driver::Driver;
use super::event::Delivery;
use super::options::InboundOptions;

/// Deliveries that wait for the application; beyond them the stream is not read. What waits here when its stream ends
/// comes again.
const QUEUE: usize = 64;

/// A stream that is ready: what clients send from now on comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where it is, as it was given in the options.
    pub server: String,
    /// Nodes whose clients' messages come.
    pub nodes: u32,
    /// Those of other nodes come as soon as these can be reached.
    pub missing_nodes: Vec<String>,
}

/// Where the consumer stands.
#[derive(Debug, Clone)]
pub(super) enum State {
    Connecting,
    Ready(Ready),
    Ended(ApiError),
}

/// A consumer of an application's inbound stream, which keeps itself connected. See the [module](super).
///
/// When a node stops or dies it goes on at the next one: what it had not answered then comes again, to itself or to
/// another consumer of its group. It ends with an error that will not go away by itself: `permission_denied`,
/// `inbound_disabled`, `app_not_found`, and `unauthenticated` unless its token comes from a provider, which is asked
/// once more.
///
/// Dropped, it leaves at once, and answers that are on their way may be lost: those messages come again to others.
/// [`Self::close`] takes them along.
#[derive(Debug)]
pub struct Inbound {
    deliveries: mpsc::Receiver<Delivery>,
    state: watch::Receiver<State>,
    closing: CancellationToken,
    driver: AbortOnDropHandle<()>,
}

impl Inbound {
    /// Starts connecting and returns at once; must be called within a tokio runtime.
    ///
    /// # Errors
    /// `invalid_request` for no or malformed addresses, or a CA that cannot be read.
    pub fn connect(options: InboundOptions) -> Result<Self, ApiError> {
        let servers = options.servers()?;
        let (delivery_queue, deliveries) = mpsc::channel(QUEUE);
        let (state_sender, state) = watch::channel(State::Connecting);
        let closing = CancellationToken::new();
        let driver = Driver {
            options,
            servers,
            deliveries: delivery_queue,
            state: state_sender,
            closing: closing.clone(),
        };
        let driver = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        Ok(Self { deliveries, state, closing, driver })
    }

    /// Waits until a stream is ready. Who only wants deliveries need not.
    ///
    /// # Errors
    /// What the consumer has ended with.
    pub async fn ready(&mut self) -> Result<Ready, ApiError> {
        let settled = self.state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Ready(ready)) => Ok(ready.clone()),
            Ok(State::Ended(error)) => Err(error.clone()),
            Ok(State::Connecting) | Err(_) => Err(stopped()),
        }
    }

    /// The next delivery. May be dropped while it waits.
    ///
    /// # Errors
    /// What the consumer has ended with; from then on always the same.
    pub async fn next(&mut self) -> Result<Delivery, ApiError> {
        while let Some(delivery) = self.deliveries.recv().await {
            // Of a stream that has ended: it comes again.
            if !delivery.receipt.is_void() {
                return Ok(delivery);
            }
        }
        match &*self.state.borrow() {
            State::Ended(error) => Err(error.clone()),
            State::Connecting | State::Ready(_) => Err(stopped()),
        }
    }

    /// Leaves once the server has the answers that were given so far; 5 s at most. What is not answered goes to others.
    pub async fn close(mut self) {
        self.closing.cancel();
        let _ = (&mut self.driver).await;
    }
}

/// The task has ended otherwise than by its own decision.
fn stopped() -> ApiError {
    ApiError::new(ErrorCode::Internal, "the consumer's task has stopped")
}
