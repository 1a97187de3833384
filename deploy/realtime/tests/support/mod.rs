//! Runs the built binary: servers on free ports in directories of their own, and commands against them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The binary without any variable that the machine may have set for it.
pub fn realtime() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_realtime"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REALTIME_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub addresses: Value,
    pub home: PathBuf,
}

/// A directory for one server after another.
pub fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

impl Server {
    pub fn start(home: &Path, args: &[&str]) -> Self {
        let ready = home.join("ready.json");
        let log = std::fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
        let out = std::fs::File::create(home.join("out")).unwrap();
        let mut child = realtime()
            .args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--admin-listen"])
            .args(["127.0.0.1:0", "--data-dir", "data", "--ready-file", "ready.json"])
            .args(args)
            .current_dir(home)
            .stdout(out)
            .stderr(log)
            .spawn()
            .unwrap();
        let addresses = eventually("the ready file", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("ended: {status}\n{}", std::fs::read_to_string(home.join("log")).unwrap());
            }
            serde_json::from_str(&std::fs::read_to_string(&ready).ok()?).ok()
        });
        Self { child, addresses, home: home.to_owned() }
    }

    fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().unwrap()
    }

    pub fn public(&self) -> String {
        format!("ws://{}", self.address("listen"))
    }

    pub fn grpc(&self) -> String {
        format!("http://{}", self.address("grpcListen"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap()
    }

    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.home.join("out")).unwrap()
    }

    /// The status of a probe on the admin listener.
    pub fn probe(&self, path: &str) -> u16 {
        self.admin(path).split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// An answer of the admin listener.
    pub fn admin(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.address("adminListen")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// A command that finds this server's token by its data directory.
    pub fn operator(&self, args: &[&str]) -> Command {
        let mut command = realtime();
        command.args(args).args(["--server", &self.grpc(), "--data-dir", "data"]).current_dir(&self.home);
        command
    }

    /// A command of a WebSocket client.
    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = realtime();
        command.args(args).args(["--server", &self.public(), "--data-dir", "data"]).current_dir(&self.home);
        command
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the server's end", || child.try_wait().unwrap())
    }

    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.end();
        assert!(status.success(), "{status}\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where it has ended, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command that must succeed; what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, stderr(&output));
    stdout(&output)
}

/// Runs a command that must fail with this status; what it said.
pub fn fail(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{command:?}\n{}{}", stdout(&output), stderr(&output));
    stderr(&output)
}

/// A `sub` in the background, subscribed when this returns.
pub fn follow(server: &Server, args: &[&str]) -> Child {
    let mut command = server.client(args);
    let errors = tempfile::NamedTempFile::new_in(&server.home).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(errors.reopen().unwrap()).spawn().unwrap();
    eventually("the subscription", || {
        let said = std::fs::read_to_string(errors.path()).unwrap();
        said.contains("subscribed to ").then_some(())
    });
    child
}
