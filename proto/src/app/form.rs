//! Writes a configuration for its readers, each with the secrets that it may have, and compares two.

use serde_json::{Value, json};

use super::forwarder::{self, Credentials, Kind};
use super::key::{self, Secrets};
use super::{AppConfig, Forwarder, KeyConfig, KeySource, SecretField};

/// Who reads the document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The store and data-plane nodes: everything.
    Node,
    /// Gateways: what verifies administrators' tokens and nothing else that is secret.
    Gateway,
    /// Callers of the API: no secret.
    Api { version: u64 },
}

/// The attributes that a write can change.
const ATTRIBUTES: [&str; 19] = [
    "enabled",
    "name",
    "description",
    "tier",
    "authKey",
    "adminKey",
    "adminSourceAddress",
    "clientSourceAddress",
    "enableWebSocketInboundTopic",
    "clientInboundAckEnabled",
    "clientInboundAckFormat",
    "connectionLimitPolicy",
    "refusedSubscriptionPolicy",
    "permissionCase",
    "disconnectOnTokenExpiry",
    "enableInboundStream",
    "allowedOrigins",
    "amazonSnsForwarder",
    "amazonSqsForwarder",
];

pub(super) fn write(config: &AppConfig, audience: Audience) -> Value {
    let (auth, admin, credentials) = match audience {
        Audience::Node => (Secrets::Shown, Secrets::Shown, Credentials::Shown),
        Audience::Gateway => (Secrets::Withheld, Secrets::Shown, Credentials::Withheld),
        Audience::Api { .. } => (Secrets::Hidden, Secrets::Hidden, Credentials::Hidden),
    };
    let sns = forwarder::write(config.amazon_sns_forwarder.as_ref(), Kind::Sns, credentials);
    let sqs = forwarder::write(config.amazon_sqs_forwarder.as_ref(), Kind::Sqs, credentials);
    let mut document = json!({
        "appId": config.app_id,
        "enabled": config.enabled,
        "name": config.name,
        "description": config.description,
        "tier": config.tier,
        "createdAt": config.created_at,
        "updatedAt": config.updated_at,
        "authKey": key::write(&config.auth_key, auth),
        "adminKey": key::write(&config.admin_key, admin),
        "adminSourceAddress": config.admin_source_address.entries(),
        "clientSourceAddress": config.client_source_address.entries(),
        "enableWebSocketInboundTopic": config.enable_web_socket_inbound_topic,
        "clientInboundAckEnabled": config.client_inbound_ack_enabled,
        "clientInboundAckFormat": config.client_inbound_ack_format,
        "connectionLimitPolicy": config.connection_limit_policy,
        "refusedSubscriptionPolicy": config.refused_subscription_policy,
        "permissionCase": config.permission_case,
        "disconnectOnTokenExpiry": config.disconnect_on_token_expiry,
        "enableInboundStream": config.enable_inbound_stream,
        "allowedOrigins": config.allowed_origins,
        "amazonSnsForwarder": sns,
        "amazonSqsForwarder": sqs,
    });
    if let Value::Object(object) = &mut document {
        match audience {
            Audience::Api { version } => object.insert("version".to_owned(), json!(version)),
            Audience::Node | Audience::Gateway => object.insert("period".to_owned(), json!(config.period)),
        };
    }
    document
}

/// Where the form for nodes has secrets.
pub(super) fn secrets(config: &AppConfig) -> Vec<SecretField> {
    let is_hmac = |key: &KeyConfig| matches!(key.source, KeySource::Hmac(_));
    let signs = |forwarder: &Option<Forwarder>| {
        forwarder.as_ref().is_some_and(|forwarder| forwarder.secret_access_key.is_some())
    };
    let held = [
        (SecretField::AUTH_KEY, is_hmac(&config.auth_key)),
        (SecretField::ADMIN_KEY, is_hmac(&config.admin_key)),
        (SecretField::SNS, signs(&config.amazon_sns_forwarder)),
        (SecretField::SQS, signs(&config.amazon_sqs_forwarder)),
    ];
    held.into_iter().filter_map(|(field, is_held)| is_held.then_some(field)).collect()
}

/// Names of the attributes whose values differ, secrets included.
pub(super) fn changed(old: &AppConfig, new: &AppConfig) -> Vec<&'static str> {
    let (old, new) = (write(old, Audience::Node), write(new, Audience::Node));
    ATTRIBUTES.into_iter().filter(|name| old.get(name) != new.get(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_written_attribute_is_compared_or_read_only() {
        let key = json!({"source": "raw", "key": "s", "algorithms": ["HS256"]});
        let document = json!({"name": "n", "authKey": key, "adminKey": key});
        let config = AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap();
        let Value::Object(written) = config.to_stored() else { panic!("an object") };
        let listed: BTreeSet<&str> =
            ATTRIBUTES.into_iter().chain(["appId", "createdAt", "updatedAt", "period"]).collect();
        assert_eq!(written.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    }
    /// A secret that is written and not listed would lie in the store in the clear.
    #[test]
    fn every_secret_that_is_written_for_nodes_is_listed_and_hidden_from_callers() {
        let key = |secret: &str| json!({"source": "raw", "key": secret, "algorithms": ["HS256"]});
        let forwarder = |target: &str, value: &str, secret: &str| json!({target: value, "accessKeyId": "id", "secretAccessKey": secret});
        let document = json!({
            "name": "n", "authKey": key("secret-1"), "adminKey": key("secret-2"),
            "amazonSnsForwarder": forwarder("topicArn", "arn:aws:sns:eu-west-1:1:t", "secret-3"),
            "amazonSqsForwarder": forwarder("queueUrl", "https://sqs.example.com/1/q", "secret-4"),
        });
        let config = AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap();
        assert!(!config.to_public(1).to_string().contains("secret-"));
        let mut stored = config.to_stored();
        let fields = config.secret_fields();
        assert_eq!(fields, SecretField::ALL);
        for (field, secret) in fields.into_iter().zip(1..) {
            assert_eq!(field.text(&stored).unwrap(), format!("secret-{secret}"));
            field.set_envelope(&mut stored, "hidden".into());
            assert_eq!((field.text(&stored), field.envelope(&stored)), (None, Some("hidden")));
        }
        assert!(!stored.to_string().contains("secret-"), "{stored}");
        let errors = AppConfig::from_stored(&stored).unwrap_err();
        let named: Vec<String> = errors.0.iter().map(|error| error.field.clone()).collect();
        assert_eq!(named, SecretField::ALL.map(SecretField::path));
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let key = json!({"source": "raw", "key": pem, "algorithms": ["ES256"]});
        let document = json!({"name": "n", "authKey": key, "adminKey": key});
        let config = AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap();
        assert!(config.secret_fields().is_empty());
    }
}
