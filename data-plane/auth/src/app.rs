//! A configuration with its keys compiled.

use realtime_proto::{AppConfig, FieldErrors};

use crate::jwks::JwksCache;
use crate::permission_sets::PermissionSets;
use crate::verifier::{Role, Verifier};

/// An application as processes hold it: validated configuration plus compiled verification keys.
#[derive(Debug)]
pub struct App {
    /// The configuration.
    pub config: AppConfig,
    /// The configuration's version.
    pub version: u64,
    auth: Verifier,
    admin: Verifier,
    permission_sets: PermissionSets,
}

impl App {
    /// Compiles both keys. The control plane calls it on every write, nodes and gateways on every update.
    /// Nothing is fetched before the first token that needs it; a set that `jwks` holds is shared.
    ///
    /// # Errors
    /// Names `authKey.key` or `adminKey.key` when a key is unreadable, private, or fits none of the algorithms.
    pub fn compile(config: AppConfig, version: u64, jwks: &JwksCache) -> Result<Self, FieldErrors> {
        let case = config.permission_case;
        let auth = Verifier::compile(&config.app_id, Role::Client, &config.auth_key, case, jwks);
        let admin = Verifier::compile(&config.app_id, Role::Admin, &config.admin_key, case, jwks);
        match (auth, admin) {
            (Ok(auth), Ok(admin)) => {
                Ok(Self { config, version, auth, admin, permission_sets: PermissionSets::new(case) })
            }
            (auth, admin) => {
                let mut errors = FieldErrors::default();
                for (field, result) in [("authKey.key", auth), ("adminKey.key", admin)] {
                    if let Err(message) = result {
                        errors.push(field, message);
                    }
                }
                Err(errors)
            }
        }
    }

    pub(crate) fn verifier(&self, role: Role) -> &Verifier {
        match role {
            Role::Client => &self.auth,
            Role::Admin => &self.admin,
        }
    }

    pub(crate) fn permission_sets(&self) -> &PermissionSets {
        &self.permission_sets
    }
}
