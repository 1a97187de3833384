//! `docs/configuration.md` and the program agree: flags, variables and defaults, application attributes, settings.
//! Every row is held by the program, and everything that the program has stands in a row.

use std::collections::{BTreeMap, BTreeSet};

use clap::Command;
use realtime_proto::{AppConfig, Settings};
use serde_json::{Value, json};

use super::documented;
use crate::config::variable;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    std::fs::read_to_string(path).unwrap()
}

/// The rows of the first table after a heading, as cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = document();
    let (_, section) = text.split_once(&format!("\n{heading}\n")).expect(heading);
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let lines = table.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let escaped = line.replace("\\|", "\u{0}");
        let cells = escaped.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{0}', "|"));
        cells.collect()
    };
    let rows: Vec<Vec<String>> = lines.map(cells).collect();
    assert!(rows.len() > 3, "{heading}");
    rows
}

/// The texts between backquotes.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Every command that is no group, with its words.
fn leaves(command: &Command, words: &str, found: &mut BTreeMap<String, Command>) {
    for sub in command.get_subcommands() {
        let words = format!("{words} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &words, found);
        } else {
            found.insert(words, sub.clone());
        }
    }
}

fn commands() -> BTreeMap<String, Command> {
    let mut root = documented().disable_help_subcommand(true);
    root.build();
    let mut found = BTreeMap::new();
    leaves(&root, "", &mut found);
    found
}

/// A flag as the table writes it, with its other names.
fn written(arg: &clap::Arg) -> BTreeSet<String> {
    let long = arg.get_long().unwrap();
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let mut all = BTreeSet::from([match name {
        "BOOL" => format!("--{long}[=BOOL]"),
        name => format!("--{long} {name}"),
    }]);
    all.extend(arg.get_short().map(|short| format!("-{short}")));
    all.extend(arg.get_visible_aliases().into_iter().flatten().map(|alias| format!("--{alias}")));
    all
}

#[test]
fn the_table_has_every_flag_of_every_command_with_its_variable_and_default() {
    let commands = commands();
    let mut told = BTreeSet::new();
    for row in rows("### Every flag") {
        let [flag, variable_cell, of, default, meaning] = &row[..] else { panic!("{row:?}") };
        assert!(!meaning.is_empty(), "{flag}");
        let long = code(flag)[0].trim_start_matches("--").split([' ', '[']).next().unwrap();
        assert_eq!(code(variable_cell), [variable(long)], "{flag}");
        let is_meant = |words: &str| {
            *of == "all"
                || code(of).iter().any(|group| words == *group || words.starts_with(&format!("{group} ")))
        };
        let mut matched = 0;
        for (words, command) in commands.iter().filter(|(words, _)| is_meant(words)) {
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(long));
            let arg = arg.unwrap_or_else(|| panic!("realtime {words} has no --{long}"));
            let names: BTreeSet<String> = code(flag).into_iter().map(str::to_owned).collect();
            assert_eq!(names, written(arg), "{words}");
            let value = arg.get_default_values().first().and_then(|value| value.to_str());
            let said =
                Some(&**default).filter(|cell| cell.starts_with('`')).map(|cell| cell.trim_matches('`'));
            assert_eq!(said, value, "{words} --{long}");
            assert!(told.insert((words.clone(), long.to_owned())), "{words} --{long} stands there twice");
            matched += 1;
        }
        assert!(matched > 0, "{flag} {of}: of no command");
    }
    for (words, command) in &commands {
        for long in command.get_arguments().filter_map(|arg| arg.get_long()).filter(|long| *long != "help") {
            assert!(told.contains(&(words.clone(), long.to_owned())), "no row for {words} --{long}");
        }
    }
}

#[test]
fn the_tables_of_applications_have_every_attribute_with_its_default() {
    let key = json!({"source": "raw", "algorithms": ["HS256"], "key": "0123456789abcdef0123456789abcdef"});
    let given = json!({"name": "n", "authKey": key, "adminKey": key});
    let config = AppConfig::create(&given, "2026-01-01T00:00:00.000Z").unwrap();
    let mut public = config.to_public(1);
    // Where a secret is kept, an object says so.
    public["secretSet"] = public["authKey"]["secretSet"].take();
    let Value::Object(public) = public else { panic!("an object") };
    let mut told = BTreeSet::new();
    for row in rows("## Applications") {
        for name in code(&row[0]) {
            assert!(told.insert(name.to_owned()), "{name} stands there twice");
            let value = public.get(name).unwrap_or_else(|| panic!("there is no attribute {name}"));
            // A default that is a value, not a description.
            if row[2].starts_with('`') {
                let said: Value = serde_json::from_str(code(&row[2])[0]).unwrap();
                assert_eq!(&said, value, "{name}");
            } else {
                assert!(["required", "32 random hex digits", ""].contains(&&*row[2]), "{name}: {}", row[2]);
            }
        }
    }
    let all: BTreeSet<String> = public.keys().cloned().collect();
    assert_eq!(told, all);
}

/// Every key of the settings with its default, as the table names them.
fn settings() -> BTreeMap<String, Value> {
    let Value::Object(document) = Settings::default().to_json() else { panic!("an object") };
    let mut all = BTreeMap::new();
    for (key, value) in document {
        match (&*key, value) {
            ("tiers", tiers) => {
                let free = tiers["free"].as_object().unwrap();
                all.extend(free.iter().map(|(name, value)| (format!("tiers.*.{name}"), value.clone())));
            }
            ("limits", limits) => {
                let limits = limits.as_object().unwrap();
                all.extend(limits.iter().map(|(name, value)| (format!("limits.{name}"), value.clone())));
            }
            (_, value) => drop(all.insert(key, value)),
        }
    }
    all
}

#[test]
fn the_table_of_settings_has_every_key_with_its_default() {
    let mut told = BTreeMap::new();
    for row in rows("## Settings") {
        let key = code(&row[0])[0].to_owned();
        if key != "tiers" {
            let default = row[1].trim_matches('`').replace(',', "");
            told.insert(key, serde_json::from_str(&default).unwrap());
        }
    }
    assert_eq!(told, settings());
}
