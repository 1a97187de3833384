//! Certificates between the processes: who has none gets nowhere, and new ones count without a restart.

use std::process::Output;

use realtime_proto::generated::discovery as wire;
use realtime_proto::generated::discovery::discovery_client::DiscoveryClient;
use realtime_testkit::cluster::metric;
use realtime_testkit::{Cluster, ClusterCertificates, Role, Server, eventually};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A channel as somebody opens it who trusts the cluster's CA, and shows the certificate of that name if there is one.
async fn channel(
    address: &str,
    trusted: &ClusterCertificates,
    shown: Option<(&ClusterCertificates, &str)>,
) -> Result<Channel, tonic::transport::Error> {
    let read = |path| std::fs::read_to_string(path).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(trusted.ca())));
    if let Some((of, name)) = shown {
        let pem = |kind: &str| read(of.file(&format!("{name}.{kind}")));
        tls = tls.identity(Identity::from_pem(pem("pem"), pem("key")));
    }
    Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect().await
}

/// What discovery says to somebody who asks as a gateway.
async fn discover(channel: Channel) -> Result<(), Code> {
    let hello = wire::Hello {
        role: wire::Role::Gateway.into(),
        id: "stranger".into(),
        incarnation: "1".into(),
        ..wire::Hello::default()
    };
    let hello = wire::StreamRequest { kind: Some(wire::stream_request::Kind::Hello(hello)) };
    let stream = DiscoveryClient::new(channel).stream(tokio_stream::once(hello)).await;
    let mut stream = stream.map_err(|status| status.code())?.into_inner();
    stream.message().await.map(drop).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secure_cluster_works_and_lets_no_stranger_in() {
    let cluster = Cluster::builder().secure().start().await;
    let certificates = cluster.certificates().unwrap();
    let app = cluster.app().create().await;
    let mut subscriber = app.at(&cluster.nodes[2]).connect("subscriber", &[]).await;
    subscriber.subscribe("news").await;
    app.publish(&json!({"topic": "news", "message": "hello"})).await.expect(200);
    assert_eq!(subscriber.expect("news", "broadcast").await, "hello");

    // Operators have tokens and no certificate.
    let replica = &cluster.control_planes[0];
    assert_eq!(cluster.members(replica).await.len(), 3);
    let wrong = cluster.command(replica, &["nodes", "list", "--operator-token", "wrong"]).await;
    assert!(!wrong.status.success() && !said(&wrong).contains("wrong"), "{}", said(&wrong));

    for process in [replica, &cluster.nodes[0], cluster.gateway()] {
        let left = metric(process, "realtime_cluster_certificate_expires_in_seconds").await;
        assert!(left.is_some_and(|seconds| seconds > 24 * 3600), "{left:?}");
    }
    assert_eq!(metric(cluster.gateway(), "realtime_gateway_refused_total").await, Some(0));

    // Discovery is for the cluster's own processes, the peers' port as well.
    let foreign = ClusterCertificates::new();
    foreign.issue("foreign", "127.0.0.1");
    let own = channel(replica.listen(), certificates, Some((certificates, "process-0"))).await.unwrap();
    assert_eq!(discover(own).await, Ok(()));
    let without = channel(replica.listen(), certificates, None).await.unwrap();
    assert_eq!(discover(without).await, Err(Code::Unauthenticated));
    for shown in [None, Some((&foreign, "foreign"))] {
        assert!(refuses(cluster.nodes[0].peer_listen(), certificates, shown).await);
    }
    assert!(refuses(replica.listen(), certificates, Some((&foreign, "foreign"))).await);
    // Plain text is no way in.
    let mut plain = tokio::net::TcpStream::connect(cluster.nodes[0].peer_listen()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = realtime_testkit::within("the end", plain.read_to_end(&mut answer)).await;
    assert!(read.is_err() || answer.first() != Some(&0), "HTTP/2 was spoken: {answer:?}");
}

/// With TLS 1.3 the refusal of a client's certificate comes after its handshake: with the first call.
async fn refuses(
    address: &str,
    trusted: &ClusterCertificates,
    shown: Option<(&ClusterCertificates, &str)>,
) -> bool {
    match channel(address, trusted, shown).await {
        Ok(channel) => discover(channel).await.is_err_and(|code| code != Code::Unimplemented),
        Err(_) => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_count_without_a_restart() {
    let mut cluster = Cluster::builder().secure().control_planes(1).nodes(2).start().await;
    let process = cluster.nodes.len() + cluster.control_planes.len() + cluster.gateways.len();
    let certificates = cluster.certificates().unwrap();
    for number in 0..process {
        certificates.issue_for(&format!("process-{number}"), "127.0.0.1", 2);
    }
    for server in cluster.nodes.iter().chain(&cluster.control_planes).chain(&cluster.gateways) {
        eventually("the new certificate in use", async || {
            let left = metric(server, "realtime_cluster_certificate_expires_in_seconds").await?;
            (left <= 2 * 24 * 3600).then_some(())
        })
        .await;
    }
    // New links, made with the new ones.
    cluster.nodes[1].start_again().await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_this_machine_nothing_is_served_without_certificates() {
    for (role, flag) in [(Role::ControlPlane, "--listen"), (Role::DataPlane, "--peer-listen")] {
        let mut server = Server::of(role).args(&[flag, "0.0.0.0:0"]).spawn();
        assert_eq!(server.exit_status().await.code(), Some(2));
        let log = server.log();
        assert!(log.contains(flag) && log.contains("--insecure-cluster"), "{log}");
    }
}
