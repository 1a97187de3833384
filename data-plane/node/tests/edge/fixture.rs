//! A node in this process: shards, gate and front door on a port of their own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_auth::{App, Gate, GateConfig, JwksCache, OperatorTokens, issue};
use realtime_data_plane::front_door::HttpConnections;
use realtime_data_plane::tls::{Certificate, Tls};
use realtime_data_plane::{Fallback, FrontDoor, FrontDoorLimits, Shards, ShardsConfig};
use realtime_discovery::Snapshot;
use realtime_forwarders::{Forwarders, Options};
use realtime_proto::app::Algorithm;
use realtime_proto::{AddressList, AppConfig, NodePrefix, Settings};
use realtime_testkit::Authority;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) const AUTH_SECRET: &str = "a secret for clients of the tests";
pub(crate) const ADMIN_SECRET: &str = "a secret for services of the tests";
pub(crate) const OPERATOR_TOKEN: &str = "operator-token-of-the-tests";

/// Issues the certificate of every TLS node here.
pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
pub(crate) static TLS: LazyLock<Tls> = LazyLock::new(|| {
    let pair = AUTHORITY.issue();
    let certificate = Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).expect("a pair");
    Tls::new(certificate).expect("TLS")
});

/// Fails a test that waits for what never comes.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("within 20 seconds")
}

/// What a test may choose.
pub(crate) struct Setup {
    pub(crate) apps: Vec<Value>,
    pub(crate) settings: Value,
    pub(crate) gate: GateConfig,
    pub(crate) limits: FrontDoorLimits,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) tls: bool,
    pub(crate) proxies: Option<AddressList>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            apps: vec![app("a", json!({}))],
            settings: json!({}),
            gate: GateConfig { verifier_threads: 1, verifier_queue: 16, token_cache: 16 },
            limits: FrontDoorLimits::default(),
            fallback: None,
            tls: false,
            proxies: None,
        }
    }
}

/// A document with these attributes besides the required ones.
pub(crate) fn app(id: &str, attributes: Value) -> Value {
    let key = |secret| json!({"source": "raw", "key": secret, "algorithms": ["HS256"], "issuer": []});
    let mut document =
        json!({"appId": id, "name": id, "authKey": key(AUTH_SECRET), "adminKey": key(ADMIN_SECRET)});
    for (name, value) in attributes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// A configuration that follows on `held`: applications that it has are replaced, the others created.
fn snapshot(held: Option<&Snapshot>, apps: &[Value], settings: &Value) -> Arc<Snapshot> {
    let compile = |document: &Value| {
        let now = "2026-01-01T00:00:00.000Z";
        let id = document["appId"].as_str().unwrap_or_default();
        let config = match held.and_then(|held| held.apps.get(id)) {
            Some(held) => held.config.replace(document, now),
            None => AppConfig::create(document, now),
        };
        let config = config.expect("a configuration");
        (config.app_id.clone(), Arc::new(App::compile(config, 1, &JwksCache::offline()).expect("keys")))
    };
    let apps = apps.iter().map(compile).collect();
    let settings = Arc::new(Settings::parse(settings).expect("settings"));
    Arc::new(Snapshot { revision: 1, apps, settings, ..Snapshot::default() })
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn sign(secret: &str, claims: &Value) -> String {
    issue::sign(Algorithm::HS256, secret, &claims.to_string(), None).expect("a token")
}

/// A client's token that may do everything.
pub(crate) fn token(subject: &str) -> String {
    let permissions = ["realtime:publisher:write:topic:*", "realtime:subscriber:read:topic:*"];
    sign(AUTH_SECRET, &json!({"sub": subject, "permissions": permissions, "exp": unix_now() + 600}))
}

/// A service's token with these permissions.
pub(crate) fn admin_token(permissions: &[&str]) -> String {
    sign(ADMIN_SECRET, &json!({"permissions": permissions, "exp": unix_now() + 600}))
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) shards: Arc<Shards>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub(crate) draining: watch::Sender<bool>,
    pub(crate) http: HttpConnections,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start(setup: Setup) -> Self {
        let node = Self::without_configuration(&setup).await;
        node.configure(&setup.apps, &setup.settings);
        node
    }

    pub(crate) async fn without_configuration(setup: &Setup) -> Self {
        let forwarders = Some(Arc::new(Forwarders::start(Options::default())));
        let config = ShardsConfig { threads: 2, mesh: None, forwarders };
        let shards = Shards::start(config, NodePrefix::generate()).expect("shards");
        let gate = Arc::new(Gate::new(setup.gate.clone(), OperatorTokens::single(OPERATOR_TOKEN)));
        let (snapshots, configured) = watch::channel(None);
        let (draining, drains) = watch::channel(false);
        let door = FrontDoor::new(Arc::clone(&shards), Arc::clone(&gate), configured, drains)
            .with_limits(setup.limits);
        let door = match &setup.fallback {
            Some(fallback) => door.with_fallback(fallback.clone()),
            None => door,
        };
        let door = if setup.tls { door.with_tls(TLS.http()) } else { door };
        let door = match &setup.proxies {
            Some(proxies) => door.with_proxies(proxies.clone()),
            None => door,
        };
        let http = door.http_connections();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(door.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { address, shards, gate, snapshots, draining, http, stop: Some(stop), serving }
    }

    pub(crate) fn configure(&self, apps: &[Value], settings: &Value) {
        let snapshot = snapshot(self.snapshots.borrow().as_deref(), apps, settings);
        self.shards.configure(&snapshot);
        self.snapshots.send_replace(Some(snapshot));
    }

    /// A figure that the front door counts before HTTP.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let counters = self.http.counters();
        counters.iter().find(|(counted, _)| *counted == name).expect("a counter").1
    }

    /// Asks the front door to stop; it goes on until [`Self::stopped`].
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stopped(self) {
        within(self.serving).await.unwrap();
    }

    /// Waits until something outside of any channel's reach is so.
    pub(crate) async fn eventually(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what);
    }
}
