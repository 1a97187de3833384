//! The commands that run a server: everything in one process (`serve`), or one role of a cluster. Configuration, then
//! build (binds, serves nothing yet), then run until a signal, then drain.
//!
//! What the roles share stands here: the process with its tasks and signals, listeners, operators, the links between
//! the processes of a cluster.

mod admin_port;
mod cluster_tls;
mod control_plane;
mod data_plane;
mod fallback;
mod forwarding;
mod gate;
mod gateway;
mod grpc;
mod limits;
mod links;
mod listeners;
mod node;
mod operators;
mod process;
mod public;
mod ready;
mod secrets;
mod serve;
mod signals;
mod tasks;
mod tls;
mod watch;

use crate::cli::RoleCommand;
use crate::config::Layers;
use crate::failure::Failure;

/// Runs the role until it is told to stop and has drained.
pub(crate) fn run(role: &RoleCommand, layers: &Layers) -> Result<(), Failure> {
    match role {
        RoleCommand::Serve(args) => process::run::<serve::App>(serve::resolve(args, layers)?, layers),
        RoleCommand::ControlPlane(args) => {
            process::run::<control_plane::App>(control_plane::resolve(args, layers)?, layers)
        }
        RoleCommand::DataPlane(args) => {
            process::run::<data_plane::App>(data_plane::resolve(args, layers)?, layers)
        }
        RoleCommand::Gateway(args) => process::run::<gateway::App>(gateway::resolve(args, layers)?, layers),
    }
}
