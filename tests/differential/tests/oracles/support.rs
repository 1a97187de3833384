//! Applications and one gate, and both token libraries behind one question.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use realtime_auth::{App, Gate, GateConfig, JwksCache, OperatorTokens};
use realtime_differential::{Oracle, node, python};
use realtime_proto::app::Algorithm;
use realtime_proto::{AppConfig, ErrorCode, FieldErrors};
use serde_json::{Value, json};

/// The present, in Unix seconds. All clocks stand still there.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A secret long enough for every HMAC.
pub(crate) const SECRET: &str = "a secret of sixty-four characters, as many as SHA-512 has bytes!";

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

/// The algorithm's name.
pub(crate) fn name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

/// Both oracles, for tests that need both.
pub(crate) fn oracles() -> Option<(&'static Oracle, &'static Oracle)> {
    Some((node()?, python()?))
}

/// Bytes as they travel to oracles.
pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Bytes that an oracle has sent.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// A raw key as a configuration has it.
pub(crate) fn raw(algorithms: &[Algorithm], key: &str) -> Value {
    json!({"source": "raw", "key": key, "algorithms": algorithms, "issuer": []})
}

/// An application with this `authKey`, or what its owner is told: this is what a write to the API answers with 422.
pub(crate) fn app(auth_key: &Value) -> Result<Arc<App>, FieldErrors> {
    let admin = raw(&[Algorithm::HS256], "another secret");
    let document = json!({"appId": "test", "name": "test", "authKey": auth_key, "adminKey": admin});
    let config = AppConfig::create(&document, "2027-01-15T08:00:00.000Z")?;
    App::compile(config, 1, &JwksCache::offline()).map(Arc::new)
}

/// An application whose clients use one key with one algorithm.
pub(crate) fn client_app(algorithm: Algorithm, key: &str) -> Arc<App> {
    app(&raw(&[algorithm], key)).unwrap()
}

/// Our verdict on a client's token: its subject, or the refusal's text, which is always a 401.
pub(crate) fn admit(app: &Arc<App>, token: &str) -> Result<Option<String>, String> {
    static GATE: OnceLock<Gate> = OnceLock::new();
    let config = GateConfig { verifier_threads: 1, verifier_queue: 1024, token_cache: 0 };
    let gate = GATE.get_or_init(|| Gate::new(config, OperatorTokens::default()));
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let verdict = runtime.block_on(gate.admit_client(app, here, Some(token), NOW));
    verdict.map(|identity| identity.subject.as_deref().map(str::to_owned)).map_err(|error| {
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{}", error.detail);
        error.detail
    })
}

/// What a token's signature is made of.
pub(crate) fn unsigned(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// The whole token.
pub(crate) fn with_signature(unsigned: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What a library is asked about a token.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) issuer: Option<&'static str>,
    pub(crate) audience: Option<&'static str>,
}

impl Question {
    pub(crate) fn new(token: impl Into<String>, key: &str, algorithm: Algorithm) -> Self {
        Self {
            token: token.into(),
            key: key.to_owned(),
            algorithms: vec![algorithm],
            issuer: None,
            audience: None,
        }
    }

    fn json(&self) -> Value {
        let mut question = json!({
            "token": self.token, "key": self.key, "algorithms": self.algorithms, "now": NOW, "verdict": true,
        });
        if let Some(issuer) = self.issuer {
            question["issuer"] = json!(issuer);
        }
        if let Some(audience) = self.audience {
            question["audience"] = json!(audience);
        }
        question
    }
}

/// A library's verdicts: whether each token is good, or what it says against it.
pub(crate) fn verdicts(oracle: &Oracle, questions: &[Question]) -> Vec<Result<(), String>> {
    let cases: Vec<_> = questions.iter().map(Question::json).collect();
    let answers = oracle.ask("verify", json!({"cases": cases}));
    let verdict = |answer: &Value| match answer["refused"].as_str() {
        Some(text) => Err(text.to_owned()),
        None => {
            assert!(!answer["claims"].is_null(), "{answer}");
            Ok(())
        }
    };
    answers.as_array().unwrap().iter().map(verdict).collect()
}
