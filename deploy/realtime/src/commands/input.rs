//! Documents from files: JSON, or TOML where the file's name says so.

use std::path::Path;

use realtime_proto::unique::{self, NotUnique};
use serde_json::Value;

use crate::cli::ApplyArgs;
use crate::config::{Layers, Resolver};
use crate::failure::Failure;
use crate::text_file;

use super::operator::Operator;
use super::print;

/// What `apply` was asked for.
pub(super) struct Apply {
    pub(super) operator: Operator,
    pub(super) dry_run: bool,
    /// The file's name, for messages.
    pub(super) name: String,
    pub(super) document: Value,
}

impl Apply {
    /// Reads the flags and the file.
    pub(super) fn read(args: &ApplyArgs, layers: &Layers) -> Result<Self, Failure> {
        let mut r = Resolver::new(layers);
        let operator = Operator::resolve(&mut r, &args.server);
        let dry_run = r.switch("dry-run", args.dry_run.as_ref());
        let file = match r.text("file", args.file.as_ref()) {
            Ok(None) => Err(r.note("file", "is missing: which file shall be applied?")),
            Ok(Some(file)) => Ok(file),
            Err(noted) => Err(noted),
        };
        r.finish()?;
        let file = file?;
        let name = if file == "-" { "standard input".to_owned() } else { file.clone() };
        let text = text(&file).map_err(|e| Failure::input(format!("cannot read {name}: {e}")))?;
        let document = parse(&name, &text).map_err(Failure::Input)?;
        Ok(Self { operator: operator?, dry_run: dry_run?, name, document })
    }

    /// The applications of the file: one document, an array of them, or what a TOML file has as `[[apps]]` and an
    /// answer of the HTTP API as `items`.
    pub(super) fn applications(&self) -> &[Value] {
        let list = match &self.document {
            Value::Array(list) => Some(list),
            Value::Object(object) => match (object.get("apps"), object.get("items")) {
                (Some(Value::Array(list)), None) if object.len() == 1 => Some(list),
                (None, Some(Value::Array(list))) => Some(list),
                _ => None,
            },
            _ => None,
        };
        match list {
            None => std::slice::from_ref(&self.document),
            Some(list) => list,
        }
    }

    /// Shows a difference to people.
    pub(super) fn show(&self, difference: &str) -> Result<(), Failure> {
        if self.operator.json || difference.is_empty() { Ok(()) } else { print::line(difference.trim_end()) }
    }
}

fn text(name: &str) -> std::io::Result<String> {
    if name == "-" { text_file::read_from(std::io::stdin()) } else { text_file::read(Path::new(name)) }
}

/// The document, or what is wrong and where. The text itself is not quoted: it may be a secret.
fn parse(name: &str, text: &str) -> Result<Value, String> {
    if name.ends_with(".toml") {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let at = e.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("{name}, line {at}: not TOML: {}", e.message())
        })?;
        return serde_json::to_value(table).map_err(|e| format!("{name}: {e}"));
    }
    unique::from_slice(text.as_bytes()).map_err(|e| match e {
        NotUnique::Syntax(e) => {
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            format!("{name}, line {}, column {}: not JSON: {what}", e.line(), e.column())
        }
        NotUnique::Twice(path) => format!("{name}: {path}: is given twice"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_json_unless_its_name_says_toml() {
        assert_eq!(parse("a.json", "{\"name\": \"n\"}"), Ok(json!({"name": "n"})));
        let toml = "name = \"n\"\n[authKey]\nkey = \"\"\"\none\ntwo\n\"\"\"\nalgorithms = [\"ES512\"]\n";
        let want = json!({"name": "n", "authKey": {"key": "one\ntwo\n", "algorithms": ["ES512"]}});
        assert_eq!(parse("a.toml", toml), Ok(want));
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place_without_its_text() {
        let broken = "{\"name\": \"n\",\n \"key\": hush}";
        assert_eq!(
            parse("a.json", broken).unwrap_err(),
            "a.json, line 2, column 9: not JSON: expected value"
        );
        let error = parse("a.toml", "name = \"n\"\nkey = hush").unwrap_err();
        assert!(error.starts_with("a.toml, line 2: not TOML") && !error.contains("hush"), "{error}");
        assert!(parse("-", "").unwrap_err().contains("line 1"));
    }
}
