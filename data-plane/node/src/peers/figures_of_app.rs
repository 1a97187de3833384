//! How an application fares: on this node, and over several.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use realtime_forwarders::{LastError, TargetState, TargetStatus};
use realtime_proto::AppId;
use realtime_proto::generated::peer as wire;

use crate::Shards;

/// This node's figures; `node` is its id.
pub(super) fn here(shards: &Shards, node: &str, app: &AppId) -> wire::AppFigures {
    let targets = shards.forwarders().map(|forwarders| forwarders.status(app)).unwrap_or_default();
    wire::AppFigures {
        connections: shards.app(app.as_str()).map_or(0, |app| app.connections()),
        forwarders: targets.into_iter().map(|target| forwarder(node, target)).collect(),
    }
}

/// Connections and queues added up; of each target the worst state and the latest error.
pub(super) fn merged(all: impl IntoIterator<Item = wire::AppFigures>) -> wire::AppFigures {
    let (mut connections, mut by_target) = (0, BTreeMap::<String, wire::Forwarder>::new());
    for figures in all {
        connections += figures.connections;
        for forwarder in figures.forwarders {
            let sum = by_target.entry(forwarder.target.clone()).or_default();
            sum.target = forwarder.target;
            sum.state = sum.state.max(forwarder.state);
            sum.queued += forwarder.queued;
            let errors = [sum.last_error.take(), forwarder.last_error];
            sum.last_error = errors.into_iter().flatten().max_by_key(|error| error.at_ms);
        }
    }
    wire::AppFigures { connections, forwarders: by_target.into_values().collect() }
}

fn forwarder(node: &str, target: TargetStatus) -> wire::Forwarder {
    let state = match target.state {
        TargetState::Sound => wire::ForwarderState::Ok,
        TargetState::Failing => wire::ForwarderState::Failing,
        TargetState::Open => wire::ForwarderState::Open,
    };
    wire::Forwarder {
        target: target.kind.name().to_owned(),
        state: state.into(),
        queued: target.queued as u64,
        last_error: target.last_error.map(|error| last_error(node, &error)),
    }
}

fn last_error(node: &str, LastError { failure, at }: &LastError) -> wire::ForwarderError {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    wire::ForwarderError {
        class: failure.class().name().to_owned(),
        message: failure.to_string(),
        at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        node: node.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(
        target: &str,
        state: wire::ForwarderState,
        queued: u64,
        failed: Option<(u64, &str)>,
    ) -> wire::AppFigures {
        let last_error = failed.map(|(at_ms, node)| wire::ForwarderError {
            class: "network".into(),
            message: "no connection to the endpoint".into(),
            at_ms,
            node: node.into(),
        });
        let target = target.to_owned();
        let forwarders = vec![wire::Forwarder { target, state: state.into(), queued, last_error }];
        wire::AppFigures { connections: 10, forwarders }
    }

    #[test]
    fn the_worst_state_and_the_latest_error_of_all_nodes_stand_for_the_target() {
        use wire::ForwarderState::{Failing, Ok, Open};
        let sum = merged([
            figures("sqs", Ok, 0, None),
            figures("sqs", Open, 5, Some((2000, "b"))),
            figures("sns", Failing, 1, None),
            figures("sqs", Failing, 7, Some((1000, "a"))),
        ]);
        assert_eq!(sum.connections, 40);
        let told: Vec<_> = sum
            .forwarders
            .iter()
            .map(|f| (&*f.target, f.state(), f.queued, f.last_error.as_ref().map(|e| &*e.node)))
            .collect();
        assert_eq!(told, [("sns", Failing, 1, None), ("sqs", Open, 12, Some("b"))]);
    }
}
