//! The checks before a session opens, in the documented order (docs/contract.md 2.1).
//!
//! Never here: sockets and answers; a check ends in a value.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};
use realtime_auth::Identity;
use realtime_proto::{ApiError, ErrorCode};
use realtime_session::handshake::{DEFLATE_RESPONSE, accept_key, accepts_deflate};

use super::Door;
use super::query::SessionQuery;
use crate::AppRuntime;

/// A well-formed opening handshake.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    /// `Sec-WebSocket-Accept`
    pub(super) accept: HeaderValue,
    /// Whether the client offers a permessage-deflate that the server can accept.
    pub(super) deflate: bool,
}

impl Handshake {
    /// `Sec-WebSocket-Extensions` of the answer.
    pub(super) fn extension(&self) -> Option<&'static str> {
        self.deflate.then_some(DEFLATE_RESPONSE)
    }
}

/// A client that may have its session.
pub(super) struct Admission {
    pub(super) app: Arc<AppRuntime>,
    pub(super) identity: Arc<Identity>,
}

/// Whether the node takes sessions at all.
pub(super) fn check_serving(door: &Door) -> Result<(), ApiError> {
    door.shards()?;
    if door.snapshots.borrow().is_none() {
        return Err(ApiError::new(ErrorCode::Unavailable, "the node has no configuration yet"));
    }
    if *door.draining.borrow() {
        return Err(ApiError::new(
            ErrorCode::Draining,
            "the node is draining; connect again to reach another",
        ));
    }
    Ok(())
}

/// Whether the request asks for the upgrade, and how to answer.
pub(super) fn check_handshake<B>(request: &Request<B>) -> Result<Handshake, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::new(ErrorCode::MethodNotAllowed, "a WebSocket opens with GET"));
    }
    let headers = request.headers();
    if request.version() == Version::HTTP_2 {
        let why = "a WebSocket opens over HTTP/1.1; this connection speaks HTTP/2";
        return Err(ApiError::new(ErrorCode::UpgradeRequired, why));
    }
    let upgrade = request.version() == Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !upgrade {
        return Err(ApiError::new(ErrorCode::UpgradeRequired, "this address speaks WebSocket only"));
    }
    let mut versions = headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
    let version = versions.next();
    if versions.next().is_some() {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "Sec-WebSocket-Version must be given once"));
    }
    if version.is_none_or(|version| version != "13") {
        return Err(ApiError::new(ErrorCode::UpgradeRequired, "Sec-WebSocket-Version must be 13"));
    }
    // A proxy in front would take for a body what is read as frames here.
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "a WebSocket opens without a body"));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let accept = match (keys.next(), keys.next()) {
        (Some(key), None) => key.to_str().ok().and_then(accept_key),
        _ => None,
    };
    let accept = accept.and_then(|accept| HeaderValue::try_from(accept).ok()).ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidRequest, "Sec-WebSocket-Key must be 16 bytes of base64")
    })?;
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|v| v.to_str().ok());
    Ok(Handshake { accept, deflate: accepts_deflate(offers) })
}

/// The checks that concern the application and the caller.
pub(super) async fn admit(
    door: &Door,
    app_id: &str,
    query: &SessionQuery,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Admission, ApiError> {
    let shards = door.shards()?;
    let app = shards.app(app_id).ok_or_else(ApiError::no_such_app)?;
    let config = &app.app.config;
    if !config.enabled {
        return Err(ApiError::new(ErrorCode::AppDisabled, "the application is disabled"));
    }
    // A value that is no text is an origin that no list holds.
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("\u{fffd}"));
    if !config.allows_origin(origin) {
        return Err(ApiError::new(ErrorCode::OriginForbidden, "the origin is not allowed"));
    }
    let token = query.access_token.as_deref().or_else(|| bearer(headers));
    let admitted = door.gate.admit_client(&app.app, address, token, unix_now()).await;
    // A reached limit is said before a full verification pool, but never to a caller without a valid token.
    if admitted.as_ref().map_or_else(|refusal| refusal.code == ErrorCode::Unavailable, |_| true) {
        shards.check_limits(&app)?;
    }
    Ok(Admission { app, identity: admitted? })
}

/// The token of `Authorization: Bearer`; none of two such headers: a proxy in front may have judged the other one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().and_then(realtime_auth::bearer)
}

/// Whether a header that is a list of tokens has this one.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
