//! Keys to sign with and the tokens made of them: for `token`, `pub`, `sub` and `--demo`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_auth::issue;
use realtime_proto::AppId;
use realtime_proto::app::Algorithm;
use serde_json::{Map, Value, json};

use crate::cli::{SigningArgs, defaults};
use crate::config::{Noted, Resolver, parse};
use crate::failure::Failure;
use crate::private_file;

/// What a key without `--alg` is tried with, in this order; exactly one fits each kind of private key.
const BY_KEY: [Algorithm; 5] =
    [Algorithm::ES512, Algorithm::ES384, Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

/// The file with the private key that `--demo` made for an application.
pub(crate) fn key_file(data_dir: &Path, app: &AppId) -> PathBuf {
    data_dir.join("keys").join(format!("{app}.pem"))
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Signs tokens. Never printed.
#[derive(Clone)]
pub(crate) struct Signer {
    algorithm: Algorithm,
    key: String,
    issuer: Option<String>,
    audience: Option<String>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.algorithm)
    }
}

/// What a token says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    /// `sub`
    pub(crate) subject: Option<String>,
    /// `permissions`
    pub(crate) permissions: Vec<String>,
    /// Seconds until it expires.
    pub(crate) lifetime: Option<u64>,
}

impl Signer {
    /// A signer with a private key in PEM or an HMAC secret. Without an algorithm: the first that fits a PEM key,
    /// HS256 for a secret.
    pub(crate) fn new(key: String, algorithm: Option<Algorithm>) -> Result<Self, String> {
        let algorithm = match algorithm {
            Some(algorithm) => algorithm,
            None if !key.contains("-----BEGIN ") => Algorithm::HS256,
            None => fitting(&key)?,
        };
        // No server takes a PEM as a secret.
        if algorithm.is_hmac() && key.contains("-----BEGIN ") {
            return Err(format!("{algorithm:?} signs with a secret, not with a key in PEM form"));
        }
        let signer = Self { algorithm, key, issuer: None, audience: None };
        // What is wrong with the key is said now, not when the first token is needed.
        signer.sign(&Claims::default()).map(|_| signer)
    }

    /// A signed token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, String> {
        let now = now();
        let mut document = Map::new();
        let mut put = |name: &str, value: Option<Value>| value.map(|v| document.insert(name.to_owned(), v));
        put("sub", claims.subject.as_ref().map(|s| json!(s)));
        put("permissions", Some(json!(claims.permissions)));
        put("iat", Some(json!(now)));
        put("exp", claims.lifetime.map(|seconds| json!(now + seconds)));
        put("iss", self.issuer.as_ref().map(|s| json!(s)));
        put("aud", self.audience.as_ref().map(|s| json!(s)));
        issue::sign(self.algorithm, &self.key, &Value::Object(document).to_string(), None)
    }
}

fn fitting(key: &str) -> Result<Algorithm, String> {
    let mut why = String::new();
    for algorithm in BY_KEY {
        match issue::sign(algorithm, key, "{}", None) {
            Ok(_) => return Ok(algorithm),
            Err(e) => why = e,
        }
    }
    // The last attempt's reason is right for what is no private key at all.
    Err(if key.contains("PRIVATE KEY-----") && !key.contains("ENCRYPTED") {
        "no algorithm fits the key".into()
    } else {
        why
    })
}

/// Where the key of a [`Signer`] comes from.
#[derive(Debug)]
pub(crate) struct SigningConfig {
    key: Option<String>,
    secret: Option<String>,
    algorithm: Option<Algorithm>,
    issuer: Option<String>,
    audience: Option<String>,
    data_dir: PathBuf,
}

impl SigningConfig {
    /// Reads the flags.
    pub(crate) fn resolve(r: &mut Resolver<'_>, args: &SigningArgs) -> Result<Self, Noted> {
        let key = r.text("key", args.key.as_ref());
        let secret = r.secret("secret", args.secret.as_ref());
        let algorithm = r.optional("alg", args.alg.as_ref(), parse::algorithm);
        let issuer = r.text("issuer", args.issuer.as_ref());
        let audience = r.text("audience", args.audience.as_ref());
        let data_dir = r.text("data-dir", args.data_dir.as_ref())?;
        let config = Self {
            key: key?,
            secret: secret?,
            algorithm: algorithm?,
            issuer: issuer?,
            audience: audience?,
            data_dir: data_dir.unwrap_or_else(|| defaults::DATA_DIR.into()).into(),
        };
        if config.key.is_some() && config.secret.is_some() {
            return Err(r.note("key", "is given together with --secret; which one shall sign?"));
        }
        Ok(config)
    }

    /// Reads the key: `--secret`, `--key`, or the one that `--demo` made for the application.
    pub(crate) fn signer(&self, app: Option<&AppId>) -> Result<Signer, Failure> {
        let (key, origin) = match (&self.secret, &self.key, app) {
            (Some(secret), _, _) => (secret.clone(), "--secret".to_owned()),
            (None, Some(path), _) => {
                let text = private_file::read(Path::new(path));
                let text = text.map_err(|e| Failure::input(format!("cannot read {path}: {e}")))?;
                (text.ok_or_else(|| Failure::input(format!("--key: there is no file {path}")))?, path.clone())
            }
            (None, None, Some(app)) => {
                let path = key_file(&self.data_dir, app);
                let found = private_file::read(&path).ok().flatten();
                let missing = || {
                    let path = path.display();
                    Failure::input(format!(
                        "a key to sign with is needed: --key or --secret (there is no {path})"
                    ))
                };
                (found.ok_or_else(missing)?, path.display().to_string())
            }
            (None, None, None) => {
                return Err(Failure::input("a key to sign with is needed: --key or --secret"));
            }
        };
        let mut signer =
            Signer::new(key, self.algorithm).map_err(|why| Failure::input(format!("{origin}: {why}")))?;
        signer.issuer.clone_from(&self.issuer);
        signer.audience.clone_from(&self.audience);
        Ok(signer)
    }
}

/// The claim `sub` of a token that is not verified, null where it is absent; `None`: the token cannot be read.
pub(crate) fn claimed_subject(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let mut claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    Some(claims.remove("sub").unwrap_or_default())
}

/// A topic as a pattern that matches nothing else.
pub(crate) fn literal_pattern(topic: &str) -> String {
    let mut pattern = String::with_capacity(topic.len());
    for c in topic.chars() {
        let first = pattern.is_empty();
        if matches!(c, '*' | '\\') || (first && c == '!') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The permission to publish on a topic.
pub(crate) fn publish_permission(pattern: &str) -> String {
    format!("realtime:publisher:write:topic:{pattern}")
}

/// The permission to subscribe to a `secure/` topic.
pub(crate) fn subscribe_permission(pattern: &str) -> String {
    format!("realtime:subscriber:read:topic:{pattern}")
}

#[cfg(test)]
mod tests {
    use realtime_proto::{PatternSet, PermissionCase};

    use super::*;

    #[test]
    fn the_algorithm_follows_from_the_key() {
        for algorithm in BY_KEY {
            let signer = Signer::new(issue::generate(algorithm).private_pem, None).unwrap();
            assert_eq!(signer.algorithm, algorithm);
        }
        assert_eq!(Signer::new("secret".into(), None).unwrap().algorithm, Algorithm::HS256);
    }

    #[test]
    fn keys_that_cannot_sign_are_told_at_once_and_never_repeated() {
        let public = issue::generate(Algorithm::ES256).public_pem;
        assert!(Signer::new(public.clone(), None).unwrap_err().contains("private key"));
        assert!(Signer::new(public, Some(Algorithm::ES256)).is_err());
        let p256 = issue::generate(Algorithm::ES256).private_pem;
        let error = Signer::new(p256.clone(), Some(Algorithm::ES512)).unwrap_err();
        assert!(error.contains("ES512") && !error.contains(p256.lines().nth(1).unwrap()));
        let error = Signer::new(p256, Some(Algorithm::HS256)).unwrap_err();
        assert_eq!(error, "HS256 signs with a secret, not with a key in PEM form");
        assert!(Signer::new(String::new(), None).is_err());
    }

    #[test]
    fn the_subject_of_a_token_is_read_without_its_key() {
        let signer = Signer::new("secret".into(), None).unwrap();
        let token = |subject: Option<&str>| {
            signer.sign(&Claims { subject: subject.map(str::to_owned), ..Claims::default() }).unwrap()
        };
        assert_eq!(claimed_subject(&token(Some("ann"))), Some(json!("ann")));
        assert_eq!(claimed_subject(&token(None)), Some(Value::Null));
        for unreadable in ["", "t", "a.b.c", "a.W10.c"] {
            assert_eq!(claimed_subject(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn literal_patterns_match_their_topic_alone() {
        for topic in ["plain", "a*b", "!a", "a!b", r"a\b", "*", r"\*"] {
            let set = PatternSet::new([literal_pattern(topic).as_str()], PermissionCase::Sensitive);
            assert!(set.matches(topic), "{topic}");
            for other in ["x", "a_b", "axxb", "b"] {
                assert!(!set.matches(other), "{topic} {other}");
            }
        }
    }
}
