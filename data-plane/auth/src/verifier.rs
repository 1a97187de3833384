//! One configured key with its policy: which tokens are worth a signature check, and who they name.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use realtime_proto::app::{Algorithm, KeyConfig, KeySource};
use realtime_proto::{AppId, PermissionCase};

use crate::algorithm;
use crate::claims::Claims;
use crate::identity::Identity;
use crate::jwks::JwksCache;
use crate::keys::{self, Keys};
use crate::permission_sets::PermissionSets;
use crate::refusal::Refusal;
use crate::token::{Compact, Header};

/// A SHA-256.
pub(crate) type Sha256 = [u8; 32];

/// Which of an application's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `authKey`: WebSocket clients.
    Client,
    /// `adminKey`: callers of the API.
    Admin,
}

/// A compiled `authKey` or `adminKey`.
pub(crate) struct Verifier {
    role: Role,
    algorithms: Vec<Algorithm>,
    issuer: Vec<String>,
    audience: Option<String>,
    keys: Arc<dyn Keys>,
    fingerprint: Sha256,
}

impl Verifier {
    /// The error says what is wrong with the configured `key`.
    pub(crate) fn compile(
        app: &AppId,
        role: Role,
        config: &KeyConfig,
        case: PermissionCase,
        jwks: &JwksCache,
    ) -> Result<Self, String> {
        Ok(Self {
            role,
            algorithms: config.algorithms.clone(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            keys: keys::compile(&config.source, &config.algorithms, jwks)?,
            fingerprint: fingerprint(app, role, config, case),
        })
    }

    /// Identifies everything that a verdict on a token depends on but the token, the time and the generation
    /// of the keys. A change of any of it makes remembered verdicts unreachable; a change of anything else keeps them. (An application's
    /// version would not do: an application that is deleted and made again begins at the same version.)
    pub(crate) fn fingerprint(&self) -> &Sha256 {
        &self.fingerprint
    }

    pub(crate) fn keys(&self) -> &dyn Keys {
        &*self.keys
    }

    /// Every check that comes before the signature, and what it will make true.
    pub(crate) fn examine(&self, token: &Compact<'_>, now: u64) -> Result<(Algorithm, Claims), Refusal> {
        let algorithm = self.algorithm(&token.header)?;
        let claims = Claims::parse(&token.payload)?;
        claims.check_time(now)?;
        claims.check_issuer(&self.issuer)?;
        claims.check_audience(self.audience.as_deref())?;
        Ok((algorithm, claims))
    }

    /// The identity that the claims of a verified token state.
    pub(crate) fn identity(&self, claims: &Claims, sets: &PermissionSets) -> Result<Identity, Refusal> {
        let subject = match self.role {
            Role::Client => claims.client_subject()?,
            Role::Admin => claims.admin_subject(),
        };
        Ok(Identity {
            subject: subject.map(Arc::from),
            permissions: sets.share(claims.permissions()?),
            expires_at: claims.expires_at(),
        })
    }

    fn algorithm(&self, header: &Header) -> Result<Algorithm, Refusal> {
        let named = algorithm::from_name(&header.alg).ok_or(Refusal::Algorithm)?;
        let accepted =
            if self.algorithms.is_empty() { !named.is_hmac() } else { self.algorithms.contains(&named) };
        if accepted { Ok(named) } else { Err(Refusal::Algorithm) }
    }
}

/// Shows no fingerprint: it is derived from secrets.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("role", &self.role)
            .field("algorithms", &self.algorithms)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

fn fingerprint(app: &AppId, role: Role, config: &KeyConfig, case: PermissionCase) -> Sha256 {
    let mut hash = Context::new(&SHA256);
    // Lengths keep neighbours apart.
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(app.as_str().as_bytes());
    part(match role {
        Role::Client => b"client",
        Role::Admin => b"admin",
    });
    part(match case {
        PermissionCase::Insensitive => b"insensitive",
        PermissionCase::Sensitive => b"sensitive",
    });
    let (source, text) = match &config.source {
        KeySource::Pem(text) => ("pem", text.as_str()),
        KeySource::Hmac(secret) => ("hmac", secret.expose()),
        KeySource::Withheld => ("withheld", ""),
        KeySource::Jwks { uri } => ("jwks", uri.as_str()),
    };
    part(source.as_bytes());
    part(text.as_bytes());
    part(&[u8::from(config.audience.is_some())]);
    part(config.audience.as_deref().unwrap_or_default().as_bytes());
    part(&(config.algorithms.len() as u64).to_be_bytes());
    config.algorithms.iter().for_each(|&a| part(algorithm::name(a).as_bytes()));
    config.issuer.iter().for_each(|issuer| part(issuer.as_bytes()));
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    fingerprint
}
