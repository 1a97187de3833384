//! What the model holds, and how changes of the store move it from revision to revision. Pure: no store, no
//! tasks, no clock.
//!
//! Invariants: the state is that of one revision; the log names everything that changed after `log_floor`; a
//! document that does not validate leaves the last good one in place, and is told to receivers, which refuse it in
//! turn: so it is seen, and a replica that never had the good one takes it from nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use realtime_auth::{App, JwksCache};
use realtime_proto::generated::discovery as wire;
use realtime_proto::{AppId, Settings};
use serde_json::Value;

use crate::keys::{self, Subject};
use crate::membership::Member;
use crate::replicas::Replica;
use crate::secrets::{Opened, SecretKeys};
use crate::store::{Changes, Entry, Event, Listing};

/// Changes that the log remembers: a stream further behind gets a snapshot. Names only, about 100 bytes each.
const LOG_ENTRIES: usize = 16 * 1024;

/// An application as readers need it.
#[derive(Debug)]
pub(crate) struct AppEntry {
    /// Configuration and keys, and the version.
    pub(crate) app: Arc<App>,
    /// The store's revision of the document: the version, unless its secrets were encrypted anew since.
    revision: u64,
    /// The document for nodes.
    pub(crate) for_nodes: Bytes,
    /// The document for gateways.
    pub(crate) for_gateways: Bytes,
}

/// The settings as readers need them.
#[derive(Debug)]
pub(crate) struct SettingsEntry {
    /// The store's revision.
    pub(crate) version: u64,
    /// The document.
    pub(crate) document: Bytes,
}

/// The configuration and the members as of one revision.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) apps: BTreeMap<AppId, Arc<AppEntry>>,
    pub(crate) settings: Option<Arc<SettingsEntry>>,
    /// Documents of applications, and of the settings, that are not usable.
    pub(crate) unusable: BTreeMap<Subject, Bytes>,
    pub(crate) members: BTreeMap<String, Arc<Member>>,
    /// The control plane's replicas, by name.
    pub(crate) replicas: BTreeMap<String, Replica>,
    log: VecDeque<(u64, Subject)>,
    log_floor: u64,
    secrets: SecretKeys,
    jwks: JwksCache,
}

/// What receivers see of a subject.
#[derive(PartialEq)]
enum Shown {
    Member(wire::Member),
    App { version: u64, for_nodes: Bytes },
}

impl State {
    /// Nothing, at revision 0.
    pub(crate) fn new(secrets: SecretKeys, jwks: JwksCache) -> Self {
        Self {
            revision: 0,
            apps: BTreeMap::new(),
            settings: None,
            unusable: BTreeMap::new(),
            members: BTreeMap::new(),
            replicas: BTreeMap::new(),
            log: VecDeque::new(),
            log_floor: 0,
            secrets,
            jwks,
        }
    }

    /// Takes over a listing of the whole store. What has not changed keeps its compiled form; what changed
    /// since the last state is unknown, so that streams get snapshots.
    pub(crate) fn replace(&mut self, listing: Listing) {
        let empty = Self::new(self.secrets.clone(), self.jwks.clone());
        let mut before = std::mem::replace(self, empty);
        self.revision = listing.revision;
        self.log_floor = listing.revision;
        for entry in &listing.entries {
            self.put_replica(entry);
            let Some(subject) = Subject::of(&entry.key) else { continue };
            self.keep(&subject, &mut before);
            self.put(&subject, entry);
        }
    }

    /// Takes over what is held of a subject, which stays if the listing's document is not usable.
    fn keep(&mut self, subject: &Subject, before: &mut Self) {
        match subject {
            Subject::App(id) => self.apps.extend(before.apps.remove_entry(id.as_str())),
            Subject::Settings => self.settings = before.settings.take(),
            Subject::Node(id) => self.members.extend(before.members.remove_entry(id)),
        }
    }

    /// Takes over the changes of one revision. What no receiver would see as a change, such as a member's new
    /// lease, is not logged: nodes that move to another replica are no news to all others, nor is an application whose
    /// secrets were encrypted anew.
    pub(crate) fn apply(&mut self, changes: &Changes) {
        for event in &changes.events {
            if let Some(replica) = keys::replica_of(event.key()) {
                self.replicas.remove(replica);
            }
            if let Event::Put(entry) = event {
                self.put_replica(entry);
            }
            let Some(subject) = Subject::of(event.key()) else { continue };
            let shown = self.shown(&subject);
            match event {
                Event::Put(entry) => self.put(&subject, entry),
                Event::Delete { .. } => self.remove(&subject),
            }
            if shown.is_none() || shown != self.shown(&subject) {
                self.log.push_back((changes.revision, subject));
            }
        }
        self.revision = changes.revision;
        while self.log.len() > LOG_ENTRIES {
            if let Some((revision, _)) = self.log.pop_front() {
                self.log_floor = revision;
            }
        }
    }

    /// What changed after `revision`; `None` where the log does not reach back so far.
    pub(crate) fn changed_since(&self, revision: u64) -> Option<BTreeSet<Subject>> {
        if revision < self.log_floor {
            return None;
        }
        let start = self.log.partition_point(|(at, _)| *at <= revision);
        Some(self.log.range(start..).map(|(_, subject)| subject.clone()).collect())
    }

    /// What receivers see of a member or an application; `None` where every put is a change.
    fn shown(&self, subject: &Subject) -> Option<Shown> {
        match subject {
            Subject::Node(id) => self.members.get(id).map(|member| Shown::Member(member.to_wire(id))),
            // The broken document is shown, too.
            Subject::App(_) if self.unusable.contains_key(subject) => None,
            Subject::App(id) => self
                .apps
                .get(id.as_str())
                .map(|entry| Shown::App { version: entry.app.version, for_nodes: entry.for_nodes.clone() }),
            Subject::Settings => None,
        }
    }

    fn put_replica(&mut self, entry: &Entry) {
        let Some(name) = keys::replica_of(&entry.key) else { return };
        match Replica::read(entry) {
            Ok(replica) => {
                self.replicas.insert(name.to_owned(), replica);
            }
            Err(reason) => tracing::error!(key = entry.key, reason, "a stored document is not usable"),
        }
    }

    fn put(&mut self, subject: &Subject, entry: &Entry) {
        let result = match subject {
            Subject::App(id) => self.put_app(id, entry),
            Subject::Settings => {
                read_settings(entry).map(|settings| self.settings = Some(Arc::new(settings)))
            }
            Subject::Node(id) => Member::read(entry).map(|member| {
                self.members.insert(id.clone(), Arc::new(member));
            }),
        };
        let Err(reason) = result else {
            self.unusable.remove(subject);
            return;
        };
        tracing::error!(key = entry.key, reason, "a stored document is not usable; the last good one stays");
        match subject {
            Subject::App(_) | Subject::Settings => {
                self.unusable.insert(subject.clone(), entry.value.clone());
            }
            Subject::Node(_) => {}
        }
    }

    fn put_app(&mut self, id: &str, entry: &Entry) -> Result<(), String> {
        if self.apps.get(id).is_some_and(|held| held.revision == entry.revision) {
            return Ok(());
        }
        let app = read_app(entry, id, &self.secrets, &self.jwks)?;
        self.apps.insert(app.app.config.app_id.clone(), Arc::new(app));
        Ok(())
    }

    fn remove(&mut self, subject: &Subject) {
        self.unusable.remove(subject);
        match subject {
            Subject::App(id) => {
                self.apps.remove(id.as_str());
            }
            Subject::Settings => self.settings = None,
            Subject::Node(id) => {
                self.members.remove(id);
            }
        }
    }
}

fn read_app(entry: &Entry, id: &str, secrets: &SecretKeys, jwks: &JwksCache) -> Result<AppEntry, String> {
    let opened = Opened::read(entry, id, secrets)?;
    let config = opened.config(id)?;
    let for_gateways = config.to_gateway().to_string().into();
    let app = App::compile(config, opened.version, jwks).map_err(|e| e.to_string())?;
    let for_nodes = opened.for_nodes(entry);
    Ok(AppEntry { app: Arc::new(app), revision: entry.revision, for_nodes, for_gateways })
}

fn read_settings(entry: &Entry) -> Result<SettingsEntry, String> {
    Settings::from_stored(&parse(&entry.value)?).map_err(|e| e.to_string())?;
    Ok(SettingsEntry { version: entry.revision, document: entry.value.clone() })
}

/// The parser's own message is left out: it may quote the document, which holds secrets.
fn parse(document: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(document).map_err(|_| "it is not JSON".to_owned())
}
