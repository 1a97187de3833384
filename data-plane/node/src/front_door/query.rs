//! The query of a session's URL.

/// What the front door reads of it; other parameters are ignored. Of a repeated one the first counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SessionQuery {
    /// `access_token=JWT`
    pub(super) access_token: Option<String>,
    /// `refusals=close`
    pub(super) refusals_close: bool,
    /// `ack_format=envelope`
    pub(super) ack_envelope: bool,
}

impl SessionQuery {
    /// Reads a raw query, without the `?`.
    pub(super) fn parse(query: &str) -> Self {
        let value_of = |wanted: &str| {
            let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(name, _)| percent_decode(name) == wanted).map(|(_, value)| percent_decode(value))
        };
        Self {
            access_token: value_of("access_token"),
            refusals_close: value_of("refusals").as_deref() == Some("close"),
            ack_envelope: value_of("ack_format").as_deref() == Some("envelope"),
        }
    }
}

/// Replaces `%XX`; what is no escape stays as it is, and what is no UTF-8 after that becomes U+FFFD. Neither can
/// be part of a token that verifies.
fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => decoded.push(*first),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_parameters_are_read() {
        let query = SessionQuery::parse("a=b&access_token=h.p.s&refusals=close&ack_format=envelope&c");
        let expected =
            SessionQuery { access_token: Some("h.p.s".into()), refusals_close: true, ack_envelope: true };
        assert_eq!(query, expected);
        assert_eq!(SessionQuery::parse(""), SessionQuery::default());
        assert_eq!(SessionQuery::parse("refusals=status&ack_format=id"), SessionQuery::default());
    }

    #[test]
    fn the_first_of_a_repeated_parameter_counts_and_an_empty_one_is_present() {
        assert_eq!(SessionQuery::parse("access_token=&access_token=x").access_token.as_deref(), Some(""));
        assert_eq!(SessionQuery::parse("access_token").access_token.as_deref(), Some(""));
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        for (raw, decoded) in
            [("%41%2e", "A."), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%ff", "\u{fffd}")]
        {
            assert_eq!(percent_decode(raw), decoded, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_being_escaped(text in ".*") {
            let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(percent_decode(&escaped), text);
        }

        #[test]
        fn any_query_is_read(query in ".*") {
            let _ = SessionQuery::parse(&query);
        }
    }
}
