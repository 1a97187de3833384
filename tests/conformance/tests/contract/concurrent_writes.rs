//! 4 and 5: writers of one configuration at once, over HTTP and gRPC.

use std::pin::Pin;

use futures_util::future::join_all;
use realtime_proto::generated::admin::ReplaceAppRequest;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Server, TestApp};
use serde_json::{Value, json};

use crate::apps::{minimal, path};
use crate::grpc_client::{Grpc, answer, call};

/// What became of a write: `ok`, or the refusal's code.
type Outcome = Pin<Box<dyn Future<Output = String>>>;

/// A write over HTTP.
fn http(request: realtime_testkit::Request) -> Outcome {
    Box::pin(async move {
        let answer = request.send().await;
        match answer.status {
            200..300 => "ok".to_owned(),
            status => answer.expect_problem(status, answer.json()["code"].as_str().unwrap())["code"]
                .as_str()
                .unwrap()
                .to_owned(),
        }
    })
}

/// A write over gRPC.
fn grpc<T>(call: impl Future<Output = Result<T, crate::grpc_client::Refused>> + 'static) -> Outcome {
    Box::pin(async move { call.await.map_or_else(|refused| refused.code().to_owned(), |_| "ok".to_owned()) })
}

/// An application's document and version.
async fn read(server: &Server, app: &TestApp) -> (Value, u64) {
    let got = server.operator("GET", &path(app)).send().await;
    let version = got.header("etag").expect("an ETag").trim_matches('"').parse().expect("a version");
    (got.expect(200), version)
}

/// The four ways to change an application under a version; each writes its own name into the description.
fn writers(server: &Server, client: &Grpc, app: &TestApp, document: &Value, version: u64) -> Vec<Outcome> {
    let mut writers = Vec::new();
    for n in 0..4 {
        let change = |kind: &str| json!({"description": format!("{kind} {n} of {version}")});
        let replaced = |kind: &str| {
            let mut document = document.clone();
            document["description"] = change(kind)["description"].clone();
            document
        };
        let request =
            |method: &str| server.operator(method, &path(app)).header("If-Match", &format!("\"{version}\""));
        writers.push(http(request("PATCH").json(&change("patch"))));
        writers.push(http(request("PUT").json(&replaced("put"))));
        let (grpc_client, id, patch) = (client.clone(), app.id().to_owned(), change("grpc patch"));
        writers.push(grpc(async move { grpc_client.patch(&id, &patch, version).await }));
        let document_json = replaced("grpc replace").to_string().into();
        let replace = ReplaceAppRequest { app_id: app.id().to_owned(), document_json, if_version: version };
        let mut apps = client.apps.clone();
        writers.push(grpc(async move { answer(apps.replace(call(OPERATOR_TOKEN, replace))).await }));
    }
    writers
}

fn count(outcomes: &[String], code: &str) -> usize {
    outcomes.iter().filter(|outcome| *outcome == code).count()
}

#[tokio::test]
async fn of_writers_with_one_version_exactly_one_gets_through() {
    let server = Server::start().await;
    let (app, client) = (server.app().create().await, Grpc::connect(&server).await);
    for _ in 0..8 {
        let (document, version) = read(&server, &app).await;
        let outcomes = join_all(writers(&server, &client, &app, &document, version)).await;
        assert_eq!(count(&outcomes, "ok"), 1, "{outcomes:?}");
        assert_eq!(count(&outcomes, "stale_version"), outcomes.len() - 1, "{outcomes:?}");
        let (after, _) = read(&server, &app).await;
        assert_ne!(after["description"], document["description"], "the one that got through stands");
    }
}

/// A deletion is one of the writers: whoever comes after it finds nothing.
#[tokio::test]
async fn a_deletion_under_a_version_wins_or_is_stale_like_any_other_write() {
    let server = Server::start().await;
    let client = Grpc::connect(&server).await;
    for _ in 0..8 {
        let app = server.app().create().await;
        let (document, version) = read(&server, &app).await;
        let delete = server.operator("DELETE", &path(&app)).header("If-Match", &format!("\"{version}\""));
        let (by_grpc, id) = (client.clone(), app.id().to_owned());
        let mut all = vec![http(delete), grpc(async move { by_grpc.delete(&id, version).await })];
        all.extend(writers(&server, &client, &app, &document, version));
        let outcomes = join_all(all).await;
        assert_eq!(count(&outcomes, "ok"), 1, "{outcomes:?}");
        let gone = outcomes[..2].iter().any(|outcome| outcome == "ok");
        let late = count(&outcomes, "stale_version") + count(&outcomes, "app_not_found");
        assert_eq!(late, outcomes.len() - 1, "{outcomes:?}");
        assert!(gone || count(&outcomes, "app_not_found") == 0, "{outcomes:?}");
        let left = server.operator("GET", &path(&app)).send().await;
        assert_eq!(left.status, if gone { 404 } else { 200 });
    }
}

/// Read, add one, write under the version that was read, again where somebody else was faster.
#[tokio::test]
async fn no_update_is_lost_between_writers_that_name_the_version_they_read() {
    const WRITERS: usize = 6;
    const EACH: usize = 5;
    let server = Server::start().await;
    let app = server.app().set("description", "0").create().await;
    let client = Grpc::connect(&server).await;
    let count_up = async |over_grpc: bool| {
        for _ in 0..EACH {
            loop {
                let (document, version) = read(&server, &app).await;
                let number: usize = document["description"].as_str().unwrap().parse().unwrap();
                let change = json!({"description": (number + 1).to_string()});
                let outcome = if over_grpc {
                    let (client, id) = (client.clone(), app.id().to_owned());
                    grpc(async move { client.patch(&id, &change, version).await }).await
                } else {
                    let request = server.operator("PATCH", &path(&app));
                    http(request.header("If-Match", &format!("\"{version}\"")).json(&change)).await
                };
                match outcome.as_str() {
                    "ok" => break,
                    other => assert_eq!(other, "stale_version"),
                }
            }
        }
    };
    join_all((0..WRITERS).map(|n| count_up(n % 2 == 0))).await;
    assert_eq!(read(&server, &app).await.0["description"], (WRITERS * EACH).to_string());
}

/// A merge patch names what it changes, and is applied to what is there when its turn comes.
#[tokio::test]
async fn patches_without_a_version_leave_each_others_fields_alone() {
    let server = Server::start().await;
    let (app, client) = (server.app().create().await, Grpc::connect(&server).await);
    let changes = [
        json!({"description": "changed"}),
        json!({"clientInboundAckEnabled": true}),
        json!({"enableWebSocketInboundTopic": true}),
        json!({"clientInboundAckFormat": "envelope"}),
        json!({"connectionLimitPolicy": "replace"}),
        json!({"permissionCase": "sensitive"}),
        json!({"clientSourceAddress": ["127.0.0.0/8"]}),
        json!({"allowedOrigins": ["https://a.example"]}),
        json!({"tier": "unlimited"}),
        json!({"name": "renamed"}),
    ];
    let writes = changes.iter().enumerate().map(|(n, change)| match n % 2 {
        0 => http(server.operator("PATCH", &path(&app)).json(change)),
        _ => {
            let (client, id, change) = (client.clone(), app.id().to_owned(), change.clone());
            grpc(async move { client.patch(&id, &change, 0).await })
        }
    });
    let outcomes = join_all(writes).await;
    assert_eq!(count(&outcomes, "ok"), changes.len(), "{outcomes:?}");
    let (document, _) = read(&server, &app).await;
    for change in changes {
        for (attribute, value) in change.as_object().unwrap() {
            assert_eq!(&document[attribute], value, "{attribute}");
        }
    }
}

#[tokio::test]
async fn of_applications_created_with_one_name_or_id_at_once_exactly_one_is() {
    let server = Server::start().await;
    let client = Grpc::connect(&server).await;
    let race = async |documents: Vec<Value>| {
        let writes = documents.into_iter().enumerate().map(|(n, document)| match n % 2 {
            0 => http(server.operator("POST", "/api/apps").json(&document)),
            _ => {
                let client = client.clone();
                grpc(async move { client.create(&document).await })
            }
        });
        join_all(writes).await
    };
    for round in 0..5 {
        let outcomes = race((0..10).map(|_| minimal(&format!("name {round}"))).collect()).await;
        assert_eq!((count(&outcomes, "ok"), count(&outcomes, "name_taken")), (1, 9), "{outcomes:?}");
        let with_id = |n: usize| {
            let mut document = minimal(&format!("{round} {n}"));
            document["appId"] = json!(format!("id-{round}"));
            document
        };
        let outcomes = race((0..10).map(with_id).collect()).await;
        assert_eq!((count(&outcomes, "ok"), count(&outcomes, "app_id_taken")), (1, 9), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_name_that_comes_free_is_taken_once() {
    let server = Server::start().await;
    let holder = server.app().set("name", "wanted").create().await;
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(server.app().create().await);
    }
    let rename = |app: &TestApp| http(server.operator("PATCH", &path(app)).json(&json!({"name": "wanted"})));
    let refused = join_all(others.iter().map(rename)).await;
    assert_eq!(count(&refused, "name_taken"), others.len(), "{refused:?}");
    holder.delete().await;
    let outcomes = join_all(others.iter().map(rename)).await;
    assert_eq!(count(&outcomes, "ok"), 1, "{outcomes:?}");
    assert_eq!(count(&outcomes, "name_taken"), others.len() - 1, "{outcomes:?}");
}

#[tokio::test]
async fn of_settings_written_under_one_version_exactly_one_gets_through() {
    let server = Server::start().await;
    for _ in 0..5 {
        let got = server.operator("GET", "/api/settings").send().await;
        let etag = got.header("etag").expect("an ETag").to_owned();
        let writes = (1..=10).map(|days| {
            let mut settings = got.json();
            settings["telemetryRetentionDays"] = json!(days);
            http(server.operator("PUT", "/api/settings").header("If-Match", &etag).json(&settings))
        });
        let outcomes = join_all(writes).await;
        assert_eq!((count(&outcomes, "ok"), count(&outcomes, "stale_version")), (1, 9), "{outcomes:?}");
    }
}

/// 4: 409 where a tier in use is removed, also where it comes into use at that moment.
#[tokio::test]
async fn an_application_never_ends_up_in_a_tier_that_goes_at_the_same_time() {
    let server = Server::start().await;
    let without = server.operator("GET", "/api/settings").send().await.expect(200);
    let mut with = without.clone();
    with["tiers"]["gold"] = json!({});
    for _ in 0..5 {
        server.operator("PUT", "/api/settings").json(&with).send().await.expect(200);
        let app = server.app().create().await;
        let enter = http(server.operator("PATCH", &path(&app)).json(&json!({"tier": "gold"})));
        let remove = http(server.operator("PUT", "/api/settings").json(&without));
        let (entered, removed) = tokio::join!(enter, remove);
        match (entered.as_str(), removed.as_str()) {
            ("ok", "tier_in_use") | ("unprocessable", "ok") => {}
            other => panic!("{other:?}"),
        }
        app.delete().await;
    }
}
