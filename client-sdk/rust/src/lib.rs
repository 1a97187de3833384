//! Client of Realtime Pub/Sub for Rust: [`Client`] is a WebSocket client that reconnects and
//! resubscribes by the server's own rules; [`Inbound`] brings a backend what clients send to it;
//! [`PubSubClient`] and [`AdminClient`] wrap the gRPC services that backends and operators use.
//!
//! There is no history: what is published while a client is away is lost.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use realtime_client::{Client, Event, Options, Outgoing};
//!
//! let (client, mut events) = Client::connect(Options::new("ws://127.0.0.1:8080", "demo", "JWT"))?;
//! client.subscribe("news").await?;
//! client.publish("news", Outgoing::json(&"hello")?).await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{} {}", message.topic, message.data);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Never here: issuing tokens, or any rule of the server. What is checked before sending is only what
//! would close the session.

pub mod grpc;
pub mod inbound;
pub mod ws;

pub use grpc::{AdminClient, App, Channel, Document, PubSubClient};
pub use inbound::{Delivery, Inbound, InboundOptions};
pub use realtime_proto::{ApiError, AppId, ConnectionId, ErrorCode};
pub use ws::{
    BadCa, BadUrl, Client, Dial, Dialing, Event, Events, Message, Options, Outgoing, Refusal, Retry,
    SendError, Stream, TokenError, TokenSource,
};
