//! The metrics of the peer mesh. On a node without peers they are 0.

use super::{Metric, counter, gauge, labelled, plain};
use crate::peers::Figures;

const LINKED: Metric = gauge("realtime_peers_linked", "Other nodes with a link.");
const UNLINKED: Metric =
    gauge("realtime_peers_unlinked", "Other nodes that discovery names and no link leads to.");
const TOPICS: Metric = gauge("realtime_mesh_topics", "Topics that other nodes are told this one wants.");
const QUEUED: Metric = gauge("realtime_mesh_queued_bytes", "Bytes of publishes that wait for other nodes.");
const ROUTED: Metric =
    counter("realtime_mesh_routed_total", "Publishes of this node that were looked up for other nodes.");
const REPLICATED: Metric =
    counter("realtime_mesh_replicated_total", "Publishes queued for other nodes, once for each of them.");
const MESSAGES: Metric =
    counter("realtime_mesh_messages_total", "Messages sent to other nodes; each is a batch of publishes.");
const RECEIVED: Metric = counter("realtime_mesh_received_total", "Publishes that other nodes have sent.");
const LOST: Metric = counter(
    "realtime_mesh_lost_total",
    "Publishes lost on their way to other nodes, once for each of them, by reason.",
);

const MIRRORED: Metric = gauge(
    "realtime_mirrored_sessions",
    "Sessions of this node that a peer has, to announce their ends should the node die.",
);
const UNMIRRORED: Metric = counter(
    "realtime_unmirrored_sessions_total",
    "Sessions of this node that found no room in the mirror: their ends are not announced should the node die.",
);
const GUARDED: Metric =
    gauge("realtime_guarded_sessions", "Sessions of other nodes that this one has for them.");
const DEPARTED: Metric = counter(
    "realtime_departed_sessions_total",
    "Sessions that died with their nodes and whose ends this one has announced.",
);

/// Every metric of the mesh, in the order of the answer.
pub const MESH_METRICS: &[Metric] = &[
    LINKED, UNLINKED, TOPICS, QUEUED, ROUTED, REPLICATED, MESSAGES, RECEIVED, MIRRORED, UNMIRRORED, GUARDED,
    DEPARTED, LOST,
];

/// The metrics of the mesh in Prometheus's text format.
#[must_use]
pub fn render_mesh(figures: &Figures) -> String {
    let mut text = String::new();
    plain(&mut text, &LINKED, figures.linked);
    plain(&mut text, &UNLINKED, figures.unlinked);
    plain(&mut text, &TOPICS, figures.topics);
    plain(&mut text, &QUEUED, figures.queued_bytes);
    plain(&mut text, &ROUTED, figures.published);
    plain(&mut text, &REPLICATED, figures.replicated);
    plain(&mut text, &MESSAGES, figures.messages);
    plain(&mut text, &RECEIVED, figures.received);
    let mirror = figures.mirror;
    plain(&mut text, &MIRRORED, mirror.mirrored as u64);
    plain(&mut text, &UNMIRRORED, mirror.unmirrored);
    plain(&mut text, &GUARDED, mirror.guarded as u64);
    plain(&mut text, &DEPARTED, figures.departed);
    let losses = figures.losses;
    let reasons = [
        ("unreachable", losses.unreachable),
        ("queue_full", losses.queue_full),
        ("queued", losses.queued),
        ("in_flight", losses.in_flight),
    ];
    labelled(&mut text, &LOST, "reason", reasons);
    text
}

#[cfg(test)]
mod tests {
    use realtime_mesh::Losses;

    use super::*;

    #[test]
    fn every_metric_is_rendered_once_and_losses_have_their_reasons() {
        let losses = Losses { unreachable: 1, queue_full: 2, queued: 3, in_flight: 4 };
        let text = render_mesh(&Figures { linked: 9, losses, ..Figures::default() });
        for metric in MESH_METRICS {
            assert_eq!(text.matches(&format!("# HELP {} ", metric.name)).count(), 1, "{}", metric.name);
        }
        let reasons = ["unreachable", "queue_full", "queued", "in_flight"];
        for (reason, lost) in reasons.into_iter().zip(1..) {
            let line = format!("realtime_mesh_lost_total{{reason=\"{reason}\"}} {lost}");
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.contains("\nrealtime_peers_linked 9\n"), "{text}");
    }
}
