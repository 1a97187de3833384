//! The help, the completions and the manual pages, as a newcomer uses them: every example of every command is run.
#![allow(unreachable_pub, clippy::unwrap_used, dead_code)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Server, eventually, home, realtime, succeed};

/// Every command that is no group, in an order in which their examples build on each other.
const COMMANDS: [&str; 22] = [
    "keys generate",
    "token",
    "certs init",
    "certs issue",
    "apps list",
    "apps get",
    "apps apply",
    "settings get",
    "settings apply",
    "nodes list",
    "pub",
    "sub",
    "completions",
    "man",
    "drain",
    "undrain",
    "apps delete",
    "serve",
    "control-plane",
    "data-plane",
    "gateway",
    "",
];

/// Those whose examples run until they are stopped.
const SERVERS: [&str; 5] = ["", "serve", "control-plane", "data-plane", "gateway"];

fn help(words: &str) -> String {
    succeed(realtime().args(words.split_whitespace()).arg("--help"))
}

/// The examples of a command's help: lines of a shell; a line that ends in `\` goes on.
fn examples(words: &str) -> Vec<String> {
    let text = help(words);
    let (_, rest) = text.split_once("Examples:\n").expect(words);
    let (block, _) = rest.split_once("\n\n").expect(words);
    let lines: Vec<&str> = block.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    lines.join("\n").replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// The words of a command's subcommands, as its help lists them.
fn subcommands(words: &str) -> Vec<String> {
    let text = help(words);
    let Some((_, rest)) = text.split_once("Commands:\n") else { return Vec::new() };
    let lines = rest.split("\n\n").next().unwrap().lines();
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help");
    names.map(|name| format!("{words} {name}").trim().to_owned()).collect()
}

#[test]
fn every_command_is_tried_here() {
    let mut found = vec![String::new()];
    for top in subcommands("") {
        let below = subcommands(&top);
        if below.is_empty() { found.push(top) } else { found.extend(below) }
    }
    found.sort();
    let mut tried = COMMANDS.map(str::to_owned).to_vec();
    tried.sort();
    assert_eq!(found, tried);
}

/// A shell in the directory where `realtime serve --demo` was started, with the program on its path.
fn shell(server: &Server, line: &str) -> Command {
    let bin = Path::new(env!("CARGO_BIN_EXE_realtime")).parent().unwrap();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", line]).current_dir(&server.home).stdin(Stdio::null());
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command.env("HOME", &server.home).env("REALTIME_DATA_DIR", "data");
    // The examples use the default addresses; this server has others.
    command.env("REALTIME_SERVER", server.grpc()).env("REALTIME_PUBLIC_SERVER", server.public());
    command
}

/// Starts a follower; it is subscribed when this returns.
fn follower(server: &Server, line: &str) -> Child {
    let errors = server.home.join("sub.errors");
    let file = std::fs::File::create(&errors).unwrap();
    let child = shell(server, &format!("exec {line}")).stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    eventually("the subscription", || {
        std::fs::read_to_string(&errors).unwrap().contains("subscribed to news").then_some(())
    });
    child
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
}

#[test]
fn every_example_of_the_help_works_as_it_stands() {
    let home = home();
    let server = Server::start(home.path(), &["--demo", "--drain-seconds", "0"]);
    let publish = "realtime pub demo news hello";
    for words in COMMANDS.iter().filter(|words| !SERVERS.contains(words)) {
        let examples = examples(words);
        assert!(!examples.is_empty(), "{words}");
        for line in examples {
            assert!(line.contains(&format!("realtime {words}")) || line.starts_with("mkdir"), "{line}");
            if *words == "sub" {
                let child = follower(&server, &line);
                succeed(&mut shell(&server, publish));
                if !line.contains("--count") {
                    interrupt(&child);
                }
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {output:?}");
                continue;
            }
            let output = shell(&server, &line).output().unwrap();
            let expected = if line.ends_with("--dry-run") { [Some(0), Some(3)] } else { [Some(0); 2] };
            assert!(expected.contains(&output.status.code()), "{line}: {output:?}");
        }
    }
}

#[test]
fn the_examples_of_servers_are_understood() {
    let home = home();
    for words in SERVERS {
        let lines = examples(words);
        let command = if words.is_empty() { "serve" } else { words };
        for line in lines.iter().filter(|line| line.contains(command)) {
            // A problem more than the example has: it must be the only one, and nothing is started.
            let line = match line.split_once(" --admin-listen ") {
                Some((line, _)) => format!("{line} --admin-listen nowhere"),
                None => format!("{line} --admin-listen nowhere"),
            };
            let mut command = Command::new("bash");
            let bin = Path::new(env!("CARGO_BIN_EXE_realtime")).parent().unwrap();
            command.args(["-c", &line]).current_dir(home.path());
            command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
            let said = support::fail(&mut command, 2);
            assert_eq!(said.lines().count(), 1, "{line}\n{said}");
            assert!(said.contains("--admin-listen"), "{said}");
        }
    }
}

#[test]
fn the_help_says_defaults_variables_and_exit_statuses() {
    let text = help("apps apply");
    for part in [
        "Usage: realtime apps apply",
        "[default: http://127.0.0.1:7070]",
        "[env: REALTIME_SERVER]",
        "Exit status:",
        "3  --dry-run: something would change",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(text, succeed(realtime().args(["help", "apps", "apply"])));
    assert!(!help("apps list").contains("--dry-run"));
    let short = succeed(realtime().args(["apps", "apply", "-h"]));
    assert!(short.contains("Examples:") && short.lines().count() < text.lines().count());
    let with_value =
        succeed(realtime().args(["apps", "list", "--help"]).env("REALTIME_OPERATOR_TOKEN", "hush"));
    assert!(!with_value.contains("hush"), "a variable's value is never shown");
}

#[test]
fn the_version_is_that_of_the_package() {
    let said = succeed(realtime().arg("--version"));
    assert!(said.starts_with(concat!("realtime ", env!("CARGO_PKG_VERSION"))), "{said}");
    assert_eq!(said, succeed(realtime().arg("-V")));
}

/// What bash offers for a line whose last word is being typed.
fn completed(words: &[&str]) -> Vec<String> {
    let script = r#"source <("$0" completions bash)
        COMP_WORDS=(realtime "$@") COMP_CWORD=$#
        _realtime realtime "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-euc", script, env!("CARGO_BIN_EXE_realtime")]).args(words);
    succeed(&mut command).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(completed(&["und"]), ["undrain"]);
    let apps = completed(&["apps", ""]);
    for word in ["list", "get", "apply", "delete"] {
        assert!(apps.contains(&word.to_owned()), "{apps:?}");
    }
    assert_eq!(completed(&["apps", "apply", "--dry"]), ["--dry-run"]);
    assert_eq!(completed(&["serve", "--grpc"]), ["--grpc-listen"]);
    assert_eq!(completed(&["completions", "z"]), ["zsh"]);
}

#[test]
fn zsh_and_fish_take_their_scripts() {
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = succeed(realtime().args(["completions", shell]));
        for word in ["undrain", "dry-run", "grpc-listen"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let home = home();
        let file = home.path().join("script");
        std::fs::write(&file, script).unwrap();
        // Where the shell itself is here, it must be able to read it.
        if let Ok(output) = Command::new(shell).arg(check).arg(&file).output() {
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
}

#[test]
fn manual_pages_are_written_for_every_command_and_man_renders_them() {
    let home = home();
    let printed = succeed(realtime().args(["man", "--dir", "made/man1"]).current_dir(home.path()));
    let pages: Vec<&str> = printed.lines().collect();
    assert!(pages.contains(&"made/man1/realtime.1") && pages.contains(&"made/man1/realtime-apps-apply.1"));
    // The commands, and the groups: keys, certs, apps, settings, nodes.
    assert_eq!(pages.len(), COMMANDS.len() + 5, "{pages:?}");
    for page in pages {
        let text = std::fs::read_to_string(home.path().join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
        let mut man = Command::new("man");
        man.args(["--warnings", "-l", page])
            .current_dir(home.path())
            .env("MANWIDTH", "200")
            .env("LC_ALL", "C.UTF-8");
        if let Ok(output) = man.output() {
            assert!(output.status.success() && output.stderr.is_empty(), "{page}: {output:?}");
            assert!(support::stdout(&output).contains("SEE ALSO"), "{page}");
        }
    }
    let one = succeed(realtime().args(["man", "apps", "apply"]));
    let written = std::fs::read_to_string(home.path().join("made/man1/realtime-apps-apply.1")).unwrap();
    assert_eq!(one, written);
    let said = support::fail(realtime().args(["man", "--dir", "/dev/null/x"]), 1);
    assert_eq!(said, "realtime: cannot write /dev/null/x: Not a directory (os error 20)\n");
}
