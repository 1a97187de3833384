//! The compact form of a signed token (RFC 7515, 7.1) and its header: form only, nothing is trusted yet.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::refusal::Refusal;

/// Largest token (docs/contract.md 2.1).
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Media types of tokens that are access tokens (RFC 7519, 5.1 and RFC 9068, 2.1), lower case. Other explicit
/// types mark tokens made for another purpose, which RFC 8725 (3.11) wants refused.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// A token taken apart.
pub(crate) struct Compact<'a> {
    pub(crate) header: Header,
    /// Decoded, not parsed.
    pub(crate) payload: Vec<u8>,
    /// Header and payload as they were signed.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// The header parameters that count.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
}

impl<'a> Compact<'a> {
    /// Exactly three base64url segments without padding, and a header without extensions.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLarge);
        }
        let three = Refusal::Malformed("it must be three segments separated by dots");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| three.clone())?;
        let (header, payload) = signed.split_once('.').ok_or(three)?;
        // A fourth segment would leave a dot in the payload, which is no base64url.
        let decode = |segment: &str| {
            URL_SAFE_NO_PAD
                .decode(segment)
                .map_err(|_| Refusal::Malformed("its segments must be base64url without padding"))
        };
        // The text first: the JSON reader does not look at what it skips.
        let header = String::from_utf8(decode(header)?).ok();
        let header: RawHeader = header
            .and_then(|json| serde_json::from_str(&json).ok())
            .ok_or(Refusal::Malformed("its header is not a JSON object with unique names"))?;
        Ok(Self {
            header: header.check()?,
            payload: decode(payload)?,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

/// The parameters of a header that are read.
#[derive(Default)]
struct RawHeader {
    alg: Option<Value>,
    typ: Option<Value>,
    kid: Option<Value>,
    crit: Option<Value>,
}

impl RawHeader {
    fn check(self) -> Result<Header, Refusal> {
        if self.crit.is_some() {
            return Err(Refusal::Malformed("its header has critical extensions, and none is supported"));
        }
        match self.typ {
            None => {}
            Some(Value::String(typ)) if TYPES.contains(&typ.to_ascii_lowercase().as_str()) => {}
            Some(_) => return Err(Refusal::Malformed("its header's typ must be JWT or at+jwt")),
        }
        let kid = match self.kid {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Refusal::Malformed("its header's kid must be a string")),
        };
        match self.alg {
            Some(Value::String(alg)) => Ok(Header { alg, kid }),
            _ => Err(Refusal::Malformed("its header's alg must be a string")),
        }
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parameters;
        impl<'de> Visitor<'de> for Parameters {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "alg" => once(&mut header.alg, &mut map)?,
                        "typ" => once(&mut header.typ, &mut map)?,
                        "kid" => once(&mut header.kid, &mut map)?,
                        "crit" => once(&mut header.crit, &mut map)?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Parameters)
    }
}

/// Reads a value into its place; a second value for one name is an error, since readers that keep the first and
/// readers that keep the last would see two different tokens.
pub(crate) fn once<'de, A: MapAccess<'de>>(place: &mut Option<Value>, map: &mut A) -> Result<(), A::Error> {
    match place.replace(map.next_value()?) {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("duplicate name")),
    }
}
