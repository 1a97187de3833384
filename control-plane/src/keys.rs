//! The keys of the store. A commit that touches one of a group keeps the whole group consistent.
//!
//! | key | value | lives |
//! | --- | --- | --- |
//! | `apps/{appId}` | the application's stored document (`AppConfig::to_stored`), secrets included; its revision is the version | until deleted |
//! | `app-names/{name}` | the id of the application of that name: names are unique, and case counts | with its application |
//! | `tier-apps/{tier}/{appId}` | empty: the application uses the tier, which can therefore not be removed | with its application |
//! | `settings` | the settings' document (`Settings::to_json`); its revision is the version | for ever |
//! | `nodes/{nodeId}` | a member ([`crate::membership`]) | with its lease |
//! | `node-prefixes/{prefix}` | `{nodeId}/{incarnation}`: who has this connection-id prefix | with the same lease |

use realtime_proto::NodePrefix;

/// The settings.
pub(crate) const SETTINGS: &str = "settings";
const APPS: &str = "apps/";
const NODES: &str = "nodes/";

/// An application's document.
pub(crate) fn app(app_id: &str) -> String {
    format!("{APPS}{app_id}")
}

/// The owner of a name.
pub(crate) fn app_name(name: &str) -> String {
    format!("app-names/{name}")
}

/// All uses of a tier.
pub(crate) fn tier_apps(tier: &str) -> String {
    format!("tier-apps/{tier}/")
}

/// An application's use of a tier.
pub(crate) fn tier_app(tier: &str, app_id: &str) -> String {
    format!("{}{app_id}", tier_apps(tier))
}

/// A member.
pub(crate) fn node(node_id: &str) -> String {
    format!("{NODES}{node_id}")
}

/// The owner of a connection-id prefix.
pub(crate) fn node_prefix(prefix: NodePrefix) -> String {
    format!("node-prefixes/{prefix}")
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
    /// `None` for keys that exist for conditions only, and for keys of later releases.
    pub(crate) fn of(key: &str) -> Option<Self> {
        if key == SETTINGS {
            return Some(Self::Settings);
        }
        let app = key.strip_prefix(APPS).map(|id| Self::App(id.to_owned()));
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
    }
}
