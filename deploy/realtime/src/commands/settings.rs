//! `realtime settings`.

use realtime_proto::Settings;

use super::input::Apply;
use super::{diff, operator, print};
use crate::cli::{ApplyArgs, ServerArgs};
use crate::config::Layers;
use crate::failure::Failure;

/// `settings get`
pub(super) async fn get(args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    print::document(&operator.connect().await?.settings().await?.document)
}

/// `settings apply`
pub(super) async fn apply(args: &ApplyArgs, layers: &Layers) -> Result<(), Failure> {
    let apply = Apply::read(args, layers)?;
    let new = Settings::parse(&apply.document).map_err(|e| Failure::new(format!("{}: {e}", apply.name)))?;
    let mut admin = apply.operator.connect().await?;
    let current = admin.settings().await?;
    // Through the same reader, so that both are written in the same form.
    let old = Settings::parse(&current.document)
        .map_err(|e| Failure::new(format!("the server's settings are not understood: {e}")))?;
    let difference = diff::documents(Some(&old.to_json()), &new.to_json(), &apply.name);
    if !apply.operator.json && !difference.is_empty() {
        print::line(difference.trim_end())?;
    }
    let (done, document) = if difference.is_empty() {
        ("unchanged", Some(current.document))
    } else if apply.dry_run {
        ("not applied (--dry-run)", None)
    } else {
        let replaced = admin.replace_settings(&apply.document, current.version).await?;
        ("replaced", Some(replaced.document))
    };
    match (apply.operator.json, document) {
        (false, _) => print::line(&format!("{done}: settings")),
        (true, Some(document)) => print::document(&document),
        (true, None) => Ok(()),
    }
}
