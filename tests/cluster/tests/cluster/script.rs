//! `deploy/cluster/run`, as somebody who tries a cluster out uses it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use realtime_testkit::server::binary;
use realtime_testkit::{eventually, within};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

fn script() -> Command {
    // A test run that was started in the background ignores Ctrl-C, and so would everything that it starts.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/cluster/run"));
    command.env("REALTIME_BIN", binary()).stdin(Stdio::null());
    command
}

/// The running script. It is told to stop when this is dropped, and stops what it has started.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    dir: PathBuf,
    /// What it has printed until the cluster was ready.
    printed: String,
}

impl Running {
    /// Starts it on free ports and waits until the cluster is ready.
    async fn start(home: &TempDir) -> Self {
        let dir = home.path().join("cluster");
        let log =
            std::fs::File::options().create(true).append(true).open(home.path().join("errors")).unwrap();
        let mut command = script();
        command.args(["--base-port", "0", "--dir"]).arg(&dir).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, stdout, dir, printed: String::new() };
        within(
            "the cluster",
            tokio::task::spawn_blocking(move || {
                while !running.printed.contains("Ctrl-C here stops all.") {
                    let read = running.stdout.read_line(&mut running.printed).unwrap();
                    assert_ne!(read, 0, "it has ended: {}", running.errors());
                }
                running
            }),
        )
        .await
        .unwrap()
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.with_file_name("errors")).unwrap()
    }

    /// The processes by name.
    fn pids(&self) -> BTreeMap<String, Pid> {
        let text = std::fs::read_to_string(self.dir.join("pids")).unwrap();
        let pid = |line: &str| {
            let (name, pid) = line.split_once(' ').unwrap();
            (name.to_owned(), Pid::from_raw(pid.parse().unwrap()).unwrap())
        };
        text.lines().map(pid).collect()
    }

    /// Runs lines of a shell as they are meant to be pasted into another terminal.
    async fn shell(&self, lines: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &format!("source ./env\n{lines}")]).current_dir(&self.dir);
        let run = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap());
        let Output { status, stdout, stderr } = within("a command", run).await.unwrap();
        assert!(status.success(), "{lines}: {status}\n{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// The commands of the last lines that it has printed, those that begin with this word.
    fn printed_command(&self, word: &str) -> String {
        let at = self.printed.find(&format!("\n  {word} ")).expect(word);
        let lines = self.printed[at + 1..].split_inclusive('\n');
        let mut command = String::new();
        for line in lines {
            command.push_str(line);
            if !line.ends_with("\\\n") {
                break;
            }
        }
        command
    }

    /// Ctrl-C, and what must follow.
    async fn stop(mut self) {
        let pids = self.pids();
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = eventually("the script's end", async || self.child.try_wait().unwrap()).await;
        assert!(status.success(), "{status}: {}", self.errors());
        for (name, pid) in pids {
            assert!(test_kill_process(pid).is_err(), "{name} is still running");
        }
        assert!(!self.dir.join("pids").exists() && !self.dir.join("env").exists());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended, which is all that is wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_runs_a_cluster_that_its_own_lines_publish_through() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(&home).await;
    let nodes = running.shell("realtime nodes list").await;
    for node in ["node-1", "node-2", "node-3"] {
        assert!(nodes.lines().any(|line| line.starts_with(node) && line.contains("ready")), "{nodes}");
    }
    // A subscriber on the last node, publishers on the first and at the gateway.
    let (subscribe, publish, curl) = (
        running.printed_command("realtime sub"),
        running.printed_command("realtime pub"),
        running.printed_command("curl"),
    );
    let received = running
        .shell(&format!(
            "{} --count 2 > received 2> said &\n\
             until grep -q 'subscribed to news' said; do sleep 0.05; done\n\
             {{\n{publish}\n{} --silent --show-error --fail\n}} > sent\nwait $!\ncat received",
            subscribe.trim_end(),
            curl.trim_end(),
        ))
        .await;
    // The client's comes in an envelope.
    let (from_client, from_gateway) = received.split_once('\n').unwrap();
    assert!(from_client.starts_with("news\t{") && from_client.contains(r#""payload":"hello""#), "{received}");
    assert_eq!(from_gateway, "news\t\"hello\"\n");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_is_told_and_the_next_start_finds_everything_again() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(&home).await;
    let authority = std::fs::read(running.dir.join("certs/ca.pem")).unwrap();
    let version = running.shell("realtime apps list --json | grep version").await;

    let second = script().arg("--dir").arg(&running.dir).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("a cluster is running in"));

    kill_process(running.pids()["node-2"], Signal::KILL).unwrap();
    eventually("the news of a death", async || {
        running.errors().contains("node-2 ended with status 137").then_some(())
    })
    .await;
    running.shell("realtime pub demo news hello").await;
    running.stop().await;

    let running = Running::start(&home).await;
    assert_eq!(std::fs::read(running.dir.join("certs/ca.pem")).unwrap(), authority);
    assert_eq!(running.shell("realtime apps list --json | grep version").await, version);
    running.stop().await;
}

#[test]
fn the_script_names_the_flag_that_is_wrong() {
    for (args, flag) in [
        (&["--nodes", "0"][..], "--nodes"),
        (&["--nodes", "many"], "--nodes"),
        (&["--nodes"], "--nodes"),
        (&["--base-port", "65500"], "--base-port"),
        (&["--control-planes", ""], "--control-planes"),
        (&["--dir", ""], "--dir"),
        (&["--bogus", "1"], "--bogus"),
    ] {
        let output = script().args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(flag), "{args:?}: {said}");
    }
}
