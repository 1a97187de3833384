//! The applications in force: an immutable value that is replaced as a whole, and shares with its predecessor all that
//! has not changed. Pure: no clock, no tasks.

use std::sync::Arc;

use realtime_auth::App;
use realtime_discovery::{SharedMap, Snapshot};
use realtime_proto::{AppId, Settings};

use crate::runtime::AppRuntime;
use crate::usage::UsageLedger;

/// Slots on a page.
const PAGE: usize = 64;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct AppTable {
    /// What the table was made of.
    source: SharedMap<AppId, Arc<App>>,
    /// Every application, disabled ones too.
    by_id: SharedMap<AppId, Arc<AppRuntime>>,
    /// Enabled ones.
    by_slot: Slots,
    pub(crate) settings: Arc<Settings>,
    /// Counts slots that went: sessions need to be looked through only when it changes.
    pub(crate) gone: u64,
    /// Counts changes that may bring a session's timer forward.
    pub(crate) timers: u64,
    /// Counts changes of who has inbound messaging.
    pub(crate) inbound: u64,
    next_slot: u32,
}

impl AppTable {
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<AppRuntime>> {
        self.by_id.get(id)
    }

    #[inline]
    pub(crate) fn by_slot(&self, slot: u32) -> Option<&Arc<AppRuntime>> {
        self.by_slot.get(slot)
    }

    /// What the table was made of.
    pub(crate) fn source(&self) -> &SharedMap<AppId, Arc<App>> {
        &self.source
    }

    /// The table for a snapshot: what did not change keeps its value, what was enabled again gets a new slot.
    pub(crate) fn next(&self, snapshot: &Snapshot, ledger: &UsageLedger) -> Self {
        let (old, new) = (&self.settings, &snapshot.settings);
        let mut next = Self {
            source: snapshot.apps.clone(),
            by_id: self.by_id.clone(),
            by_slot: self.by_slot.clone(),
            settings: new.clone(),
            gone: self.gone,
            timers: self.timers + u64::from(old.limits != new.limits),
            inbound: self.inbound,
            next_slot: self.next_slot,
        };
        for (id, _, app) in snapshot.apps.differences(&self.source) {
            match app {
                Some(app) => next.put(app, ledger),
                None => next.remove(id),
            }
        }
        // The settings' part in an application: its tier and the limits of all.
        if old.tiers != new.tiers || old.limits != new.limits {
            snapshot.apps.values().for_each(|app| next.replace(app, ledger));
        }
        next
    }

    fn put(&mut self, app: &Arc<App>, ledger: &UsageLedger) {
        let held = self.by_id.get(&app.config.app_id);
        if held.is_none_or(|held| !Arc::ptr_eq(&held.app, app)) {
            self.replace(app, ledger);
        }
    }

    fn replace(&mut self, app: &Arc<App>, ledger: &UsageLedger) {
        let id = &app.config.app_id;
        let old = self.by_id.get(id).cloned();
        let next_slot = &mut self.next_slot;
        let new_slot = || {
            *next_slot += 1;
            *next_slot - 1
        };
        let runtime = Arc::new(AppRuntime::next(app, old.as_ref(), new_slot, &self.settings, ledger));
        if let Some(old) = old {
            let expiry = |app: &AppRuntime| app.app.config.disconnect_on_token_expiry;
            self.timers += u64::from(expiry(&old) != expiry(&runtime));
            self.inbound += u64::from(old.policy.inbound_enabled != runtime.policy.inbound_enabled);
            if !app.config.enabled || old.slot != runtime.slot {
                self.vacate(old.slot);
            }
        }
        if app.config.enabled {
            self.by_slot.set(runtime.slot, Some(runtime.clone()));
        }
        self.by_id.insert(id.clone(), runtime);
    }

    fn remove(&mut self, id: &AppId) {
        if let Some(old) = self.by_id.remove(id) {
            self.vacate(old.slot);
        }
    }

    /// Ends a slot, if it was in force.
    fn vacate(&mut self, slot: u32) {
        if self.by_slot.set(slot, None).is_some() {
            self.gone += 1;
        }
    }
}

/// Applications by slot, on shared pages. Slots are never used again, so pages empty in time: a million ends of
/// applications leave 128 KiB of places for pages.
#[derive(Debug, Clone, Default)]
struct Slots(Vec<Option<Arc<Page>>>);

#[derive(Debug, Clone)]
struct Page([Option<Arc<AppRuntime>>; PAGE]);

impl Slots {
    #[inline]
    fn get(&self, slot: u32) -> Option<&Arc<AppRuntime>> {
        let slot = slot as usize;
        self.0.get(slot / PAGE)?.as_ref()?.0[slot % PAGE].as_ref()
    }

    /// Sets or empties a slot; returns what was there.
    fn set(&mut self, slot: u32, app: Option<Arc<AppRuntime>>) -> Option<Arc<AppRuntime>> {
        let (page, place) = (slot as usize / PAGE, slot as usize % PAGE);
        if app.is_none() && self.get(slot).is_none() {
            return None;
        }
        if page >= self.0.len() {
            self.0.resize(page + 1, None);
        }
        let empty = || Arc::new(Page([const { None }; PAGE]));
        let shared = self.0[page].get_or_insert_with(empty);
        let entries = &mut Arc::make_mut(shared).0;
        let before = std::mem::replace(&mut entries[place], app);
        if entries.iter().all(Option::is_none) {
            self.0[page] = None;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use realtime_auth::JwksCache;
    use realtime_proto::AppConfig;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:00:00.000Z";

    fn compile(config: AppConfig) -> (AppId, Arc<App>) {
        let id = config.app_id.clone();
        (id, Arc::new(App::compile(config, 1, &JwksCache::offline()).unwrap()))
    }

    fn create(id: &str) -> (AppId, Arc<App>) {
        let key = json!({"source": "raw", "key": "secret", "algorithms": ["HS256"]});
        let document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
        compile(AppConfig::create(&document, NOW).unwrap())
    }

    fn patch(snapshot: &mut Snapshot, id: &str, change: &Value) {
        let (id, app) = compile(snapshot.apps[id].config.patch(change, NOW).unwrap());
        snapshot.apps.insert(id, app);
    }

    #[test]
    fn what_does_not_change_keeps_its_value_and_sessions_that_lose_their_slot_are_counted() {
        let ledger = UsageLedger::new();
        let names: Vec<String> = (0..500).map(|n| format!("app-{n}")).collect();
        let apps = names.iter().map(|name| create(name)).collect();
        let mut snapshot = Snapshot { apps, ..Snapshot::default() };
        let first = AppTable::default().next(&snapshot, &ledger);
        assert!(names.iter().all(|name| first.by_id(name).is_some()));

        patch(&mut snapshot, "app-0", &json!({"description": "changed"}));
        let second = first.next(&snapshot, &ledger);
        for name in &names[1..] {
            assert!(Arc::ptr_eq(first.by_id(name).unwrap(), second.by_id(name).unwrap()));
        }
        let (old, new) = (first.by_id("app-0").unwrap(), second.by_id("app-0").unwrap());
        assert_eq!((old.slot, new.app.config.description.as_str()), (new.slot, "changed"));
        assert!(Arc::ptr_eq(second.by_slot(new.slot).unwrap(), new));
        assert_eq!(second.gone, 0);

        patch(&mut snapshot, "app-0", &json!({"enabled": false}));
        snapshot.apps.remove("app-1");
        let (id, app) = create("app-2");
        snapshot.apps.insert(id, app);
        let third = second.next(&snapshot, &ledger);
        assert_eq!(third.gone, 3, "disabled, removed, created again");
        for name in &names[..3] {
            assert!(third.by_slot(second.by_id(name).unwrap().slot).is_none());
        }
        let again = third.by_id("app-2").unwrap();
        assert!(third.by_slot(again.slot).is_some_and(|app| Arc::ptr_eq(app, again)));
        patch(&mut snapshot, "app-0", &json!({"description": "while disabled"}));
        assert_eq!(third.next(&snapshot, &ledger).gone, 3);

        snapshot.settings = Arc::new(Settings::parse(&json!({"limits": {"maxMessageBytes": 7}})).unwrap());
        let fourth = third.next(&snapshot, &ledger);
        assert!(names[2..].iter().all(|name| fourth.by_id(name).unwrap().max_message_bytes() == 7));
        assert_eq!(fourth.by_id("app-3").unwrap().slot, third.by_id("app-3").unwrap().slot);
    }
}
