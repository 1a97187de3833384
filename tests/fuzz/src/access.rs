//! What decides who may do what: tokens, permission patterns, and the configuration of an application.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use realtime_auth::{App, Gate, GateConfig, JwksCache, OperatorTokens, issue};
use realtime_proto::app::Algorithm;
use realtime_proto::{AppConfig, ErrorCode, PatternSet, PermissionCase, topic};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// The present of all targets.
const NOW: u64 = 1_800_000_000;
/// The same as a timestamp.
const NOW_TEXT: &str = "2027-01-15T08:00:00.000Z";
const SECRET: &str = "a secret of thirty-two characters";

/// Everything that admitting a client takes.
struct Door {
    gate: Gate,
    app: Arc<App>,
    runtime: Runtime,
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"]});
    let document = json!({"appId": "a", "name": "a", "authKey": key, "adminKey": key});
    let config = AppConfig::create(&document, NOW_TEXT).expect("a valid document");
    let app = Arc::new(App::compile(config, 1, &JwksCache::offline()).expect("a readable key"));
    let config = GateConfig { verifier_threads: 1, verifier_queue: 1, token_cache: 0 };
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    Door { gate: Gate::new(config, OperatorTokens::default()), app, runtime }
});

impl Door {
    /// Whether the token opens, and for which subject.
    fn admit(&self, token: &str) -> Option<Option<String>> {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.runtime.block_on(self.gate.admit_client(&self.app, here, Some(token), NOW)) {
            Ok(identity) => Some(identity.subject.as_deref().map(str::to_owned)),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Unauthenticated, "{}", error.detail);
                None
            }
        }
    }
}

/// A token. The first byte says what the rest is: the token's text, or the header or the payload of one that is
/// signed here. Only what is signed opens, and the subject that it opens for may be part of a topic's name.
pub fn token(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let sign = |header: &str, payload: &str| {
        issue::sign_as_is(Algorithm::HS256, SECRET, header, payload).expect("a secret that signs")
    };
    let token = match kind % 3 {
        0 => {
            assert_eq!(DOOR.admit(&text), None, "nobody has signed {text:?}");
            return;
        }
        1 => sign(&text, r#"{"sub":"ann"}"#),
        _ => sign(r#"{"alg":"HS256"}"#, &text),
    };
    if let Some(subject) = DOOR.admit(&token) {
        // Of what nobody reads, only the grammar counts: a number may be too large for any type.
        let is_object = text.trim_ascii_start().starts_with('{');
        assert!(is_object && serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{text:?}");
        assert!(subject.is_none_or(|subject| topic::is_valid_subject(&subject)), "{text:?}");
    }
}

/// Lines: a topic, then patterns. The rules of docs/contract.md 2.4 that say something about every list.
pub fn patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let Some(topic) = lines.next() else { return };
    let patterns: Vec<_> = lines.collect();
    for case in [PermissionCase::Insensitive, PermissionCase::Sensitive] {
        let matches = |patterns: &[&str]| PatternSet::new(patterns.iter().copied(), case).matches(topic);
        let mut positive = false;
        let mut excluded = false;
        for &pattern in &patterns {
            let negated = format!("!{}", pattern.strip_prefix('!').unwrap_or(pattern));
            let excludes = !matches(&[&negated]);
            match pattern.strip_prefix('!') {
                Some(_) => excluded |= excludes,
                None => {
                    assert_eq!(matches(&[pattern]), excludes, "{pattern:?} and {negated:?} on {topic:?}");
                    positive |= excludes;
                }
            }
        }
        let only_negated = !patterns.is_empty() && patterns.iter().all(|pattern| pattern.starts_with('!'));
        let expected = !excluded && (positive || only_negated);
        assert_eq!(matches(&patterns), expected, "{patterns:?} on {topic:?}, {case:?}");
        let literal: String = topic.chars().flat_map(|c| ['\\', c]).collect();
        assert!(matches(&[&literal]) && matches(&["*"]), "{topic:?}");
    }
}

/// A document of an application as a caller of the API sends it. What is taken can be read back and sent again,
/// survives storage, and compiles or is refused by the key's name.
pub fn application(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(config) = AppConfig::create(&document, NOW_TEXT) else { return };
    let stored = AppConfig::from_stored(&config.to_stored());
    assert_eq!(stored.as_ref(), Ok(&config), "storage changes {document}");
    let replaced = config.replace(&config.to_public(1), NOW_TEXT);
    assert_eq!(replaced.as_ref(), Ok(&config), "what GET answered is another document than {document}");
    if let Err(errors) = App::compile(config, 1, &JwksCache::offline()) {
        assert!(
            errors.0.iter().all(|error| ["authKey.key", "adminKey.key"].contains(&&*error.field)),
            "{errors}"
        );
    }
}
