//! Tokens spelled otherwise: padding, spaces, other alphabets, other serializations, and random changes of their
//! text. Here a token has one spelling; the libraries take some others of the signature, which sign nothing else.

use realtime_auth::issue;
use realtime_differential::{Random, seeds};
use realtime_proto::app::Algorithm;
use serde_json::json;

use crate::issued::{kind, our_keys};
use crate::support::{Question, admit, client_app, oracles, verdicts};

/// Changed tokens for each seed and algorithm.
const CHANGES: usize = 250;

const ALGORITHMS: [Algorithm; 4] = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::ES512];

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn token(algorithm: Algorithm, number: usize) -> String {
    let claims = json!({"sub": "ann", "number": number}).to_string();
    issue::sign(algorithm, &our_keys()[kind(algorithm)].private, &claims, None).unwrap()
}

/// The last character with another value in the bits that a decoder drops, where there are such bits.
fn with_spare_bits(segment: &str) -> String {
    let last = ALPHABET.find(segment.chars().last().unwrap()).unwrap();
    let spare = match segment.len() % 4 {
        0 => 0,
        2 => 0b1111,
        _ => 0b11,
    };
    let changed = last ^ spare;
    format!("{}{}", &segment[..segment.len() - 1], &ALPHABET[changed..=changed])
}

/// Every spelling with its name, and whether `jsonwebtoken` and PyJWT take it of an ES256 token.
fn spellings(token: &str) -> Vec<(&'static str, String, [bool; 2])> {
    let parts: Vec<_> = token.split('.').collect();
    let (head, body, tail) = (parts[0], parts[1], parts[2]);
    let flattened = json!({"protected": head, "payload": body, "signature": tail});
    let general = json!({"payload": body, "signatures": [{"protected": head, "signature": tail}]});
    vec![
        ("as signed", token.to_owned(), [true, true]),
        ("padding at its end", format!("{token}=="), [false, true]),
        ("four spaces at its end", format!("{token}    "), [false, false]),
        ("line ends in the signature", format!("{head}.{body}.\r\n{tail}\r\n"), [false, false]),
        ("a line's end", format!("{token}\n"), [false, false]),
        ("a NUL at its end", format!("{token}\0"), [false, false]),
        // Node's decoder drops the bits that make no byte.
        ("spare bits of the signature", format!("{head}.{body}.{}", with_spare_bits(tail)), [true, false]),
        ("padding of the header", format!("{head}==.{body}.{tail}"), [false, false]),
        ("padding of the payload", format!("{head}.{body}=.{tail}"), [false, false]),
        ("a space before", format!(" {token}"), [false, false]),
        ("a space in the payload", format!("{head}.{body} .{tail}"), [false, false]),
        ("a byte order mark before", format!("\u{feff}{token}"), [false, false]),
        ("with its scheme", format!("Bearer {token}"), [false, false]),
        ("in quotes", format!("\"{token}\""), [false, false]),
        ("a dot at its end", format!("{token}."), [false, false]),
        ("a dot before", format!(".{token}"), [false, false]),
        ("a fourth segment", format!("{token}.{tail}"), [false, false]),
        ("five segments", format!("{head}.{body}.{body}.{body}.{tail}"), [false, false]),
        ("two segments", format!("{head}.{body}"), [false, false]),
        ("no payload", format!("{head}..{tail}"), [false, false]),
        ("no header", format!(".{body}.{tail}"), [false, false]),
        ("header and payload swapped", format!("{body}.{head}.{tail}"), [false, false]),
        ("dots written as percent codes", token.replace('.', "%2E"), [false, false]),
        ("other dots", token.replace('.', "\u{ff0e}"), [false, false]),
        ("flattened JSON", flattened.to_string(), [false, false]),
        ("general JSON", general.to_string(), [false, false]),
        ("upper case", token.to_ascii_uppercase(), [false, false]),
        ("nothing", String::new(), [false, false]),
        ("dots only", "..".to_owned(), [false, false]),
    ]
}

#[test]
fn a_token_has_one_spelling_here() {
    let Some((node, python)) = oracles() else { return };
    let algorithm = Algorithm::ES256;
    let key = &our_keys()[kind(algorithm)].public;
    let app = client_app(algorithm, key);
    let token = token(algorithm, 0);
    let spellings = spellings(&token);
    let questions: Vec<_> =
        spellings.iter().map(|(_, text, _)| Question::new(text, key, algorithm)).collect();
    let theirs = verdicts(node, &questions).into_iter().zip(verdicts(python, &questions));
    for ((about, text, taken), (node, python)) in spellings.iter().zip(theirs) {
        assert_eq!(admit(&app, text).is_ok(), *text == token, "{about}: {text}");
        assert_eq!([node.is_ok(), python.is_ok()], *taken, "{about}: {text}: {node:?}, {python:?}");
    }
}

/// The token with one to three random changes of its text.
fn changed(token: &str, random: &mut Random) -> String {
    let mut text: Vec<char> = token.chars().collect();
    let strange = ['.', '=', '+', '/', ' ', '\n', '\0', '"', '%', 'é', '\u{ff0e}', '😀'];
    for _ in 0..=random.below(3) {
        let at = random.below(text.len());
        let character = if random.one_in(3) {
            *random.pick(&strange)
        } else {
            char::from(*random.pick(ALPHABET.as_bytes()))
        };
        match random.below(5) {
            0 => text[at] = character,
            1 => text.insert(at, character),
            2 => drop(text.remove(at)),
            3 => {
                let other = random.below(text.len());
                text.swap(at, other);
            }
            _ => text.truncate(text.len() - random.below(3)),
        }
    }
    text.into_iter().collect()
}

#[test]
fn a_changed_token_is_refused_here_and_signs_nothing_else_there() {
    let Some((node, python)) = oracles() else { return };
    for seed in seeds() {
        let mut random = Random::new(seed);
        for algorithm in ALGORITHMS {
            let key = &our_keys()[kind(algorithm)].public;
            let app = client_app(algorithm, key);
            let original = token(algorithm, random.below(1_000_000));
            let signed = original.rsplit_once('.').unwrap().0;
            let texts: Vec<_> = (0..CHANGES).map(|_| changed(&original, &mut random)).collect();
            let questions: Vec<_> = texts.iter().map(|text| Question::new(text, key, algorithm)).collect();
            let theirs = verdicts(node, &questions).into_iter().zip(verdicts(python, &questions));
            for (text, (node, python)) in texts.iter().zip(theirs) {
                let about = format!("seed {seed}, {algorithm:?}: {text} made of {original}, key {key}");
                assert_eq!(admit(&app, text).is_ok(), *text == original, "{about}");
                let same = text.rsplit_once('.').is_some_and(|(message, _)| message == signed);
                assert!(same || node.is_err(), "jsonwebtoken, {about}");
                assert!(same || python.is_err(), "PyJWT, {about}");
            }
        }
    }
}
