//! What a node tells Prometheus: the table of its metrics, and their rendering in the text format.
//!
//! Never here: counting. The figures are read where they are kept, when a scraper asks.

mod cluster;
mod discovery;
mod forwarders;
mod key_sets;
mod mesh;

use std::fmt::Write as _;

use realtime_auth::GateStats;

pub use cluster::{CLUSTER_METRICS, Forwarded, render_certificate, render_forwarded};
pub use discovery::{DISCOVERY_METRICS, render_discovery};
pub use forwarders::{FORWARDER_METRICS, render_forwarders};
pub use key_sets::{KEY_SET_METRICS, render_key_sets};
pub use mesh::{MESH_METRICS, render_mesh};

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only up, but for a restart.
    Counter,
    /// Up and down.
    Gauge,
    /// Counters of values up to bounds, their sum and their number.
    Histogram,
}

/// One metric's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name of its series.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it counts.
    pub help: &'static str,
}

/// The gauges, besides the figures of [`crate::Shards::counters`] and [`gate_counters`]. What is `None` is nothing that
/// the process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open sessions.
    pub sessions: Option<u64>,
    /// Connections that speak HTTP.
    pub http_connections: Option<u64>,
    /// Memory of request bodies that have begun to arrive at the HTTP API.
    pub unfinished_body_bytes: Option<u64>,
    /// Revision of the configuration in force; 0: none.
    pub revision: Option<u64>,
    /// Takes no new sessions.
    pub draining: Option<bool>,
    /// The public port's certificate; `None`: no TLS.
    pub tls: Option<CertificateGauges>,
}

/// A certificate that is read again when its files change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertificateGauges {
    /// Seconds until it expires; 0 when it has.
    pub expires_in: u64,
    /// Changed files that could not be used.
    pub reload_failures: u64,
}

const SESSIONS: &str = "realtime_sessions";
const HTTP_CONNECTIONS: &str = "realtime_http_connections";
const REVISION: &str = "realtime_config_revision";
const DRAINING: &str = "realtime_draining";
const BUILD_INFO: &str = "realtime_build_info";
const TOKENS_CACHED: &str = "realtime_tokens_cached_total";
const TOKENS_VERIFIED: &str = "realtime_tokens_verified_total";
const TOKENS_REJECTED: &str = "realtime_tokens_rejected_total";
pub(crate) const TLS_HANDSHAKES: &str = "realtime_tls_handshakes_total";
pub(crate) const TLS_FAILURES: &str = "realtime_tls_handshake_failures_total";
pub(crate) const GRPC_CONNECTIONS: &str = "realtime_grpc_connections";
pub(crate) const GRPC_REFUSALS: &str = "realtime_grpc_connections_refused_total";
pub(crate) const GRPC_FAILURES: &str = "realtime_grpc_handshake_failures_total";
pub(crate) const PROXY_REFUSALS: &str = "realtime_proxy_protocol_refusals_total";
const TLS_EXPIRES: &str = "realtime_tls_certificate_expires_in_seconds";
const TLS_RELOAD_FAILURES: &str = "realtime_tls_reload_failures_total";
const VERIFIER_FULL: &str = "realtime_verifier_queue_full_total";
const VERIFIER_QUEUE: &str = "realtime_verifier_queue";
const UNFINISHED_BODIES: &str = "realtime_unfinished_body_bytes";
pub(crate) const INBOX_PUBLISHES: &str = "realtime_inbox_publishes";

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

/// Every metric of a node, in the order of the answer.
pub const NODE_METRICS: &[Metric] = &[
    gauge(BUILD_INFO, "Always 1; the label tells the version."),
    gauge(SESSIONS, "Open WebSocket sessions."),
    gauge(HTTP_CONNECTIONS, "Open connections that speak HTTP, sessions not counted."),
    gauge(GRPC_CONNECTIONS, "Open connections of the gRPC port, those that have not spoken yet included."),
    gauge("realtime_connections", "Connections that shards hold: sessions, and those being closed."),
    gauge("realtime_topics", "Topics with a subscriber, over all shards."),
    gauge("realtime_subscriptions", "Entries of connections in topics, those in main included."),
    gauge("realtime_unsent_bytes", "Bytes that clients' sockets have refused to take so far."),
    gauge("realtime_unfinished_bytes", "Memory of frames and messages that clients have begun to send."),
    gauge(UNFINISHED_BODIES, "Memory of HTTP request bodies that callers have begun to send."),
    gauge(INBOX_PUBLISHES, "Publishes that wait for a shard."),
    gauge(VERIFIER_QUEUE, "Tokens that wait for a verification thread."),
    gauge(REVISION, "Revision of the configuration in force; 0 before the first."),
    gauge(DRAINING, "1 while the node takes no new sessions."),
    counter("realtime_sessions_opened_total", "Sessions that got their welcome."),
    counter("realtime_sessions_closed_total", "Sessions that ended, for whatever reason."),
    counter("realtime_received_bytes_total", "Bytes read from WebSocket clients."),
    counter("realtime_sent_bytes_total", "Bytes that WebSocket clients' sockets took."),
    counter("realtime_writes_total", "Write calls on WebSocket connections."),
    counter("realtime_frames_received_total", "Clients' frames that became an event."),
    counter("realtime_publishes_total", "Publishes of clients and services."),
    counter("realtime_encodings_total", "Frames encoded, over all wire variants."),
    counter("realtime_deliveries_total", "Frames queued to connections by publishes."),
    counter("realtime_refusals_total", "Clients' requests answered with an error frame."),
    counter("realtime_slow_consumers_total", "Sessions closed with 4008: too much unsent."),
    counter("realtime_idle_timeouts_total", "Sessions closed with 4010: idle or dead."),
    counter("realtime_violations_total", "Sessions closed with 1002, 1007, 1008 or 1009."),
    counter("realtime_subject_limit_closes_total", "Connections closed with 4009: the subject's limit."),
    counter(
        "realtime_unconfirmed_welcomes_total",
        "Welcomes sent after 250 ms although a peer had not confirmed the topic.",
    ),
    counter(
        "realtime_stalled_turns_total",
        "Turns that read nothing because another shard's inbox, or the mesh's, was full.",
    ),
    counter(TLS_HANDSHAKES, "TLS handshakes on the public port that were completed."),
    counter(TLS_FAILURES, "TLS handshakes on the public port that failed, took too long or were no TLS."),
    counter(PROXY_REFUSALS, "Connections without the PROXY protocol's header that they must begin with."),
    counter(GRPC_REFUSALS, "Connections to the gRPC port that found every place in use."),
    counter(
        GRPC_FAILURES,
        "Connections to the gRPC port that failed in TLS, spoke no HTTP/2, took too long or gave way.",
    ),
    gauge(TLS_EXPIRES, "Seconds until the TLS certificate in use expires; 0 when it has."),
    counter(
        TLS_RELOAD_FAILURES,
        "Changed certificate files that could not be used; the old certificate stays.",
    ),
    counter(TOKENS_CACHED, "Tokens admitted from memory."),
    counter(TOKENS_VERIFIED, "Tokens admitted after a signature check."),
    counter(TOKENS_REJECTED, "Tokens whose signature did not verify."),
    counter(VERIFIER_FULL, "Callers sent away because the verification queue was full."),
];

/// What the gate has counted and holds, by metric name.
#[must_use]
pub fn gate_counters(stats: &GateStats) -> [(&'static str, u64); 5] {
    [
        (VERIFIER_QUEUE, stats.waiting),
        (TOKENS_CACHED, stats.cached),
        (TOKENS_VERIFIED, stats.verified),
        (TOKENS_REJECTED, stats.rejected),
        (VERIFIER_FULL, stats.queue_full),
    ]
}

/// The node's metrics in Prometheus's text format. A counter that is not in [`NODE_METRICS`] is left out.
#[must_use]
pub fn render(gauges: &Gauges, counters: &[(&'static str, u64)]) -> String {
    let mut text = String::with_capacity(NODE_METRICS.len() * 160);
    for metric in NODE_METRICS {
        let value = match metric.name {
            BUILD_INFO => {
                head(&mut text, metric);
                // Writing into a String cannot fail.
                let _ = writeln!(text, "{BUILD_INFO}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
                continue;
            }
            SESSIONS => gauges.sessions,
            HTTP_CONNECTIONS => gauges.http_connections,
            UNFINISHED_BODIES => gauges.unfinished_body_bytes,
            REVISION => gauges.revision,
            DRAINING => gauges.draining.map(u64::from),
            TLS_EXPIRES => gauges.tls.map(|tls| tls.expires_in),
            TLS_RELOAD_FAILURES => gauges.tls.map(|tls| tls.reload_failures),
            name => counters.iter().find(|(counted, _)| *counted == name).map(|(_, value)| *value),
        };
        if let Some(value) = value {
            plain(&mut text, metric, value);
        }
    }
    text
}

// Writing into a String cannot fail.
fn plain(text: &mut String, metric: &Metric, value: u64) {
    head(text, metric);
    let _ = writeln!(text, "{} {value}", metric.name);
}

/// The values come from tables of this program, or are host names: nothing in them needs escaping.
fn labelled<'v>(
    text: &mut String,
    metric: &Metric,
    label: &str,
    series: impl IntoIterator<Item = (&'v str, u64)>,
) {
    head(text, metric);
    for (name, value) in series {
        let _ = writeln!(text, "{}{{{label}=\"{name}\"}} {value}", metric.name);
    }
}

fn head(text: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_and_counters_are_rendered_with_their_help_and_type() {
        let gauges = Gauges {
            sessions: Some(3),
            http_connections: Some(2),
            unfinished_body_bytes: Some(5),
            revision: Some(17),
            draining: Some(true),
            tls: None,
        };
        let text = render(&gauges, &[("realtime_publishes_total", 42)]);
        let expected = concat!(
            "# HELP realtime_publishes_total Publishes of clients and services.\n",
            "# TYPE realtime_publishes_total counter\n",
            "realtime_publishes_total 42\n",
        );
        assert!(text.contains(expected), "{text}");
        for line in ["realtime_sessions 3", "realtime_config_revision 17", "realtime_draining 1"] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.contains("realtime_build_info{version=\""), "{text}");
        assert!(!text.contains("realtime_writes_total"), "a counter that was not read");
    }

    #[test]
    fn names_are_unique_and_counters_end_in_total() {
        for (i, metric) in NODE_METRICS.iter().enumerate() {
            assert_eq!(NODE_METRICS.iter().position(|m| m.name == metric.name), Some(i));
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }
}
