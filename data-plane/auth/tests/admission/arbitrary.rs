//! Whatever comes in, the answer is a refusal and never a panic.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use realtime_auth::{App, JwksCache, OperatorTokens, bearer, issue};
use realtime_proto::ErrorCode;
use realtime_proto::app::Algorithm;
use serde_json::json;

use crate::support::{ALGORITHMS, SECRET, admit, admit_admin, app, config};

static APP: LazyLock<Arc<App>> = LazyLock::new(|| {
    let pems = [
        include_str!("../fixtures/rsa.public.pem"),
        include_str!("../fixtures/p521.public.pem"),
        include_str!("../fixtures/ed25519.public.pem"),
    ];
    let key = json!({"source": "raw", "key": pems.concat(), "algorithms": ["RS256", "PS512", "ES512", "EdDSA"], "issuer": []});
    app(json!({"authKey": key}))
});

fn segment(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Text that resembles JSON often enough to get past the parser.
fn jsonish() -> impl Strategy<Value = String> {
    let claim = prop::sample::select(vec![
        "alg",
        "typ",
        "kid",
        "exp",
        "nbf",
        "iss",
        "aud",
        "sub",
        "permissions",
        "scope",
    ]);
    let value = prop_oneof![
        any::<f64>().prop_map(|n| json!(n).to_string()),
        any::<String>().prop_map(|s| json!(s).to_string()),
        prop::collection::vec(any::<String>(), 0..4).prop_map(|l| json!(l).to_string()),
        Just("null".to_owned()),
        Just(r#"{"a":[[[]]]}"#.to_owned()),
        any::<String>(),
    ];
    let members = prop::collection::vec((claim, value), 0..6);
    members.prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_refused(text in any::<String>()) {
        prop_assert_eq!(admit(&APP, &text).unwrap_err().code, ErrorCode::Unauthenticated);
        prop_assert!(admit_admin(&APP, &text).is_err());
    }

    #[test]
    fn any_signature_is_refused(
        algorithm in prop::sample::select(vec!["RS256", "PS512", "ES512", "EdDSA"]),
        signature in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(any::<u8>(), 64),
            prop::collection::vec(any::<u8>(), 132),
            prop::collection::vec(any::<u8>(), 256),
        ],
    ) {
        let header = json!({"alg": algorithm}).to_string();
        let token = format!("{}.{}.{}", segment(header), segment("{}"), segment(signature));
        let error = admit(&APP, &token).unwrap_err();
        prop_assert_eq!(error.detail, "the token's signature does not verify");
    }

    #[test]
    fn any_header_and_payload_get_an_answer(header in jsonish(), payload in jsonish()) {
        let token = issue::sign_as_is(Algorithm::HS256, SECRET, &header, &payload).unwrap();
        let answer = admit(&app(json!({})), &token);
        prop_assert!(answer.is_err() || header.contains("HS256"));
        let plain = issue::sign_as_is(Algorithm::HS256, SECRET, r#"{"alg":"HS256"}"#, &payload).unwrap();
        if let Err(error) = admit(&app(json!({})), &plain) {
            prop_assert_eq!(error.code, ErrorCode::Unauthenticated);
        }
    }

    #[test]
    fn any_key_gets_an_answer(
        text in any::<String>(),
        der in prop::collection::vec(any::<u8>(), 0..200),
        tag in prop::sample::select(vec!["PUBLIC KEY", "RSA PUBLIC KEY", "X"]),
    ) {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        for pem in [text, format!("-----BEGIN {tag}-----\n{body}\n-----END {tag}-----\n")] {
            let mut config = config(json!({}));
            config.auth_key.source = realtime_proto::app::KeySource::Pem(pem.clone());
            config.auth_key.algorithms = ALGORITHMS.to_vec();
            prop_assert!(App::compile(config, 1, &JwksCache::offline()).is_err());
            let signed = issue::sign(Algorithm::ES512, &pem, "{}", None);
            prop_assert!(signed.is_err());
        }
    }

    #[test]
    fn any_header_line_and_operator_file_get_an_answer(text in any::<String>()) {
        if let Some(token) = bearer(&text) {
            prop_assert!(text.contains(token) && !token.contains(' '));
        }
        let _ = OperatorTokens::parse(&text);
    }
}
