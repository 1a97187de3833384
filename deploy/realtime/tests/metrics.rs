//! `docs/operate.md` and `/metrics` agree: every metric is documented, and every documented one is there.
#![allow(unreachable_pub, clippy::unwrap_used, dead_code)]

mod support;

use std::collections::BTreeSet;

use realtime_data_plane::metrics::{CLUSTER_METRICS, Kind};
use support::{Server, home};

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let home = home();
    // With TLS, whose metrics a server without it has no use for.
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(home.path().join("chain.pem"), pair.cert.pem()).unwrap();
    std::fs::write(home.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let server = Server::start(home.path(), &["--tls-cert", "chain.pem", "--tls-key", "key.pem"]);
    let text = server.admin("/metrics");
    let there: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.trim().to_owned()))
        .collect();
    let documented = documented("\n## Metrics\n");
    assert!(documented.len() > 10, "{documented:?}");
    assert_eq!(there, documented);
}

#[test]
fn the_metrics_of_clusters_are_documented() {
    let kind = |kind| if kind == Kind::Counter { "counter" } else { "gauge" };
    let named = CLUSTER_METRICS.iter().map(|metric| (metric.name.to_owned(), kind(metric.kind).to_owned()));
    assert_eq!(named.collect::<BTreeSet<_>>(), documented("\nProcesses of a cluster have besides:\n"));
}

/// Names and kinds in the first table after a line of `docs/operate.md`.
fn documented(after: &str) -> BTreeSet<(String, String)> {
    let document = include_str!("../../../docs/operate.md");
    let (_, section) = document.split_once(after).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .flat_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let names = cells[1].split('`').skip(1).step_by(2);
            names.map(|name| (name.to_owned(), cells[2].to_owned())).collect::<Vec<_>>()
        })
        .collect()
}
