//! The order of checks, memory of verified tokens, and what callers hear when it is full.

use std::net::IpAddr;
use std::sync::Arc;

use realtime_auth::{App, Caller, JwksCache, OperatorTokens, issue};
use realtime_proto::app::{Algorithm, KeySource};
use realtime_proto::{ApiError, ErrorCode};
use serde_json::json;

use crate::support::{HERE, NOW, OPERATOR, SECRET, admit, app, client_app, config, gate, raw, token};

fn elsewhere() -> IpAddr {
    "198.51.100.1".parse().unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> ErrorCode {
    result.unwrap_err().code
}

#[tokio::test]
async fn a_clients_address_comes_before_its_token() {
    let (gate, app) = (gate(8), app(json!({"clientSourceAddress": ["192.0.2.0/24"]})));
    let good = token(&json!({}));
    assert!(gate.admit_client(&app, HERE, Some(&good), NOW).await.is_ok());
    for token in [None, Some("nonsense"), Some(good.as_str()), Some(OPERATOR)] {
        let refused = gate.admit_client(&app, elsewhere(), token, NOW).await;
        assert_eq!(code(refused), ErrorCode::AddressForbidden, "a remembered token too");
    }
    for token in [None, Some(""), Some("nonsense"), Some(OPERATOR)] {
        let refused = gate.admit_client(&app, HERE, token, NOW).await;
        assert_eq!(code(refused), ErrorCode::Unauthenticated);
    }
}

#[tokio::test]
async fn an_operator_passes_every_address_and_others_meet_it_before_their_token() {
    let (gate, app) = (gate(8), app(json!({"adminSourceAddress": ["192.0.2.0/24"]})));
    let good = token(&json!({}));
    match gate.admit_admin(&app, elsewhere(), Some(OPERATOR), NOW).await.unwrap() {
        Caller::Operator { name } => assert_eq!(&*name, "operator"),
        other => panic!("{other:?}"),
    }
    for token in [None, Some("nonsense"), Some(good.as_str())] {
        let refused = gate.admit_admin(&app, elsewhere(), token, NOW).await;
        assert_eq!(code(refused), ErrorCode::AddressForbidden);
    }
    assert!(matches!(
        gate.admit_admin(&app, HERE, Some(&good), NOW).await,
        Ok(Caller::App { app_id, .. }) if app_id == app.config.app_id
    ));
    for token in [None, Some("nonsense")] {
        assert_eq!(code(gate.admit_admin(&app, HERE, token, NOW).await), ErrorCode::Unauthenticated);
    }
}

#[tokio::test]
async fn the_two_keys_of_an_application_are_not_each_others() {
    let secret = "the other secret, of the administrators";
    let app = app(json!({"adminKey": raw(Algorithm::HS256, secret)}));
    let gate = gate(8);
    let client = token(&json!({}));
    let admin = issue::sign(Algorithm::HS256, secret, "{}", None).unwrap();
    assert!(gate.admit_client(&app, HERE, Some(&client), NOW).await.is_ok());
    assert!(gate.admit_admin(&app, HERE, Some(&admin), NOW).await.is_ok());
    assert!(gate.admit_client(&app, HERE, Some(&admin), NOW).await.is_err());
    assert!(gate.admit_admin(&app, HERE, Some(&client), NOW).await.is_err());
}

#[tokio::test]
async fn operator_calls_need_an_operator_and_follow_the_file() {
    let gate = gate(8);
    assert!(matches!(gate.admit_operator(Some(OPERATOR)), Ok(Caller::Operator { .. })));
    for token in [None, Some(""), Some("another"), Some(token(&json!({})).as_str())] {
        assert_eq!(code(gate.admit_operator(token)), ErrorCode::Unauthenticated);
    }
    gate.set_operators(OperatorTokens::single("another"));
    assert!(gate.admit_operator(Some("another")).is_ok());
    assert!(gate.admit_operator(Some(OPERATOR)).is_err());
    assert!(gate.admit_admin(&app(json!({})), HERE, Some(OPERATOR), NOW).await.is_err());
}

#[tokio::test]
async fn a_verified_token_is_remembered_until_it_expires() {
    let pair = issue::generate(Algorithm::ES256);
    let (gate, app) = (gate(8), client_app(Algorithm::ES256, &pair.public_pem));
    let claims = json!({"exp": NOW + 10}).to_string();
    let token = issue::sign(Algorithm::ES256, &pair.private_pem, &claims, None).unwrap();
    let first = gate.admit_client(&app, HERE, Some(&token), NOW).await.unwrap();
    let again = gate.admit_client(&app, HERE, Some(&token), NOW + 14).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let late = gate.admit_client(&app, HERE, Some(&token), NOW + 15).await.unwrap_err();
    assert_eq!(late.detail, "the token has expired");
    let stats = gate.stats();
    assert_eq!((stats.verified, stats.cached, stats.rejected, stats.waiting), (1, 1, 0, 0));
}

#[tokio::test]
async fn what_is_remembered_of_an_administrator_admits_no_client() {
    // Both keys are the same here, but only a client's subject must be part of a topic.
    let (gate, app) = (gate(8), app(json!({})));
    let token = token(&json!({"sub": "acks"}));
    assert!(gate.admit_admin(&app, HERE, Some(&token), NOW).await.is_ok());
    let refused = gate.admit_client(&app, HERE, Some(&token), NOW).await;
    assert_eq!(code(refused), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn rejected_tokens_are_not_remembered() {
    let gate = gate(8);
    let forged = issue::sign(Algorithm::HS256, "another secret", "{}", None).unwrap();
    for _ in 0..2 {
        assert!(gate.admit_client(&app(json!({})), HERE, Some(&forged), NOW).await.is_err());
    }
    assert_eq!((gate.stats().rejected, gate.stats().cached), (2, 0));
}

#[tokio::test]
async fn a_change_of_keys_or_policy_forgets_and_any_other_change_does_not() {
    let gate = gate(64);
    let token = token(&json!({"iss": "a"}));
    let admit = async |app: &Arc<App>| gate.admit_client(app, HERE, Some(&token), NOW).await;
    assert!(admit(&app(json!({}))).await.is_ok());
    assert!(admit(&app(json!({"description": "new", "clientInboundAckEnabled": true}))).await.is_ok());
    assert_eq!((gate.stats().verified, gate.stats().cached), (1, 1));
    // The same id and version, as of an application that was deleted and made again with another key.
    assert!(admit(&client_app(Algorithm::HS256, "another secret")).await.is_err());
    assert!(admit(&app(json!({"appId": "other"}))).await.is_ok());
    assert!(admit(&app(json!({"permissionCase": "sensitive"}))).await.is_ok());
    let key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"], "issuer": ["b"]});
    assert!(admit(&app(json!({"authKey": key}))).await.is_err());
    assert_eq!((gate.stats().verified, gate.stats().cached), (3, 1));
}

#[tokio::test]
async fn tokens_with_equal_permissions_share_one_compiled_set() {
    let (gate, app) = (gate(0), app(json!({})));
    let permissions = json!(["realtime:publisher:write:topic:*"]);
    let mut sets = Vec::new();
    for sub in ["ann", "bob"] {
        let token = token(&json!({"sub": sub, "permissions": permissions}));
        let identity = gate.admit_client(&app, HERE, Some(&token), NOW).await.unwrap();
        sets.push(Arc::clone(&identity.permissions));
    }
    assert!(Arc::ptr_eq(&sets[0], &sets[1]));
}

#[test]
fn a_key_set_that_was_never_fetched_is_a_missing_dependency() {
    let jwks =
        json!({"source": "jwks", "jwksUri": "https://example.com/keys", "audience": "a", "issuer": []});
    let app = app(json!({"authKey": jwks}));
    let pair = issue::generate(Algorithm::ES256);
    let sign = |claims: &str| issue::sign(Algorithm::ES256, &pair.private_pem, claims, None).unwrap();
    let error = admit(&app, &sign(r#"{"aud":"a"}"#)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(error.detail, "the key set has not been fetched yet");
    assert!(error.retry_after.is_some());
    // What is wrong without any key is said at once: another audience, a symmetric algorithm.
    assert_eq!(admit(&app, &sign(r#"{"aud":"b"}"#)).unwrap_err().code, ErrorCode::Unauthenticated);
    assert_eq!(admit(&app, &token(&json!({"aud": "a"}))).unwrap_err().code, ErrorCode::Unauthenticated);
}

#[test]
fn a_withheld_secret_verifies_nothing() {
    let mut config = config(json!({}));
    config.auth_key.source = KeySource::Withheld;
    let app = Arc::new(App::compile(config, 1, &JwksCache::offline()).unwrap());
    assert_eq!(admit(&app, &token(&json!({}))).unwrap_err().code, ErrorCode::Unauthenticated);
}
