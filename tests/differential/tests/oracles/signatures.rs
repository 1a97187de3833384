//! Malformed and displaced signatures, forged from a fresh key in the manner of Project Wycheproof. The verdicts
//! of OpenSSL (through Node) and of PyJWT are asked too: all three take the same ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_auth::issue;
use realtime_differential::Oracle;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};

use crate::issued::{kind, our_keys};
use crate::support::{
    ALGORITHMS, SECRET, admit, base64, bytes, client_app, name, oracles, unsigned, with_signature,
};

/// The good ones. With ECDSA `(r, n - s)` verifies wherever `(r, s)` does; JWS asks for neither half (RFC 7518, 3.4),
/// and a token is no identifier here, so that a second spelling gains nobody anything.
const TAKEN: [&str; 3] = ["valid", "valid, computed here", "s negated modulo the order"];

#[test]
fn forged_signatures_are_refused_by_all_and_good_ones_taken_by_all() {
    let Some((node, python)) = oracles() else { return };
    let asymmetric = ALGORITHMS.into_iter().filter(|algorithm| !algorithm.is_hmac());
    let mut forged = 0;
    for algorithm in asymmetric {
        forged += assert_all_agree(algorithm, node, python);
    }
    assert!(forged > 400, "only {forged} were forged");
}

/// How many signatures were refused.
fn assert_all_agree(algorithm: Algorithm, node: &Oracle, python: &Oracle) -> usize {
    let pair = &our_keys()[kind(algorithm)];
    let app = client_app(algorithm, &pair.public);
    let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
    let message = unsigned(header, r#"{"sub":"ann"}"#);
    let forge = json!({"algorithm": algorithm, "key": pair.private, "message": base64(&message)});
    let cases = python.ask("forge_signatures", forge);
    let cases = cases.as_array().unwrap();

    let raw: Vec<_> = cases
        .iter()
        .map(|case| {
            json!({
                "algorithm": algorithm, "key": pair.public,
                "message": base64(&message), "signature": case["signature"],
            })
        })
        .collect();
    let question = json!({"cases": raw});
    let openssl = node.ask("verify_raw", question.clone());
    let pyjwt = python.ask("verify_raw", question);

    for (index, case) in cases.iter().enumerate() {
        let about = case["name"].as_str().unwrap();
        let ours = admit(&app, &with_signature(&message, bytes(&case["signature"])));
        let verdicts = json!([ours.is_ok(), openssl[index], pyjwt[index]]);
        let expected = TAKEN.contains(&about);
        assert_eq!(
            verdicts,
            Value::from([expected; 3]),
            "{algorithm:?}, {about}: {case} of {} over {message}",
            pair.public
        );
        if let Err(detail) = ours {
            assert_eq!(detail, "the token's signature does not verify", "{algorithm:?}, {about}");
        }
    }
    let good = cases.iter().filter(|case| TAKEN.contains(&case["name"].as_str().unwrap())).count();
    assert!(good > 0, "{algorithm:?}");
    cases.len() - good
}

/// A signature whose number is small has leading zeros, which belong to it (RFC 8017, 8.1.2 and 8.2.2). OpenSSL
/// does not count the bytes of a PSS signature; we do.
#[test]
fn leading_zeros_of_an_rsa_signature_may_not_be_left_out() {
    let Some((node, python)) = oracles() else { return };
    let pair = &our_keys()["rsa"];
    for algorithm in [Algorithm::RS256, Algorithm::PS256] {
        let app = client_app(algorithm, &pair.public);
        // One in 256 begins with a zero; no end of numbers, so that the search never misses.
        let (message, signature) = (0..)
            .find_map(|number| {
                let claims = json!({"sub": "ann", "number": number}).to_string();
                let token = issue::sign(algorithm, &pair.private, &claims, None).unwrap();
                let (message, signature) = token.rsplit_once('.').unwrap();
                let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
                (signature[0] == 0).then(|| (message.to_owned(), signature))
            })
            .unwrap();
        let openssl_takes_short = algorithm == Algorithm::PS256;
        let cases = [
            (&signature[..], [true; 3]),
            (&signature[1..], [false, openssl_takes_short, openssl_takes_short]),
        ];
        for (signature, taken) in cases {
            let ours = admit(&app, &with_signature(&message, signature));
            let case = json!({
                "algorithm": algorithm, "key": pair.public,
                "message": base64(&message), "signature": base64(signature),
            });
            let question = json!({"cases": [case]});
            let theirs = [node, python].map(|oracle| oracle.ask("verify_raw", question.clone())[0].clone());
            assert_eq!(json!([ours.is_ok(), theirs[0], theirs[1]]), json!(taken), "{algorithm:?}");
        }
    }
}

#[test]
fn an_hmac_is_taken_whole_and_of_its_own_hash_and_secret_only() {
    let Some((_, python)) = oracles() else { return };
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let app = client_app(algorithm, SECRET);
        let message = unsigned(json!({"alg": algorithm}).to_string(), r#"{"sub":"ann"}"#);
        let hmac = |named: &str, key: &[u8], message: &str| {
            let question = json!({"algorithm": named, "key": base64(key), "message": base64(message)});
            bytes(&python.ask("hmac", question))
        };
        let own = name(algorithm);
        let good = hmac(&own, SECRET.as_bytes(), &message);
        assert!(admit(&app, &with_signature(&message, &good)).is_ok());

        let mut bad: Vec<_> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
        bad.extend((1..good.len()).map(|from| good[from..].to_vec()));
        bad.push([&good[..], &[0]].concat());
        bad.push([&[0], &good[..]].concat());
        bad.push(good.repeat(2));
        bad.push(good.iter().rev().copied().collect());
        bad.push(vec![0; good.len()]);
        for other in ["HS256", "HS384", "HS512"].into_iter().filter(|other| *other != own) {
            bad.push(hmac(other, SECRET.as_bytes(), &message));
            bad.push(hmac(other, SECRET.as_bytes(), &message)[..32].to_vec());
        }
        // Secrets as they are mangled on their way: the empty one, with a line's end, decoded, encoded.
        let encoded = URL_SAFE_NO_PAD.encode(SECRET);
        for secret in ["", "\n", &format!("{SECRET}\n"), &format!("{SECRET}\0"), &SECRET[1..], &encoded] {
            // Shorter keys are filled with zeros up to the hash's block, which no secret of 64 bytes in 128 differs from.
            let same = algorithm != Algorithm::HS256 && secret == format!("{SECRET}\0");
            if !same {
                bad.push(hmac(&own, secret.as_bytes(), &message));
            }
        }
        bad.push(hmac(&own, SECRET.as_bytes(), &format!("{message}.")));
        for signature in bad {
            assert!(admit(&app, &with_signature(&message, &signature)).is_err(), "{own} {signature:02x?}");
        }
    }
}
