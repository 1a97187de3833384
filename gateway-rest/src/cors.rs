//! Pages of other origins: an application's `allowedOrigins` decide which may read the answers of
//! `/api/topics` and `/api/connections`. Browsers enforce it; a request without `Origin` is no concern here.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderValue;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, ORIGIN, VARY,
};
use realtime_discovery::Snapshot;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::watch;

use crate::endpoint::Answer;
use crate::{Shared, call, respond};

/// How long a browser may remember a preflight: ten minutes, so that a changed list is in force soon.
const PREFLIGHT_SECONDS: &str = "600";

/// A request from an origin that its application allows.
#[derive(Debug)]
pub(crate) struct CrossOrigin {
    /// `*` where any origin may, so that caches need not tell them apart.
    allowed: HeaderValue,
}

impl CrossOrigin {
    /// `None` without `Origin`, without such an application, and for other origins.
    pub(crate) fn of(request: &Request, snapshots: &watch::Receiver<Option<Arc<Snapshot>>>) -> Option<Self> {
        let origin = request.headers().get(ORIGIN)?;
        let snapshot = snapshots.borrow();
        let app = snapshot.as_ref()?.apps.get(call::app_id(request.uri()))?;
        let open = app.config.allowed_origins.is_empty();
        let allows = origin.to_str().is_ok_and(|origin| app.config.allows_origin(Some(origin)));
        allows.then(|| Self { allowed: if open { HeaderValue::from_static("*") } else { origin.clone() } })
    }

    /// Lets the page read the answer.
    pub(crate) fn allow(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.allowed != "*" {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
    }
}

/// `OPTIONS`: what a browser asks before it sends a token or JSON to another origin; of others the plain question
/// which methods there are.
pub(crate) async fn preflight<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
    allow: &'static str,
) -> Answer {
    call::app(&state.snapshots, call::app_id(request.uri()))?;
    let mut response = respond::no_content();
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allow));
    if !request.headers().contains_key(ORIGIN) {
        return Ok(response);
    }
    if CrossOrigin::of(&request, &state.snapshots).is_none() {
        return Err(ApiError::new(
            ErrorCode::OriginForbidden,
            "the application's allowedOrigins do not name this origin",
        ));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, x-app-id"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    Ok(response)
}
