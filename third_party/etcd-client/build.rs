//! In place of the published build script, which needs `protoc`: protox compiles the same files.

const FILES: [&str; 5] = [
    "etcd/api/authpb/auth.proto",
    "etcd/api/etcdserverpb/rpc.proto",
    "etcd/api/mvccpb/kv.proto",
    "etcd/server/etcdserver/api/v3election/v3electionpb/v3election.proto",
    "etcd/server/etcdserver/api/v3lock/v3lockpb/v3lock.proto",
];

fn main() {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"]).expect("the .proto files compile");
    tonic_prost_build::configure()
        .build_server(cfg!(feature = "build-server"))
        .compile_fds(descriptors)
        .expect("the code can be written");
}
