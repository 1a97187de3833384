//! What clients do that mean harm, or are broken: each case has its documented answer, holds up nobody else, and
//! leaves nothing behind. What the server holds is read from its metrics, and its memory from the operating system.
//!
//! Never here: how much slower others become meanwhile, which is a benchmark (`examples/abuse_p99.rs`).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bodies;
mod connections;
mod crowd;
mod floods;
mod forged;
mod frames;
mod handshakes;
mod heads;
mod idle;
mod json;
mod key_sets;
mod measure;
mod permissions;
mod reconfiguration;
mod records;
mod slow_readers;
mod smuggling;
mod squatters;
mod subjects;
mod subscriptions;
mod tokens;

/// Permits publishing on every topic.
const PUBLISH: &str = "realtime:publisher:write:topic:*";
