//! The client protocol as values: RFC 6455 framing, permessage-deflate, the frames of docs/contract.md 2 and
//! the session state machine. Bytes and the time come in as arguments, events and frames come out.
//!
//! Never here: sockets, threads, tokio, clocks, randomness, the topic index.

mod decoder;
pub mod deflate;
pub mod encode;
pub mod frame;
pub mod handshake;
mod header;
mod rate;
mod request;
pub mod session;

pub use deflate::Deflater;
pub use frame::Frame;
pub use session::{Codec, Event, Input, Policy, Session};
