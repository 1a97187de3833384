//! The permission rules of the HTTP API, gRPC and WebSocket in one place.

use realtime_proto::{AdminPermission, ApiError, ErrorCode, topic};

use crate::{App, Caller, Identity};

/// What a caller wants to do to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish on a topic.
    Publish {
        /// The topic.
        topic: &'a str,
    },
    /// Reads what clients send to backends.
    Consume,
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
pub fn authorize(caller: &Caller, app: &App, action: Action<'_>) -> Decision {
    let server_only = matches!(action, Action::Publish { topic } if topic::is_server_only(topic));
    match caller {
        Caller::Operator { .. } | Caller::Cluster { .. } if server_only => {
            Decision::Denied(Reason::ServerTopic)
        }
        Caller::Operator { .. } | Caller::Cluster { .. } => Decision::Allowed(Reason::Operator),
        Caller::App { app_id, .. } if *app_id != app.config.app_id => Decision::Denied(Reason::OtherApp),
        Caller::App { identity, .. } => grant(identity, action),
    }
}

/// What a token of the application itself may do.
fn grant(identity: &Identity, action: Action<'_>) -> Decision {
    let granted = match action {
        Action::Publish { topic } if topic::is_server_only(topic) => {
            return Decision::Denied(Reason::ServerTopic);
        }
        Action::Publish { topic } => identity.permissions.may_publish(topic),
        // It is what `secure/inbound` has.
        Action::Consume => identity.permissions.may_subscribe(topic::INBOUND),
        Action::ManageSubscribers => identity.permissions.has(AdminPermission::ManageSubscribers),
        Action::ManageConnections => identity.permissions.has(AdminPermission::ManageConnections),
        Action::ManageApplication => identity.permissions.has(AdminPermission::ManageApplication),
        Action::ManageKeys => identity.permissions.has(AdminPermission::ManageKeys),
        Action::Operate => return Decision::Denied(Reason::OperatorOnly),
    };
    if granted { Decision::Allowed(Reason::Permission) } else { Decision::Denied(Reason::NoPermission) }
}

impl Decision {
    /// Whether to go on.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The refusal for the caller, where it is one; `action` is what was asked.
    ///
    /// # Errors
    /// `permission_denied` or `topic_forbidden`, with a sentence that says what is missing.
    pub fn into_result(self, action: Action<'_>) -> Result<(), ApiError> {
        match self {
            Self::Allowed(_) => Ok(()),
            Self::Denied(reason) => Err(ApiError::new(reason.code(), reason.detail(action))),
        }
    }
}

impl Reason {
    fn code(self) -> ErrorCode {
        match self {
            Self::ServerTopic => ErrorCode::TopicForbidden,
            Self::Operator | Self::Permission | Self::NoPermission | Self::OtherApp | Self::OperatorOnly => {
                ErrorCode::PermissionDenied
            }
        }
    }

    fn detail(self, action: Action<'_>) -> String {
        match self {
            Self::ServerTopic => "only the server publishes on this topic".into(),
            Self::OtherApp => "the token belongs to another application".into(),
            Self::OperatorOnly => "only an operator may do this".into(),
            Self::Operator | Self::Permission => "allowed".into(),
            Self::NoPermission => format!("the token lacks the permission {}", needed(action)),
        }
    }
}

/// The permission that an action needs, as it would stand in a token.
fn needed(action: Action<'_>) -> String {
    match action {
        Action::Publish { topic } => format!("realtime:publisher:write:topic:{topic} or a pattern of it"),
        Action::Consume => format!("realtime:subscriber:read:topic:{} or a pattern of it", topic::INBOUND),
        Action::ManageSubscribers => AdminPermission::ManageSubscribers.name().into(),
        Action::ManageConnections => AdminPermission::ManageConnections.name().into(),
        Action::ManageApplication => AdminPermission::ManageApplication.name().into(),
        Action::ManageKeys => AdminPermission::ManageKeys.name().into(),
        Action::Operate => "of an operator".into(),
    }
}
