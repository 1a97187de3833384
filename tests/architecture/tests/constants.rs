//! Every time-out and limit that is a constant of the code stands in `docs/configuration.md`, with its value, and has
//! its reason beside it: a `Duration`, or a name that begins with `MAX_`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where production code lives.
const SOURCES: [&str; 6] = [
    "proto/src/",
    "data-plane/",
    "control-plane/src/",
    "gateway-rest/src/",
    "client-sdk/rust/src/",
    "deploy/realtime/src/",
];
/// Modules that are tests as a whole.
const TESTS: [&str; 3] = ["/tests/", "/tests.rs", "/contract.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

fn sources() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(listed.stdout).expect("UTF-8 names");
    let production = |name: &&str| {
        SOURCES.iter().any(|source| name.starts_with(source)) && !TESTS.iter().any(|test| name.contains(test))
    };
    let read = |name: &str| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?));
    let found: Vec<_> = names.lines().filter(production).filter_map(read).collect();
    assert!(found.len() > 50, "the list of files is wrong");
    found
}

/// A time-out or limit of the code.
struct Constant {
    name: String,
    value: String,
    has_reason: bool,
}

/// The constants of one file, without its tests.
fn constants(text: &str) -> Vec<Constant> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    // A value that stands on a line of its own.
    let joined = text.replace(" =\n", " = ");
    let lines: Vec<&str> = joined.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((before, declared)) = line.split_once("const ") else { continue };
        let (Some((name, rest)), true) = (declared.split_once(": "), is_visibility(before)) else { continue };
        let Some((kind, value)) = rest.split_once(" = ") else { continue };
        if kind != "Duration" && !name.starts_with("MAX_") {
            continue;
        }
        let above = lines[..index].iter().rev().find(|line| !line.trim_start().contains("const "));
        let has_reason = above.is_some_and(|line| line.trim_start().starts_with("//"));
        found.push(Constant {
            name: name.to_owned(),
            value: shown(value.trim().trim_end_matches(';')),
            has_reason,
        });
    }
    found
}

fn is_visibility(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text == "pub" || (text.starts_with("pub(") && text.ends_with(')'))
}

/// A value as the document writes it: `10 s`, `250 ms`, `16,384`.
fn shown(value: &str) -> String {
    let argument = |function: &str| value.strip_prefix(function).map(|rest| rest.trim_matches(['(', ')']));
    if let Some(seconds) = argument("Duration::from_secs") {
        return format!("{} s", separated(number(seconds)));
    }
    if let Some(milliseconds) = argument("Duration::from_millis") {
        return format!("{} ms", separated(number(milliseconds)));
    }
    if value == "Duration::ZERO" { "0 s".to_owned() } else { separated(number(value)) }
}

/// Sums, products and shifts of numbers, from left to right; brackets stand only around what comes first anyway.
fn number(expression: &str) -> u64 {
    let words: Vec<String> =
        expression.split_whitespace().map(|word| word.replace(['_', '(', ')'], "")).collect();
    let parsed = |word: &str| word.parse::<u64>().unwrap_or_else(|_| panic!("cannot read {expression:?}"));
    words[1..].chunks(2).fold(parsed(&words[0]), |left, step| {
        let right = parsed(&step[1]);
        match &*step[0] {
            "*" => left * right,
            "+" => left + right,
            "-" => left - right,
            "<<" => left << right,
            other => panic!("cannot read {other:?} in {expression:?}"),
        }
    })
}

fn separated(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the document's table should say.
fn table() -> String {
    let mut rows = BTreeMap::new();
    for (name, text) in sources() {
        let all = constants(&text);
        if !all.is_empty() {
            let told: Vec<String> = all.iter().map(|c| format!("`{}` {}", c.name, c.value)).collect();
            rows.insert(name, told.join(" · "));
        }
    }
    rows.iter().fold(String::new(), |mut text, (name, told)| {
        let _ = writeln!(text, "| `{name}` | {told} |");
        text
    })
}

#[test]
fn every_timeout_and_limit_of_the_code_is_documented_with_its_value() {
    let document = std::fs::read_to_string(root().join("docs/configuration.md")).expect("the document");
    let (_, section) = document.split_once("\n## Constants in the code\n").expect("the section");
    let rows: String = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    let table = table();
    let missing: Vec<_> = table.lines().filter(|row| !rows.lines().any(|line| line == *row)).collect();
    let superfluous: Vec<_> = rows.lines().filter(|row| !table.lines().any(|line| line == *row)).collect();
    assert!(
        missing.is_empty() && superfluous.is_empty(),
        "docs/configuration.md, \"Constants in the code\".\nput in:\n{}\ntake out:\n{}\n\
         and tell operators what it means in the tables above",
        missing.join("\n"),
        superfluous.join("\n")
    );
}

#[test]
fn every_timeout_and_limit_of_the_code_has_its_reason_beside_it() {
    let without: Vec<String> = sources()
        .iter()
        .flat_map(|(name, text)| {
            let all = constants(text).into_iter().filter(|constant| !constant.has_reason);
            all.map(|constant| format!("{name}: {}", constant.name)).collect::<Vec<_>>()
        })
        .collect();
    assert!(without.is_empty(), "no comment above: {without:#?}");
}

#[test]
fn values_are_read_as_rust_means_them() {
    assert_eq!(shown("Duration::from_secs(10)"), "10 s");
    assert_eq!(shown("Duration::from_millis(1_500)"), "1,500 ms");
    assert_eq!(shown("16 * 1024"), "16,384");
    assert_eq!(shown("3 * 1024 + 512"), "3,584");
    assert_eq!(shown("(1 << 53) - 1"), "9,007,199,254,740,991");
    assert_eq!(constants("/// Why.\npub(super) const MAX_A: usize = 1;\nconst B: u8 = 2;\n").len(), 1);
}
