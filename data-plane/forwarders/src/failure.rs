//! Why a message was not accepted: a class for metrics and decisions, and words for people.

use std::fmt;

/// Longest text of AWS's that an error repeats, in characters: its sentences about permissions are this long.
const MAX_DETAIL_CHARS: usize = 300;

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// AWS asks to slow down.
    Throttled,
    /// Credentials are missing, unknown, expired, or sign wrongly.
    Credentials,
    /// The credentials may not do it.
    Denied,
    /// The queue or topic does not exist.
    Missing,
    /// The operator does not allow the endpoint.
    Endpoint,
    /// No connection, or it broke.
    Network,
    /// No answer in time.
    Timeout,
    /// AWS failed inside.
    Unavailable,
    /// AWS takes no message of this size.
    TooLarge,
    /// AWS refused this message or call for another reason.
    Rejected,
    /// No consumer reads the stream.
    NoConsumer,
    /// No consumer has acknowledged the message in time.
    Unacknowledged,
    /// A consumer refuses the message.
    Refused,
    /// The queue here is full.
    Full,
    /// The target is not configured, or no longer; or this process is stopping.
    Stopped,
}

/// What a failure says about other messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This message will never be accepted; nothing about others.
    Message,
    /// The target takes nothing for now; this message can be tried again.
    Passing,
    /// The target takes nothing until somebody mends it.
    Lasting,
}

impl Class {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 15] = [
        Self::Throttled,
        Self::Credentials,
        Self::Denied,
        Self::Missing,
        Self::Endpoint,
        Self::Network,
        Self::Timeout,
        Self::Unavailable,
        Self::TooLarge,
        Self::Rejected,
        Self::NoConsumer,
        Self::Unacknowledged,
        Self::Refused,
        Self::Full,
        Self::Stopped,
    ];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The name in metrics and in an application's status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Endpoint => "endpoint",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
            Self::NoConsumer => "no_consumer",
            Self::Unacknowledged => "unacknowledged",
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Stopped => "stopped",
        }
    }

    pub(crate) const fn scope(self) -> Scope {
        match self {
            Self::Throttled | Self::Network | Self::Timeout | Self::Unavailable => Scope::Passing,
            Self::Credentials | Self::Denied | Self::Missing | Self::Endpoint | Self::NoConsumer => {
                Scope::Lasting
            }
            Self::TooLarge | Self::Rejected | Self::Unacknowledged | Self::Refused => Scope::Message,
            Self::Full | Self::Stopped => Scope::Message,
        }
    }

    /// The sentence for people, without a full stop. Unlike a failure's whole text it has nothing of AWS's own, which
    /// may name accounts and roles.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Throttled => "AWS asks to slow down",
            Self::Credentials => "AWS does not accept the credentials",
            Self::Denied => "the credentials may not send to this target",
            Self::Missing => "the target does not exist",
            Self::Endpoint => "the endpoint is not allowed",
            Self::Network => "no connection to the endpoint",
            Self::Timeout => "no answer in time",
            Self::Unavailable => "AWS answers with an error of its own",
            Self::TooLarge => "AWS takes no message of this size",
            Self::Rejected => "AWS refuses the message",
            Self::NoConsumer => "no consumer reads the inbound stream",
            Self::Unacknowledged => "no consumer has acknowledged the message in time",
            Self::Refused => "a consumer refuses the message",
            Self::Full => "too many messages wait for this target",
            Self::Stopped => "the target is not in service here",
        }
    }
}

/// A failure. Its text has no secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    class: Class,
    /// Empty: the class says it all.
    detail: Box<str>,
}

impl Failure {
    /// A failure that its class says all about.
    #[must_use]
    pub fn new(class: Class) -> Self {
        Self { class, detail: Box::default() }
    }

    /// A failure and what is known besides: one line, cut where it is long.
    pub(crate) fn because(class: Class, detail: &str) -> Self {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let mut detail: String = detail.chars().map(printable).take(MAX_DETAIL_CHARS + 1).collect();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
            detail.push('…');
        }
        Self { class, detail: detail.into() }
    }

    /// A call that panicked.
    pub(crate) fn broken_down() -> Self {
        Self::because(Class::Unavailable, "the call broke down inside this server")
    }

    /// Its class.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.words())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({}: {self})", self.class.name())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_stand_in_the_order_of_their_index() {
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index, "{}", class.name());
        }
    }

    #[test]
    fn details_are_one_short_line() {
        let failure = Failure::because(Class::Denied, &"ä\r\n".repeat(200));
        let text = failure.to_string();
        assert!(text.starts_with("the credentials may not send to this target: ä  ä"), "{text}");
        assert!(text.ends_with('…') && !text.contains(char::is_control));
        let (_, detail) = text.split_once(": ").unwrap();
        assert_eq!(detail.chars().count(), MAX_DETAIL_CHARS + 1);
    }
}
