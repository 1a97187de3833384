//! What a stream sends next: a delta where what the receiver holds is known and the changes fit one message,
//! else a snapshot in chunks.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use realtime_proto::generated::discovery as wire;
use wire::removed::Kind as RemovedKind;
use wire::resource::Kind as ResourceKind;
use wire::stream_response::Kind as ResponseKind;

use crate::keys::Subject;
use crate::model::{AppEntry, State};

/// Resources in one message: below the contract's 1 MiB with room for the message's own fields. A document has
/// at most 256 KiB, so that every resource fits.
const CHUNK_BYTES: usize = 960 * 1024;
/// Tag and length around a resource in its message.
const FRAME_BYTES: usize = 8;
/// A good document has at most 256 KiB, and a little more as it is stored.
const MAX_UNUSABLE_BYTES: usize = 512 * 1024;

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Gets everything.
    Node,
    /// Gets no `authKey` secrets and no AWS credentials.
    Gateway,
}

/// An update, ready to go.
#[derive(Debug)]
pub(super) struct Update {
    /// The revision that it leads to.
    pub(super) revision: u64,
    /// One delta, or the chunks of a snapshot.
    pub(super) messages: Vec<ResponseKind>,
}

/// Everything that the state has.
pub(super) fn snapshot(state: &State, store_id: &str, audience: Audience, nonce: u64) -> Update {
    let apps = state.apps.iter().map(|(id, entry)| app(id.as_str(), entry, audience));
    let members = state.members.iter().map(|(id, member)| ResourceKind::Member(member.to_wire(id)));
    // After the good ones, which stay in force.
    let refused = state.unusable.iter().filter_map(|(subject, bytes)| unusable(subject, bytes, audience));
    let resources = settings(state).into_iter().chain(members).chain(apps).chain(refused);
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for kind in resources {
        let resource = wire::Resource { kind: Some(kind) };
        let size = resource.encoded_len() + FRAME_BYTES;
        if bytes + size > CHUNK_BYTES && bytes > 0 {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(resource);
        }
    }
    let last = chunks.len() - 1;
    let message = |(i, resources)| {
        let revision = Some(revision(state, store_id));
        ResponseKind::Snapshot(wire::Snapshot { revision, nonce, last: i == last, resources })
    };
    Update { revision: state.revision, messages: chunks.into_iter().enumerate().map(message).collect() }
}

/// What `changed` is now; `None` when it does not fit one message.
pub(super) fn delta(
    state: &State,
    store_id: &str,
    audience: Audience,
    nonce: u64,
    changed: &BTreeSet<Subject>,
) -> Option<Update> {
    let mut delta = wire::Delta {
        revision: Some(revision(state, store_id)),
        nonce,
        changed: Vec::new(),
        removed: Vec::new(),
    };
    let mut bytes = 0;
    for subject in changed {
        let refused = state.unusable.get(subject).and_then(|bytes| unusable(subject, bytes, audience));
        let exists: Vec<ResourceKind> = now(state, subject, audience).into_iter().chain(refused).collect();
        if let (true, Some(kind)) = (exists.is_empty(), removal(subject)) {
            let removed = wire::Removed { kind: Some(kind) };
            bytes += removed.encoded_len() + FRAME_BYTES;
            delta.removed.push(removed);
        }
        for kind in exists {
            let resource = wire::Resource { kind: Some(kind) };
            bytes += resource.encoded_len() + FRAME_BYTES;
            delta.changed.push(resource);
        }
        if bytes > CHUNK_BYTES {
            return None;
        }
    }
    Some(Update { revision: state.revision, messages: vec![ResponseKind::Delta(delta)] })
}

/// The subject's resource, if it exists.
fn now(state: &State, subject: &Subject, audience: Audience) -> Option<ResourceKind> {
    match subject {
        Subject::App(id) => state.apps.get(id.as_str()).map(|entry| app(id, entry, audience)),
        Subject::Settings => settings(state),
        Subject::Node(id) => state.members.get(id).map(|member| ResourceKind::Member(member.to_wire(id))),
    }
}

/// Settings are never removed.
fn removal(subject: &Subject) -> Option<RemovedKind> {
    match subject {
        Subject::App(id) => Some(RemovedKind::AppId(id.clone())),
        Subject::Node(id) => Some(RemovedKind::NodeId(id.clone())),
        Subject::Settings => None,
    }
}

fn app(id: &str, entry: &AppEntry, audience: Audience) -> ResourceKind {
    let document = match audience {
        Audience::Node => &entry.for_nodes,
        Audience::Gateway => &entry.for_gateways,
    };
    let version = entry.app.version;
    ResourceKind::App(wire::App { app_id: id.to_owned(), version, document_json: document.clone() })
}

/// A document that receivers refuse, for the reason that they find themselves. Gateways, which must not have its secrets,
/// get an empty one, as does everybody in place of one that is longer than any that could be good.
fn unusable(subject: &Subject, document: &Bytes, audience: Audience) -> Option<ResourceKind> {
    let fits = document.len() <= MAX_UNUSABLE_BYTES;
    let document_json = match audience {
        Audience::Node if fits => document.clone(),
        Audience::Node | Audience::Gateway => Bytes::new(),
    };
    match subject {
        Subject::App(id) => {
            Some(ResourceKind::App(wire::App { app_id: id.clone(), version: 0, document_json }))
        }
        Subject::Settings => Some(ResourceKind::Settings(wire::Settings { version: 0, document_json })),
        Subject::Node(_) => None,
    }
}

fn settings(state: &State) -> Option<ResourceKind> {
    let entry = state.settings.as_ref()?;
    let document_json = entry.document.clone();
    Some(ResourceKind::Settings(wire::Settings { version: entry.version, document_json }))
}

fn revision(state: &State, store_id: &str) -> wire::Revision {
    wire::Revision { store_id: store_id.to_owned(), number: state.revision }
}
