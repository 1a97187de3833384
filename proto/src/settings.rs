//! The operator's settings: tiers, limits, proxies (protocol.md 6).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::address::AddressList;
use crate::field::FieldErrors;

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
    /// # Errors
    /// Every field at fault.
    pub fn parse(_document: &Value) -> Result<Self, FieldErrors> {
        todo!()
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        todo!()
    }
}

impl Default for Settings {
    fn default() -> Self {
        todo!()
    }
}
