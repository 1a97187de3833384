//! The coded table of reasons to close a WebSocket (docs/contract.md 2.6).

/// Why a connection is closed. The reason text goes into the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The answer to the client's own close.
    Normal,
    /// The node is draining.
    Draining,
    /// RFC 6455 was violated.
    ProtocolError,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A frame that fails validation.
    InvalidMessage,
    /// A `secure/` topic without the permission, in apps that ask for it.
    SecureTopicForbidden,
    /// A message over the limit.
    TooBig,
    /// The token has expired, in apps that ask for it.
    TokenExpired,
    /// Closed by an administrator.
    Administrator,
    /// The application was deleted or disabled.
    AppGone,
    /// Too much unsent.
    SlowConsumer,
    /// The connection limit of the subject.
    SubjectLimit,
    /// Idle or dead.
    Idle,
    /// A refused opening in `refusals=close` form: 4000 + this HTTP status.
    Refused(u16),
}

/// When a client should come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// Not by itself.
    No,
    /// After a delay with jitter.
    WithJitter,
    /// After fetching a new token.
    WithNewToken,
    /// Once, after 5 s or more.
    Once,
}

impl CloseCode {
    /// The number in the close frame.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Draining => 1001,
            Self::ProtocolError => 1002,
            Self::NotUtf8 => 1007,
            Self::InvalidMessage | Self::SecureTopicForbidden => 1008,
            Self::TooBig => 1009,
            Self::TokenExpired => 4001,
            Self::Administrator => 4003,
            Self::AppGone => 4004,
            Self::SlowConsumer => 4008,
            Self::SubjectLimit => 4009,
            Self::Idle => 4010,
            Self::Refused(status) => 4000 + status,
        }
    }

    /// The text in the close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Draining => "Node is draining",
            Self::ProtocolError => "Protocol error",
            Self::NotUtf8 => "Text is not UTF-8",
            Self::InvalidMessage => "Invalid message format!",
            Self::SecureTopicForbidden => "Subscription to secure topic is forbidden!",
            Self::TooBig => "Message too big",
            Self::TokenExpired => "Token expired",
            Self::Administrator => "Closed by an administrator",
            Self::AppGone => "Application deleted or disabled",
            Self::SlowConsumer => "Slow consumer",
            Self::SubjectLimit => "Connection limit of the subject",
            Self::Idle => "Idle or dead",
            Self::Refused(_) => "Refused",
        }
    }

    /// What a client should do about a close code that it received.
    #[must_use]
    pub const fn reconnect(code: u16) -> Reconnect {
        match code {
            4001 | 4401 => Reconnect::WithNewToken,
            4003 => Reconnect::Once,
            1000 | 1002 | 1007..=1009 | 4004 | 4009 | 4400 | 4403 | 4404 | 4426 | 4431 => Reconnect::No,
            _ => Reconnect::WithJitter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_contracts() {
        let table = [
            (CloseCode::Draining, 1001, Reconnect::WithJitter),
            (CloseCode::InvalidMessage, 1008, Reconnect::No),
            (CloseCode::SecureTopicForbidden, 1008, Reconnect::No),
            (CloseCode::TooBig, 1009, Reconnect::No),
            (CloseCode::ProtocolError, 1002, Reconnect::No),
            (CloseCode::NotUtf8, 1007, Reconnect::No),
            (CloseCode::TokenExpired, 4001, Reconnect::WithNewToken),
            (CloseCode::Administrator, 4003, Reconnect::Once),
            (CloseCode::AppGone, 4004, Reconnect::No),
            (CloseCode::SlowConsumer, 4008, Reconnect::WithJitter),
            (CloseCode::SubjectLimit, 4009, Reconnect::No),
            (CloseCode::Idle, 4010, Reconnect::WithJitter),
            (CloseCode::Refused(401), 4401, Reconnect::WithNewToken),
            (CloseCode::Refused(403), 4403, Reconnect::No),
            (CloseCode::Refused(404), 4404, Reconnect::No),
            (CloseCode::Refused(429), 4429, Reconnect::WithJitter),
            (CloseCode::Refused(503), 4503, Reconnect::WithJitter),
        ];
        for (close, code, reconnect) in table {
            assert_eq!(close.code(), code, "{close:?}");
            assert_eq!(CloseCode::reconnect(code), reconnect, "{close:?}");
        }
        assert_eq!(CloseCode::reconnect(1006), Reconnect::WithJitter, "a connection that broke");
    }

    #[test]
    fn reasons_are_the_documented_texts_and_fit_a_control_frame() {
        assert_eq!(CloseCode::InvalidMessage.reason(), "Invalid message format!");
        assert_eq!(CloseCode::SecureTopicForbidden.reason(), "Subscription to secure topic is forbidden!");
        for close in [CloseCode::Draining, CloseCode::SecureTopicForbidden, CloseCode::AppGone] {
            assert!(close.reason().len() <= 123);
        }
    }
}
