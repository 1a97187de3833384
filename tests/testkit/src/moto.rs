//! A real HTTP endpoint of SNS and SQS: moto's server (PyPI `moto[server]`, of `tests/clients/requirements.txt`) on a
//! free port. It ends with the value, or with the program that has started it, however that ends.
//!
//! Where it is missing, the tests that need it say on standard error that they have not run; with `CI` set to anything
//! that is a failure.

use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::python::python;
use crate::wait::eventually;

/// Starts the server, which ends when nobody holds the other end of its input any more.
///
/// For each message that is sent, moto asks for the queue's attributes, and so counts its messages three times, each by
/// the calendar: a queue of thousands takes minutes. Here the counts do not tell what is in flight, and the clock is the
/// system's.
const PROGRAM: &str = "\
import os, threading, time
from moto.server import main
from moto.sqs import models
models.unix_time, models.unix_time_millis = time.time, lambda: time.time() * 1000
models.Queue.approximate_number_of_messages = property(lambda queue: len(queue._messages))
models.Queue.approximate_number_of_messages_delayed = property(lambda queue: 0)
models.Queue.approximate_number_of_messages_not_visible = property(lambda queue: 0)
def follow():
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=follow, daemon=True).start()
main(['-H', '127.0.0.1', '-p', '0'])
";

/// A running server.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    address: String,
    /// Has the log.
    _home: TempDir,
}

impl Moto {
    /// The one that all tests of this program share, each with queues and topics of its own: starting one takes Python
    /// seconds. `None`: it is not here, which has been said.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Moto>> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await.as_ref()
    }

    /// Starts one. `None`: it is not here, which has been said.
    ///
    /// # Panics
    /// With `CI` set when it is not here; when it is here and does not start.
    pub async fn start() -> Option<Self> {
        let (python, home) = (python(), tempfile::tempdir().expect("a temporary directory"));
        let log = File::create_new(home.path().join("log")).expect("a log file");
        let spawned = Command::new(&python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => return absent(&format!("{}: {error}", python.display())),
        };
        let mut moto = Self { child, address: String::new(), _home: home };
        let path = moto._home.path().join("log");
        let outcome = eventually("moto's address", async || {
            let log = std::fs::read_to_string(&path).expect("the log");
            let told = log.lines().find_map(|line| line.split_once("Running on http://"));
            match (told, moto.child.try_wait().expect("the process is ours")) {
                (Some((_, address)), _) => Some(Ok(address.trim().to_owned())),
                (None, Some(_)) => Some(Err(log)),
                (None, None) => None,
            }
        });
        match outcome.await {
            Ok(address) => moto.address = address,
            Err(log) if log.contains("No module named") => return absent(&log),
            Err(log) => panic!("moto does not start: {log}"),
        }
        Some(moto)
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn absent(problem: &str) -> Option<Moto> {
    let missing = format!("moto is not here ({problem}); tests/run installs it");
    assert!(env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{missing}");
    let _ = writeln!(io::stderr(), "NOT RUN: tests against SNS and SQS: {missing}");
    None
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Either fails only when it has ended already, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
