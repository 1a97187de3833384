//! The data-plane node. `shard` is the hot path: one OS thread per core owns its connections, topic index
//! and timers. `shards` is the handle that everything else (front door, PubSub service, drain) uses.

mod app_table;
mod consume;
mod ids;
mod operation;
mod places;
mod runtime;
mod shard;
mod targets;

pub mod admin_listener;
pub mod front_door;
pub mod grpc_port;
pub mod metrics;
pub mod peers;
pub mod pubsub;
pub mod shards;
pub mod tls;
pub mod usage;

pub use admin_listener::AdminListener;
pub use front_door::{Fallback, FrontDoor, FrontDoorLimits};
pub use grpc_port::{GrpcPort, GrpcPortLimits};
pub use operation::{Arrival, ConnectionInfo, Publication, Receipt, Target};
pub use peers::{Cluster, MeshPort, Peers, PeersConfig};
pub use pubsub::PubSubService;
pub use runtime::AppRuntime;
pub use shard::stream::Stream;
pub use shards::{Shards, ShardsConfig};
pub use usage::{UsageLedger, UsageReporter};
