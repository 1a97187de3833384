//! The domain types through their public interface.
#![allow(clippy::unwrap_used, reason = "the tests' own helpers")]

mod address;
mod app;
mod arbitrary;
mod key;
mod matcher;
mod secrets;
mod settings;

use realtime_proto::FieldErrors;

/// A time for documents, RFC 3339.
const NOW: &str = "2026-01-02T03:04:05.678Z";
/// A later one.
const LATER: &str = "2026-01-02T03:04:06.000Z";
/// The form is all that this crate looks at.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIGbMBAGBy\n-----END PUBLIC KEY-----";

/// The paths of the fields at fault.
#[track_caller]
fn fields<T: std::fmt::Debug>(result: Result<T, FieldErrors>) -> Vec<String> {
    result.expect_err("refused").0.into_iter().map(|e| e.field).collect()
}
