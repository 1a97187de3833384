//! The first message of a stream, checked.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use realtime_proto::NodePrefix;
use realtime_proto::generated::discovery as wire;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use wire::stream_request::Kind as RequestKind;

use super::position::Held;
use super::update::Audience;
use crate::keys::Subject;
use crate::membership::{Candidate, NodeState};
use crate::shared::Shared;

/// A stream that says nothing is not kept: a client sends its hello at once.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// Longest node id, incarnation, address and version, in bytes.
const MAX_TEXT: usize = 255;
/// How long the store may take to say what has changed since an old revision; then a snapshot is the answer.
const LOOK_BACK: Duration = Duration::from_secs(2);
/// More changes than this make a snapshot the better answer.
const LOOK_BACK_CHANGES: usize = 10_000;

/// Who has connected.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) audience: Audience,
    /// For nodes: the member to be.
    pub(super) candidate: Candidate,
    held: Option<wire::Revision>,
}

/// Waits for the hello.
pub(super) async fn receive(requests: &mut Streaming<wire::StreamRequest>) -> Result<Hello, Status> {
    let first = timeout(HELLO_WAIT, requests.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came"))??
        .ok_or_else(|| Status::invalid_argument("the stream ended before its hello"))?;
    match first.kind {
        Some(RequestKind::Hello(hello)) => check(hello),
        Some(
            RequestKind::Ack(_)
            | RequestKind::Nack(_)
            | RequestKind::Report(_)
            | RequestKind::Usage(_)
            | RequestKind::Leave(_),
        )
        | None => Err(Status::invalid_argument("the first message must be a hello")),
    }
}

fn check(hello: wire::Hello) -> Result<Hello, Status> {
    let audience = match hello.role() {
        wire::Role::Node => Audience::Node,
        wire::Role::Gateway => Audience::Gateway,
        wire::Role::Unspecified => return Err(Status::invalid_argument("hello.role: must be a known role")),
    };
    let texts = [
        ("id", &hello.id, 1),
        ("incarnation", &hello.incarnation, 1),
        ("listen", &hello.listen, 0),
        ("peer", &hello.peer, 0),
        ("version", &hello.version, 0),
    ];
    for (field, text, least) in texts {
        if !(least..=MAX_TEXT).contains(&text.len()) || text.chars().any(char::is_control) {
            let rule =
                format!("hello.{field}: must be {least} to {MAX_TEXT} bytes without control characters");
            return Err(Status::invalid_argument(rule));
        }
    }
    let prefix = match hello.connection_id_prefix.as_str() {
        "" => None,
        text => Some(NodePrefix::parse(text).ok_or_else(|| {
            Status::invalid_argument("hello.connection_id_prefix: must be 8 lower-case hex digits")
        })?),
    };
    let state = NodeState::from_wire(hello.state());
    let candidate = Candidate {
        id: hello.id,
        incarnation: hello.incarnation,
        listen: hello.listen,
        peer: hello.peer,
        version: hello.version,
        state,
        prefix,
    };
    Ok(Hello { audience, candidate, held: hello.held })
}

impl Hello {
    /// What the receiver's held revision means here.
    pub(super) async fn held(&self, shared: &Shared) -> Held {
        let Some(held) = &self.held else { return Held::Nothing };
        let number = held.number;
        if *held.store_id != *shared.view {
            let of_this_store = shared.store.id() == held.store_id.split('.').next().unwrap_or_default();
            return if of_this_store { Held::OtherView { number } } else { Held::Nothing };
        }
        let (here, logged) = {
            let state = shared.model.read();
            (state.revision, state.changed_since(number).is_some())
        };
        if number > here {
            tracing::warn!(
                id = self.candidate.id,
                held = number,
                here,
                "a receiver is ahead; it waits for us"
            );
        }
        if logged {
            return Held::Revision { number, changed: BTreeSet::new(), through: number };
        }
        match timeout(LOOK_BACK, look_back(shared, number, here)).await {
            Ok(Some(changed)) => Held::Revision { number, changed, through: here },
            Ok(None) | Err(_) => Held::Nothing,
        }
    }
}

/// What the store says has changed after `number`, up to `here`.
async fn look_back(shared: &Shared, number: u64, here: u64) -> Option<BTreeSet<Subject>> {
    let mut changes = shared.store.watch("", number + 1).await.ok()?;
    let mut changed = BTreeSet::new();
    loop {
        let next = changes.next().await?.ok()?;
        changed.extend(next.events.iter().filter_map(|event| Subject::of(event.key())));
        if changed.len() > LOOK_BACK_CHANGES {
            return None;
        }
        if next.revision >= here {
            return Some(changed);
        }
    }
}
