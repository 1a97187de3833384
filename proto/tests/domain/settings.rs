use crate::fields;
use realtime_proto::Settings;
use realtime_proto::settings::{MAX_MESSAGE_BYTES, Tier};
use serde_json::{Value, json};

/// The document of the contract.
fn contract() -> Value {
    json!({
        "tiers": {
            "free": {"maxConnections": 1000, "maxSubscriptionsPerConnection": 100, "maxTopics": 1000,
                     "messagesPerSecond": 100, "apiUsageBytesPerMonth": 1_073_741_824_u64,
                     "inboundMessagesPerMonth": 1_000_000},
            "unlimited": {"maxConnections": 0, "maxSubscriptionsPerConnection": 0, "maxTopics": 0,
                          "messagesPerSecond": 0, "apiUsageBytesPerMonth": 0, "inboundMessagesPerMonth": 0},
        },
        "limits": {"connectionsPerSubject": 1, "maxMessageBytes": 5120, "maxUnsentBytes": 65536,
                   "idleTimeoutSeconds": 30, "nodeMaxConnections": 0},
        "telemetryRetentionDays": 30, "trustedProxies": [], "geoDatabase": null,
    })
}

#[test]
fn the_defaults_are_the_contracts() {
    assert_eq!(Settings::default().to_json(), contract());
    assert_eq!(Settings::parse(&contract()).unwrap(), Settings::default());
    assert_eq!(Settings::parse(&json!({})).unwrap(), Settings::default());
    assert_eq!(Settings::parse(&json!({"limits": {}, "tiers": null})).unwrap(), Settings::default());
}

#[test]
fn given_tiers_replace_the_map_and_their_absent_members_take_defaults() {
    let settings = Settings::parse(&json!({"tiers": {"gold": {"maxTopics": 5}, "unlimited": {}}})).unwrap();
    assert_eq!(settings.tiers.len(), 2);
    assert_eq!(settings.tiers["gold"], Tier { max_topics: 5, ..Tier::FREE });
    assert_eq!(settings.tiers["unlimited"], Tier::UNLIMITED);
}

#[test]
fn every_problem_is_reported_at_once_by_its_path() {
    let document = json!({
        "tiers": {"free": {"maxTopcis": 1, "maxTopics": -1, "maxConnections": 1.5}, "Gold": {}, "x": 5, "y": null},
        "limits": {"maxMessageBytes": 1_048_577, "idleTimeoutSeconds": "30", "more": 1},
        "telemetryRetentionDays": 0, "trustedProxies": ["10.0.0.0/8", "!10.0.0.1"], "geoDatabase": 5, "other": null,
    });
    let mut found = fields(Settings::parse(&document));
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "geoDatabase",
            "limits.idleTimeoutSeconds",
            "limits.maxMessageBytes",
            "limits.more",
            "other",
            "telemetryRetentionDays",
            "tiers.Gold",
            "tiers.free.maxConnections",
            "tiers.free.maxTopcis",
            "tiers.free.maxTopics",
            "tiers.x",
            "tiers.y",
            "trustedProxies[1]",
        ]
    );
    assert_eq!(fields(Settings::parse(&json!([]))), [""]);
    assert_eq!(fields(Settings::parse(&json!({"tiers": {}}))), ["tiers"]);
    assert_eq!(fields(Settings::parse(&json!({"trustedProxies": ["x"]}))), ["trustedProxies[0]"]);
    assert_eq!(fields(Settings::parse(&json!({"telemetryRetentionDays": 401}))), ["telemetryRetentionDays"]);
}

#[test]
fn unknown_keys_are_ignored_only_in_what_an_adjacent_release_wrote() {
    let mut document = contract();
    document["limits"]["fromTheFuture"] = json!(1);
    assert_eq!(fields(Settings::parse(&document)), ["limits.fromTheFuture"]);
    assert_eq!(Settings::from_stored(&document).unwrap(), Settings::default());
    document["limits"]["maxMessageBytes"] = json!("x");
    assert_eq!(fields(Settings::from_stored(&document)), ["limits.maxMessageBytes"]);
}

#[test]
fn without_a_message_limit_the_ceiling_holds() {
    let limits = |bytes: u32| Settings::parse(&json!({"limits": {"maxMessageBytes": bytes}})).unwrap().limits;
    assert_eq!(limits(0).message_bytes(), MAX_MESSAGE_BYTES);
    assert_eq!(limits(100).message_bytes(), 100);
}
