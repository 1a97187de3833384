//! `If-Match` (RFC 9110, 13.1.1) against versions: `*`, or one entity tag as `ETag` gave it.
//!
//! The comparison is strong, so a weak tag, and any tag that is no version of ours, matches nothing: 412.
//! What is no entity tag, or a list of several, is a 400: a list could not be passed on as one condition.

use http::HeaderMap;
use http::header::IF_MATCH;
use realtime_proto::{ApiError, ErrorCode};

use crate::fields;

/// The version that a write expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever it is.
    Any,
    /// This one.
    Version(u64),
    /// None that can exist.
    Never,
}

impl Expected {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(IF_MATCH).iter();
        let Some(value) = values.next() else { return Ok(Self::Any) };
        let malformed = || fields::bad("If-Match", "must be * or one entity tag");
        if values.next().is_some() {
            return Err(malformed());
        }
        Self::parse(value.as_bytes().trim_ascii()).ok_or_else(malformed)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        if text == b"*" {
            return Some(Self::Any);
        }
        let (weak, tag) = match text.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, text),
        };
        let tag = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if tag.iter().any(|byte| matches!(byte, 0..=b' ' | b'"' | 0x7f)) {
            return None;
        }
        let canonical =
            !weak && matches!(tag, [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
        let version = std::str::from_utf8(tag).ok().and_then(|text| text.parse().ok());
        Some(version.filter(|_| canonical).map_or(Self::Never, Self::Version))
    }

    /// The form in which services take it: 0 for any.
    pub(crate) fn if_version(self) -> Result<u64, ApiError> {
        match self {
            Self::Any => Ok(0),
            Self::Version(version) => Ok(version),
            Self::Never => Err(ApiError::new(ErrorCode::StaleVersion, "If-Match names another version")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_versions_or_match_nothing_or_are_malformed() {
        use Expected::{Any, Never, Version};
        let cases = [
            ("*", Some(Any)),
            ("\"7\"", Some(Version(7))),
            ("W/\"7\"", Some(Never)),
            ("\"0\"", Some(Never)),
            ("\"07\"", Some(Never)),
            ("\"+7\"", Some(Never)),
            ("\"\"", Some(Never)),
            ("\"abc\"", Some(Never)),
            ("\"99999999999999999999\"", Some(Never)),
            ("7", None),
            ("\"7", None),
            ("\"", None),
            ("", None),
            ("\"7\", \"8\"", None),
            ("w/\"7\"", None),
            ("\"a b\"", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Expected::parse(text.as_bytes()), expected, "{text}");
        }
    }
}
