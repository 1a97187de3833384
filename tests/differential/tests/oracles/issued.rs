//! Tokens of every algorithm, made there and verified here, made here and verified there.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_auth::issue;
use realtime_differential::{Oracle, Random, node, python, seeds};
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};

use crate::support::{ALGORITHMS, NOW, Question, SECRET, admit, client_app, name, oracles, verdicts};

/// Tokens for each seed, library, direction and algorithm.
const TOKENS: usize = 2;

/// A private key as PEM and what verifies its signatures, or a secret twice.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) private: String,
    pub(crate) public: String,
}

/// One key for each kind; RSA keys take a while to make.
pub(crate) type Ring = BTreeMap<&'static str, Pair>;

/// The kind of key that an algorithm needs.
pub(crate) fn kind(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "secret",
        Algorithm::ES256 => "P-256",
        Algorithm::ES384 => "P-384",
        Algorithm::ES512 => "P-521",
        Algorithm::EdDSA => "ed25519",
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => "rsa",
    }
}

/// `jsonwebtoken` has no EdDSA; PyJWT has all.
pub(crate) fn jsonwebtoken_has(algorithm: Algorithm) -> bool {
    algorithm != Algorithm::EdDSA
}

/// Keys made here.
pub(crate) fn our_keys() -> &'static Ring {
    static RING: OnceLock<Ring> = OnceLock::new();
    RING.get_or_init(|| {
        let make = |algorithm| {
            let pair = issue::generate(algorithm);
            (kind(algorithm), Pair { private: pair.private_pem, public: pair.public_pem })
        };
        // One algorithm of each kind.
        [
            Algorithm::HS512,
            Algorithm::RS256,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::ES512,
            Algorithm::EdDSA,
        ]
        .map(make)
        .into()
    })
}

/// Keys made by Node.
fn node_keys(node: &Oracle) -> Ring {
    let question = |kind: &str| match kind {
        "rsa" => json!({"kind": "rsa", "options": {"modulusLength": 2048}}),
        "ed25519" => json!({"kind": "ed25519"}),
        curve => json!({"kind": "ec", "options": {"namedCurve": curve}}),
    };
    keys_of(node, question)
}

/// Keys made by Python, the private ones in the older forms: SEC1 and PKCS #1.
fn python_keys(python: &Oracle) -> Ring {
    let question = |kind: &str| {
        let form = if kind == "ed25519" { "PKCS8" } else { "TraditionalOpenSSL" };
        json!({"kind": kind, "form": form})
    };
    keys_of(python, question)
}

fn keys_of(oracle: &Oracle, question: impl Fn(&str) -> Value) -> Ring {
    let mut ring: Ring = ["rsa", "P-256", "P-384", "P-521", "ed25519"]
        .into_iter()
        .map(|kind| {
            let made = oracle.ask("new_key", question(kind));
            let text = |member: &str| made[member].as_str().unwrap().to_owned();
            (kind, Pair { private: text("private"), public: text("public") })
        })
        .collect();
    ring.insert("secret", Pair { private: SECRET.to_owned(), public: SECRET.to_owned() });
    ring
}

/// Claims that all three take, and a subject that shows whose token it is.
fn claims(random: &mut Random) -> Value {
    let subject = format!("{}-{}", random.pick(&["ann", "bøb", "李", "a b", "😀"]), random.below(1_000_000));
    let mut claims = json!({"sub": subject, "exp": NOW + 1 + random.below(100_000) as u64});
    let extras = [
        ("permissions", json!(["realtime:publisher:write:topic:*", "ünïcode\u{0}\u{2028}\"\\"])),
        ("scope", json!("a b c")),
        ("nbf", json!(NOW - 100)),
        ("iat", json!(NOW - 100)),
        ("iss", json!("https://issuer.example/")),
        ("nested", json!({"a": [1, -2, 3.5, null, true, {"b": {}}], "": ""})),
        ("padding", json!("x".repeat(random.below(300)))),
    ];
    for (claim, value) in extras {
        if random.one_in(2) {
            claims[claim] = value;
        }
    }
    claims
}

/// The token with another payload, another header, and every byte of its signature changed in turn.
fn tampered(token: &str, random: &mut Random) -> Vec<String> {
    let parts: Vec<_> = token.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut payload: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    payload["sub"] = json!("mallory");
    let mut header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
    header["x"] = json!(1);
    let mut forged = vec![
        format!("{}.{}.{}", parts[0], encode(payload.to_string().as_bytes()), parts[2]),
        format!("{}.{}.{}", encode(header.to_string().as_bytes()), parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
    ];
    let signature = decode(parts[2]);
    for _ in 0..4 {
        let mut changed = signature.clone();
        changed[random.below(signature.len())] ^= 1 << random.below(8);
        forged.push(format!("{}.{}.{}", parts[0], parts[1], encode(&changed)));
    }
    for length in [1, signature.len() / 2, signature.len() - 1] {
        forged.push(format!("{}.{}.{}", parts[0], parts[1], encode(&signature[..length])));
    }
    forged
}

/// Asserts that a good token verifies on both sides, and none made of it does on either.
fn assert_both_agree(
    oracle: &Oracle,
    algorithm: Algorithm,
    key: &str,
    token: &str,
    expected: &Value,
    random: &mut Random,
) {
    let about = format!("{algorithm:?} {token}");
    let app = client_app(algorithm, key);
    assert_eq!(admit(&app, token).as_ref().map(Option::as_deref), Ok(expected["sub"].as_str()), "{about}");

    let case = json!({"token": token, "key": key, "algorithms": [algorithm], "now": NOW});
    let answer = oracle.ask("verify", json!({"cases": [case]}));
    assert_eq!(answer[0]["claims"], *expected, "{about}: {answer}");

    let forged = tampered(token, random);
    let questions: Vec<_> = forged.iter().map(|forged| Question::new(forged, key, algorithm)).collect();
    for (forged, theirs) in forged.iter().zip(verdicts(oracle, &questions)) {
        assert!(admit(&app, forged).is_err(), "we take {forged} made of {about}");
        assert!(theirs.is_err(), "they take {forged} made of {about}");
    }
}

/// Tokens that the library signs with its own keys.
fn assert_theirs_verify_here(oracle: &Oracle, ring: &Ring, has: impl Fn(Algorithm) -> bool) {
    for seed in seeds() {
        let mut random = Random::new(seed);
        for algorithm in ALGORITHMS.into_iter().filter(|&a| has(a)) {
            let pair = &ring[kind(algorithm)];
            for number in 0..TOKENS {
                let claims = claims(&mut random);
                let header = if number % 2 == 0 { json!({"kid": "k"}) } else { json!({"typ": "at+jwt"}) };
                let question =
                    json!({"algorithm": algorithm, "key": pair.private, "claims": claims, "header": header});
                let token = oracle.ask("sign", question);
                let token = token.as_str().unwrap();
                assert_both_agree(oracle, algorithm, &pair.public, token, &claims, &mut random);
            }
        }
    }
}

/// Tokens that we sign with our keys, and with theirs.
fn assert_ours_verify_there(oracle: &Oracle, theirs: &Ring, has: impl Fn(Algorithm) -> bool) {
    for seed in seeds() {
        let mut random = Random::new(seed);
        for algorithm in ALGORITHMS.into_iter().filter(|&a| has(a)) {
            for number in 0..TOKENS {
                let ring = if number % 2 == 0 { our_keys() } else { theirs };
                let pair = &ring[kind(algorithm)];
                let claims = claims(&mut random);
                let kid = (number % 3 == 0).then_some("some key");
                let token = issue::sign(algorithm, &pair.private, &claims.to_string(), kid).unwrap();
                assert_both_agree(oracle, algorithm, &pair.public, &token, &claims, &mut random);
            }
        }
    }
}

#[test]
fn tokens_of_jsonwebtoken_verify_here() {
    let Some(node) = node() else { return };
    assert_theirs_verify_here(node, &node_keys(node), jsonwebtoken_has);
}

#[test]
fn tokens_of_pyjwt_verify_here() {
    let Some(python) = python() else { return };
    assert_theirs_verify_here(python, &python_keys(python), |_| true);
}

#[test]
fn our_tokens_verify_with_jsonwebtoken() {
    let Some(node) = node() else { return };
    assert_ours_verify_there(node, &node_keys(node), jsonwebtoken_has);
}

#[test]
fn our_tokens_verify_with_pyjwt() {
    let Some(python) = python() else { return };
    assert_ours_verify_there(python, &python_keys(python), |_| true);
}

#[test]
fn a_token_verifies_with_its_own_key_and_algorithm_only() {
    let Some((node, python)) = oracles() else { return };
    let ring = our_keys();
    let mut questions = Vec::new();
    let mut ours = Vec::new();
    for signed in ALGORITHMS {
        let token = issue::sign(signed, &ring[kind(signed)].private, r#"{"sub":"ann"}"#, None).unwrap();
        for expected in ALGORITHMS {
            let key = &ring[kind(expected)].public;
            let taken = admit(&client_app(expected, key), &token).is_ok();
            assert_eq!(taken, signed == expected, "{signed:?} as {expected:?}");
            ours.push((signed, expected, taken));
            questions.push(Question::new(&token, key, expected));
        }
    }
    for (oracle, has) in [(node, jsonwebtoken_has as fn(Algorithm) -> bool), (python, |_| true)] {
        for ((signed, expected, ours), theirs) in ours.iter().zip(verdicts(oracle, &questions)) {
            let theirs = theirs.is_ok() || (*ours && !has(*signed));
            assert_eq!(theirs, *ours, "{} as {}: {oracle:?}", name(*signed), name(*expected));
        }
    }
}
