//! A cluster on this machine: etcd, control-plane replicas, nodes and gateways as real processes on loopback, without
//! certificates. Each process is a [`Server`], which a test kills, stops and starts again by itself.
//!
//! Every process keeps its public address over restarts, so that clients and `--control-plane` find it again; the other
//! ports are new each time.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::app::TestAppBuilder;
use crate::etcd::{Etcd, free_port};
use crate::http::Request;
use crate::network::Network;
use crate::server::{OPERATOR_TOKEN, Role, Server};
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
        let more: Vec<&str> = more.map(|(_, arg)| arg.as_str()).collect();
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
        ClusterBuilder { control_planes: 2, nodes: 3, gateways: 1, args: Vec::new(), network: None }
    }

    /// The id of a node.
    #[must_use]
    pub fn node_id(index: usize) -> String {
        format!("node-{index}")
    }

    /// What `--control-plane` is told: the URLs of the replicas, commas between them.
    #[must_use]
    pub fn control_plane_urls(&self) -> String {
        let urls = self.control_planes.iter().map(|replica| format!("http://{}", replica.listen()));
        urls.collect::<Vec<_>>().join(",")
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

    /// Waits until all nodes and gateways have in force what the first gateway has.
    ///
    /// # Panics
    /// When there is no gateway.
    pub async fn in_force(&self) {
        let health = self.gateway().request("GET", "/api/health/status").send().await.expect(200);
        let revision = health["revision"].as_u64().expect("a revision");
        for process in self.nodes.iter().chain(&self.gateways) {
            eventually("the configuration everywhere", async || {
                let held = metric(process, "realtime_config_revision").await?;
                (held >= revision).then_some(())
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
