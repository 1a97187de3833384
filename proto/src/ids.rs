//! Identifiers that cross process borders.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An application's id: 1–64 of `a-z 0-9 - _` (docs/contract.md 5). Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AppId(Arc<str>);

/// The text is no application id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of a-z, 0-9, - and _")]
pub struct BadAppId;

impl AppId {
    /// Checks the form.
    ///
    /// # Errors
    /// [`BadAppId`] when the text is empty, longer than 64 bytes or has another character.
    pub fn parse(text: &str) -> Result<Self, BadAppId> {
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if ok { Ok(Self(text.into())) } else { Err(BadAppId) }
    }

    /// Makes the id of an application created without one: 32 random hex digits.
    #[must_use]
    pub fn generate() -> Self {
        Self(hex(&random::<16>()).into())
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AppId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppId({})", self.0)
    }
}

impl<'de> Deserialize<'de> for AppId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The first 8 hex digits of every connection id of one incarnation of a node (docs/contract.md 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodePrefix(pub [u8; 4]);

impl NodePrefix {
    /// Reads 8 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.as_bytes()).map(Self)
    }

    /// Makes a random prefix.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }
}

impl fmt::Display for NodePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A WebSocket connection: 16 bytes, written as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub [u8; 16]);

impl ConnectionId {
    /// Reads 32 lower-case hex digits; anything else is no connection id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.as_bytes()).map(Self)
    }

    /// The prefix of the node that owns the connection.
    #[must_use]
    pub fn prefix(&self) -> NodePrefix {
        let [a, b, c, d, ..] = self.0;
        NodePrefix([a, b, c, d])
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness, which leaves nothing safe to do.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random numbers");
    bytes
}

/// Lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Exactly `2 × N` lower-case hex digits, as bytes.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    fn digit(c: u8) -> Option<u8> {
        match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        }
    }
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_ids_have_the_documented_alphabet_and_length() {
        assert!(AppId::parse("f36b57561fc006e958e521008764a570").is_ok());
        assert!(AppId::parse("a-b_9").is_ok());
        for bad in ["", "A", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(AppId::parse(bad), Err(BadAppId), "{bad}");
        }
        assert!(AppId::parse(AppId::generate().as_str()).is_ok());
    }

    #[test]
    fn connection_ids_are_32_lower_case_hex_digits() {
        let text = "0123456789abcdef0123456789abcdef";
        let id = ConnectionId::parse(text).expect("an id");
        assert_eq!(id.to_string(), text);
        assert_eq!(id.prefix().to_string(), "01234567");
        assert_eq!(ConnectionId::parse(&text.to_uppercase()), None);
        assert_eq!(ConnectionId::parse(&text[1..]), None);
    }
}
