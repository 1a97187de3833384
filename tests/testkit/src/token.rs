//! Signs tokens of every algorithm of the contract, independently of the server's own code.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Unix time in seconds.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// An algorithm of the contract; the variants are the names of RFC 7518 and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];
}

/// `N` random bytes as lower-case hex digits.
///
/// # Panics
/// When the library has no randomness.
#[must_use]
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

enum Key {
    Hmac(String),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key that signs tokens.
pub struct Signer {
    algorithm: Algorithm,
    key: Key,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.algorithm)
    }
}

impl Signer {
    /// Signs with an HMAC secret.
    #[must_use]
    pub fn hmac(algorithm: Algorithm, secret: &str) -> Self {
        Self { algorithm, key: Key::Hmac(secret.into()) }
    }

    /// A new key for the algorithm.
    ///
    /// # Panics
    /// When the library makes none.
    #[must_use]
    pub fn generate(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Key::Hmac(random_hex::<32>()),
            Algorithm::ES256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::ES512 => ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::EdDSA => Key::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            _ => Key::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).expect("an RSA key")),
        };
        Self { algorithm, key }
    }

    /// The algorithm's name.
    #[must_use]
    pub fn algorithm(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    /// What verifies the signatures: the secret, or the public key as PEM.
    ///
    /// # Panics
    /// When the library does not encode its key.
    #[must_use]
    pub fn verification_key(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.key {
            Key::Hmac(secret) => return secret.clone(),
            Key::Ecdsa(pair) => pair.public_key().as_der(),
            Key::Ed25519(pair) => pair.public_key().as_der(),
            Key::Rsa(pair) => pair.public_key().as_der(),
        }
        .expect("a public key in DER");
        pem("PUBLIC KEY", der.as_ref())
    }

    /// The public key as a JWK (RFC 7517), with `alg` and `use`, and with a `kid` where one is given.
    ///
    /// # Panics
    /// For an HMAC secret, which has no public key.
    #[must_use]
    pub fn jwk(&self, kid: Option<&str>) -> Value {
        let text = |bytes: &[u8]| json!(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let mut jwk = match &self.key {
            Key::Hmac(_) => panic!("a secret is no public key"),
            Key::Ecdsa(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                let curve = match self.algorithm {
                    Algorithm::ES384 => "P-384",
                    Algorithm::ES512 => "P-521",
                    _ => "P-256",
                };
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Key::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Key::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": text(n), "e": text(e)})
            }
        };
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    /// A token with a key id.
    #[must_use]
    pub fn sign_with_kid(&self, kid: &str, claims: &Value) -> String {
        self.sign_with_header(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": kid}), claims)
    }

    /// `authKey` or `adminKey` of an app whose tokens this key signs.
    #[must_use]
    pub fn key_config(&self) -> Value {
        json!({"source": "raw", "key": self.verification_key(), "algorithms": [self.algorithm()], "issuer": []})
    }

    /// A token with exactly these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(&json!({"alg": self.algorithm(), "typ": "JWT"}), claims)
    }

    /// A token with exactly this header, whatever it says.
    #[must_use]
    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token whose header and claims are these texts, JSON or not.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(header), part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Hmac(secret) => {
                let algorithm = match self.algorithm {
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), message).as_ref().to_vec()
            }
            Key::Ecdsa(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_padding(self.algorithm), &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
        }
    }
}

fn rsa_padding(algorithm: Algorithm) -> &'static dyn signature::RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}

fn ecdsa(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Key {
    Key::Ecdsa(EcdsaKeyPair::generate(algorithm).expect("an EC key"))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for start in (0..text.len()).step_by(64) {
        pem.push_str(&text[start..text.len().min(start + 64)]);
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7515_appendix_a_1_has_its_signature() {
        let secret = BASE64_URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0\
                       dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert_eq!(
            BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    #[test]
    fn es512_signatures_have_132_bytes_and_keys_are_pem() {
        let signer = Signer::generate(Algorithm::ES512);
        let token = signer.sign(&json!({"sub": "u"}));
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap().len(), 132);
        assert!(signer.verification_key().starts_with("-----BEGIN PUBLIC KEY-----\n"));
    }
}
