//! Form and claims of tokens: what is checked besides the signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_auth::{Caller, MAX_TOKEN_BYTES, issue};
use realtime_proto::ErrorCode;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};

use crate::support::{NOW, SECRET, admit, admit_admin, app, token};

/// What a client with these claims gets: nothing, or the refusal's text.
fn refusal(app_extra: Value, claims: &Value) -> Option<String> {
    refusal_of(&app_extra, &token(claims))
}

fn refusal_of(app_extra: &Value, token: &str) -> Option<String> {
    let error = admit(&app(app_extra.clone()), token).err()?;
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    Some(error.detail)
}

#[track_caller]
fn assert_refused(claims: &Value, about: &str) {
    let detail = refusal(json!({}), claims).unwrap_or_else(|| panic!("{claims} passed"));
    assert!(detail.contains(about), "{claims}: {detail}");
}

#[test]
fn expiry_counts_with_five_seconds_of_leeway() {
    for exp in [json!(NOW + 60), json!(NOW), json!(NOW - 4), json!(NOW as f64 - 4.5), json!(1e300)] {
        assert_eq!(refusal(json!({}), &json!({"exp": exp})), None, "{exp}");
    }
    for exp in [json!(NOW - 5), json!(NOW as f64 - 5.5), json!(0), json!(-1), json!(-1e300)] {
        assert_refused(&json!({"exp": exp}), "has expired");
    }
    for exp in [json!("4102444800"), json!(null), json!(true), json!([1]), json!({})] {
        assert_refused(&json!({"exp": exp}), "exp claim is not a number");
    }
}

#[test]
fn expiry_is_known_to_the_session_and_bounded() {
    let expires_at = |claims: &Value| admit(&app(json!({})), &token(claims)).unwrap().expires_at;
    assert_eq!(expires_at(&json!({})), None);
    assert_eq!(expires_at(&json!({"exp": NOW + 9})), Some(NOW + 9));
    assert_eq!(expires_at(&json!({"exp": NOW as f64 + 8.25})), Some(NOW + 9));
    assert_eq!(expires_at(&json!({"exp": 1e300})), Some(253_402_300_799));
}

#[test]
fn not_before_counts_with_five_seconds_of_leeway() {
    for nbf in [json!(NOW), json!(NOW + 5), json!(0), json!(NOW as f64 + 4.5)] {
        assert_eq!(refusal(json!({}), &json!({"nbf": nbf})), None, "{nbf}");
    }
    for nbf in [json!(NOW + 6), json!(NOW as f64 + 5.5), json!(1e300)] {
        assert_refused(&json!({"nbf": nbf}), "not valid yet");
    }
    assert_refused(&json!({"nbf": "0"}), "nbf claim is not a number");
}

#[test]
fn a_configured_issuer_must_be_present() {
    let key = |issuer: Value| json!({"authKey": {"source": "raw", "key": SECRET, "algorithms": ["HS256"], "issuer": issuer}});
    assert_eq!(refusal(key(json!([])), &json!({})), None);
    assert_eq!(refusal(key(json!([])), &json!({"iss": "any"})), None);
    assert_eq!(refusal(key(json!(["a", "b"])), &json!({"iss": "b"})), None);
    for iss in
        [json!({}), json!({"iss": "c"}), json!({"iss": "A"}), json!({"iss": ["a"]}), json!({"iss": null})]
    {
        let detail = refusal(key(json!(["a", "b"])), &iss).unwrap();
        assert!(detail.contains("issuer"), "{iss}: {detail}");
    }
}

#[test]
fn a_configured_audience_must_be_present() {
    let key = json!({"authKey":
        {"source": "raw", "key": SECRET, "algorithms": ["HS256"], "issuer": [], "audience": "me"}});
    for aud in [json!("me"), json!(["me"]), json!(["you", "me"])] {
        assert_eq!(refusal(key.clone(), &json!({"aud": aud})), None, "{aud}");
    }
    for aud in [json!("you"), json!([]), json!(["you"]), json!(["me", 1]), json!(null), json!({"me": 1})] {
        let detail = refusal(key.clone(), &json!({"aud": aud})).unwrap();
        assert!(detail.contains("aud"), "{aud}: {detail}");
    }
    assert!(refusal(key, &json!({})).unwrap().contains("audience"));
    assert_eq!(refusal(json!({}), &json!({"aud": "you"})), None, "none is configured");
}

#[test]
fn a_clients_subject_can_be_part_of_a_topic() {
    let subject = |claims: &Value| admit(&app(json!({})), &token(claims)).unwrap().subject.clone();
    assert_eq!(subject(&json!({})), None);
    assert_eq!(subject(&json!({"sub": "ann"})).as_deref(), Some("ann"));
    let longest = "é".repeat(125);
    assert_eq!(subject(&json!({"sub": longest})).as_deref(), Some(&*longest));
    for sub in [
        json!(""),
        json!("x".repeat(251)),
        json!("a\u{0}b"),
        json!("a\u{7f}"),
        json!("acks"),
        json!("errors"),
        json!(7),
        json!(null),
        json!(["ann"]),
    ] {
        assert_refused(&json!({"sub": sub}), "sub claim");
    }
}

#[test]
fn an_admin_tokens_subject_may_be_anything() {
    for (sub, subject) in [(json!(""), Some("")), (json!("acks"), Some("acks")), (json!(7), None)] {
        match admit_admin(&app(json!({})), &token(&json!({"sub": sub}))).unwrap() {
            Caller::App { app_id, identity } => {
                assert_eq!(app_id.as_str(), "test");
                assert_eq!(identity.subject.as_deref(), subject);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_first_permission_claim_that_is_present_decides() {
    let list = |claims: Value| {
        let identity = admit(&app(json!({})), &token(&claims)).unwrap();
        identity.permissions.list().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(list(json!({})), none);
    assert_eq!(list(json!({"permissions": ["a", "b c"]})), ["a", "b c"]);
    assert_eq!(list(json!({"permissions": "a  b "})), ["a", "b"]);
    assert_eq!(list(json!({"scp": ["a"], "scope": "b"})), ["a"]);
    assert_eq!(list(json!({"scope": "a b"})), ["a", "b"]);
    assert_eq!(list(json!({"permissions": ["p"], "scp": ["s"], "scope": "o"})), ["p"]);
    assert_eq!(list(json!({"permissions": [], "scp": ["s"]})), none, "present though empty");
    assert_eq!(list(json!({"permissions": "", "scp": ["s"]})), none, "present though empty");
    assert_eq!(list(json!({"permissions": null, "scp": ["s"]})), ["s"], "null is absent");
    assert_eq!(list(json!({"permissions": ["p"], "scp": 7})), ["p"], "not looked at");
}

#[test]
fn a_permission_claim_of_another_type_is_refused_by_name() {
    for claim in ["permissions", "scp", "scope"] {
        for value in [json!(7), json!(true), json!({}), json!(["a", 7]), json!([null]), json!([["a"]])] {
            let claims = json!({claim: value});
            assert_refused(&claims, &format!("its {claim} claim"));
        }
    }
}

#[test]
fn a_token_is_three_segments_of_strict_base64url() {
    let good = token(&json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let (head, body, tail) = (parts[0], parts[1], parts[2]);
    assert_eq!(refusal_of(&json!({}), &good), None);
    for bad in [
        "x".to_owned(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{head}.{body}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{tail}"),
        format!("{head}..{tail}"),
        format!("{head}=.{body}.{tail}"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{head}.{body}\n.{tail}"),
        format!("{head}.{body}.{}", tail.replace(['-', '_'], "+").replacen(char::is_alphanumeric, "/", 1)),
    ] {
        let detail = refusal_of(&json!({}), &bad).unwrap_or_else(|| panic!("{bad} passed"));
        assert!(detail.contains("malformed"), "{bad}: {detail}");
    }
}

#[test]
fn a_signature_has_one_spelling() {
    // 32 bytes are 43 characters, the last of which has two unused bits: they must be zero.
    let good = token(&json!({}));
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(good.chars().last().unwrap()).unwrap();
    let respelled = format!("{}{}", &good[..good.len() - 1], &alphabet[last + 1..=last + 1]);
    assert!(refusal_of(&json!({}), &respelled).unwrap().contains("base64url"));
}

#[test]
fn a_token_has_at_most_8_kib() {
    // Base64 grows by a third; one more payload character moves the length by one or two.
    let of = |padding: usize| token(&json!({"x": "x".repeat(padding)}));
    let fits = (0..).take_while(|&n| of(6_000 + n).len() <= MAX_TOKEN_BYTES).last().unwrap();
    assert_eq!(refusal_of(&json!({}), &of(6_000 + fits)), None);
    assert!(refusal_of(&json!({}), &of(6_000 + fits + 1)).unwrap().contains("larger than 8 KiB"));
}

#[test]
fn headers_are_plain() {
    let with = |header: &str| {
        let token = issue::sign_as_is(Algorithm::HS256, SECRET, header, "{}").unwrap();
        refusal_of(&json!({}), &token)
    };
    for good in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"jwt"}"#,
        r#"{"alg":"HS256","typ":"at+JWT","kid":"k","x":[1,{}]}"#,
        r#" { "typ" : "application/at+jwt" , "alg" : "HS256" } "#,
    ] {
        assert_eq!(with(good), None, "{good}");
    }
    for (bad, about) in [
        ("", "JSON object"),
        ("[]", "JSON object"),
        (r#""HS256""#, "JSON object"),
        (r#"{"alg":"HS256"}{}"#, "JSON object"),
        (r#"{"alg":"HS256","alg":"HS256"}"#, "JSON object"),
        (r#"{"alg":"none","\u0061lg":"HS256"}"#, "JSON object"),
        (r#"{"alg":"HS256","kid":"a","kid":"b"}"#, "JSON object"),
        ("{}", "alg must be a string"),
        (r#"{"alg":null}"#, "alg must be a string"),
        (r#"{"alg":["HS256"]}"#, "alg must be a string"),
        (r#"{"alg":"HS256","kid":7}"#, "kid must be a string"),
        (r#"{"alg":"HS256","typ":"logout+jwt"}"#, "typ must be"),
        (r#"{"alg":"HS256","typ":7}"#, "typ must be"),
        (r#"{"alg":"HS256","crit":["exp"]}"#, "critical"),
        (r#"{"alg":"HS256","crit":[]}"#, "critical"),
        (r#"{"alg":"HS256","crit":null}"#, "critical"),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, "critical"),
    ] {
        let detail = with(bad).unwrap_or_else(|| panic!("{bad} passed"));
        assert!(detail.contains(about), "{bad}: {detail}");
    }
}

#[test]
fn a_payload_is_one_object_whose_claims_are_unique() {
    let header = r#"{"alg":"HS256"}"#;
    let with = |payload: &str| {
        let token = issue::sign_as_is(Algorithm::HS256, SECRET, header, payload).unwrap();
        refusal_of(&json!({}), &token)
    };
    assert_eq!(with(r#"{"x":1,"x":2}"#), None, "claims that nobody reads may repeat");
    for claim in ["iss", "aud", "exp", "nbf", "sub", "permissions", "scp", "scope"] {
        let detail = with(&format!(r#"{{"{claim}":"a","{claim}":"a"}}"#)).unwrap();
        assert!(detail.contains("unique claims"), "{claim}: {detail}");
    }
    for bad in ["", "null", "[]", "\"x\"", "{", "{}{}", "{\"exp\":1e999}", "{\"exp\":NaN}"] {
        assert!(with(bad).unwrap().contains("JSON object"), "{bad}");
    }
}

#[test]
fn a_token_is_utf8_in_what_nobody_reads_too() {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = br#"{"alg":"HS256"}"#;
    for (header, payload) in [
        (&header[..], &b"{\"sub\":\"\xff\"}"[..]),
        (header, b"{\"x\":\"\xff\"}"),
        (header, b"{\"x\":\"\xed\xa0\x80\"}"),
        (b"{\"alg\":\"HS256\",\"x\":\"\xc3\"}", b"{}"),
    ] {
        let token = format!("{}.{}.AAAA", encode(header), encode(payload));
        let detail = refusal_of(&json!({}), &token).unwrap();
        assert!(detail.contains("JSON object"), "{detail}");
    }
}
