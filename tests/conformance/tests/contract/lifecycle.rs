//! Starting, stopping, and what survives.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use realtime_testkit::server::{OPERATOR_TOKEN, binary};
use realtime_testkit::{Algorithm, Incoming, RawSocket, Request, Server, Signer, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Kills of the server while it is being written to: enough that an answer before its sync does not survive.
const KILLS: usize = 8;
/// Writers at the same time.
const WRITERS: usize = 4;

/// What the server may hold after a kill: app id → the descriptions it may have, the acknowledged one, and the one
/// that was being written when the server went.
type Acknowledged = BTreeMap<String, Vec<String>>;

/// Creates apps and changes them until the server is gone. `writes` counts what was acknowledged.
async fn write_until_killed(address: String, stem: String, writes: Arc<AtomicUsize>) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let key = Signer::generate(Algorithm::HS256).key_config();
    let request = |method: &str, path: &str, body: &Value| {
        Request::new(&address, method, path).token(OPERATOR_TOKEN).json(body).exchange()
    };
    for number in 0.. {
        let id = format!("{stem}-{number}");
        let document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
        let Ok(created) = request("POST", "/api/apps", &document).await else { break };
        assert_eq!(created.status, 201, "{}", created.text());
        writes.fetch_add(1, Ordering::Relaxed);
        let changed = format!("changed {number}");
        acknowledged.insert(id.clone(), vec![String::new(), changed.clone()]);
        let path = format!("/api/apps/{id}");
        let Ok(answer) = request("PATCH", &path, &json!({"description": changed})).await else { break };
        assert_eq!(answer.status, 200, "{}", answer.text());
        writes.fetch_add(1, Ordering::Relaxed);
        acknowledged.insert(id, vec![changed]);
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_kill_9() {
    let mut server = Server::start().await;
    let mut acknowledged = Acknowledged::new();
    for round in 0..KILLS {
        let writes = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let stem = format!("app-{round}-{writer}");
                tokio::spawn(write_until_killed(server.listen().to_owned(), stem, Arc::clone(&writes)))
            })
            .collect();
        // Killed while writes are under way, a little later in each round.
        let enough = WRITERS + 3 * round;
        eventually("writes under way", async || (writes.load(Ordering::Relaxed) >= enough).then_some(()))
            .await;
        server.kill();
        for writer in writers {
            acknowledged.extend(writer.await.expect("a writer"));
        }
        server = server.restart().await;
        for (id, descriptions) in &acknowledged {
            let got = server.operator("GET", &format!("/api/apps/{id}")).send().await.expect(200);
            let description = got["description"].as_str().unwrap();
            assert!(
                descriptions.iter().any(|d| d == description),
                "{id} is {description:?} in round {round}"
            );
        }
    }
    assert!(acknowledged.len() >= KILLS * 2, "{} apps", acknowledged.len());
}

#[tokio::test]
async fn sigterm_closes_sessions_with_1001_over_the_drain_time_and_exits_0() {
    let mut server = Server::builder().args(&["--drain-seconds", "2"]).start().await;
    let app = server.app().create().await;
    let mut clients = Vec::new();
    for n in 0..10 {
        clients.push(app.connect(&format!("user{n}"), &[]).await);
    }
    let start = Instant::now();
    let mut ends: Vec<_> = Vec::new();
    for client in clients {
        ends.push(tokio::spawn(async move {
            let mut client = client;
            let close = client.drain_to_close().await;
            (close, start.elapsed())
        }));
    }
    server.terminate();
    // While sessions are open, new ones are refused.
    let path = app.path(&app.token("late", &[]));
    let refusal = eventually("the refusal of a draining node", async || {
        RawSocket::open(app.address(), &path, &[]).await.err()
    })
    .await;
    refusal.expect_problem_with_retry(503, "draining");
    let mut times = Vec::new();
    for end in ends {
        let (close, time) = end.await.expect("a session's end");
        assert_eq!(close, (1001, "Node is draining".into()));
        times.push(time);
    }
    assert!(server.exit_status().await.success(), "{}", server.log());
    times.sort();
    let spread = times[times.len() - 1] - times[0];
    assert!(spread.as_millis() >= 1000, "closed within {spread:?}, not spread over 2 s");
}

#[tokio::test]
async fn with_no_session_left_a_drain_ends_early() {
    let mut server = Server::builder().args(&["--drain-seconds", "600"]).start().await;
    server.terminate();
    assert!(server.exit_status().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut server = Server::builder().args(&["--drain-seconds", "600"]).start().await;
    let app = server.app().create().await;
    let _client = app.connect("a", &[]).await;
    let _other = app.connect("b", &[]).await;
    server.terminate();
    let path = app.path(&app.token("late", &[]));
    eventually("the drain", async || RawSocket::open(app.address(), &path, &[]).await.err()).await;
    server.terminate();
    server.exit_status().await;
}

#[tokio::test]
async fn a_restart_keeps_apps_and_settings() {
    let mut server = Server::start().await;
    let app = server.app().set("description", "kept").create().await;
    server.change_settings(|settings| settings["limits"]["idleTimeoutSeconds"] = json!(77)).await;
    let path = format!("/api/apps/{}", app.id());
    let before = server.operator("GET", &path).send().await.expect(200);
    server.terminate();
    assert!(server.exit_status().await.success());
    let server = server.restart().await;
    assert_eq!(server.operator("GET", &path).send().await.expect(200), before);
    let settings = server.operator("GET", "/api/settings").send().await.expect(200);
    assert_eq!(settings["limits"]["idleTimeoutSeconds"], 77);
    // Tokens of before are good.
    let token = app.token("a", &[]);
    let mut client = realtime_testkit::Client::open_unwelcomed(server.listen(), &app.path(&token)).await;
    assert!(matches!(client.next().await, Incoming::Frame(_)));
}

#[tokio::test]
async fn without_an_operator_token_one_is_made_that_only_the_owner_reads() {
    let server = Server::builder().without_operator_token().start().await;
    let file = server.home().join("data/operator.token");
    let mode = std::fs::metadata(&file).expect("the token's file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let token = std::fs::read_to_string(&file).expect("the token").trim().to_owned();
    assert!(token.len() >= 32, "{} characters", token.len());
    server.request("GET", "/api/apps").token(&token).send().await.expect(200);
    server.operator("GET", "/api/apps").send().await.expect_problem(401, "unauthenticated");
    // The next start finds it.
    server.terminate();
    let mut server = server;
    assert!(server.exit_status().await.success());
    let server = server.restart().await;
    server.request("GET", "/api/apps").token(&token).send().await.expect(200);
    assert!(!server.log().contains(&token), "the log holds the token");
}

#[tokio::test]
async fn probes_and_metrics_are_on_the_admin_listener_only() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let _client = app.connect("a", &[]).await;
    for path in ["/livez", "/readyz"] {
        let probe = Request::new(server.admin_listen(), "GET", path).send().await;
        assert_eq!(probe.status, 200, "{path}: {}", probe.text());
    }
    let metrics = Request::new(server.admin_listen(), "GET", "/metrics").send().await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().lines().any(|line| line.starts_with("# TYPE ")), "{}", metrics.text());
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.operator("GET", path).send().await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_draining_server_is_not_ready_but_alive() {
    let mut server = Server::builder().args(&["--drain-seconds", "2"]).start().await;
    let app = server.app().create().await;
    let mut clients = Vec::new();
    for n in 0..4 {
        clients.push(app.connect(&format!("user{n}"), &[]).await);
    }
    server.terminate();
    let admin = server.admin_listen().to_owned();
    eventually("not ready", async || {
        let ready = Request::new(&admin, "GET", "/readyz").send().await;
        (ready.status == 503).then_some(())
    })
    .await;
    let alive = Request::new(&admin, "GET", "/livez").send().await;
    assert_eq!(alive.status, 200);
    assert!(server.exit_status().await.success());
}

/// All problems at once, and exit status 2.
#[test]
fn a_wrong_configuration_is_told_at_once() {
    let output = Command::new(binary())
        .args(["serve", "--listen", "nowhere", "--grpc-listen", "nowhere either"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--listen") && text.contains("--grpc-listen"), "{text}");
    let unknown = Command::new(binary()).args(["serve", "--surprise"]).output().expect("the program runs");
    assert_eq!(unknown.status.code(), Some(2));
}
