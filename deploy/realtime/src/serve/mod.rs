//! `realtime serve`: everything on one machine, in one process. Configuration, then build (binds and starts,
//! serves nothing yet), then run until a signal, then drain.

mod app;
mod config;
mod demo;
mod fallback;
mod grpc;
mod in_process;
mod limits;
mod listeners;
mod node;
mod operators;
mod ready;
mod signals;
mod tasks;
mod tls;
mod watch;

use crate::cli::ServeArgs;
use crate::config::Layers;
use crate::failure::Failure;
use crate::logs;

use app::App;
use config::ServeConfig;
use signals::Signals;

/// Runs until it is told to stop and has drained.
pub(crate) fn run(args: &ServeArgs, layers: &Layers) -> Result<(), Failure> {
    let config = ServeConfig::resolve(args, layers)?;
    logs::for_server();
    for name in layers.unknown_variables() {
        tracing::warn!(name, "this environment variable means nothing here");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let app = tokio::select! {
            built = App::build(config) => built?,
            // Nothing is served yet, so that there is nothing to drain.
            signal = signals.next() => {
                tracing::info!(signal, "stopped before serving");
                return Ok(());
            }
        };
        app.run(signals).await
    });
    // Opening the store cannot be interrupted; what is left of it ends with the process, as with a kill.
    runtime.shutdown_background();
    ended
}
