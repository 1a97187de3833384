//! The defaults of flags: shown by the help, used by the commands.

pub(crate) const LISTEN: &str = "127.0.0.1:8080";
pub(crate) const GRPC_LISTEN: &str = "127.0.0.1:7070";
pub(crate) const ADMIN_LISTEN: &str = "127.0.0.1:9090";
/// The port of `serve`'s gRPC: the commands for operators find either.
pub(crate) const CONTROL_LISTEN: &str = GRPC_LISTEN;
pub(crate) const ETCD_PREFIX: &str = "/realtime";
/// [`realtime_control_plane::COMPACT_EVERY`].
pub(crate) const ETCD_COMPACT_SECONDS: &str = "600";
pub(crate) const CONTROL_ADMIN_LISTEN: &str = "127.0.0.1:9091";
pub(crate) const CONTROL_PLANE: &str = SERVER;
pub(crate) const PEER_LISTEN: &str = "127.0.0.1:7071";
/// Services usually publish through a gateway.
pub(crate) const NODE_GRPC_LISTEN: &str = "off";
pub(crate) const NODE_ADMIN_LISTEN: &str = "127.0.0.1:9092";
/// Beside a node on one machine.
pub(crate) const GATEWAY_LISTEN: &str = "127.0.0.1:8081";
pub(crate) const GATEWAY_ADMIN_LISTEN: &str = "127.0.0.1:9093";
pub(crate) const DATA_DIR: &str = "./realtime-data";
/// Whose header is believed can only be said by who runs the balancer.
pub(crate) const PROXY_PROTOCOL: &str = "off";
pub(crate) const NODE_ID: &str = "node-1";
/// One per core.
pub(crate) const SHARDS: &str = "0";
/// Reconnecting clients come spread out over this time.
pub(crate) const DRAIN_SECONDS: &str = "30";
/// Long enough for a trial, short enough for a token that lies in a shell's history.
pub(crate) const EXPIRES_IN: &str = "1h";
/// The documentation's main example.
pub(crate) const KEY_ALG: &str = "ES512";
pub(crate) const CERTS_DIR: &str = "./cluster-certs";
pub(crate) const CA_NAME: &str = "Realtime cluster CA";
/// Replacing a CA takes every process twice.
pub(crate) const CA_DAYS: &str = "3650";
/// Whoever has copied a key can use it for so long.
pub(crate) const CERT_DAYS: &str = "365";
pub(crate) const SERVER: &str = "http://127.0.0.1:7070";
pub(crate) const PUBLIC_SERVER: &str = "ws://127.0.0.1:8080";
pub(crate) const MESSAGE_TYPE: &str = "broadcast";
/// A person waits; no call of the server takes longer than this.
pub(crate) const TIMEOUT: &str = "30";
