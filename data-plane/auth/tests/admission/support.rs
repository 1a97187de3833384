//! Applications and one gate for tests. Time is a constant.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use realtime_auth::{App, Caller, Gate, GateConfig, Identity, JwksCache, OperatorTokens, issue};
use realtime_proto::app::Algorithm;
use realtime_proto::{ApiError, AppConfig};
use serde_json::{Value, json};

/// The present, in Unix seconds.
pub(crate) const NOW: u64 = 1_800_000_000;
/// Where callers come from.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The operator's token.
pub(crate) const OPERATOR: &str = "an operator token";
/// The secret of HS256 applications.
pub(crate) const SECRET: &str = "a secret of thirty-two characters";

/// Every algorithm.
pub(crate) const ALGORITHMS: [Algorithm; 13] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

/// A raw key's document.
pub(crate) fn raw(algorithm: Algorithm, key: &str) -> Value {
    json!({"source": "raw", "key": key, "algorithms": [algorithm], "issuer": []})
}

/// The HS256 key of [`SECRET`].
pub(crate) fn hs256() -> Value {
    raw(Algorithm::HS256, SECRET)
}

/// An application's configuration; `extra` adds attributes and replaces the keys.
pub(crate) fn config(extra: Value) -> AppConfig {
    let mut document = json!({"appId": "test", "name": "test", "authKey": hs256(), "adminKey": hs256()});
    for (name, value) in extra.as_object().unwrap() {
        document[name] = value.clone();
    }
    AppConfig::create(&document, "2027-01-15T08:00:00.000Z").unwrap()
}

/// The compiled application.
pub(crate) fn app(extra: Value) -> Arc<App> {
    Arc::new(App::compile(config(extra), 1, &JwksCache::offline()).unwrap())
}

/// An application whose clients use one raw key.
pub(crate) fn client_app(algorithm: Algorithm, key: &str) -> Arc<App> {
    app(json!({"authKey": raw(algorithm, key)}))
}

/// A token of [`SECRET`].
pub(crate) fn token(claims: &Value) -> String {
    issue::sign(Algorithm::HS256, SECRET, &claims.to_string(), None).unwrap()
}

/// A gate with one thread, a small queue and a cache of that many tokens.
pub(crate) fn gate(token_cache: usize) -> Gate {
    let config = GateConfig { verifier_threads: 1, verifier_queue: 8, token_cache };
    Gate::new(config, OperatorTokens::single(OPERATOR))
}

/// What a client with this token gets from a gate that has never seen it.
pub(crate) fn admit(app: &Arc<App>, token: &str) -> Result<Arc<Identity>, ApiError> {
    run(gate(0).admit_client(app, HERE, Some(token), NOW))
}

/// What a caller of the API with this token gets from a gate that has never seen it.
pub(crate) fn admit_admin(app: &Arc<App>, token: &str) -> Result<Caller, ApiError> {
    run(gate(0).admit_admin(app, HERE, Some(token), NOW))
}

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
