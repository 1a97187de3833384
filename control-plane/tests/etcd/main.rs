//! The store on real etcd processes, which are killed, paused, filled and locked; and control planes that share one.
#![allow(clippy::unwrap_used)]

mod failover;
mod history;
mod outages;
mod proxy;
mod quotas;
mod replicas;
mod security;
mod unknown;
mod watching;

#[path = "../services/node.rs"]
#[allow(dead_code)] // The services' tests use more of it.
mod node;
#[path = "../services/plane.rs"]
#[allow(dead_code)]
mod plane;
