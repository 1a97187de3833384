//! Claims and headers: what the libraries take and what we take, with the differences and their reasons.

use std::sync::Arc;

use realtime_auth::{App, issue};
use realtime_differential::{Oracle, Random, seeds};
use realtime_proto::app::Algorithm;
use serde_json::json;

use crate::support::{
    Question, SECRET, admit, app, base64, bytes, oracles, unsigned, verdicts, with_signature,
};

/// The header of a plain token.
const PLAIN: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What is configured here and there alike.
#[derive(Debug, Clone, Copy)]
struct Policy {
    issuer: Option<&'static str>,
    audience: Option<&'static str>,
}

const ANY: Policy = Policy { issuer: None, audience: None };
const ISSUER: Policy = Policy { issuer: Some("me"), audience: None };
const AUDIENCE: Policy = Policy { issuer: None, audience: Some("me") };

const BOTH: Policy = Policy { issuer: Some("me"), audience: Some("me") };

/// Tokens that get the same verdicts for the same reason.
struct Group {
    why: &'static str,
    /// Whether the tokens are taken: by us, by `jsonwebtoken`, by PyJWT.
    taken: [bool; 3],
    policy: Policy,
    /// Headers and payloads. The present is 1,800,000,000; all have a leeway of 5 s.
    tokens: &'static [(&'static str, &'static str)],
}

const ALL: [bool; 3] = [true, true, true];
const NONE: [bool; 3] = [false, false, false];
const ONLY_JSONWEBTOKEN: [bool; 3] = [false, true, false];
const ONLY_PYJWT: [bool; 3] = [false, false, true];
const NOT_WE: [bool; 3] = [false, true, true];
const NOT_PYJWT: [bool; 3] = [true, true, false];

/// Where all agree.
const AGREED: [Group; 9] = [
    Group {
        why: "in time, or without a time",
        taken: ALL,
        policy: ANY,
        tokens: &[
            (PLAIN, "{}"),
            (PLAIN, r#"{"exp":1800000060}"#),
            (PLAIN, r#"{"exp":1800000000}"#),
            (PLAIN, r#"{"exp":1799999996}"#),
            (PLAIN, r#"{"exp":1e300}"#),
            (PLAIN, r#"{"exp":1.8e10}"#),
            (PLAIN, r#"{"exp":253402300800}"#),
            (PLAIN, r#"{"exp":9007199254740993}"#),
            (PLAIN, r#"{"exp":18446744073709551616}"#),
            (PLAIN, r#"{"nbf":1800000000}"#),
            (PLAIN, r#"{"nbf":1800000005}"#),
            (PLAIN, r#"{"nbf":0}"#),
            (PLAIN, r#"{"nbf":-1}"#),
            (PLAIN, r#"{"iat":-1}"#),
        ],
    },
    Group {
        why: "too late, too early, or no number",
        taken: NONE,
        policy: ANY,
        tokens: &[
            (PLAIN, r#"{"exp":1799999995}"#),
            (PLAIN, r#"{"exp":1799999994.5}"#),
            (PLAIN, r#"{"exp":0}"#),
            (PLAIN, r#"{"exp":-0.0}"#),
            (PLAIN, r#"{"exp":-1}"#),
            (PLAIN, r#"{"exp":-1e300}"#),
            (PLAIN, r#"{"exp":"soon"}"#),
            (PLAIN, r#"{"exp":null}"#),
            (PLAIN, r#"{"exp":true}"#),
            (PLAIN, r#"{"exp":[1800000060]}"#),
            (PLAIN, r#"{"exp":{}}"#),
            (PLAIN, r#"{"exp":Infinity}"#),
            (PLAIN, r#"{"exp":NaN}"#),
            (PLAIN, r#"{"exp":1800000060,"exp":1}"#),
            (PLAIN, r#"{"nbf":1800000006}"#),
            (PLAIN, r#"{"nbf":1e300}"#),
            (PLAIN, r#"{"nbf":null}"#),
        ],
    },
    Group {
        why: "nothing is configured that the claim could miss",
        taken: ALL,
        policy: ANY,
        tokens: &[
            (PLAIN, r#"{"iss":7}"#),
            (PLAIN, r#"{"iss":null}"#),
            (PLAIN, r#"{"iss":["me"]}"#),
            (PLAIN, r#"{"aud":[]}"#),
            (PLAIN, r#"{"aud":null}"#),
            (PLAIN, r#"{"permissions":null}"#),
        ],
    },
    Group {
        why: "the configured issuer and audience",
        taken: ALL,
        policy: BOTH,
        tokens: &[
            (PLAIN, r#"{"iss":"me","aud":"me"}"#),
            (PLAIN, r#"{"iss":"me","aud":["me"]}"#),
            (PLAIN, r#"{"iss":"me","aud":["you","me"]}"#),
        ],
    },
    Group {
        why: "not the configured issuer",
        taken: NONE,
        policy: ISSUER,
        tokens: &[
            (PLAIN, "{}"),
            (PLAIN, r#"{"iss":"ME"}"#),
            (PLAIN, r#"{"iss":"me "}"#),
            (PLAIN, r#"{"iss":""}"#),
            (PLAIN, r#"{"iss":["me"]}"#),
            (PLAIN, r#"{"iss":["you","me"]}"#),
            (PLAIN, r#"{"iss":null}"#),
            (PLAIN, r#"{"iss":7}"#),
            (PLAIN, r#"{"iss":{"me":1}}"#),
        ],
    },
    Group {
        why: "not the configured audience",
        taken: NONE,
        policy: AUDIENCE,
        tokens: &[
            (PLAIN, "{}"),
            (PLAIN, r#"{"aud":"ME"}"#),
            (PLAIN, r#"{"aud":"me you"}"#),
            (PLAIN, r#"{"aud":["you"]}"#),
            (PLAIN, r#"{"aud":[]}"#),
            (PLAIN, r#"{"aud":[["me"]]}"#),
            (PLAIN, r#"{"aud":7}"#),
            (PLAIN, r#"{"aud":null}"#),
            (PLAIN, r#"{"aud":{"me":1}}"#),
        ],
    },
    Group {
        why: "one JSON object, however it is written",
        taken: ALL,
        policy: ANY,
        tokens: &[
            (PLAIN, " { } "),
            (PLAIN, "\r\n{}\t"),
            (PLAIN, r#"{"x":1,"x":2}"#),
            (PLAIN, r#"{"x":1e999}"#),
            (PLAIN, r#"{"x":"\ud800"}"#),
            (PLAIN, r#"{"x":123456789012345678901234567890123456789012345678901234567890}"#),
            (PLAIN, r#"{"x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#),
            (PLAIN, r#"{"__proto__":{"sub":"x"}}"#),
            (r#" { "alg" : "HS256" } "#, "{}"),
            (r#"{"alg":"HS256","x":1,"x":2}"#, "{}"),
            (r#"{"alg":"HS256","x":"\ud800"}"#, "{}"),
        ],
    },
    Group {
        why: "not one JSON object",
        taken: NONE,
        policy: ANY,
        tokens: &[
            (PLAIN, ""),
            (PLAIN, "{"),
            (PLAIN, "{},"),
            (PLAIN, "{}{}"),
            (PLAIN, "{}//"),
            (PLAIN, "{'a':1}"),
            (PLAIN, r#"{"a":1,}"#),
            (PLAIN, r#"{"x":01}"#),
            (PLAIN, "{\"x\":\"a\nb\"}"),
            (PLAIN, r#"{"x":"\x41"}"#),
            (PLAIN, "null"),
            ("", "{}"),
            ("[]", "{}"),
            ("null", "{}"),
            (r#""HS256""#, "{}"),
            (r#"{"alg":"HS256"}{}"#, "{}"),
        ],
    },
    Group {
        why: "the header's parameters that choose nothing here: the configuration has chosen",
        taken: ALL,
        policy: ANY,
        tokens: &[
            (r#"{"alg":"HS256"}"#, "{}"),
            (r#"{"alg":"HS256","typ":"jwt"}"#, "{}"),
            (r#"{"alg":"HS256","typ":"at+jwt"}"#, "{}"),
            (r#"{"alg":"HS256","typ":"application/at+jwt"}"#, "{}"),
            (r#"{"alg":"HS256","cty":"JWT"}"#, "{}"),
            (r#"{"alg":"HS256","zip":"DEF"}"#, "{}"),
            (r#"{"alg":"HS256","enc":"A128GCM"}"#, "{}"),
            (r#"{"alg":"HS256","b64":true}"#, "{}"),
            (r#"{"alg":"HS256","kid":""}"#, "{}"),
            (r#"{"alg":"HS256","kid":"../../dev/null"}"#, "{}"),
            (r#"{"alg":"HS256","kid":"' OR 1=1 --"}"#, "{}"),
        ],
    },
];

/// Where we differ on purpose. `jsonwebtoken` and PyJWT are asked with the same leeway as ours: their own are 0.
/// (The Rust crate of the name `jsonwebtoken` also requires `exp`, ignores `nbf` and has a leeway of 60 s.)
const DIFFERENCES: [Group; 20] = [
    Group {
        why: "a fraction of a second counts (RFC 7519, 2); PyJWT cuts it off",
        taken: NOT_PYJWT,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"exp":1799999995.5}"#)],
    },
    Group {
        why: "a fraction of a second counts (RFC 7519, 2); PyJWT cuts it off",
        taken: ONLY_PYJWT,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"nbf":1800000005.5}"#)],
    },
    Group {
        why: "a date is a JSON number (RFC 7519, 2); PyJWT makes one of strings and booleans",
        taken: ONLY_PYJWT,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"exp":"1800000060"}"#), (PLAIN, r#"{"nbf":"0"}"#), (PLAIN, r#"{"nbf":false}"#)],
    },
    Group {
        why: "a number that no double holds is no date; for JavaScript it is Infinity",
        taken: ONLY_JSONWEBTOKEN,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"exp":1e999}"#)],
    },
    Group {
        why: "iat tells the token's age and forbids nothing (RFC 7519, 4.1.6)",
        taken: NOT_PYJWT,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"iat":1800000600}"#), (PLAIN, r#"{"iat":"x"}"#), (PLAIN, r#"{"iat":null}"#)],
    },
    Group {
        why: "without a configured audience none is asked for; PyJWT refuses every token that names one",
        taken: NOT_PYJWT,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"aud":"you"}"#), (PLAIN, r#"{"aud":["you"]}"#), (PLAIN, r#"{"aud":7}"#)],
    },
    Group {
        why: "an audience is a string or a list of strings (RFC 7519, 4.1.3); jsonwebtoken looks no further",
        taken: ONLY_JSONWEBTOKEN,
        policy: AUDIENCE,
        tokens: &[(PLAIN, r#"{"aud":["me",7]}"#)],
    },
    Group {
        why: "the subject names a private topic (docs/contract.md 2.1)",
        taken: NOT_WE,
        policy: ANY,
        tokens: &[
            (PLAIN, r#"{"sub":""}"#),
            (PLAIN, r#"{"sub":"acks"}"#),
            (PLAIN, r#"{"sub":"errors"}"#),
            (PLAIN, r#"{"sub":"a\u0000b"}"#),
            (PLAIN, r#"{"sub":"a\u007f"}"#),
        ],
    },
    Group {
        why: "a subject is a string; jsonwebtoken does not read it",
        taken: ONLY_JSONWEBTOKEN,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"sub":7}"#), (PLAIN, r#"{"sub":null}"#), (PLAIN, r#"{"sub":["ann"]}"#)],
    },
    Group {
        why: "nothing here reads jti",
        taken: NOT_PYJWT,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"jti":7}"#), (PLAIN, r#"{"jti":null}"#)],
    },
    Group {
        why: "permissions are strings; the libraries do not know the claim",
        taken: NOT_WE,
        policy: ANY,
        tokens: &[
            (PLAIN, r#"{"permissions":7}"#),
            (PLAIN, r#"{"permissions":["a",7]}"#),
            (PLAIN, r#"{"scp":{}}"#),
            (PLAIN, r#"{"scope":false}"#),
        ],
    },
    Group {
        why: "a claim or parameter that is read must be unique (RFC 7519, 4): readers of the first and readers of the last would see two tokens",
        taken: NOT_WE,
        policy: ANY,
        tokens: &[
            (PLAIN, r#"{"sub":"a","sub":"b"}"#),
            (PLAIN, r#"{"sub":"a","\u0073ub":"b"}"#),
            (PLAIN, r#"{"exp":1,"exp":1800000060}"#),
            (r#"{"alg":"HS256","alg":"HS256"}"#, "{}"),
            (r#"{"alg":"none","alg":"HS256"}"#, "{}"),
        ],
    },
    Group {
        why: "claims are a JSON object (RFC 7519, 7.2); jsonwebtoken passes other values on",
        taken: ONLY_JSONWEBTOKEN,
        policy: ANY,
        tokens: &[(PLAIN, "[]"), (PLAIN, r#""x""#), (PLAIN, "7")],
    },
    Group {
        why: "NaN and a byte order mark are no JSON (RFC 8259); Python reads them",
        taken: ONLY_PYJWT,
        policy: ANY,
        tokens: &[
            (PLAIN, r#"{"x":NaN}"#),
            (PLAIN, "\u{feff}{}"),
            (r#"{"alg":"HS256","x":NaN}"#, "{}"),
            ("\u{feff}{\"alg\":\"HS256\"}", "{}"),
        ],
    },
    Group {
        why: "half a surrogate pair is no character; strings of JavaScript and Python may hold one",
        taken: NOT_WE,
        policy: ANY,
        tokens: &[(PLAIN, r#"{"sub":"\ud800"}"#), (PLAIN, r#"{"\ud800":1}"#)],
    },
    Group {
        why: "an explicit type marks a token made for another purpose (RFC 8725, 3.11)",
        taken: NOT_WE,
        policy: ANY,
        tokens: &[
            (r#"{"alg":"HS256","typ":"logout+jwt"}"#, "{}"),
            (r#"{"alg":"HS256","typ":"JOSE+JSON"}"#, "{}"),
            (r#"{"alg":"HS256","typ":7}"#, "{}"),
            (r#"{"alg":"HS256","typ":null}"#, "{}"),
        ],
    },
    Group {
        why: "critical parameters must be understood (RFC 7515, 4.1.11); jsonwebtoken ignores them",
        taken: ONLY_JSONWEBTOKEN,
        policy: ANY,
        tokens: &[
            (r#"{"alg":"HS256","crit":["exp"]}"#, "{}"),
            (r#"{"alg":"HS256","crit":["x"],"x":1}"#, "{}"),
            (r#"{"alg":"HS256","crit":[]}"#, "{}"),
            (r#"{"alg":"HS256","crit":null}"#, "{}"),
            (r#"{"alg":"HS256","crit":"x"}"#, "{}"),
            (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, "{}"),
        ],
    },
    Group {
        why: "a key id is a string (RFC 7515, 4.1.4); jsonwebtoken does not read it",
        taken: ONLY_JSONWEBTOKEN,
        policy: ANY,
        tokens: &[
            (r#"{"alg":"HS256","kid":7}"#, "{}"),
            (r#"{"alg":"HS256","kid":null}"#, "{}"),
            (r#"{"alg":"HS256","kid":{}}"#, "{}"),
        ],
    },
    Group {
        why: "PyJWT knows b64 (RFC 7797), which JWTs must not use; we understand no extension",
        taken: NOT_WE,
        policy: ANY,
        tokens: &[(r#"{"alg":"HS256","b64":true,"crit":["b64"]}"#, "{}")],
    },
    Group {
        why: "b64 without crit is to be ignored by who does not know it; PyJWT knows it",
        taken: NOT_PYJWT,
        policy: ANY,
        tokens: &[(r#"{"alg":"HS256","b64":false}"#, "{}")],
    },
];

/// An application with a policy.
fn configured(policy: Policy) -> Arc<App> {
    let issuer: Vec<_> = policy.issuer.into_iter().collect();
    let mut key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"], "issuer": issuer});
    if let Some(audience) = policy.audience {
        key["audience"] = json!(audience);
    }
    app(&key).unwrap()
}

fn question(header: &str, payload: &str, policy: Policy) -> Question {
    let token = issue::sign_as_is(Algorithm::HS256, SECRET, header, payload).unwrap();
    Question {
        issuer: policy.issuer,
        audience: policy.audience,
        ..Question::new(token, SECRET, Algorithm::HS256)
    }
}

/// What is wrong with a group.
fn disagreements(group: &Group, node: &Oracle, python: &Oracle) -> Vec<String> {
    let app = configured(group.policy);
    let questions: Vec<_> =
        group.tokens.iter().map(|(header, payload)| question(header, payload, group.policy)).collect();
    let theirs = verdicts(node, &questions).into_iter().zip(verdicts(python, &questions));
    let mut wrong = Vec::new();
    for (((header, payload), question), (node, python)) in group.tokens.iter().zip(&questions).zip(theirs) {
        let ours = admit(&app, &question.token).map(|_| ());
        if [ours.is_ok(), node.is_ok(), python.is_ok()] != group.taken {
            let why = group.why;
            wrong.push(format!(
                "{why}: {header} {payload}: ours {ours:?}, jsonwebtoken {node:?}, PyJWT {python:?}"
            ));
        }
    }
    wrong
}

#[test]
fn claims_and_headers_are_judged_alike_but_for_the_stated_differences() {
    let Some((node, python)) = oracles() else { return };
    assert!(AGREED.iter().all(|group| group.taken == ALL || group.taken == NONE));
    assert!(DIFFERENCES.iter().all(|group| group.taken != ALL && group.taken != NONE));
    let wrong: Vec<_> =
        AGREED.iter().chain(&DIFFERENCES).flat_map(|group| disagreements(group, node, python)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Members of a payload with their verdict under [`BOTH`], which all share.
const MEMBERS: [(&str, bool); 22] = [
    (r#""exp":1800000060"#, true),
    (r#""exp":1e300"#, true),
    (r#""exp":1799999995"#, false),
    (r#""exp":null"#, false),
    (r#""nbf":1800000005"#, true),
    (r#""nbf":0.5"#, true),
    (r#""nbf":1800000006"#, false),
    (r#""iat":1799999999"#, true),
    (r#""iss":"me""#, true),
    (r#""iss":"you""#, false),
    (r#""iss":["me"]"#, false),
    (r#""aud":"me""#, true),
    (r#""aud":["you","me"]"#, true),
    (r#""aud":["you"]"#, false),
    (r#""sub":"ann""#, true),
    (r#""sub":"李 😀""#, true),
    (r#""permissions":["a","b"]"#, true),
    (r#""scope":"a b""#, true),
    (r#""x":{"exp":1,"aud":"you"}"#, true),
    (r#""Exp":1"#, true),
    (r#""":null"#, true),
    (r#""x y":-1.5e-7"#, true),
];

#[test]
fn claims_that_are_judged_alike_alone_are_judged_alike_together() {
    let Some((node, python)) = oracles() else { return };
    let app = configured(BOTH);
    let name = |member: &str| member.split(':').next().unwrap().to_owned();
    for seed in seeds() {
        let mut random = Random::new(seed);
        let mut questions = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..300 {
            // What is configured is mostly there and most of the rest is good, so that both verdicts are frequent.
            let mut members = vec![r#""iss":"me""#, r#""aud":"me""#];
            members.retain(|_| !random.one_in(12));
            for _ in 0..random.below(8) {
                let (member, taken) = *random.pick(&MEMBERS);
                let repeated = members.iter().any(|m| name(m) == name(member));
                if !repeated && (taken || random.one_in(3)) {
                    members.insert(random.below(members.len() + 1), member);
                }
            }
            let all_taken =
                members.iter().all(|m| MEMBERS.iter().any(|(member, taken)| member == m && *taken));
            let good =
                all_taken && ["\"iss\"", "\"aud\""].iter().all(|n| members.iter().any(|m| name(m) == *n));
            questions.push(question(PLAIN, &format!("{{{}}}", members.join(",")), BOTH));
            expected.push((members.join(","), good));
        }
        let theirs = verdicts(node, &questions).into_iter().zip(verdicts(python, &questions));
        for (((members, good), question), (node, python)) in expected.iter().zip(&questions).zip(theirs) {
            let ours = admit(&app, &question.token);
            let verdicts = [ours.is_ok(), node.is_ok(), python.is_ok()];
            assert_eq!(verdicts, [*good; 3], "seed {seed}, {members}: {ours:?}, {node:?}, {python:?}");
        }
        let taken = expected.iter().filter(|(_, good)| *good).count();
        assert!((50..250).contains(&taken), "seed {seed}: {taken} of 300 are good");
    }
}

/// A JWT is UTF-8 (RFC 7519, 7.2). JavaScript puts another character in place of what is not, and Python takes
/// half a surrogate pair; we are the strictest.
#[test]
fn tokens_that_are_not_utf8_are_refused_here() {
    let Some((node, python)) = oracles() else { return };
    let app = configured(ANY);
    let cases = [
        (PLAIN.as_bytes(), &b"{\"sub\":\"\xff\"}"[..], ONLY_JSONWEBTOKEN),
        (PLAIN.as_bytes(), b"{\"x\":\"\xff\"}", ONLY_JSONWEBTOKEN),
        (PLAIN.as_bytes(), b"{\"x\":\"\xed\xa0\x80\"}", NOT_WE),
        (PLAIN.as_bytes(), b"{\"x\":\"\xc0\x80\"}", ONLY_JSONWEBTOKEN),
        (b"{\"alg\":\"HS256\",\"x\":\"\xc3\"}", b"{}", ONLY_JSONWEBTOKEN),
    ];
    for (header, payload, taken) in cases {
        let message = unsigned(header, payload);
        let hmac = json!({"algorithm": "HS256", "key": base64(SECRET), "message": base64(&message)});
        let token = with_signature(&message, bytes(&python.ask("hmac", hmac)));
        let question = [Question::new(&token, SECRET, Algorithm::HS256)];
        let ours = admit(&app, &token);
        let theirs = [node, python].map(|oracle| verdicts(oracle, &question).remove(0));
        assert_eq!(
            [ours.is_ok(), theirs[0].is_ok(), theirs[1].is_ok()],
            taken,
            "{token}: {ours:?}, {theirs:?}"
        );
    }
}
