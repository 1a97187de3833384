//! The documents behind a key set's URL.

use realtime_auth::jwks::{KeySet, MAX_SET_KEYS};
use realtime_auth::keys::MAX_KEYS;
use realtime_proto::app::Algorithm;
use serde_json::Value;

/// One of each family.
const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::HS256,
    Algorithm::RS256,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

/// A key set's document. Whatever it says, what comes out keeps the limits, no key serves a symmetric algorithm
/// or two, and reading it again gives the same set.
pub fn key_set(data: &[u8]) {
    let Ok(set) = KeySet::parse(data) else { return };
    // Not everything that the set skips can be held: numbers out of range, deep nesting.
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let entries = document["keys"].as_array().expect("a key set is a list");
    let ignored = set.ignored();
    let passed_over = ignored.purpose + ignored.kind + ignored.malformed + ignored.surplus;
    assert_eq!(set.len() as u64 + passed_over, entries.len() as u64, "every entry is used or counted");
    assert!(set.len() <= MAX_SET_KEYS);
    let kids = entries.iter().filter_map(|key| key.get("kid")?.as_str());
    for kid in kids.map(Some).chain([None]) {
        for algorithm in ALGORITHMS {
            let found = set.find(algorithm, kid);
            assert!(found.len() <= MAX_KEYS && (found.is_empty() || !algorithm.is_hmac()));
            for key in found.iter() {
                assert_eq!(key.algorithm(), algorithm);
                assert!(!key.verifies(data, &[0; 64]), "a signature of zeros");
            }
            assert!(kid.is_none_or(|kid| found.is_empty() || set.has(kid)));
        }
    }
    assert!(KeySet::parse(data).is_ok_and(|again| again.same_keys(&set)));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sound and broken keys; the values are those of RFC 7515, appendix A.3, and RFC 8037, appendix A.1.
    pub(crate) const KEY_SETS: [&str; 5] = [
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"b","alg":"ES256","use":"sig",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty":"oct","k":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["verify"]},7]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-521","x":"","y":""},{"kty":"EC","crv":"P-384","x":"AA==","y":"AA"}]}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"OKP","kty":"OKP"}],"keys":[]}"#,
    ];

    proptest! {
        /// Members of every kind in every combination.
        #[test]
        fn made_up_keys_hold(keys in prop::collection::vec(made_up_key(), 0..130)) {
            key_set(serde_json::json!({"keys": keys}).to_string().as_bytes());
        }
    }

    fn made_up_key() -> impl Strategy<Value = Value> {
        const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let one_of =
            |values: &'static [&'static str]| prop::option::weighted(0.9, prop::sample::select(values));
        let members = (
            one_of(&["OKP", "OKP", "EC", "RSA", "oct", ""]),
            one_of(&["Ed25519", "Ed25519", "P-256", "P-521", "X25519"]),
            one_of(&[X, X, "AA", "?"]),
            one_of(&["a", "b", ""]),
            prop::option::weighted(0.2, prop::sample::select(&["EdDSA", "ES256", "HS256", "none"][..])),
            prop::option::weighted(0.2, prop::sample::select(&["sig", "enc"][..])),
        );
        members.prop_map(|(kty, crv, x, kid, alg, purpose)| {
            let members = [
                ("kty", kty),
                ("crv", crv),
                ("x", x),
                ("n", x),
                ("y", x),
                ("e", x),
                ("kid", kid),
                ("alg", alg),
                ("use", purpose),
            ];
            let present =
                members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
            Value::Object(present.collect())
        })
    }
}
