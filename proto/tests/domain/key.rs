use crate::app::{create, with};
use crate::{NOW, PEM, fields};
use realtime_proto::AppConfig;
use realtime_proto::app::{Algorithm, KeyConfig, KeySource};
use serde_json::{Value, json};

fn auth_key(key: &Value) -> KeyConfig {
    create(&with("authKey", key.clone())).auth_key
}

fn problems(key: &Value) -> Vec<String> {
    fields(AppConfig::create(&with("authKey", key.clone()), NOW))
}

#[test]
fn every_algorithm_of_the_contract_is_known() {
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] {
        let key = auth_key(&json!({"source": "raw", "key": PEM, "algorithms": [name]}));
        assert_eq!(key.source, KeySource::Pem(PEM.to_owned()));
        assert_eq!(json!(key.algorithms), json!([name]));
    }
    for name in ["HS256", "HS384", "HS512"] {
        let key = auth_key(&json!({"source": "raw", "key": "s", "algorithms": [name]}));
        assert!(matches!(key.source, KeySource::Hmac(ref s) if s.expose() == "s"));
        assert!(key.algorithms[0].is_hmac());
    }
}

#[test]
fn a_raw_key_has_algorithms_of_one_family() {
    let raw = |algorithms: Value| json!({"source": "raw", "key": "some text", "algorithms": algorithms});
    for (algorithms, field) in [
        (json!([]), "authKey.algorithms"),
        (json!(null), "authKey.algorithms"),
        (json!("ES512"), "authKey.algorithms"),
        (json!(["HS256", "ES512"]), "authKey.algorithms"),
        (json!(["none"]), "authKey.algorithms[0]"),
        (json!(["es512"]), "authKey.algorithms[0]"),
    ] {
        assert_eq!(problems(&raw(algorithms.clone())), [field], "{algorithms}");
    }
    let twice = auth_key(&json!({"source": "raw", "key": PEM, "algorithms": ["ES512", "RS256", "ES512"]}));
    assert_eq!(twice.algorithms, [Algorithm::ES512, Algorithm::RS256]);
}

#[test]
fn the_key_text_fits_its_family() {
    let private = "-----BEGIN EC PRIVATE KEY-----\nAA\n-----END EC PRIVATE KEY-----";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let both = format!("{PEM}\n{private}");
    for (key, algorithm) in [
        (PEM, "HS256"),
        (" \n-----begin public key-----", "HS256"),
        (private, "HS256"),
        (private, "ES512"),
        (encrypted, "ES512"),
        (both.as_str(), "ES512"),
        ("no pem", "ES512"),
        ("", "HS256"),
        ("", "ES512"),
        ("x".repeat(4097).as_str(), "HS256"),
        (format!("{PEM}{}", " ".repeat(32 * 1024)).as_str(), "ES512"),
    ] {
        let document = with("authKey", json!({"source": "raw", "key": key, "algorithms": [algorithm]}));
        let errors = AppConfig::create(&document, NOW).unwrap_err();
        assert_eq!(errors.0.len(), 1);
        assert_eq!(errors.0[0].field, "authKey.key", "{key}");
        assert!(key.is_empty() || !errors.to_string().contains(key), "the text is not repeated");
    }
    let two = format!("{PEM}\n{PEM}\n");
    assert_eq!(
        auth_key(&json!({"source": "raw", "key": two, "algorithms": ["ES512"]})).source,
        KeySource::Pem(two)
    );
}

#[test]
fn a_key_set_needs_its_url_and_audience() {
    let key =
        auth_key(&json!({"source": "jwks", "jwksUri": "https://id.example/keys?x=1", "audience": "me"}));
    assert_eq!(key.source, KeySource::Jwks { uri: "https://id.example/keys?x=1".to_owned() });
    assert_eq!(key.audience.as_deref(), Some("me"));
    assert!(key.algorithms.is_empty() && key.issuer.is_empty());
    assert_eq!(problems(&json!({"source": "jwks"})), ["authKey.audience", "authKey.jwksUri"]);
    for uri in
        ["id.example", "ftp://id.example", "https://", "https://u:p@id.example/", "https://id.example/#x"]
    {
        let key = json!({"source": "jwks", "jwksUri": uri, "audience": "me"});
        assert_eq!(problems(&key), ["authKey.jwksUri"], "{uri}");
    }
    let hmac =
        json!({"source": "jwks", "jwksUri": "https://a.example", "audience": "me", "algorithms": ["HS256"]});
    assert_eq!(problems(&hmac), ["authKey.algorithms"]);
}

#[test]
fn attributes_of_the_other_source_are_unknown() {
    let raw = json!({"source": "raw", "key": PEM, "algorithms": ["ES512"], "jwksUri": "https://a.example"});
    assert_eq!(problems(&raw), ["authKey.jwksUri"]);
    let jwks = json!({"source": "jwks", "key": PEM, "jwksUri": "https://a.example", "audience": "a"});
    assert_eq!(problems(&jwks), ["authKey.key"]);
    assert_eq!(problems(&json!({"source": "file", "key": PEM, "algorithms": ["ES512"]})), ["authKey.source"]);
    assert_eq!(problems(&json!({"key": PEM, "algorithms": ["ES512"]})), ["authKey.source"]);
}

#[test]
fn callers_cannot_say_that_a_secret_is_withheld() {
    let key = json!({"source": "raw", "algorithms": ["HS256"], "secretWithheld": true});
    assert_eq!(problems(&key), ["authKey.key", "authKey.secretWithheld"]);
}

#[test]
fn issuers_and_audience_are_texts_of_limited_length() {
    let key = |name: &str, value: Value| {
        let mut key = json!({"source": "raw", "key": PEM, "algorithms": ["ES512"]});
        key[name] = value;
        key
    };
    assert_eq!(problems(&key("issuer", json!("https://a.example"))), ["authKey.issuer"]);
    assert_eq!(problems(&key("issuer", json!(["a", ""]))), ["authKey.issuer[1]"]);
    assert_eq!(problems(&key("issuer", json!(vec!["a"; 33]))), ["authKey.issuer"]);
    assert_eq!(problems(&key("audience", json!("x".repeat(513)))), ["authKey.audience"]);
    assert_eq!(problems(&key("audience", json!(["a"]))), ["authKey.audience"]);
}
