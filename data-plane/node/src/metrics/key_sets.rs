//! The metrics of key sets (JWKS). No URL stands in them, which could hold a secret: hosts only.

use realtime_auth::JwksStats;
use std::collections::BTreeMap;

use super::{Metric, counter, gauge, labelled, plain};

/// Hosts with a series of their own, those with the oldest sets first: a server with thousands of identity
/// providers would otherwise fill its Prometheus.
const MAX_HOSTS: usize = 100;

const SETS: Metric = gauge("realtime_jwks_sets", "Key sets (JWKS) that applications name.");
const FAILING: Metric = gauge("realtime_jwks_failing_sets", "Key sets whose latest fetch failed.");
const KEYS: Metric = gauge("realtime_jwks_keys", "Usable keys in all key sets.");
const IGNORED: Metric =
    gauge("realtime_jwks_ignored_keys", "Keys in all key sets that are not used, by reason.");
const AGE: Metric = gauge(
    "realtime_jwks_age_seconds",
    "Seconds since the latest good fetch, by host; the oldest of several.",
);
const FETCHES: Metric = counter("realtime_jwks_fetches_total", "Fetches of key sets, failed ones too.");
const FAILURES: Metric = counter("realtime_jwks_failures_total", "Failed fetches of key sets, by reason.");
const CROWDED: Metric =
    counter("realtime_jwks_crowded_total", "Callers sent away because too many were waiting for a key set.");

/// Every metric of key sets, in the order of the answer.
pub const KEY_SET_METRICS: &[Metric] = &[SETS, FAILING, KEYS, IGNORED, AGE, FETCHES, FAILURES, CROWDED];

/// The metrics of key sets in Prometheus's text format.
#[must_use]
pub fn render_key_sets(stats: &JwksStats) -> String {
    let mut text = String::new();
    plain(&mut text, &SETS, stats.sets);
    plain(&mut text, &FAILING, stats.failing);
    plain(&mut text, &KEYS, stats.keys);
    let ignored = stats.ignored;
    let reasons = [
        ("purpose", ignored.purpose),
        ("kind", ignored.kind),
        ("malformed", ignored.malformed),
        ("surplus", ignored.surplus),
    ];
    labelled(&mut text, &IGNORED, "reason", reasons);
    labelled(&mut text, &AGE, "host", oldest(&stats.ages));
    plain(&mut text, &FETCHES, stats.fetches);
    labelled(&mut text, &FAILURES, "reason", stats.failures.iter().copied());
    plain(&mut text, &CROWDED, stats.crowded);
    text
}

fn oldest(ages: &[(String, u64)]) -> Vec<(&str, u64)> {
    let mut by_host: BTreeMap<&str, u64> = BTreeMap::new();
    for (host, age) in ages {
        let oldest = by_host.entry(host).or_default();
        *oldest = (*oldest).max(*age);
    }
    let mut hosts: Vec<_> = by_host.into_iter().collect();
    hosts.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
    hosts.truncate(MAX_HOSTS);
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_once() {
        let stats = JwksStats {
            sets: 2,
            failing: 1,
            ages: vec![("a.example".into(), 5), ("a.example".into(), 9), ("b.example:8443".into(), 1)],
            failures: vec![("tls", 4), ("timeout", 0)],
            ..JwksStats::default()
        };
        let text = render_key_sets(&stats);
        for metric in KEY_SET_METRICS {
            assert_eq!(text.matches(&format!("# HELP {} ", metric.name)).count(), 1, "{}", metric.name);
        }
        for line in [
            "realtime_jwks_sets 2",
            "realtime_jwks_failing_sets 1",
            "realtime_jwks_age_seconds{host=\"a.example\"} 9",
            "realtime_jwks_age_seconds{host=\"b.example:8443\"} 1",
            "realtime_jwks_failures_total{reason=\"tls\"} 4",
            "realtime_jwks_ignored_keys{reason=\"malformed\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }

    #[test]
    fn hosts_are_bounded_and_the_oldest_stay() {
        let ages: Vec<_> = (0..500).map(|n| (format!("h{n}"), n)).collect();
        let hosts = oldest(&ages);
        assert_eq!((hosts.len(), hosts[0]), (MAX_HOSTS, ("h499", 499)));
    }
}
