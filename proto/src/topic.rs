//! Topic names and the rules that follow from a name alone (docs/contract.md 2.3, 2.4).

/// Every connection starts subscribed to it; a client may leave it.
pub const MAIN: &str = "main";
/// Where clients' messages and presence events go.
pub const INBOUND: &str = "secure/inbound";
/// Where acks go.
pub const ACKS: &str = "priv/acks";
/// Where refusals go.
pub const ERRORS: &str = "priv/errors";
/// Topics that the server subscribes a connection to.
pub const PRIVATE_PREFIX: &str = "priv/";
/// Topics that need a permission to read.
pub const SECURE_PREFIX: &str = "secure/";
/// Longest topic name, in bytes.
pub const MAX_TOPIC_BYTES: usize = 255;
/// Longest message id and message type, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The message type of a publish that names none.
pub const BROADCAST: &str = "broadcast";
/// Message types that only the server may send.
pub const SERVER_MESSAGE_TYPES: [&str; 4] = ["welcome", "ack", "presence", "error"];

/// Whether the text may be a topic's name: 1 to 255 bytes without control characters.
#[must_use]
pub fn is_valid_topic(topic: &str) -> bool {
    (1..=MAX_TOPIC_BYTES).contains(&topic.len()) && !has_control(topic)
}

/// Whether the text may be a message id: 1 to 128 bytes.
#[must_use]
pub fn is_valid_message_id(id: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&id.len())
}

/// Whether the text may be a message type: 1 to 128 bytes without control characters.
#[must_use]
pub fn is_valid_message_type(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !has_control(name)
}

/// Whether the text may be a token's subject: 1 to 250 bytes without control characters, and not
/// `acks` or `errors`, whose private topics are the server's (docs/contract.md 2.1).
#[must_use]
pub fn is_valid_subject(subject: &str) -> bool {
    (1..=250).contains(&subject.len()) && !has_control(subject) && subject != "acks" && subject != "errors"
}

/// Whether the name begins with `priv/`.
#[must_use]
pub fn is_private(topic: &str) -> bool {
    topic.starts_with(PRIVATE_PREFIX)
}

/// Whether the name begins with `secure/`.
#[must_use]
pub fn is_secure(topic: &str) -> bool {
    topic.starts_with(SECURE_PREFIX)
}

/// Whether only the server publishes there, so that none of its events can be forged.
#[must_use]
pub fn is_server_only(topic: &str) -> bool {
    matches!(topic, INBOUND | ACKS | ERRORS)
}

/// C0 controls, DEL and C1 controls.
fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_1_to_255_bytes_whatever_their_characters() {
        assert!(!is_valid_topic(""));
        assert!(is_valid_topic(&"x".repeat(255)) && !is_valid_topic(&"x".repeat(256)));
        assert!(is_valid_topic(&"ü".repeat(127)) && !is_valid_topic(&"ü".repeat(128)));
        assert!(is_valid_topic(" ") && is_valid_topic("a/b*!\\?#") && is_valid_topic("日本"));
    }

    #[test]
    fn control_characters_are_c0_del_and_c1() {
        for control in ['\0', '\n', '\u{1f}', '\u{7f}', '\u{80}', '\u{85}', '\u{9f}'] {
            let text = format!("a{control}b");
            assert!(!is_valid_topic(&text), "{control:?}");
            assert!(!is_valid_message_type(&text), "{control:?}");
            assert!(!is_valid_subject(&text), "{control:?}");
            assert!(is_valid_message_id(&text), "{control:?}: ids are opaque");
        }
        assert!(is_valid_topic("a\u{a0}b") && is_valid_topic("a\u{200b}b"));
    }

    #[test]
    fn ids_types_and_subjects_have_their_lengths() {
        for valid in [is_valid_message_id, is_valid_message_type] {
            assert!(!valid("") && valid("x") && valid(&"x".repeat(128)) && !valid(&"x".repeat(129)));
        }
        assert!(
            !is_valid_subject("")
                && is_valid_subject(&"x".repeat(250))
                && !is_valid_subject(&"x".repeat(251))
        );
        // The longest subject's private topic is a valid topic.
        assert!(is_valid_topic(&format!("{PRIVATE_PREFIX}{}", "x".repeat(250))));
    }

    #[test]
    fn no_subject_owns_a_private_topic_of_the_server() {
        assert!(!is_valid_subject("acks") && !is_valid_subject("errors"));
        assert!(is_valid_subject("Acks") && is_valid_subject("user0@example.com"));
    }

    #[test]
    fn prefixes_are_case_sensitive() {
        assert!(
            is_private("priv/x") && !is_private("Priv/x") && !is_private("private") && is_private("priv/")
        );
        assert!(is_secure("secure/x") && !is_secure("Secure/x") && !is_secure("secure"));
        assert!(is_server_only("secure/inbound") && !is_server_only("Secure/inbound"));
        assert!(is_server_only("priv/acks") && is_server_only("priv/errors") && !is_server_only("main"));
    }
}
