//! Key sets: what stands in one, and tokens against one that a real endpoint serves.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_auth::jwks::{Ignored, KeySet, MAX_SET_KEYS};
use realtime_auth::{App, Gate, JwksCache, issue};
use realtime_proto::app::Algorithm;
use realtime_proto::{ApiError, ErrorCode};
use realtime_testkit::{Answer, KeyEndpoint, Signer, eventually, within};
use serde_json::{Value, json};

use crate::support::{HERE, NOW, config, gate};

/// The public part of the key of RFC 8037, appendix A.1.
const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn with(mut jwk: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn ed25519(more: Value) -> Value {
    with(json!({"kty": "OKP", "crv": "Ed25519", "x": ED25519}), more)
}

fn verifies(set: &KeySet, algorithm: Algorithm, kid: Option<&str>, token: &str) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    set.find(algorithm, kid).iter().any(|key| key.verifies(signed.as_bytes(), &signature))
}

/// RFC 7517, appendix A.1: an EC key for encryption and an RSA key for RS256.
#[test]
fn the_example_of_rfc_7517_has_one_key_for_signatures() {
    let document = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1"},
        {"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
         "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"},
    ]});
    let set = KeySet::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!((set.len(), set.ignored()), (1, Ignored { purpose: 1, ..Ignored::default() }));
    assert!(set.has("2011-04-29") && !set.has("1"));
    assert_eq!(set.find(Algorithm::RS256, Some("2011-04-29")).len(), 1);
    assert_eq!(set.find(Algorithm::RS512, Some("2011-04-29")).len(), 0, "its alg is another");
}

/// RFC 7515, appendices A.2 (RS256) and A.3 (ES256), and RFC 8037, appendix A.4 (EdDSA).
#[test]
fn the_signatures_of_the_rfcs_verify() {
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let set = set(&[rsa, ec, ed25519(json!({}))]);
    assert_eq!(set.len(), 3);
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rs256 = format!(
        "eyJhbGciOiJSUzI1NiJ9.{payload}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let es256 = format!(
        "eyJhbGciOiJFUzI1NiJ9.{payload}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(verifies(&set, Algorithm::RS256, None, &rs256));
    assert!(verifies(&set, Algorithm::ES256, None, &es256));
    assert!(verifies(&set, Algorithm::EdDSA, None, eddsa));
    assert!(!verifies(&set, Algorithm::RS384, None, &rs256));
}

#[test]
fn what_is_no_key_for_signatures_is_passed_over_and_spoils_nothing() {
    let good = ed25519(json!({"kid": "good"}));
    let purpose =
        [json!({"use": "enc"}), json!({"key_ops": ["sign"]}), json!({"key_ops": []}), json!({"use": ""})];
    let kind = [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "EC"}),
        json!({"crv": "X25519"}),
        json!({"crv": "Ed448"}),
        json!({"kty": "EC", "crv": "secp256k1", "y": ED25519}),
        json!({"kty": "okp"}),
        json!({"alg": "ES256"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
    ];
    let malformed = [
        json!({"x": "AAAA"}),
        // Of small order: anybody can sign for it.
        json!({"x": "A".repeat(43)}),
        json!({"x": format!("{ED25519}AA")}),
        json!({"x": "?"}),
        json!({"x": 7}),
        json!({"x": null}),
        json!({"kid": 7}),
        json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}),
        json!({"kty": "EC", "crv": "P-256", "y": ED25519}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
    ];
    let values = json!(["OKP", "sig", null, null, "values", "Ed25519", ED25519, null, null, null, null]);
    let mut keys = vec![json!("text"), json!(7), json!(null), json!([]), json!({}), values, good];
    keys.extend(purpose.iter().chain(&kind).chain(&malformed).map(|more| ed25519(more.clone())));
    let ignored = Ignored {
        purpose: purpose.len() as u64,
        kind: kind.len() as u64,
        malformed: malformed.len() as u64 + 6,
        surplus: 0,
    };
    let set = set(&keys);
    assert_eq!((set.len(), set.ignored()), (1, ignored));
    assert!(set.has("good"));
    let twice =
        format!("{{\"keys\":[{{\"kty\":\"OKP\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{ED25519}\"}}]}}");
    assert_eq!(KeySet::parse(twice.as_bytes()).unwrap().ignored().malformed, 1, "a name that comes twice");
}

#[test]
fn what_is_no_key_set_is_refused_as_a_whole() {
    for document in [
        "",
        "null",
        "[]",
        "{}",
        "[[]]",
        "{\"keys\":7}",
        "{\"keys\":{}}",
        "{\"keys\":[]",
        "<html>",
        "\u{feff}{}",
    ] {
        assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
    }
    assert!(KeySet::parse(b"{\"keys\":[],\"more\":1}").unwrap().is_empty());
}

#[test]
fn coordinates_and_moduli_may_have_other_leading_zeros_than_they_should() {
    let recode = |text: &Value, change: fn(Vec<u8>) -> Vec<u8>| {
        json!(URL_SAFE_NO_PAD.encode(change(URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap())))
    };
    let longer = |bytes: Vec<u8>| [vec![0, 0], bytes].concat();
    let shorter = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    for algorithm in [realtime_testkit::Algorithm::ES512, realtime_testkit::Algorithm::RS256] {
        let signer = Signer::generate(algorithm);
        let jwk = signer.jwk(None);
        let token = signer.sign(&json!({}));
        for change in [longer, shorter] {
            let mut other = jwk.clone();
            for name in ["x", "y", "n", "e"] {
                if other[name].is_string() {
                    other[name] = recode(&other[name], change);
                }
            }
            let algorithm = if jwk["kty"] == "EC" { Algorithm::ES512 } else { Algorithm::RS256 };
            assert!(verifies(&set(&[other.clone()]), algorithm, None, &token), "{other}");
        }
        // And padding, which RFC 7515 does not have.
        let padded = with(jwk.clone(), json!({"e": "AQAB", "kid": "padded"}));
        assert_eq!(set(&[padded]).len(), 1);
    }
    let padded = ed25519(json!({"x": format!("{ED25519}=")}));
    assert_eq!(set(&[padded]).len(), 1);
}

#[test]
fn a_key_id_selects_and_its_absence_selects_all_within_bounds() {
    let keys: Vec<_> =
        (0..20).map(|n| ed25519(json!({"kid": format!("{}", n % 19)}))).chain([ed25519(json!({}))]).collect();
    let set = set(&keys);
    assert_eq!(set.len(), 21);
    assert_eq!(set.find(Algorithm::EdDSA, Some("0")).len(), 2, "an id may come twice");
    assert_eq!(set.find(Algorithm::EdDSA, Some("1")).len(), 1, "a key without id does not match");
    assert_eq!(set.find(Algorithm::EdDSA, Some("19")).len(), 0);
    assert_eq!(set.find(Algorithm::EdDSA, None).len(), 16);
    let many: Vec<_> = (0..MAX_SET_KEYS + 5).map(|n| ed25519(json!({"kid": format!("{n}")}))).collect();
    let many = self::set(&many);
    assert_eq!((many.len(), many.ignored().surplus), (MAX_SET_KEYS, 5));
}

/// An application whose keys come from the endpoint, and a gate for it.
fn world(endpoint: &KeyEndpoint, more: Value) -> (Arc<App>, Gate) {
    let gate = gate(64).with_jwks(JwksCache::new(true));
    (compile(endpoint, more, &gate), gate)
}

fn compile(endpoint: &KeyEndpoint, more: Value, gate: &Gate) -> Arc<App> {
    let key = with(endpoint.key_config(), more);
    let config = config(json!({"authKey": key, "adminKey": key}));
    Arc::new(App::compile(config, 1, gate.jwks()).unwrap())
}

fn claims() -> Value {
    json!({"aud": "realtime", "sub": "ann"})
}

async fn admit(gate: &Gate, app: &Arc<App>, token: &str) -> Result<(), ApiError> {
    gate.admit_client(app, HERE, Some(token), NOW).await.map(drop)
}

fn code(result: Result<(), ApiError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

/// A storm of clients whose key is new, or nobody's: as many as may wait are answered by one fetch, the others
/// are told to come again.
#[tokio::test]
async fn ten_thousand_clients_with_an_unknown_key_id_cause_one_fetch() {
    let signer = Signer::generate(realtime_testkit::Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::Silence).await;
    let (app, gate) = world(&endpoint, json!({}));
    let gate = Arc::new(gate);
    let tokens: Vec<_> =
        (0..10_000).map(|n| signer.sign_with_kid(&format!("unknown {n}"), &claims())).collect();
    let storm: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let (gate, app) = (Arc::clone(&gate), Arc::clone(&app));
            tokio::spawn(async move { admit(&gate, &app, &token).await })
        })
        .collect();
    // All have asked: those without a place have been sent away, and the endpoint has its one request.
    eventually("the storm", async || {
        (gate.jwks().stats().crowded == 10_000 - 4096 && endpoint.requests() == 1).then_some(())
    })
    .await;
    endpoint.answer(Answer::keys(&[signer.jwk(Some("known"))]));
    let (mut unauthenticated, mut unavailable) = (0, 0);
    for client in storm {
        match within("an answer", client).await.unwrap() {
            Err(refused) if refused.code == ErrorCode::Unauthenticated => unauthenticated += 1,
            Err(refused) if refused.code == ErrorCode::Unavailable && refused.retry_after.is_some() => {
                unavailable += 1
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((unauthenticated, unavailable), (4096, 10_000 - 4096));
    for n in 0..1000 {
        let token = signer.sign_with_kid(&format!("unknown {n}"), &claims());
        assert_eq!(code(admit(&gate, &app, &token).await), Some(ErrorCode::Unauthenticated));
    }
    assert!(admit(&gate, &app, &signer.sign_with_kid("known", &claims())).await.is_ok());
    assert_eq!((endpoint.requests(), gate.jwks().stats().fetches), (1, 1));
}

#[tokio::test]
async fn a_remembered_token_is_refused_once_its_key_has_left_the_set() {
    let signer = Signer::generate(realtime_testkit::Algorithm::EdDSA);
    let endpoint = KeyEndpoint::start(Answer::keys(&[signer.jwk(Some("old"))])).await;
    let (app, gate) = world(&endpoint, json!({}));
    let token = signer.sign_with_kid("old", &claims());
    for _ in 0..3 {
        assert!(admit(&gate, &app, &token).await.is_ok());
    }
    // The first token is remembered with the generation before the first fetch, the second for good.
    assert_eq!((gate.stats().verified, gate.stats().cached), (2, 1));
    endpoint.answer(Answer::keys(&[]));
    // The application goes and comes back, in the place of a refresh, which a test cannot wait for.
    drop(app);
    let app = compile(&endpoint, json!({}), &gate);
    assert_eq!(code(admit(&gate, &app, &token).await), Some(ErrorCode::Unauthenticated));
}

#[tokio::test]
async fn both_keys_of_an_application_and_its_next_version_share_one_fetch() {
    let signer = Signer::generate(realtime_testkit::Algorithm::ES384);
    let endpoint = KeyEndpoint::start(Answer::keys(&[signer.jwk(Some("k"))])).await;
    let (app, gate) = world(&endpoint, json!({}));
    let token = signer.sign_with_kid("k", &claims());
    assert!(admit(&gate, &app, &token).await.is_ok());
    assert!(gate.admit_admin(&app, HERE, Some(&token), NOW).await.is_ok());
    let stricter = compile(&endpoint, json!({"issuer": ["somebody"]}), &gate);
    drop(app);
    let refused = admit(&gate, &stricter, &token).await;
    assert_eq!(code(refused), Some(ErrorCode::Unauthenticated), "its policy is new");
    let next = compile(&endpoint, json!({}), &gate);
    drop(stricter);
    assert!(admit(&gate, &next, &token).await.is_ok());
    assert_eq!((endpoint.requests(), gate.jwks().stats().sets), (1, 1));
    drop(next);
    assert_eq!(gate.jwks().stats().sets, 0);
}

#[tokio::test]
async fn the_configured_algorithms_bound_what_a_set_may_do() {
    let signer = Signer::generate(realtime_testkit::Algorithm::RS256);
    let mut jwk = signer.jwk(None);
    jwk.as_object_mut().unwrap().remove("alg");
    let endpoint = KeyEndpoint::start(Answer::keys(&[jwk])).await;
    let (any, gate) = world(&endpoint, json!({}));
    let token = signer.sign(&claims());
    assert!(admit(&gate, &any, &token).await.is_ok(), "without a list every asymmetric algorithm");
    let other = compile(&endpoint, json!({"algorithms": ["PS256", "ES256"]}), &gate);
    assert_eq!(code(admit(&gate, &other, &token).await), Some(ErrorCode::Unauthenticated));
    let same = compile(&endpoint, json!({"algorithms": ["RS256"]}), &gate);
    assert!(admit(&gate, &same, &token).await.is_ok());
    let hmac = issue::sign(Algorithm::HS256, "secret", &claims().to_string(), None).unwrap();
    assert_eq!(code(admit(&gate, &any, &hmac).await), Some(ErrorCode::Unauthenticated));
}

#[tokio::test]
async fn only_public_https_is_fetched_without_the_flag() {
    let signer = Signer::generate(realtime_testkit::Algorithm::ES256);
    let plain = KeyEndpoint::start(Answer::keys(&[signer.jwk(None)])).await;
    let tls = KeyEndpoint::start_tls(Answer::keys(&[signer.jwk(None)])).await;
    for endpoint in [&plain, &tls] {
        let gate = gate(0).with_jwks(JwksCache::new(false));
        let app = compile(endpoint, json!({}), &gate);
        let refused = admit(&gate, &app, &signer.sign(&claims())).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after.is_some()), (ErrorCode::Unavailable, true));
        let stats = gate.jwks().stats();
        assert!(stats.failures.contains(&("refused", 1)), "{stats:?}");
        assert_eq!(endpoint.requests(), 0, "localhost was resolved, and not connected to");
    }
}

#[test]
fn an_url_that_can_never_be_fetched_is_refused_when_it_is_written() {
    let document = |uri: &str| {
        let key = json!({"source": "jwks", "jwksUri": uri, "audience": "a"});
        config(json!({"authKey": key}))
    };
    let (strict, lax) = (JwksCache::new(false), JwksCache::new(true));
    for uri in ["http://id.example/keys", "https://127.0.0.1/", "https://[fd00::1]:8443/keys"] {
        let errors = strict.check(&document(uri), None).unwrap_err();
        assert_eq!(errors.0[0].field, "authKey.jwksUri", "{uri}");
        assert!(strict.check(&document(uri), Some(&document(uri))).is_ok(), "what is there may stay");
        assert!(lax.check(&document(uri), None).is_ok());
        assert!(JwksCache::offline().check(&document(uri), None).is_ok());
    }
    assert!(strict.check(&document("https://id.example/keys"), None).is_ok());
}
