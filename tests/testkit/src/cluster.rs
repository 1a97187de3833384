//! A cluster on this machine: etcd, control-plane replicas, nodes and gateways as real processes on loopback, with or
//! without certificates. Each process is a [`Server`], which a test kills, stops and starts again by itself.
//!
//! Every process keeps its public address over restarts, so that clients and `--control-plane` find it again; the other
//! ports are new each time.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use serde_json::Value;

use crate::app::TestAppBuilder;
use crate::certificates::ClusterCertificates;
use crate::etcd::{Etcd, free_port};
use crate::http::Request;
use crate::network::Network;
use crate::server::{OPERATOR_TOKEN, Role, Server, binary};
use crate::wait::{eventually, eventually_equal};

/// Attempts at an address that another process may take first.
const ATTEMPTS: usize = 5;

/// How many processes of what kind, and what they are told besides.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    control_planes: usize,
    nodes: usize,
    gateways: usize,
    args: Vec<(Role, String)>,
    network: Option<Arc<Network>>,
    certificates: Option<Arc<ClusterCertificates>>,
    /// Processes started so far: each has a certificate of its own.
    started: Arc<AtomicUsize>,
}

impl ClusterBuilder {
    /// So many replicas of the control plane.
    #[must_use]
    pub fn control_planes(self, control_planes: usize) -> Self {
        Self { control_planes, ..self }
    }

    /// So many nodes; their ids are `node-0`, `node-1` and so on.
    #[must_use]
    pub fn nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// So many gateways.
    #[must_use]
    pub fn gateways(self, gateways: usize) -> Self {
        Self { gateways, ..self }
    }

    /// With the cluster's certificates on every link.
    #[must_use]
    pub fn secure(self) -> Self {
        Self { certificates: Some(Arc::default()), ..self }
    }

    /// Adds command-line arguments to every process of a role.
    #[must_use]
    pub fn args(mut self, role: Role, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (role, (*arg).to_owned())));
        self
    }

    /// Runs each node on a machine of this network, everything else at its hub.
    #[must_use]
    pub fn network(self, network: &Arc<Network>) -> Self {
        let all = [Role::ControlPlane, Role::DataPlane, Role::Gateway];
        let allowed = all.iter().fold(self, |builder, role| builder.args(*role, &["--insecure-cluster"]));
        Self { network: Some(Arc::clone(network)), ..allowed }
    }

    /// Starts etcd and all processes, and waits until they serve and know each other.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn start(self) -> Cluster {
        let etcd = Etcd::start().await;
        let url = etcd.url();
        let store = ["--etcd", url.as_str()];
        let replicas = (0..self.control_planes).map(|_| self.process(Role::ControlPlane, None, &store));
        let control_planes = join_all(replicas).await;
        let mut cluster =
            Cluster { builder: self, etcd, control_planes, nodes: Vec::new(), gateways: Vec::new() };
        let (nodes, gateways) = (cluster.builder.nodes, cluster.builder.gateways);
        cluster.nodes = join_all((0..nodes).map(|i| cluster.new_node(i))).await;
        cluster.gateways = join_all((0..gateways).map(|_| cluster.new_gateway())).await;
        cluster.settled().await;
        cluster
    }

    /// Starts a process on an address that it keeps; `machine`: of the network, where there is one.
    async fn process(&self, role: Role, machine: Option<usize>, args: &[&str]) -> Server {
        let (host, prefix) = match (&self.network, machine) {
            (None, _) => ("127.0.0.1".to_owned(), Vec::new()),
            (Some(network), None) => (network.hub().to_string(), Vec::new()),
            (Some(network), Some(machine)) => (network.address(machine).to_string(), network.prefix(machine)),
        };
        let more = self.args.iter().filter(|(of, _)| *of == role);
        let mut more: Vec<&str> = more.map(|(_, arg)| arg.as_str()).collect();
        let certificate = self.certificates.as_ref().map(|certificates| {
            let name = format!("process-{}", self.started.fetch_add(1, Ordering::Relaxed));
            certificates.issue(&name, &host);
            certificates.args(&name)
        });
        more.extend(certificate.iter().flatten().map(String::as_str));
        for _ in 0..ATTEMPTS {
            let listen = format!("{host}:{}", free_port());
            let server = Server::of(role).at(&host, prefix.clone()).args(&["--listen", &listen]);
            let mut server = server.args(args).args(&more).spawn();
            match server.served().await {
                Ok(()) => return server,
                Err(_) if server.log().contains("cannot listen on") => {}
                Err(status) => panic!("a {role:?} ended before it was ready: {status}\n{}", server.log()),
            }
        }
        panic!("no address for a {role:?}");
    }
}

/// A running cluster. The processes are killed when it is dropped; where a test panics, their logs are printed.
#[derive(Debug)]
pub struct Cluster {
    builder: ClusterBuilder,
    /// Where everything is kept.
    pub etcd: Etcd,
    /// The replicas of the control plane.
    pub control_planes: Vec<Server>,
    /// The nodes.
    pub nodes: Vec<Server>,
    /// The gateways.
    pub gateways: Vec<Server>,
}

impl Cluster {
    /// Two replicas of the control plane, three nodes, one gateway.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// The same, to be changed.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            control_planes: 2,
            nodes: 3,
            gateways: 1,
            args: Vec::new(),
            network: None,
            certificates: None,
            started: Arc::default(),
        }
    }

    /// The id of a node.
    #[must_use]
    pub fn node_id(index: usize) -> String {
        format!("node-{index}")
    }

    /// What `--control-plane` is told: the URLs of the replicas, commas between them.
    #[must_use]
    pub fn control_plane_urls(&self) -> String {
        let urls = self.control_planes.iter().map(|replica| self.url_of(replica));
        urls.collect::<Vec<_>>().join(",")
    }

    /// The URL of a replica of the control plane.
    #[must_use]
    pub fn url_of(&self, replica: &Server) -> String {
        let scheme = if self.builder.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", replica.listen())
    }

    /// The certificates of a secure cluster. The n-th process to be started, counted from 0, is `process-n`.
    #[must_use]
    pub fn certificates(&self) -> Option<&ClusterCertificates> {
        self.builder.certificates.as_deref()
    }

    /// Runs an operator's command, such as `nodes list`, which asks this replica of the control plane.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn command(&self, replica: &Server, args: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(args).args(["--server", &self.url_of(replica)]);
        if let Some(certificates) = self.certificates() {
            command.arg("--ca").arg(certificates.ca());
        }
        command.env("REALTIME_OPERATOR_TOKEN", OPERATOR_TOKEN).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("it does not panic").expect("the command starts")
    }

    /// What `nodes list --json` says at this replica.
    ///
    /// # Panics
    /// When the command fails.
    pub async fn members(&self, replica: &Server) -> Vec<Value> {
        let output = self.command(replica, &["nodes", "list", "--json"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a JSON array")
    }

    /// The ids of the members as this replica knows them.
    pub async fn member_ids(&self, replica: &Server) -> Vec<String> {
        let members = self.members(replica).await;
        members.iter().filter_map(|member| member["id"].as_str().map(str::to_owned)).collect()
    }

    /// Starts another node, the next by number; waits until it serves, not until others know it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn add_node(&mut self) -> &mut Server {
        let node = self.new_node(self.nodes.len()).await;
        self.nodes.push(node);
        self.nodes.last_mut().expect("the new one")
    }

    /// Starts another process under a node's id, on an address of its own; waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn twin(&self, index: usize) -> Server {
        self.new_node(index).await
    }

    async fn new_node(&self, index: usize) -> Server {
        let (urls, id) = (self.control_plane_urls(), Self::node_id(index));
        let args = ["--control-plane", &urls, "--node-id", &id];
        self.builder.process(Role::DataPlane, Some(index), &args).await
    }

    async fn new_gateway(&self) -> Server {
        self.builder.process(Role::Gateway, None, &["--control-plane", &self.control_plane_urls()]).await
    }

    /// Waits until every node has a link to every other one, and every gateway knows all nodes. All must run.
    pub async fn settled(&self) {
        let others = self.nodes.len().saturating_sub(1) as u64;
        for node in &self.nodes {
            eventually_equal("the links of a node", Some(others), || metric(node, "realtime_peers_linked"))
                .await;
        }
        if !self.nodes.is_empty() {
            for gateway in &self.gateways {
                eventually("a gateway with nodes", async || {
                    let health = gateway.request("GET", "/api/health/status").exchange().await;
                    health.is_ok_and(|health| health.status == 200).then_some(())
                })
                .await;
            }
        }
    }

    /// Waits until all nodes and gateways have in force what the store has of applications and settings now. A process's
    /// own revision may stay below another's for good: where a node has its stream is no news.
    ///
    /// # Panics
    /// When there is no gateway, or the control plane does not answer.
    pub async fn in_force(&self) {
        let apps = self.operator("GET", "/api/apps?limit=1000").send().await.expect(200);
        let apps = apps["items"].as_array().expect("a page").iter();
        let settings = self.operator("GET", "/api/settings").send().await;
        let settings = settings.header("etag").expect("an ETag").trim_matches('"').parse().ok();
        let versions = apps.map(|app| app["version"].as_u64()).chain([settings]);
        let version = versions.map(|version| version.expect("a version")).max().unwrap_or_default();
        for process in self.nodes.iter().chain(&self.gateways) {
            eventually("the configuration everywhere", async || {
                let held = metric(process, "realtime_config_revision").await?;
                (held >= version).then_some(())
            })
            .await;
        }
    }

    /// The first gateway.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn gateway(&self) -> &Server {
        self.gateways.first().expect("a gateway")
    }

    /// An application to be created through the first gateway; its sessions are opened at the first node, or as
    /// [`crate::TestApp::at`] says.
    #[must_use]
    pub fn app(&self) -> TestAppBuilder {
        let nodes = self.nodes.iter().map(|node| node.listen().to_owned()).collect();
        TestAppBuilder::new(self.gateway().listen(), nodes)
    }

    /// A request to the first gateway with the operator's token.
    #[must_use]
    pub fn operator(&self, method: &str, path: &str) -> Request {
        self.gateway().request(method, path).token(OPERATOR_TOKEN)
    }
}

/// One metric without labels; `None` where the process does not answer, or does not have it.
pub async fn metric(process: &Server, name: &str) -> Option<u64> {
    let answer = Request::new(process.admin_listen(), "GET", "/metrics").exchange().await.ok()?;
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (what, processes) in
            [("control plane", &self.control_planes), ("node", &self.nodes), ("gateway", &self.gateways)]
        {
            for (i, process) in processes.iter().enumerate() {
                eprintln!("--- {what} {i}, {}\n{}", process.listen(), process.log());
            }
        }
    }
}
