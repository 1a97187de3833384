//! SIGTERM and SIGINT, and SIGHUP: where somebody watches at a terminal, it has gone, and the process stops like with
//! the others. Elsewhere SIGHUP means "read your files again", which happens without it; so it changes nothing.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that stop the process. From its creation on they no longer kill by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether a hang-up stops the process.
    at_terminal: bool,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            at_terminal: std::io::stderr().is_terminal(),
        })
    }

    /// The next of those that stop the process; its name.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    if self.at_terminal {
                        return "SIGHUP";
                    }
                    tracing::info!(
                        "SIGHUP: certificates and operator tokens are read again when their files change, nothing else is"
                    );
                }
            }
        }
    }
}
