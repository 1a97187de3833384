//! 4: test messages to an application's forwarders, and what its status and the metrics say of them.

use std::time::{Duration, Instant};

use realtime_testkit::{Fault, FaultProxy, Moto, Request, Response, Server, TestApp, eventually};
use serde_json::{Value, json};

use crate::{APPLICATION, CONNECTIONS, KEYS, PUBLISH, SUBSCRIBERS};

const REGION: &str = "eu-west-1";
const ACCESS_KEY: &str = "AKIAOFTHESTATUSTESTS";
const SECRET: &str = "secret-access-key-of-the-status-tests";

async fn start() -> Server {
    Server::builder().args(&["--allow-insecure-endpoints"]).start().await
}

/// A call of SQS's JSON protocol. moto looks at the signature for the service alone.
async fn sqs(moto: &Moto, action: &str, body: &Value) -> Value {
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIA/20260101/{REGION}/sqs/aws4_request, Signature=0");
    let request = Request::new(moto.address(), "POST", "/")
        .header("X-Amz-Target", &format!("AmazonSQS.{action}"))
        .header("Authorization", &scope)
        .body("application/x-amz-json-1.0", body.to_string());
    request.send().await.expect(200)
}

async fn queue(moto: &Moto, name: &str) -> String {
    let fifo = if name.ends_with(".fifo") { json!({"FifoQueue": "true"}) } else { json!({}) };
    let made = sqs(moto, "CreateQueue", &json!({"QueueName": name, "Attributes": fifo})).await;
    made["QueueUrl"].as_str().unwrap().to_owned()
}

/// The bodies in a queue.
async fn received(moto: &Moto, url: &str) -> Vec<Value> {
    let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
    let answer = sqs(moto, "ReceiveMessage", &asked).await;
    let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
    messages.iter().map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()).collect()
}

fn to_queue(url: &str, endpoint: &str) -> Value {
    json!({"enabled": true, "queueUrl": url, "region": REGION, "endpointUrl": endpoint,
        "accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET})
}

fn to_topic(name: &str, endpoint: &str) -> Value {
    json!({"enabled": true, "topicArn": format!("arn:aws:sns:{REGION}:123456789012:{name}"), "region": REGION,
        "endpointUrl": endpoint, "accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET})
}

fn test_of(app: &TestApp) -> Request {
    app.api(&[APPLICATION], "POST", &format!("/api/apps/{}/forwarders/test", app.id()))
}

async fn test(app: &TestApp) -> Response {
    test_of(app).send().await
}

async fn status(app: &TestApp) -> Value {
    app.api(&[APPLICATION], "GET", &format!("/api/apps/{}/status", app.id())).send().await.expect(200)
}

async fn metrics(server: &Server) -> String {
    Request::new(server.admin_listen(), "GET", "/metrics").send().await.text()
}

fn assert_without_secrets(texts: &[&str]) {
    for text in texts {
        assert!(!text.contains(SECRET) && !text.contains(ACCESS_KEY), "{text}");
    }
}

fn sqs_error(status: &str, code: &str, message: &str) -> Fault {
    Fault::answer(
        status,
        &json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": message}).to_string(),
    )
}

#[tokio::test]
async fn a_test_message_arrives_and_is_none_that_a_client_can_send() {
    let Some(moto) = Moto::start().await else { return };
    let server = start().await;
    for name in ["standard", "ordered.fifo"] {
        let url = queue(&moto, name).await;
        let app = server.app().set("amazonSqsForwarder", to_queue(&url, &moto.url())).create().await;
        let first = test(&app).await.expect(200);
        assert_eq!(first["results"], json!([{"target": "sqs", "ok": true}]), "{first}");
        let second = test(&app).await.expect(200);
        let bodies = received(&moto, &url).await;
        let nobody = json!({"connectionId": "0".repeat(32), "subject": "", "permissions": []});
        let expected = json!({"client": nobody, "payload": {"appId": app.id()}, "id": first["id"],
            "messageType": "test", "test": true});
        assert!(bodies.contains(&expected), "{expected} in {bodies:?}");
        assert_ne!(first["id"], second["id"], "no deduplication keeps a second test away");
        // A client's own message of that type is told from it.
        let mut client = app.connect("c", &[]).await;
        client.send("message", json!({"payload": {"test": true}, "messageType": "test", "test": true})).await;
        let forged = eventually("the client's message", async || {
            let bodies = received(&moto, &url).await;
            bodies.into_iter().find(|body| {
                (&body["client"]["subject"], &body["messageType"]) == (&json!("c"), &json!("test"))
            })
        });
        assert_eq!(forged.await.get("test"), None);
    }
}

#[tokio::test]
async fn each_target_is_reported_on_its_own() {
    let Some(moto) = Moto::start().await else { return };
    let server = start().await;
    let url = queue(&moto, "there").await;
    let app = server
        .app()
        .set("amazonSqsForwarder", to_queue(&url, &moto.url()))
        .set("amazonSnsForwarder", to_topic("nowhere", &moto.url()))
        .create()
        .await;
    let tested = test(&app).await.expect(200);
    let [sns, sqs] = [&tested["results"][0], &tested["results"][1]];
    assert_eq!(*sqs, json!({"target": "sqs", "ok": true}));
    assert_eq!(
        (&sns["target"], &sns["ok"], &sns["class"]),
        (&json!("sns"), &json!(false), &json!("missing"))
    );
    let error = sns["error"].as_str().unwrap();
    assert!(error.starts_with("the target does not exist: NotFound"), "{error}");
    // A test is no message of a client: the target is as it was.
    assert_eq!(status(&app).await["forwarders"][0]["lastError"], json!(null));

    let nowhere = format!("{}/123456789012/nowhere", moto.url());
    app.patch(&json!({"amazonSnsForwarder": null, "amazonSqsForwarder": to_queue(&nowhere, &moto.url())}))
        .await;
    let tested = test(&app).await.expect(200);
    assert_eq!(tested["results"].as_array().unwrap().len(), 1, "{tested}");
    assert_eq!(
        tested["results"][0]["class"], "missing",
        "the changed configuration is the one that is tested"
    );
}

/// AWS's words may repeat what it was sent.
#[tokio::test]
async fn refused_credentials_are_told_in_words_without_them() {
    let Some(moto) = Moto::start().await else { return };
    let server = start().await;
    let url = queue(&moto, "q").await;
    let proxy = FaultProxy::to(moto.address()).await;
    let app = server
        .app()
        .set("amazonSqsForwarder", to_queue(&url, &proxy.url()))
        .set("clientInboundAckEnabled", true)
        .set("tier", "unlimited")
        .create()
        .await;
    let told = format!("{ACCESS_KEY} with {SECRET} is not authorized to perform: sqs:SendMessage");
    let mut client = app.connect("c", &[]).await;
    for (code, class) in [("AccessDenied", "denied"), ("InvalidClientTokenId", "credentials")] {
        proxy.meets(sqs_error("403 Forbidden", code, &told));
        let answer = test(&app).await;
        let result = answer.expect(200)["results"][0].clone();
        assert_eq!((&result["ok"], &result["class"]), (&json!(false), &json!(class)), "{result}");
        assert!(result["error"].as_str().unwrap().contains(code), "{result}");
        let failed = eventually("a message that a call was made for", async || {
            client.send("message", json!({"payload": "x"})).await;
            client.expect_error("forward_failed").await;
            let status = status(&app).await;
            (status["forwarders"][0]["lastError"]["class"] == class).then_some(status)
        })
        .await;
        let forwarder = &failed["forwarders"][0];
        assert_eq!((&forwarder["target"], &forwarder["state"]), (&json!("sqs"), &json!("open")), "{failed}");
        assert_eq!(forwarder["lastError"]["message"], result["error"], "{failed}");
        assert_eq!(forwarder["lastError"]["node"], "node-1", "{failed}");
        assert_without_secrets(&[&answer.text(), &failed.to_string()]);
    }
    let metrics = metrics(&server).await;
    for class in ["denied", "credentials"] {
        let none = format!("realtime_forwarder_failed_total{{target=\"sqs\",class=\"{class}\"}} 0");
        assert!(metrics.contains(none.trim_end_matches('0')) && !metrics.contains(&none), "{metrics}");
    }
    assert_without_secrets(&[&metrics, &server.log()]);
}

#[tokio::test]
async fn a_test_reaches_a_target_that_is_open_and_the_status_tells_when_that_has_recovered() {
    let Some(moto) = Moto::start().await else { return };
    let server = start().await;
    let url = queue(&moto, "q").await;
    let proxy = FaultProxy::to(moto.address()).await;
    let forwarder = to_queue(&url, &proxy.url());
    let app = server.app().set("amazonSqsForwarder", forwarder).set("tier", "unlimited");
    let app = app.set("clientInboundAckEnabled", true).create().await;
    let mut client = app.connect("c", &[]).await;
    let fresh = status(&app).await;
    let expected = json!({"target": "sqs", "state": "ok", "queued": 0, "lastError": null});
    eventually("the presence event to be sent", async || {
        (status(&app).await["forwarders"] == json!([expected])).then_some(())
    })
    .await;
    let told = [&fresh["appId"], &fresh["enabled"], &fresh["nodes"], &fresh["connections"]];
    assert_eq!(told, [&json!(app.id()), &json!(true), &json!(1), &json!(1)]);

    proxy.meets(sqs_error("400 Bad Request", "QueueDoesNotExist", "no such queue"));
    client.send("message", json!({"payload": "x"})).await;
    client.expect_error("forward_failed").await;
    assert_eq!(status(&app).await["forwarders"][0]["state"], "open");
    proxy.meets(Fault::None);
    assert_eq!(test(&app).await.expect(200)["results"][0]["ok"], true);
    eventually("a message that gets through", async || {
        client.send("message", json!({"payload": "x"})).await;
        (client.frame().await.topic() == "priv/acks").then_some(())
    })
    .await;
    let after = status(&app).await;
    let forwarder = &after["forwarders"][0];
    assert_eq!((&forwarder["state"], &forwarder["queued"]), (&json!("ok"), &json!(0)), "{after}");
    assert_eq!(forwarder["lastError"]["class"], "missing", "it is what it was: {after}");
    assert!(forwarder["lastError"]["at"].as_str().unwrap().ends_with('Z'), "{after}");

    let metrics = server.metrics().await;
    assert!(metrics["realtime_forwarder_sent_total{target=\"sqs\"}"] >= 2, "presence and a message");
    assert_eq!(metrics["realtime_forwarder_queued{target=\"sqs\"}"], 0);
    assert_eq!(metrics["realtime_forwarder_queued_bytes"], 0);
    let measured = metrics["realtime_forwarder_latency_seconds_count{target=\"sqs\"}"];
    assert_eq!(measured, metrics["realtime_forwarder_sent_total{target=\"sqs\"}"]);
    assert_eq!(metrics["realtime_forwarder_sent_total{target=\"sns\"}"], 0);
}

#[tokio::test]
async fn a_test_of_a_silent_target_ends_after_ten_seconds_and_is_the_only_one_of_its_application() {
    let Some(moto) = Moto::start().await else { return };
    let server = start().await;
    let url = queue(&moto, "q").await;
    let proxy = FaultProxy::to(moto.address()).await;
    proxy.meets(Fault::Silence);
    let silent = server.app().set("amazonSqsForwarder", to_queue(&url, &proxy.url())).create().await;
    let other = server.app().set("amazonSqsForwarder", to_queue(&url, &moto.url())).create().await;
    let begin = Instant::now();
    // Without the kit's deadline, which is not far above the ten seconds.
    let first = tokio::spawn(test_of(&silent).exchange());
    eventually("the request of the test", async || (proxy.requests() > 0).then_some(())).await;
    let second = test(&silent).await;
    second.expect_problem(429, "rate_limited");
    assert_eq!(second.header("retry-after"), Some("10"));
    assert_eq!(test(&other).await.expect(200)["results"][0]["ok"], true);
    let result = &first.await.unwrap().unwrap().expect(200)["results"][0];
    let timeout = json!({"target": "sqs", "ok": false, "class": "timeout", "error": "no answer in time"});
    assert_eq!(*result, timeout);
    assert!(begin.elapsed() >= Duration::from_secs(10));
    assert_eq!(proxy.requests(), 1, "no second attempt");
}

#[tokio::test]
async fn tests_and_status_are_for_operators_and_the_applications_own_administrators() {
    let server = start().await;
    let app = server.app().create().await;
    let paths = |app: &str| {
        [("POST", format!("/api/apps/{app}/forwarders/test")), ("GET", format!("/api/apps/{app}/status"))]
    };
    let stranger = server.app().create().await;
    for (method, path) in paths(app.id()) {
        let others = app.api(&[KEYS, CONNECTIONS, SUBSCRIBERS, PUBLISH], method, &path).send().await;
        others.expect_problem(403, "permission_denied");
        server.request(method, &path).send().await.expect_problem(401, "unauthenticated");
        stranger.api(&[APPLICATION], method, &path).send().await.expect_problem(401, "unauthenticated");
    }
    for (method, path) in paths("nowhere") {
        server.operator(method, &path).send().await.expect_problem(404, "app_not_found");
    }
    let none = test(&app).await.expect_problem(403, "inbound_disabled");
    assert_eq!(none["detail"], "the application has no target besides secure/inbound that is enabled");
    assert_eq!(status(&app).await["forwarders"], json!([]));
    let posted =
        server.operator("POST", &paths(app.id())[0].1).json(&json!({"targets": ["sqs"]})).send().await;
    let problem = posted.expect_problem(422, "unprocessable");
    assert_eq!(problem["errors"], json!([{"field": "targets", "message": "unknown attribute"}]));

    // Nothing listens there.
    let broken = to_queue("http://127.0.0.1:9/123456789012/q", "http://127.0.0.1:9");
    app.patch(&json!({"amazonSqsForwarder": broken, "enabled": false})).await;
    test(&app).await.expect_problem(403, "app_disabled");
    let off = status(&app).await;
    assert_eq!((&off["enabled"], &off["forwarders"]), (&json!(false), &json!([])), "{off}");
    app.patch(&json!({"enabled": true})).await;
    assert_eq!(test(&app).await.expect(200)["results"][0]["class"], "network");
    assert_eq!(status(&app).await["forwarders"][0]["target"], "sqs");
}
