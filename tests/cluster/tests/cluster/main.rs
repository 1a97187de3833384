#![allow(clippy::unwrap_used, reason = "what fails a helper fails its test")]
//! A cluster of real processes: etcd, two replicas of the control plane, three nodes, a gateway.

mod delivery;
mod forwarders;
mod inbound;
mod inbound_sdk;
mod membership;
mod operations;
mod outages;
mod presence;
mod script;
mod security;
mod stable;
