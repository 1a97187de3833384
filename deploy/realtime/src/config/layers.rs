//! What the environment and the file say, before anything is interpreted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::parse::boolean;
use crate::text_file;

/// Prefix of every variable.
const PREFIX: &str = "REALTIME_";

/// Something wrong with the configuration, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two layers below the command line.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    env: BTreeMap<String, String>,
    file: Table,
    problems: Vec<Problem>,
    unknown_variables: Vec<String>,
}

/// The variable of a flag.
pub(crate) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

impl Layers {
    /// Reads the environment of the process and the file that `config` or `REALTIME_CONFIG` names. `known`: every
    /// flag of every command; one file may serve all of them. `unknown`: what is wrong with arguments that no command
    /// knows.
    pub(crate) fn load(config: Option<&str>, known: &BTreeSet<String>, unknown: Vec<Problem>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let read = |path: &str| text_file::read(Path::new(path)).map_err(|e| e.to_string());
        let mut layers = Self::from_parts(config, known, unknown, env, read);
        // Left out above; without a word, the default would take the place of what was meant.
        let unreadable = std::env::vars_os()
            .filter(|(_, value)| value.to_str().is_none())
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| known.iter().any(|flag| variable(flag) == *name));
        layers.problems.extend(unreadable.map(|name| Problem(format!("{name}: is not UTF-8"))));
        layers
    }

    pub(crate) fn from_parts(
        config: Option<&str>,
        known: &BTreeSet<String>,
        unknown: Vec<Problem>,
        env: impl Iterator<Item = (String, String)>,
        read: impl Fn(&str) -> Result<String, String>,
    ) -> Self {
        let mut layers = Self::default();
        layers.problems.extend(unknown);
        let variables: BTreeSet<String> = known.iter().map(|flag| variable(flag)).collect();
        // An empty variable is an absent one: that is how compose files leave something out.
        for (name, value) in env.filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()) {
            if variables.contains(&name) {
                layers.env.insert(name, value);
            } else {
                layers.unknown_variables.push(name);
            }
        }
        let path = config.or(layers.env.get(&variable("config")).map(String::as_str)).map(str::to_owned);
        if let Some(path) = path {
            layers.read_file(&path, known, read);
        }
        layers
    }

    fn read_file(
        &mut self,
        path: &str,
        known: &BTreeSet<String>,
        read: impl Fn(&str) -> Result<String, String>,
    ) {
        let text = match read(path) {
            Ok(text) => text,
            Err(e) => return self.problems.push(Problem(format!("--config: cannot read {path}: {e}"))),
        };
        match text.parse::<Table>() {
            // The parser's own text quotes the line, which may hold a secret.
            Err(e) => {
                let at =
                    e.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                self.problems.push(Problem(format!("{path}, line {at}: not TOML: {}", e.message())));
            }
            Ok(table) => {
                for key in table.keys().filter(|key| !known.contains(*key) || *key == "config") {
                    self.problems.push(Problem(format!("{path}: no such key: {key}")));
                }
                self.file = table;
            }
        }
    }

    /// What is wrong with the layers themselves.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Variables with our prefix that no flag has.
    pub(crate) fn unknown_variables(&self) -> &[String] {
        &self.unknown_variables
    }

    /// Whether the environment or the file asks for JSON.
    pub(crate) fn wants_json(&self) -> bool {
        let from_file = || self.file("json").and_then(Value::as_bool);
        self.env("json").map(|text| boolean(text) == Ok(true)).or_else(from_file).unwrap_or(false)
    }

    pub(super) fn env(&self, flag: &str) -> Option<&str> {
        self.env.get(&variable(flag)).map(String::as_str)
    }

    pub(super) fn file(&self, flag: &str) -> Option<&Value> {
        self.file.get(flag)
    }
}
