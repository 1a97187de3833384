//! The control plane: what is configured, who is a member, and telling everybody.
//!
//! Owns the store (applications, settings, members, usage), the admin services that change it and the discovery
//! streams that spread it. Every change is validated here, once, before it is stored.
//!
//! Never here: the data plane's traffic, HTTP, listeners and certificates (the binary's).

mod admin;
mod compaction;
mod control_plane;
mod discovery;
mod keys;
mod membership;
mod model;
mod registry;
mod replicas;
mod secrets;
mod shared;
pub mod store;
mod usage;

pub use admin::{AppsService, NodesService, SettingsService};
pub use control_plane::{
    COMPACT_EVERY, ControlPlane, ControlPlaneConfig, ControlPlaneError, Health, MEMBER_TTL, ReplicaConfig,
};
pub use discovery::DiscoveryService;
pub use replicas::{Dial, Peering, ReplicaService};
pub use secrets::{SecretKeys, encrypted_app};
