//! The metrics that only processes of a cluster have: the certificate of their links, and what gateways pass on.

use super::{CertificateGauges, Metric, counter, gauge, plain};

const EXPIRES: Metric = gauge(
    "realtime_cluster_certificate_expires_in_seconds",
    "Seconds until the certificate of the links to other processes expires; 0 when it has.",
);
const RELOAD_FAILURES: Metric = counter(
    "realtime_cluster_certificate_reload_failures_total",
    "Changed cluster certificate files that could not be used; the old certificates stay.",
);
const PASSED_ON: Metric = counter(
    "realtime_gateway_passed_on_total",
    "Calls offered to another process because one could not be reached, or was draining.",
);
const UNANSWERED: Metric = counter(
    "realtime_gateway_unanswered_total",
    "Calls that were sent, changed something and got no answer.",
);
const REFUSED: Metric = counter("realtime_gateway_refused_total", "Calls that no process took.");

/// Every metric of a cluster's processes, in the order of the answer.
pub const CLUSTER_METRICS: &[Metric] = &[EXPIRES, RELOAD_FAILURES, PASSED_ON, UNANSWERED, REFUSED];

/// What has become of the calls that a gateway passes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Offered to another process.
    pub passed_on: u64,
    /// Sent, and without an answer.
    pub unanswered: u64,
    /// Taken by nobody.
    pub refused: u64,
}

/// The metrics of the links' certificate in Prometheus's text format.
#[must_use]
pub fn render_certificate(certificate: &CertificateGauges) -> String {
    let mut text = String::new();
    plain(&mut text, &EXPIRES, certificate.expires_in);
    plain(&mut text, &RELOAD_FAILURES, certificate.reload_failures);
    text
}

/// The metrics of a gateway's calls in Prometheus's text format.
#[must_use]
pub fn render_forwarded(forwarded: &Forwarded) -> String {
    let mut text = String::new();
    plain(&mut text, &PASSED_ON, forwarded.passed_on);
    plain(&mut text, &UNANSWERED, forwarded.unanswered);
    plain(&mut text, &REFUSED, forwarded.refused);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_once() {
        let certificate = CertificateGauges { expires_in: 1, reload_failures: 2 };
        let forwarded = Forwarded { passed_on: 3, unanswered: 4, refused: 5 };
        let text = render_certificate(&certificate) + &render_forwarded(&forwarded);
        for (metric, value) in CLUSTER_METRICS.iter().zip(1..) {
            assert_eq!(text.matches(&format!("# HELP {} ", metric.name)).count(), 1, "{}", metric.name);
            assert!(text.contains(&format!("\n{} {value}\n", metric.name)), "{text}");
        }
    }
}
