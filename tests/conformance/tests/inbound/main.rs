//! 3: clients' messages and presence in SNS topics and SQS queues, asked of a running server and of a real HTTP endpoint
//! of AWS's, read with AWS's SDK.
//!
//! Never here: what the forwarders do between a message and AWS (`data-plane/forwarders`); what needs several nodes
//! (`tests/cluster`).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod acks;
mod bodies;
mod changes;
mod credentials;
mod drain;
mod faults;
mod flood;
mod kill;
mod limits;
mod load;
mod neighbour;
mod presence;
mod world;

/// Permits publishing on every topic.
const PUBLISH: &str = "realtime:publisher:write:topic:*";
/// Permits subscribing to every secure topic.
const READ: &str = "realtime:subscriber:read:topic:*";
/// Permits listing and closing connections.
const CONNECTIONS: &str = "realtime:admin:manage:connections";
