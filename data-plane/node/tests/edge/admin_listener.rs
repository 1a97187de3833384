//! Probes and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use realtime_data_plane::metrics::{CertificateGauges, Gauges, NODE_METRICS, gate_counters, render};
use realtime_data_plane::tls::Acceptor;
use realtime_data_plane::{AdminListener, GrpcPort};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::{Node, Setup, within};
use crate::wire::Client;

async fn start(admin: AdminListener) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(admin.serve(listener, async {
        let _ = stopped.await;
    }));
    (address, stop, serving)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[tokio::test]
async fn probes_follow_the_role_and_metrics_are_rendered_on_demand() {
    let ready = Arc::new(AtomicBool::new(false));
    let readiness = Arc::clone(&ready);
    let check = move || if readiness.load(Ordering::Relaxed) { Ok(()) } else { Err("no configuration") };
    let (address, stop, serving) = start(AdminListener::new(check, || "# a metric\nm 1\n".into())).await;
    assert_eq!(Client::ask(address, &get("/livez")).await.status, 200);
    let response = Client::ask(address, &get("/readyz")).await;
    assert_eq!((response.status, &*response.body), (503, &b"not ready: no configuration\n"[..]));
    ready.store(true, Ordering::Relaxed);
    assert_eq!(Client::ask(address, &get("/readyz")).await.status, 200);
    let response = Client::ask(address, &get("/metrics")).await;
    assert_eq!((response.status, &*response.body), (200, &b"# a metric\nm 1\n"[..]));
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(Client::ask(address, &get("/")).await.refusal(), (404, "not_found".into()));
    let posted = Client::ask(address, "POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(posted.refusal(), (405, "method_not_allowed".into()));
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));

    let idle = Client::connect(address).await;
    drop(stop);
    within(serving).await.unwrap();
    assert!(idle.end().await.is_empty());
}

#[tokio::test]
async fn every_counter_is_in_the_table_and_the_table_has_no_other() {
    let node = Node::start(Setup::default()).await;
    let mut counters = node.shards.counters();
    counters.extend(gate_counters(&node.gate.stats()));
    counters.extend(node.http.counters());
    counters.extend(GrpcPort::new(None::<Acceptor>).connections().counters());
    for (name, _) in &counters {
        assert!(NODE_METRICS.iter().any(|metric| metric.name == *name), "{name} is not documented");
    }
    let tls = Some(CertificateGauges::default());
    let gauges = Gauges {
        sessions: Some(0),
        http_connections: Some(0),
        unfinished_body_bytes: Some(0),
        revision: Some(0),
        draining: Some(false),
        tls,
    };
    let text = render(&gauges, &counters);
    for metric in NODE_METRICS {
        let help = format!("# HELP {} {}\n", metric.name, metric.help);
        assert!(text.contains(&help), "{} is documented and not counted", metric.name);
    }
}
