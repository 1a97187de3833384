//! Patterns agree with the npm module `matcher` 6.1.0, which wrote `matcher_cases.json`.
//!
//! `REALTIME_MATCHER_CASES` names another table of the same form to compare with, such as a larger random one.

use realtime_proto::{PatternSet, PermissionCase};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    patterns: Vec<String>,
    text: String,
    insensitive: bool,
    sensitive: bool,
}

#[test]
fn patterns_match_what_the_npm_module_matches() {
    let table = match std::env::var("REALTIME_MATCHER_CASES") {
        Ok(file) => std::fs::read_to_string(file).unwrap(),
        Err(_) => include_str!("matcher_cases.json").to_owned(),
    };
    let cases: Vec<Case> = serde_json::from_str(&table).unwrap();
    assert!(cases.len() > 400, "the table is there");
    let mut wrong = Vec::new();
    for case in &cases {
        let matches = |c| PatternSet::new(case.patterns.iter().map(String::as_str), c).matches(&case.text);
        if matches(PermissionCase::Insensitive) != case.insensitive
            || matches(PermissionCase::Sensitive) != case.sensitive
        {
            wrong.push(format!("{:?} on {:?}", case.patterns, case.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), cases.len(), &wrong[..wrong.len().min(40)]);
}
