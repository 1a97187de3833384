//! `realtime gateway`: the HTTP API of a cluster.

mod app;
mod config;

pub(super) use app::App;
pub(super) use config::resolve;
