//! The contract of the platform (docs/contract.md), asked of a running server through its public interfaces. A
//! module for each part of it; a test's name says the behaviour, and the comment above it the section where it has one.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod addresses;
mod apps;
mod closing;
mod compression;
mod concurrent_writes;
mod configuration;
mod configuration_changes;
mod configuration_under_traffic;
mod connections;
mod errors;
mod forwarders;
mod frames;
mod grpc;
mod grpc_client;
mod http_limits;
mod http_order;
mod http_publish;
mod inbound;
mod inbound_stream;
mod jwks;
mod keys;
mod lifecycle;
mod limits;
mod lists;
mod malformed;
mod messages;
mod opening;
mod presence;
mod quotas;
mod refusals;
mod rfc6455;
mod secrets;
mod settings;
mod subjects;
mod tls;
mod topics;

/// Permits publishing on every topic.
const PUBLISH: &str = "realtime:publisher:write:topic:*";
/// Permits subscribing to every secure topic.
const READ: &str = "realtime:subscriber:read:topic:*";
/// Permits unsubscribing clients and listing topics.
const SUBSCRIBERS: &str = "realtime:admin:manage:subscribers";
/// Permits listing and closing connections.
const CONNECTIONS: &str = "realtime:admin:manage:connections";
/// Permits reading and changing the app's configuration.
const APPLICATION: &str = "realtime:admin:manage:application";
/// Permits changing the app's keys.
const KEYS: &str = "realtime:admin:manage:keys";
