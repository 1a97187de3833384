//! Keys of openssl and tokens of npm's jsonwebtoken and jose (fixtures/make.sh says how they were made).

use realtime_auth::issue;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};

use crate::support::{ALGORITHMS, admit, app, client_app};

const TOKENS: &str = include_str!("../fixtures/tokens.json");

struct Key {
    private: &'static str,
    public: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        Key {
            private: include_str!(concat!("../fixtures/", $name, ".private.pem")),
            public: include_str!(concat!("../fixtures/", $name, ".public.pem")),
        }
    };
}

/// The private keys are PKCS#1 (RSA), PKCS#8 (P-256, Ed25519), SEC1 (P-384), SEC1 after its parameters (P-521).
fn key(algorithm: Algorithm) -> Key {
    let secret = "a secret that is known to everybody";
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Key { private: secret, public: secret },
        Algorithm::ES256 => key!("p256"),
        Algorithm::ES384 => key!("p384"),
        Algorithm::ES512 => key!("p521"),
        Algorithm::EdDSA => key!("ed25519"),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => key!("rsa"),
    }
}

#[test]
fn tokens_of_other_libraries_verify_with_keys_of_openssl() {
    let golden: Value = serde_json::from_str(TOKENS).unwrap();
    for algorithm in ALGORITHMS {
        let name = serde_json::to_value(algorithm).unwrap();
        let token = golden["tokens"][name.as_str().unwrap()].as_str().unwrap();
        let app = app(json!({"authKey": {
            "source": "raw", "key": key(algorithm).public, "algorithms": [algorithm],
            "issuer": ["other", "golden"], "audience": "b",
        }}));
        let identity = admit(&app, token).unwrap_or_else(|e| panic!("{algorithm:?}: {e}"));
        assert_eq!(identity.subject.as_deref(), Some("ann"));
        assert_eq!(identity.expires_at, Some(4_102_444_800));
        assert!(identity.permissions.may_publish("news/today"));
    }
}

#[test]
fn every_form_of_private_key_that_openssl_writes_signs() {
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        let token = issue::sign(algorithm, key.private, "{}", None).unwrap();
        assert!(admit(&client_app(algorithm, key.public), &token).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_pkcs1_public_key_verifies_too() {
    let public = include_str!("../fixtures/rsa.pkcs1.public.pem");
    assert!(public.starts_with("-----BEGIN RSA PUBLIC KEY-----"));
    let token = issue::sign(Algorithm::PS512, key(Algorithm::PS512).private, "{}", None).unwrap();
    assert!(admit(&client_app(Algorithm::PS512, public), &token).is_ok());
}
