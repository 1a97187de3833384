//! Cursors: the last key of a page, in base64url, so that callers take it as opaque and may put it into a URL.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_proto::ApiError;

use super::validate;

pub(super) fn encode(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key; `None` for the first page.
pub(super) fn decode(cursor: &str) -> Result<Option<String>, ApiError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| malformed())?;
    String::from_utf8(bytes).map(Some).map_err(|_| malformed())
}

pub(super) fn malformed() -> ApiError {
    validate::field("cursor", "must be `next` of the page before")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use realtime_proto::ErrorCode;

    use super::*;

    proptest! {
        #[test]
        fn a_key_survives_as_a_cursor(key in ".+") {
            let cursor = encode(&key);
            prop_assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(decode(&cursor), Ok(Some(key)));
        }

        #[test]
        fn anything_else_is_refused_by_name(text in ".+") {
            if let Err(error) = decode(&text) {
                prop_assert_eq!(error.code, ErrorCode::InvalidRequest);
                prop_assert_eq!(&error.fields[0].field, "cursor");
            }
        }
    }
}
