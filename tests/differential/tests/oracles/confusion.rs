//! Attempts to make a verifier use another algorithm or another key than the configured one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realtime_auth::issue;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};

use crate::issued::{kind, our_keys};
use crate::support::{
    ALGORITHMS, Question, admit, app, base64, bytes, client_app, name, oracles, raw, unsigned, verdicts,
    with_signature,
};

const CLAIMS: &str = r#"{"sub":"mallory"}"#;

/// Spellings of `none`, and of nothing, in JSON.
const NONE: [&str; 11] = [
    "\"none\"",
    "\"None\"",
    "\"NONE\"",
    "\"nOnE\"",
    "\"none \"",
    "\" none\"",
    r#""none\u0000""#,
    r#""n\u006fne""#,
    "\"\"",
    "null",
    "[\"none\"]",
];

/// Asserts that neither we nor the libraries take any of the tokens with this key and algorithm.
#[track_caller]
fn assert_all_refuse(algorithm: Algorithm, key: &str, tokens: &[String]) {
    let Some((node, python)) = oracles() else { return };
    let app = client_app(algorithm, key);
    let questions: Vec<_> = tokens.iter().map(|token| Question::new(token, key, algorithm)).collect();
    let theirs = verdicts(node, &questions).into_iter().zip(verdicts(python, &questions));
    for (token, (node, python)) in tokens.iter().zip(theirs) {
        assert!(admit(&app, token).is_err(), "{algorithm:?}: we take {token}");
        assert!(node.is_err(), "{algorithm:?}: jsonwebtoken takes {token}");
        assert!(python.is_err(), "{algorithm:?}: PyJWT takes {token}");
    }
}

#[test]
fn unsigned_tokens_are_refused_however_they_spell_none() {
    for algorithm in ALGORITHMS {
        let pair = &our_keys()[kind(algorithm)];
        let mut tokens = Vec::new();
        for spelling in NONE {
            let header = format!(r#"{{"alg":{spelling},"typ":"JWT"}}"#);
            let message = unsigned(&header, CLAIMS);
            tokens.push(message.clone());
            tokens.push(with_signature(&message, ""));
            tokens.push(with_signature(&message, "x"));
            // A good signature does not make it better.
            tokens.push(issue::sign_as_is(algorithm, &pair.private, &header, CLAIMS).unwrap());
        }
        // The right name and no signature.
        tokens.push(with_signature(&unsigned(json!({"alg": algorithm}).to_string(), CLAIMS), ""));
        assert_all_refuse(algorithm, &pair.public, &tokens);
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let Some((_, python)) = oracles() else { return };
    for algorithm in ALGORITHMS.into_iter().filter(|algorithm| !algorithm.is_hmac()) {
        let public = &our_keys()[kind(algorithm)].public;
        let der = pem::parse(public).unwrap().into_contents();
        // The forms in which a verifier may hold the key.
        let secrets = [
            public.clone().into_bytes(),
            public.trim_end().into(),
            public.replace('\n', "\r\n").into(),
            public.replace('\n', "").into(),
            STANDARD.encode(&der).into(),
            der.clone(),
            der[der.len() - 32..].to_vec(),
        ];
        let mut tokens = Vec::new();
        for hmac in ["HS256", "HS384", "HS512"] {
            for secret in &secrets {
                for named in [hmac.to_owned(), name(algorithm)] {
                    let message = unsigned(json!({"alg": named}).to_string(), CLAIMS);
                    let question =
                        json!({"algorithm": hmac, "key": base64(secret), "message": base64(&message)});
                    tokens.push(with_signature(&message, bytes(&python.ask("hmac", question))));
                }
            }
        }
        assert_all_refuse(algorithm, public, &tokens);
        for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert_field(&raw(&[hmac], public), "authKey.key", "PEM");
            assert_field(&raw(&[algorithm, hmac], public), "authKey.algorithms", "must not mix");
            assert_field(&raw(&[hmac, algorithm], "a secret"), "authKey.algorithms", "must not mix");
        }
    }
}

#[track_caller]
fn assert_field(key: &Value, field: &str, about: &str) {
    let errors = app(key).expect_err("refused").0;
    assert!(errors.iter().any(|error| error.field == field && error.message.contains(about)), "{errors:?}");
}

/// A header cannot bring its key along, or say where one is.
#[test]
fn keys_in_headers_are_not_used() {
    let Some((node, python)) = oracles() else { return };
    let (own, stranger) = (&our_keys()["P-256"], issue::generate(Algorithm::ES256));
    let der = pem::parse(&stranger.public_pem).unwrap().into_contents();
    let half =
        |at: usize| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&der[der.len() - at..][..32]);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": half(64), "y": half(32), "alg": "ES256", "kid": "k"});
    let app = client_app(Algorithm::ES256, &own.public);
    let url = "http://127.0.0.1:9/keys";
    for extra in [
        json!({"jwk": jwk}),
        json!({"jwk": jwk, "kid": "k"}),
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"x5c": [STANDARD.encode(&der)]}),
        json!({"x5t": "AAAA", "x5t#S256": "AAAA"}),
        json!({"kid": url}),
        json!({"kid": "../../../dev/null"}),
        json!({"key": stranger.public_pem, "public_key": stranger.public_pem}),
    ] {
        let mut header = extra.clone();
        header["alg"] = json!("ES256");
        for (private, taken) in [(&stranger.private_pem, false), (&own.private, true)] {
            let token = issue::sign_as_is(Algorithm::ES256, private, &header.to_string(), CLAIMS).unwrap();
            let question = [Question::new(&token, &own.public, Algorithm::ES256)];
            let theirs = [node, python].map(|oracle| verdicts(oracle, &question)[0].is_ok());
            assert_eq!((admit(&app, &token).is_ok(), theirs), (taken, [taken; 2]), "{extra}");
        }
    }
}

/// With several algorithms and keys each signature still needs its own of both.
#[test]
fn keys_and_algorithms_of_a_list_are_not_mixed() {
    let Some((node, python)) = oracles() else { return };
    let lists = [
        (vec![Algorithm::RS256, Algorithm::PS256], vec!["rsa"]),
        (vec![Algorithm::RS256, Algorithm::ES256], vec!["rsa", "P-256"]),
        (vec![Algorithm::ES512, Algorithm::EdDSA, Algorithm::ES256], vec!["ed25519", "P-256", "P-521"]),
        (vec![Algorithm::ES256, Algorithm::ES384], vec!["P-256"]),
    ];
    for (algorithms, kinds) in lists {
        let pems: String = kinds.iter().map(|kind| our_keys()[kind].public.as_str()).collect();
        let app = app(&raw(&algorithms, &pems)).unwrap();
        for signed in ALGORITHMS {
            for named in ALGORITHMS {
                let header = json!({"alg": named}).to_string();
                let private = &our_keys()[kind(signed)].private;
                let token = issue::sign_as_is(signed, private, &header, CLAIMS).unwrap();
                let taken = signed == named && algorithms.contains(&signed) && kinds.contains(&kind(signed));
                assert_eq!(admit(&app, &token).is_ok(), taken, "{signed:?} as {named:?} in {algorithms:?}");
                // The libraries take one key at a time: any of them must do.
                let theirs = |oracle| {
                    let ask = |kind: &&str| Question {
                        algorithms: algorithms.clone(),
                        ..Question::new(&token, &our_keys()[kind].public, signed)
                    };
                    verdicts(oracle, &kinds.iter().map(ask).collect::<Vec<_>>()).iter().any(Result::is_ok)
                };
                assert_eq!(theirs(python), taken, "PyJWT: {signed:?} as {named:?} in {algorithms:?}");
                let has = taken && crate::issued::jsonwebtoken_has(signed);
                assert_eq!(theirs(node), has, "jsonwebtoken: {signed:?} as {named:?} in {algorithms:?}");
            }
        }
    }
}
