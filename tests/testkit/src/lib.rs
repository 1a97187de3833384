//! Starts the real `realtime` binary out of process and talks to it through its public interfaces only:
//! HTTP, WebSocket (a well-behaved client and a byte-level one) and signals.
//!
//! Never here: code of the server. Even tokens are signed here anew, so that a mistake shared by signing and
//! verifying cannot hide. Helpers panic with a sentence where the server breaks a promise: they serve tests.

pub mod app;
pub mod aws;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod deflate;
pub mod etcd;
pub mod fault_proxy;
pub mod http;
pub mod key_endpoint;
pub mod moto;
pub mod network;
pub mod process;
pub mod python;
pub mod raw;
pub mod route;
pub mod server;
pub mod tls;
pub mod token;
pub mod wait;

pub use app::{TestApp, TestAppBuilder};
pub use aws::Backend;
pub use certificates::ClusterCertificates;
pub use client::{Client, Frame, Incoming};
pub use cluster::{Cluster, ClusterBuilder};
pub use etcd::{Etcd, EtcdCluster};
pub use fault_proxy::{Fault, FaultProxy};
pub use http::{Request, Response};
pub use key_endpoint::{Answer, KeyEndpoint};
pub use moto::Moto;
pub use network::{Network, in_own_network};
pub use raw::{RawFrame, RawSocket};
pub use route::{Connection, Route};
pub use server::{Role, Server, ServerBuilder};
pub use tls::Authority;
pub use token::{Algorithm, Signer, unix_now};
pub use wait::{DEADLINE, eventually, eventually_equal, within};
