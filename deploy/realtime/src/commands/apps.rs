//! `realtime apps list`, `get` and `delete`.

use realtime_client::App;
use serde_json::json;

use super::{operator, print};
use crate::cli::ServerArgs;
use crate::config::Layers;
use crate::failure::Failure;

/// `apps list`
pub(super) async fn list(args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    let apps = operator.ask(async |admin| Ok(admin.apps().await?)).await?;
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
    let found = operator.ask(async |admin| Ok(admin.app(app).await?)).await;
    print::document(&found.map_err(|failure| about(app, failure))?.document)
}

/// `apps delete`
pub(super) async fn delete(app: &str, args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    let done = operator.ask(async |admin| Ok(admin.delete_app(app, 0).await?)).await;
    done.map_err(|failure| about(app, failure))?;
    print::either(operator.json, || json!({ "deleted": app }), &format!("deleted {app}"))
}

/// Names the application that is not there.
fn about(app: &str, failure: Failure) -> Failure {
    failure.reworded(
        |what| if what == "no such application" { format!("{what}: {app}") } else { what.to_owned() },
    )
}
