//! A test message to an application's forwarders.

use axum::extract::Request;
use realtime_auth::Action;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::generated::pubsub::{ForwarderTest, TestForwardersRequest};
use serde::Serialize;

use crate::call::{Call, ask, from_caller};
use crate::endpoint::Answer;
use crate::{Shared, body, fields, respond};

#[derive(Serialize)]
struct Tested<'a> {
    id: &'a str,
    results: Vec<Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    target: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// `POST /api/apps/{app}/forwarders/test`: without a body, or with `{}`.
pub(crate) async fn test<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let mut call = Call::open(&state.snapshots, &state.gate, request).await?;
    let body = call.json(body::CONFIGURATION_LIMIT, &state.bodies).await?;
    // The order of documents: 400 before the permission, 422 behind it.
    if !body.is_empty() {
        fields::check_json(&body)?;
    }
    call.permit(Action::ManageApplication)?;
    fields::check_empty(&body)?;
    call.enabled()?;
    let app_id = call.app.config.app_id.as_str().to_owned();
    let test = TestForwardersRequest { app_id, version: call.app.version };
    let tested = ask(state.pubsub.test_forwarders(from_caller(call.caller.vouched(), test))).await?;
    respond::json(&Tested { id: &tested.id, results: tested.results.iter().map(target).collect() })
}

fn target(test: &ForwarderTest) -> Target<'_> {
    let failure = test.failure.as_ref();
    Target {
        target: &test.target,
        ok: failure.is_none(),
        class: failure.map(|failure| &*failure.class),
        error: failure.map(|failure| &*failure.message),
    }
}
