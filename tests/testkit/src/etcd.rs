//! Real etcd processes: a member or a cluster on free ports of this machine, with data of their own, killed on
//! drop. Needs `etcd` (Debian's package `etcd-server`).

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Request;
use crate::wait::eventually;

/// Members take fixed ports, since they come back on them after a kill: from below the range of which the system
/// gives ports to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Attempts at ports that another process may take first.
const ATTEMPTS: usize = 5;
/// Etcd's own timing is meant for networks: on one machine a new leader, and the shortest lease, take a second less.
const LONE_TIMING: [&str; 4] = ["--heartbeat-interval", "20", "--election-timeout", "200"];

/// A member of an etcd cluster, often the only one.
#[derive(Debug)]
pub struct Etcd {
    member: Member,
    arguments: Vec<OsString>,
    /// `None` while it is killed.
    child: Option<Child>,
}

/// Where a member lives.
#[derive(Debug)]
struct Member {
    name: String,
    scheme: &'static str,
    client: u16,
    peer: u16,
    metrics: u16,
    home: TempDir,
}

impl Member {
    fn new(name: String, scheme: &'static str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        Self { name, scheme, client: free_port(), peer: free_port(), metrics: free_port(), home }
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }

    /// Of its own for each cluster: members of other tests that take its ports later are not taken for ours.
    fn token(&self) -> String {
        self.home.path().display().to_string()
    }

    fn metrics_address(&self) -> String {
        format!("127.0.0.1:{}", self.metrics)
    }
}

impl Etcd {
    /// Starts a cluster of one member.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further arguments.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_as("http", arguments).await
    }

    /// The same, serving clients over TLS; the arguments name its certificates.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start_tls(arguments: &[&str]) -> Self {
        Self::start_as("https", arguments).await
    }

    async fn start_as(scheme: &'static str, arguments: &[&str]) -> Self {
        for _ in 0..ATTEMPTS {
            let member = Member::new("lone".into(), scheme);
            let cluster = format!("lone={}", member.peer_url());
            let arguments = LONE_TIMING.iter().chain(arguments).map(OsString::from).collect();
            let token = member.token();
            let mut etcd = Self::launch(member, cluster, token, arguments);
            if etcd.comes_up().await {
                return etcd;
            }
        }
        panic!("etcd does not start");
    }

    fn launch(member: Member, cluster: String, token: String, more: Vec<OsString>) -> Self {
        let mut arguments: Vec<OsString> = vec!["--data-dir".into(), member.home.path().join("data").into()];
        for (name, value) in [
            ("--name", member.name.clone()),
            ("--listen-client-urls", member.url()),
            ("--advertise-client-urls", member.url()),
            ("--listen-peer-urls", member.peer_url()),
            ("--initial-advertise-peer-urls", member.peer_url()),
            ("--listen-metrics-urls", format!("http://{}", member.metrics_address())),
            ("--initial-cluster", cluster),
            ("--initial-cluster-token", token),
            ("--logger", "zap".to_owned()),
        ] {
            arguments.extend([name.into(), value.into()]);
        }
        arguments.extend(more);
        let mut etcd = Self { member, arguments, child: None };
        etcd.spawn();
        etcd
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        self.member.url()
    }

    /// Kills it (SIGKILL). Its data and ports stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process is ours");
            child.wait().expect("it has ended");
        }
    }

    /// Starts it again on the same data and ports, and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.comes_up().await, "etcd does not start again");
    }

    /// Stops its execution (SIGSTOP): its sockets stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Writes a key past everybody else.
    ///
    /// # Panics
    /// When etcd refuses.
    pub async fn put(&self, key: &str, value: &[u8]) {
        let request = json!({"key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value)});
        self.ask("put", &request).await;
    }

    /// The value of a key.
    ///
    /// # Panics
    /// When etcd refuses, or there is none.
    pub async fn get(&self, key: &str) -> Vec<u8> {
        let answer = self.ask("range", &json!({"key": BASE64_STANDARD.encode(key)})).await;
        decoded(&answer["kvs"][0]["value"])
    }

    /// The keys with a prefix.
    ///
    /// # Panics
    /// When etcd refuses.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut end = prefix.as_bytes().to_vec();
        // The first key after all with the prefix; prefixes end in ASCII.
        *end.last_mut().expect("a prefix") += 1;
        let range = json!({
            "key": BASE64_STANDARD.encode(prefix), "range_end": BASE64_STANDARD.encode(end), "keys_only": true,
        });
        let answer = self.ask("range", &range).await;
        let keys = answer["kvs"].as_array().into_iter().flatten();
        keys.map(|entry| String::from_utf8(decoded(&entry["key"])).expect("a key of ours")).collect()
    }

    /// By etcd's own HTTP gateway.
    async fn ask(&self, what: &str, request: &Value) -> Value {
        let address = format!("127.0.0.1:{}", self.member.client);
        Request::new(&address, "POST", &format!("/v3/kv/{what}")).json(request).send().await.expect(200)
    }

    /// Whether it says that it leads its cluster.
    pub async fn leads(&self) -> bool {
        let metrics = Request::new(&self.member.metrics_address(), "GET", "/metrics").exchange().await;
        metrics.is_ok_and(|m| m.text().lines().any(|line| line == "etcd_server_is_leader 1"))
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running member");
        kill_process(Pid::from_child(child), signal).expect("the process is ours");
    }

    fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.member.home.path().join("log"))
            .expect("a log file");
        let child = Command::new("etcd")
            .args(&self.arguments)
            // Version 3.4 knows amd64 only unless told.
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|e| panic!("etcd (Debian's package etcd-server): {e}")));
    }

    /// Waits until it is healthy; false where it has ended.
    async fn comes_up(&mut self) -> bool {
        let address = self.member.metrics_address();
        let home = self.member.home.path().to_owned();
        let child = self.child.as_mut().expect("a started member");
        eventually("a healthy etcd", async || {
            if child.try_wait().expect("the process is ours").is_some() {
                eprintln!("{}", std::fs::read_to_string(home.join("log")).unwrap_or_default());
                return Some(false);
            }
            let health = Request::new(&address, "GET", "/health").exchange().await;
            health.is_ok_and(|answer| answer.status == 200).then_some(true)
        })
        .await
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of several members, with etcd's own timing.
#[derive(Debug)]
pub struct EtcdCluster {
    /// The members.
    pub members: Vec<Etcd>,
}

impl EtcdCluster {
    /// Starts a cluster and waits until all members serve.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    pub async fn start(size: usize) -> Self {
        for _ in 0..ATTEMPTS {
            let members: Vec<_> = (0..size).map(|i| Member::new(format!("m{i}"), "http")).collect();
            let named = members.iter().map(|m| format!("{}={}", m.name, m.peer_url()));
            let cluster = named.collect::<Vec<_>>().join(",");
            let token = members[0].token();
            let launch = |member| Etcd::launch(member, cluster.clone(), token.clone(), Vec::new());
            let mut members: Vec<_> = members.into_iter().map(launch).collect();
            let mut up = true;
            for member in &mut members {
                up = up && member.comes_up().await;
            }
            if up {
                return Self { members };
            }
        }
        panic!("no etcd cluster starts");
    }

    /// The URLs for clients.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Etcd::url).collect()
    }

    /// The index of the leader, once there is one.
    pub async fn leader(&self) -> usize {
        eventually("a leader", async || {
            for (i, member) in self.members.iter().enumerate() {
                if member.child.is_some() && member.leads().await {
                    return Some(i);
                }
            }
            None
        })
        .await
    }
}

fn decoded(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().expect("a key or value")).expect("base64")
}

/// A port that nobody listens on at the moment.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let range = u32::from(PORTS.end - PORTS.start);
    for _ in 0..100 {
        let mut bytes = [0; 4];
        aws_lc_rs::rand::fill(&mut bytes).expect("random numbers");
        let offset = u16::try_from(u32::from_le_bytes(bytes) % range).expect("below the range");
        let port = PORTS.start + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}
