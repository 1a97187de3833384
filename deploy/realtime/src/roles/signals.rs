//! SIGTERM, SIGINT and SIGHUP.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that stop the process. From its creation on they no longer kill by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    on_hangup: OnHangup,
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnHangup {
    /// The terminal that the server runs on is gone.
    Stop,
    /// Nothing: there never was a terminal, and an administrator may expect files to be read again.
    GoOn,
    /// It has stopped the server. A closing terminal sends a second one, by its shell, which must not cut the drain
    /// short as a second Ctrl-C does.
    Stopped,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let on_hangup = if std::io::stderr().is_terminal() { OnHangup::Stop } else { OnHangup::GoOn };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            on_hangup,
        })
    }

    /// The next that asks for a stop; its name.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => match self.on_hangup {
                    OnHangup::Stop => {
                        self.on_hangup = OnHangup::Stopped;
                        return "SIGHUP";
                    }
                    OnHangup::GoOn => tracing::info!(
                        "SIGHUP: certificates and operator tokens are read again when their files change; nothing \
                         else is read again"
                    ),
                    OnHangup::Stopped => {}
                },
            }
        }
    }

    /// Work of the start, unless a signal comes before it is done.
    pub(super) async fn interrupting<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            signal = self.next() => {
                tracing::info!(signal, "stopping before the start was complete");
                None
            }
        }
    }

    /// Work of the stop. A signal ends the process at once: what is acknowledged is on disk already, open connections
    /// are cut.
    pub(super) async fn cutting_short<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            signal = self.next() => {
                tracing::warn!(signal, "exiting at once");
                std::process::exit(1);
            }
        }
    }
}
