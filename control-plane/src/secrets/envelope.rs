//! One secret, encrypted: `v1:KEYID:BASE64`.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realtime_proto::app::{Secret, SecretField};

use super::keys::{Key, SecretKeys};

/// The form of envelopes.
const VERSION: &str = "v1";

/// Why an envelope does not open. Says what to do about it, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another release's, or nobody's.
    #[error("is encrypted in a form that this release does not know")]
    Form,
    /// Keys are needed.
    #[error("is encrypted with the key {0}, and there is no --secrets-key")]
    NoKeys(String),
    /// Another key is needed.
    #[error("is encrypted with the key {0}, which is not in --secrets-key")]
    UnknownKey(String),
    /// The key is there, the rest does not fit.
    #[error("was encrypted with the key {0} for another application or attribute, or is damaged")]
    Refused(String),
}

/// The cipher failed, which it never should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret could not be encrypted")]
pub(crate) struct SealError;

/// Encrypts a secret of an application.
pub(super) fn seal(key: &Key, app_id: &str, field: SecretField, secret: &str) -> Result<String, SealError> {
    let mut text = secret.as_bytes().to_vec();
    // The nonce is random: a key is good for 2^32 secrets, and a write encrypts four at most.
    let nonce =
        key.cipher.seal_in_place_append_tag(place(app_id, field), &mut text).map_err(|_| SealError)?;
    let body = [&nonce.as_ref()[..], &text].concat();
    Ok(format!("{VERSION}:{}:{}", key.id, STANDARD.encode(body)))
}

/// Decrypts a secret of an application.
pub(super) fn open(
    keys: &SecretKeys,
    app_id: &str,
    field: SecretField,
    envelope: &str,
) -> Result<Secret, OpenError> {
    let (id, body) = parts(envelope).ok_or(OpenError::Form)?;
    let Some(key) = keys.find(id) else {
        let id = id.to_owned();
        return Err(if keys.is_empty() { OpenError::NoKeys(id) } else { OpenError::UnknownKey(id) });
    };
    let opened = || {
        let body = STANDARD.decode(body).ok()?;
        let (nonce, text) = body.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key.cipher.open_in_place(nonce, place(app_id, field), &mut text).ok()?;
        Some(Secret::new(std::str::from_utf8(text).ok()?))
    };
    opened().ok_or_else(|| OpenError::Refused(id.to_owned()))
}

/// The id of the key that an envelope names.
pub(super) fn key_id(envelope: &str) -> Option<&str> {
    parts(envelope).map(|(id, _)| id)
}

/// Key id and body. An id is shown to people, so that it has to be one.
fn parts(envelope: &str) -> Option<(&str, &str)> {
    let (id, body) = envelope.strip_prefix(VERSION)?.strip_prefix(':')?.split_once(':')?;
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some((id, body))
}

/// Where the secret belongs. No id and no path has a line end.
fn place(app_id: &str, field: SecretField) -> Aad<Vec<u8>> {
    Aad::from(format!("realtime secret\n{app_id}\n{}", field.path()).into_bytes())
}
