//! Responses: problem details with their headers, JSON answers, configuration documents with their ETag.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use realtime_proto::problem::{PROBLEM_MEDIA_TYPE, problem_json};
use realtime_proto::{ApiError, ErrorCode};
use serde::Serialize;

/// Said with every 503 whose source does not say how long: long enough for a reconnect of ours.
const DEFAULT_RETRY_SECONDS: u32 = 1;

#[derive(Serialize)]
struct Page<'a, T> {
    items: &'a [T],
    next: Option<&'a str>,
}

/// The problem document of a refusal. What an internal error says goes to the log, not to the caller.
pub(crate) fn problem(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = if error.code == ErrorCode::Internal {
        tracing::error!(detail = %error.detail, "internal error");
        problem_json(&ApiError::new(ErrorCode::Internal, "internal error"))
    } else {
        problem_json(error)
    };
    let mut response = with_type(status, PROBLEM_MEDIA_TYPE, body.into());
    let headers = response.headers_mut();
    let unavailable = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(DEFAULT_RETRY_SECONDS);
    if let Some(seconds) = error.retry_after.or(unavailable) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// 200 with a JSON value.
pub(crate) fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string()))?;
    Ok(with_type(StatusCode::OK, "application/json", body.into()))
}

/// 200 with one page of a list; `next` is the cursor of the page after it, null on the last.
pub(crate) fn page(items: &[impl Serialize], next: &str) -> Result<Response, ApiError> {
    json(&Page { items, next: (!next.is_empty()).then_some(next) })
}

/// A configuration document as the control plane made it, with its version as the ETag.
pub(crate) fn document(status: StatusCode, version: u64, document: Bytes) -> Response {
    let mut response = with_type(status, "application/json", document);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// 204.
pub(crate) fn no_content() -> Response {
    fresh(StatusCode::NO_CONTENT, Body::empty())
}

fn with_type(status: StatusCode, media_type: &'static str, body: Bytes) -> Response {
    let mut response = fresh(status, Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// What is true now, for this caller: no cache may give it to anybody again.
fn fresh(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
