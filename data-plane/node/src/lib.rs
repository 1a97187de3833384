//! The data-plane node. `shard` is the hot path: one OS thread per core owns its connections, topic index
//! and timers. `shards` is the handle that everything else (front door, PubSub service, drain) uses.

pub mod shards;

pub use shards::{AppRuntime, Arrival, ConnectionInfo, Publication, Receipt, Shards, ShardsConfig, Target};
