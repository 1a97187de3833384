//! `realtime serve` and the commands against it, as an operator runs them.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use realtime_client::{Channel, ErrorCode, PubSubClient};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{Running, Server, eventually, fail, follow, home, realtime, succeed};

const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush";

fn app(name: &str) -> Value {
    let key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"]});
    json!({"appId": name, "name": name, "authKey": key, "adminKey": key})
}

fn write(home: &Path, name: &str, document: &Value) {
    std::fs::write(home.join(name), document.to_string()).unwrap();
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_operator_applies_an_app_a_client_publishes_another_follows_and_a_restart_keeps_all() {
    let home = home();
    let server = Server::start(home.path(), &["--drain-seconds", "1"]);
    write(home.path(), "app.json", &app("shop"));
    let applied = succeed(&mut server.operator(&["apps", "apply", "-f", "app.json"]));
    assert!(applied.contains("created: \"shop\" shop"), "{applied}");
    assert!(applied.contains("(set by the file)") && !applied.contains("hush"), "{applied}");

    let token = succeed(realtime().args([
        "token",
        "--secret",
        SECRET,
        "--sub",
        "follower",
        "--permission",
        "realtime:subscriber:read:topic:secure/*",
    ]));
    let token = token.trim();
    let following =
        follow(&server, &["sub", "shop", "secure/orders", "--count", "2", "--json", "--app-token", token]);
    let publish =
        |message: &str| server.client(&["pub", "shop", "secure/orders", message, "--secret", SECRET]);
    assert!(succeed(&mut publish("hello")).starts_with("published "));
    succeed(publish(r#"{"n": 1}"#).args(["--message-type", "order", "--id", "7"]));
    let followed = following.wait_with_output().unwrap();
    assert!(followed.status.success());
    let lines: Vec<Value> = support::stdout(&followed).lines().map(parsed).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["messageType"], &lines[0]["data"]["payload"]),
        (&"broadcast".into(), &"hello".into())
    );
    assert_eq!((&lines[1]["messageType"], &lines[1]["data"]["id"]), (&"order".into(), &"7".into()));

    write(home.path(), "settings.json", &json!({"telemetryRetentionDays": 7}));
    let said = succeed(&mut server.operator(&["settings", "apply", "-f", "settings.json"]));
    assert!(
        said.contains("-  \"telemetryRetentionDays\": 30") && said.contains("replaced: settings"),
        "{said}"
    );
    server.stop();

    let server = Server::start(home.path(), &[]);
    let apps = succeed(&mut server.operator(&["apps", "list", "--json"]));
    assert_eq!(parsed(&apps)[0]["appId"], "shop");
    assert!(!apps.contains("hush"));
    assert_eq!(parsed(&succeed(&mut server.operator(&["settings", "get"])))["telemetryRetentionDays"], 7);
    succeed(&mut server.client(&["pub", "shop", "t", "still works", "--secret", SECRET]));
    assert!(succeed(&mut server.operator(&["apps", "delete", "shop"])).contains("deleted shop"));
    assert!(fail(&mut server.operator(&["apps", "get", "shop"]), 1).contains("no such application"));
}

#[test]
fn apply_shows_what_changes_and_writes_only_that() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    let apply = |document: &Value, more: &[&str]| {
        write(home.path(), "app.json", document);
        let mut command = server.operator(&["apps", "apply", "-f", "app.json"]);
        command.args(more);
        command
    };
    let mut document = app("a");
    let pending = apply(&document, &["--dry-run"]).output().unwrap();
    assert_eq!(pending.status.code(), Some(3));
    assert!(support::stdout(&pending).contains("would create: \"a\" a"), "{pending:?}");
    assert!(pending.stderr.is_empty(), "{pending:?}");
    assert_eq!(succeed(&mut server.operator(&["apps", "list", "--json"])).trim(), "[]");
    succeed(&mut apply(&document, &[]));

    // What the server answers can be applied as it is.
    let got = parsed(&succeed(&mut server.operator(&["apps", "get", "a"])));
    assert!(succeed(&mut apply(&got, &[])).contains("unchanged: \"a\" a"));

    document["description"] = json!("new");
    document["authKey"].as_object_mut().unwrap().remove("key");
    document["adminKey"].as_object_mut().unwrap().remove("key");
    let said = succeed(&mut apply(&document, &[]));
    assert!(said.contains("+  \"description\": \"new\"") && said.contains("replaced: \"a\" a"), "{said}");
    assert!(!said.contains("(set by the file)"), "{said}");
    succeed(&mut server.client(&["pub", "a", "t", "the secret was kept", "--secret", SECRET]));

    // Without an id it is found by its name.
    document.as_object_mut().unwrap().remove("appId");
    assert!(succeed(&mut apply(&document, &[])).contains("unchanged"));

    document["tier"] = json!(7);
    document["unheardOf"] = json!(1);
    let said = fail(&mut apply(&document, &[]), 2);
    assert!(said.contains("app.json: ") && said.contains("tier") && said.contains("unheardOf"), "{said}");
    let several = json!([app("b"), app("c")]);
    let said = succeed(&mut apply(&several, &["--json"]));
    assert_eq!(parsed(&said).as_array().unwrap().len(), 2);
}

#[test]
fn a_publish_that_is_refused_fails_with_the_reason() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    write(home.path(), "app.json", &app("a"));
    succeed(&mut server.operator(&["apps", "apply", "-f", "app.json"]));
    let token = succeed(realtime().args(["token", "--secret", SECRET]));
    let with_token = |args: &[&str]| fail(server.client(args).args(["--app-token", token.trim()]), 1);
    assert!(with_token(&["pub", "a", "t", "x"]).contains("permission_denied"));
    assert!(with_token(&["pub", "other", "t", "x"]).contains("no such application"));
    let wrong = fail(&mut server.client(&["pub", "a", "t", "x", "--secret", "another-secret"]), 1);
    assert_eq!(wrong.lines().count(), 1, "{wrong}");
    // A follower that has never had a session does not try for ever, either.
    for topic in ["t", "main"] {
        let wrong = fail(&mut server.client(&["sub", "a", topic, "--secret", "another-secret"]), 1);
        assert!(wrong.starts_with("realtime: ") && wrong.trim_end().ends_with("(401)"), "{wrong}");
        assert_eq!(wrong.lines().count(), 1, "{wrong}");
    }
}

#[test]
fn a_data_directory_serves_one_process() {
    let home = home();
    let _server = Server::start(home.path(), &[]);
    let mut second = realtime();
    second.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "off", "--admin-listen", "off"]);
    let said = fail(second.args(["--data-dir", "data"]).current_dir(home.path()), 1);
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_port_in_use_is_told_by_its_flag() {
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut serve = realtime();
    serve.args(["serve", "--listen", &address, "--grpc-listen", &address, "--admin-listen", "off"]);
    let said = fail(serve.current_dir(home.path()), 1);
    assert!(said.contains("(--listen)") && said.contains("(--grpc-listen)"), "{said}");
}

#[test]
fn a_stop_drains_and_a_second_signal_does_not_wait() {
    let home = home();
    // One shard, two sessions: a shard closes its first session at once and the second at the end.
    let mut server = Server::start(home.path(), &["--demo", "--drain-seconds", "600", "--shards", "1"]);
    let following = [(); 2].map(|()| follow(&server, &["sub", "demo", "t"]));
    assert_eq!(server.probe("/readyz"), 200);
    server.signal(Signal::TERM);
    eventually("draining", || (server.probe("/readyz") == 503).then_some(()));
    assert_eq!(server.probe("/livez"), 200);
    let said = fail(&mut server.client(&["pub", "demo", "t", "x"]), 1);
    assert!(said.contains("draining"), "{said}");
    server.signal(Signal::INT);
    assert_eq!(server.end().code(), Some(1));
    for mut child in following {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_hangup_without_a_terminal_is_told_and_changes_nothing() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    server.signal(Signal::HUP);
    eventually("the log tells", || server.log().contains("nothing else is read again").then_some(()));
    assert_eq!(server.probe("/readyz"), 200);
    server.stop();
}

#[test]
fn a_terminal_that_is_gone_stops_with_a_drain() {
    let home = home();
    let serve = "serve --listen 127.0.0.1:0 --grpc-listen off --admin-listen off --data-dir data --demo \
                 --ready-file ready.json";
    // `script` of util-linux gives the server a terminal, which is gone with it.
    let mut script = Command::new("script");
    let program = env!("CARGO_BIN_EXE_realtime");
    script.args(["--quiet", "--command", &format!("{program} {serve}"), "/dev/null"]);
    script.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut terminal = script.spawn().unwrap();
    let ready = home.path().join("ready.json");
    let addresses = eventually("the ready file", || {
        serde_json::from_str::<Value>(&std::fs::read_to_string(&ready).ok()?).ok()
    });
    let mut following = realtime();
    let url = format!("ws://{}", addresses["listen"].as_str().unwrap());
    following.args(["sub", "demo", "t", "--data-dir", "data", "--server", &url]).current_dir(home.path());
    let errors = home.path().join("errors");
    following.stdout(Stdio::null()).stderr(std::fs::File::create(&errors).unwrap());
    let _following = Running(following.spawn().unwrap());
    let said = |text: &str| std::fs::read_to_string(&errors).unwrap().contains(text).then_some(());
    eventually("the session", || said("subscribed to t"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    eventually("the session's end", || said("(1001)"));
    // The last step but one of a stop that was no kill; then the store is closed.
    eventually("the end", || (!ready.exists()).then_some(()));
    Server::start(home.path(), &[]).stop();
}

/// Whether a process has taken SIGTERM over from the system.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0
}

#[test]
fn a_stop_during_the_start_is_a_stop() {
    let home = home();
    // The second process waits for the store, which the first does not give up.
    let _server = Server::start(home.path(), &[]);
    let mut second = realtime();
    second.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "off", "--admin-listen", "off"]);
    second.args(["--data-dir", "data"]).current_dir(home.path()).stderr(Stdio::null());
    let mut second = second.spawn().unwrap();
    eventually("signals are handled", || catches_sigterm(second.id()).then_some(()));
    kill_process(Pid::from_raw(i32::try_from(second.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    let status = eventually("the end", || second.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn a_token_is_in_no_log_of_a_command() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let mut token = realtime();
    token.args(["token", "--app", "demo", "--permission", "realtime:publisher:write:topic:*"]);
    let token = succeed(token.args(["--data-dir", "data"]).current_dir(home.path()));
    let mut publish = server.client(&["pub", "demo", "t", "x", "--app-token", token.trim()]);
    let output = publish.env("RUST_LOG", "trace").output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("TRACE") && !said.contains(token.trim()), "{said}");
}

#[test]
fn metrics_count_the_tokens_that_were_verified() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    succeed(&mut server.client(&["pub", "demo", "t", "x"]));
    let metrics = server.admin("/metrics");
    assert!(metrics.contains("realtime_tokens_verified_total 1\n"), "{metrics}");
}

#[test]
fn a_node_is_drained_and_undrained_without_stopping() {
    let home = home();
    let server = Server::start(home.path(), &["--demo", "--drain-seconds", "0"]);
    let mut following = follow(&server, &["sub", "demo", "t"]);
    succeed(&mut server.operator(&["drain", "node-1"]));
    let state = || parsed(&succeed(&mut server.operator(&["nodes", "list", "--json"])))[0]["state"].clone();
    eventually("the node is listed as draining", || (state() == "draining").then_some(()));
    assert_eq!(server.probe("/readyz"), 503);
    succeed(&mut server.operator(&["undrain", "node-1"]));
    eventually("the node is listed as ready", || (state() == "ready").then_some(()));
    assert_eq!(server.probe("/readyz"), 200);
    succeed(&mut server.client(&["pub", "demo", "t", "back"]));
    assert!(fail(&mut server.operator(&["drain", "nobody"]), 1).contains("no such node"));
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn operator_tokens_come_from_a_file_and_follow_its_changes() {
    /// SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let home = home();
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, format!("# for now\nbob {}\n", "0".repeat(64))).unwrap();
    let server = Server::start(home.path(), &["--operator-tokens", "tokens"]);
    assert!(!home.path().join("data/operator.token").exists());
    let list = || server.operator(&["apps", "list", "--token", "abc"]).output().unwrap().status.success();
    assert!(!list());
    std::fs::write(&tokens, format!("ann {ABC}\n")).unwrap();
    eventually("the new token counts", || list().then_some(()));
    assert!(!server.log().contains("abc\""), "no token in the log");
}

#[test]
fn the_operators_token_is_for_its_owner_alone_and_in_no_log() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    let path = home.path().join("data/operator.token");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&path).unwrap();
    succeed(&mut server.operator(&["nodes", "list"]));
    assert!(!server.log().contains(token.trim()));
    server.stop();
    let given = Server::start(home.path(), &["--drain-seconds", "0"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
    given.stop();
}

/// The paragraph after a heading.
fn printed<'a>(text: &'a str, heading: &str) -> &'a str {
    let mut paragraphs = text.split("\n\n");
    let found = paragraphs.find(|paragraph| paragraph.starts_with(heading));
    assert!(found.is_some(), "{heading}\n{text}");
    paragraphs.next().unwrap().trim()
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir("/");
    command
}

#[test]
fn what_the_demo_prints_works_as_it_is() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let text = server.printed();
    let token = printed(&text, "A token for clients");
    let url = printed(&text, "The WebSocket URL:");
    assert_eq!(url, format!("{}/apps/demo?access_token={token}", server.public()));
    assert!(printed(&text, "In the console of a browser:").contains(url));

    let follow_line = printed(&text, "Follow a topic:");
    let errors = home.path().join("errors");
    let line = format!("{follow_line} --count 2 2>{}", errors.display());
    let following = shell(&line).stdout(std::process::Stdio::piped()).spawn().unwrap();
    eventually("connected", || std::fs::read_to_string(&errors).ok()?.contains("connected").then_some(()));
    succeed(&mut shell(printed(&text, "Publish on it:")));
    let curl = printed(&text, "Publish over HTTP:");
    if Command::new("curl").arg("--version").output().is_ok() {
        let answer = succeed(&mut shell(&format!("{curl} -sS --fail")));
        assert!(parsed(&answer)["id"].is_string(), "{answer}");
    } else {
        // No curl on this machine: the same token and message by hand.
        succeed(&mut shell(printed(&text, "Publish on it:")));
    }
    let followed = following.wait_with_output().unwrap();
    assert_eq!(support::stdout(&followed).lines().count(), 2);
    assert!(succeed(&mut shell(printed(&text, "Manage applications with it:"))).contains("demo"));
    let file = printed(&text, "The operator's token is in:");
    assert_eq!(Path::new(file), home.path().join("data/operator.token"));

    server.stop();
    let server = Server::start(home.path(), &["--demo"]);
    let subscribed = follow(&server, &["sub", "demo", "x", "--count", "1", "--app-token", token]);
    succeed(&mut server.client(&["pub", "demo", "x", "hello", "--app-token", token]));
    assert!(subscribed.wait_with_output().unwrap().status.success());
}

#[tokio::test]
async fn services_publish_over_grpc_and_discovery_is_not_there() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let text = server.printed();
    let token = printed(&text, "A token for the HTTP API").to_owned();
    let channel = Channel::connect(&server.grpc(), Some(&token)).await.unwrap();
    let mut pubsub = PubSubClient::new(channel);
    let publish = |app: &str| realtime_proto::generated::pubsub::PublishRequest {
        app_id: app.into(),
        topic: "t".into(),
        message_json: "[1]".into(),
        ..Default::default()
    };
    let published = pubsub.publish(publish("demo")).await.unwrap();
    assert_eq!(published.bytes, 3);
    let results = pubsub.publish_batch(vec![publish("demo"), publish("absent")]).await.unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().code, ErrorCode::AppNotFound);

    let channel = tonic::transport::Endpoint::from_shared(server.grpc()).unwrap().connect().await.unwrap();
    let mut discovery = realtime_proto::generated::discovery::discovery_client::DiscoveryClient::new(channel);
    let refused = discovery.stream(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}
