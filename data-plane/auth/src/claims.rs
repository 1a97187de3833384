//! The claims of a token: read strictly, judged against a policy and a clock. Nothing here trusts them.

use std::fmt;

use realtime_proto::Texts;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::refusal::Refusal;
use crate::token::once;

/// Seconds by which clocks may differ (docs/contract.md 5).
pub(crate) const LEEWAY_SECONDS: u64 = 5;

/// Latest expiry that is remembered, the year 9999: later dates would overflow deadlines made of them.
const LATEST_EXPIRY: u64 = 253_402_300_799;

/// The claims that are read, as they stand. `null` is a value for all but the permissions.
#[derive(Default)]
pub(crate) struct Claims {
    iss: Option<Value>,
    aud: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    sub: Option<Value>,
    permissions: Option<Value>,
    scp: Option<Value>,
    scope: Option<Value>,
}

impl Claims {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        // The text first: the JSON reader does not look at what it skips.
        let claims = std::str::from_utf8(payload).ok().and_then(|json| serde_json::from_str(json).ok());
        claims.ok_or(Refusal::Malformed("its payload is not a JSON object with unique claims"))
    }

    /// `exp` and `nbf` against the clock, with the leeway.
    pub(crate) fn check_time(&self, now: u64) -> Result<(), Refusal> {
        let now = now as f64;
        let leeway = LEEWAY_SECONDS as f64;
        let exp = date(self.exp.as_ref(), "its exp claim is not a number")?;
        let nbf = date(self.nbf.as_ref(), "its nbf claim is not a number")?;
        if exp.is_some_and(|exp| now >= exp + leeway) {
            return Err(Refusal::Expired);
        }
        if nbf.is_some_and(|nbf| nbf > now + leeway) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }

    /// `exp` in whole seconds; a fraction counts as a whole one, which in whole seconds is the same moment.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        let exp = self.exp.as_ref()?.as_f64()?;
        Some((exp.ceil() as u64).min(LATEST_EXPIRY))
    }

    /// `iss` is one of `accepted`; none accepted: any, and an absent one too.
    pub(crate) fn check_issuer(&self, accepted: &[String]) -> Result<(), Refusal> {
        if accepted.is_empty() {
            return Ok(());
        }
        match self.iss.as_ref().and_then(Value::as_str) {
            Some(iss) if accepted.iter().any(|a| a == iss) => Ok(()),
            _ => Err(Refusal::Issuer),
        }
    }

    /// `aud` is the required one, or a list that has it.
    pub(crate) fn check_audience(&self, required: Option<&str>) -> Result<(), Refusal> {
        let Some(required) = required else { return Ok(()) };
        let named = match &self.aud {
            Some(Value::String(aud)) => aud == required,
            Some(Value::Array(list)) => {
                if !list.iter().all(Value::is_string) {
                    return Err(Refusal::Malformed("its aud claim must be a string or a list of strings"));
                }
                list.iter().any(|aud| aud == required)
            }
            _ => false,
        };
        if named { Ok(()) } else { Err(Refusal::Audience) }
    }

    /// The subject of a client's token: absent, or a text that can be part of a private topic's name.
    pub(crate) fn client_subject(&self) -> Result<Option<&str>, Refusal> {
        match &self.sub {
            None => Ok(None),
            Some(Value::String(sub)) if realtime_proto::topic::is_valid_subject(sub) => Ok(Some(sub)),
            Some(_) => Err(Refusal::Malformed(
                "its sub claim must be a string of 1 to 250 bytes without control characters, \
                 and not acks or errors",
            )),
        }
    }

    /// The subject of an admin token; it names nobody's topic, so any text will do.
    pub(crate) fn admin_subject(&self) -> Option<&str> {
        self.sub.as_ref()?.as_str()
    }

    /// The permissions: the first of the three claims that is present decides, even if empty; `null` is absent.
    pub(crate) fn permissions(&self) -> Result<Texts, Refusal> {
        let claims = [
            (&self.permissions, "its permissions claim must be a list of strings or a string"),
            (&self.scp, "its scp claim must be a list of strings or a string"),
            (&self.scope, "its scope claim must be a list of strings or a string"),
        ];
        for (value, complaint) in claims {
            match value {
                None | Some(Value::Null) => {}
                Some(value) => return strings(value).ok_or(Refusal::Malformed(complaint)),
            }
        }
        Ok(Texts::default())
    }
}

/// A list of strings, or one string whose words are separated by spaces.
fn strings(value: &Value) -> Option<Texts> {
    match value {
        Value::String(words) => Some(words.split(' ').filter(|w| !w.is_empty()).collect()),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// A numeric date (RFC 7519, 2): a JSON number, fractions allowed.
fn date(value: Option<&Value>, complaint: &'static str) -> Result<Option<f64>, Refusal> {
    match value {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Refusal::Malformed(complaint)),
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = Claims::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "iss" => once(&mut claims.iss, &mut map)?,
                        "aud" => once(&mut claims.aud, &mut map)?,
                        "exp" => once(&mut claims.exp, &mut map)?,
                        "nbf" => once(&mut claims.nbf, &mut map)?,
                        "sub" => once(&mut claims.sub, &mut map)?,
                        "permissions" => once(&mut claims.permissions, &mut map)?,
                        "scp" => once(&mut claims.scp, &mut map)?,
                        "scope" => once(&mut claims.scope, &mut map)?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Names)
    }
}
