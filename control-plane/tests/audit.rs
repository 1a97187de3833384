//! What the audit log says, and what it never does. A program of its own: other tests of the same process would
//! decide with theirs which log records are made at all.
#![allow(clippy::unwrap_used)]

#[path = "services/plane.rs"]
#[allow(dead_code)] // The services' tests use more of it.
mod plane;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use realtime_proto::generated::admin as wire;
use serde_json::{Value, json};
use tonic::Request;

use plane::{ADMIN_SECRET, AUTH_SECRET, MANAGE_APPLICATION, OPERATOR, Plane, app, app_token, operator};

/// The log's text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Starts it for this thread, on which the test's server runs too.
    fn start() -> (Self, impl Drop) {
        let log = Self::default();
        let sink = log.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || sink.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Kind, name, call, subject and outcome of each record.
    fn audit(&self) -> Vec<String> {
        let records = self.text();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let texts = |record: Value| {
            ["kind", "name", "call", "subject", "outcome"].map(|n| record[n].as_str().unwrap().to_owned())
        };
        records.filter(|record| record["target"] == "audit").map(|r| texts(r).join(" ")).collect()
    }
}

#[tokio::test]
async fn everything_that_operators_do_is_noted_and_of_apps_their_writes() {
    let (log, _log) = Log::start();
    let plane = Plane::start().await;
    plane.create(&app("demo")).await.unwrap();
    plane.get("demo").await.unwrap();
    plane.apps().list(operator(wire::ListAppsRequest::default())).await.unwrap();
    plane.settings().get(operator(wire::GetSettingsRequest {})).await.unwrap();
    plane.list_nodes().await;
    assert!(plane.delete("demo", 1).await.is_err());

    let get = || wire::GetAppRequest { app_id: "demo".into() };
    plane.apps().get(app_token(get(), &[MANAGE_APPLICATION])).await.unwrap();
    assert!(plane.apps().get(Request::new(get())).await.is_err());
    let patch = wire::PatchAppRequest {
        app_id: "demo".into(),
        patch_json: json!({"tier": "unlimited"}).to_string().into(),
        if_version: 0,
    };
    assert!(plane.apps().patch(app_token(patch, &[MANAGE_APPLICATION])).await.is_err());

    assert_eq!(
        log.audit(),
        [
            "operator operator Apps.Create demo ok",
            "operator operator Apps.Get demo ok",
            "operator operator Apps.List  ok",
            "operator operator Settings.Get settings ok",
            "operator operator Nodes.List  ok",
            "operator operator Apps.Delete demo stale_version",
            "app service Apps.Patch demo permission_denied",
        ]
    );
    for secret in [OPERATOR, ADMIN_SECRET, AUTH_SECRET] {
        assert!(!log.text().contains(secret), "{secret}");
    }
}
