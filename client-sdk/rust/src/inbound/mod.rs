//! The inbound stream, for backends: what clients send to an application, and their presence, from every node of its
//! cluster, with an explicit answer to each.
//!
//! ```no_run
//! # async fn example() -> Result<(), realtime_client::ApiError> {
//! use realtime_client::inbound::Event;
//! use realtime_client::{Inbound, InboundOptions};
//!
//! let mut inbound = Inbound::connect(InboundOptions::new(["http://127.0.0.1:7070"], "chat", "JWT"))?;
//! loop {
//!     let delivery = inbound.next().await?;
//!     match &delivery.event {
//!         Event::Message(message) => println!("{}: {}", message.client.subject, message.payload),
//!         Event::Presence(presence) => println!("{}: {}", presence.client.subject, presence.is_connected),
//!     }
//!     delivery.accept();
//! }
//! # }
//! ```
//!
//! A handle ([`Inbound`]) faces the application; one task (`driver`), which ends with it, opens streams and serves
//! them one after the other (`link`). Everything is bounded by the messages that a consumer may have unanswered.

mod answers;
mod driver;
mod event;
mod handle;
mod link;
mod options;
mod pace;

pub use answers::Receipt;
pub use event::{Delivery, Event, Message, Presence, Sender};
pub use handle::{Inbound, Ready};
pub use options::InboundOptions;
