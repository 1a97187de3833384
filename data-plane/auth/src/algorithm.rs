//! What each JWS algorithm is in terms of the cryptographic library, in one table.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, EcdsaSigningAlgorithm, RsaEncoding, VerificationAlgorithm};
use realtime_proto::app::Algorithm;

/// Every algorithm, in the order of the documentation.
pub(crate) const ALL: [Algorithm; 13] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

/// How an algorithm signs and verifies.
pub(crate) enum Scheme {
    /// A shared secret.
    Hmac(hmac::Algorithm),
    /// RSA with either padding.
    Rsa { verify: &'static dyn VerificationAlgorithm, sign: &'static dyn RsaEncoding },
    /// ECDSA; signatures are `r‖s` of fixed length (RFC 7518, 3.4).
    Ecdsa { verify: &'static dyn VerificationAlgorithm, sign: &'static EcdsaSigningAlgorithm },
    /// Ed25519; JWS has no other curve that we take.
    Ed25519,
}

/// The algorithm's name in a token's header.
pub(crate) const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::HS384 => "HS384",
        Algorithm::HS512 => "HS512",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::ES512 => "ES512",
        Algorithm::EdDSA => "EdDSA",
    }
}

/// The algorithm of that name; names are case-sensitive (RFC 7515, 4.1.1).
pub(crate) fn from_name(text: &str) -> Option<Algorithm> {
    ALL.into_iter().find(|&algorithm| name(algorithm) == text)
}

/// The algorithm's scheme. RSA keys below 2048 bits are refused by the library's parameters too.
pub(crate) fn scheme(algorithm: Algorithm) -> Scheme {
    match algorithm {
        Algorithm::HS256 => Scheme::Hmac(hmac::HMAC_SHA256),
        Algorithm::HS384 => Scheme::Hmac(hmac::HMAC_SHA384),
        Algorithm::HS512 => Scheme::Hmac(hmac::HMAC_SHA512),
        Algorithm::RS256 => {
            Scheme::Rsa { verify: &signature::RSA_PKCS1_2048_8192_SHA256, sign: &signature::RSA_PKCS1_SHA256 }
        }
        Algorithm::RS384 => {
            Scheme::Rsa { verify: &signature::RSA_PKCS1_2048_8192_SHA384, sign: &signature::RSA_PKCS1_SHA384 }
        }
        Algorithm::RS512 => {
            Scheme::Rsa { verify: &signature::RSA_PKCS1_2048_8192_SHA512, sign: &signature::RSA_PKCS1_SHA512 }
        }
        Algorithm::PS256 => {
            Scheme::Rsa { verify: &signature::RSA_PSS_2048_8192_SHA256, sign: &signature::RSA_PSS_SHA256 }
        }
        Algorithm::PS384 => {
            Scheme::Rsa { verify: &signature::RSA_PSS_2048_8192_SHA384, sign: &signature::RSA_PSS_SHA384 }
        }
        Algorithm::PS512 => {
            Scheme::Rsa { verify: &signature::RSA_PSS_2048_8192_SHA512, sign: &signature::RSA_PSS_SHA512 }
        }
        Algorithm::ES256 => Scheme::Ecdsa {
            verify: &signature::ECDSA_P256_SHA256_FIXED,
            sign: &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        },
        Algorithm::ES384 => Scheme::Ecdsa {
            verify: &signature::ECDSA_P384_SHA384_FIXED,
            sign: &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        },
        Algorithm::ES512 => Scheme::Ecdsa {
            verify: &signature::ECDSA_P521_SHA512_FIXED,
            sign: &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        },
        Algorithm::EdDSA => Scheme::Ed25519,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration_and_are_case_sensitive() {
        for algorithm in ALL {
            assert_eq!(from_name(name(algorithm)), Some(algorithm));
            assert_eq!(serde_json::to_value(algorithm).unwrap(), name(algorithm));
        }
        for other in ["none", "None", "hs256", "es512", "EDDSA", "Ed25519", "ES256K", ""] {
            assert_eq!(from_name(other), None, "{other}");
        }
    }
}
