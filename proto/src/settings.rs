//! The operator's settings: tiers, limits, proxies (docs/contract.md 6). Whether a tier is in use is the control
//! plane's to know.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::address::{AddressList, MAX_ADDRESSES};
use crate::field::FieldErrors;
use crate::reader::{Reader, Unknown, line, tier_name};

/// Ceiling of `maxMessageBytes`: a message is held and inflated in memory at once, and fanned out from there.
/// It also holds where the settings name no limit (0).
pub const MAX_MESSAGE_BYTES: u32 = 1024 * 1024;
/// Ceiling of `telemetryRetentionDays`: a year and a month, to compare with the year before.
pub const MAX_RETENTION_DAYS: u64 = 400;
/// Ceiling of `idleTimeoutSeconds`, a day: a connection that is silent for longer is gone.
pub const MAX_IDLE_SECONDS: u64 = 24 * 60 * 60;
/// Ceiling of `messagesPerSecond`: the burst is twice the rate, counted in 32 bits.
pub const MAX_RATE: u64 = 1_000_000_000;
/// Number of tiers.
pub const MAX_TIERS: usize = 100;
/// Ceiling of the other numbers: the largest that every JSON reader keeps exact.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// Longest `geoDatabase`, a path, in characters.
const MAX_PATH_CHARS: usize = 4096;
/// The tier whose absent members are 0.
const UNLIMITED: &str = "unlimited";

/// What an application of a tier may use; 0 = unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Tier {
    pub max_connections: u64,
    pub max_subscriptions_per_connection: u32,
    pub max_topics: u64,
    /// Per connection; the burst is twice the rate.
    pub messages_per_second: u32,
    pub api_usage_bytes_per_month: u64,
    pub inbound_messages_per_month: u64,
}

/// Limits of every connection; 0 = unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    pub connections_per_subject: u32,
    pub max_message_bytes: u32,
    pub max_unsent_bytes: u32,
    pub idle_timeout_seconds: u32,
    pub node_max_connections: u64,
}

/// Validated settings; [`Settings::default`] is the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Settings {
    pub tiers: BTreeMap<String, Tier>,
    pub limits: Limits,
    pub telemetry_retention_days: u32,
    pub trusted_proxies: AddressList,
    pub geo_database: Option<String>,
}

impl Settings {
    /// Validates a whole document; absent members take their defaults, unknown keys are named.
    ///
    /// In `tiers` the members of `unlimited` default to 0 and those of every other tier to the contract's `free`.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn parse(document: &Value) -> Result<Self, FieldErrors> {
        read(document, Unknown::Refused)
    }

    /// Reads what [`Self::to_json`] wrote, here or in an adjacent release: unknown keys are ignored.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn from_stored(document: &Value) -> Result<Self, FieldErrors> {
        read(document, Unknown::Ignored)
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let tiers: Map<String, Value> =
            self.tiers.iter().map(|(name, t)| (name.clone(), t.to_json())).collect();
        let limits = &self.limits;
        json!({
            "tiers": tiers,
            "limits": {
                "connectionsPerSubject": limits.connections_per_subject,
                "maxMessageBytes": limits.max_message_bytes,
                "maxUnsentBytes": limits.max_unsent_bytes,
                "idleTimeoutSeconds": limits.idle_timeout_seconds,
                "nodeMaxConnections": limits.node_max_connections,
            },
            "telemetryRetentionDays": self.telemetry_retention_days,
            "trustedProxies": self.trusted_proxies.entries(),
            "geoDatabase": self.geo_database,
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tiers: default_tiers(),
            limits: Limits::default(),
            telemetry_retention_days: 30,
            trusted_proxies: AddressList::default(),
            geo_database: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_subject: 1,
            max_message_bytes: 5120,
            max_unsent_bytes: 65536,
            idle_timeout_seconds: 30,
            node_max_connections: 0,
        }
    }
}

impl Limits {
    /// The longest message that is read: where the settings name no limit, [`MAX_MESSAGE_BYTES`] holds.
    #[must_use]
    pub const fn message_bytes(&self) -> u32 {
        if self.max_message_bytes == 0 { MAX_MESSAGE_BYTES } else { self.max_message_bytes }
    }
}

impl Tier {
    /// The tier `free` of the contract.
    pub const FREE: Self = Self {
        max_connections: 1000,
        max_subscriptions_per_connection: 100,
        max_topics: 1000,
        messages_per_second: 100,
        api_usage_bytes_per_month: 1 << 30,
        inbound_messages_per_month: 1_000_000,
    };

    /// The tier `unlimited` of the contract.
    pub const UNLIMITED: Self = Self {
        max_connections: 0,
        max_subscriptions_per_connection: 0,
        max_topics: 0,
        messages_per_second: 0,
        api_usage_bytes_per_month: 0,
        inbound_messages_per_month: 0,
    };

    fn to_json(self) -> Value {
        json!({
            "maxConnections": self.max_connections,
            "maxSubscriptionsPerConnection": self.max_subscriptions_per_connection,
            "maxTopics": self.max_topics,
            "messagesPerSecond": self.messages_per_second,
            "apiUsageBytesPerMonth": self.api_usage_bytes_per_month,
            "inboundMessagesPerMonth": self.inbound_messages_per_month,
        })
    }
}

fn default_tiers() -> BTreeMap<String, Tier> {
    [("free".to_owned(), Tier::FREE), (UNLIMITED.to_owned(), Tier::UNLIMITED)].into()
}

fn read(document: &Value, unknown: Unknown) -> Result<Settings, FieldErrors> {
    let mut errors = FieldErrors::default();
    let settings = Reader::root(document, unknown, &mut errors).map(|mut r| {
        let settings = Settings {
            tiers: r.object("tiers").map_or_else(default_tiers, read_tiers),
            limits: r.object("limits").map_or_else(Limits::default, read_limits),
            telemetry_retention_days: r.integer("telemetryRetentionDays", 1, MAX_RETENTION_DAYS, 30),
            trusted_proxies: read_proxies(&mut r),
            geo_database: r.text("geoDatabase", |text| line(text, 1, MAX_PATH_CHARS)).map(str::to_owned),
        };
        r.finish();
        settings
    });
    match (errors.0.is_empty(), settings) {
        (true, Some(settings)) => Ok(settings),
        _ => Err(errors.capped()),
    }
}

fn read_tiers(mut r: Reader<'_, '_>) -> BTreeMap<String, Tier> {
    let mut tiers = BTreeMap::new();
    let names: Vec<&str> = r.names().collect();
    if names.is_empty() || names.len() > MAX_TIERS {
        r.error("", format!("must have 1 to {MAX_TIERS} tiers"));
        return tiers;
    }
    for name in names {
        if let Err(problem) = tier_name(name) {
            r.ignore(&[name]);
            r.bad_name(name, format!("a tier's name {problem}"));
        } else if let Some(tier) = r.object(name) {
            tiers.insert(
                name.to_owned(),
                read_tier(tier, if name == UNLIMITED { Tier::UNLIMITED } else { Tier::FREE }),
            );
        } else if r.is_null(name) {
            r.error(name, "must be an object");
        }
    }
    tiers
}

fn read_tier(mut r: Reader<'_, '_>, default: Tier) -> Tier {
    let small = u64::from(u32::MAX);
    let tier = Tier {
        max_connections: r.integer("maxConnections", 0, MAX_NUMBER, default.max_connections),
        max_subscriptions_per_connection: r.integer(
            "maxSubscriptionsPerConnection",
            0,
            small,
            default.max_subscriptions_per_connection,
        ),
        max_topics: r.integer("maxTopics", 0, MAX_NUMBER, default.max_topics),
        messages_per_second: r.integer("messagesPerSecond", 0, MAX_RATE, default.messages_per_second),
        api_usage_bytes_per_month: r.integer(
            "apiUsageBytesPerMonth",
            0,
            MAX_NUMBER,
            default.api_usage_bytes_per_month,
        ),
        inbound_messages_per_month: r.integer(
            "inboundMessagesPerMonth",
            0,
            MAX_NUMBER,
            default.inbound_messages_per_month,
        ),
    };
    r.finish();
    tier
}

fn read_limits(mut r: Reader<'_, '_>) -> Limits {
    let default = Limits::default();
    let (small, message) = (u64::from(u32::MAX), u64::from(MAX_MESSAGE_BYTES));
    let limits = Limits {
        connections_per_subject: r.integer(
            "connectionsPerSubject",
            0,
            small,
            default.connections_per_subject,
        ),
        max_message_bytes: r.integer("maxMessageBytes", 0, message, default.max_message_bytes),
        max_unsent_bytes: r.integer("maxUnsentBytes", 0, small, default.max_unsent_bytes),
        idle_timeout_seconds: r.integer(
            "idleTimeoutSeconds",
            0,
            MAX_IDLE_SECONDS,
            default.idle_timeout_seconds,
        ),
        node_max_connections: r.integer("nodeMaxConnections", 0, MAX_NUMBER, default.node_max_connections),
    };
    r.finish();
    limits
}

fn read_proxies(r: &mut Reader<'_, '_>) -> AddressList {
    const NAME: &str = "trustedProxies";
    let entries = r.strings(NAME, MAX_ADDRESSES, |text| match text.starts_with('!') {
        true => Err("must be an IP address or a CIDR; denials have no meaning here".to_owned()),
        false => Ok(()),
    });
    AddressList::parse(&entries, NAME).unwrap_or_else(|problems| {
        r.extend(problems);
        AddressList::default()
    })
}
