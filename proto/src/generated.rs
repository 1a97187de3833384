//! The code that `build.rs` generates from `proto/`, one module per package. Nothing handwritten.
#![allow(missing_docs, clippy::all, unreachable_pub)]

/// `realtime.error.v1`
pub mod error {
    tonic::include_proto!("realtime.error.v1");
}
/// `realtime.pubsub.v1`
pub mod pubsub {
    tonic::include_proto!("realtime.pubsub.v1");
}
/// `realtime.admin.v1`
pub mod admin {
    tonic::include_proto!("realtime.admin.v1");
}
/// `realtime.discovery.v1`
pub mod discovery {
    tonic::include_proto!("realtime.discovery.v1");
}
/// `realtime.replica.v1`
pub mod replica {
    tonic::include_proto!("realtime.replica.v1");
}
/// `realtime.peer.v1`
pub mod peer {
    tonic::include_proto!("realtime.peer.v1");
}
