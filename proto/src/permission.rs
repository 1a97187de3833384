//! What a token allows. Reading the list out of the claims is the business of `realtime-auth`.

use serde::{Deserialize, Serialize};

use crate::Texts;
use crate::pattern::PatternSet;

/// What stands before the pattern in a permission to publish. Case counts in it.
pub const PUBLISH_PREFIX: &str = "realtime:publisher:write:topic:";
/// What stands before the pattern in a permission to subscribe to `secure/` topics. Case counts in it.
pub const SUBSCRIBE_PREFIX: &str = "realtime:subscriber:read:topic:";

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
    list: Texts,
    publish: PatternSet,
    subscribe: PatternSet,
}

impl Permissions {
    /// Compiles a token's list.
    #[must_use]
    pub fn new(list: Texts, case: PermissionCase) -> Self {
        let patterns = |prefix: &str| {
            PatternSet::new(list.iter().filter_map(|permission| permission.strip_prefix(prefix)), case)
        };
        let (publish, subscribe) = (patterns(PUBLISH_PREFIX), patterns(SUBSCRIBE_PREFIX));
        Self { list, publish, subscribe }
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
        self.list.iter().any(|p| p == permission.name())
    }

    /// The list as the token has it, for presence events and inbound messages.
    #[must_use]
    pub fn list(&self) -> &Texts {
        &self.list
    }

    /// Memory behind the list and its patterns.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.list.heap_bytes() + self.publish.heap_bytes() + self.subscribe.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(list: &[&str], case: PermissionCase) -> Permissions {
        Permissions::new(list.iter().collect(), case)
    }

    #[test]
    fn publishing_and_subscribing_have_patterns_of_their_own() {
        let list = [
            "realtime:publisher:write:topic:secure/*",
            "realtime:publisher:write:topic:main",
            "realtime:publisher:write:topic:!secure/inner/*",
            "realtime:subscriber:read:topic:secure/logs/*",
        ];
        let p = permissions(&list, PermissionCase::Insensitive);
        for (topic, publish, subscribe) in [
            ("main", true, false),
            ("MAIN", true, false),
            ("secure/a", true, false),
            ("secure/inner/a", false, false),
            ("secure/logs/a", true, true),
            ("secure/logs", true, false),
            ("other", false, false),
        ] {
            assert_eq!((p.may_publish(topic), p.may_subscribe(topic)), (publish, subscribe), "{topic}");
        }
        assert_eq!(p.list().iter().collect::<Vec<_>>(), list);
    }

    #[test]
    fn case_counts_where_the_app_says_so() {
        let p = permissions(&["realtime:publisher:write:topic:Main"], PermissionCase::Sensitive);
        assert!(p.may_publish("Main") && !p.may_publish("main"));
    }

    #[test]
    fn no_permission_permits_nothing_and_near_misses_are_none() {
        for list in [
            &[][..],
            &["*"],
            &["realtime:publisher:write:topic"],
            &["Realtime:publisher:write:topic:*"],
            &[" realtime:publisher:write:topic:*"],
            &["realtime:publisher:write:*"],
            &["realtime:*"],
            &["realtime:publisher:write:topic:"],
        ] {
            let p = permissions(list, PermissionCase::Insensitive);
            assert!(!p.may_publish("main") && !p.may_subscribe("secure/a"), "{list:?}");
        }
    }

    #[test]
    fn admin_permissions_are_exact_names() {
        let all = [
            AdminPermission::ManageSubscribers,
            AdminPermission::ManageConnections,
            AdminPermission::ManageApplication,
            AdminPermission::ManageKeys,
        ];
        for one in all {
            let p = permissions(&[one.name()], PermissionCase::Insensitive);
            for other in all {
                assert_eq!(p.has(other), one == other, "{one:?} {other:?}");
            }
        }
        for near in ["realtime:admin:manage:*", "REALTIME:admin:manage:keys", "realtime:admin:manage:keys "] {
            assert!(
                !permissions(&[near], PermissionCase::Insensitive).has(AdminPermission::ManageKeys),
                "{near}"
            );
        }
    }
}
