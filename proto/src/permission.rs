//! What a token allows.

use serde::{Deserialize, Serialize};

use crate::pattern::PatternSet;

/// Whether case counts in permission patterns (`permissionCase`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PermissionCase {
    /// As the npm module `matcher` does.
    #[default]
    Insensitive,
    /// Case counts.
    Sensitive,
}

/// The permissions that are names, not patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdminPermission {
    /// `realtime:admin:manage:subscribers`
    ManageSubscribers,
    /// `realtime:admin:manage:connections`
    ManageConnections,
    /// `realtime:admin:manage:application`
    ManageApplication,
    /// `realtime:admin:manage:keys`
    ManageKeys,
}

impl AdminPermission {
    /// The permission's text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ManageSubscribers => "realtime:admin:manage:subscribers",
            Self::ManageConnections => "realtime:admin:manage:connections",
            Self::ManageApplication => "realtime:admin:manage:application",
            Self::ManageKeys => "realtime:admin:manage:keys",
        }
    }
}

/// A token's permission list, compiled once and shared by every token with an equal list.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    list: Vec<Box<str>>,
    publish: PatternSet,
    subscribe: PatternSet,
}

impl Permissions {
    /// Compiles a token's list.
    #[must_use]
    pub fn new(_list: Vec<Box<str>>, _case: PermissionCase) -> Self {
        todo!()
    }

    /// `realtime:publisher:write:topic:PATTERN`
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.matches(topic)
    }

    /// `realtime:subscriber:read:topic:PATTERN`; asked for `secure/` topics only.
    #[must_use]
    pub fn may_subscribe(&self, topic: &str) -> bool {
        self.subscribe.matches(topic)
    }

    /// Whether the list names this permission.
    #[must_use]
    pub fn has(&self, permission: AdminPermission) -> bool {
        self.list.iter().any(|p| &**p == permission.name())
    }

    /// The list as the token has it, for presence events and inbound messages.
    #[must_use]
    pub fn list(&self) -> &[Box<str>] {
        &self.list
    }
}
