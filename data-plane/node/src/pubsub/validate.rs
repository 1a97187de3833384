//! What a request must look like, as in the HTTP API: 413, then 400 with every field at fault.

use realtime_proto::generated::pubsub as wire;
use realtime_proto::nesting::nests_too_deep;
use realtime_proto::topic::{is_valid_message_id, is_valid_message_type, is_valid_subject, is_valid_topic};
use realtime_proto::{ApiError, ErrorCode, FieldErrors};
use serde_json::value::RawValue;

/// Entries of a batch: what fits gRPC's message limit of 4 MiB with the default message limit, roughly.
const MAX_BATCH: usize = 1000;
/// Patterns of an unsubscribe (docs/contract.md 4).
const MAX_PATTERNS: usize = 50;
/// A name for people, as long as other ids.
const MAX_GROUP_BYTES: usize = 64;
/// Messages that a consumer has at a time: of 5 KiB each, 20 MiB.
const MAX_UNANSWERED: u32 = 4096;
/// An unsubscribe's texts: the HTTP API's body limit.
const MAX_UNSUBSCRIBE_BYTES: usize = 16 * 1024;

/// A publish; `max_message_bytes` 0 is no limit.
pub(super) fn publish(request: &wire::PublishRequest, max_message_bytes: u32) -> Result<(), ApiError> {
    let max = usize::try_from(max_message_bytes).unwrap_or(usize::MAX);
    if max != 0 && request.message_json.len() > max {
        let detail = format!("the message is over {max} bytes");
        return Err(ApiError::new(ErrorCode::PayloadTooLarge, detail));
    }
    let mut errors = FieldErrors::default();
    if !is_valid_topic(&request.topic) {
        errors.push("topic", "must be 1 to 255 bytes without control characters");
    }
    if !is_json(&request.message_json) {
        errors.push("message_json", "must be one JSON value");
    } else if nests_too_deep(&request.message_json) {
        errors.push("message_json", "must not nest deeper than 100 levels");
    }
    if !request.message_type.is_empty() && !is_valid_message_type(&request.message_type) {
        errors.push("message_type", "must be empty or 1 to 128 bytes without control characters");
    }
    if !request.id.is_empty() && !is_valid_message_id(&request.id) {
        errors.push("id", "must be empty or 1 to 128 bytes");
    }
    invalid(errors)
}

/// The number of entries in a batch.
pub(super) fn batch(publishes: usize) -> Result<(), ApiError> {
    if publishes > MAX_BATCH {
        return Err(field("publishes", &format!("must be at most {MAX_BATCH}")));
    }
    Ok(())
}

pub(super) fn unsubscribe(request: &wire::UnsubscribeRequest) -> Result<(), ApiError> {
    let bytes = request.subject.len() + request.topic_patterns.iter().map(String::len).sum::<usize>();
    if bytes > MAX_UNSUBSCRIBE_BYTES {
        return Err(ApiError::new(ErrorCode::PayloadTooLarge, "the request is over 16 KiB"));
    }
    let mut errors = FieldErrors::default();
    if !(1..=MAX_PATTERNS).contains(&request.topic_patterns.len()) {
        errors.push("topic_patterns", "must be 1 to 50 patterns");
    }
    if !is_valid_subject(&request.subject) {
        errors.push("subject", SUBJECT);
    }
    invalid(errors)
}

/// The beginning of an inbound stream.
pub(super) fn inbound(start: &wire::InboundStart) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    if start.group.len() > MAX_GROUP_BYTES || start.group.chars().any(char::is_control) {
        errors.push("group", "must be at most 64 bytes without control characters");
    }
    if start.max_unanswered > MAX_UNANSWERED {
        errors.push("max_unanswered", "must be at most 4096");
    }
    invalid(errors)
}

pub(super) fn subject(subject: &str) -> Result<(), ApiError> {
    if is_valid_subject(subject) { Ok(()) } else { Err(field("subject", SUBJECT)) }
}

const SUBJECT: &str = "must be 1 to 250 bytes without control characters, not `acks` or `errors`";

/// 400 for one field.
pub(super) fn field(name: &str, message: &str) -> ApiError {
    let mut errors = FieldErrors::default();
    errors.push(name, message);
    ApiError { code: ErrorCode::InvalidRequest, ..errors.into() }
}

/// 400 for an absent field.
pub(super) fn missing(name: &str) -> ApiError {
    field(name, "is missing")
}

fn invalid(errors: FieldErrors) -> Result<(), ApiError> {
    errors.into_result(()).map_err(|errors| ApiError { code: ErrorCode::InvalidRequest, ..errors.into() })
}

/// One JSON value in UTF-8, of any depth: it is skipped, not built.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(message_json: &'static [u8]) -> wire::PublishRequest {
        let message_json = message_json.into();
        wire::PublishRequest { topic: "t".into(), message_json, ..Default::default() }
    }

    fn fields(result: Result<(), ApiError>) -> Vec<String> {
        let error = result.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        error.fields.into_iter().map(|f| f.field).collect()
    }

    #[test]
    fn any_json_value_is_a_message_and_nothing_else() {
        for good in ["1", "null", "\"\"", " {\"a\": [1, {}]} ", "\"\u{e4}\""] {
            let message_json = good.as_bytes().to_vec().into();
            let request = wire::PublishRequest { message_json, ..request(b"") };
            assert_eq!(publish(&request, 5120), Ok(()), "{good}");
        }
        for bad in [&b""[..], b"{", b"1 2", b"'a'", b"\"\xff\"", b"\xef\xbb\xbf1", b"nul", b"\"\n\""] {
            assert_eq!(fields(publish(&request(bad), 5120)), ["message_json"], "{bad:?}");
        }
    }

    #[test]
    fn a_message_nests_a_hundred_levels_at_most() {
        let nested = |depth| {
            let deep = [vec![b'['; depth], vec![b']'; depth]].concat();
            publish(&wire::PublishRequest { message_json: deep.into(), ..request(b"") }, 0)
        };
        assert_eq!(nested(100), Ok(()));
        assert_eq!(fields(nested(101)), ["message_json"]);
        assert_eq!(fields(nested(100_000)), ["message_json"]);
    }

    #[test]
    fn every_field_at_fault_is_named_at_once() {
        let request = wire::PublishRequest {
            topic: "a\u{7f}".into(),
            message_type: "x".repeat(129),
            id: "x".repeat(129),
            ..request(b"?")
        };
        assert_eq!(fields(publish(&request, 5120)), ["topic", "message_json", "message_type", "id"]);
    }

    #[test]
    fn a_message_over_the_limit_is_too_large_whatever_else_is_wrong() {
        let error = publish(&wire::PublishRequest::default(), 1);
        assert_eq!(error.unwrap_err().code, ErrorCode::InvalidRequest);
        let error = publish(&wire::PublishRequest { topic: String::new(), ..request(b"12") }, 1);
        assert_eq!(error.unwrap_err().code, ErrorCode::PayloadTooLarge);
        assert_eq!(publish(&request(b"12"), 2), Ok(()));
        assert_eq!(publish(&request(b"12"), 0), Ok(()));
    }

    #[test]
    fn an_unsubscribe_takes_1_to_50_patterns_and_a_subject() {
        let request = |patterns: usize, subject: &str| wire::UnsubscribeRequest {
            topic_patterns: vec!["*".into(); patterns],
            subject: subject.into(),
            ..Default::default()
        };
        assert_eq!(unsubscribe(&request(1, "s")), Ok(()));
        assert_eq!(unsubscribe(&request(50, "s")), Ok(()));
        assert_eq!(fields(unsubscribe(&request(0, ""))), ["topic_patterns", "subject"]);
        assert_eq!(fields(unsubscribe(&request(51, "acks"))), ["topic_patterns", "subject"]);
        let huge =
            wire::UnsubscribeRequest { topic_patterns: vec!["*".repeat(16 * 1024)], ..request(0, "s") };
        assert_eq!(unsubscribe(&huge).unwrap_err().code, ErrorCode::PayloadTooLarge);
    }
}
