//! The metrics of the stream to the control plane, in every role that has one.

use realtime_discovery::Figures;

use super::{Metric, counter, gauge, plain};

const CONNECTED: Metric =
    gauge("realtime_control_plane_connected", "1 while there is a stream to the control plane.");
const STREAMS: Metric =
    counter("realtime_control_plane_streams_total", "Streams to the control plane that were opened.");
const SNAPSHOTS: Metric =
    counter("realtime_config_snapshots_total", "Configurations that came as a whole and were applied.");
const DELTAS: Metric =
    counter("realtime_config_deltas_total", "Changes of the configuration that were applied.");
const REFUSED: Metric = gauge(
    "realtime_config_refused",
    "Applications, or the settings, of which the newest version is unusable and the last good one in force.",
);

/// Every metric of the stream, in the order of the answer.
pub const DISCOVERY_METRICS: &[Metric] = &[CONNECTED, STREAMS, SNAPSHOTS, DELTAS, REFUSED];

/// The metrics of the stream in Prometheus's text format.
#[must_use]
pub fn render_discovery(figures: &Figures) -> String {
    let mut text = String::new();
    plain(&mut text, &CONNECTED, u64::from(figures.connected));
    plain(&mut text, &STREAMS, figures.streams);
    plain(&mut text, &SNAPSHOTS, figures.snapshots);
    plain(&mut text, &DELTAS, figures.deltas);
    plain(&mut text, &REFUSED, figures.refused);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_once() {
        let figures = Figures { connected: true, streams: 2, snapshots: 3, deltas: 4, refused: 5 };
        let text = render_discovery(&figures);
        for (metric, value) in DISCOVERY_METRICS.iter().zip(1..) {
            assert_eq!(text.matches(&format!("# HELP {} ", metric.name)).count(), 1, "{}", metric.name);
            assert!(text.contains(&format!("\n{} {value}\n", metric.name)), "{text}");
        }
    }
}
