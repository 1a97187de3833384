//! 6: the operator's settings.

use realtime_testkit::Server;
use serde_json::{Value, json};

async fn put(server: &Server, settings: &Value) -> realtime_testkit::Response {
    server.operator("PUT", "/api/settings").json(settings).send().await
}

async fn get(server: &Server) -> Value {
    server.operator("GET", "/api/settings").send().await.expect(200)
}

#[tokio::test]
async fn a_new_server_has_the_documented_settings() {
    let server = Server::start().await;
    let free = json!({
        "maxConnections": 1000, "maxSubscriptionsPerConnection": 100, "maxTopics": 1000,
        "messagesPerSecond": 100, "apiUsageBytesPerMonth": 1_073_741_824, "inboundMessagesPerMonth": 1_000_000,
    });
    let unlimited: Value = free.as_object().unwrap().keys().map(|key| (key.clone(), json!(0))).collect();
    let expected = json!({
        "tiers": {"free": free, "unlimited": unlimited},
        "limits": {
            "connectionsPerSubject": 1, "maxMessageBytes": 5120, "maxUnsentBytes": 65536,
            "idleTimeoutSeconds": 30, "nodeMaxConnections": 0,
        },
        "telemetryRetentionDays": 30, "trustedProxies": [], "geoDatabase": null,
    });
    assert_eq!(get(&server).await, expected);
}

#[tokio::test]
async fn settings_are_replaced_under_their_etag() {
    let server = Server::start().await;
    let got = server.operator("GET", "/api/settings").send().await;
    let etag = got.header("etag").expect("an ETag").to_owned();
    let mut settings = got.json();
    settings["telemetryRetentionDays"] = json!(7);
    let request = || server.operator("PUT", "/api/settings").header("If-Match", &etag).json(&settings);
    let put = request().send().await;
    assert_eq!(put.expect(200), settings);
    assert_ne!(put.header("etag"), Some(etag.as_str()));
    request().send().await.expect_problem(412, "stale_version");
    assert_eq!(get(&server).await, settings);
}

#[tokio::test]
async fn settings_that_do_not_fit_are_422_and_named() {
    let server = Server::start().await;
    let good = get(&server).await;
    let cases: [(&str, Value, &str); 9] = [
        ("/surprise", json!(1), "surprise"),
        ("/limits/surprise", json!(1), "limits.surprise"),
        ("/tiers/free/surprise", json!(1), "tiers.free.surprise"),
        ("/limits/idleTimeoutSeconds", json!(-1), "limits.idleTimeoutSeconds"),
        ("/limits/maxMessageBytes", json!("5"), "limits.maxMessageBytes"),
        ("/tiers/free/maxTopics", json!(1.5), "tiers.free.maxTopics"),
        ("/telemetryRetentionDays", json!("x"), "telemetryRetentionDays"),
        ("/trustedProxies", json!(["nowhere"]), "trustedProxies"),
        ("/geoDatabase", json!(7), "geoDatabase"),
    ];
    for (pointer, value, field) in cases {
        let mut settings = good.clone();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        settings.pointer_mut(parent).unwrap()[member] = value;
        let problem = put(&server, &settings).await.expect_problem(422, "unprocessable");
        let named = problem["errors"][0]["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{pointer}: {problem}");
    }
    assert_eq!(get(&server).await, good, "nothing of it was taken");
    let text = server.operator("PUT", "/api/settings").body("application/json", "hello");
    text.send().await.expect_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_tier_in_use_cannot_go() {
    let server = Server::start().await;
    let mut settings = get(&server).await;
    settings["tiers"]["gold"] = json!({"maxConnections": 5});
    let stored = put(&server, &settings).await.expect(200);
    assert_eq!(stored["tiers"]["gold"]["maxConnections"], 5);
    let app = server.app().set("tier", "gold").create().await;
    settings["tiers"].as_object_mut().unwrap().remove("gold");
    put(&server, &settings).await.expect_problem(409, "tier_in_use");
    app.patch(&json!({"tier": "free"})).await;
    put(&server, &settings).await.expect(200);
}
