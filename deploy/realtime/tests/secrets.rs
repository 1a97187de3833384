//! Secrets at rest, as an operator of `serve` meets them: the key that is made, the key that is lost.
#![allow(unreachable_pub, clippy::unwrap_used)]

#[allow(dead_code)] // Other tests use more of it.
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Server, eventually, fail, home, realtime, succeed};

const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush";
const STORE: &str = "data/control-plane.redb";
const KEY: &str = "data/secrets.key";

fn app(secret: Option<&str>) -> Value {
    let mut key = json!({"source": "raw", "algorithms": ["HS256"]});
    if let Some(secret) = secret {
        key["key"] = json!(secret);
    }
    json!({"appId": "shop", "name": "Shop", "description": "readable", "authKey": key, "adminKey": key})
}

fn apply(server: &Server, document: &Value) -> Command {
    std::fs::write(server.home.join("app.json"), document.to_string()).unwrap();
    server.operator(&["apps", "apply", "-f", "app.json"])
}

fn publishes(server: &Server) {
    succeed(&mut server.client(&["pub", "shop", "t", "x", "--secret", SECRET]));
}

/// Whether a file has these bytes.
fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

/// What the HTTP API answers an operator.
fn read_over_http(server: &Server) -> String {
    let token = std::fs::read_to_string(server.home.join("data/operator.token")).unwrap();
    let mut stream = std::net::TcpStream::connect(server.addresses["listen"].as_str().unwrap()).unwrap();
    let (path, token) = ("/api/apps/shop", token.trim());
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `serve`, where it is not to come up.
fn serve(home: &Path, args: &[&str]) -> Command {
    let mut serve = realtime();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "off", "--admin-listen", "off"]);
    serve.args(["--data-dir", "data"]).args(args).current_dir(home);
    serve
}

#[test]
fn serve_makes_a_key_and_no_secret_lies_in_its_store_or_its_log() {
    let home = home();
    let at = |path: &str| home.path().join(path);
    let server = Server::start(home.path(), &[]);
    assert_eq!(std::fs::metadata(at(KEY)).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(at(KEY)).unwrap();
    succeed(&mut apply(&server, &app(Some(SECRET))));
    let mut without = app(None);
    without["description"] = json!("still readable");
    assert!(!succeed(&mut apply(&server, &without)).contains("hush"));
    publishes(&server);
    assert!(!succeed(&mut server.operator(&["apps", "get", "shop"])).contains("hush"));
    server.stop();
    assert!(holds(&at(STORE), "still readable") && !holds(&at(STORE), SECRET));

    let server = Server::start(home.path(), &[]);
    publishes(&server);
    assert_eq!(std::fs::read_to_string(at(KEY)).unwrap(), key, "the key stays");
    for hidden in [key.trim(), SECRET] {
        assert!(!server.log().contains(hidden));
    }
}

#[test]
fn a_key_that_is_gone_is_named_and_never_replaced_by_a_new_one() {
    let home = home();
    let at = |path: &str| home.path().join(path);
    let server = Server::start(home.path(), &[]);
    succeed(&mut apply(&server, &app(Some(SECRET))));
    server.stop();
    std::fs::rename(at(KEY), at("safe.key")).unwrap();
    let said = fail(&mut serve(home.path(), &[]), 1);
    for named in ["shop", "data/secrets.key", "--secrets-key"] {
        assert!(said.contains(named), "{said}");
    }
    assert!(!at(KEY).exists());
    let server = Server::start(home.path(), &["--secrets-key", "safe.key"]);
    publishes(&server);
    assert!(!at(KEY).exists(), "it was given");
}

#[test]
fn another_key_costs_the_secrets_until_they_are_given_anew() {
    let home = home();
    let at = |path: &str| home.path().join(path);
    let server = Server::start(home.path(), &[]);
    succeed(&mut apply(&server, &app(Some(SECRET))));
    server.stop();
    std::fs::write(at("other.key"), format!("{}\n", "02".repeat(32))).unwrap();
    let other = ["--secrets-key", "other.key"];
    let server = Server::start(home.path(), &other);
    let log = server.log();
    let lines = || log.lines().filter(|line| line.contains("apps/shop"));
    assert!(lines().any(|line| line.contains("not in --secrets-key")), "{log}");
    let refused = fail(&mut server.client(&["pub", "shop", "t", "x", "--secret", SECRET]), 1);
    assert!(refused.contains("no such application"), "{refused}");
    let nodes = succeed(&mut server.operator(&["nodes", "list", "--json"]));
    assert!(nodes.contains("authKey.key: is encrypted"), "{nodes}");
    let read = read_over_http(&server);
    assert!(read.starts_with("HTTP/1.1 200") && read.contains("secretSet"), "{read}");
    let mut without = app(None);
    without["description"] = json!("new");
    let refused = fail(&mut apply(&server, &without), 1);
    assert!(refused.contains("authKey.key") && refused.contains("--secrets-key"), "{refused}");
    succeed(&mut apply(&server, &app(Some(SECRET))));
    publishes(&server);
    server.stop();
    publishes(&Server::start(home.path(), &other));
}

#[test]
fn keys_come_from_the_environment_and_are_rotated_by_a_restart() {
    let home = home();
    let path = home.path().join("realtime.toml");
    let keys = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|byte| byte.repeat(32)).collect();
        std::fs::write(&path, format!("secrets-key-text = \"{}\"\n", keys.join(","))).unwrap();
        Server::start(home.path(), &["--config", "realtime.toml"])
    };
    let server = keys(&["01"]);
    succeed(&mut apply(&server, &app(Some(SECRET))));
    server.stop();
    let server = keys(&["02", "01"]);
    eventually("the second key alone", || server.log().contains("all stored secrets").then_some(()));
    server.stop();
    publishes(&keys(&["02"]));
    assert!(!home.path().join(KEY).exists());

    let mut given = serve(home.path(), &["--config", "realtime.toml", "--secrets-key", "f"]);
    assert!(fail(&mut given, 2).contains("REALTIME_SECRETS_KEY_TEXT is given too"));
    let mut bad = serve(home.path(), &[]);
    let said = fail(bad.env("REALTIME_SECRETS_KEY_TEXT", "hush-hush"), 2);
    assert!(said.contains("REALTIME_SECRETS_KEY_TEXT: line 1: a key has 32 bytes"), "{said}");
    assert!(!said.contains("hush"), "{said}");
    std::fs::write(home.path().join(KEY), "hush-hush\n").unwrap();
    let said = fail(&mut serve(home.path(), &[]), 2);
    assert!(said.contains("data/secrets.key: line 1: a key has") && !said.contains("hush"), "{said}");
    let said = fail(&mut serve(home.path(), &["--secrets-key", "absent"]), 2);
    assert!(said.contains("--secrets-key") && said.contains("absent: cannot be read"), "{said}");
}
