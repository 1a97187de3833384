//! Request bodies: coding and media type (415; 400 where there are two), size (413), arrival. A body over its limit is never held in memory:
//! a declared length is refused at once, and keeping a chunked one stops at the limit.
//!
//! The rest of a body over its limit is taken and thrown away, within bounds: most clients write the whole body
//! before they read, and would see a broken connection in place of the 413.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt as _;
use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::fields;
use crate::unfinished::{Unfinished, UnfinishedBodies};

/// The media types of calls that take JSON.
pub(crate) const JSON: &[&str] = &["application/json"];
/// The media types of RFC 7396 patches; plain JSON is the same document.
pub(crate) const MERGE_PATCH: &[&str] = &["application/json", "application/merge-patch+json"];

/// The largest body of a publish.
pub(crate) const PUBLISH_LIMIT: usize = 5_120;
/// The largest body of an unsubscribe.
pub(crate) const UNSUBSCRIBE_LIMIT: usize = 16 * 1024;
/// The largest configuration.
pub(crate) const CONFIGURATION_LIMIT: usize = 256 * 1024;

/// How long an authenticated caller may take to send its body: 256 KiB arrive in it over the slowest line
/// that is still of use, and a stalled sender does not hold memory longer.
const ARRIVAL: Duration = Duration::from_secs(15);

/// What comes within it takes none of the places for slow bodies: a round trip over a bad network, for clients that
/// send a body when they are asked to.
const PROMPT: Duration = Duration::from_millis(500);

/// How much of a refused body is thrown away, and for how long. What is larger or slower sees the connection close,
/// as on other servers; a known caller cannot keep one busy for more than this.
const DISCARD_BYTES: u64 = 8 * 1024 * 1024;
const DISCARD_WITHIN: Duration = Duration::from_secs(2);

/// The body of a call that takes JSON, unparsed.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    media_types: &[&str],
    limit: usize,
    bodies: &UnfinishedBodies,
) -> Result<Bytes, ApiError> {
    check_coding(headers)?;
    // Without a body and a type, what is missing is the body.
    if !body.is_end_stream() || headers.contains_key(CONTENT_TYPE) {
        check_media_type(headers, media_types)?;
    }
    let mut place = None;
    let result = arrive(&mut body, limit, bodies, &mut place).await;
    // After a 503 nothing is taken any more: that, too, needs memory. Whoever waits for a 100 has sent nothing yet, and
    // reading would ask for it.
    let too_large = result.as_ref().is_err_and(|e| e.code == ErrorCode::PayloadTooLarge);
    if too_large && !headers.contains_key(EXPECT) {
        discard(body, bodies, place).await;
    }
    result
}

/// Takes the body as fast as it comes. One that takes its time has to have its place.
async fn arrive(
    body: &mut Body,
    limit: usize,
    bodies: &UnfinishedBodies,
    place: &mut Option<OwnedSemaphorePermit>,
) -> Result<Bytes, ApiError> {
    let mut arrival = std::pin::pin!(collect(body, limit, bodies.begin()));
    if let Ok(result) = timeout(PROMPT, arrival.as_mut()).await {
        return result;
    }
    *place = Some(bodies.take_time()?);
    timeout(ARRIVAL - PROMPT, arrival).await.unwrap_or_else(|_| {
        let why = format!("the body did not arrive within {} s", ARRIVAL.as_secs());
        Err(ApiError::new(ErrorCode::InvalidRequest, why))
    })
}

/// A compressed body would only be found to be no JSON.
fn check_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::UnsupportedMediaType, "Content-Encoding must be absent or identity"))
}

fn check_media_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), ApiError> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let given = types.next();
    if types.next().is_some() {
        // Whoever reads the other one takes the body for something else.
        return Err(fields::bad("Content-Type", "must be given once"));
    }
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if allowed.iter().any(|media_type| media_type.eq_ignore_ascii_case(essence)) {
        Ok(())
    } else {
        let detail = format!("Content-Type must be {}", allowed.join(" or "));
        Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail))
    }
}

/// Takes what is left of a body, in the place that it has or one that is free; gives up silently.
async fn discard(mut body: Body, bodies: &UnfinishedBodies, place: Option<OwnedSemaphorePermit>) {
    let place = place.map_or_else(|| bodies.take_time(), Ok);
    if place.is_err() || body.size_hint().lower() > DISCARD_BYTES {
        return;
    }
    let mut left = DISCARD_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            let taken = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(taken) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Late or not, the answer is the same.
    let _ = timeout(DISCARD_WITHIN, rest).await;
}

async fn collect(body: &mut Body, limit: usize, mut unfinished: Unfinished) -> Result<Bytes, ApiError> {
    let too_large =
        || ApiError::new(ErrorCode::PayloadTooLarge, format!("the body must not be over {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut begun = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ApiError::new(ErrorCode::InvalidRequest, "the body ended before its announced end")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if begun.len() + data.len() > limit {
            return Err(too_large());
        }
        // Nearly every body is one frame, which is then used as it is. What is to wait for more is copied: as it is, it
        // would keep the whole buffer that the connection has read it into.
        if begun.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        begun.extend_from_slice(&data);
        unfinished.grow_to(begun.capacity())?;
    }
    Ok(begun.freeze())
}
