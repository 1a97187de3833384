//! Rules on the files that the repository tracks.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file, in lines: beyond it a module does more than one thing.
const MAX_LINES: usize = 500;
/// Longest `main.rs`: it loads, builds and runs, and nothing else.
const MAX_MAIN_LINES: usize = 60;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Every file that git tracks or would, with its text; binary files are left out.
fn files() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("UTF-8 names");
    let read = |name: &str| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?));
    let files: Vec<_> = names.lines().filter_map(read).collect();
    assert!(files.iter().any(|(name, _)| name == "Cargo.toml"), "the list of files is wrong");
    files
}

fn sources() -> impl Iterator<Item = (String, String)> {
    let generated = |name: &str| name.contains("/generated/");
    files().into_iter().filter(move |(name, _)| {
        name.ends_with(".rs")
            && name.contains("src/")
            && !name.starts_with("third_party/")
            && !generated(name)
    })
}

#[test]
fn source_files_stay_short() {
    let long: Vec<_> = sources()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:?}");
}

#[test]
fn main_only_loads_builds_and_runs() {
    let mains: Vec<_> = sources().filter(|(name, _)| name.ends_with("/main.rs")).collect();
    assert!(!mains.is_empty(), "there is a binary");
    for (name, text) in mains {
        let lines = text.lines().count();
        assert!(lines < MAX_MAIN_LINES, "{name} has {lines} lines");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> =
        sources().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

/// A path of one developer's machine means nothing on another. Built at run time, so that this file has none.
#[test]
fn no_file_names_a_path_of_one_machine() {
    let homes = ["work", "home", "Users"].map(|home| format!("/{home}/"));
    let temporary = format!("/{}/", "tmp");
    let mut found = Vec::new();
    for (name, text) in files() {
        let lock = name.ends_with("package-lock.json") || name == "Cargo.lock" || name == "LICENSE";
        for (index, line) in text.lines().enumerate().filter(|_| !lock) {
            let hit = homes.iter().chain([&temporary]).any(|path| starts_a_path(line, path));
            if hit {
                found.push(format!("{name}:{}", index + 1));
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine: {found:?}");
}

/// Whether `path` stands in `line` as the beginning of a path, not in the middle of a longer one or of a URL.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '/' | '-' | '_' | '}' | ')' | '~'))
    })
}

/// Golden tokens need keys that nothing else uses; they say so by where they stand.
#[test]
fn private_keys_are_fixtures_of_tests_only() {
    let marker = format!("-----BEGIN {}PRIVATE KEY-----", "");
    let holds_key = |text: &str| text.lines().any(|line| line.trim() == marker);
    let elsewhere: Vec<_> = files()
        .into_iter()
        .filter(|(name, text)| holds_key(text) && !name.contains("/tests/fixtures/"))
        .map(|(name, _)| name)
        .collect();
    assert!(elsewhere.is_empty(), "private keys in {elsewhere:?}");
}
