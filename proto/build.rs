//! Compiles the .proto files with protox, so that no `protoc` is needed to build.

use std::error::Error;

const FILES: [&str; 6] = [
    "realtime/error/v1/error.proto",
    "realtime/pubsub/v1/pubsub.proto",
    "realtime/admin/v1/admin.proto",
    "realtime/discovery/v1/discovery.proto",
    "realtime/replica/v1/replica.proto",
    "realtime/peer/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
