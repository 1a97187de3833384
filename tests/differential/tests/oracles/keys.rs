//! What may stand where a public key belongs: broken keys, weak ones, other kinds, private ones, other texts. The
//! documented answer is a 422 that names the field; a write to the API asks the code that is asked here.

use realtime_auth::issue;
use realtime_differential::python;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};

use crate::support::{ALGORITHMS, admit, app, raw, unsigned, with_signature};

/// What is taken, and the private key whose tokens must then verify.
const TAKEN: [(&str, &str, Algorithm); 18] = [
    ("P-256", "P-256", Algorithm::ES256),
    // A point has three encodings (SEC 1, 2.3.3), and the library reads all.
    ("P-256 compressed", "P-256", Algorithm::ES256),
    ("P-256 hybrid", "P-256", Algorithm::ES256),
    ("P-256, CRLF", "P-256", Algorithm::ES256),
    ("P-256, no line end", "P-256", Algorithm::ES256),
    ("P-256, text around", "P-256", Algorithm::ES256),
    ("P-256, one long line", "P-256", Algorithm::ES256),
    ("P-256, after a byte order mark", "P-256", Algorithm::ES256),
    ("P-256, indented", "P-256", Algorithm::ES256),
    ("P-256, twice", "P-256", Algorithm::ES256),
    ("P-256, a stranger's before it", "P-256", Algorithm::ES256),
    ("RSA", "RSA", Algorithm::RS256),
    ("RSA, PKCS #1", "RSA", Algorithm::RS256),
    // Weak only with a padding that is not checked, and ours is.
    ("RSA, exponent 3", "RSA, exponent 3", Algorithm::RS256),
    ("RSA without NULL", "RSA", Algorithm::RS256),
    // The two labels of RSA keys are mixed up often, and the content tells them apart.
    ("RSA PKCS #1 labelled PUBLIC KEY", "RSA", Algorithm::RS256),
    ("RSA SPKI labelled RSA PUBLIC KEY", "RSA", Algorithm::RS256),
    // Its owner wants it for PSS alone (RFC 4055, 1.2), and the library keeps to that.
    ("RSA for PSS only", "RSA", Algorithm::PS256),
];

/// What is refused in other words than these: `NO_KEY`.
const REFUSED: [(&str, &str); 30] = [
    ("RSA of 512 bits", "an RSA key of 512 bits"),
    ("RSA of 1024 bits", "an RSA key of 1024 bits"),
    ("RSA of 2047 bits", "an RSA key of 2047 bits"),
    ("RSA of 8193 bits", "an RSA key of 8193 bits"),
    ("RSA of 16384 bits", "an RSA key of 16384 bits"),
    ("private PKCS #8", "is a private key"),
    ("private PKCS #8 after the public key", "is a private key"),
    ("private SEC1", "is a private key"),
    ("private SEC1 after the public key", "is a private key"),
    ("private OpenSSH", "is a private key"),
    ("private OpenSSH after the public key", "is a private key"),
    ("private encrypted", "is a private key"),
    ("private encrypted after the public key", "is a private key"),
    ("private in lower case", "is a private key"),
    ("line ends written as backslash n", "a PEM block that cannot be read"),
    ("END of another label", "a PEM block that cannot be read"),
    ("garbage that is no base64", "a PEM block that cannot be read"),
    ("no END", "must hold a PEM block"),
    ("a good key and half of one", "a PEM block that is incomplete"),
    ("labels in lower case", "in PEM form"),
    ("no BEGIN", "in PEM form"),
    ("bare base64", "in PEM form"),
    ("a word", "in PEM form"),
    ("an SSH key", "in PEM form"),
    ("labelled CERTIFICATE", "is a certificate"),
    ("labelled CERTIFICATE REQUEST", "no PUBLIC KEY"),
    ("labelled EC PARAMETERS", "no PUBLIC KEY"),
    ("EC PARAMETERS before the key", "no PUBLIC KEY"),
    ("labelled PGP", "no PUBLIC KEY"),
    ("P-256 named an RSA key", NO_KEY),
];

const NO_KEY: &str = "no RSA, P-256, P-384, P-521 or Ed25519 public key";

/// Keys for which nobody can sign. No library looks for the point before a signature asks for it, so they are
/// taken; no token verifies, which is a 401.
const USELESS: [&str; 1] = ["Ed25519 off the curve"];

fn asymmetric() -> Vec<Algorithm> {
    ALGORITHMS.into_iter().filter(|algorithm| !algorithm.is_hmac()).collect()
}

#[test]
fn keys_are_taken_or_refused_by_name() {
    let Some(python) = python() else { return };
    let answer = python.ask("forge_keys", json!({}));
    let cases = answer["cases"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: Vec<_> = cases.iter().map(|case| text(&case["name"])).collect();
    let stated =
        TAKEN.iter().map(|taken| taken.0).chain(REFUSED.iter().map(|refused| refused.0)).chain(USELESS);
    for name in stated {
        assert_eq!(names.iter().filter(|n| *n == name).count(), 1, "{name}");
    }
    for case in cases {
        let (name, pem) = (text(&case["name"]), text(&case["pem"]));
        let verdict = app(&raw(&asymmetric(), &pem));
        if let Some((_, private, algorithm)) = TAKEN.iter().find(|taken| taken.0 == name) {
            let app = verdict.unwrap_or_else(|errors| panic!("{name}: {errors}\n{pem}"));
            let token = issue::sign(*algorithm, &text(&answer["private"][private]), "{}", None).unwrap();
            assert_eq!(admit(&app, &token), Ok(None), "{name}\n{pem}");
            if name == "RSA for PSS only" {
                let private = text(&answer["private"][private]);
                let token = issue::sign(Algorithm::RS256, &private, "{}", None).unwrap();
                assert!(admit(&app, &token).is_err(), "{name}\n{pem}");
            }
        } else if USELESS.contains(&&*name) {
            let neutral = [&[1], &[0; 63][..]].concat();
            for signature in [vec![0; 64], vec![0xff; 64], neutral] {
                let token = with_signature(&unsigned(r#"{"alg":"EdDSA"}"#, "{}"), signature);
                assert!(admit(verdict.as_ref().unwrap(), &token).is_err(), "{name}: {token}");
            }
        } else {
            let errors = verdict.err().unwrap_or_else(|| panic!("{name} is taken\n{pem}")).0;
            let [error] = &errors[..] else { panic!("{name}: {errors:?}") };
            assert_eq!(error.field, "authKey.key", "{name}");
            let about = REFUSED.iter().find(|refused| refused.0 == name).map_or(NO_KEY, |refused| refused.1);
            assert!(error.message.contains(about), "{name}: {}", error.message);
            let repeated = pem.lines().find(|line| line.len() > 30 && error.message.contains(line));
            assert_eq!(repeated, None, "{name}: {}", error.message);
        }
    }
}
