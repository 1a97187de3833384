//! A router over the small services, applications with keys, tokens, and requests as one writes them.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use realtime_auth::{ClientAddress, Gate, GateConfig, OperatorTokens, issue};
use realtime_discovery::Snapshot;
use realtime_gateway::{GatewayState, Nodes, UnfinishedBodies, router};
use realtime_proto::AppConfig;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::services::{NOW, Node, SettingsStore, Snapshots, Store};

/// The secret of every application's keys.
pub(crate) const SECRET: &str = "correct-horse-battery-staple-0123456789abcdefghijklmnopqrstuvwxyz";
/// The operator's token.
pub(crate) const OPERATOR: &str = "operator-token-that-nobody-guesses";
/// An application that lets everyone in.
pub(crate) const APP: &str = "app";
/// Every permission that the HTTP API knows, publishing on all topics included.
pub(crate) const ALL: &[&str] = &[
    "realtime:publisher:write:topic:*",
    "realtime:admin:manage:subscribers",
    "realtime:admin:manage:connections",
    "realtime:admin:manage:application",
];

pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) store: Arc<Store>,
    pub(crate) settings: Arc<SettingsStore>,
    pub(crate) snapshots: Snapshots,
    router: Router,
}

/// A configuration document with both keys.
pub(crate) fn app_document(id: &str, more: Value) -> Value {
    let key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"], "issuer": []});
    let mut document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        document[name] = value;
    }
    document
}

/// A token of every application's admin key.
pub(crate) fn token(permissions: &[&str]) -> String {
    let claims = json!({"permissions": permissions}).to_string();
    issue::sign(Algorithm::HS256, SECRET, &claims, None).unwrap()
}

impl World {
    /// With the application [`APP`].
    pub(crate) fn new() -> Self {
        let world = Self::unconfigured();
        world.snapshots.send_replace(Some(Arc::new(Snapshot { revision: 42, ..Snapshot::default() })));
        world.app(APP, json!({}));
        world
    }

    /// Before the first snapshot.
    pub(crate) fn unconfigured() -> Self {
        let (snapshots, receiver) = watch::channel(None);
        let snapshots = Arc::new(snapshots);
        let node = Arc::new(Node::default());
        let store = Arc::new(Store::new(Arc::clone(&snapshots)));
        let settings = Arc::new(SettingsStore::default());
        let config = GateConfig { verifier_threads: 1, verifier_queue: 16, token_cache: 64 };
        let router = router(GatewayState {
            pubsub: Arc::clone(&node),
            nodes: Nodes::Local,
            apps: Arc::clone(&store),
            settings: Arc::clone(&settings),
            snapshots: receiver,
            gate: Arc::new(Gate::new(config, OperatorTokens::single(OPERATOR))),
            bodies: UnfinishedBodies::default(),
        });
        Self { node, store, settings, snapshots, router }
    }

    pub(crate) fn app(&self, id: &str, more: Value) {
        let config = AppConfig::create(&app_document(id, more), NOW).unwrap();
        self.store.put(config, 1);
    }

    pub(crate) async fn send(&self, call: Call) -> Answer {
        self.sending(call).await
    }

    /// The same, to be waited for elsewhere.
    pub(crate) fn sending(&self, call: Call) -> impl Future<Output = Answer> + Send + use<> {
        let router = self.router.clone();
        async move {
            let response = router.oneshot(call.request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let answer = Answer { status: parts.status, headers: parts.headers, body };
            answer.check();
            answer
        }
    }
}

pub(crate) struct Call {
    request: Request<Body>,
}

impl Call {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ClientAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        Self { request }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: &str) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn patch(path: &str) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(crate) fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn operator(self) -> Self {
        self.token(OPERATOR)
    }

    pub(crate) fn json(self, body: impl ToString) -> Self {
        self.header("content-type", "application/json").body(Body::from(body.to_string()))
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        *self.request.body_mut() = body;
        self
    }

    pub(crate) fn without_address(mut self) -> Self {
        self.request.extensions_mut().remove::<ClientAddress>();
        self
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What holds for every answer of the API.
    fn check(&self) {
        let all = format!("{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
        assert!(!all.contains(SECRET) && !all.contains(OPERATOR), "an answer holds a secret: {all}");
        if !self.status.is_success() {
            assert_eq!(self.header("content-type"), "application/problem+json");
            let problem = self.json();
            assert_eq!(problem["status"], self.status.as_u16());
            assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
            assert_eq!(self.headers.contains_key("www-authenticate"), self.status == 401);
            assert!(self.status != 503 || self.headers.contains_key("retry-after"));
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `status code` of a refusal.
    pub(crate) fn refusal(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.json()["code"].as_str().unwrap_or_default())
    }

    /// The fields that a refusal names.
    pub(crate) fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// A body of unknown length in `count` chunks, and how many of them were taken.
pub(crate) fn chunked(chunk: impl Into<Bytes>, count: usize) -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let chunks = std::iter::repeat_n(chunk.into(), count).map(move |chunk| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(chunk)
    });
    (Body::from_stream(tokio_stream::iter(chunks)), taken)
}
