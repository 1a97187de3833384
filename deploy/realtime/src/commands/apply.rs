//! `realtime apps apply` and `settings apply`: check the file here, show what it changes, and write it if nobody
//! else has been faster.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use realtime_client::{AdminClient, App, ErrorCode};
use realtime_proto::{AppConfig, FieldErrors, Settings, timestamp};
use serde_json::{Value, json};

use super::input::Apply;
use super::{diff, print};
use crate::cli::ApplyArgs;
use crate::config::{Layers, Problem};
use crate::failure::{Failure, say};

/// `apps apply`
pub(super) async fn apps(args: &ApplyArgs, layers: &Layers) -> Result<(), Failure> {
    let apply = Apply::read(args, layers)?;
    let documents = apply.applications();
    check(&apply, documents)?;
    if documents.is_empty() {
        say(&format!("{}: there is no application in it", apply.name));
    }
    let mut changes = Vec::new();
    let applied = apply
        .operator
        .ask(async |admin| {
            // All is compared before anything is written.
            let mut plans = Vec::new();
            for document in documents {
                plans.push(Plan::make(admin, document, &apply.name).await?);
            }
            for plan in plans {
                changes.push(plan.carry_out(admin, &apply).await?);
            }
            Ok(())
        })
        .await;
    if apply.operator.json {
        // What was done before a failure is told, too.
        print::document(&changes.iter().map(|change| change.document.clone()).collect())?;
    }
    applied?;
    pending(changes.iter().any(|change| change.pending))
}

/// `settings apply`
pub(super) async fn settings(args: &ApplyArgs, layers: &Layers) -> Result<(), Failure> {
    let apply = Apply::read(args, layers)?;
    let new = Settings::parse(&apply.document).map_err(|e| Failure::input(format!("{}: {e}", apply.name)))?;
    let change = apply
        .operator
        .ask(async |admin| {
            let current = admin.settings().await?;
            // Through the same reader, so that both are written in the same form.
            let old = Settings::parse(&current.document)
                .map_err(|e| Failure::new(format!("the server's settings are not understood: {e}")))?;
            let header = format!("settings, version {} (server)", current.version);
            let difference = diff::documents(Some((&old.to_json(), &header)), &new.to_json(), &apply.name);
            let action = if difference.is_empty() { Action::None } else { Action::Replace };
            apply.show(&difference)?;
            if action == Action::Replace && !apply.dry_run {
                let replaced = admin.replace_settings(&apply.document, current.version).await;
                replaced.map_err(|e| conflict("the settings", e.into()))?;
            }
            Change::new(&apply, action, "settings", json!({}), &difference)
        })
        .await?;
    if apply.operator.json {
        print::document(&change.document)?;
    }
    pending(change.pending)
}

fn pending(pending: bool) -> Result<(), Failure> {
    if pending { Err(Failure::Pending) } else { Ok(()) }
}

/// What the file alone tells: before a server is asked, and every problem at once.
fn check(apply: &Apply, documents: &[Value]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, document) in documents.iter().enumerate() {
        let mut note = |what: String| {
            let place =
                if documents.len() > 1 { format!(", application {}", index + 1) } else { String::new() };
            problems.push(Problem(format!("{}{place}: {what}", apply.name)));
        };
        if let Err(errors) = valid(document) {
            note(errors.to_string());
        }
        for key in ["appId", "name"] {
            if let Some(value) = document.get(key).and_then(Value::as_str)
                && !seen.insert((key, value))
            {
                note(format!("{key}: {value:?} stands twice in the file"));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Usage(problems)) }
}

/// Whether a server could take it. Secrets may be the server's own.
fn valid(document: &Value) -> Result<(), FieldErrors> {
    let config = AppConfig::create(&diff::with_stand_ins(document), &now())?;
    realtime_auth::App::compile(config, 0, &realtime_auth::JwksCache::offline()).map(drop)
}

fn now() -> String {
    timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Replace,
    None,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::None => "none",
        }
    }

    fn said(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::None, _) => "unchanged",
            (Self::Create, false) => "created",
            (Self::Create, true) => "would create",
            (Self::Replace, false) => "replaced",
            (Self::Replace, true) => "would replace",
        }
    }
}

/// A document that has been applied, or would be.
struct Change {
    /// `--dry-run` kept it from being written.
    pending: bool,
    /// For programs.
    document: Value,
}

impl Change {
    /// Tells people; keeps for programs. `identity` says which application it is.
    fn new(apply: &Apply, action: Action, what: &str, identity: Value, diff: &str) -> Result<Self, Failure> {
        if !apply.operator.json {
            print::line(&format!("{}: {what}", action.said(apply.dry_run)))?;
        }
        let pending = apply.dry_run && action != Action::None;
        let mut document = identity;
        document["action"] = action.name().into();
        document["applied"] = (!pending && action != Action::None).into();
        document["diff"] = diff.into();
        Ok(Self { pending, document })
    }
}

/// What one document will do.
struct Plan<'a> {
    document: &'a Value,
    current: Option<App>,
    name: String,
    difference: String,
}

impl<'a> Plan<'a> {
    async fn make(admin: &mut AdminClient, document: &'a Value, file: &str) -> Result<Self, Failure> {
        let current = find(admin, document).await?;
        let old = match &current {
            None => None,
            Some(app) => Some(diff::from_public(&app.document).map_err(|e| {
                Failure::new(format!("the server's configuration of {} is not understood: {e}", app.app_id))
            })?),
        };
        let new = match &old {
            Some(old) => old.replace(document, &now()),
            None => AppConfig::create(document, &now()),
        };
        let new = new.map_err(|errors| Failure::input(format!("{file}: {errors}")))?;
        let mut shown = diff::shown(&new);
        if document.get("appId").is_none()
            && current.is_none()
            && let Value::Object(object) = &mut shown
        {
            // Generated anew by the server.
            object.remove("appId");
        }
        let header = current.as_ref().map(|app| format!("{}, version {} (server)", app.app_id, app.version));
        let old = old.as_ref().map(diff::shown);
        let old = old.as_ref().zip(header.as_deref());
        let difference = diff::documents(old, &shown, file);
        Ok(Self { document, current, name: new.name, difference })
    }

    async fn carry_out(self, admin: &mut AdminClient, apply: &Apply) -> Result<Change, Failure> {
        apply.show(&self.difference)?;
        let action = match &self.current {
            None => Action::Create,
            Some(_) if self.difference.is_empty() => Action::None,
            Some(_) => Action::Replace,
        };
        let written = match (&self.current, action) {
            (_, Action::None) => None,
            _ if apply.dry_run => None,
            (None, _) => Some(admin.create_app(self.document).await),
            (Some(current), _) => {
                Some(admin.replace_app(&current.app_id, self.document, current.version).await)
            }
        };
        let name = format!("{:?}", self.name);
        let written = written.transpose().map_err(|e| conflict(&name, e.into()))?;
        let id = written.or(self.current).map(|app| app.app_id);
        let id = id.as_deref().or_else(|| self.document["appId"].as_str());
        let what = format!("{name} {}", id.unwrap_or_default());
        Change::new(apply, action, what.trim_end(), json!({"appId": id, "name": self.name}), &self.difference)
    }
}

/// The application that the document is about: by its id, else by its name, which is unique, so that applying a
/// file twice is applying it once.
async fn find(admin: &mut AdminClient, document: &Value) -> Result<Option<App>, Failure> {
    if let Some(id) = document.get("appId").and_then(Value::as_str) {
        return match admin.app(id).await {
            Ok(app) => Ok(Some(app)),
            Err(e) if e.code == ErrorCode::AppNotFound => Ok(None),
            Err(e) => Err(e.into()),
        };
    }
    match document.get("name").and_then(Value::as_str) {
        Some(name) => Ok(admin.apps().await?.into_iter().find(|app| app.document["name"] == name)),
        None => Ok(None),
    }
}

/// A write that the server has refused: which document, and what to do if somebody else was faster.
fn conflict(what: &str, failure: Failure) -> Failure {
    let Failure::Failed { code, message } = failure else { return failure };
    if code == ErrorCode::StaleVersion.name() {
        let advice = "changed by somebody else since the difference was shown; run the command again";
        return Failure::coded(code, format!("{what}: {advice}"));
    }
    Failure::coded(code, format!("{what}: {message}"))
}
