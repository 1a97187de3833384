//! Which signatures verify, and which forgeries do not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_auth::{App, JwksCache, issue};
use realtime_proto::ErrorCode;
use realtime_proto::app::Algorithm;
use serde_json::json;

use crate::support::{ALGORITHMS, admit, app, client_app, config, raw};

const CLAIMS: &str = r#"{"sub":"ann"}"#;

/// The token's signature replaced by what `change` makes of it.
fn with_signature(token: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = change(URL_SAFE_NO_PAD.decode(signature).unwrap());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header(algorithm: &str) -> String {
    json!({"alg": algorithm, "typ": "JWT"}).to_string()
}

#[test]
fn every_algorithm_verifies_what_a_new_key_has_signed_and_nothing_changed() {
    for algorithm in ALGORITHMS {
        let pair = issue::generate(algorithm);
        let app = client_app(algorithm, &pair.public_pem);
        let token = issue::sign(algorithm, &pair.private_pem, CLAIMS, Some("some-key")).unwrap();
        assert_eq!(admit(&app, &token).unwrap().subject.as_deref(), Some("ann"), "{algorithm:?}");

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(r#"{"sub":"bob"}"#);
        let forged = [
            format!("{head}.{other}.{signature}"),
            with_signature(&token, |mut s| {
                s[0] ^= 1;
                s
            }),
            with_signature(&token, |mut s| {
                *s.last_mut().unwrap() ^= 1;
                s
            }),
            with_signature(&token, |s| s[..s.len() - 1].to_vec()),
            with_signature(&token, |s| s[1..].to_vec()),
            with_signature(&token, |s| [s, vec![0]].concat()),
            with_signature(&token, |s| [vec![0], s].concat()),
            with_signature(&token, |s| vec![0; s.len()]),
            with_signature(&token, |s| vec![0xff; s.len()]),
            with_signature(&token, |_| Vec::new()),
        ];
        for (case, forged) in forged.iter().enumerate() {
            let error = admit(&app, forged).unwrap_err();
            assert_eq!(error.code, ErrorCode::Unauthenticated, "{algorithm:?} {case}");
            assert_eq!(error.detail, "the token's signature does not verify", "{algorithm:?} {case}");
        }
        let stranger = client_app(algorithm, &issue::generate(algorithm).public_pem);
        assert!(admit(&stranger, &token).is_err(), "{algorithm:?}");
    }
}

#[test]
fn zero_and_order_sized_halves_of_an_ecdsa_signature_do_not_verify() {
    for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512] {
        let pair = issue::generate(algorithm);
        let app = client_app(algorithm, &pair.public_pem);
        let token = issue::sign(algorithm, &pair.private_pem, CLAIMS, None).unwrap();
        for (zeroed, kept) in [(0, 1), (1, 0)] {
            let forged = with_signature(&token, |mut s| {
                let half = s.len() / 2;
                s[zeroed * half..][..half].fill(0);
                assert!(s[kept * half..][..half].iter().any(|&b| b != 0));
                s
            });
            assert!(admit(&app, &forged).is_err(), "{algorithm:?}");
        }
    }
}

#[test]
fn the_configuration_chooses_the_algorithm_and_not_the_token() {
    let pair = issue::generate(Algorithm::RS256);
    let app = client_app(Algorithm::RS256, &pair.public_pem);
    // The classic: the public key, known to all, as an HMAC secret.
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let forged = issue::sign(algorithm, &pair.public_pem, CLAIMS, None).unwrap();
        let error = admit(&app, &forged).unwrap_err();
        assert_eq!(error.detail, "the application does not accept the token's algorithm");
    }
    // A good signature of an algorithm that is not configured.
    for algorithm in [Algorithm::RS384, Algorithm::PS256] {
        let token = issue::sign(algorithm, &pair.private_pem, CLAIMS, None).unwrap();
        assert_eq!(admit(&app, &token).unwrap_err().code, ErrorCode::Unauthenticated);
    }
    // One algorithm's signature under another's name.
    let token = issue::sign_as_is(Algorithm::PS256, &pair.private_pem, &header("RS256"), CLAIMS).unwrap();
    assert!(admit(&app, &token).is_err());
}

#[test]
fn a_pem_never_verifies_an_hmac_even_where_the_configuration_lists_both() {
    let pair = issue::generate(Algorithm::ES256);
    let mut config = config(json!({"authKey": raw(Algorithm::ES256, &pair.public_pem)}));
    config.auth_key.algorithms = vec![Algorithm::HS256, Algorithm::ES256];
    let app = App::compile(config, 1, &JwksCache::offline()).unwrap().into();
    let forged = issue::sign(Algorithm::HS256, &pair.public_pem, CLAIMS, None).unwrap();
    let error = admit(&app, &forged).unwrap_err();
    assert_eq!(error.detail, "no key of the application fits the token's algorithm and key id");
    assert!(admit(&app, &issue::sign(Algorithm::ES256, &pair.private_pem, CLAIMS, None).unwrap()).is_ok());
}

#[test]
fn unsigned_tokens_and_unknown_algorithms_are_refused() {
    let app = app(json!({}));
    for name in ["none", "None", "NONE", "nOnE", "hs256", "HS256 ", "ES256K", "Ed25519", ""] {
        let unsigned =
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(header(name)), URL_SAFE_NO_PAD.encode(CLAIMS));
        let error = admit(&app, &unsigned).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{name}");
        assert_eq!(error.detail, "the application does not accept the token's algorithm", "{name}");
    }
}

#[test]
fn a_signature_of_another_curve_does_not_verify_under_this_ones_name() {
    let keys = [
        (Algorithm::ES256, "ES256"),
        (Algorithm::ES384, "ES384"),
        (Algorithm::ES512, "ES512"),
        (Algorithm::EdDSA, "EdDSA"),
    ];
    for (expected, name) in keys {
        let app = client_app(expected, &issue::generate(expected).public_pem);
        for (other, other_name) in keys.into_iter().filter(|(other, _)| *other != expected) {
            let pair = issue::generate(other);
            let posing = issue::sign_as_is(other, &pair.private_pem, &header(name), CLAIMS).unwrap();
            let error = admit(&app, &posing).unwrap_err();
            assert_eq!(error.detail, "the token's signature does not verify", "{other_name} as {name}");
            let honest = issue::sign(other, &pair.private_pem, CLAIMS, None).unwrap();
            assert_eq!(admit(&app, &honest).unwrap_err().code, ErrorCode::Unauthenticated);
        }
    }
}

#[test]
fn any_of_several_keys_verifies() {
    let (old, new) = (issue::generate(Algorithm::ES256), issue::generate(Algorithm::ES256));
    let app = client_app(Algorithm::ES256, &format!("{}\n{}", old.public_pem, new.public_pem));
    for pair in [&old, &new] {
        let token = issue::sign(Algorithm::ES256, &pair.private_pem, CLAIMS, None).unwrap();
        assert!(admit(&app, &token).is_ok());
    }
    let stranger = issue::generate(Algorithm::ES256);
    let token = issue::sign(Algorithm::ES256, &stranger.private_pem, CLAIMS, None).unwrap();
    assert!(admit(&app, &token).is_err());
}

#[test]
fn keys_of_several_kinds_serve_their_own_algorithms() {
    let (es512, rs256) = (issue::generate(Algorithm::ES512), issue::generate(Algorithm::RS256));
    let app = app(json!({"authKey": {
        "source": "raw", "algorithms": ["ES512", "RS256", "PS256"], "issuer": [],
        "key": format!("{}{}", es512.public_pem, rs256.public_pem),
    }}));
    for (algorithm, pair) in
        [(Algorithm::ES512, &es512), (Algorithm::RS256, &rs256), (Algorithm::PS256, &rs256)]
    {
        let token = issue::sign(algorithm, &pair.private_pem, CLAIMS, None).unwrap();
        assert!(admit(&app, &token).is_ok(), "{algorithm:?}");
    }
}
