//! The metrics of targets besides `secure/inbound`, summed over applications: a series for each application would fill
//! the Prometheus of a server with thousands. Which one it is, its status tells.

use std::fmt::Write as _;

use realtime_forwarders::{Class, KindStats, LATENCY_BOUNDS, Stats, TargetKind};

use super::{Kind, Metric, counter, gauge, head, labelled, plain};

const QUEUED: Metric =
    gauge("realtime_forwarder_queued", "Messages that wait for a target, or are on their way, by target.");
const BYTES: Metric = gauge("realtime_forwarder_queued_bytes", "Memory of messages that wait for targets.");
const SENT: Metric =
    counter("realtime_forwarder_sent_total", "Messages and presence events that targets accepted.");
const FAILED: Metric = counter(
    "realtime_forwarder_failed_total",
    "Messages and presence events that were given up or refused, by target and class.",
);
const LATENCY: Metric = Metric {
    name: "realtime_forwarder_latency_seconds",
    kind: Kind::Histogram,
    help: "Time from a message's arrival here until its target has accepted it.",
};

/// Every metric of targets, in the order of the answer.
pub const FORWARDER_METRICS: &[Metric] = &[QUEUED, BYTES, SENT, FAILED, LATENCY];

/// The metrics of targets in Prometheus's text format.
#[must_use]
pub fn render_forwarders(stats: &Stats) -> String {
    let mut text = String::new();
    let by_kind = || TargetKind::ALL.into_iter().map(|kind| (kind.name(), stats.of(kind)));
    labelled(&mut text, &QUEUED, "target", by_kind().map(|(target, of)| (target, of.queued)));
    plain(&mut text, &BYTES, stats.bytes as u64);
    labelled(&mut text, &SENT, "target", by_kind().map(|(target, of)| (target, of.sent)));
    head(&mut text, &FAILED);
    for (target, of) in by_kind() {
        for (class, count) in Class::ALL.into_iter().zip(of.failed) {
            // Writing into a String cannot fail.
            let _ =
                writeln!(text, "{}{{target=\"{target}\",class=\"{}\"}} {count}", FAILED.name, class.name());
        }
    }
    head(&mut text, &LATENCY);
    by_kind().for_each(|(target, of)| latency(&mut text, target, of));
    text
}

/// Prometheus's buckets hold what is below their bounds, smaller ones' included.
fn latency(text: &mut String, target: &str, stats: &KindStats) {
    let (name, mut count) = (LATENCY.name, 0);
    let bounds = LATENCY_BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
    for (bound, more) in bounds.zip(stats.latency) {
        count += more;
        let _ = writeln!(text, "{name}_bucket{{target=\"{target}\",le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(text, "{name}_sum{{target=\"{target}\"}} {}", stats.latency_sum);
    let _ = writeln!(text, "{name}_count{{target=\"{target}\"}} {count}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_once_with_a_series_for_each_target() {
        let mut stats = Stats { bytes: 700, ..Stats::default() };
        let sqs = &mut stats.by_kind[TargetKind::Sqs as usize];
        sqs.queued = 3;
        sqs.sent = 6;
        sqs.failed[Class::ALL.iter().position(|class| *class == Class::Denied).unwrap()] = 4;
        (sqs.latency[0], sqs.latency[3], sqs.latency[LATENCY_BOUNDS.len()]) = (1, 2, 3);
        sqs.latency_sum = 33.25;
        let text = render_forwarders(&stats);
        for metric in FORWARDER_METRICS {
            assert_eq!(text.matches(&format!("# HELP {} ", metric.name)).count(), 1, "{}", metric.name);
        }
        for line in [
            "# TYPE realtime_forwarder_latency_seconds histogram",
            "realtime_forwarder_queued{target=\"sqs\"} 3",
            "realtime_forwarder_queued{target=\"sns\"} 0",
            "realtime_forwarder_queued_bytes 700",
            "realtime_forwarder_sent_total{target=\"sqs\"} 6",
            "realtime_forwarder_failed_total{target=\"sqs\",class=\"denied\"} 4",
            "realtime_forwarder_failed_total{target=\"sns\",class=\"denied\"} 0",
            "realtime_forwarder_latency_seconds_bucket{target=\"sqs\",le=\"0.01\"} 1",
            "realtime_forwarder_latency_seconds_bucket{target=\"sqs\",le=\"0.05\"} 1",
            "realtime_forwarder_latency_seconds_bucket{target=\"sqs\",le=\"0.1\"} 3",
            "realtime_forwarder_latency_seconds_bucket{target=\"sqs\",le=\"10\"} 3",
            "realtime_forwarder_latency_seconds_bucket{target=\"sqs\",le=\"+Inf\"} 6",
            "realtime_forwarder_latency_seconds_sum{target=\"sqs\"} 33.25",
            "realtime_forwarder_latency_seconds_count{target=\"sqs\"} 6",
            "realtime_forwarder_latency_seconds_count{target=\"sns\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
