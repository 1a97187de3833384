//! Which keys a configuration may hold, and what is said of the others.

use realtime_auth::{App, JwksCache, issue};
use realtime_proto::app::{Algorithm, KeySource, Secret};
use serde_json::json;

use crate::support::{ALGORITHMS, SECRET, config};

/// What compiling says of this PEM with these algorithms, in either place.
fn complaint(pem: &str, algorithms: &[Algorithm]) -> Option<String> {
    compile(KeySource::Pem(pem.to_owned()), algorithms)
}

fn compile(source: KeySource, algorithms: &[Algorithm]) -> Option<String> {
    let mut config = config(json!({}));
    config.auth_key.source = source;
    config.auth_key.algorithms = algorithms.to_vec();
    let mut swapped = config.clone();
    std::mem::swap(&mut swapped.auth_key, &mut swapped.admin_key);
    let error = |config, field| {
        let errors = App::compile(config, 1, &JwksCache::offline()).err()?;
        let [error] = &errors.0[..] else { panic!("{errors}") };
        assert_eq!(error.field, field);
        Some(error.message.clone())
    };
    let complaint = error(config, "authKey.key");
    assert_eq!(error(swapped, "adminKey.key"), complaint);
    complaint
}

#[track_caller]
fn assert_complains(pem: &str, algorithms: &[Algorithm], about: &str) {
    let complaint = complaint(pem, algorithms).expect("a complaint");
    assert!(complaint.contains(about), "{complaint}");
}

#[test]
fn a_key_serves_its_own_algorithms_only() {
    let keys = [
        (include_str!("../fixtures/rsa.public.pem"), "RSA", "RS256 PS256 RS384 PS384 RS512 PS512"),
        (include_str!("../fixtures/p256.public.pem"), "P-256", "ES256"),
        (include_str!("../fixtures/p384.public.pem"), "P-384", "ES384"),
        (include_str!("../fixtures/p521.public.pem"), "P-521", "ES512"),
        (include_str!("../fixtures/ed25519.public.pem"), "Ed25519", "EdDSA"),
    ];
    for (pem, kind, fitting) in keys {
        for algorithm in ALGORITHMS {
            let name = format!("{algorithm:?}");
            let fits = fitting.split(' ').any(|f| f == name);
            match complaint(pem, &[algorithm]) {
                None => assert!(fits, "{kind} took {name}"),
                Some(message) => {
                    assert!(!fits, "{kind} refused {name}: {message}");
                    assert!(message.contains(kind) && message.contains(&name), "{message}");
                }
            }
        }
    }
}

#[test]
fn one_fitting_algorithm_and_one_fitting_key_suffice() {
    let p256 = include_str!("../fixtures/p256.public.pem");
    let p521 = include_str!("../fixtures/p521.public.pem");
    assert_eq!(complaint(p521, &[Algorithm::ES256, Algorithm::ES512]), None);
    assert_eq!(complaint(&format!("{p256}{p521}"), &[Algorithm::ES512]), None);
    assert_complains(&format!("{p256}{p521}"), &[Algorithm::ES384], "P-256 key (for ES256), a P-521 key");
    assert_complains(p521, &[], "fits none");
}

#[test]
fn private_keys_are_refused_and_not_repeated() {
    for pem in [
        include_str!("../fixtures/rsa.private.pem"),
        include_str!("../fixtures/p256.private.pem"),
        include_str!("../fixtures/p384.private.pem"),
        include_str!("../fixtures/ed25519.private.pem"),
    ] {
        assert_complains(pem, &ALGORITHMS, "is a private key");
        let message = complaint(pem, &ALGORITHMS).unwrap();
        assert!(pem.lines().all(|line| !message.contains(line)));
    }
    let both = [include_str!("../fixtures/p256.public.pem"), include_str!("../fixtures/p256.private.pem")];
    assert_complains(&both.concat(), &[Algorithm::ES256], "is a private key");
}

#[test]
fn unreadable_and_unfit_keys_are_told_apart() {
    let p256 = include_str!("../fixtures/p256.public.pem");
    let es256 = [Algorithm::ES256];
    assert_complains("", &es256, "must hold a PEM block");
    assert_complains("no PEM", &es256, "must hold a PEM block");
    assert_complains(&p256[..p256.len() - 30], &es256, "PEM block");
    assert_complains(&format!("{p256}{}", &p256[..60]), &es256, "incomplete");
    assert_complains(&p256.replace("PUBLIC KEY", "PUBLIC KEYS"), &es256, "no PUBLIC KEY");
    assert_complains(&p256.replacen('M', "N", 1), &es256, "no RSA, P-256, P-384, P-521 or Ed25519");
    assert_complains(include_str!("../fixtures/certificate.pem"), &ALGORITHMS, "is a certificate");
    assert_complains(include_str!("../fixtures/rsa1024.public.pem"), &ALGORITHMS, "1024 bits");
    assert_complains(include_str!("../fixtures/x25519.public.pem"), &ALGORITHMS, "no RSA, P-256");
    assert_complains(include_str!("../fixtures/k256.public.pem"), &ALGORITHMS, "no RSA, P-256");
    assert_complains(&p256.repeat(17), &es256, "17 keys");
    assert_eq!(complaint(&p256.repeat(16), &es256), None);
    assert_eq!(complaint(&p256.replace('\n', "\r\n"), &es256), None);
    assert_eq!(complaint(&format!("my key:\n\n{p256}\n\n"), &es256), None);
}

/// `SubjectPublicKeyInfo` of an Ed25519 key.
fn ed25519(key: [u8; 32]) -> String {
    let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    pem::encode(&pem::Pem::new("PUBLIC KEY", [&head[..], &key].concat()))
}

#[test]
fn an_ed25519_key_that_anybody_can_sign_for_is_none() {
    let point = |first: u8, middle: u8, last: u8| {
        let mut key = [middle; 32];
        (key[0], key[31]) = (first, last);
        key
    };
    let small =
        [point(0, 0, 0), point(1, 0, 0), point(1, 0, 0x80), point(0, 0, 0x80), point(0xec, 0xff, 0x7f)];
    for key in small {
        assert_complains(&ed25519(key), &[Algorithm::EdDSA], "no RSA, P-256, P-384, P-521 or Ed25519");
    }
    assert_eq!(complaint(&ed25519(point(0x58, 0x66, 0x66)), &[Algorithm::EdDSA]), None, "the base point");
}

#[test]
fn nothing_follows_a_key_in_its_block() {
    for text in [
        include_str!("../fixtures/rsa.public.pem"),
        include_str!("../fixtures/p521.public.pem"),
        include_str!("../fixtures/ed25519.public.pem"),
    ] {
        let block = pem::parse(text).unwrap();
        let longer = pem::Pem::new("PUBLIC KEY", [block.contents(), &[0]].concat());
        assert_complains(&pem::encode(&longer), &ALGORITHMS, "no RSA, P-256, P-384, P-521 or Ed25519");
    }
}

#[test]
fn secrets_fit_hmacs_only_and_are_no_pems() {
    let secret = |text: &str| KeySource::Hmac(Secret::new(text));
    assert_eq!(compile(secret(SECRET), &[Algorithm::HS512, Algorithm::RS256]), None);
    assert!(compile(secret(SECRET), &[Algorithm::RS256]).unwrap().contains("it is an HMAC secret"));
    assert!(compile(secret(""), &[Algorithm::HS256]).unwrap().contains("empty"));
    let pem = include_str!("../fixtures/p256.public.pem");
    assert!(compile(secret(pem), &[Algorithm::HS256]).unwrap().contains("is a PEM"));
}

#[test]
fn both_keys_are_reported_at_once() {
    let mut config = config(json!({}));
    config.auth_key.source = KeySource::Pem("x".into());
    config.admin_key.source = KeySource::Pem("x".into());
    let fields: Vec<_> =
        App::compile(config, 1, &JwksCache::offline()).unwrap_err().0.into_iter().map(|e| e.field).collect();
    assert_eq!(fields, ["authKey.key", "adminKey.key"]);
}

#[test]
fn debug_output_shows_no_secret() {
    let app = App::compile(config(json!({})), 1, &JwksCache::offline()).unwrap();
    let shown = format!("{app:?} {:?}", issue::generate(Algorithm::HS256));
    assert!(shown.contains("VerifyingKey(HS256)"));
    assert!(!shown.contains(SECRET));
}

#[test]
fn new_keys_are_pems_or_secrets_as_long_as_the_hash() {
    let pair = issue::generate(Algorithm::ES512);
    assert!(pair.private_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(pair.public_pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    for (algorithm, characters) in [(Algorithm::HS256, 43), (Algorithm::HS384, 64), (Algorithm::HS512, 86)] {
        let pair = issue::generate(algorithm);
        assert_eq!((pair.private_pem.len(), &pair.private_pem), (characters, &pair.public_pem));
        assert_ne!(pair, issue::generate(algorithm));
    }
}

#[test]
fn signing_says_what_is_wrong_with_a_key_or_the_claims() {
    let p256 = include_str!("../fixtures/p256.private.pem");
    let rsa = include_str!("../fixtures/rsa.private.pem");
    let public = include_str!("../fixtures/p256.public.pem");
    let encrypted = p256.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (algorithm, key, claims, about) in [
        (Algorithm::ES512, p256, "{}", "the curve that ES512 needs"),
        (Algorithm::RS256, p256, "{}", "no RSA private key"),
        (Algorithm::EdDSA, rsa, "{}", "no Ed25519 private key"),
        (Algorithm::ES256, public, "{}", "with a private key"),
        (Algorithm::ES256, &encrypted, "{}", "is encrypted"),
        (Algorithm::ES256, "nonsense", "{}", "with a private key"),
        (Algorithm::HS256, "", "{}", "must not be empty"),
        (Algorithm::ES256, p256, "[]", "a JSON object"),
        (Algorithm::ES256, p256, "{", "a JSON object"),
    ] {
        let error = issue::sign(algorithm, key, claims, None).unwrap_err();
        assert!(error.contains(about), "{error}");
    }
}
