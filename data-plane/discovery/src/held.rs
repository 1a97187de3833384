//! The configuration that the client holds, and how an update changes it. Pure: no stream, no clock.
//!
//! Invariants: an update is applied as a whole or, when the stream breaks its contract, not at all; what an
//! update leaves alone keeps its `Arc`; a resource that does not validate is noted and its last good version
//! stays in force (none: an app stays absent, settings stay the defaults), while the rest of the update applies.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use realtime_auth::{App, JwksCache};
use realtime_proto::generated::discovery as wire;
use realtime_proto::{AppConfig, AppId, Settings};
use serde_json::Value;
use wire::removed::Kind as RemovedKind;
use wire::resource::Kind as ResourceKind;

use crate::{SharedMap, Snapshot};

/// One complete update.
#[derive(Debug)]
pub(crate) enum Update {
    /// Replaces everything.
    Full { revision: wire::Revision, resources: Vec<wire::Resource> },
    /// Changes what it names.
    Delta(wire::Delta),
}

/// The server broke the contract of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("an update without a revision")]
    NoRevision,
    #[error("a delta before any snapshot")]
    NothingToChange,
    #[error("a delta of another store")]
    OtherStore,
    #[error("a revision older than the one held")]
    Older,
    #[error("a delta between the chunks of a snapshot")]
    InsideSnapshot,
    #[error("the first message is not Registered")]
    NotRegistered,
    #[error("the connection id prefix is not 8 hex digits")]
    BadPrefix,
    #[error("the interest key is not 16 bytes")]
    BadInterestKey,
}

/// What is in force, and what was refused of it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) snapshot: Arc<Snapshot>,
    /// By app id (empty: the settings), why the newest version is not in force. Kept until a good version or a
    /// removal comes, so that every answer tells all that is wrong.
    pub(crate) rejections: BTreeMap<String, String>,
    /// Members of the snapshot that the server has removed, and that may come back.
    missed: BTreeSet<String>,
}

/// What becomes of members that an update removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// They are gone.
    Gone,
    /// They may come back, but for those that were draining: they have said farewell.
    Missed,
}

impl Held {
    /// What follows from `update` on what is held (`None`: nothing). Key sets that stay in use stay as they are,
    /// because what was held is let go after the new is there.
    ///
    /// # Errors
    /// The update does not follow on what is held; nothing changes.
    pub(crate) fn apply(
        held: Option<&Self>,
        update: Update,
        removed: Removed,
        jwks: &JwksCache,
    ) -> Result<Self, Violation> {
        match update {
            Update::Full { revision, resources } => Self::replace(held, revision, resources, removed, jwks),
            Update::Delta(delta) => held.ok_or(Violation::NothingToChange)?.change(delta, removed, jwks),
        }
    }

    fn replace(
        held: Option<&Self>,
        revision: wire::Revision,
        resources: Vec<wire::Resource>,
        removed: Removed,
        jwks: &JwksCache,
    ) -> Result<Self, Violation> {
        // A replica behind us must wait, never send older; another store's numbers mean nothing here.
        if held.is_some_and(|h| {
            h.snapshot.store_id == revision.store_id && revision.number < h.snapshot.revision
        }) {
            return Err(Violation::Older);
        }
        let named: HashSet<String> = resources.iter().filter_map(app_id_of).map(str::to_owned).collect();
        let mut next = Next::on(held);
        next.snapshot.apps.retain(|id, _| named.contains(id.as_str()));
        let members: Vec<String> = next.snapshot.members.keys().cloned().collect();
        members.iter().for_each(|id| next.remove_member(id, removed));
        next.rejections.clear();
        if !resources.iter().any(|r| matches!(r.kind, Some(ResourceKind::Settings(_)))) {
            next.snapshot.settings = Arc::default();
        }
        for resource in resources {
            next.put(resource, jwks);
        }
        Ok(next.finish(revision))
    }

    fn change(&self, delta: wire::Delta, removed: Removed, jwks: &JwksCache) -> Result<Self, Violation> {
        let revision = delta.revision.ok_or(Violation::NoRevision)?;
        if revision.store_id != self.snapshot.store_id {
            return Err(Violation::OtherStore);
        }
        if revision.number < self.snapshot.revision {
            return Err(Violation::Older);
        }
        let mut next = Next::on(Some(self));
        for resource in delta.changed {
            next.put(resource, jwks);
        }
        for resource in delta.removed {
            next.remove(resource, removed);
        }
        Ok(next.finish(revision))
    }

    /// Members that were missed and have not come back are gone; `None`: there are none.
    pub(crate) fn without_missed(&self) -> Option<Self> {
        if self.missed.is_empty() {
            return None;
        }
        let mut snapshot = Snapshot::clone(&self.snapshot);
        snapshot.members.retain(|id, _| !self.missed.contains(id));
        let rejections = self.rejections.clone();
        Some(Self { snapshot: Arc::new(snapshot), rejections, missed: BTreeSet::new() })
    }

    /// Whether a reader could tell the two apart. Apps are compared by identity: an equal one keeps its `Arc`.
    pub(crate) fn same_configuration(&self, other: &Self) -> bool {
        let (a, b) = (&self.snapshot, &other.snapshot);
        a.revision == b.revision
            && a.store_id == b.store_id
            && a.members == b.members
            && a.settings == b.settings
            && a.apps.differences(&b.apps).all(|(_, a, b)| a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(a, b)))
    }
}

/// The copy that an update is written into.
struct Next {
    snapshot: Snapshot,
    rejections: BTreeMap<String, String>,
    missed: BTreeSet<String>,
}

impl Next {
    fn on(held: Option<&Held>) -> Self {
        held.map_or_else(
            || Self { snapshot: Snapshot::default(), rejections: BTreeMap::new(), missed: BTreeSet::new() },
            |h| Self {
                snapshot: Snapshot::clone(&h.snapshot),
                rejections: h.rejections.clone(),
                missed: h.missed.clone(),
            },
        )
    }

    fn finish(mut self, revision: wire::Revision) -> Held {
        self.snapshot.revision = revision.number;
        self.snapshot.store_id = revision.store_id;
        Held { snapshot: Arc::new(self.snapshot), rejections: self.rejections, missed: self.missed }
    }

    fn put(&mut self, resource: wire::Resource, jwks: &JwksCache) {
        match resource.kind {
            Some(ResourceKind::App(app)) => {
                let verdict = accept_app(&mut self.snapshot.apps, &app, jwks);
                self.note(app.app_id, verdict);
            }
            Some(ResourceKind::Settings(settings)) => {
                let verdict = accept_settings(&mut self.snapshot.settings, &settings.document_json);
                self.note(String::new(), verdict);
            }
            Some(ResourceKind::Member(member)) => {
                self.missed.remove(&member.node_id);
                self.snapshot.members.insert(member.node_id.clone(), member);
            }
            // A kind that a newer release knows.
            None => {}
        }
    }

    fn remove(&mut self, resource: wire::Removed, removed: Removed) {
        match resource.kind {
            Some(RemovedKind::AppId(id)) => {
                self.snapshot.apps.remove(id.as_str());
                self.rejections.remove(&id);
            }
            Some(RemovedKind::NodeId(id)) => self.remove_member(&id, removed),
            None => {}
        }
    }

    fn remove_member(&mut self, id: &str, removed: Removed) {
        let draining = |member: &wire::Member| member.state() == wire::NodeState::Draining;
        let kept = removed == Removed::Missed
            && self.snapshot.members.get(id).is_some_and(|member| !draining(member));
        if kept {
            self.missed.insert(id.to_owned());
        } else {
            self.missed.remove(id);
            self.snapshot.members.remove(id);
        }
    }

    fn note(&mut self, id: String, verdict: Result<(), String>) {
        match verdict {
            Ok(()) => {
                self.rejections.remove(&id);
            }
            Err(reason) => {
                self.rejections.insert(id, reason);
            }
        }
    }
}

fn app_id_of(resource: &wire::Resource) -> Option<&str> {
    match &resource.kind {
        Some(ResourceKind::App(app)) => Some(&app.app_id),
        Some(ResourceKind::Settings(_) | ResourceKind::Member(_)) | None => None,
    }
}

fn accept_app(
    apps: &mut SharedMap<AppId, Arc<App>>,
    document: &wire::App,
    jwks: &JwksCache,
) -> Result<(), String> {
    let config = AppConfig::from_stored(&parse(&document.document_json)?).map_err(|e| e.to_string())?;
    if config.app_id.as_str() != document.app_id {
        return Err("appId: differs from the id of the resource".into());
    }
    // The version alone does not do: an app deleted and created again may be at the same one.
    if apps.get(&config.app_id).is_some_and(|app| app.version == document.version && app.config == config) {
        return Ok(());
    }
    let id = config.app_id.clone();
    let app = App::compile(config, document.version, jwks).map_err(|e| e.to_string())?;
    apps.insert(id, Arc::new(app));
    Ok(())
}

fn accept_settings(held: &mut Arc<Settings>, document: &[u8]) -> Result<(), String> {
    let settings = Settings::from_stored(&parse(document)?).map_err(|e| e.to_string())?;
    if **held != settings {
        *held = Arc::new(settings);
    }
    Ok(())
}

/// The parser's own message is left out: it may quote the document, which holds secrets.
fn parse(document: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(document).map_err(|_| "the document is not JSON".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, state: wire::NodeState) -> wire::Resource {
        let member = wire::Member { node_id: id.into(), state: state.into(), ..wire::Member::default() };
        wire::Resource { kind: Some(ResourceKind::Member(member)) }
    }

    fn full(number: u64, resources: Vec<wire::Resource>) -> Update {
        Update::Full { revision: wire::Revision { store_id: "store".into(), number }, resources }
    }

    fn members(held: &Held) -> Vec<&str> {
        let mut ids: Vec<&str> = held.snapshot.members.keys().map(String::as_str).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn members_that_may_come_back_are_kept_until_they_do_or_are_given_up() {
        use wire::NodeState::{Draining, Ready};
        let jwks = JwksCache::offline();
        let all = vec![member("a", Ready), member("b", Ready), member("c", Draining)];
        let held = Held::apply(None, full(1, all), Removed::Gone, &jwks).unwrap();
        let gone = Held::apply(Some(&held), full(2, vec![]), Removed::Gone, &jwks).unwrap();
        assert!(members(&gone).is_empty() && gone.without_missed().is_none());
        // Who was draining has said farewell.
        let missed = Held::apply(Some(&held), full(2, vec![]), Removed::Missed, &jwks).unwrap();
        assert_eq!(members(&missed), ["a", "b"]);
        let back = full(3, vec![member("b", Ready)]);
        let back = Held::apply(Some(&missed), back, Removed::Missed, &jwks).unwrap();
        assert_eq!(members(&back), ["a", "b"]);
        assert_eq!(members(&back.without_missed().unwrap()), ["b"]);
    }
}
