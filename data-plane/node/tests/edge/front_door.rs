//! The front door as an HTTP server: what is no session, bounds, and the stop.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use realtime_auth::ClientAddress;
use realtime_data_plane::{Fallback, FrontDoorLimits};
use serde_json::json;
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;

use crate::fixture::{Node, Setup, token};
use crate::wire::{Client, opening};

const GET: &str = "GET /api/health HTTP/1.1\r\nHost: h\r\n\r\n";

/// Answers with method, path, client address and body, once `gate` lets it.
fn echo(gate: Arc<Semaphore>) -> Fallback {
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            let address = request.extensions().get::<ClientAddress>().unwrap().0;
            let head = format!("{} {} {address} ", request.method(), request.uri().path());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = [head.as_bytes(), &body].concat();
            Ok(Response::new(Full::new(Bytes::from(answer)).map_err(|never| match never {}).boxed()))
        }
    }))
}

fn open_gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))
}

#[tokio::test]
async fn without_a_fallback_other_paths_are_not_found() {
    let node = Node::start(Setup::default()).await;
    for path in ["/", "/apps", "/appsx/a", "/api/health"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(Client::ask(node.address, &request).await.refusal(), (404, "not_found".into()), "{path}");
    }
}

#[tokio::test]
async fn the_fallback_gets_everything_else_with_the_clients_address() {
    let settings = json!({"trustedProxies": ["127.0.0.1"]});
    let fallback = Some(echo(open_gate()));
    let node = Node::start(Setup { fallback, settings, ..Setup::default() }).await;
    let mut client = Client::connect(node.address).await;
    client.send(b"POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody").await;
    assert_eq!(client.response().await.body, b"POST /api/x 127.0.0.1 body");
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n").await;
    assert_eq!(client.response().await.body, b"GET / 192.0.2.7 ");
    // The same connection may still become a session.
    client.send(opening(&format!("/apps/a?access_token={}", token("s")), "").as_bytes()).await;
    assert_eq!(client.json_after_upgrade().await["messageType"], "welcome");
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let request = format!("GET / HTTP/1.1\r\n{hosts}\r\n");
        assert_eq!(Client::ask(node.address, &request).await.refusal(), (400, "invalid_request".into()));
    }
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(16 * 1024));
    assert_eq!(Client::ask(node.address, &long).await.refusal(), (431, "headers_too_large".into()));
}

#[tokio::test]
async fn the_fallback_serves_without_a_configuration_and_while_draining() {
    let setup = Setup { fallback: Some(echo(open_gate())), ..Setup::default() };
    let node = Node::without_configuration(&setup).await;
    node.draining.send_replace(true);
    assert_eq!(Client::ask(node.address, GET).await.status, 200);
}

#[tokio::test]
async fn at_the_bound_a_new_connection_waits_until_one_has_no_request() {
    let limits = FrontDoorLimits { connections: 1, ..FrontDoorLimits::default() };
    let gate = Arc::new(Semaphore::new(0));
    let node =
        Node::start(Setup { limits, fallback: Some(echo(Arc::clone(&gate))), ..Setup::default() }).await;
    let mut first = Client::connect(node.address).await;
    first.send(GET.as_bytes()).await;
    node.eventually("the first connection", |node| node.http.open() == 1).await;
    let mut second = Client::connect(node.address).await;
    second.send(GET.as_bytes()).await;
    gate.add_permits(1);
    assert_eq!(first.response().await.status, 200);
    assert!(!second.has_bytes(), "served over the bound");
    gate.add_permits(1);
    assert_eq!(second.response().await.status, 200);
    // The first one has given way.
    assert!(first.end().await.is_empty());
    assert_eq!(node.http.open(), 1);
}

/// Connections that send nothing, or half a request, keep nobody out.
#[tokio::test]
async fn at_the_bound_whoever_has_been_silent_for_the_longest_gives_way() {
    let limits = FrontDoorLimits { connections: 3, ..FrontDoorLimits::default() };
    let node = Node::start(Setup { limits, fallback: Some(echo(open_gate())), ..Setup::default() }).await;
    let mut silent = Vec::new();
    for half in ["", "GET / HTTP/1.1\r\nHost: h\r\nX: ", "POST / HTTP/1.1\r\n"] {
        let mut client = Client::connect(node.address).await;
        client.send(half.as_bytes()).await;
        silent.push(client);
    }
    node.eventually("all places taken", |node| node.http.open() == 3).await;
    for _ in 0..20 {
        let mut user = Client::connect(node.address).await;
        user.send(opening(&format!("/apps/a?access_token={}", token("s")), "").as_bytes()).await;
        assert_eq!(user.json_after_upgrade().await["messageType"], "welcome");
    }
    // Sessions leave their places, so that one for all of them was enough.
    assert!(silent.remove(0).end().await.is_empty());
    assert_eq!(node.http.open(), 2, "the others may stay");
}

#[tokio::test]
async fn a_session_does_not_count_against_the_bound() {
    let limits = FrontDoorLimits { connections: 1, ..FrontDoorLimits::default() };
    let node = Node::start(Setup { limits, ..Setup::default() }).await;
    let mut sessions = Vec::new();
    for subject in ["a", "b", "c"] {
        let mut client = Client::connect(node.address).await;
        client.send(opening(&format!("/apps/a?access_token={}", token(subject)), "").as_bytes()).await;
        assert_eq!(client.json_after_upgrade().await["messageType"], "welcome");
        sessions.push(client);
    }
    assert_eq!(node.shards.open_sessions(), 3);
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_ended() {
    let limits = FrontDoorLimits { headers_within: Duration::from_millis(300), ..FrontDoorLimits::default() };
    let node = Node::start(Setup { limits, fallback: Some(echo(open_gate())), ..Setup::default() }).await;
    let mut slow = Client::connect(node.address).await;
    slow.send(b"GET / HTTP/1.1\r\nHost").await;
    assert!(!String::from_utf8(slow.end().await).unwrap().contains(" 200 "));
    let mut idle = Client::connect(node.address).await;
    idle.send(GET.as_bytes()).await;
    assert_eq!(idle.response().await.status, 200);
    assert!(idle.end().await.is_empty());
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_503() {
    let limits = FrontDoorLimits { answer_within: Duration::from_millis(50), ..FrontDoorLimits::default() };
    let closed = Arc::new(Semaphore::new(0));
    let node = Node::start(Setup { limits, fallback: Some(echo(closed)), ..Setup::default() }).await;
    assert_eq!(Client::ask(node.address, GET).await.refusal(), (503, "unavailable".into()));
}

#[tokio::test]
async fn an_old_connection_ends_after_the_request_at_hand() {
    let limits = FrontDoorLimits { connection_age: Duration::from_millis(300), ..FrontDoorLimits::default() };
    let gate = Arc::new(Semaphore::new(0));
    let node =
        Node::start(Setup { limits, fallback: Some(echo(Arc::clone(&gate))), ..Setup::default() }).await;
    let mut client = Client::connect(node.address).await;
    client.send(GET.as_bytes()).await;
    let idle = Client::connect(node.address).await;
    assert!(idle.end().await.is_empty(), "an old idle connection stays");
    gate.add_permits(1);
    assert_eq!(client.response().await.status, 200);
    assert!(client.end().await.is_empty());
}

#[tokio::test]
async fn a_stop_lets_requests_finish_ends_idle_connections_and_keeps_sessions() {
    let gate = Arc::new(Semaphore::new(1));
    let mut node = Node::start(Setup { fallback: Some(echo(Arc::clone(&gate))), ..Setup::default() }).await;
    let mut idle = Client::connect(node.address).await;
    idle.send(GET.as_bytes()).await;
    assert_eq!(idle.response().await.status, 200);
    let mut session = Client::connect(node.address).await;
    session.send(opening(&format!("/apps/a?access_token={}", token("s")), "").as_bytes()).await;
    assert_eq!(session.json_after_upgrade().await["messageType"], "welcome");
    let mut busy = Client::connect(node.address).await;
    busy.send(GET.as_bytes()).await;
    node.eventually("both are accepted", |node| node.http.open() == 2).await;
    node.stop();
    assert!(idle.end().await.is_empty());
    let (address, shards) = (node.address, Arc::clone(&node.shards));
    gate.add_permits(1);
    let response = busy.response().await;
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    node.stopped().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the listener is still open");
    assert_eq!(shards.open_sessions(), 1);
}

#[tokio::test]
async fn a_stop_cuts_off_what_does_not_finish() {
    let limits = FrontDoorLimits { finish_within: Duration::from_millis(50), ..FrontDoorLimits::default() };
    let closed = Arc::new(Semaphore::new(0));
    let mut node = Node::start(Setup { limits, fallback: Some(echo(closed)), ..Setup::default() }).await;
    let mut busy = Client::connect(node.address).await;
    busy.send(GET.as_bytes()).await;
    node.eventually("it is accepted", |node| node.http.open() == 1).await;
    node.stop();
    node.stopped().await;
    assert!(busy.end().await.is_empty());
}
