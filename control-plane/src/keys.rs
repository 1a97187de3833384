//! The keys of the store. A commit that touches one of a group keeps the whole group consistent.
//!
//! | key | value | lives |
//! | --- | --- | --- |
//! | `apps/{appId}` | the application's stored document (`AppConfig::to_stored`), its secrets encrypted ([`crate::secrets`]); its revision is the version, unless it was only encrypted anew | until deleted |
//! | `app-names/{name}` | the id of the application of that name: names are unique, and case counts | with its application |
//! | `tier-apps/{tier}/{appId}` | empty: the application uses the tier, which can therefore not be removed | with its application |
//! | `settings` | the settings' document (`Settings::to_json`); its revision is the version | for ever |
//! | `interest-key` | 16 random bytes: the key of the topic hashes between nodes | for ever |
//! | `nodes/{nodeId}` | a member ([`crate::membership`]) | with its lease |
//! | `usage/{month}/{appId}/{replica}` | what nodes have reported to a replica of an application's use in a month, by incarnation; merged by taking the greater count of each | until the month after has ended; the application's end changes nothing |
//! | `replicas/{replica}` | a replica of the control plane ([`crate::replicas`]) | with its lease |
//! | `compaction` | empty; the store's history from its revision on is kept ([`crate::compaction`]) | for ever |
//! | `node-prefixes/{prefix}` | `{nodeId}/{incarnation}`: who has this connection-id prefix | with the same lease |

use realtime_proto::{AppId, Month, NodePrefix};

/// The settings.
pub(crate) const SETTINGS: &str = "settings";
/// The revision from which on the store's history is kept at least.
pub(crate) const COMPACTION: &str = "compaction";
/// The key of the topic hashes between nodes.
pub(crate) const INTEREST_KEY: &str = "interest-key";
/// All checkpoints of usage.
pub(crate) const USAGE: &str = "usage/";
/// All owners of names.
pub(crate) const APP_NAMES: &str = "app-names/";
/// All uses of tiers.
pub(crate) const TIER_APPS: &str = "tier-apps/";
/// All applications.
pub(crate) const APPS: &str = "apps/";
const NODES: &str = "nodes/";
const REPLICAS: &str = "replicas/";

/// An application's document.
pub(crate) fn app(app_id: &str) -> String {
    format!("{APPS}{app_id}")
}

/// The application whose document a key holds.
pub(crate) fn app_of(key: &str) -> Option<&str> {
    key.strip_prefix(APPS)
}

/// The owner of a name.
pub(crate) fn app_name(name: &str) -> String {
    format!("{APP_NAMES}{name}")
}

/// All uses of a tier.
pub(crate) fn tier_apps(tier: &str) -> String {
    format!("{TIER_APPS}{tier}/")
}

/// An application's use of a tier.
pub(crate) fn tier_app(tier: &str, app_id: &str) -> String {
    format!("{}{app_id}", tier_apps(tier))
}

/// A member.
pub(crate) fn node(node_id: &str) -> String {
    format!("{NODES}{node_id}")
}

/// A replica of the control plane.
pub(crate) fn replica(name: &str) -> String {
    format!("{REPLICAS}{name}")
}

/// The name of the replica that a key is about.
pub(crate) fn replica_of(key: &str) -> Option<&str> {
    key.strip_prefix(REPLICAS)
}

/// The owner of a connection-id prefix.
pub(crate) fn node_prefix(prefix: NodePrefix) -> String {
    format!("node-prefixes/{prefix}")
}

/// A replica's checkpoint of an application's usage.
pub(crate) fn usage(month: Month, app_id: &AppId, replica: &str) -> String {
    format!("{USAGE}{month}/{app_id}/{replica}")
}

/// The month, the application and the replica of a checkpoint of usage.
pub(crate) fn usage_of(key: &str) -> Option<(Month, AppId, &str)> {
    let mut parts = key.strip_prefix(USAGE)?.splitn(3, '/');
    let (month, app_id, replica) = (parts.next()?, parts.next()?, parts.next()?);
    Some((Month::parse(month)?, AppId::parse(app_id).ok()?, replica))
}

/// What a key holds, for readers of changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// An application, by id.
    App(String),
    /// The settings.
    Settings,
    /// A member, by node id.
    Node(String),
}

impl Subject {
    /// `None` for what no receiver hears of: keys that exist for conditions only, replicas, and keys of later
    /// releases.
    pub(crate) fn of(key: &str) -> Option<Self> {
        if key == SETTINGS {
            return Some(Self::Settings);
        }
        let app = app_of(key).map(|id| Self::App(id.to_owned()));
        app.or_else(|| key.strip_prefix(NODES).map(|id| Self::Node(id.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uses_of_a_tier_are_not_those_of_one_whose_name_it_begins() {
        assert!(tier_app("a", "x").starts_with(&tier_apps("a")));
        assert!(!tier_app("a-b", "x").starts_with(&tier_apps("a")));
    }

    #[test]
    fn keys_say_what_they_hold() {
        assert_eq!(Subject::of(&app("x")), Some(Subject::App("x".into())));
        assert_eq!(Subject::of(&node("settings")), Some(Subject::Node("settings".into())));
        assert_eq!(Subject::of(SETTINGS), Some(Subject::Settings));
        assert_eq!(Subject::of(&app_name("x")), None);
        assert_eq!(Subject::of(&tier_app("free", "x")), None);
        let (month, app_id) = (Month::at(0), AppId::parse("settings").unwrap());
        assert_eq!(Subject::of(&usage(month, &app_id, "r")), None);
        assert_eq!(Subject::of(&replica("settings")), None);
        assert_eq!(replica_of(&replica("r")), Some("r"));
        assert_eq!(usage_of(&usage(month, &app_id, "r")), Some((month, app_id, "r")));
        assert_eq!(usage_of("usage/1970-01/x"), None);
    }
}
