//! Keys written into the configuration: PEM blocks and HMAC secrets.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaSubjectPublicKey};
use realtime_proto::app::Algorithm;

use super::kind::{Kind, RSA_BITS, bits, public_key};
use super::{MAX_KEYS, Material, VerifyingKey};
use crate::algorithm::{self, Scheme};

const PEM_BEGIN: &str = "-----BEGIN ";

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
            let unusable = || format!("has a key that {} cannot use", algorithm::name(algorithm));
            keys.push(public_key(algorithm, block.contents()).ok_or_else(unusable)?);
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
    let bits = bits(modulus);
    if RSA_BITS.contains(&bits) {
        return Ok(());
    }
    let (low, high) = (RSA_BITS.start(), RSA_BITS.end());
    Err(format!("has an RSA key of {bits} bits; it must have {low} to {high}"))
}

fn list(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|&a| algorithm::name(a)).collect::<Vec<_>>().join(", ")
}
