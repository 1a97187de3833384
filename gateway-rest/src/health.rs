//! `GET /api/health/status`: whether this gateway can serve. Needs no token and says nothing secret.

use axum::extract::Request;
use axum::response::Response;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::{ApiError, ErrorCode};
use serde::Serialize;

use crate::forward::takes_calls;
use crate::{Nodes, Shared, respond};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    /// Of the configuration in force.
    revision: u64,
}

pub(crate) async fn status<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    _request: Request,
) -> Result<Response, ApiError> {
    let snapshot = state.snapshots.borrow().clone();
    let snapshot = snapshot.ok_or_else(|| unavailable("the gateway has no configuration yet"))?;
    if state.nodes == Nodes::Members && !snapshot.members.values().any(takes_calls) {
        return Err(unavailable("no data-plane node is ready"));
    }
    respond::json(&Health { status: "ok", revision: snapshot.revision })
}

fn unavailable(why: &str) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, why)
}
