//! The services through a real server and the generated clients.
#![allow(clippy::unwrap_used)]

mod apps;
mod discovery;
mod node;
mod nodes;
mod permissions;
mod plane;
mod settings;
mod usage;
