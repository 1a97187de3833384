//! The HTTP API through its router: statuses, the order of checks, what reaches the services and what comes back.
// clippy.toml allows unwrap inside test functions; here it stands in what they share, too.
#![allow(clippy::unwrap_used)]

mod apps;
mod connections;
mod forward;
mod forwarders;
mod order;
mod publish;
mod services;
mod settings;
mod topics;
mod world;
mod wrapping;
