//! `GET /api/health/status`: whether this gateway can serve. Needs no token and says nothing secret.

use axum::extract::Request;
use axum::response::Response;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::{ApiError, ErrorCode};
use serde::Serialize;

use crate::{Shared, respond};

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
    let revision = state.snapshots.borrow().as_ref().map(|snapshot| snapshot.revision);
    match revision {
        Some(revision) => respond::json(&Health { status: "ok", revision }),
        None => Err(ApiError::new(ErrorCode::Unavailable, "the gateway has no configuration yet")),
    }
}
