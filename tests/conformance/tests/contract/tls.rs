//! TLS and the PROXY protocol where they show. All the rest of the contract is asked over TLS by running it with
//! `REALTIME_TEST_TLS`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use realtime_testkit::raw::{CLOSE, FIN};
use realtime_testkit::route::secure;
use realtime_testkit::server::binary;
use realtime_testkit::{Authority, Client, RawSocket, Route, Server, eventually};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::PUBLISH;

async fn trusts(server: &Server, authority: &Authority) -> bool {
    trusted_at(server.listen(), authority).await
}

async fn trusted_at(address: &str, authority: &Authority) -> bool {
    let socket = TcpStream::connect(address).await.unwrap();
    secure(socket, &authority.client(&[])).await.is_ok()
}

/// Puts a pair where the server looks for it, as one change.
fn replace(directory: &Path, link: &Path, authority: &Authority) {
    let pair = authority.issue();
    fs::create_dir(directory).unwrap();
    fs::write(directory.join("chain.pem"), pair.chain).unwrap();
    fs::write(directory.join("key.pem"), pair.key).unwrap();
    let new = link.with_extension("new");
    symlink(directory, &new).unwrap();
    fs::rename(&new, link).unwrap();
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_new_connections_and_open_sessions_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let home = Server::directory();
    let link = home.path().join("current");
    replace(&home.path().join("first"), &link, &old);
    let (chain, key) = (link.join("chain.pem"), link.join("key.pem"));
    let files = [chain.to_str().unwrap(), key.to_str().unwrap()];
    let server = Server::builder()
        .args(&["--tls-cert", files[0], "--tls-key", files[1]])
        .over(Route { tls: Some(old.client(&["http/1.1"])), proxied_from: None })
        .start()
        .await;
    let app = server.app().create().await;
    let mut session = app.connect("a", &[PUBLISH]).await;
    let left = server.metric("realtime_tls_certificate_expires_in_seconds").await;
    assert!((86_000..=86_400).contains(&left), "{left} s");

    // As Kubernetes changes a volume: the link comes to lead to another directory.
    replace(&home.path().join("second"), &link, &new);
    eventually("the new certificate", async || trusts(&server, &new).await.then_some(())).await;
    assert!(!trusts(&server, &old).await);
    // The gRPC port shows the same one.
    let grpc = server.grpc_listen();
    assert!(trusted_at(grpc, &new).await && !trusted_at(grpc, &old).await);
    session.publish("main", "after the change").await;
    assert_eq!(session.expect("main", "broadcast").await["payload"], "after the change");

    // A key that is another certificate's: the pair in use stays.
    assert_eq!(server.metric("realtime_tls_reload_failures_total").await, 0);
    fs::write(&key, old.issue().key).unwrap();
    eventually("the failure in the metrics", async || {
        (server.metric("realtime_tls_reload_failures_total").await > 0).then_some(())
    })
    .await;
    assert!(trusts(&server, &new).await);
    let told = |line: &&str| line.contains("ERROR") && line.contains("--tls-key");
    assert_eq!(server.log().lines().filter(told).count(), 1, "{}", server.log());
    session.publish("main", "still there").await;
    assert_eq!(session.expect("main", "broadcast").await["payload"], "still there");
}

#[tokio::test]
async fn a_session_ends_with_its_close_frame_and_then_the_end_of_tls() {
    let authority = Authority::new();
    let mut server = Server::builder().tls(&authority).args(&["--drain-seconds", "1"]).start().await;
    let app = server.app().create().await;
    let socket = TcpStream::connect(server.listen()).await.unwrap();
    let stream = secure(socket, &authority.client(&["http/1.1"])).await.unwrap();
    let mut session = RawSocket::upgrade(stream, &app.path(&app.token("a", &[])), &[]).await.unwrap();
    session.expect_frame().await;
    server.terminate();
    let close = session.expect_frame().await;
    assert_eq!((close.first_byte, close.close().0), (FIN | CLOSE, 1001));
    // An end without `close_notify` would be an error here, which could be anybody's doing.
    assert_eq!(session.stream.read(&mut [0; 16]).await.unwrap(), 0);
    drop(session);
    assert!(server.exit_status().await.success(), "{}", server.log());
}

#[tokio::test]
async fn one_reader_that_reads_nothing_is_closed_with_4008_and_the_others_get_all() {
    const BATCH: usize = 50;
    let authority = Authority::new();
    let server = Server::builder().tls(&authority).start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut slow = app.connect_raw(&app.token("slow", &[]), &[]).await;
    let mut fast = Vec::new();
    for n in 0..20 {
        fast.push(app.connect(&format!("fast{n}"), &[]).await);
    }
    let mut publisher = app.connect("publisher", &[PUBLISH]).await;
    publisher.send("unsubscribe", json!({"topic": "main"})).await;
    let text = "x".repeat(4000);
    let mut sent = 0;
    // Until the slow one's socket is full, however much the kernel lets it hold.
    while server.metric("realtime_slow_consumers_total").await == 0 {
        assert!(sent < 20_000, "the socket takes for ever");
        for n in sent..sent + BATCH {
            publisher
                .send("publish", json!({"topic": "main", "payload": [n, text], "compress": n % 5 == 0}))
                .await;
        }
        for client in &mut fast {
            for n in sent..sent + BATCH {
                let frame = client.frame().await;
                assert_eq!((frame.data()["payload"][0].as_u64(), frame.binary), (Some(n as u64), n % 5 == 0));
                assert_eq!(frame.data()["payload"][1], text.as_str());
            }
        }
        sent += BATCH;
    }
    assert_eq!(slow.expect_close().await.0, 4008);
}

#[tokio::test]
async fn through_a_load_balancer_the_client_is_whom_its_header_names() {
    for tls in [false, true] {
        let authority = Authority::new();
        let builder = Server::builder().proxied_from([192, 0, 2, 7].into());
        let server = if tls { builder.tls(&authority) } else { builder }.start().await;
        let app = server.app().set("clientSourceAddress", json!(["192.0.2.0/24"])).create().await;
        let session = app.connect("a", &[]).await;
        assert_eq!(session.welcome()["connection"]["remoteAddress"], "192.0.2.7");
        // The same for the API.
        app.patch(&json!({"adminSourceAddress": ["192.0.2.7"]})).await;
        app.publish(&json!({"topic": "t", "message": 1})).await.expect(200);
        app.patch(&json!({"adminSourceAddress": ["127.0.0.1"]})).await;
        app.publish(&json!({"topic": "t", "message": 1})).await.expect_problem(403, "address_forbidden");
        // Without the header nobody gets in.
        let mut direct = TcpStream::connect(server.listen()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut direct, b"GET /api/health/status HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        assert!(!matches!(direct.read(&mut [0; 16]).await, Ok(1..)));
        assert_eq!(server.metric("realtime_proxy_protocol_refusals_total").await, 1);
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so() {
    let server = Server::builder().tls(&Authority::new()).start().await;
    let plain = Route::default().connect(server.listen()).await.unwrap();
    let refusal = RawSocket::upgrade(plain, "/apps/a", &[]).await.expect_err("a refusal");
    let problem = refusal.expect_problem(400, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("wss://"), "{problem}");
}

fn run(args: &[&str]) -> (bool, String) {
    let output = Command::new(binary()).args(args).env_remove("REALTIME_OPERATOR_TOKEN").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn commands_reach_a_tls_server_whose_authority_they_are_told() {
    let authority = Authority::new();
    let server = Server::builder().tls(&authority).args(&["--demo"]).start().await;
    let printed = server.log();
    for part in ["wss://127.0.0.1:", "https://127.0.0.1:", "--server wss://"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    assert!(!printed.contains(" ws://") && !printed.contains(" http://"), "{printed}");
    let (_, ca) = server.ca().unwrap();
    let ca = ca.to_str().unwrap().to_owned();
    let (public, grpc) = (format!("wss://{}", server.listen()), format!("https://{}", server.grpc_listen()));
    let token = realtime_testkit::server::OPERATOR_TOKEN;
    let key = server.home().join("data/keys/demo.pem");
    let key = key.to_str().unwrap().to_owned();
    let (listed, published) = tokio::task::spawn_blocking(move || {
        let listed = run(&["apps", "list", "--server", &grpc, "--token", token, "--ca", &ca]);
        let untrusted = run(&["apps", "list", "--server", &grpc, "--token", token]);
        assert!(!untrusted.0, "{}", untrusted.1);
        let publish = ["pub", "demo", "main", "hello", "--server", &public, "--key", &key];
        let untrusted = run(&publish);
        assert!(!untrusted.0 && untrusted.1.contains("certificate"), "{}", untrusted.1);
        (listed, run(&[&publish[..], &["--ca", &ca]].concat()))
    })
    .await
    .unwrap();
    assert!(listed.0 && listed.1.contains("demo"), "{}", listed.1);
    assert!(published.0, "{}", published.1);
}

#[test]
fn a_pair_that_cannot_be_used_ends_the_start_with_the_flags_name() {
    let home = Server::directory();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (pair, other) = (Authority::new().issue(), Authority::new().issue());
    fs::write(path("chain"), pair.chain).unwrap();
    fs::write(path("key"), pair.key).unwrap();
    fs::write(path("other"), other.key).unwrap();
    for (args, says) in [
        (vec!["--tls-cert", "chain"], "--tls-key"),
        (vec!["--tls-key", "key"], "--tls-cert"),
        (vec!["--tls-cert", "gone", "--tls-key", "key"], "--tls-cert"),
        (vec!["--tls-cert", "key", "--tls-key", "key"], "--tls-cert"),
        (vec!["--tls-cert", "chain", "--tls-key", "chain"], "--tls-key"),
        (vec!["--tls-cert", "chain", "--tls-key", "other"], "does not fit the certificate"),
        (vec!["--proxy-protocol", "everybody"], "--proxy-protocol"),
    ] {
        let args: Vec<_> = args
            .into_iter()
            .map(|a| if a.starts_with("--") || a == "everybody" { a.into() } else { path(a) })
            .collect();
        let output =
            Command::new(binary()).arg("serve").args(&args).current_dir(home.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says) && said.trim().lines().count() == 1, "{args:?}: {said}");
    }
}

/// The route's own certificate check is what the tests above rely on.
#[tokio::test]
async fn a_client_trusts_the_authority_it_was_told_and_nobody_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::builder().tls(&authority).start().await;
    assert!(trusts(&server, &authority).await && !trusts(&server, &other).await);
    let app = server.app().create().await;
    Client::open(app.address(), &app.path(&app.token("a", &[]))).await.close().await;
}
