//! `realtime control-plane`: one replica of the control plane.

mod app;
mod caller;
mod config;

pub(super) use app::App;
pub(super) use config::resolve;
