//! An application's configuration: the JSON document and the validated value (docs/contract.md 5).
//!
//! Never here: what needs more than the one document. Keys are parsed by `realtime-auth`; unique names,
//! existing tiers and who may change what are the control plane's; whether a URL may be fetched is decided
//! where it is fetched.

mod document;
mod form;
mod forwarder;
mod key;
mod merge;
mod origin;
mod secret_field;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::AddressList;
use crate::field::FieldErrors;
use crate::ids::AppId;
use crate::permission::PermissionCase;

pub use document::{MAX_ALLOWED_ORIGINS, MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS};
pub use key::{MAX_AUDIENCE_CHARS, MAX_ISSUERS, MAX_PEM_BYTES, MAX_SECRET_BYTES};
pub use secret_field::SecretField;

/// A secret text: never printed. Not for comparing with what a caller sends: equality here takes the time it takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself; the caller keeps it out of logs and errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A JWS algorithm (docs/contract.md 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Whether it is one of HS256, HS384 and HS512: the key is a secret that signs as well as verifies.
    #[must_use]
    pub const fn is_hmac(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// How tokens of one kind are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// Where the keys come from.
    pub source: KeySource,
    /// Accepted algorithms; empty only for JWKS: every asymmetric one that fits the key.
    pub algorithms: Vec<Algorithm>,
    /// Accepted issuers; empty: any.
    pub issuer: Vec<String>,
    /// Required audience.
    pub audience: Option<String>,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// One or several PEM public keys, as text.
    Pem(String),
    /// An HMAC secret.
    Hmac(Secret),
    /// An HMAC secret that this process may not have (gateways and `authKey`): nothing verifies.
    Withheld,
    /// A key set behind a URL.
    Jwks {
        /// `https://…`
        uri: String,
    },
}

/// Form of ack frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AckFormat {
    /// `data` is the id.
    #[default]
    Id,
    /// `data` is `{"data":id}`.
    Envelope,
}

/// What a connection over the subject's limit does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionLimitPolicy {
    /// The oldest stays if it is alive.
    #[default]
    Reject,
    /// The oldest is closed.
    Replace,
}

/// What a refused subscription to a `secure/` topic does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusedSubscriptionPolicy {
    /// An error frame.
    #[default]
    Error,
    /// Closes the session.
    Close,
}

/// An Amazon target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarder {
    /// Off keeps the configuration.
    pub enabled: bool,
    /// `topicArn` (SNS) or `queueUrl` (SQS).
    pub target: String,
    /// AWS region. Like the target it may be empty while the forwarder is off.
    pub region: String,
    /// Own credentials; absent: the operator's.
    pub access_key_id: Option<String>,
    /// Write-only.
    pub secret_access_key: Option<Secret>,
    /// Another endpoint than AWS's; operator only.
    pub endpoint_url: Option<String>,
}

/// A validated configuration. Made by [`AppConfig::create`], [`AppConfig::replace`],
/// [`AppConfig::patch`] and [`AppConfig::from_stored`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AppConfig {
    pub app_id: AppId,
    pub enabled: bool,
    pub name: String,
    pub description: String,
    pub tier: String,
    /// RFC 3339 with milliseconds, UTC.
    pub created_at: String,
    pub updated_at: String,
    /// Another one each time the application is created or enabled again. Sessions belong to a period, so that
    /// they end even where a node hears of an end and a new beginning at once. Not shown to API callers; empty
    /// in documents of releases that had none.
    pub period: String,
    pub auth_key: KeyConfig,
    pub admin_key: KeyConfig,
    pub admin_source_address: AddressList,
    pub client_source_address: AddressList,
    pub enable_web_socket_inbound_topic: bool,
    pub client_inbound_ack_enabled: bool,
    pub client_inbound_ack_format: AckFormat,
    pub connection_limit_policy: ConnectionLimitPolicy,
    pub refused_subscription_policy: RefusedSubscriptionPolicy,
    pub permission_case: PermissionCase,
    pub disconnect_on_token_expiry: bool,
    pub enable_inbound_stream: bool,
    /// Empty: any.
    pub allowed_origins: Vec<String>,
    pub amazon_sns_forwarder: Option<Forwarder>,
    pub amazon_sqs_forwarder: Option<Forwarder>,
}

impl AppConfig {
    /// Validates the document of a new application; `appId` is generated where absent.
    /// `now` is RFC 3339 with milliseconds, UTC.
    ///
    /// # Errors
    /// Every field at fault, unknown attributes included.
    pub fn create(document: &Value, now: &str) -> Result<Self, FieldErrors> {
        document::read(document, document::Source::New { now })
    }

    /// Validates a document that replaces this configuration (PUT): absent attributes take their
    /// defaults, absent objects are reset, and a present object without its secret keeps it if source, algorithm
    /// family, target, endpoint and access key id are unchanged. A `secretAccessKey` of `null` drops it.
    /// Read-only attributes are ignored; `appId`, where present, must be this one.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn replace(&self, document: &Value, now: &str) -> Result<Self, FieldErrors> {
        document::read(document, document::Source::Change { current: self, now })
    }

    /// Applies an RFC 7396 merge patch to the public form, then the rules of [`Self::replace`].
    ///
    /// # Errors
    /// Every field at fault.
    pub fn patch(&self, patch: &Value, now: &str) -> Result<Self, FieldErrors> {
        if !patch.is_object() {
            let mut errors = FieldErrors::default();
            errors.push("", "must be a JSON object");
            return Err(errors);
        }
        self.replace(&merge::patched(self, patch), now)
    }

    /// Reads what [`Self::to_stored`] or [`Self::to_gateway`] wrote, with the same validation, but for
    /// unknown attributes, which a newer release may have written: adjacent releases share stores and streams.
    /// A secret that is still encrypted is a problem of its field.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn from_stored(document: &Value) -> Result<Self, FieldErrors> {
        secret_field::refuse_encrypted(document)?;
        document::read(document, document::Source::Stored)
    }

    /// The whole document, secrets included: for the store and for nodes.
    #[must_use]
    pub fn to_stored(&self) -> Value {
        form::write(self, form::Audience::Node)
    }

    /// The document for gateways: admin keys with their secrets, no `authKey` secret, no AWS credentials.
    #[must_use]
    pub fn to_gateway(&self) -> Value {
        form::write(self, form::Audience::Gateway)
    }

    /// The document that API callers get: no secrets, `secretSet` where one is set, and `version`.
    #[must_use]
    pub fn to_public(&self, version: u64) -> Value {
        form::write(self, form::Audience::Api { version })
    }

    /// Where [`Self::to_stored`] writes secrets. Public keys are none.
    #[must_use]
    pub fn secret_fields(&self) -> Vec<SecretField> {
        form::secrets(self)
    }

    /// Names of the top-level attributes whose values differ, read-only ones left out.
    #[must_use]
    pub fn changed_attributes(&self, new: &Self) -> Vec<&'static str> {
        form::changed(self, new)
    }

    /// Whether a WebSocket or a cross-origin request with this `Origin` header may come in. Without the
    /// header it is no browser that asks, and the check protects nobody: allowed.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        match origin {
            Some(origin) if !self.allowed_origins.is_empty() => {
                self.allowed_origins.iter().any(|allowed| origin::same(allowed, origin))
            }
            _ => true,
        }
    }

    /// Whether clients' messages have a target.
    #[must_use]
    pub fn inbound_enabled(&self) -> bool {
        self.enable_web_socket_inbound_topic || self.has_other_inbound_targets()
    }

    /// Whether clients' messages have a target besides `secure/inbound`.
    #[must_use]
    pub fn has_other_inbound_targets(&self) -> bool {
        let amazon = [&self.amazon_sns_forwarder, &self.amazon_sqs_forwarder];
        self.enable_inbound_stream || amazon.into_iter().flatten().any(|forwarder| forwarder.enabled)
    }
}
