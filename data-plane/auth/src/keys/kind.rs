//! What a public key is, and so which algorithms it fits. The one place where asymmetric keys are parsed.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaSubjectPublicKey};
use realtime_proto::app::Algorithm;

use super::{Material, VerifyingKey, small_order};
use crate::algorithm::{self, Scheme};

/// Smallest and largest RSA modulus: below 2048 bits is breakable, above 8192 the library refuses to verify.
pub(crate) const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The kinds of public keys that verify tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519];

    /// Whether a key of this kind serves the algorithm.
    pub(crate) fn fits(self, algorithm: Algorithm) -> bool {
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
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Rsa => "an RSA key (for RS256 to RS512 and PS256 to PS512)",
            Self::P256 => "a P-256 key (for ES256)",
            Self::P384 => "a P-384 key (for ES384)",
            Self::P521 => "a P-521 key (for ES512)",
            Self::Ed25519 => "an Ed25519 key (for EdDSA)",
        }
    }

    /// Whether the DER is a key of this kind.
    pub(super) fn parses(self, der: &[u8]) -> bool {
        match self {
            Self::Rsa => RsaSubjectPublicKey::from_der(der).is_ok(),
            Self::P256 => ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, der).is_ok(),
            Self::P384 => ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, der).is_ok(),
            Self::P521 => ParsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, der).is_ok(),
            Self::Ed25519 => ed25519(der).is_some(),
        }
    }
}

/// Bits of a big-endian number without leading zeros.
pub(crate) fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// The key for one algorithm: DER, or the bare point of an elliptic curve or of Ed25519. `None`: the library
/// takes no such key for it.
pub(crate) fn public_key(algorithm: Algorithm, encoded: &[u8]) -> Option<VerifyingKey> {
    let parsed = match algorithm::scheme(algorithm) {
        Scheme::Rsa { verify, .. } | Scheme::Ecdsa { verify, .. } => {
            ParsedPublicKey::new(verify, encoded).ok()
        }
        Scheme::Ed25519 => ed25519(encoded),
        Scheme::Hmac(_) => None,
    };
    Some(VerifyingKey { algorithm, material: Material::Public(parsed?) })
}

fn ed25519(encoded: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(&signature::ED25519, encoded).ok().filter(|_| !small_order::is_small(encoded))
}
