//! Documents from files.

use std::io::Read;

use serde_json::Value;

use crate::cli::ApplyArgs;
use crate::config::{Layers, Resolver};
use crate::failure::Failure;

use super::operator::Operator;

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
        let name = file?;
        let text = text(&name).map_err(|e| Failure::new(format!("cannot read {name}: {e}")))?;
        let document =
            serde_json::from_str(&text).map_err(|e| Failure::new(format!("{name}: not JSON: {e}")))?;
        Ok(Self { operator: operator?, dry_run: dry_run?, name, document })
    }
}

fn text(name: &str) -> std::io::Result<String> {
    if name == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(name)
}
