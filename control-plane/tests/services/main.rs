//! The services through a real server and the generated clients.
#![allow(clippy::unwrap_used)]

mod apps;
mod discovery;
mod node;
mod nodes;
mod permissions;
#[allow(dead_code)] // The tests on etcd use more of it.
mod plane;
mod settings;
mod usage;
