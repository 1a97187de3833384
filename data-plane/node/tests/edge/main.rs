#![allow(clippy::unwrap_used, reason = "what fails a helper fails its test")]
//! The node's edges from outside: the front door in raw HTTP, the PubSub service over real gRPC, the admin listener.

mod admin_listener;
mod certificate;
mod fixture;
mod front_door;
mod grpc_port;
mod http2;
mod inbound;
mod opening;
mod proxy;
mod pubsub;
mod tls;
mod wire;
