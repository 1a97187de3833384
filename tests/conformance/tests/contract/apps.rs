//! 4 and 5: the API of the applications' configuration.

use realtime_testkit::{Algorithm, Response, Server, Signer, TestApp};
use serde_json::{Value, json};

use crate::{APPLICATION, KEYS};

pub(crate) fn path(app: &TestApp) -> String {
    format!("/api/apps/{}", app.id())
}

pub(crate) fn minimal(name: &str) -> Value {
    let key = Signer::generate(Algorithm::ES256).key_config();
    json!({"name": name, "authKey": key, "adminKey": key})
}

async fn create(server: &Server, document: &Value) -> Response {
    server.operator("POST", "/api/apps").json(document).send().await
}

/// The names of the fields at fault.
fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().expect("`errors`").iter().map(|e| e["field"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_app_is_created_with_the_documented_defaults() {
    let server = Server::start().await;
    let document = minimal("My Example App");
    let created = create(&server, &document).await;
    let app = created.expect(201);
    let id = app["appId"].as_str().expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    let defaults = json!({
        "enabled": true, "tier": "free", "name": "My Example App",
        "adminSourceAddress": [], "clientSourceAddress": [], "allowedOrigins": [],
        "enableWebSocketInboundTopic": false, "clientInboundAckEnabled": false, "enableInboundStream": false,
        "disconnectOnTokenExpiry": false, "clientInboundAckFormat": "id", "connectionLimitPolicy": "reject",
        "refusedSubscriptionPolicy": "error", "permissionCase": "insensitive",
        "amazonSnsForwarder": {}, "amazonSqsForwarder": {},
    });
    for (attribute, value) in defaults.as_object().unwrap() {
        assert_eq!(&app[attribute], value, "{attribute}");
    }
    assert_eq!(app["authKey"]["key"], document["authKey"]["key"], "public keys are shown");
    for time in ["createdAt", "updatedAt"] {
        assert!(app[time].as_str().is_some_and(|t| t.len() == 24 && t.ends_with('Z')), "{time}: {app}");
    }
    let got = server.operator("GET", &format!("/api/apps/{id}")).send().await;
    assert_eq!(got.expect(200), app);
    let etag = got.header("etag").expect("an ETag");
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2, "{etag}");
}

#[tokio::test]
async fn the_app_id_may_be_chosen() {
    let server = Server::start().await;
    let mut document = minimal("a");
    document["appId"] = json!("my-app_1");
    assert_eq!(create(&server, &document).await.expect(201)["appId"], "my-app_1");
    document["name"] = json!("b");
    create(&server, &document).await.expect_problem(409, "app_id_taken");
    let longest = format!("{}-_9", "x".repeat(61));
    for (name, good) in [("shortest", "x"), ("longest", longest.as_str())] {
        document["name"] = json!(name);
        document["appId"] = json!(good);
        let created = create(&server, &document).await;
        assert_eq!(created.expect(201)["appId"], good);
        assert_eq!(created.header("location"), Some(format!("/api/apps/{good}").as_str()));
    }
    for bad in ["", "A", "a b", "a/b", &"x".repeat(65)] {
        document["appId"] = json!(bad);
        let problem = create(&server, &document).await.expect_problem(422, "unprocessable");
        assert_eq!(fields(&problem), ["appId"]);
    }
}

#[tokio::test]
async fn names_are_unique() {
    let server = Server::start().await;
    create(&server, &minimal("taken")).await.expect(201);
    create(&server, &minimal("taken")).await.expect_problem(409, "name_taken");
    let other = create(&server, &minimal("other")).await.expect(201);
    let path = format!("/api/apps/{}", other["appId"].as_str().unwrap());
    let rename = |name: &str| server.operator("PATCH", &path).json(&json!({"name": name})).send();
    rename("taken").await.expect_problem(409, "name_taken");
    rename("new").await.expect(200);
    create(&server, &minimal("other")).await.expect(201);
}

/// Every field at fault at once, by name.
#[tokio::test]
async fn a_document_that_does_not_fit_is_422_and_names_the_fields() {
    let server = Server::start().await;
    for missing in ["name", "authKey", "adminKey"] {
        let mut document = minimal("a");
        document.as_object_mut().unwrap().remove(missing);
        let problem = create(&server, &document).await.expect_problem(422, "unprocessable");
        assert_eq!(fields(&problem), [missing]);
    }
    let cases = [
        ("enabled", json!("yes"), "enabled"),
        ("name", json!(""), "name"),
        ("name", json!(7), "name"),
        ("description", json!(7), "description"),
        ("tier", json!("platinum"), "tier"),
        ("clientInboundAckFormat", json!("xml"), "clientInboundAckFormat"),
        ("connectionLimitPolicy", json!("x"), "connectionLimitPolicy"),
        ("refusedSubscriptionPolicy", json!(1), "refusedSubscriptionPolicy"),
        ("permissionCase", json!("upper"), "permissionCase"),
        ("disconnectOnTokenExpiry", json!(1), "disconnectOnTokenExpiry"),
        ("enableInboundStream", json!("x"), "enableInboundStream"),
        ("surprise", json!(1), "surprise"),
        ("enableWebsocketInboundTopic", json!(true), "enableWebsocketInboundTopic"),
    ];
    for (attribute, value, field) in cases {
        let mut document = minimal("a");
        document[attribute] = value.clone();
        let problem = create(&server, &document).await.expect_problem(422, "unprocessable");
        assert_eq!(fields(&problem), [field], "{attribute}: {value}");
    }
    for (attribute, value) in [
        ("adminSourceAddress", json!(["10.0.0.0/33"])),
        ("clientSourceAddress", json!(["nowhere"])),
        ("clientSourceAddress", json!("10.0.0.1")),
        ("allowedOrigins", json!([1])),
        ("amazonSnsForwarder", json!({"enabled": true})),
        ("amazonSqsForwarder", json!({"surprise": 1})),
    ] {
        let mut document = minimal("a");
        document[attribute] = value.clone();
        let problem = create(&server, &document).await.expect_problem(422, "unprocessable");
        assert!(fields(&problem).iter().all(|f| f.starts_with(attribute)), "{attribute}: {problem}");
    }
    let mut document = minimal("");
    document["enabled"] = json!(1);
    document["surprise"] = json!(1);
    let problem = create(&server, &document).await.expect_problem(422, "unprocessable");
    let mut named = fields(&problem);
    named.sort_unstable();
    assert_eq!(named, ["enabled", "name", "surprise"]);
}

#[tokio::test]
async fn unknown_members_of_objects_are_named_by_their_path_and_read_only_ones_ignored() {
    let server = Server::start().await;
    let mut document = minimal("a");
    for (object, member) in [("authKey", "surprise"), ("adminKey", "jwksUri")] {
        document[object][member] = json!("x");
    }
    document["amazonSnsForwarder"] = json!({"enabled": false, "queueUrl": "x"});
    let problem = create(&server, &document).await.expect_problem(422, "unprocessable");
    let mut named = fields(&problem);
    named.sort_unstable();
    assert_eq!(named, ["adminKey.jwksUri", "amazonSnsForwarder.queueUrl", "authKey.surprise"]);
    let mut document = minimal("a");
    for read_only in ["createdAt", "updatedAt", "version", "secretSet"] {
        document[read_only] = json!("whatever");
    }
    document["authKey"]["secretSet"] = json!(true);
    let created = create(&server, &document).await.expect(201);
    assert_ne!(created["createdAt"], "whatever");
    let mut twice = minimal("b").to_string();
    twice.insert_str(1, r#""name":"c","#);
    let twice = server.operator("POST", "/api/apps").body("application/json", twice).send().await;
    assert_eq!(fields(&twice.expect_problem(422, "unprocessable")), ["name"]);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400_and_one_that_is_too_long_413() {
    let server = Server::start().await;
    let post = |media: &str, body: String| server.operator("POST", "/api/apps").body(media, body).send();
    post("application/json", "hello".into()).await.expect_problem(400, "invalid_request");
    post("text/plain", "{}".into()).await.expect_problem(415, "unsupported_media_type");
    let mut document = minimal("a");
    document["description"] = json!("x".repeat(257 * 1024));
    post("application/json", document.to_string()).await.expect_problem(413, "payload_too_large");
}

#[tokio::test]
async fn put_replaces_takes_what_get_answered_and_never_creates() {
    let server = Server::start().await;
    let app = server.app().set("description", "old").create().await;
    let got = server.operator("GET", &path(&app)).send().await.expect(200);
    let put = server.operator("PUT", &path(&app)).json(&got).send().await.expect(200);
    for (attribute, value) in got.as_object().unwrap() {
        if !matches!(attribute.as_str(), "updatedAt" | "version") {
            assert_eq!(&put[attribute], value, "{attribute}");
        }
    }
    // The secret that GET did not show is still in force.
    app.connect("a", &[]).await;
    let mut replaced = got.clone();
    replaced.as_object_mut().unwrap().remove("description");
    let put = server.operator("PUT", &path(&app)).json(&replaced).send().await.expect(200);
    assert_eq!(put["description"], "", "an absent attribute takes its default");
    let unknown = server.operator("PUT", "/api/apps/unknown").json(&minimal("x")).send().await;
    unknown.expect_problem(404, "app_not_found");
}

#[tokio::test]
async fn patch_is_a_merge_patch() {
    let server = Server::start().await;
    let app = server.app().set("description", "old").create().await;
    let patched = app.patch(&json!({"description": "new", "allowedOrigins": ["https://a.example"]})).await;
    assert_eq!((&patched["description"], &patched["enabled"]), (&json!("new"), &json!(true)));
    let patched = app.patch(&json!({"description": null, "allowedOrigins": null})).await;
    assert_eq!((&patched["description"], &patched["allowedOrigins"]), (&json!(""), &json!([])));
    let patched = app.patch(&json!({"createdAt": "x", "updatedAt": "x", "version": 99})).await;
    assert_ne!(patched["createdAt"], "x", "read-only attributes are ignored");
    let request = server.operator("PATCH", &path(&app)).json(&json!({"name": null}));
    let problem = request.send().await.expect_problem(422, "unprocessable");
    assert_eq!(fields(&problem), ["name"]);
}

#[tokio::test]
async fn a_stale_if_match_is_412() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let got = server.operator("GET", &path(&app)).send().await;
    let etag = got.header("etag").expect("an ETag").to_owned();
    let patch = |etag: &str| {
        let request = server.operator("PATCH", &path(&app)).header("If-Match", etag);
        request.json(&json!({"description": "x"})).send()
    };
    let fresh = patch(&etag).await;
    fresh.expect(200);
    assert_ne!(fresh.header("etag"), Some(etag.as_str()));
    patch(&etag).await.expect_problem(412, "stale_version");
    let put = server.operator("PUT", &path(&app)).header("If-Match", &etag).json(&got.json());
    put.send().await.expect_problem(412, "stale_version");
    let delete = server.operator("DELETE", &path(&app)).header("If-Match", &etag);
    delete.send().await.expect_problem(412, "stale_version");
    let current = fresh.header("etag").expect("an ETag").to_owned();
    server.operator("DELETE", &path(&app)).header("If-Match", &current).send().await.expect(204);
}

#[tokio::test]
async fn apps_are_listed_and_deleted() {
    let server = Server::start().await;
    let (a, b) = (server.app().create().await, server.app().create().await);
    let list = async || {
        let listed = server.operator("GET", "/api/apps").send().await.expect(200);
        assert!(listed.as_object().unwrap().contains_key("next"), "{listed}");
        let items = listed["items"].as_array().expect("`items`");
        let mut ids: Vec<String> = items.iter().map(|i| i["appId"].as_str().unwrap().to_owned()).collect();
        ids.sort_unstable();
        ids
    };
    let mut both = [a.id().to_owned(), b.id().to_owned()];
    both.sort_unstable();
    assert_eq!(list().await, both);
    a.delete().await;
    assert_eq!(list().await, [b.id()]);
    server.operator("GET", &path(&a)).send().await.expect_problem(404, "app_not_found");
    server.operator("DELETE", &path(&a)).send().await.expect_problem(404, "app_not_found");
}

#[tokio::test]
async fn secrets_are_write_only() {
    let server = Server::start().await;
    let signer = Signer::generate(Algorithm::HS256);
    let secret = signer.verification_key();
    let sqs = json!({
        "enabled": false, "queueUrl": "https://sqs.eu-central-1.amazonaws.com/123456789012/q",
        "region": "eu-central-1", "accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "aws-secret-access-key",
    });
    let app = server.app().signer(signer).set("amazonSqsForwarder", sqs).create().await;
    let got = server.operator("GET", &path(&app)).send().await;
    let listed = server.operator("GET", "/api/apps").send().await;
    for answer in [&got, &listed] {
        assert!(!answer.text().contains(&secret), "{}", answer.text());
        assert!(!answer.text().contains("aws-secret-access-key"), "{}", answer.text());
    }
    let document = got.json();
    assert_eq!(document["authKey"]["secretSet"], true);
    assert_eq!(document["amazonSqsForwarder"]["secretSet"], true);
    assert_eq!(document["authKey"].get("key"), None);
    // Without its secret an object keeps it only while it is the same otherwise.
    let mut moved = document.clone();
    moved["amazonSqsForwarder"]["queueUrl"] = json!("https://sqs.eu-central-1.amazonaws.com/210987654321/q");
    let problem = server.operator("PUT", &path(&app)).json(&moved).send().await;
    let problem = problem.expect_problem(422, "unprocessable");
    assert!(fields(&problem).iter().all(|f| f.starts_with("amazonSqsForwarder")), "{problem}");
    let mut absent = document;
    absent.as_object_mut().unwrap().remove("amazonSqsForwarder");
    let put = server.operator("PUT", &path(&app)).json(&absent).send().await.expect(200);
    assert_eq!(put["amazonSqsForwarder"], json!({}));
    assert!(!server.log().contains(&secret) && !server.log().contains("aws-secret-access-key"));
}

#[tokio::test]
async fn an_app_token_manages_its_own_app_only() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let by_app = |method: &str, path: &str| app.api(&[APPLICATION], method, path);
    let got = by_app("GET", &path(&app)).send().await.expect(200);
    by_app("PATCH", &path(&app)).json(&json!({"description": "mine"})).send().await.expect(200);
    by_app("PUT", &path(&app)).json(&got).send().await.expect(200);
    by_app("GET", &path(&other)).send().await.expect_problem(401, "unauthenticated");
    let without = app.api(&[crate::PUBLISH], "GET", &path(&app)).send().await;
    without.expect_problem(403, "permission_denied");
    let delete = by_app("DELETE", &path(&app)).send().await;
    assert!(matches!(delete.status, 401 | 403), "{}", delete.text());
    let create = by_app("POST", "/api/apps").json(&minimal("x")).send().await;
    assert!(matches!(create.status, 401 | 403), "{}", create.text());
    let tier = by_app("PATCH", &path(&app)).json(&json!({"tier": "unlimited"})).send().await;
    let problem = tier.expect_problem(403, "permission_denied");
    assert!(problem.to_string().contains("tier"), "{problem}");
}

#[tokio::test]
async fn changing_keys_needs_a_permission_of_its_own() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let key = Signer::generate(Algorithm::ES256).key_config();
    for (attribute, value) in
        [("authKey", key.clone()), ("adminSourceAddress", json!(["127.0.0.1"])), ("adminKey", key.clone())]
    {
        let change = json!({attribute: value});
        let request = app.api(&[APPLICATION], "PATCH", &path(&app)).json(&change);
        let problem = request.send().await.expect_problem(403, "permission_denied");
        assert!(problem.to_string().contains(attribute), "{problem}");
    }
    let change = json!({"authKey": key, "adminSourceAddress": ["127.0.0.1"]});
    app.api(&[APPLICATION, KEYS], "PATCH", &path(&app)).json(&change).send().await.expect(200);
}

/// A forwarder without its own credentials would use the operator's.
#[tokio::test]
async fn forwarders_with_the_operators_credentials_or_endpoint_need_the_operator() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let target = json!({
        "enabled": true, "queueUrl": "https://sqs.eu-central-1.amazonaws.com/123456789012/q", "region": "eu-central-1",
    });
    let mut elsewhere = target.clone();
    for (member, value) in
        [("accessKeyId", "AKIA"), ("secretAccessKey", "s"), ("endpointUrl", "https://sqs.example.com")]
    {
        elsewhere[member] = json!(value);
    }
    for forwarder in [target, elsewhere] {
        let change = json!({"amazonSqsForwarder": forwarder});
        let request = app.api(&[APPLICATION, KEYS], "PATCH", &path(&app)).json(&change);
        let problem = request.send().await.expect_problem(403, "permission_denied");
        assert!(problem.to_string().contains("amazonSqsForwarder"), "{problem}");
    }
}
