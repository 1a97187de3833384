//! Verification keys and where they come from.
//!
//! A key is parsed once, when a configuration is compiled, and belongs to one algorithm: nothing in a token
//! can make a key serve another one. Never here: tokens, claims, time.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use realtime_proto::app::{Algorithm, KeySource};

use crate::algorithm;
use crate::jwks::JwksCache;

pub(crate) mod kind;
mod raw;
mod small_order;

/// Keys tried for one token at most, whatever their source: each costs up to 0.7 ms (ES512).
pub const MAX_KEYS: usize = 16;

/// A source of verification keys. Implementations answer from memory where they can: a session's opening waits.
#[async_trait]
pub trait Keys: fmt::Debug + Send + Sync {
    /// The keys that fit a token with this algorithm and key id, at most [`MAX_KEYS`]; none: it cannot verify.
    ///
    /// # Errors
    /// When the source cannot say which keys there are.
    async fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Arc<[VerifyingKey]>, KeysError>;

    /// Which keys [`Self::find`] chooses from: a number that changes, and never comes back, when they change.
    fn generation(&self) -> u64;
}

/// Why a source has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The set behind a URL was never fetched; later it may be.
    #[error("the key set has not been fetched yet")]
    NotFetched,
    /// The set that is held has no key with the token's id, and a newer one cannot be had at present.
    #[error("the key set that is held has no key with the token's id, and fetching it anew fails")]
    Outdated,
    /// Too many callers wait for the set already.
    #[error("too many callers are waiting for the key set")]
    Crowded,
    /// This process may not have the secret.
    #[error("tokens of this kind are not verified here")]
    Withheld,
}

/// One key for one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// Boxed: its prepared state is twenty times the size of a public key's handle.
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl VerifyingKey {
    /// The only algorithm that the key serves.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` signs `message`. HMACs are compared in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// Shows the algorithm only: the material may be a secret.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", algorithm::name(self.algorithm))
    }
}

/// Compiles a configured source. The error says what is wrong with its `key`.
pub(crate) fn compile(
    source: &KeySource,
    algorithms: &[Algorithm],
    jwks: &JwksCache,
) -> Result<Arc<dyn Keys>, String> {
    Ok(match source {
        KeySource::Pem(text) => Arc::new(Fixed(ByAlgorithm::new(&raw::from_pem(text, algorithms)?))),
        KeySource::Hmac(secret) => {
            Arc::new(Fixed(ByAlgorithm::new(&raw::from_secret(secret.expose(), algorithms)?)))
        }
        KeySource::Withheld => Arc::new(Absent(KeysError::Withheld)),
        KeySource::Jwks { uri } => match jwks.open(uri) {
            Some(keys) => keys,
            None => Arc::new(Absent(KeysError::NotFetched)),
        },
    })
}

/// Keys by the algorithm that each serves, the first [`MAX_KEYS`] for each.
#[derive(Debug, Default)]
pub(crate) struct ByAlgorithm(Vec<(Algorithm, Arc<[VerifyingKey]>)>);

impl ByAlgorithm {
    pub(crate) fn new<'k>(keys: impl IntoIterator<Item = &'k VerifyingKey> + Clone) -> Self {
        let of = |algorithm| -> Arc<[VerifyingKey]> {
            let fitting = keys.clone().into_iter().filter(|key| key.algorithm == algorithm);
            fitting.take(MAX_KEYS).cloned().collect()
        };
        Self(algorithm::ALL.into_iter().map(|a| (a, of(a))).filter(|(_, keys)| !keys.is_empty()).collect())
    }

    pub(crate) fn find(&self, algorithm: Algorithm) -> Arc<[VerifyingKey]> {
        let found = self.0.iter().find(|(a, _)| *a == algorithm);
        found.map_or_else(|| Arc::from([]), |(_, keys)| Arc::clone(keys))
    }
}

/// Keys that stand in the configuration. They have no ids: a token's `kid` selects nothing.
#[derive(Debug)]
struct Fixed(ByAlgorithm);

#[async_trait]
impl Keys for Fixed {
    async fn find(&self, algorithm: Algorithm, _kid: Option<&str>) -> Result<Arc<[VerifyingKey]>, KeysError> {
        Ok(self.0.find(algorithm))
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// A source without keys here and now.
#[derive(Debug)]
struct Absent(KeysError);

#[async_trait]
impl Keys for Absent {
    async fn find(&self, _: Algorithm, _: Option<&str>) -> Result<Arc<[VerifyingKey]>, KeysError> {
        Err(self.0)
    }

    fn generation(&self) -> u64 {
        0
    }
}
