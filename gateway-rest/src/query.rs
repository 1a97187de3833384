//! Query strings, strictly: what does not decode or comes twice is a 400 that names it.

use std::borrow::Cow;

use realtime_proto::{ApiError, ErrorCode};

use crate::fields;

/// What to do with parameters that the call does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Caches and tracing tools add some.
    Ignored,
    /// A misspelt one would widen what the call destroys.
    Refused,
}

/// The named parameters; `None` where absent, empty text where empty.
pub(crate) fn parse<'a, const N: usize>(
    query: Option<&'a str>,
    names: [&'static str; N],
    unknown: Unknown,
) -> Result<[Option<Cow<'a, str>>; N], ApiError> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(malformed)?;
        let Some(index) = names.iter().position(|known| *known == name) else {
            if unknown == Unknown::Refused {
                return Err(ApiError::new(
                    ErrorCode::InvalidRequest,
                    format!(
                        "the query has a parameter that this call does not take; it takes {}",
                        names.join(", ")
                    ),
                ));
            }
            continue;
        };
        let value =
            decode(value).ok_or_else(|| fields::bad(names[index], "must be percent-encoded UTF-8"))?;
        if values[index].replace(value).is_some() {
            return Err(fields::bad(names[index], "is given twice"));
        }
    }
    Ok(values)
}

/// A page size: 0, the service's default, where absent.
pub(crate) fn limit(value: Option<&str>) -> Result<u32, ApiError> {
    let Some(text) = value else { return Ok(0) };
    // The standard library reads a sign, too.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=1000).contains(number));
    number.ok_or_else(|| fields::bad("limit", "must be a whole number from 1 to 1000"))
}

fn malformed() -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, "the query must be percent-encoded UTF-8")
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str, unknown: Unknown) -> Result<[Option<String>; 2], ApiError> {
        Ok(parse(Some(query), ["subject", "cursor"], unknown)?.map(|v| v.map(Cow::into_owned)))
    }

    #[test]
    fn parameters_are_decoded() {
        let values = read("cursor=a%2Fb+c&x=1&&subject=%C3%A4", Unknown::Ignored).unwrap();
        assert_eq!(values, [Some("ä".into()), Some("a/b c".into())]);
        assert_eq!(read("subject", Unknown::Ignored).unwrap(), [Some(String::new()), None]);
        assert_eq!(parse(None, ["a"], Unknown::Refused).unwrap(), [None]);
    }

    #[test]
    fn errors_name_the_parameter() {
        for query in ["subject=%zz", "subject=%f", "subject=%ff", "subject=a&subject=a"] {
            assert_eq!(read(query, Unknown::Ignored).unwrap_err().fields[0].field, "subject", "{query}");
        }
        assert!(read("%ff=1", Unknown::Ignored).is_err());
        assert!(read("subjet=a", Unknown::Refused).unwrap_err().detail.contains("subject, cursor"));
    }

    #[test]
    fn a_page_has_1_to_1000_entries() {
        assert_eq!(limit(None).unwrap(), 0);
        assert_eq!(limit(Some("1000")).unwrap(), 1000);
        for bad in ["", "0", "1001", "-1", "+1", "1.0", "x"] {
            assert_eq!(limit(Some(bad)).unwrap_err().fields[0].field, "limit", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_its_encoding(text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let decoded = decode(&encoded);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn any_query_is_answered_without_a_panic(query in "[ -~]{0,60}") {
            let _ = read(&query, Unknown::Refused);
        }
    }
}
