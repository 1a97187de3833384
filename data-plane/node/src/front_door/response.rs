//! The answers that the front door itself gives.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use realtime_proto::problem::{PROBLEM_MEDIA_TYPE, problem_json};
use realtime_proto::{ApiError, ErrorCode};

use super::Body;

/// What `Retry-After` says where the refusal does not know better: a limit or a pool has room again, a snapshot
/// arrives, another node is found within seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// The refusal as problem details, with the headers that its status calls for.
pub(super) fn problem(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(full(problem_json(error)));
    *response.status_mut() = status;
    let mut set = |name: HeaderName, value| response.headers_mut().insert(name, value);
    set(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    set(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match error.code {
        ErrorCode::UpgradeRequired => {
            set(header::UPGRADE, HeaderValue::from_static("websocket"));
            set(header::CONNECTION, HeaderValue::from_static("upgrade"));
            set(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        ErrorCode::MethodNotAllowed => {
            set(header::ALLOW, HeaderValue::from_static("GET"));
        }
        ErrorCode::Unauthenticated => {
            set(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    let waits = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if let Some(seconds) = error.retry_after.or(waits.then_some(RETRY_AFTER_SECONDS)) {
        set(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// 101 for a handshake whose `Sec-WebSocket-Accept` is `accept`.
pub(super) fn switching(accept: HeaderValue, extension: Option<&'static str>) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(extension) = extension {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(extension));
    }
    response
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'r>(response: &'r Response<Body>, name: &HeaderName) -> Option<&'r str> {
        response.headers().get(name).map(|v| v.to_str().unwrap())
    }

    #[test]
    fn every_code_has_its_status_and_media_type() {
        for &code in ErrorCode::ALL {
            let response = problem(&ApiError::new(code, "why"));
            assert_eq!(response.status().as_u16(), code.http_status());
            assert_eq!(header(&response, &header::CONTENT_TYPE), Some("application/problem+json"));
        }
    }

    #[test]
    fn a_429_or_503_always_says_when_to_come_back() {
        for code in [ErrorCode::ConnectionLimit, ErrorCode::Draining, ErrorCode::Unavailable] {
            assert_eq!(header(&problem(&ApiError::new(code, "why")), &header::RETRY_AFTER), Some("5"));
            let told = ApiError::new(code, "why").retry_after(2);
            assert_eq!(header(&problem(&told), &header::RETRY_AFTER), Some("2"));
        }
        let refused = problem(&ApiError::new(ErrorCode::OriginForbidden, "why"));
        assert_eq!(header(&refused, &header::RETRY_AFTER), None);
    }
}
