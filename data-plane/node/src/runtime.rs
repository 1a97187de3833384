//! Applications as this node runs them: configuration, the limits that follow from it, and what is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use realtime_auth::App;
use realtime_proto::settings::{Limits, Tier};
use realtime_proto::{ApiError, ErrorCode, Settings};
use realtime_session::Policy;

use crate::usage::{AppQuota, UsageLedger};

/// Seconds that a client over a connection limit is told to wait: long enough not to be a load by itself.
const LIMIT_RETRY_SECONDS: u32 = 10;
/// Seconds that a caller over a quota is told to wait at most: the month may be long, but the limit may be raised.
const QUOTA_RETRY_SECONDS: u32 = 24 * 60 * 60;

/// An application in force on this node: what the front door needs before a session exists, and what
/// sessions share.
#[derive(Debug)]
pub struct AppRuntime {
    /// The configuration with its keys.
    pub app: Arc<App>,
    /// Names the application's period of being enabled; never used again.
    pub(crate) slot: u32,
    pub(crate) policy: Policy,
    pub(crate) tier: Tier,
    pub(crate) limits: Limits,
    pub(crate) usage: Arc<AppUsage>,
    quota: Arc<AppQuota>,
}

/// What an application has in use on this node; lives as long as its slot.
#[derive(Debug, Default)]
pub(crate) struct AppUsage {
    connections: AtomicU64,
    /// Topics with a subscriber, by the number of shards that have one. Changed only when a shard's first
    /// subscription of a topic comes or its last one goes, never on a delivery.
    topics: Mutex<HashMap<Arc<str>, u32>>,
}

/// What the node has in use.
#[derive(Debug, Default)]
pub(crate) struct NodeUsage {
    sessions: AtomicU64,
}

impl NodeUsage {
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// A place under the application's and the node's connection limits; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    app: Arc<AppUsage>,
    node: Arc<NodeUsage>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.app.connections.fetch_sub(1, Ordering::AcqRel);
        self.node.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

impl AppRuntime {
    /// What runs for `app` on from `old`: its use and its sessions' slot are kept as long as the application stays
    /// enabled. A period that begins gets `new_slot`; a disabled application has no sessions and needs none.
    pub(crate) fn next(
        app: &Arc<App>,
        old: Option<&Arc<Self>>,
        new_slot: impl FnOnce() -> u32,
        settings: &Settings,
        ledger: &UsageLedger,
    ) -> Self {
        let config = &app.config;
        let kept = old.filter(|old| {
            let old = &old.app.config;
            old.enabled && config.enabled && old.period == config.period
        });
        // The control plane refuses settings that lack a tier in use; should it happen, the tighter default holds.
        let tier = settings.tiers.get(&config.tier).copied().unwrap_or(Tier::FREE);
        Self {
            app: app.clone(),
            slot: kept.or(old.filter(|_| !config.enabled)).map_or_else(new_slot, |old| old.slot),
            policy: Policy {
                max_message_bytes: settings.limits.message_bytes(),
                messages_per_second: tier.messages_per_second,
                inbound_enabled: config.inbound_enabled(),
                refused_subscription: config.refused_subscription_policy,
            },
            tier,
            limits: settings.limits,
            usage: kept.map_or_else(Arc::default, |old| old.usage.clone()),
            quota: ledger.quota(&config.app_id),
        }
    }

    /// Longest message of this application's clients and services, in bytes.
    #[must_use]
    pub fn max_message_bytes(&self) -> u32 {
        self.limits.message_bytes()
    }

    /// Connections of this application on this node.
    pub(crate) fn connections(&self) -> u64 {
        self.usage.connections.load(Ordering::Relaxed)
    }

    /// Takes a place under both connection limits.
    pub(crate) fn reserve(&self, node: &Arc<NodeUsage>) -> Result<Reservation, ApiError> {
        let in_app = self.usage.connections.fetch_add(1, Ordering::AcqRel);
        let on_node = node.sessions.fetch_add(1, Ordering::AcqRel);
        let reservation = Reservation { app: self.usage.clone(), node: node.clone() };
        self.check(in_app, on_node)?;
        Ok(reservation)
    }

    /// Whether [`Self::reserve`] would succeed.
    pub(crate) fn check_limits(&self, node: &NodeUsage) -> Result<(), ApiError> {
        self.check(self.connections(), node.sessions())
    }

    /// Counts API usage, unless the month's is used up: `false`, and then nothing is counted. In a tier without
    /// the limit nothing is counted either.
    #[inline]
    pub(crate) fn charge_bytes(&self, bytes: u64) -> bool {
        let limit = self.tier.api_usage_bytes_per_month;
        limit == 0 || self.quota.charge_bytes(limit, bytes)
    }

    /// The same for one inbound message.
    #[inline]
    pub(crate) fn charge_message(&self) -> bool {
        let limit = self.tier.inbound_messages_per_month;
        limit == 0 || self.quota.charge_message(limit)
    }

    /// [`Self::charge_bytes`] for a service's call.
    pub(crate) fn charge_call(&self, bytes: u64) -> Result<(), ApiError> {
        if self.charge_bytes(bytes) {
            return Ok(());
        }
        let limit = self.tier.api_usage_bytes_per_month;
        let detail = format!("the month's API usage, limited to {limit} bytes, has no {bytes} bytes left");
        let month_ends = u32::try_from(self.quota.seconds_left()).unwrap_or(u32::MAX);
        let wait = month_ends.clamp(1, QUOTA_RETRY_SECONDS);
        Err(ApiError::new(ErrorCode::QuotaExceeded, detail).retry_after(wait))
    }

    /// Gives back what was charged for a call that was not done.
    pub(crate) fn refund_call(&self, bytes: u64) {
        if self.tier.api_usage_bytes_per_month != 0 {
            self.quota.refund_bytes(bytes);
        }
    }

    fn check(&self, in_app: u64, on_node: u64) -> Result<(), ApiError> {
        let refuse = |what: &str, limit: u64| {
            let detail = format!("the {what} has reached its limit of {limit} connections");
            Err(ApiError::new(ErrorCode::ConnectionLimit, detail).retry_after(LIMIT_RETRY_SECONDS))
        };
        if is_reached(self.tier.max_connections, in_app) {
            return refuse("application", self.tier.max_connections);
        }
        if is_reached(self.limits.node_max_connections, on_node) {
            return refuse("node", self.limits.node_max_connections);
        }
        Ok(())
    }
}

/// Whether `used` leaves no room under a limit; 0 is no limit (docs/contract.md 6).
pub(crate) fn is_reached(limit: u64, used: u64) -> bool {
    limit != 0 && used >= limit
}

impl AppUsage {
    /// Notes a shard's first subscription of a topic; `false` when the tier allows no further topic.
    pub(crate) fn add_topic(&self, name: &Arc<str>, max: u64) -> bool {
        let mut topics = self.topics.lock();
        if let Some(shards) = topics.get_mut(name) {
            *shards += 1;
            return true;
        }
        if is_reached(max, topics.len() as u64) {
            return false;
        }
        topics.insert(name.clone(), 1);
        true
    }

    /// Notes that a shard's last subscription of a topic is gone.
    pub(crate) fn remove_topic(&self, name: &str) {
        let mut topics = self.topics.lock();
        if let Some(shards) = topics.get_mut(name) {
            *shards -= 1;
            if *shards == 0 {
                topics.remove(name);
            }
        }
    }
}
