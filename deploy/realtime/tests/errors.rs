//! What a command says when something is wrong: each failure with its one line and its exit status.
#![allow(unreachable_pub, clippy::unwrap_used, dead_code)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{Running, Server, eventually, fail, follow, home, realtime, stdout, succeed};

/// A command in a directory without a server, with an operator token.
fn alone(home: &Path, line: &str) -> Command {
    let mut command = realtime();
    command.args(line.split(' ')).current_dir(home).env("REALTIME_OPERATOR_TOKEN", "t");
    command
}

fn assert_says(command: &mut Command, status: i32, line: &str) {
    let said = fail(command, status);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(said.trim_end(), format!("realtime: {line}"));
}

#[test]
fn what_is_wrong_on_the_command_line_is_one_line_with_what_may_be_meant() {
    let home = home();
    for (line, said) in [
        (
            "aps list",
            "unrecognized subcommand 'aps'; a similar subcommand exists: 'apps'; see `realtime --help`",
        ),
        ("apps list --jsn", "--jsn: no such argument; is --json meant?; see `realtime apps list --help`"),
        ("--jsn apps list", "--jsn: no such argument; see `realtime apps list --help`"),
        (
            "--token t apps list",
            "--token: belongs behind `realtime apps list`; see `realtime apps list --help`",
        ),
        (
            "token --secret s --expires-in -1",
            "--expires-in (REALTIME_EXPIRES_IN, key expires-in): \"-1\" on the command line: must be a number of \
             seconds above 0, or such as 15m, 12h, 30d, or never",
        ),
        (
            "apps list --server nowhere",
            "--server (REALTIME_SERVER, key server): \"nowhere\" on the command line: must be a URL such as \
             http://127.0.0.1:7070",
        ),
        (
            "apps list --timeout 0",
            "--timeout (REALTIME_TIMEOUT, key timeout): \"0\" on the command line: must be a whole number of \
             seconds from 1 to 3600",
        ),
        (
            "apps get",
            "the following required arguments were not provided: <APP>; see `realtime apps get --help`",
        ),
        (
            "sub demo news --count few --app-token t",
            "--count (REALTIME_COUNT, key count): \"few\" on the command \
             line: must be a whole number",
        ),
        (
            "pub No/App news x --app-token t",
            "application id \"No/App\" must be 1 to 64 characters of a-z, 0-9, - and _",
        ),
        (
            "keys generate --out ",
            "--out (REALTIME_OUT, key out): \"\" on the command line: must not be empty",
        ),
        ("token --key /dev/zero", "cannot read /dev/zero: it has more than 64 MiB"),
        (
            "pub demo news x --app-token t\u{e9}",
            "--app-token (REALTIME_APP_TOKEN, key app-token): has characters that no token has",
        ),
        (
            "sub demo news --app-token a\r\nX:y",
            "--app-token (REALTIME_APP_TOKEN, key app-token): has characters that no token has",
        ),
        (
            "apps list --operator-token a\nb",
            "--operator-token (REALTIME_OPERATOR_TOKEN, key operator-token): has characters that no token has",
        ),
        ("man apps nope", "there is no command `realtime apps nope`"),
    ] {
        assert_says(&mut alone(home.path(), line), 2, said);
    }
}

#[test]
fn a_password_in_the_url_of_a_server_is_refused_and_not_repeated() {
    let home = home();
    for (flag, url, line) in [
        ("server", "http://user:hush@127.0.0.1:1", "apps list"),
        ("server", "user:hush@127.0.0.1", "nodes list"),
        ("public-server", "ws://hush@127.0.0.1:1", "pub a t x --app-token t"),
        ("public-server", "wss://user:hush@127.0.0.1:1/x", "sub a t --app-token t"),
    ] {
        let variable = format!("REALTIME_{}", flag.replace('-', "_").to_uppercase());
        let says = |origin: &str| {
            format!(
                "--{flag} ({variable}, key {flag}): the URL {origin} must not have a user name or password (no \"@\")"
            )
        };
        let given = &mut alone(home.path(), &format!("{line} --{flag} {url}"));
        assert_says(given, 2, &says("on the command line"));
        assert_says(alone(home.path(), line).env(&variable, url), 2, &says("in the environment"));
        std::fs::write(home.path().join("config.toml"), format!("{flag} = \"{url}\"\n")).unwrap();
        let given = &mut alone(home.path(), &format!("{line} --config config.toml"));
        assert_says(given, 2, &says("in the file"));
    }
}

#[test]
fn an_operator_token_that_no_request_can_carry_is_refused_wherever_it_stands() {
    let home = home();
    let why = "has characters that no token has";
    let flag = format!("--operator-token (REALTIME_OPERATOR_TOKEN, key operator-token): {why}");
    for line in ["apps list", "serve --listen 127.0.0.1:0 --grpc-listen off --admin-listen off"] {
        assert_says(alone(home.path(), line).env("REALTIME_OPERATOR_TOKEN", "a\u{e9}"), 2, &flag);
    }
    let data = home.path().join("realtime-data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("operator.token"), "two\nlines\n").unwrap();
    let mut list = realtime();
    list.args(["apps", "list"]).current_dir(home.path());
    assert_says(&mut list, 2, &format!("./realtime-data/operator.token: the token {why}"));
    let mut serve = realtime();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "off", "--admin-listen", "off"]);
    let said = fail(serve.current_dir(home.path()), 2);
    assert!(said.contains("operator.token: the token has characters") && !said.contains("lines"), "{said}");
}

#[test]
fn a_byte_order_mark_before_a_document_is_passed_over() {
    let home = home();
    let refused = "bom.json: authKey: is required; adminKey: is required";
    std::fs::write(home.path().join("bom.json"), "\u{feff}{\"name\": \"n\"}").unwrap();
    assert_says(&mut alone(home.path(), "apps apply -f bom.json --server http://127.0.0.1:1"), 2, refused);
    std::fs::write(home.path().join("bom.toml"), "\u{feff}name = \"n\"\n").unwrap();
    let refused = refused.replace("json", "toml");
    assert_says(&mut alone(home.path(), "apps apply -f bom.toml --server http://127.0.0.1:1"), 2, &refused);
    std::fs::write(home.path().join("config.toml"), "\u{feff}server = \"http://127.0.0.1:1\"\n").unwrap();
    let said = fail(&mut alone(home.path(), "apps list --config config.toml"), 1);
    assert!(said.starts_with("realtime: cannot reach http://127.0.0.1:1: "), "{said}");
}

#[test]
fn a_group_without_a_command_shows_its_help_with_status_2() {
    let said = fail(realtime().arg("apps"), 2);
    assert!(said.contains("Usage: realtime apps") && said.contains("apply"), "{said}");
    assert!(fail(&mut realtime(), 2).contains("Usage: realtime"));
}

#[test]
fn a_missing_token_or_key_is_told_with_the_ways_to_give_one() {
    let home = home();
    let without = |line: &str| {
        let mut command = realtime();
        command.args(line.split(' ')).current_dir(home.path());
        command
    };
    assert_says(
        &mut without("apps list"),
        2,
        "an operator token is needed: give REALTIME_OPERATOR_TOKEN or --operator-token, or with --data-dir the \
         directory of the server's data (there is no ./realtime-data/operator.token)",
    );
    assert_says(
        &mut without("apps list --server https://example.com"),
        2,
        "an operator token is needed: give REALTIME_OPERATOR_TOKEN or --operator-token",
    );
    assert_says(
        &mut without("pub demo news hello"),
        2,
        "a key to sign with is needed: --key or --secret (there is no ./realtime-data/keys/demo.pem)",
    );
    assert_says(&mut without("token --key gone.pem"), 2, "--key: there is no file gone.pem");
}

#[test]
fn a_server_that_cannot_be_reached_is_named_with_what_to_try() {
    let home = home();
    let refused = "Connection refused (os error 111); is `realtime serve` running there?";
    assert_says(
        &mut alone(home.path(), "apps list --server http://127.0.0.1:1"),
        1,
        &format!("cannot reach http://127.0.0.1:1: {refused} --server names another address"),
    );
    for line in ["pub a t x --app-token t", "sub a t --app-token t"] {
        assert_says(
            &mut alone(home.path(), &format!("{line} --server ws://127.0.0.1:1")),
            1,
            &format!("cannot reach ws://127.0.0.1:1: {refused} --public-server names another address"),
        );
    }
}

#[test]
fn tls_where_there_is_none_is_told() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let secure = server.grpc().replace("http", "https");
    assert_says(
        realtime().args(["apps", "list", "--token", "t", "--server", &secure]),
        1,
        &format!(
            "cannot reach {secure}: received corrupt message of type InvalidContentType; no TLS is spoken there; \
             try --server {}",
            server.grpc()
        ),
    );
    let secure = server.public().replace("ws", "wss");
    assert_says(
        realtime().args(["pub", "demo", "news", "x", "--app-token", "t", "--server", &secure]),
        1,
        &format!(
            "cannot reach {secure}: received corrupt message of type InvalidContentType; no TLS is spoken there; \
             try --public-server {}",
            server.public()
        ),
    );
    // The other way round: something that answers as a TLS server does to plain text.
    let (address, _server) = answering(b"\x15\x03\x03\x00\x02\x02\x46");
    let said =
        fail(realtime().args(["apps", "list", "--token", "t", "--server", &format!("http://{address}")]), 1);
    assert!(said.contains(&format!("cannot reach http://{address}: ")), "{said}");
    assert!(said.contains(&format!("is TLS needed (--server https://{address})?")), "{said}");
    assert!(said.contains("or the server has no place left"), "{said}");
    let plain = format!("ws://{address}");
    let said = fail(realtime().args(["pub", "a", "t", "x", "--app-token", "t", "--server", &plain]), 1);
    assert!(said.contains(&format!("is TLS needed (--public-server wss://{address})?")), "{said}");
}

/// A listener that reads a little, answers this and closes; it ends with the test's process.
fn answering(bytes: &'static [u8]) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = move |mut stream: TcpStream| {
        let mut some = [0; 16];
        let _ = stream.read(&mut some);
        let _ = stream.write_all(bytes);
    };
    let thread = std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    (address, thread)
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    // The kernel takes the connections; nobody accepts them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for (line, url) in
        [("apps list", format!("http://{address}")), ("pub a t x --app-token t", format!("ws://{address}"))]
    {
        let home = home();
        let mut command = alone(home.path(), line);
        command.args(["--timeout", "1", "--server", &url]);
        assert_says(&mut command, 1, &format!("no answer from {url} within 1 s (--timeout)"));
    }
}

#[test]
fn what_the_server_refuses_is_told_with_the_server() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let (public, grpc) = (server.public(), server.grpc().replace("http", "ws"));
    let mut at_grpc = realtime();
    at_grpc.args(["pub", "demo", "news", "x", "--app-token", "a.b.c", "--server", &grpc]);
    for (mut command, said) in [
        (
            server.operator(&["apps", "list", "--token", "wrong"]),
            format!("{} does not accept the operator token (the one that was given)", server.grpc()),
        ),
        (server.operator(&["apps", "get", "nope"]), "no such application: nope".to_owned()),
        (server.operator(&["apps", "delete", "nope"]), "no such application: nope".to_owned()),
        (server.operator(&["drain", "nope"]), "no such node: nope".to_owned()),
        (
            server.client(&["pub", "demo", "news", "x", "--app-token", "wrong"]),
            format!(
                "{public} refuses the session: the token is malformed: it must be three segments separated by \
                 dots (401)"
            ),
        ),
        (
            server.client(&["sub", "nope", "news", "--app-token", "a.b.c"]),
            format!("{public} refuses the session: no such application (404)"),
        ),
        (at_grpc, format!("{grpc} refuses the session: this port speaks gRPC (400)")),
        (
            server.client(&["sub", "demo", "secure/x", "--app-token", &token(&server)]),
            "secure/x: refused: No permission to subscribe to this topic (permission_denied)".to_owned(),
        ),
    ] {
        let said_last = fail(&mut command, 1).lines().last().unwrap_or_default().to_owned();
        assert_eq!(said_last, format!("realtime: {said}"), "{command:?}");
    }
}

/// A token that allows nothing but to connect.
fn token(server: &Server) -> String {
    let mut command = realtime();
    command.args(["token", "--app", "demo", "--data-dir", "data"]).current_dir(&server.home);
    succeed(&mut command).trim().to_owned()
}

#[test]
fn a_document_that_is_wrong_is_told_by_file_and_field_before_any_server_is_asked() {
    let home = home();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    let apply = |file: &str| alone(home.path(), &format!("apps apply --server http://127.0.0.1:1 -f {file}"));
    write("cut.json", "{\n  \"name\": ");
    write("bad.json", r#"{"name": "n", "tier": 7}"#);
    write("bad.toml", "name = \"n\"\nauthKey = hush\n");
    write("number.json", "3");
    write("key.json", r#"[{"name": "n", "enabled": true, "enabled": false}]"#);
    std::fs::write(home.path().join("latin1.json"), b"\"\xe9\"").unwrap();
    let key = json!({"source": "raw", "algorithms": ["HS256"], "key": "hush-hush-hush-hush-hush-hush-hush"});
    let app = |id: &str, name: &str| json!({"appId": id, "name": name, "authKey": key, "adminKey": key});
    write("twice.json", &json!([app("a", "one"), app("b", "one"), {"name": "three"}]).to_string());
    for (file, said) in [
        ("gone.json", "cannot read gone.json: No such file or directory (os error 2)"),
        (".", "cannot read .: Is a directory (os error 21)"),
        ("cut.json", "cut.json, line 2, column 10: not JSON: EOF while parsing a value"),
        ("bad.json", "bad.json: authKey: is required; adminKey: is required; tier: must be a string"),
        ("number.json", "number.json: must be a JSON object"),
        ("key.json", "key.json: [0].enabled: is given twice"),
        ("latin1.json", "cannot read latin1.json: it is not UTF-8"),
        ("/dev/zero", "cannot read /dev/zero: it has more than 64 MiB"),
    ] {
        assert_says(&mut apply(file), 2, said);
    }
    let said = fail(&mut apply("bad.toml"), 2);
    assert!(said.starts_with("realtime: bad.toml, line 2: not TOML: ") && !said.contains("hush"), "{said}");
    assert_eq!(
        fail(&mut apply("twice.json"), 2).lines().collect::<Vec<_>>(),
        [
            "realtime: twice.json, application 2: name: \"one\" stands twice in the file",
            "realtime: twice.json, application 3: authKey: is required; adminKey: is required",
        ]
    );
    let mut settings = alone(home.path(), "settings apply -f bad.json --server http://127.0.0.1:1");
    assert_says(&mut settings, 2, "bad.json: name: unknown attribute; tier: unknown attribute");
}

#[test]
fn with_json_a_failure_is_one_json_object() {
    let home = home();
    let error = |line: &str, status| -> Value {
        let said = fail(&mut alone(home.path(), line), status);
        assert_eq!(said.lines().count(), 1, "{said}");
        serde_json::from_str::<Value>(&said).unwrap()["error"].clone()
    };
    let unreachable = error("apps list --json --server http://127.0.0.1:1", 1);
    assert_eq!(unreachable["code"], "unavailable");
    assert!(unreachable["message"].as_str().unwrap().contains("cannot reach http://127.0.0.1:1"));
    assert_eq!(error("apps list --json --bogus", 2)["code"], "usage");
    assert_eq!(error("apps apply --json -f gone.json", 2)["code"], "usage");
    let mut by_variable = alone(home.path(), "apps list --server http://127.0.0.1:1");
    let said = fail(by_variable.env("REALTIME_JSON", "true"), 1);
    assert!(said.starts_with("{\"error\":"), "{said}");
    let server = Server::start(home.path(), &[]);
    let said = fail(&mut server.operator(&["apps", "get", "nope", "--json"]), 1);
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document, json!({"error": {"code": "app_not_found", "message": "no such application: nope"}}));
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    for line in ["completions bash", "man apps apply", "--help", "apps list --json", "keys generate"] {
        let args: Vec<&str> = line.split(' ').collect();
        let mut command = match args[0] {
            "apps" => server.operator(&args),
            _ => realtime(),
        };
        if args[0] != "apps" {
            command.args(&args);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        assert!(output.stderr.is_empty(), "{line}: {output:?}");
    }
    // A follower has nothing else to do.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut following = server.client(&["sub", "demo", "news"]);
    let errors = home.path().join("errors");
    following.stdout(writer).stderr(std::fs::File::create(&errors).unwrap());
    let mut following = Running(following.spawn().unwrap());
    let said = || std::fs::read_to_string(&errors).unwrap();
    eventually("the subscription", || said().contains("subscribed to news").then_some(()));
    drop(reader);
    succeed(&mut server.client(&["pub", "demo", "news", "x"]));
    let status = eventually("the follower's end", || following.0.try_wait().unwrap());
    assert!(status.success() && !said().contains("realtime: "), "{status} {}", said());
    // A message that cannot be said is no reason to panic.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(realtime().arg("bogus").stderr(writer).status().unwrap().code(), Some(2));
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let home = home();
    for line in ["--version", "--help", "help apps apply", "completions bash", "man", "keys generate"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = realtime().args(line.split(' ')).current_dir(home.path()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("realtime: cannot write to standard output: "), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
    }
}

#[test]
fn private_topics_of_others_are_not_waited_for() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    let mut token = realtime();
    token.args(["token", "--app", "demo", "--sub", "ann", "--data-dir", "data"]).current_dir(home.path());
    let token = succeed(&mut token);
    for whose in [&[][..], &["--sub", "ann"], &["--app-token", token.trim()]] {
        assert_says(
            server.client(&["sub", "demo", "priv/bob"]).args(whose),
            2,
            "priv/bob: clients cannot follow other private topics; their own, priv/{subject} and \
             priv/{connectionId}, come by themselves",
        );
    }
    let mut following =
        server.client(&["sub", "demo", "priv/ann", "--count", "1", "--app-token", token.trim()]);
    let errors = home.path().join("errors");
    following.stdout(Stdio::piped()).stderr(std::fs::File::create(&errors).unwrap());
    let following = following.spawn().unwrap();
    let said = || std::fs::read_to_string(&errors).unwrap();
    eventually("the session", || said().contains("connected as ").then_some(()));
    succeed(&mut server.client(&["pub", "demo", "priv/ann", "hello"]));
    assert!(stdout(&following.wait_with_output().unwrap()).starts_with("priv/ann\t"));
}

#[test]
fn ctrl_c_ends_a_follower_with_status_0() {
    let home = home();
    let server = Server::start(home.path(), &["--demo"]);
    for signal in [Signal::INT, Signal::TERM] {
        let following = follow(&server, &["sub", "demo", "news"]);
        kill_process(Pid::from_raw(i32::try_from(following.id()).unwrap()).unwrap(), signal).unwrap();
        let output = following.wait_with_output().unwrap();
        assert!(output.status.success() && stdout(&output).is_empty(), "{output:?}");
    }
}

/// `script` of util-linux gives a command a terminal.
fn on_a_terminal(line: &str, variable: Option<(&str, &str)>) -> String {
    let mut command = Command::new("script");
    let program = env!("CARGO_BIN_EXE_realtime");
    command.args(["--quiet", "--command", &format!("{program} {line}"), "/dev/null"]);
    command.env_remove("NO_COLOR").env("TERM", "xterm").stdin(Stdio::null()).envs(variable);
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[test]
fn escapes_are_for_terminals_whose_owner_wants_them() {
    const ESCAPE: char = '\u{1b}';
    assert!(on_a_terminal("--help", None).contains(ESCAPE));
    let plain = on_a_terminal("--help", Some(("NO_COLOR", "1")));
    assert!(plain.contains("Usage:") && !plain.contains(ESCAPE), "{plain}");
    for line in ["--help", "help apps apply", "man", "completions zsh"] {
        assert!(!succeed(realtime().args(line.split(' '))).contains(ESCAPE), "{line}");
    }
}
