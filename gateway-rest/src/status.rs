//! How an application fares.

use axum::extract::Request;
use realtime_auth::Action;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::generated::pubsub::{AppStatusRequest, ForwarderError, ForwarderState, ForwarderStatus};
use realtime_proto::timestamp;
use serde::Serialize;

use crate::call::{Call, ask, from_caller};
use crate::endpoint::Answer;
use crate::{Shared, respond};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    app_id: &'a str,
    enabled: bool,
    nodes: u32,
    connections: u64,
    forwarders: Vec<Forwarder<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Forwarder<'a> {
    target: &'a str,
    state: &'static str,
    queued: u64,
    last_error: Option<LastError<'a>>,
}

#[derive(Serialize)]
struct LastError<'a> {
    class: &'a str,
    message: &'a str,
    at: String,
    node: &'a str,
}

/// `GET /api/apps/{app}/status`
pub(crate) async fn read<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state.snapshots, &state.gate, request).await?;
    call.check_app_header()?;
    call.permit(Action::ManageApplication)?;
    let app_id = call.app.config.app_id.as_str();
    let asked = AppStatusRequest { app_id: app_id.to_owned() };
    let status = ask(state.pubsub.app_status(from_caller(call.caller.vouched(), asked))).await?;
    respond::json(&Status {
        app_id,
        enabled: status.enabled,
        nodes: status.nodes,
        connections: status.connections,
        forwarders: status.forwarders.iter().map(forwarder).collect(),
    })
}

fn forwarder(forwarder: &ForwarderStatus) -> Forwarder<'_> {
    Forwarder {
        target: &forwarder.target,
        state: match forwarder.state() {
            ForwarderState::Ok => "ok",
            ForwarderState::Failing => "failing",
            // A newer release's number is the worse one.
            ForwarderState::Open | ForwarderState::Unspecified => "open",
        },
        queued: forwarder.queued,
        last_error: forwarder.last_error.as_ref().map(last_error),
    }
}

fn last_error(error: &ForwarderError) -> LastError<'_> {
    let (class, message) = error.failure.as_ref().map_or(("", ""), |f| (&*f.class, &*f.message));
    LastError { class, message, at: timestamp(error.at_ms), node: &error.node }
}
