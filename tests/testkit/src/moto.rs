//! A real HTTP endpoint of SNS and SQS: moto's server (PyPI `moto[server]`, of `tests/clients/requirements.txt`) on a
//! free port, killed on drop.
//!
//! Where it is missing, the tests that need it say on standard error that they have not run; with `CI` set to anything
//! that is a failure.

use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::python::python;
use crate::wait::eventually;

/// A running server.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    address: String,
    /// Has the log.
    _home: TempDir,
}

impl Moto {
    /// Starts one. `None`: it is not here, which has been said.
    ///
    /// # Panics
    /// With `CI` set when it is not here; when it is here and does not start.
    pub async fn start() -> Option<Self> {
        let (python, home) = (python(), tempfile::tempdir().expect("a temporary directory"));
        let log = File::create_new(home.path().join("log")).expect("a log file");
        let spawned = Command::new(&python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
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
