//! Which targets applications have: configurations as the forwarders take them.
//!
//! A target is there before the first session is judged by its configuration, and goes after the last one that was:
//! the ends of the sessions of an application that is deleted or disabled are still told to it.

use std::sync::Arc;

use realtime_auth::App;
use realtime_discovery::SharedMap;
use realtime_forwarders::Forwarders;
use realtime_proto::AppId;

/// Applications that are gone or disabled. Dropped once every shard has ended their sessions: then their targets are
/// ended, too.
#[derive(Debug)]
pub(crate) struct Retiring {
    forwarders: Arc<Forwarders>,
    /// With the period that has ended: an application that has been enabled again meanwhile is another one.
    apps: Vec<Arc<App>>,
}

impl Drop for Retiring {
    fn drop(&mut self) {
        for app in &self.apps {
            self.forwarders.remove(&app.config);
        }
    }
}

/// Hands over what differs; returns what is to go once no session is left.
pub(crate) fn configure(
    forwarders: &Arc<Forwarders>,
    old: &SharedMap<AppId, Arc<App>>,
    new: &SharedMap<AppId, Arc<App>>,
) -> Option<Retiring> {
    let mut gone = Vec::new();
    for (_, before, after) in new.differences(old) {
        match (before, after) {
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
            (_, Some(app)) if app.config.enabled => forwarders.configure(&app.config),
            (Some(app), _) if app.config.enabled => gone.push(Arc::clone(app)),
            _ => {}
        }
    }
    (!gone.is_empty()).then(|| Retiring { forwarders: Arc::clone(forwarders), apps: gone })
}
