//! `authKey` and `adminKey`. Whether a PEM can be read and fits its algorithms is checked in `realtime-auth`.
//!
//! An HMAC secret may be any text but the empty one and a PEM. RFC 7518 asks for as many bytes as the hash
//! has, but a server cannot tell 32 random bytes from 32 bytes of a word list, and applications move here with
//! the secret that their token issuers already use.

use serde_json::{Map, Value, json};

use super::document::{Source, required};
use super::{Algorithm, KeyConfig, KeySource, Secret, origin};
use crate::reader::{Reader, line};

/// Longest `key` of PEM blocks, in bytes: room for 16 RSA keys of 8192 bits.
pub const MAX_PEM_BYTES: usize = 32 * 1024;
/// Longest HMAC secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 4096;
/// Entries of `issuer`.
pub const MAX_ISSUERS: usize = 32;
/// Longest `audience` and longest entry of `issuer`, in characters.
pub const MAX_AUDIENCE_CHARS: usize = 512;
/// Entries of `algorithms`: all there are.
const MAX_ALGORITHMS: usize = 13;

/// How every PEM block begins.
const PEM_BEGIN: &str = "-----BEGIN";

/// Marks a secret that the reader may not have, in documents of our own only.
const WITHHELD: &str = "secretWithheld";

/// Which kind of key text a raw key has: HMAC and asymmetric algorithms never share one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Hmac,
    Asymmetric,
}

/// Reads the key object `name`; `current` is the one whose secret an object without its own keeps.
pub(super) fn read<'d>(
    r: &mut Reader<'d, '_>,
    name: &'d str,
    current: Option<&KeyConfig>,
    source: Source<'_>,
) -> Option<KeyConfig> {
    if r.value(name).is_none() {
        r.error(name, "is required");
    }
    let mut r = r.object(name)?;
    r.ignore(&["secretSet"]);
    let algorithms = algorithms(&mut r);
    let issuer = r.strings("issuer", MAX_ISSUERS, |text| line(text, 1, MAX_AUDIENCE_CHARS));
    let kind = required(&mut r, "source", |text| match text {
        "raw" | "jwks" => Ok(()),
        _ => Err("must be \"raw\" or \"jwks\"".to_owned()),
    });
    let audience_check = |text: &str| line(text, 1, MAX_AUDIENCE_CHARS);
    let (key_source, audience) = match kind.as_deref() {
        Some("raw") => {
            let audience = r.text("audience", audience_check).map(str::to_owned);
            (raw(&mut r, algorithms.as_deref(), current, source), audience)
        }
        Some(_) => {
            // A key set signs for every client of its identity provider; only the audience tells them apart.
            let audience = required(&mut r, "audience", audience_check);
            (jwks(&mut r, algorithms.as_deref().unwrap_or_default()), audience)
        }
        None => {
            // Whatever else is there belongs to a source that is not known.
            r.ignore(&["audience", "key", "jwksUri"]);
            (None, None)
        }
    };
    r.finish();
    Some(KeyConfig { source: key_source?, algorithms: algorithms?, issuer, audience })
}

/// `None` when something is wrong with the list.
fn algorithms(r: &mut Reader<'_, '_>) -> Option<Vec<Algorithm>> {
    let parse = |text: &str| serde_json::from_value::<Algorithm>(Value::from(text)).ok();
    let given = r.value("algorithms").is_some();
    let names = r.strings("algorithms", MAX_ALGORITHMS, |text| match parse(text) {
        Some(_) => Ok(()),
        None => Err("must be one of HS, RS, PS, ES with 256, 384 or 512, or EdDSA".to_owned()),
    });
    let mut algorithms = Vec::new();
    for algorithm in names.iter().filter_map(|name| parse(name)) {
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    let is_list = matches!(r.value("algorithms"), Some(Value::Array(items)) if items.len() == names.len());
    (!given || is_list).then_some(algorithms)
}

fn raw(
    r: &mut Reader<'_, '_>,
    algorithms: Option<&[Algorithm]>,
    current: Option<&KeyConfig>,
    source: Source<'_>,
) -> Option<KeySource> {
    let family = algorithms.and_then(|algorithms| family(r, algorithms));
    let withheld = source.is_stored() && r.boolean(WITHHELD, false);
    if r.value("key").is_none() {
        return match (family, current.map(|c| &c.source)) {
            (Some(Family::Hmac), _) if withheld => Some(KeySource::Withheld),
            (Some(Family::Hmac), Some(kept @ (KeySource::Hmac(_) | KeySource::Withheld))) => {
                Some(kept.clone())
            }
            // The key's absence is right or wrong with the family, which is wrong itself.
            (None, _) => None,
            (Some(_), _) => {
                r.error("key", "is required");
                None
            }
        };
    }
    let text = r.text("key", |text| check_key(text, family))?;
    Some(match family? {
        Family::Hmac => KeySource::Hmac(Secret::new(text)),
        Family::Asymmetric => KeySource::Pem(text.to_owned()),
    })
}

fn family(r: &mut Reader<'_, '_>, algorithms: &[Algorithm]) -> Option<Family> {
    let hmac = algorithms.iter().filter(|a| a.is_hmac()).count();
    let problem = match hmac {
        _ if algorithms.is_empty() => "must name at least one algorithm",
        0 => return Some(Family::Asymmetric),
        n if n == algorithms.len() => return Some(Family::Hmac),
        _ => "must not mix HS* with asymmetric algorithms",
    };
    r.error("algorithms", problem);
    None
}

/// The text is never part of the problem. Without a known family only what fits none is one.
fn check_key(text: &str, family: Option<Family>) -> Result<(), String> {
    let upper = text.to_ascii_uppercase();
    let problem = match family {
        _ if text.is_empty() => "must not be empty".to_owned(),
        _ if upper.contains("PRIVATE KEY-----") => {
            "is a private key; only its public key belongs here".to_owned()
        }
        Some(Family::Hmac) if upper.contains(PEM_BEGIN) => {
            "is a PEM, which is public and cannot be the secret of an HS* algorithm".to_owned()
        }
        Some(Family::Hmac) if text.len() > MAX_SECRET_BYTES => {
            format!("must have at most {MAX_SECRET_BYTES} bytes")
        }
        Some(Family::Asymmetric) if !text.contains(PEM_BEGIN) => {
            "must be one or several public keys in PEM form".to_owned()
        }
        _ if text.len() > MAX_PEM_BYTES => format!("must have at most {MAX_PEM_BYTES} bytes"),
        _ => return Ok(()),
    };
    Err(problem)
}

fn jwks(r: &mut Reader<'_, '_>, algorithms: &[Algorithm]) -> Option<KeySource> {
    if algorithms.iter().any(|a| a.is_hmac()) {
        r.error("algorithms", "must not have HS* with a key set, which is public");
    }
    let uri = required(r, "jwksUri", |text| origin::check_url(text, &["https", "http"]))?;
    Some(KeySource::Jwks { uri })
}

/// Who reads the object that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Gets secrets.
    Shown,
    /// May not have them and must know that there is one.
    Withheld,
    /// An API caller: `secretSet`.
    Hidden,
}

/// Writes a key object.
pub(super) fn write(key: &KeyConfig, secrets: Secrets) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    let kind = match &key.source {
        KeySource::Jwks { .. } => "jwks",
        KeySource::Pem(_) | KeySource::Hmac(_) | KeySource::Withheld => "raw",
    };
    put("source", json!(kind));
    match (&key.source, secrets) {
        (KeySource::Jwks { uri }, _) => put("jwksUri", json!(uri)),
        (KeySource::Pem(pem), _) => put("key", json!(pem)),
        (KeySource::Hmac(_) | KeySource::Withheld, Secrets::Hidden) => put("secretSet", json!(true)),
        (KeySource::Hmac(secret), Secrets::Shown) => put("key", json!(secret.expose())),
        (KeySource::Hmac(_), Secrets::Withheld) | (KeySource::Withheld, _) => put(WITHHELD, json!(true)),
    };
    if !key.algorithms.is_empty() {
        put("algorithms", json!(key.algorithms));
    }
    put("issuer", json!(key.issuer));
    if let Some(audience) = &key.audience {
        put("audience", json!(audience));
    }
    Value::Object(object)
}
