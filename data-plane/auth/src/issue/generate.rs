//! New key pairs and secrets.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::{EncodeConfig, LineEnding, Pem};
use realtime_proto::app::Algorithm;

use crate::algorithm::{self, Scheme};

/// A new key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// PKCS#8 as PEM; for HS* the secret.
    pub private_pem: String,
    /// SPKI as PEM; for HS* the secret too: it is what goes into a configuration's `key`.
    pub public_pem: String,
}

/// Never shows the private key; of a secret nothing at all.
impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(…)")
    }
}

/// Makes a key for an algorithm: RSA of 2048 bits for RS256 and PS256, 3072 for the others; for HS* a random
/// secret as long as the hash, written in base64url.
///
/// # Panics
/// When the operating system has no randomness, which leaves nothing safe to do.
#[must_use]
pub fn generate(algorithm: Algorithm) -> KeyPair {
    let made = match algorithm::scheme(algorithm) {
        Scheme::Hmac(hash) => secret(hash),
        Scheme::Rsa { .. } => rsa(algorithm),
        Scheme::Ecdsa { sign, .. } => EcdsaKeyPair::generate(sign)
            .and_then(|pair| Ok(key_pair(pair.to_pkcs8v1()?.as_ref(), &pair.public_key().as_der()?))),
        Scheme::Ed25519 => Ed25519KeyPair::generate()
            .and_then(|pair| Ok(key_pair(pair.to_pkcs8v1()?.as_ref(), &pair.public_key().as_der()?))),
    };
    made.expect("the operating system's random numbers")
}

fn secret(hash: hmac::Algorithm) -> Result<KeyPair, Unspecified> {
    let mut bytes = vec![0; hash.digest_algorithm().output_len];
    aws_lc_rs::rand::fill(&mut bytes)?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    Ok(KeyPair { private_pem: text.clone(), public_pem: text })
}

fn rsa(algorithm: Algorithm) -> Result<KeyPair, Unspecified> {
    let small = matches!(algorithm, Algorithm::RS256 | Algorithm::PS256);
    let size = if small { KeySize::Rsa2048 } else { KeySize::Rsa3072 };
    let pair = RsaKeyPair::generate(size)?;
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der()?;
    Ok(key_pair(private.as_ref(), &pair.public_key().as_der()?))
}

fn key_pair(private: &[u8], public: &PublicKeyX509Der<'_>) -> KeyPair {
    KeyPair { private_pem: to_pem("PRIVATE KEY", private), public_pem: to_pem("PUBLIC KEY", public.as_ref()) }
}

fn to_pem(tag: &str, der: &[u8]) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}
