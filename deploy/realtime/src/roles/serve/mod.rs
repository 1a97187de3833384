//! `realtime serve`: everything on one machine, in one process.

mod app;
mod config;
mod demo;
mod in_process;

pub(super) use app::App;
pub(super) use config::resolve;
