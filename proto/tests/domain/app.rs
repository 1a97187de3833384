use crate::{LATER, NOW, PEM, fields};
use realtime_proto::app::{AckFormat, ConnectionLimitPolicy, RefusedSubscriptionPolicy};
use realtime_proto::{AppConfig, PermissionCase};
use serde_json::{Value, json};

/// The smallest document.
pub(crate) fn minimal() -> Value {
    let key = json!({"source": "raw", "key": PEM, "algorithms": ["ES512"], "issuer": []});
    json!({"name": "My app", "authKey": key, "adminKey": key})
}

/// The smallest document with one attribute set.
pub(crate) fn with(name: &str, value: Value) -> Value {
    let mut document = minimal();
    document[name] = value;
    document
}

pub(crate) fn create(document: &Value) -> AppConfig {
    AppConfig::create(document, NOW).unwrap()
}

/// A document with every attribute.
pub(crate) fn full() -> Value {
    json!({
        "enabled": false, "appId": "my-app_1", "name": "Mine", "description": "What\nit is", "tier": "gold",
        "authKey": {"source": "raw", "key": "auth-secret-text", "algorithms": ["HS512", "HS256"],
                    "issuer": ["https://a.example"], "audience": "clients"},
        "adminKey": {"source": "raw", "key": "admin-secret-text", "algorithms": ["HS256"], "issuer": []},
        "adminSourceAddress": ["0.0.0.0/0", "!192.0.2.1"], "clientSourceAddress": ["2001:db8::/32"],
        "enableWebSocketInboundTopic": true, "clientInboundAckEnabled": true, "clientInboundAckFormat": "envelope",
        "connectionLimitPolicy": "replace", "refusedSubscriptionPolicy": "close", "permissionCase": "sensitive",
        "disconnectOnTokenExpiry": true, "enableInboundStream": true,
        "allowedOrigins": ["https://app.example.com", "http://localhost:3000"],
        "amazonSnsForwarder": {"enabled": true, "topicArn": "arn:aws:sns:eu-west-1:123456789012:inbound.fifo",
                               "region": "eu-west-1", "accessKeyId": "AKIDSNS", "secretAccessKey": "sns-secret-text"},
        "amazonSqsForwarder": {"enabled": false, "queueUrl": "https://sqs.eu-west-1.amazonaws.com/123456789012/q",
                               "region": "eu-west-1", "accessKeyId": "AKIDSQS", "secretAccessKey": "sqs-secret-text",
                               "endpointUrl": "http://127.0.0.1:5000"},
    })
}

/// The secret texts of [`full`].
pub(crate) const SECRETS: [&str; 4] =
    ["auth-secret-text", "admin-secret-text", "sns-secret-text", "sqs-secret-text"];

#[test]
fn the_documented_example_is_accepted() {
    let mut document = minimal();
    let example = json!({
        "enabled": true, "appId": "f36b57561fc006e958e521008764a570", "description": "An example", "tier": "free",
        "createdAt": "2023-09-17T15:26:35.666Z", "updatedAt": "2023-10-05T13:05:38.238Z",
        "adminSourceAddress": ["0.0.0.0/0"], "clientSourceAddress": ["0.0.0.0/0"],
        "enableWebSocketInboundTopic": true, "amazonSnsForwarder": {}, "amazonSqsForwarder": {},
    });
    for (name, value) in example.as_object().unwrap() {
        document[name] = value.clone();
    }
    let app = create(&document);
    assert_eq!(app.app_id.as_str(), "f36b57561fc006e958e521008764a570");
    assert_eq!((app.created_at.as_str(), app.updated_at.as_str()), (NOW, NOW), "read-only");
    assert!(app.amazon_sns_forwarder.is_none() && app.inbound_enabled());
}

#[test]
fn what_is_absent_or_null_takes_its_default() {
    let mut nulls = minimal();
    for name in full().as_object().unwrap().keys() {
        if nulls.get(name).is_none() {
            nulls[name] = Value::Null;
        }
    }
    for document in [minimal(), nulls] {
        let app = create(&document);
        assert!(app.enabled);
        assert_eq!((app.tier.as_str(), app.description.as_str()), ("free", ""));
        assert_eq!(app.app_id.as_str().len(), 32);
        assert_eq!(app.client_inbound_ack_format, AckFormat::Id);
        assert_eq!(app.connection_limit_policy, ConnectionLimitPolicy::Reject);
        assert_eq!(app.refused_subscription_policy, RefusedSubscriptionPolicy::Error);
        assert_eq!(app.permission_case, PermissionCase::Insensitive);
        assert!(
            app.admin_source_address.entries().is_empty() && app.client_source_address.entries().is_empty()
        );
        assert!(!app.enable_web_socket_inbound_topic && !app.client_inbound_ack_enabled);
        assert!(!app.disconnect_on_token_expiry && !app.enable_inbound_stream && !app.inbound_enabled());
        assert!(app.allowed_origins.is_empty());
        assert!(app.amazon_sns_forwarder.is_none() && app.amazon_sqs_forwarder.is_none());
    }
}

#[test]
fn every_problem_is_reported_at_once_by_its_path() {
    let document = json!({
        "nmae": "typo", "enabled": "yes", "tier": "Gold", "appId": "UPPER", "description": 5,
        "authKey": {"source": "raw", "key": "", "algorithms": ["ES512", "none"], "isuer": []},
        "adminSourceAddress": ["10.0.0.1", "x", 5], "clientSourceAddress": ["y"],
        "clientInboundAckFormat": "both", "allowedOrigins": ["https://a.example/path"],
        "amazonSnsForwarder": {"enabled": true, "queueUrl": "https://x.example/q"},
        "amazonSqsForwarder": [],
    });
    let mut found = fields(AppConfig::create(&document, NOW));
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "adminKey",
            "adminSourceAddress[1]",
            "adminSourceAddress[2]",
            "allowedOrigins[0]",
            "amazonSnsForwarder.queueUrl",
            "amazonSnsForwarder.region",
            "amazonSnsForwarder.topicArn",
            "amazonSqsForwarder",
            "appId",
            "authKey.algorithms[1]",
            "authKey.isuer",
            "authKey.key",
            "clientInboundAckFormat",
            "clientSourceAddress[0]",
            "description",
            "enabled",
            "name",
            "nmae",
            "tier",
        ]
    );
}

#[test]
fn a_document_that_is_no_object_is_refused_as_a_whole() {
    for document in [json!(null), json!([]), json!("x"), json!(5)] {
        assert_eq!(fields(AppConfig::create(&document, NOW)), [""]);
        assert_eq!(fields(create(&minimal()).patch(&document, NOW)), [""]);
    }
}

#[test]
fn a_flood_of_problems_is_reported_in_part_with_the_number_of_the_rest() {
    let mut document = minimal();
    for i in 0..1000 {
        document[format!("x{i}")] = json!(1);
    }
    let errors = AppConfig::create(&document, NOW).unwrap_err().0;
    assert_eq!(errors.len(), 51);
    assert_eq!(errors[50].message, "and 950 more problems");
}

#[test]
fn texts_over_their_limits_and_misleading_names_are_refused() {
    for name in ["", " a", "a ", "a\u{7f}b", &"x".repeat(129)] {
        assert_eq!(fields(AppConfig::create(&with("name", json!(name)), NOW)), ["name"], "{name}");
    }
    assert_eq!(create(&with("name", json!("ü".repeat(128)))).name.chars().count(), 128);
    assert_eq!(
        fields(AppConfig::create(&with("description", json!("x".repeat(1025))), NOW)),
        ["description"]
    );
    assert_eq!(fields(AppConfig::create(&with("tier", json!("")), NOW)), ["tier"]);
}

#[test]
fn origins_are_compared_without_case_and_with_the_schemes_own_port() {
    let origins =
        json!(["https://App.example.com", "http://localhost:3000", "https://x.example:443", "https://[::1]"]);
    let app = create(&with("allowedOrigins", origins));
    for origin in [
        "https://app.example.com",
        "HTTPS://APP.EXAMPLE.COM",
        "https://app.example.com:443",
        "http://localhost:3000",
        "https://x.example",
        "https://[::1]",
    ] {
        assert!(app.allows_origin(Some(origin)), "{origin}");
    }
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://app.example.com/",
        "http://localhost",
        "null",
        "",
        "https://user@app.example.com",
    ] {
        assert!(!app.allows_origin(Some(origin)), "{origin}");
    }
    assert!(app.allows_origin(None), "not a browser");
    assert!(create(&minimal()).allows_origin(Some("null")), "an empty list allows any");
}

#[test]
fn entries_that_are_no_origin_are_refused() {
    for origin in [
        "*",
        "https://*.example.com",
        "example.com",
        "https://",
        "https://a/",
        "https://a b",
        "null",
        "https://u@a.example",
        "https://a.example:99999",
        "https://a.example:",
        "https://a.example:+80",
        "https://[::1",
    ] {
        let result = AppConfig::create(&with("allowedOrigins", json!(["https://ok.example", origin])), NOW);
        assert_eq!(fields(result), ["allowedOrigins[1]"], "{origin}");
    }
    let error = AppConfig::create(&with("allowedOrigins", json!(["*"])), NOW).unwrap_err().to_string();
    assert!(error.contains("an empty list allows every origin"), "{error}");
}

#[test]
fn a_forwarder_that_is_on_needs_its_target_and_region() {
    let sqs = |value: Value| AppConfig::create(&with("amazonSqsForwarder", value), NOW);
    assert_eq!(sqs(json!({})).unwrap().amazon_sqs_forwarder, None);
    assert_eq!(sqs(json!({"enabled": false})).unwrap().amazon_sqs_forwarder, None);
    let paused = sqs(json!({"region": "eu-west-1"})).unwrap();
    assert!(!paused.amazon_sqs_forwarder.as_ref().unwrap().enabled && !paused.inbound_enabled());
    assert_eq!(
        fields(sqs(json!({"enabled": true}))),
        ["amazonSqsForwarder.queueUrl", "amazonSqsForwarder.region"]
    );
    let target = json!({"enabled": true, "queueUrl": "http://127.0.0.1:5000/1/q", "region": "eu-west-1"});
    assert!(sqs(target).unwrap().inbound_enabled());
    for (name, value) in [
        ("queueUrl", "q"),
        ("region", "EU WEST"),
        ("endpointUrl", "ftp://x.example"),
        ("endpointUrl", "https://user:pass@x.example"),
    ] {
        let mut forwarder = json!({});
        forwarder[name] = json!(value);
        assert_eq!(fields(sqs(forwarder)), [format!("amazonSqsForwarder.{name}")]);
    }
    for arn in ["arn:aws:sqs:eu-west-1:1:q", "x", "arn:aws:sns:eu-west-1::t"] {
        let result = AppConfig::create(&with("amazonSnsForwarder", json!({"topicArn": arn})), NOW);
        assert_eq!(fields(result), ["amazonSnsForwarder.topicArn"], "{arn}");
    }
}

#[test]
fn replacing_resets_what_is_absent_and_keeps_id_and_creation_time() {
    let app = create(&full());
    let replaced = app.replace(&minimal(), LATER).unwrap();
    assert_eq!(replaced.app_id, app.app_id);
    assert_eq!((replaced.created_at.as_str(), replaced.updated_at.as_str()), (NOW, LATER));
    assert!(
        replaced.enabled && replaced.amazon_sns_forwarder.is_none() && replaced.allowed_origins.is_empty()
    );
    assert_eq!(fields(app.replace(&with("appId", json!("other")), LATER)), ["appId"]);
    assert!(app.replace(&with("appId", json!("my-app_1")), LATER).is_ok());
    assert_eq!(fields(app.replace(&json!({}), LATER)), ["name", "authKey", "adminKey"]);
}

#[test]
fn patching_changes_what_it_names_and_null_resets() {
    let app = create(&full());
    let patch = json!({"name": "New", "allowedOrigins": null, "amazonSqsForwarder": null,
                       "amazonSnsForwarder": {"enabled": false}, "createdAt": "2001-01-01T00:00:00Z", "version": 9});
    let patched = app.patch(&patch, LATER).unwrap();
    let mut expected = app.clone();
    expected.name = "New".to_owned();
    expected.updated_at = LATER.to_owned();
    expected.allowed_origins.clear();
    expected.amazon_sqs_forwarder = None;
    expected.amazon_sns_forwarder.as_mut().unwrap().enabled = false;
    assert_eq!(patched, expected);
    assert_eq!(fields(app.patch(&json!({"name": null, "nope": 1}), LATER)), ["name", "nope"]);
    assert_eq!(fields(app.patch(&json!({"appId": "x"}), LATER)), ["appId"]);
}

#[test]
fn a_period_begins_with_each_creation_and_enabling_and_is_the_servers_own() {
    let app = create(&minimal());
    assert_ne!(app.period, create(&minimal()).period);
    let change = |app: &AppConfig, patch: Value| app.patch(&patch, LATER).unwrap();
    assert_eq!(change(&app, json!({"name": "New", "enabled": true})).period, app.period);
    let disabled = change(&app, json!({"enabled": false}));
    assert_eq!(change(&disabled, json!({"name": "New"})).period, disabled.period);
    let enabled = change(&disabled, json!({"enabled": true}));
    assert_ne!(enabled.period, app.period);
    assert_eq!(AppConfig::from_stored(&enabled.to_stored()).unwrap(), enabled);
    assert_eq!(enabled.to_public(1).get("period"), None);
    assert_eq!(fields(app.patch(&json!({"period": "x"}), LATER)), ["period"]);
}

#[test]
fn changed_attributes_are_those_whose_values_differ() {
    let app = create(&full());
    let same = app.replace(&app.to_public(3), LATER).unwrap();
    assert!(app.changed_attributes(&same).is_empty(), "times are read-only");
    let patch = json!({"tier": "free", "adminKey": {"key": "another"}, "amazonSnsForwarder": {"secretAccessKey": "n"}});
    let changed = app.patch(&patch, LATER).unwrap();
    assert_eq!(app.changed_attributes(&changed), ["tier", "adminKey", "amazonSnsForwarder"]);
}
