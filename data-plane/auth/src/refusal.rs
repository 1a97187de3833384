//! Why a caller is not let in: the one list, with its error codes.

use realtime_proto::{ApiError, ErrorCode};

use crate::keys::KeysError;

/// Seconds to wait when the verification queue is full: it empties within one.
const QUEUE_RETRY_SECONDS: u32 = 1;
/// Seconds to wait for a key set: fetches fail or succeed within a few.
const KEY_SET_RETRY_SECONDS: u32 = 5;

/// A refused caller. The texts are for people; they repeat nothing of the token but names of claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The source address is not in the application's list.
    #[error("this source address may not call this application")]
    Address,
    /// No bearer token.
    #[error("a bearer token is missing")]
    Missing,
    /// A token that is not an operator's.
    #[error("the call needs an operator token, and this token is none")]
    NotOperator,
    /// Over [`crate::MAX_TOKEN_BYTES`].
    #[error("the token is larger than 8 KiB")]
    TooLarge,
    /// Not a token, or a claim of the wrong form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// The header names an algorithm that the application does not accept.
    #[error("the application does not accept the token's algorithm")]
    Algorithm,
    /// No key of the application fits the token's algorithm and key id.
    #[error("no key of the application fits the token's algorithm and key id")]
    NoKey,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is absent or another.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` is absent or another.
    #[error("the token is for another audience")]
    Audience,
    /// The signature fits no key.
    #[error("the token's signature does not verify")]
    Signature,
    /// The key source has no answer.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Too many verifications wait.
    #[error("too many tokens are waiting for verification")]
    Busy,
}

impl Refusal {
    /// The error code, and the seconds after which a retry makes sense.
    #[must_use]
    pub fn code(&self) -> (ErrorCode, Option<u32>) {
        match self {
            Self::Address => (ErrorCode::AddressForbidden, None),
            Self::Busy => (ErrorCode::Unavailable, Some(QUEUE_RETRY_SECONDS)),
            Self::Keys(KeysError::NotFetched | KeysError::Outdated | KeysError::Crowded) => {
                (ErrorCode::Unavailable, Some(KEY_SET_RETRY_SECONDS))
            }
            Self::Missing
            | Self::NotOperator
            | Self::TooLarge
            | Self::Malformed(_)
            | Self::Algorithm
            | Self::NoKey
            | Self::Expired
            | Self::NotYetValid
            | Self::Issuer
            | Self::Audience
            | Self::Signature
            | Self::Keys(KeysError::Withheld) => (ErrorCode::Unauthenticated, None),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, retry_after) = refusal.code();
        Self { retry_after, ..Self::new(code, refusal.to_string()) }
    }
}
