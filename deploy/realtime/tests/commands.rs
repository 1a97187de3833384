//! Commands that need no server: keys, tokens, and what is said about a wrong configuration.
#![allow(unreachable_pub, clippy::unwrap_used, dead_code)]

mod support;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use support::{fail, home, realtime, succeed};

#[test]
fn every_problem_of_the_configuration_is_told_at_once_with_status_2() {
    let home = home();
    std::fs::write(home.path().join("c.toml"), "shards = \"many\"\nlisten-on = 1\ndemo = 3\n").unwrap();
    let said = fail(
        realtime()
            .args([
                "serve",
                "--config",
                "c.toml",
                "--listen",
                "nowhere",
                "--bogus",
                "--grpc-listen",
                "0.0.0.0:0",
            ])
            .env("REALTIME_DRAIN_SECONDS", "soon")
            .current_dir(home.path()),
        2,
    );
    for part in [
        "--bogus: no such argument",
        "c.toml: no such key: listen-on",
        "--listen (REALTIME_LISTEN, key listen): \"nowhere\" on the command line",
        "--shards (REALTIME_SHARDS, key shards): \"many\" in the file",
        "--drain-seconds (REALTIME_DRAIN_SECONDS, key drain-seconds): \"soon\" in the environment",
        "--demo (REALTIME_DEMO, key demo): \"3\" in the file",
        "--insecure-cluster",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!home.path().join("realtime-data").exists());
}

#[test]
fn operator_tokens_that_cannot_be_are_told_with_all_other_problems_and_before_anything_is_made() {
    let home = home();
    for (name, text) in [("malformed", "ann nonsense\n"), ("empty", ""), ("comments", "# ann\n\n")] {
        std::fs::write(home.path().join(name), text).unwrap();
    }
    for (file, why) in [
        ("missing", "cannot read missing: No such file"),
        ("malformed", "malformed: line 1: "),
        ("empty", "empty: there is no token in it"),
        ("comments", "comments: there is no token in it"),
    ] {
        for role in ["serve", "control-plane", "data-plane", "gateway"] {
            let mut command = realtime();
            command.args([role, "--listen", "nowhere", "--operator-tokens", file]).current_dir(home.path());
            let said = fail(&mut command, 2);
            let flag = "--operator-tokens (REALTIME_OPERATOR_TOKENS, key operator-tokens): ";
            assert!(said.contains(&format!("{flag}{why}")) && said.contains("--listen "), "{role}: {said}");
            assert!(!home.path().join("realtime-data").exists(), "{role}");
        }
    }
    // What an earlier start should have left.
    let kept = home.path().join("data/operator.token");
    std::fs::create_dir(kept.parent().unwrap()).unwrap();
    for text in ["", "\n", "two words"] {
        std::fs::write(&kept, text).unwrap();
        for role in ["serve", "control-plane"] {
            let mut command = realtime();
            command.args([role, "--data-dir", "data", "--listen", "nowhere"]).current_dir(home.path());
            let said = fail(&mut command, 2);
            assert!(said.contains("data/operator.token: the token ") && said.contains("--listen "), "{said}");
            assert_eq!(std::fs::read_dir(home.path().join("data")).unwrap().count(), 1, "{role}");
        }
    }
}

#[test]
fn a_variable_that_is_not_text_is_a_problem_and_not_the_default() {
    let bytes = std::ffi::OsStr::from_bytes(b"127.0.0.1:\xff");
    let said = fail(realtime().args(["serve", "--data-dir", "/dev/null"]).env("REALTIME_LISTEN", bytes), 2);
    assert!(said.contains("REALTIME_LISTEN: is not UTF-8"), "{said}");
}

#[test]
fn unknown_commands_and_missing_arguments_have_status_2() {
    fail(realtime().arg("bogus"), 2);
    fail(realtime().args(["pub", "demo"]), 2);
    assert!(fail(realtime().args(["apps", "apply"]), 2).contains("--file"));
    assert!(fail(realtime().args(["token", "--alg", "none", "--secret", "s"]), 2).contains("--alg"));
    assert!(succeed(realtime().arg("--help")).contains("serve"));
}

#[test]
fn a_key_pair_is_written_to_two_files_and_never_over_another() {
    let home = home();
    let generate = || {
        let mut command = realtime();
        command.args(["keys", "generate", "--alg", "ES256", "--out", "k"]).current_dir(home.path());
        command
    };
    assert_eq!(succeed(&mut generate()), "k.key\nk.pub\n");
    let mode = std::fs::metadata(home.path().join("k.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(home.path().join("k.pub")).unwrap().contains("BEGIN PUBLIC KEY"));
    assert!(fail(&mut generate(), 1).contains("k.key"));
    let printed = succeed(realtime().args(["keys", "generate"]));
    assert!(printed.contains("BEGIN PRIVATE KEY") && printed.contains("BEGIN PUBLIC KEY"));
}

#[test]
fn tokens_say_what_was_asked_for() {
    let token = succeed(realtime().args([
        "token",
        "--secret",
        "s3cret",
        "--sub",
        "me",
        "--permission",
        "a:*",
        "--permission",
        "b",
        "--issuer",
        "i",
        "--audience",
        "u",
        "--expires-in",
        "15m",
    ]));
    let mut parts = token.trim().split('.');
    let mut part = || {
        let text = parts.next().unwrap();
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    assert_eq!(part()["alg"], "HS256");
    let claims = part();
    assert_eq!(claims["sub"], "me");
    assert_eq!(claims["permissions"], serde_json::json!(["a:*", "b"]));
    assert_eq!((&claims["iss"], &claims["aud"]), (&"i".into(), &"u".into()));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900);
}

#[test]
fn keys_that_cannot_sign_are_told_in_one_line() {
    let said = fail(realtime().args(["token", "--key", "/nonexistent/k.pem"]), 2);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(fail(realtime().args(["token"]), 2).contains("--key or --secret"));
    assert!(fail(realtime().args(["token", "--key", "a", "--secret", "b"]), 2).contains("--secret"));
}

#[test]
fn an_operators_token_is_needed_and_a_local_one_is_not_sent_elsewhere() {
    let home = home();
    std::fs::create_dir(home.path().join("realtime-data")).unwrap();
    std::fs::write(home.path().join("realtime-data/operator.token"), "hush\n").unwrap();
    let list = |server: &str, status| {
        let mut command = realtime();
        command.args(["apps", "list", "--server", server]).current_dir(home.path());
        fail(&mut command, status)
    };
    assert!(list("http://192.0.2.1:1", 2).contains("an operator token is needed"));
    // A port that nobody listens on: it is only asked once there is a token.
    assert!(list("http://127.0.0.1:1", 1).contains("cannot reach http://127.0.0.1:1"));
}
