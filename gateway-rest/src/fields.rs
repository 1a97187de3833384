//! Reading a small JSON object without a tree: the top-level fields stay raw text, so that a message is
//! passed on byte for byte; the others are read one by one, so that an error can name its field.
//!
//! The rules are those of clients' frames (docs/contract.md 2.3): unknown keys are ignored, any key given twice
//! is an error, `null` for an optional field counts as absent.

use std::borrow::Cow;
use std::fmt;

use realtime_proto::{ApiError, ErrorCode, FieldErrors};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// A 400 that names one field.
pub(crate) fn bad(field: &str, message: &str) -> ApiError {
    let mut errors = FieldErrors::default();
    errors.push(field, message);
    invalid(errors)
}

/// A 400 that names every field at fault.
pub(crate) fn invalid(errors: FieldErrors) -> ApiError {
    ApiError { code: ErrorCode::InvalidRequest, ..errors.into() }
}

/// The named fields of the object that `body` is; `None` where absent.
pub(crate) fn object<'a, const N: usize>(
    body: &'a [u8],
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = Object(names).deserialize(&mut deserializer).and_then(|parsed| {
        deserializer.end()?;
        Ok(parsed)
    });
    let (values, mut unknown, twice) = parsed.map_err(|e| match e.classify() {
        Category::Data => ApiError::new(ErrorCode::InvalidRequest, "the body must be a JSON object"),
        Category::Syntax | Category::Eof | Category::Io => not_json(&e),
    })?;
    unknown.sort_unstable();
    let repeated = unknown.windows(2).any(|pair| pair[0] == pair[1]);
    match twice {
        Some(name) => Err(bad(name, "is given twice")),
        // The key is not repeated to the caller: it may be anything.
        None if repeated => Err(ApiError::new(ErrorCode::InvalidRequest, "a key of the body is given twice")),
        None => Ok(values),
    }
}

/// Whether the text is JSON at all; what it must hold is for the service to say.
pub(crate) fn check_json(body: &[u8]) -> Result<(), ApiError> {
    serde_json::from_slice::<&RawValue>(body).map(|_| ()).map_err(|e| not_json(&e))
}

/// 422 for a body that says anything, in a call that takes none or `{}`.
pub(crate) fn check_empty(body: &[u8]) -> Result<(), ApiError> {
    if body.is_empty() {
        return Ok(());
    }
    let document = serde_json::from_slice(body).map_err(|e| not_json(&e))?;
    realtime_proto::check_empty(&document).map_err(ApiError::from)
}

/// An optional field: its value where present, not null, and of the right type.
pub(crate) fn optional<T: DeserializeOwned>(
    errors: &mut FieldErrors,
    name: &'static str,
    value: Option<&RawValue>,
    expected: &'static str,
) -> Option<T> {
    let text = value.map(RawValue::get).filter(|text| *text != "null")?;
    let read = serde_json::from_str(text).ok();
    if read.is_none() {
        errors.push(name, expected);
    }
    read
}

/// A field that must be there; notes the error and answers the type's default otherwise.
pub(crate) fn required<T: DeserializeOwned>(
    errors: &mut FieldErrors,
    name: &'static str,
    value: Option<&RawValue>,
    expected: &'static str,
) -> Option<T> {
    let read = value.and_then(|value| serde_json::from_str(value.get()).ok());
    if read.is_none() {
        errors.push(name, if value.is_some() { expected } else { "is missing" });
    }
    read
}

fn not_json(error: &serde_json::Error) -> ApiError {
    let place = format!("the body is not JSON (line {}, column {})", error.line(), error.column());
    ApiError::new(ErrorCode::InvalidRequest, place)
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Object<const N: usize>([&'static str; N]);

/// Values by name, unknown keys, and a known key that came twice.
type Parsed<'a, const N: usize> = ([Option<&'a RawValue>; N], Vec<Cow<'a, str>>, Option<&'static str>);

impl<'de, const N: usize> DeserializeSeed<'de> for Object<N> {
    type Value = Parsed<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Object<N> {
    type Value = Parsed<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let (mut values, mut unknown, mut twice) = ([None; N], Vec::new(), None);
        while let Some(Key(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            match self.0.iter().position(|name| *name == key) {
                Some(index) => {
                    if values[index].replace(value).is_some() {
                        twice = Some(self.0[index]);
                    }
                }
                None => unknown.push(key),
            }
        }
        Ok((values, unknown, twice))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<[Option<String>; 2], ApiError> {
        Ok(object(text.as_bytes(), ["a", "b"])?.map(|value| value.map(|v| v.get().to_owned())))
    }

    #[test]
    fn known_fields_keep_their_text() {
        let text = " { \"b\" : [1,  2.50] , \"x\":{\"x\":1,\"x\":2}, \"\\u0061\":null } ";
        assert_eq!(parse(text).unwrap(), [Some("null".into()), Some("[1,  2.50]".into())]);
        assert_eq!(parse("{}").unwrap(), [None, None]);
    }

    #[test]
    fn every_key_given_twice_is_refused() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"x":1,"b":2,"x":1}"#] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{text}");
            assert!(error.detail.contains("given twice"), "{}", error.detail);
        }
        assert_eq!(parse(r#"{"b":1,"b":1}"#).unwrap_err().fields[0].field, "b");
    }

    #[test]
    fn what_is_no_object_or_no_json_is_told_apart() {
        for text in ["[]", "1", "\"secret\"", "null"] {
            assert_eq!(parse(text).unwrap_err().detail, "the body must be a JSON object", "{text}");
        }
        for text in ["", "{", "{\"a\":}", "{} {}", "{\"a\":1,}", "{'a':1}", "{\"a\":01}"] {
            assert!(parse(text).unwrap_err().detail.starts_with("the body is not JSON"), "{text}");
        }
        assert!(object(b"{\"a\":\"\xff\"}", ["a"]).is_err());
        assert!(object(b"{\"x\":\"\xff\"}", ["a"]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes, ["a", "b"]);
            let _ = check_json(&bytes);
        }

        #[test]
        fn a_value_comes_out_as_it_went_in(value in "\\PC{0,40}", number in any::<f64>()) {
            let value = serde_json::to_string(&(value, number)).unwrap();
            let text = format!("{{\"a\": {value} }}");
            prop_assert_eq!(parse(&text).unwrap(), [Some(value), None]);
        }
    }
}
