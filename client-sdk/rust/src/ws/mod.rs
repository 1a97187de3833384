//! The WebSocket client. A handle ([`Client`]) and a stream of [`Events`] face the application; one task
//! (`driver`) owns the connection, the set of topics and what awaits an ack. Every queue is bounded.

mod backoff;
mod dial;
mod driver;
mod event;
mod handle;
mod link;
mod options;
mod topics;
mod wire;

pub(crate) use backoff::random;
pub use dial::{BadCa, Dial, Dialing, Stream};
pub(crate) use dial::{TcpDial, host_and_port, trusting};
pub use event::{Event, Events, Message, Refusal, SendError};
pub use handle::Client;
pub use options::{BadUrl, Options, Retry, TokenError, TokenSource};
pub use wire::Outgoing;
