//! `realtime apps apply` and `settings apply` as operators use them: files of both forms, standard input, lists,
//! repeated and concurrent applies, and what is shown.
#![allow(unreachable_pub, clippy::unwrap_used, dead_code)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{Server, fail, home, realtime, stderr, stdout, succeed};

const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush";

fn app(id: &str) -> Value {
    let key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"]});
    json!({"appId": id, "name": id, "authKey": key, "adminKey": key})
}

fn write(home: &Path, name: &str, text: &str) {
    std::fs::write(home.join(name), text).unwrap();
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn apply(server: &Server, file: &str, more: &[&str]) -> Command {
    let mut command = server.operator(&["apps", "apply", "-f", file]);
    command.args(more);
    command
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_toml_file_holds_keys_as_they_are_and_applying_it_again_changes_nothing() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    succeed(realtime().args(["keys", "generate", "--out", "app"]).current_dir(home.path()));
    let public = std::fs::read_to_string(home.path().join("app.pub")).unwrap();
    let application = |id: &str| {
        let key = format!("source = \"raw\"\nalgorithms = [\"ES512\"]\nkey = \"\"\"\n{public}\"\"\"\n");
        format!(
            "[[apps]]\nappId = \"{id}\"\nname = \"The {id}\"\n[apps.authKey]\n{key}\n[apps.adminKey]\n{key}\n"
        )
    };
    write(home.path(), "apps.toml", &(application("chat") + &application("shop")));
    let said = succeed(&mut apply(&server, "apps.toml", &[]));
    assert!(
        said.contains("created: \"The chat\" chat") && said.contains("created: \"The shop\" shop"),
        "{said}"
    );
    assert_eq!(
        succeed(&mut apply(&server, "apps.toml", &[])),
        "unchanged: \"The chat\" chat\nunchanged: \"The shop\" shop\n"
    );
    assert_eq!(succeed(&mut apply(&server, "apps.toml", &["--dry-run"])).lines().count(), 2);
    succeed(&mut server.client(&["pub", "chat", "news", "x", "--key", "app.key"]));

    write(home.path(), "settings.toml", "telemetryRetentionDays = 7\n[limits]\nconnectionsPerSubject = 3\n");
    let settings = ["settings", "apply", "-f", "settings.toml"];
    assert!(succeed(&mut server.operator(&settings)).ends_with("replaced: settings\n"));
    assert_eq!(succeed(&mut server.operator(&settings)), "unchanged: settings\n");
}

#[test]
fn what_was_asked_for_is_done_though_nobody_reads_of_it() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    write(home.path(), "apps.json", &json!([app("one"), app("two")]).to_string());
    write(home.path(), "settings.json", "{\"telemetryRetentionDays\": 7}");
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = server.operator(args);
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
        output.status.code().unwrap()
    };
    let apps = ["apps", "apply", "-f", "apps.json"];
    let settings = ["settings", "apply", "-f", "settings.json"];
    for args in [&apps, &settings] {
        let dry_run = [&args[..], &["--dry-run"]].concat();
        let dry_json = [&dry_run[..], &["--json"]].concat();
        for (command, status) in [(&dry_run, 3), (&dry_json, 3), (&args.to_vec(), 0)] {
            assert_eq!(unread(command), status, "{command:?}");
        }
    }
    assert_eq!(succeed(&mut server.operator(&["apps", "list"])).lines().count(), 3);
    assert!(succeed(&mut server.operator(&["settings", "get"])).contains("\"telemetryRetentionDays\": 7"));
}

#[test]
fn what_get_and_list_print_can_be_edited_and_applied_from_standard_input() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let got = succeed(&mut server.operator(&["apps", "get", "demo"]));
    let edited = got.replace("\"description\": \"Made", "\"description\": \"Still made");
    let output = with_input(apply(&server, "-", &[]), &edited);
    assert!(output.status.success(), "{output:?}");
    let said = stdout(&output);
    assert!(said.starts_with("--- demo, version ") && said.contains("\n+++ standard input\n"), "{said}");
    assert!(said.contains("\n+  \"description\": \"Still made"), "{said}");
    assert!(said.ends_with("replaced: \"demo\" demo\n"), "{said}");
    let list = succeed(&mut server.operator(&["apps", "list", "--json"]));
    assert_eq!(stdout(&with_input(apply(&server, "-", &[]), &list)), "unchanged: \"demo\" demo\n");
    // The form in which the HTTP API answers a list.
    let page = format!("{{\"items\":{list},\"next\":null}}");
    assert_eq!(stdout(&with_input(apply(&server, "-", &[]), &page)), "unchanged: \"demo\" demo\n");
}

#[test]
fn programs_get_every_change_in_one_shape() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    let mut nameless = app("x");
    nameless.as_object_mut().unwrap().remove("appId");
    write(home.path(), "apps.json", &json!([app("a"), nameless]).to_string());
    let changes = |more: &[&str], status| {
        let output = apply(&server, "apps.json", more).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(output.stderr.is_empty());
        parsed(&stdout(&output))
    };
    let pending = changes(&["--dry-run"], 3);
    assert_eq!(pending[0]["action"], "create");
    assert_eq!((&pending[0]["appId"], &pending[1]["appId"]), (&json!("a"), &Value::Null));
    assert_eq!((&pending[0]["name"], &pending[0]["applied"]), (&json!("a"), &json!(false)));
    let done = changes(&[], 0);
    assert_eq!((&done[0]["action"], &done[0]["applied"]), (&json!("create"), &json!(true)));
    assert!(done[0]["diff"].as_str().unwrap().contains("+  \"appId\": \"a\""));
    assert_eq!(done[1]["appId"].as_str().unwrap().len(), 32);
    write(home.path(), "settings.json", "{}");
    let settings =
        parsed(&succeed(&mut server.operator(&["settings", "apply", "-f", "settings.json", "--json"])));
    assert_eq!(settings, json!({"action": "none", "applied": false, "diff": ""}));
}

#[test]
fn what_was_done_before_a_refusal_is_told() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    write(home.path(), "taken.json", &app("taken").to_string());
    succeed(&mut apply(&server, "taken.json", &[]));
    let mut second = app("second");
    second["name"] = json!("taken");
    write(home.path(), "apps.json", &json!([app("first"), second, app("third")]).to_string());
    let output = apply(&server, "apps.json", &["--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(parsed(&stdout(&output)).as_array().unwrap().len(), 1);
    let error = &parsed(&stderr(&output))["error"];
    assert_eq!(error["code"], "name_taken");
    assert!(error["message"].as_str().unwrap().starts_with("\"taken\": "), "{error}");
    let list = succeed(&mut server.operator(&["apps", "list"]));
    assert!(list.contains("first") && !list.contains("third"), "{list}");
}

#[test]
fn secrets_are_in_nothing_that_is_printed() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    let mut document = app("a");
    document["amazonSqsForwarder"] = json!({
        "queueUrl": "https://sqs.eu-central-1.amazonaws.com/1/q", "region": "eu-central-1",
        "accessKeyId": "AKIA", "secretAccessKey": "hush-aws",
    });
    let mut broken = document.clone();
    broken["authKey"]["algorithms"] = json!(["HS256", "ES256"]);
    for document in [&document, &broken, &document] {
        write(home.path(), "app.json", &document.to_string());
        for more in [&["--dry-run"][..], &[], &["--json"]] {
            let output = apply(&server, "app.json", more).output().unwrap();
            let said = stdout(&output) + &stderr(&output);
            assert!(!said.is_empty() && !said.contains("hush"), "{said}");
        }
    }
    // Without its secrets the document keeps them.
    let got = succeed(&mut server.operator(&["apps", "get", "a"]));
    assert!(!got.contains("hush") && got.contains("secretSet"), "{got}");
    assert_eq!(stdout(&with_input(apply(&server, "-", &[]), &got)), "unchanged: \"a\" a\n");
    // A new application without a secret has none to keep.
    let mut bare = app("b");
    bare["authKey"].as_object_mut().unwrap().remove("key");
    write(home.path(), "app.json", &bare.to_string());
    assert_eq!(
        fail(&mut apply(&server, "app.json", &[]), 2),
        "realtime: app.json: authKey.key: is required\n"
    );
}

/// Stands between a command and its server. When the server's answer has `marker` in it for the first time, `act` is
/// done before the command sees it.
fn between(server: &Server, marker: &'static [u8], act: impl FnOnce() + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let target = server.grpc().replace("http://", "");
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let (mut act, mut buffer) = (Some(act), [0; 65_536]);
        while let Ok(n @ 1..) = far.read(&mut buffer) {
            if buffer[..n].windows(marker.len()).any(|window| window == marker)
                && let Some(act) = act.take()
            {
                act();
            }
            if near.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = near.shutdown(Shutdown::Both);
    });
    address
}

#[test]
fn a_change_by_somebody_else_after_the_difference_was_shown_is_not_overwritten() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    let mut document = app("a");
    write(home.path(), "app.json", &document.to_string());
    succeed(&mut apply(&server, "app.json", &[]));
    document["description"] = json!("mine");
    write(home.path(), "mine.json", &document.to_string());
    document["description"] = json!("theirs");
    write(home.path(), "theirs.json", &document.to_string());
    let mut other = apply(&server, "theirs.json", &[]);
    let address = between(&server, b"\"appId\":\"a\"", move || drop(succeed(&mut other)));
    let mut mine = realtime();
    mine.args(["apps", "apply", "-f", "mine.json", "--server", &address, "--data-dir", "data"]);
    assert_eq!(
        fail(mine.current_dir(home.path()), 1),
        "realtime: \"a\": changed by somebody else since the difference was shown; run the command again\n"
    );
    let got = parsed(&succeed(&mut server.operator(&["apps", "get", "a"])));
    assert_eq!(got["description"], "theirs");

    write(home.path(), "mine.json", "{\"telemetryRetentionDays\": 7}");
    write(home.path(), "theirs.json", "{\"telemetryRetentionDays\": 8}");
    let mut other = server.operator(&["settings", "apply", "-f", "theirs.json"]);
    let address = between(&server, b"telemetryRetentionDays", move || drop(succeed(&mut other)));
    let mut mine = realtime();
    mine.args(["settings", "apply", "-f", "mine.json", "--server", &address, "--data-dir", "data"]);
    let said = fail(mine.current_dir(home.path()), 1);
    assert!(said.contains("the settings: changed by somebody else"), "{said}");
}
