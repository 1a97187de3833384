//! Who may do what, and what the others hear.

use std::sync::Arc;

use realtime_auth::{Action, Caller, Decision, Identity, Reason, authorize};
use realtime_proto::{AppId, ErrorCode, PermissionCase, Permissions};
use serde_json::json;

use crate::support::app;

const ADMIN_ACTIONS: [(Action<'static>, &str); 4] = [
    (Action::ManageSubscribers, "realtime:admin:manage:subscribers"),
    (Action::ManageConnections, "realtime:admin:manage:connections"),
    (Action::ManageApplication, "realtime:admin:manage:application"),
    (Action::ManageKeys, "realtime:admin:manage:keys"),
];

fn holder(app_id: &str, permissions: &[&str]) -> Caller {
    let list = permissions.iter().collect();
    let permissions = Arc::new(Permissions::new(list, PermissionCase::Insensitive));
    let identity = Arc::new(Identity { subject: None, permissions, expires_at: None });
    Caller::App { app_id: AppId::parse(app_id).unwrap(), identity }
}

fn operator() -> Caller {
    Caller::Operator { name: "ann".into() }
}

#[test]
fn a_permission_grants_its_own_action_only() {
    let app = app(json!({}));
    for (action, permission) in ADMIN_ACTIONS {
        for (other, _) in ADMIN_ACTIONS {
            let decision = authorize(&holder("test", &[permission]), &app, other);
            assert_eq!(decision.is_allowed(), other == action, "{permission} {other:?}");
        }
        let decision = authorize(&holder("test", &[permission]), &app, action);
        assert_eq!(decision, Decision::Allowed(Reason::Permission));
        let decision = authorize(&holder("test", &[]), &app, action);
        assert_eq!(decision, Decision::Denied(Reason::NoPermission));
        let error = decision.into_result(action).unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        assert!(error.detail.contains(permission), "{}", error.detail);
    }
}

#[test]
fn publishing_needs_a_pattern_that_matches() {
    let app = app(json!({}));
    let caller =
        holder("test", &["realtime:publisher:write:topic:news/*", "realtime:publisher:write:topic:priv/*"]);
    for topic in ["news/a", "priv/ann"] {
        let action = Action::Publish { topic };
        assert_eq!(authorize(&caller, &app, action), Decision::Allowed(Reason::Permission));
        assert_eq!(authorize(&caller, &app, action).into_result(action), Ok(()));
    }
    let action = Action::Publish { topic: "chat" };
    let error = authorize(&caller, &app, action).into_result(action).unwrap_err();
    assert_eq!(error.code, ErrorCode::PermissionDenied);
    assert!(error.detail.contains("realtime:publisher:write:topic:chat"), "{}", error.detail);
}

#[test]
fn nobody_publishes_where_only_the_server_does() {
    let app = app(json!({}));
    let everything = holder("test", &["realtime:publisher:write:topic:*"]);
    for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
        let action = Action::Publish { topic };
        for caller in [&everything, &operator(), &operator().vouched()] {
            let decision = authorize(caller, &app, action);
            assert_eq!(decision, Decision::Denied(Reason::ServerTopic), "{caller:?}");
            assert_eq!(decision.into_result(action).unwrap_err().code, ErrorCode::TopicForbidden);
        }
    }
}

#[test]
fn operators_and_the_cluster_may_everything_else() {
    let app = app(json!({}));
    let others = [Action::Operate, Action::Publish { topic: "priv/ann" }];
    for action in ADMIN_ACTIONS.map(|(action, _)| action).into_iter().chain(others) {
        for caller in [operator(), operator().vouched()] {
            assert_eq!(authorize(&caller, &app, action), Decision::Allowed(Reason::Operator));
        }
    }
}

#[test]
fn a_token_says_nothing_about_another_application() {
    let app = app(json!({}));
    let permissions = ["realtime:publisher:write:topic:*", "realtime:admin:manage:application"];
    for action in [Action::Publish { topic: "x" }, Action::ManageApplication, Action::Operate] {
        let decision = authorize(&holder("other", &permissions), &app, action);
        assert_eq!(decision, Decision::Denied(Reason::OtherApp));
        assert_eq!(decision.into_result(action).unwrap_err().code, ErrorCode::PermissionDenied);
    }
}

#[test]
fn no_permission_makes_an_operator() {
    let names: Vec<_> = ADMIN_ACTIONS.iter().map(|(_, permission)| *permission).collect();
    let decision = authorize(&holder("test", &names), &app(json!({})), Action::Operate);
    assert_eq!(decision, Decision::Denied(Reason::OperatorOnly));
    assert!(decision.into_result(Action::Operate).unwrap_err().detail.contains("operator"));
}
