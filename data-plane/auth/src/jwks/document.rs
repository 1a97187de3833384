//! A JSON Web Key Set (RFC 7517) to keys. Pure.
//!
//! One bad key spoils no other: what this server cannot use is passed over and counted. Keys are public here:
//! symmetric ones are ignored, and one that shows its private part is not trusted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use realtime_proto::app::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::algorithm;
use crate::keys::kind::{Kind, RSA_BITS, bits, public_key};
use crate::keys::{ByAlgorithm, VerifyingKey};
use crate::operators::sha256;
use crate::verifier::Sha256;

/// Usable keys of a set: identity providers have two to ten. Further ones are passed over.
pub const MAX_SET_KEYS: usize = 100;

/// RFC 7515 has no padding; some publishers write it nevertheless.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes of an Ed25519 key.
const ED25519_BYTES: usize = 32;

/// The usable keys of one document.
pub struct KeySet {
    /// For tokens without a key id: all keys.
    all: ByAlgorithm,
    by_id: HashMap<Box<str>, ByAlgorithm>,
    keys: usize,
    ignored: Ignored,
    digest: Sha256,
}

/// Keys of a document that were passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// `use` or `key_ops` say that they do not verify signatures.
    pub purpose: u64,
    /// Symmetric, or of a type, curve or algorithm that this server does not have.
    pub kind: u64,
    /// Not a key, or one that is broken, too small, too large, or shows its private part.
    pub malformed: u64,
    /// Beyond [`MAX_SET_KEYS`].
    pub surplus: u64,
}

/// The document is no key set: not a JSON object with a list `keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the document is not a JSON Web Key Set")]
pub struct NotAKeySet;

#[derive(Deserialize)]
struct Document<'d> {
    #[serde(borrow)]
    keys: Vec<&'d RawValue>,
}

/// The members of a key that are read. A name that comes twice makes the key malformed.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<IgnoredAny>,
}

/// Why a key is passed over.
enum Skip {
    Purpose,
    Kind,
    Malformed,
}

/// One usable key of the document: a verifying key for each algorithm that it serves.
struct Usable {
    kid: Option<Box<str>>,
    keys: Vec<VerifyingKey>,
    digest: Sha256,
}

impl KeySet {
    /// Reads a document.
    ///
    /// # Errors
    /// It is no key set. A set without usable keys is one.
    pub fn parse(document: &[u8]) -> Result<Self, NotAKeySet> {
        // The text first: the JSON reader does not look at what it skips.
        let text = std::str::from_utf8(document).map_err(|_| NotAKeySet)?;
        let document: Document<'_> = object(text).ok_or(NotAKeySet)?;
        let mut ignored = Ignored::default();
        let mut usable: Vec<Usable> = Vec::new();
        for text in document.keys {
            if usable.len() == MAX_SET_KEYS {
                ignored.surplus += 1;
                continue;
            }
            match read(text) {
                Ok(key) => usable.push(key),
                Err(Skip::Purpose) => ignored.purpose += 1,
                Err(Skip::Kind) => ignored.kind += 1,
                Err(Skip::Malformed) => ignored.malformed += 1,
            }
        }
        Ok(Self::new(&usable, ignored))
    }

    fn new(usable: &[Usable], ignored: Ignored) -> Self {
        let mut of_id: HashMap<&str, Vec<&VerifyingKey>> = HashMap::new();
        for key in usable {
            if let Some(kid) = &key.kid {
                of_id.entry(kid).or_default().extend(&key.keys);
            }
        }
        let by_id = of_id.into_iter().map(|(kid, keys)| (kid.into(), ByAlgorithm::new(keys))).collect();
        // The order of keys means nothing, and some publishers shuffle them.
        let mut digests: Vec<Sha256> = usable.iter().map(|key| key.digest).collect();
        digests.sort_unstable();
        Self {
            all: ByAlgorithm::new(usable.iter().flat_map(|key| &key.keys)),
            by_id,
            keys: usable.len(),
            ignored,
            digest: sha256(digests.concat()),
        }
    }

    /// The keys for a token: with a key id those that have it (a key without one does not match), without one
    /// all; each for this algorithm only, at most [`crate::keys::MAX_KEYS`].
    #[must_use]
    pub fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Arc<[VerifyingKey]> {
        match kid {
            None => self.all.find(algorithm),
            Some(kid) => self.by_id.get(kid).map_or_else(|| Arc::from([]), |keys| keys.find(algorithm)),
        }
    }

    /// Whether a usable key has this id.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.by_id.contains_key(kid)
    }

    /// Usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether no key is usable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// What was passed over.
    #[must_use]
    pub fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Whether both have the same usable keys, in any order.
    #[must_use]
    pub fn same_keys(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, ignored) = (self.keys, self.ignored);
        f.debug_struct("KeySet").field("keys", &keys).field("ignored", &ignored).finish_non_exhaustive()
    }
}

/// Reads a JSON object: an array of its values in their order, which serde takes as well, is none.
fn object<'t, T: Deserialize<'t>>(text: &'t str) -> Option<T> {
    text.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
}

fn read(text: &RawValue) -> Result<Usable, Skip> {
    let jwk: Jwk = object(text.get()).ok_or(Skip::Malformed)?;
    let other_use = jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig");
    let other_operations = jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify"));
    if other_use || other_operations {
        return Err(Skip::Purpose);
    }
    let kind = jwk.kind().ok_or(Skip::Kind)?;
    let algorithms = jwk.algorithms(kind).ok_or(Skip::Kind)?;
    if jwk.d.is_some() {
        return Err(Skip::Malformed);
    }
    let encoded = jwk.encoded(kind).ok_or(Skip::Malformed)?;
    let parse = |&algorithm: &Algorithm| public_key(algorithm, &encoded).ok_or(Skip::Malformed);
    let keys = algorithms.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let digest = jwk.digest(&encoded);
    Ok(Usable { kid: jwk.kid.map(Into::into), keys, digest })
}

impl Jwk {
    fn kind(&self) -> Option<Kind> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Kind::Rsa),
            ("EC", Some("P-256")) => Some(Kind::P256),
            ("EC", Some("P-384")) => Some(Kind::P384),
            ("EC", Some("P-521")) => Some(Kind::P521),
            ("OKP", Some("Ed25519")) => Some(Kind::Ed25519),
            _ => None,
        }
    }

    /// What the key serves: its `alg`, else all that fit its kind. `None`: an `alg` that does not fit.
    fn algorithms(&self, kind: Kind) -> Option<Vec<Algorithm>> {
        match &self.alg {
            None => Some(algorithm::ALL.into_iter().filter(|&a| kind.fits(a)).collect()),
            Some(name) => algorithm::from_name(name).filter(|&a| kind.fits(a)).map(|a| vec![a]),
        }
    }

    /// The key as the library parses it.
    fn encoded(&self, kind: Kind) -> Option<Vec<u8>> {
        match kind {
            Kind::Rsa => self.rsa(),
            Kind::P256 => self.point(32),
            Kind::P384 => self.point(48),
            Kind::P521 => self.point(66),
            Kind::Ed25519 => decode(self.x.as_ref()).filter(|x| x.len() == ED25519_BYTES),
        }
    }

    fn rsa(&self) -> Option<Vec<u8>> {
        let (n, e) = (decode(self.n.as_ref())?, decode(self.e.as_ref())?);
        let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
        if !RSA_BITS.contains(&bits(n)) {
            return None;
        }
        let der = RsaPublicKeyComponents { n, e }.as_der().ok()?;
        Some(der.as_ref().to_vec())
    }

    /// The uncompressed point. Coordinates have a fixed length (RFC 7518, 6.2.1.2); publishers that write them
    /// as numbers, with too few or too many leading zeros, are understood.
    fn point(&self, coordinate: usize) -> Option<Vec<u8>> {
        let mut point = vec![4];
        for text in [&self.x, &self.y] {
            let number = decode(text.as_ref())?;
            let number = without_leading_zeros(&number);
            point.resize(point.len() + coordinate.checked_sub(number.len())?, 0);
            point.extend_from_slice(number);
        }
        Some(point)
    }

    /// Identifies all that a verdict on a token depends on.
    fn digest(&self, encoded: &[u8]) -> Sha256 {
        let mut all = Vec::new();
        for part in [self.kid.as_deref(), self.alg.as_deref()] {
            all.push(u8::from(part.is_some()));
            let part = part.unwrap_or_default().as_bytes();
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part);
        }
        // DER and points of different kinds never coincide.
        all.extend_from_slice(encoded);
        sha256(all)
    }
}

fn decode(text: Option<&String>) -> Option<Vec<u8>> {
    BASE64.decode(text?).ok()
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}
