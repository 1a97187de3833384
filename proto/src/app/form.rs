//! Writes a configuration for its readers, each with the secrets that it may have, and compares two.

use serde_json::{Value, json};

use super::AppConfig;
use super::forwarder::{self, Credentials, Kind};
use super::key::{self, Secrets};

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
}
