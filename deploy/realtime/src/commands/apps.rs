//! `realtime apps`.

use std::time::{SystemTime, UNIX_EPOCH};

use realtime_client::{AdminClient, App, ErrorCode};
use realtime_proto::{AppConfig, timestamp};
use serde_json::{Value, json};

use super::input::Apply;
use super::{diff, operator, print};
use crate::cli::{ApplyArgs, ServerArgs};
use crate::config::Layers;
use crate::failure::Failure;

/// `apps list`
pub(super) async fn list(args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    let apps = operator.connect().await?.apps().await?;
    if operator.json {
        return print::document(&apps.into_iter().map(|app| app.document).collect());
    }
    let text = |app: &App, name: &str| app.document[name].as_str().unwrap_or_default().to_owned();
    let rows: Vec<[String; 4]> = apps
        .iter()
        .map(|app| {
            let enabled = if app.document["enabled"] == false { "no" } else { "yes" };
            [app.app_id.clone(), text(app, "name"), text(app, "tier"), enabled.to_owned()]
        })
        .collect();
    print::table(["ID", "NAME", "TIER", "ENABLED"], &rows)
}

/// `apps get`
pub(super) async fn get(app: &str, args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    print::document(&operator.connect().await?.app(app).await?.document)
}

/// `apps delete`
pub(super) async fn delete(app: &str, args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    operator.connect().await?.delete_app(app, 0).await?;
    print::line(&if operator.json { json!({ "deleted": app }).to_string() } else { format!("deleted {app}") })
}

/// `apps apply`: one document or an array of them.
pub(super) async fn apply(args: &ApplyArgs, layers: &Layers) -> Result<(), Failure> {
    let apply = Apply::read(args, layers)?;
    let documents = match &apply.document {
        Value::Array(documents) => documents.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut admin = apply.operator.connect().await?;
    // All is validated and shown before anything is written.
    let mut plans = Vec::new();
    for document in documents {
        plans.push(Plan::make(&mut admin, document, &apply.name).await?);
    }
    let mut written = Vec::new();
    for plan in plans {
        let result = plan.carry_out(&mut admin, &apply).await?;
        written.extend(result);
    }
    match (apply.operator.json, apply.document.is_array()) {
        (false, _) => Ok(()),
        (true, true) => print::document(&Value::Array(written)),
        (true, false) => written.first().map_or(Ok(()), print::document),
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
        let now = timestamp(
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
        );
        let new = match &old {
            Some(old) => old.replace(document, &now),
            None => AppConfig::create(document, &now),
        };
        let new = new.map_err(|errors| Failure::new(format!("{file}: {errors}")))?;
        let mut shown = diff::shown(&new);
        if document.get("appId").is_none()
            && current.is_none()
            && let Value::Object(object) = &mut shown
        {
            // Generated anew by the server.
            object.remove("appId");
        }
        // Keys that are unreadable or fit no algorithm are told before anything is sent, too.
        let name = new.name.clone();
        realtime_auth::App::compile(new, 0).map_err(|errors| Failure::new(format!("{file}: {errors}")))?;
        let difference = diff::documents(old.as_ref().map(diff::shown).as_ref(), &shown, file);
        Ok(Self { document, current, name, difference })
    }

    async fn carry_out(self, admin: &mut AdminClient, apply: &Apply) -> Result<Option<Value>, Failure> {
        if !apply.operator.json {
            print::line(self.difference.trim_end())?;
        }
        let (done, app) = match (&self.current, self.difference.is_empty(), apply.dry_run) {
            (Some(current), true, _) => ("unchanged", Some(current.clone())),
            (_, _, true) => ("not applied (--dry-run)", None),
            (None, _, false) => ("created", Some(admin.create_app(self.document).await?)),
            (Some(current), false, false) => {
                let replaced = admin.replace_app(&current.app_id, self.document, current.version).await;
                ("replaced", Some(replaced?))
            }
        };
        if !apply.operator.json {
            let id = app.as_ref().or(self.current.as_ref()).map_or("", |app| &app.app_id);
            print::line(format!("{done}: {:?} {id}", self.name).trim_end())?;
        }
        Ok(app.map(|app| app.document))
    }
}

/// The application that the document is about: by its id, else by its name, which is unique, so that applying a
/// file twice is applying it once.
async fn find(admin: &mut AdminClient, document: &Value) -> Result<Option<App>, Failure> {
    if let Some(id) = document.get("appId").and_then(Value::as_str) {
        return match admin.app(id).await {
            Ok(app) => Ok(Some(app)),
            Err(e) if e.code == ErrorCode::AppNotFound => Ok(None),
            // A malformed id is the validation's to name.
            Err(e) if e.code == ErrorCode::InvalidRequest || e.code == ErrorCode::Unprocessable => Ok(None),
            Err(e) => Err(e.into()),
        };
    }
    match document.get("name").and_then(Value::as_str) {
        Some(name) => Ok(admin.apps().await?.into_iter().find(|app| app.document["name"] == name)),
        None => Ok(None),
    }
}
