//! Making keys and tokens: for the command line, for tests and for trials. Servers never sign.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_proto::app::Algorithm;
use serde_json::{Map, Value, json};

use crate::algorithm::{self, Scheme};

mod generate;

pub use generate::{KeyPair, generate};

/// Signs claims. `key` is a private key as PEM (PKCS#8, SEC1 `EC PRIVATE KEY`, PKCS#1 `RSA PRIVATE KEY`), or the
/// secret for HS*. The claims go into the token as they are written; nothing is added to them.
///
/// # Errors
/// A sentence about the key or the claims. It never repeats the key.
pub fn sign(algorithm: Algorithm, key: &str, claims_json: &str, kid: Option<&str>) -> Result<String, String> {
    serde_json::from_str::<Map<String, Value>>(claims_json)
        .map_err(|e| format!("the claims must be a JSON object: {e}"))?;
    let mut header = json!({"alg": algorithm::name(algorithm), "typ": "JWT"});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    sign_as_is(algorithm, key, &header.to_string(), claims_json)
}

/// Signs any header over any payload, whatever they say: tests of verifiers need tokens that nobody should issue.
///
/// # Errors
/// A sentence about the key.
pub fn sign_as_is(algorithm: Algorithm, key: &str, header: &str, payload: &str) -> Result<String, String> {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = signature(algorithm, key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn signature(algorithm: Algorithm, key: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    match algorithm::scheme(algorithm) {
        Scheme::Hmac(hash) => {
            if key.is_empty() {
                return Err("the secret must not be empty".into());
            }
            Ok(hmac::sign(&hmac::Key::new(hash, key.as_bytes()), message).as_ref().to_vec())
        }
        Scheme::Rsa { sign, .. } => sign_rsa(&private_der(key)?, sign, message),
        Scheme::Ecdsa { sign, .. } => sign_ecdsa(&private_der(key)?, sign, message, algorithm),
        Scheme::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(&private_der(key)?)
                .map_err(|_| "the key is no Ed25519 private key, which EdDSA needs".to_owned())?;
            Ok(pair.sign(message).as_ref().to_vec())
        }
    }
}

fn sign_rsa(der: &[u8], encoding: &'static dyn RsaEncoding, message: &[u8]) -> Result<Vec<u8>, String> {
    let pair = RsaKeyPair::from_pkcs8(der)
        .or_else(|_| RsaKeyPair::from_der(der))
        .map_err(|_| "the key is no RSA private key of 2048 to 8192 bits".to_owned())?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| "the RSA key cannot sign".to_owned())?;
    Ok(signature)
}

fn sign_ecdsa(
    der: &[u8],
    signing: &'static EcdsaSigningAlgorithm,
    message: &[u8],
    algorithm: Algorithm,
) -> Result<Vec<u8>, String> {
    let name = algorithm::name(algorithm);
    let pair = EcdsaKeyPair::from_private_key_der(signing, der)
        .map_err(|_| format!("the key is no private key of the curve that {name} needs"))?;
    let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| format!("{name} cannot sign"))?;
    Ok(signature.as_ref().to_vec())
}

/// The first private key of a PEM text; `openssl ecparam` writes the curve's parameters before it.
fn private_der(text: &str) -> Result<Vec<u8>, String> {
    let blocks = pem::parse_many(text).map_err(|_| "the key is no readable PEM".to_owned())?;
    let block = blocks
        .into_iter()
        .find(|block| block.tag().ends_with("PRIVATE KEY"))
        .ok_or("the key must be a PEM block with a private key")?;
    if block.tag() == "ENCRYPTED PRIVATE KEY" || block.headers().get("DEK-Info").is_some() {
        return Err("the private key is encrypted; decrypt it first (openssl pkey)".into());
    }
    Ok(block.into_contents())
}
