//! Keys written into the configuration: PEM blocks and HMAC secrets.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaSubjectPublicKey};
use realtime_proto::app::Algorithm;

use super::{MAX_KEYS, Material, VerifyingKey, small_order};
use crate::algorithm::{self, Scheme};

/// Smallest and largest RSA modulus: below 2048 bits is breakable, above 8192 the library refuses to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const PEM_BEGIN: &str = "-----BEGIN ";

/// What a public key is, and so which algorithms it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519];

    fn fits(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => false,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => self == Self::Rsa,
            Algorithm::ES256 => self == Self::P256,
            Algorithm::ES384 => self == Self::P384,
            Algorithm::ES512 => self == Self::P521,
            Algorithm::EdDSA => self == Self::Ed25519,
        }
    }

    /// The key and what it is for, in the words of an error.
    fn describe(self) -> &'static str {
        match self {
            Self::Rsa => "an RSA key (for RS256 to RS512 and PS256 to PS512)",
            Self::P256 => "a P-256 key (for ES256)",
            Self::P384 => "a P-384 key (for ES384)",
            Self::P521 => "a P-521 key (for ES512)",
            Self::Ed25519 => "an Ed25519 key (for EdDSA)",
        }
    }

    fn parses(self, der: &[u8]) -> bool {
        match self {
            Self::Rsa => RsaSubjectPublicKey::from_der(der).is_ok(),
            Self::P256 => ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, der).is_ok(),
            Self::P384 => ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, der).is_ok(),
            Self::P521 => ParsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, der).is_ok(),
            Self::Ed25519 => {
                ParsedPublicKey::new(&signature::ED25519, der).is_ok() && !small_order::is_small(der)
            }
        }
    }
}

/// One key for each pair of a block and a configured algorithm that it fits.
pub(super) fn from_pem(text: &str, algorithms: &[Algorithm]) -> Result<Vec<VerifyingKey>, String> {
    let blocks = pem::parse_many(text).map_err(|_| "has a PEM block that cannot be read".to_owned())?;
    if blocks.is_empty() {
        return Err("must hold a PEM block that begins with -----BEGIN PUBLIC KEY-----".into());
    }
    if blocks.len() != text.matches(PEM_BEGIN).count() {
        return Err("has a PEM block that is incomplete".into());
    }
    if blocks.len() > MAX_KEYS {
        return Err(format!("holds {} keys; {MAX_KEYS} are allowed", blocks.len()));
    }
    let mut keys = Vec::new();
    let mut kinds = Vec::new();
    for block in &blocks {
        let kind = read_block(block)?;
        for &algorithm in algorithms.iter().filter(|&&a| kind.fits(a)) {
            keys.push(public_key(algorithm, block.contents())?);
        }
        kinds.push(kind.describe());
    }
    if keys.is_empty() {
        return Err(format!("fits none of the algorithms {}: it is {}", list(algorithms), kinds.join(", ")));
    }
    Ok(keys)
}

/// One key for each configured HMAC algorithm.
pub(super) fn from_secret(secret: &str, algorithms: &[Algorithm]) -> Result<Vec<VerifyingKey>, String> {
    if secret.is_empty() {
        return Err("must not be empty".into());
    }
    if secret.contains(PEM_BEGIN) {
        return Err("is a PEM, which is never an HMAC secret: configure its own algorithm".into());
    }
    let keys: Vec<_> = algorithms
        .iter()
        .filter_map(|&algorithm| match algorithm::scheme(algorithm) {
            Scheme::Hmac(hash) => {
                let material = Material::Hmac(Box::new(hmac::Key::new(hash, secret.as_bytes())));
                Some(VerifyingKey { algorithm, material })
            }
            Scheme::Rsa { .. } | Scheme::Ecdsa { .. } | Scheme::Ed25519 => None,
        })
        .collect();
    if keys.is_empty() {
        return Err(format!("fits none of the algorithms {}: it is an HMAC secret", list(algorithms)));
    }
    Ok(keys)
}

/// Which key a block holds. Errors never repeat its content: it may be a private key pasted by mistake.
fn read_block(block: &pem::Pem) -> Result<Kind, String> {
    match block.tag() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => {
            let how = "openssl x509 -pubkey -noout -in FILE";
            return Err(format!("is a certificate; give its public key, which `{how}` prints"));
        }
        tag if tag.ends_with("PRIVATE KEY") => {
            return Err("is a private key; give the public key only, and replace a private key that has \
                        left its place"
                .into());
        }
        _ => return Err("has a PEM block that is no PUBLIC KEY".into()),
    }
    let der = block.contents();
    // Bare points would parse too; a PEM holds a DER SEQUENCE, and one is always longer than a bare Ed25519 key.
    let is_sequence = is_one_sequence(der) && der.len() > signature::ED25519_PUBLIC_KEY_LEN;
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| is_sequence && kind.parses(der))
        .ok_or_else(|| "has a block that is no RSA, P-256, P-384, P-521 or Ed25519 public key".to_owned())?;
    if kind == Kind::Rsa {
        check_rsa_size(der)?;
    }
    Ok(kind)
}

/// Whether the whole text is one DER SEQUENCE: the library does not look at what follows it.
fn is_one_sequence(der: &[u8]) -> bool {
    match *der {
        [0x30, len @ 0..=0x7f, ref rest @ ..] | [0x30, 0x81, len, ref rest @ ..] => {
            rest.len() == usize::from(len)
        }
        [0x30, 0x82, high, low, ref rest @ ..] => rest.len() == usize::from(u16::from_be_bytes([high, low])),
        _ => false,
    }
}

fn check_rsa_size(der: &[u8]) -> Result<(), String> {
    let key = RsaSubjectPublicKey::from_der(der).map_err(|_| "has an unreadable RSA key".to_owned())?;
    let modulus = key.modulus().big_endian_without_leading_zero();
    let spare = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - spare;
    if RSA_BITS.contains(&bits) {
        return Ok(());
    }
    let (low, high) = (RSA_BITS.start(), RSA_BITS.end());
    Err(format!("has an RSA key of {bits} bits; it must have {low} to {high}"))
}

fn public_key(algorithm: Algorithm, der: &[u8]) -> Result<VerifyingKey, String> {
    let parsed = match algorithm::scheme(algorithm) {
        Scheme::Rsa { verify, .. } | Scheme::Ecdsa { verify, .. } => ParsedPublicKey::new(verify, der),
        Scheme::Ed25519 => ParsedPublicKey::new(&signature::ED25519, der),
        Scheme::Hmac(_) => return Err("is a PEM, which is never an HMAC secret".into()),
    };
    let key = parsed.map_err(|_| format!("has a key that {} cannot use", algorithm::name(algorithm)))?;
    Ok(VerifyingKey { algorithm, material: Material::Public(key) })
}

fn list(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|&a| algorithm::name(a)).collect::<Vec<_>>().join(", ")
}
