//! `realtime data-plane`: one node of a cluster.

mod app;
mod config;
mod ports;

pub(super) use app::App;
pub(super) use config::resolve;
