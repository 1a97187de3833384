//! The commands that run a server, and their flags.

use clap::{Args, Subcommand};

use super::defaults;

/// The commands that run a server.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Run a server on this machine
    ///
    /// Control plane, one data-plane node and the HTTP API in one process: WebSocket clients and the HTTP API on one
    /// port, gRPC for services and operators on a second, metrics and probes on a third. SIGTERM, Ctrl-C or the end of
    /// its terminal closes the sessions spread over --drain-seconds and stops; a second signal stops at once.
    ///
    /// Without REALTIME_OPERATOR_TOKEN (key operator-token; there is no flag, which other users could see) and without
    /// --operator-tokens, an operator token is made at the first start, in DATA_DIR/operator.token. Without --secrets-key
    /// and without REALTIME_SECRETS_KEY_TEXT (key secrets-key-text), which has the keys themselves, so is a key for the
    /// applications' secrets, in DATA_DIR/secrets.key. RUST_LOG selects log lines (default: info); they go to standard
    /// error, as JSON unless it is a terminal.
    Serve(ServeArgs),
    /// Run a control plane of a cluster
    ///
    /// Keeps applications, settings and the list of nodes, and tells the data-plane nodes and gateways, which find it by
    /// --control-plane. Operators reach it with the other commands (--server). With --etcd any number of replicas may
    /// run; without, this one keeps everything in --data-dir. SIGTERM or Ctrl-C stops it; running nodes go on without
    /// it.
    ///
    /// Operator tokens come from REALTIME_OPERATOR_TOKEN (key operator-token; there is no flag, which other users could
    /// see) or --operator-tokens, the same for all replicas. Without --etcd there may be neither: a token is made at the
    /// first start then, in DATA_DIR/operator.token. The keys that encrypt applications' secrets come from --secrets-key
    /// or REALTIME_SECRETS_KEY_TEXT (key secrets-key-text), the same for all replicas; with neither, secrets lie in etcd
    /// in the clear, and without --etcd a key is made in DATA_DIR/secrets.key. RUST_LOG selects log lines (default:
    /// info); they go to standard error, as JSON unless it is a terminal.
    ControlPlane(ControlPlaneArgs),
    /// Run a data-plane node of a cluster
    ///
    /// WebSocket clients connect here. The node gets its configuration from the control plane, and passes messages to
    /// the other nodes, which it finds there. SIGTERM or Ctrl-C closes the sessions spread over --drain-seconds and
    /// stops; a second one stops at once.
    DataPlane(DataPlaneArgs),
    /// Run a gateway of a cluster
    ///
    /// Serves the HTTP API, and finds the data-plane nodes at the control plane. Operators can use the HTTP API if the
    /// gateway has their tokens: REALTIME_OPERATOR_TOKEN or --operator-tokens. SIGTERM or Ctrl-C stops it when the
    /// requests at hand are answered.
    Gateway(GatewayArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Public address: WebSocket and HTTP API
    #[arg(default_value = defaults::LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where applications, settings and keys are kept
    #[arg(default_value = defaults::DATA_DIR, long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Address of the gRPC services, for operators and services, or "off"
    #[arg(default_value = defaults::GRPC_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) grpc_listen: Option<String>,
    /// Address of metrics and probes, without authentication, or "off"
    #[arg(default_value = defaults::ADMIN_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Name of this node
    #[arg(default_value = defaults::NODE_ID, long, value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// Threads that own connections; 0: one per core
    #[arg(default_value = defaults::SHARDS, long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Operator tokens: a name and a SHA-256 in hex per line, read again when the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_tokens: Option<String>,
    /// File with the keys by which applications' secrets are encrypted in the store: 32 bytes in base64 or hex per
    /// line; the first encrypts, all decrypt [default: DATA_DIR/secrets.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets_key: Option<String>,
    /// Over how many seconds a stop closes the sessions
    #[arg(default_value = defaults::DRAIN_SECONDS, long, value_name = "SECONDS")]
    pub(crate) drain_seconds: Option<String>,
    /// Write the bound addresses into this file, as JSON, once serving
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<String>,
    /// Allow gRPC without TLS on an address that other machines reach
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) insecure_cluster: Option<String>,
    #[command(flatten)]
    pub(crate) public: PublicArgs,
    #[command(flatten)]
    pub(crate) forwarding: ForwardingArgs,
    /// Create the application "demo" and print a token and commands to try
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) demo: Option<String>,
}

/// The port that the public reaches, and whom it lets in.
#[derive(Debug, Default, Args)]
pub(crate) struct PublicArgs {
    /// Certificate chain (PEM) of the public port, and of gRPC for services; read again when it changes. Without it
    /// they speak plain text
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<String>,
    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<String>,
    /// Load balancers that begin each connection to the public port with a PROXY protocol v2 header: addresses or
    /// CIDRs with commas between, or "off"; nobody else may connect then
    #[arg(default_value = defaults::PROXY_PROTOCOL, long, value_name = "ADDRESSES")]
    pub(crate) proxy_protocol: Option<String>,
    /// Allow key sets (JWKS) over plain HTTP and from addresses that are not public
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_insecure_jwks: Option<String>,
}

/// How clients' messages reach applications' SNS topics and SQS queues.
#[derive(Debug, Default, Args)]
pub(crate) struct ForwardingArgs {
    /// Allow applications' endpointUrl of SNS and SQS over plain HTTP and at addresses that are not public
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_insecure_endpoints: Option<String>,
    /// Lend applications without AWS credentials of their own those of this server: variables, profile, web identity,
    /// or those of its container or machine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) lend_aws_credentials: Option<String>,
}

/// How the processes of a cluster reach each other.
#[derive(Debug, Default, Args)]
pub(crate) struct ClusterArgs {
    /// This process's certificate chain (PEM), as `realtime certs issue` makes it; read again when it changes, like the
    /// other two
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_cert: Option<String>,
    /// Private key (PEM) of --cluster-cert
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_key: Option<String>,
    /// Certificate of the CA (PEM) that the other processes' certificates must come from
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_ca: Option<String>,
    /// Allow links without certificates beyond this machine: whoever reaches the ports then belongs to the cluster
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) insecure_cluster: Option<String>,
}

/// The etcd that replicas of the control plane share.
#[derive(Debug, Default, Args)]
pub(crate) struct EtcdArgs {
    /// Members of an etcd cluster that keeps applications, settings and keys: http or https, commas between them
    #[arg(long, value_name = "URLS")]
    pub(crate) etcd: Option<String>,
    /// What all keys in etcd begin with
    #[arg(default_value = defaults::ETCD_PREFIX, long, value_name = "PREFIX")]
    pub(crate) etcd_prefix: Option<String>,
    /// Certificate of the CA (PEM) that etcd's certificates come from; needed with https
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_ca: Option<String>,
    /// Certificate chain (PEM) to show etcd, where it asks for one
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_cert: Option<String>,
    /// Private key (PEM) of --etcd-cert
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_key: Option<String>,
    /// User of etcd, where its authentication is on
    #[arg(long, value_name = "NAME")]
    pub(crate) etcd_user: Option<String>,
    /// File with the password of --etcd-user
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_password_file: Option<String>,
    /// How often etcd is told to forget old versions; "off" for an etcd that others share or that compacts itself
    #[arg(default_value = defaults::ETCD_COMPACT_SECONDS, long, value_name = "SECONDS")]
    pub(crate) etcd_compact_seconds: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ControlPlaneArgs {
    /// Address of gRPC, for nodes, gateways, operators and the other replicas
    #[arg(default_value = defaults::CONTROL_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// How the other replicas reach it, if not by the address of --listen; without a port, by its port. Names the
    /// replica among them
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<String>,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
    /// Allow applications whose key sets (JWKS) come over plain HTTP or from addresses that are not public
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_insecure_jwks: Option<String>,
    /// Where applications, settings and keys are kept without --etcd
    #[arg(default_value = defaults::DATA_DIR, long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Address of metrics and probes, without authentication, or "off"
    #[arg(default_value = defaults::CONTROL_ADMIN_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Operator tokens: a name and a SHA-256 in hex per line, read again when the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_tokens: Option<String>,
    /// File with the keys by which applications' secrets are encrypted in the store: 32 bytes in base64 or hex per
    /// line; the first encrypts, all decrypt [default without --etcd: DATA_DIR/secrets.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets_key: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Write the bound addresses into this file, as JSON, once serving
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct DataPlaneArgs {
    /// The control plane's replicas, commas between them
    #[arg(default_value = defaults::CONTROL_PLANE, long, value_name = "URLS")]
    pub(crate) control_plane: Option<String>,
    /// Public address: WebSocket
    #[arg(default_value = defaults::LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Address for the other nodes and the gateways
    #[arg(default_value = defaults::PEER_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) peer_listen: Option<String>,
    /// How they reach it, if not by the address of --peer-listen; without a port, by its port
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) peer_advertise: Option<String>,
    /// Address of gRPC for services with tokens, or "off"
    #[arg(default_value = defaults::NODE_GRPC_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) grpc_listen: Option<String>,
    /// Address of metrics and probes, without authentication, or "off"
    #[arg(default_value = defaults::NODE_ADMIN_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Name of this node, unique in the cluster [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// Threads that own connections; 0: one per core
    #[arg(default_value = defaults::SHARDS, long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Operator tokens: a name and a SHA-256 in hex per line, read again when the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_tokens: Option<String>,
    #[command(flatten)]
    pub(crate) public: PublicArgs,
    #[command(flatten)]
    pub(crate) forwarding: ForwardingArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Over how many seconds a stop closes the sessions
    #[arg(default_value = defaults::DRAIN_SECONDS, long, value_name = "SECONDS")]
    pub(crate) drain_seconds: Option<String>,
    /// Write the bound addresses into this file, as JSON, once serving
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct GatewayArgs {
    /// The control plane's replicas, commas between them
    #[arg(default_value = defaults::CONTROL_PLANE, long, value_name = "URLS")]
    pub(crate) control_plane: Option<String>,
    /// Public address: HTTP API
    #[arg(default_value = defaults::GATEWAY_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Address of metrics and probes, without authentication, or "off"
    #[arg(default_value = defaults::GATEWAY_ADMIN_LISTEN, long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Operator tokens: a name and a SHA-256 in hex per line, read again when the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_tokens: Option<String>,
    #[command(flatten)]
    pub(crate) public: PublicArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Write the bound addresses into this file, as JSON, once serving
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<String>,
}
