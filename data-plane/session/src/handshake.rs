//! The parts of the opening handshake that are arithmetic.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

/// What the server answers to an acceptable permessage-deflate offer.
pub const DEFLATE_RESPONSE: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Keys are random characters to some clients, which leaves bits set that no byte takes.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The `Sec-WebSocket-Accept` value for a `Sec-WebSocket-Key`; `None` when the key is not 16 bytes of base64.
#[must_use]
pub fn accept_key(key: &str) -> Option<String> {
    let mut nonce = [0; 18];
    let len = KEY.decode_slice(key, &mut nonce).ok()?;
    (len == 16).then(|| STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize()))
}

/// Whether one of the offers in the `Sec-WebSocket-Extensions` values can be accepted with [`DEFLATE_RESPONSE`].
/// An offer with an unknown parameter, a repeated one, a bad value or `server_max_window_bits` is declined: who
/// accepts that parameter has to repeat it (RFC 7692 section 7.1.2.1), and the answer is always the same.
/// A value that breaks the grammar of RFC 6455 section 9.1 offers nothing.
#[must_use]
pub fn accepts_deflate<'a>(offers: impl IntoIterator<Item = &'a str>) -> bool {
    offers.into_iter().any(|value| Offers { rest: value }.any_acceptable().unwrap_or(false))
}

/// A scanner over one header value.
struct Offers<'a> {
    rest: &'a str,
}

/// The parameters that an offer may have.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    client_max_window_bits: bool,
}

impl Parameters {
    /// Notes a parameter; `false` when the offer has to be declined for it.
    fn accept(&mut self, name: &str, value: Option<&str>) -> bool {
        let (seen, good) = match name {
            "server_no_context_takeover" => (&mut self.server_no_context_takeover, value.is_none()),
            "client_no_context_takeover" => (&mut self.client_no_context_takeover, value.is_none()),
            // A hint that the client can be told a smaller window; nobody needs to.
            "client_max_window_bits" => (&mut self.client_max_window_bits, value.is_none_or(is_window)),
            _ => return false,
        };
        !std::mem::replace(seen, true) && good
    }
}

/// 8 to 15, without leading zeros.
fn is_window(value: &str) -> bool {
    matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

impl<'a> Offers<'a> {
    /// Whether one of the offers is acceptable; `None` when the value is malformed.
    fn any_acceptable(&mut self) -> Option<bool> {
        let mut found = false;
        loop {
            // RFC 9110 section 5.6.1 lets lists have empty elements.
            while self.skip(',') {}
            self.spaces();
            if self.rest.is_empty() {
                return Some(found);
            }
            found |= self.offer()?;
            self.spaces();
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return None;
            }
        }
    }

    /// One offer; whether it is acceptable.
    fn offer(&mut self) -> Option<bool> {
        let mut acceptable = self.token()? == "permessage-deflate";
        let mut parameters = Parameters::default();
        while self.skip(';') {
            self.spaces();
            let name = self.token()?;
            let value = if self.skip('=') {
                self.spaces();
                Some(self.value()?)
            } else {
                None
            };
            acceptable &= parameters.accept(name, value.as_deref());
        }
        Some(acceptable)
    }

    /// A token or a quoted string with a token inside.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token().map(str::to_owned) };
        let mut text = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(chars.next()?),
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        (!text.is_empty() && text.bytes().all(is_token)).then_some(text)
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|b| !is_token(b)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Skips spaces and, if it comes, the separator.
    fn skip(&mut self, separator: char) -> bool {
        self.spaces();
        match self.rest.strip_prefix(separator) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_accept_key_is_rfc_6455s() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn a_key_is_16_bytes_of_base64() {
        for bad in ["", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZWQ=", "dGhlIHNhbXBsZSBub25jZQ", "?=="] {
            assert_eq!(accept_key(bad), None, "{bad}");
        }
        assert_eq!(accept_key(&"A".repeat(4000)), None);
        assert!(accept_key("abcdefghijklmnopqrstuv==").is_some(), "bits beyond the last byte");
    }

    #[test]
    fn acceptable_offers() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=\"15\"",
            "permessage-deflate; client_max_window_bits=\"1\\0\"",
            "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
            "permessage-deflate ; client_no_context_takeover ; server_no_context_takeover ; client_max_window_bits = 10",
            "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "other; a=\"b, permessage\"; c, permessage-deflate",
            ", permessage-deflate ,,",
        ] {
            // A quoted comma is no token: that one is malformed.
            assert_eq!(accepts_deflate([offer]), !offer.contains("b, "), "{offer}");
        }
        assert!(accepts_deflate(["foo", "permessage-deflate"]), "several headers");
    }

    #[test]
    fn declined_offers() {
        for offer in [
            "",
            "permessage-deflat",
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate;",
            "permessage-deflate, @",
            "permessage-deflate foo",
        ] {
            assert!(!accepts_deflate([offer]), "{offer}");
        }
        assert!(!accepts_deflate([]));
    }

    proptest! {
        #[test]
        fn any_value_has_an_answer(value in ".*", offer in "(permessage-deflate|[;=,\"\\\\ a-z_]|client_max_window_bits)*") {
            let _ = accepts_deflate([value.as_str()]);
            let _ = accepts_deflate([offer.as_str()]);
        }

        #[test]
        fn offers_are_taken_one_by_one(good: bool, others in prop::collection::vec("[a-z]{1,8}(; ?[a-z]{1,5}(=[0-9]{1,3})?){0,3}", 0..4)) {
            let mut offers = others;
            offers.retain(|offer| !offer.starts_with("permessage-deflate"));
            if good {
                offers.insert(offers.len() / 2, "permessage-deflate".to_owned());
            }
            prop_assert_eq!(accepts_deflate([offers.join(", ").as_str()]), good);
        }
    }
}
