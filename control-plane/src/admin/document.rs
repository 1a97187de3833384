//! Documents as they travel: bytes that should be JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use realtime_proto::unique::{self, NotUnique};
use realtime_proto::{ApiError, ErrorCode, FieldErrors, timestamp};
use serde_json::Value;

use crate::store::{Entry, StoreError};

/// Largest document, as in the HTTP API.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// 413 · 400 · 422 where an object gives a name twice.
pub(super) fn parse(document: &Bytes) -> Result<Value, ApiError> {
    if document.len() > MAX_BYTES {
        return Err(ApiError::new(ErrorCode::PayloadTooLarge, "a document has at most 256 KiB"));
    }
    // Of the parser's message only the place is told: the rest may quote the document, which holds secrets.
    unique::from_slice(document).map_err(|error| match error {
        NotUnique::Syntax(e) => {
            let place = format!("line {}, column {}", e.line(), e.column());
            ApiError::new(ErrorCode::InvalidRequest, format!("the document is not JSON: {place}"))
        }
        NotUnique::Twice(path) => field_error(&path, "is given twice").into(),
    })
}

/// One problem with one field.
pub(super) fn field_error(field: &str, message: &str) -> FieldErrors {
    let mut errors = FieldErrors::default();
    errors.push(field, message);
    errors
}

/// A document that the store holds.
pub(super) fn stored(entry: &Entry) -> Result<Value, ApiError> {
    serde_json::from_slice(&entry.value).map_err(|_| unusable(entry, "it is not JSON"))
}

/// A stored document that does not validate: written by another release, or by hand.
pub(super) fn unusable(entry: &Entry, reason: &str) -> ApiError {
    tracing::error!(key = entry.key, reason, "a stored document is not usable");
    ApiError::new(ErrorCode::Internal, format!("what is stored under {} is not usable", entry.key))
}

/// 412.
pub(super) fn check_version(current: u64, if_version: u64) -> Result<(), ApiError> {
    if if_version == 0 || if_version == current {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::StaleVersion, format!("the version is {current}, not {if_version}")))
}

/// 503; the store's own words go to the log.
pub(super) fn unavailable(error: StoreError) -> ApiError {
    tracing::error!(%error, "the store did not answer");
    ApiError::new(ErrorCode::Unavailable, "the configuration's store does not answer").retry_after(1)
}

/// Now, as documents write it.
pub(super) fn now() -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
