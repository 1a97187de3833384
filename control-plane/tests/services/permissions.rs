//! Who may do what to an application, over gRPC with tokens and in-process with a caller.

use std::sync::Arc;

use realtime_auth::{Caller, Identity};
use realtime_proto::generated::admin as wire;
use realtime_proto::generated::admin::apps_server::Apps as _;
use realtime_proto::{AppId, ErrorCode, Permissions};
use serde_json::{Value, json};
use tonic::Request;

use crate::plane::{
    MANAGE_APPLICATION, MANAGE_KEYS, Plane, answer, app, app_token, assert_refused, document, key, operator,
    patch_of, replace, with_token,
};

const OWN: &[&str] = &[MANAGE_APPLICATION];
const OWN_AND_KEYS: &[&str] = &[MANAGE_APPLICATION, MANAGE_KEYS];

/// A control plane with the app `demo`.
async fn plane() -> Plane {
    let plane = Plane::start().await;
    plane.create(&app("demo")).await.unwrap();
    plane
}

async fn patch(
    plane: &Plane,
    permissions: &[&str],
    patch: Value,
) -> Result<wire::App, realtime_proto::ApiError> {
    answer(plane.apps().patch(app_token(patch_of("demo", &patch), permissions)).await)
}

#[tokio::test]
async fn operators_alone_create_list_delete_and_change_settings() {
    let plane = plane().await;
    let create = wire::CreateAppRequest { document_json: app("two").to_string().into() };
    let created = answer(plane.apps().create(app_token(create, OWN_AND_KEYS)).await);
    assert_refused(created, ErrorCode::Unauthenticated, &[]);
    let list = answer(plane.apps().list(app_token(wire::ListAppsRequest::default(), OWN)).await);
    assert_refused(list, ErrorCode::Unauthenticated, &[]);
    let delete = wire::DeleteAppRequest { app_id: "demo".into(), if_version: 0 };
    let deleted = answer(plane.apps().delete(app_token(delete, OWN_AND_KEYS)).await);
    assert_refused(deleted, ErrorCode::PermissionDenied, &[]);
    let get = answer(plane.settings().get(app_token(wire::GetSettingsRequest {}, OWN)).await);
    assert_refused(get, ErrorCode::Unauthenticated, &[]);
    let drain = wire::DrainRequest { node_id: "n".into() };
    assert_refused(answer(plane.nodes().drain(Request::new(drain)).await), ErrorCode::Unauthenticated, &[]);
}

#[tokio::test]
async fn no_token_or_a_wrong_one_is_unauthenticated_and_an_unknown_app_comes_first() {
    let plane = plane().await;
    let get = |id: &str| wire::GetAppRequest { app_id: id.into() };
    assert_refused(
        answer(plane.apps().get(Request::new(get("demo"))).await),
        ErrorCode::Unauthenticated,
        &[],
    );
    let wrong = answer(plane.apps().get(with_token(get("demo"), "wrong")).await);
    assert_refused(wrong, ErrorCode::Unauthenticated, &[]);
    assert_refused(answer(plane.apps().get(Request::new(get("none"))).await), ErrorCode::AppNotFound, &[]);
}

#[tokio::test]
async fn an_app_token_needs_the_permission_and_reaches_its_own_app_only() {
    let plane = plane().await;
    let mut other = app("other");
    other["adminKey"] = key("a different secret, also long enough");
    plane.create(&other).await.unwrap();
    let get = |id: &str| wire::GetAppRequest { app_id: id.into() };
    answer(plane.apps().get(app_token(get("demo"), OWN)).await).unwrap();
    let without = answer(plane.apps().get(app_token(get("demo"), &[MANAGE_KEYS])).await);
    assert_refused(without, ErrorCode::PermissionDenied, &[]);
    let others = answer(plane.apps().get(app_token(get("other"), OWN)).await);
    assert_refused(others, ErrorCode::Unauthenticated, &[]);
    patch(&plane, OWN, json!({"description": "mine", "enableWebSocketInboundTopic": true})).await.unwrap();
    assert_refused(patch(&plane, &[], json!({"description": "x"})).await, ErrorCode::PermissionDenied, &[]);
}

#[tokio::test]
async fn the_source_address_is_checked_for_app_tokens_and_not_for_operators() {
    let plane = plane().await;
    plane.patch("demo", &json!({"adminSourceAddress": ["10.0.0.0/8"]})).await.unwrap();
    let get = wire::GetAppRequest { app_id: "demo".into() };
    let refused = answer(plane.apps().get(app_token(get.clone(), OWN)).await);
    assert_refused(refused, ErrorCode::AddressForbidden, &[]);
    answer(plane.apps().get(operator(get)).await).unwrap();
}

#[tokio::test]
async fn the_tier_is_the_operators() {
    let plane = plane().await;
    let tier = json!({"tier": "unlimited", "description": "x"});
    assert_refused(patch(&plane, OWN_AND_KEYS, tier.clone()).await, ErrorCode::PermissionDenied, &["tier"]);
    assert_eq!(document(&plane.get("demo").await.unwrap().document_json)["tier"], "free");
    // An unchanged one may be in the document.
    let mut same = app("demo");
    same["tier"] = json!("free");
    answer(plane.apps().replace(app_token(replace(&same, 0), OWN)).await).unwrap();
    plane.patch("demo", &tier).await.unwrap();
}

#[tokio::test]
async fn keys_addresses_and_forwarders_need_the_permission_for_keys() {
    let plane = plane().await;
    let forwarder = json!({
        "enabled": true, "topicArn": "arn:aws:sns:eu-west-1:123456789012:t", "region": "eu-west-1",
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "secret",
    });
    let changes = [
        ("authKey", key("a different secret, also long enough")),
        ("amazonSnsForwarder", forwarder),
        ("adminSourceAddress", json!(["127.0.0.0/8"])),
    ];
    for (field, value) in changes {
        let change = json!({ field: value });
        assert_refused(patch(&plane, OWN, change.clone()).await, ErrorCode::PermissionDenied, &[field]);
        patch(&plane, OWN_AND_KEYS, change).await.unwrap_or_else(|e| panic!("{field}: {e}"));
    }
    let admin_key = json!({"adminKey": key("yet another secret, also long enough")});
    assert_refused(patch(&plane, OWN, admin_key.clone()).await, ErrorCode::PermissionDenied, &["adminKey"]);
    patch(&plane, OWN_AND_KEYS, admin_key).await.unwrap();
    let stale = patch(&plane, OWN_AND_KEYS, json!({"description": "x"})).await;
    assert_refused(stale, ErrorCode::Unauthenticated, &[]);
}

#[tokio::test]
async fn ambient_credentials_and_endpoints_are_the_operators() {
    let plane = plane().await;
    let ambient = json!({"amazonSqsForwarder": {
        "enabled": true, "region": "eu-west-1",
        "queueUrl": "https://sqs.eu-west-1.amazonaws.com/123456789012/q",
    }});
    let refused = patch(&plane, OWN_AND_KEYS, ambient.clone()).await;
    assert_refused(refused, ErrorCode::PermissionDenied, &["amazonSqsForwarder"]);
    plane.patch("demo", &ambient).await.unwrap();
    let elsewhere = json!({"amazonSqsForwarder": {
        "queueUrl": "https://sqs.eu-west-1.amazonaws.com/123456789012/theirs",
    }});
    let refused = patch(&plane, OWN_AND_KEYS, elsewhere).await;
    assert_refused(refused, ErrorCode::PermissionDenied, &["amazonSqsForwarder"]);
    patch(&plane, OWN_AND_KEYS, json!({"amazonSqsForwarder": {"enabled": false}})).await.unwrap();

    let endpoint = json!({"amazonSnsForwarder": {
        "enabled": true, "topicArn": "arn:aws:sns:eu-west-1:123456789012:t", "region": "eu-west-1",
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "secret",
        "endpointUrl": "http://169.254.169.254/",
    }});
    let refused = patch(&plane, OWN_AND_KEYS, endpoint.clone()).await;
    assert_refused(refused, ErrorCode::PermissionDenied, &["amazonSnsForwarder.endpointUrl"]);
    plane.patch("demo", &endpoint).await.unwrap();
}

#[tokio::test]
async fn a_caller_in_the_extensions_is_believed_in_process() {
    let plane = plane().await;
    let service = plane.control.apps_service();
    let permissions = [MANAGE_APPLICATION].into_iter().collect();
    let identity = Identity {
        subject: None,
        permissions: Arc::new(Permissions::new(
            permissions,
            realtime_proto::permission::PermissionCase::Insensitive,
        )),
        expires_at: None,
    };
    let of =
        |id: &str| Caller::App { app_id: AppId::parse(id).unwrap(), identity: Arc::new(identity.clone()) };
    let get = |caller: Caller| {
        let mut request = Request::new(wire::GetAppRequest { app_id: "demo".into() });
        request.extensions_mut().insert(caller);
        request
    };
    answer(service.get(get(of("demo"))).await).unwrap();
    assert_refused(answer(service.get(get(of("other"))).await), ErrorCode::PermissionDenied, &[]);
    answer(service.get(get(Caller::Operator { name: "ops".into() })).await).unwrap();
    let mut list = Request::new(wire::ListAppsRequest::default());
    list.extensions_mut().insert(of("demo"));
    assert_refused(answer(service.list(list).await), ErrorCode::PermissionDenied, &[]);
    // Without an address an app token cannot be admitted.
    let token = app_token(wire::GetAppRequest { app_id: "demo".into() }, OWN);
    assert_refused(answer(service.get(token).await), ErrorCode::Unauthenticated, &[]);
}

#[tokio::test]
async fn services_of_a_control_plane_that_is_shut_down_say_unavailable() {
    let plane = plane().await;
    let service = plane.control.apps_service();
    plane.stop().await;
    let create = operator(wire::CreateAppRequest { document_json: app("two").to_string().into() });
    assert_refused(answer(service.create(create).await), ErrorCode::Unavailable, &[]);
}
