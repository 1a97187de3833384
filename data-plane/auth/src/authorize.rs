//! The permission rules of the HTTP API, gRPC and WebSocket in one place.

use crate::{App, Caller};

/// What a caller wants to do to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish on a topic.
    Publish {
        /// The topic.
        topic: &'a str,
    },
    /// Lists topics, unsubscribes clients.
    ManageSubscribers,
    /// Lists and closes connections.
    ManageConnections,
    /// Reads or changes the configuration (not its keys), reads telemetry.
    ManageApplication,
    /// Changes `adminKey`, `authKey`, `adminSourceAddress` or a forwarder.
    ManageKeys,
    /// Creates and deletes applications, changes tiers and settings, enables forwarders with ambient credentials.
    Operate,
}

/// The answer, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed(Reason),
    /// Refused; the error code is `permission_denied` or `topic_forbidden`.
    Denied(Reason),
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Operators and cluster members pass every check.
    Operator,
    /// A permission of the token grants it.
    Permission,
    /// No permission of the token grants it.
    NoPermission,
    /// The token belongs to another application.
    OtherApp,
    /// Only the server publishes there.
    ServerTopic,
    /// Only operators may.
    OperatorOnly,
}

/// Decides whether `caller` may do `action` to `app`.
#[must_use]
pub fn authorize(_caller: &Caller, _app: &App, _action: Action<'_>) -> Decision {
    todo!()
}
