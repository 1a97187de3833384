//! What comes next for a receiver, on states made by hand.

use std::collections::BTreeSet;

use prost::Message as _;
use realtime_proto::generated::discovery as wire;
use tokio::time::Instant;
use wire::stream_response::Kind as ResponseKind;

use super::position::{Held, Position};
use super::update::{Audience, Update};
use crate::keys::{self, Subject};
use crate::model::State;
use crate::model::tests::{entry, stored};
use crate::store::{Changes, Entry, Event, Listing};

fn state(apps: usize) -> State {
    let app = |i| {
        let id = format!("app-{i}");
        entry(keys::app(&id), stored(&id, &"d".repeat(1000)), 1)
    };
    let mut state = State::new(crate::secrets::SecretKeys::default(), realtime_auth::JwksCache::offline());
    state.replace(Listing { revision: 10, entries: (0..apps).map(app).collect() });
    state
}

fn change(state: &mut State, id: &str) {
    let revision = state.revision + 1;
    let entry = entry(keys::app(id), stored(id, &"x".repeat(1000)), revision);
    state.apply(&Changes { revision, events: vec![Event::Put(entry)] });
}

fn next(position: &mut Position, state: &State) -> Option<Update> {
    position.next(state, "store", Instant::now())
}

fn is_snapshot(update: &Update) -> bool {
    update.messages.iter().all(|message| matches!(message, ResponseKind::Snapshot(_)))
}

fn held(number: u64) -> Held {
    Held::Revision { number, changed: BTreeSet::new(), through: number }
}

#[test]
fn a_large_snapshot_comes_in_chunks_below_a_mebibyte_of_which_the_last_says_so() {
    let state = state(2500);
    let update = next(&mut Position::new(Audience::Node, Held::Nothing), &state).unwrap();
    assert!(update.messages.len() > 2);
    let last = update.messages.len() - 1;
    let mut apps = BTreeSet::new();
    for (i, message) in update.messages.into_iter().enumerate() {
        let ResponseKind::Snapshot(chunk) = message else { panic!("a snapshot") };
        assert!(chunk.encoded_len() < 1024 * 1024);
        assert_eq!((chunk.nonce, chunk.last), (1, i == last));
        assert_eq!(chunk.revision.unwrap().number, 10);
        for resource in chunk.resources {
            if let Some(wire::resource::Kind::App(app)) = resource.kind {
                apps.insert(app.app_id);
            }
        }
    }
    assert_eq!(apps.len(), 2500);
}

#[test]
fn a_delta_that_does_not_fit_one_message_is_a_snapshot() {
    let mut state = state(1500);
    let mut position = Position::new(Audience::Node, held(10));
    assert!(!is_snapshot(&next(&mut position, &state).unwrap()));
    position.answered(1).unwrap();
    for i in 0..1000 {
        change(&mut state, &format!("app-{i}"));
    }
    assert!(is_snapshot(&next(&mut position, &state).unwrap()));
}

#[test]
fn nothing_is_sent_before_the_answer_and_nothing_without_a_change() {
    let mut state = state(3);
    let mut position = Position::new(Audience::Node, Held::Nothing);
    assert_eq!(next(&mut position, &state).unwrap().revision, 10);
    change(&mut state, "app-1");
    assert!(next(&mut position, &state).is_none(), "an update is in flight");
    assert_eq!(position.answered(7), None, "that is not its nonce");
    assert!(next(&mut position, &state).is_none());
    assert_eq!(position.answered(1), Some(10));
    assert_eq!(next(&mut position, &state).unwrap().revision, 11);
    assert_eq!(position.answered(2), Some(11));
    assert!(next(&mut position, &state).is_none());
    // A revision that is of no interest to receivers.
    let revision = state.revision + 1;
    let name = entry(keys::app_name("n"), "app-1".into(), revision);
    state.apply(&Changes { revision, events: vec![Event::Put(name)] });
    assert!(next(&mut position, &state).is_none());
}

#[test]
fn what_a_look_back_found_is_named_in_the_first_delta_only() {
    let mut state = state(3);
    let changed = BTreeSet::from([Subject::App("app-1".into()), Subject::App("gone".into())]);
    let mut position = Position::new(Audience::Node, Held::Revision { number: 4, changed, through: 10 });
    change(&mut state, "app-2");
    let mut deltas = Vec::new();
    for nonce in 1..=2 {
        let mut update = next(&mut position, &state).unwrap();
        position.answered(nonce).unwrap();
        change(&mut state, "app-0");
        let Some(ResponseKind::Delta(delta)) = update.messages.pop() else { panic!("a delta") };
        deltas.push((delta.changed.len(), delta.removed.len()));
    }
    assert_eq!(deltas, [(2, 1), (1, 0)]);
}

#[test]
fn a_receiver_that_is_ahead_waits_until_the_state_has_caught_up() {
    let mut state = state(3);
    let mut position = Position::new(Audience::Node, held(12));
    assert!(next(&mut position, &state).is_none());
    change(&mut state, "app-1");
    assert!(next(&mut position, &state).is_none());
    change(&mut state, "app-2");
    let update = next(&mut position, &state).unwrap();
    assert!(update.revision == 12 && !is_snapshot(&update));
}

#[test]
fn a_receiver_older_than_the_log_gets_a_snapshot_again() {
    let mut state = state(3);
    let mut position = Position::new(Audience::Gateway, held(10));
    next(&mut position, &state).unwrap();
    position.answered(1).unwrap();
    // The follower had to read the store anew.
    state.replace(Listing { revision: 20, entries: Vec::new() });
    assert!(is_snapshot(&next(&mut position, &state).unwrap()));
}

/// Identity and document of the applications in an update, in order.
fn documents(update: Update) -> Vec<(String, String)> {
    let resources = update.messages.into_iter().flat_map(|message| match message {
        ResponseKind::Snapshot(chunk) => chunk.resources,
        ResponseKind::Delta(delta) => delta.changed,
        other => panic!("an update, not {other:?}"),
    });
    let app = |resource: wire::Resource| match resource.kind {
        Some(wire::resource::Kind::App(app)) => {
            Some((app.app_id, String::from_utf8(app.document_json.to_vec()).unwrap()))
        }
        _ => None,
    };
    resources.filter_map(app).collect()
}

#[test]
fn what_is_not_usable_is_told_after_the_last_good_one_and_never_to_gateways() {
    let mut state = state(1);
    let broken = |state: &mut State, id: &str, document: Vec<u8>| {
        let revision = state.revision + 1;
        let entry = Entry { key: keys::app(id), value: document.into(), revision, lease: None };
        state.apply(&Changes { revision, events: vec![Event::Put(entry)] });
    };
    broken(&mut state, "app-0", b"{\"secret\":1".to_vec());
    broken(&mut state, "never-good", vec![b'x'; 1024 * 1024]);
    let good = String::from_utf8(state.apps["app-0"].for_nodes.to_vec()).unwrap();
    let due = [
        ("app-0".to_owned(), good),
        ("app-0".to_owned(), "{\"secret\":1".to_owned()),
        ("never-good".to_owned(), String::new()),
    ];
    let whole = next(&mut Position::new(Audience::Node, Held::Nothing), &state).unwrap();
    assert_eq!(documents(whole), due);
    let later = next(&mut Position::new(Audience::Node, held(10)), &state).unwrap();
    assert!(!is_snapshot(&later));
    assert_eq!(documents(later), due);
    let gateway = next(&mut Position::new(Audience::Gateway, Held::Nothing), &state).unwrap();
    let documents: Vec<usize> =
        documents(gateway).iter().skip(1).map(|(_, document)| document.len()).collect();
    assert_eq!(documents, [0, 0]);
    // A good one, or the end, and it is forgotten.
    change(&mut state, "app-0");
    let revision = state.revision + 1;
    state.apply(&Changes { revision, events: vec![Event::Delete { key: keys::app("never-good") }] });
    assert!(state.unusable.is_empty());
}
