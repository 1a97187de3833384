//! `realtime.admin.v1.Settings`.

use bytes::Bytes;
use realtime_proto::generated::admin as wire;
use realtime_proto::{ApiError, ErrorCode, Settings};
use tonic::{Request, Response, Status};
use wire::settings_server;

use super::caller::{audit, audit_read, operator};
use super::change::{commit, contended, settings};
use super::document;
use crate::keys;
use crate::shared::Shared;
use crate::store::{Condition, Op};

/// Attempts against concurrent writers of the settings.
const ATTEMPTS: usize = 16;

/// Serves `realtime.admin.v1.Settings`.
#[derive(Debug, Clone)]
pub struct SettingsService {
    shared: Shared,
}

impl SettingsService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    async fn replace(
        &self,
        request: &wire::ReplaceSettingsRequest,
    ) -> Result<wire::SettingsDocument, ApiError> {
        let new = Settings::parse(&document::parse(&request.document_json)?)?;
        let document_json = Bytes::from(new.to_json().to_string());
        for _ in 0..ATTEMPTS {
            let (old, unchanged) = settings(&*self.shared.store).await?;
            document::check_version(version(&unchanged), request.if_version)?;
            let removed: Vec<&String> =
                old.tiers.keys().filter(|tier| !new.tiers.contains_key(*tier)).collect();
            self.check_unused(&removed).await?;
            let mut conditions = vec![unchanged];
            conditions.extend(removed.into_iter().map(|tier| Condition::PrefixEmpty(keys::tier_apps(tier))));
            let ops = vec![Op::put(keys::SETTINGS, document_json.clone())];
            if let Some(version) = commit(&self.shared, conditions, ops).await? {
                return Ok(wire::SettingsDocument { version, document_json });
            }
        }
        Err(contended())
    }

    /// 409, naming the tiers that applications use. The commit decides; this says why.
    async fn check_unused(&self, tiers: &[&String]) -> Result<(), ApiError> {
        for tier in tiers {
            let uses = self.shared.store.list(&keys::tier_apps(tier)).await.map_err(document::unavailable)?;
            if !uses.entries.is_empty() {
                let count = uses.entries.len();
                let detail = format!("tiers.{tier}: is used by {count} applications and cannot be removed");
                return Err(ApiError::new(ErrorCode::TierInUse, detail));
            }
        }
        Ok(())
    }
}

/// The version that a condition holds the settings to.
fn version(condition: &Condition) -> u64 {
    match condition {
        Condition::Revision(_, revision) => *revision,
        Condition::Absent(_) | Condition::PrefixEmpty(_) => 0,
    }
}

#[tonic::async_trait]
impl settings_server::Settings for SettingsService {
    async fn get(
        &self,
        request: Request<wire::GetSettingsRequest>,
    ) -> Result<Response<wire::SettingsDocument>, Status> {
        let caller = operator(&self.shared, &request)?;
        let entry = self.shared.model.read().settings.clone();
        let result = entry
            .map(|e| wire::SettingsDocument { version: e.version, document_json: e.document.clone() })
            .ok_or_else(|| ApiError::new(ErrorCode::Unavailable, "there are no settings yet"));
        audit_read(&caller, "Settings.Get", "settings", result).map(Response::new)
    }

    async fn replace(
        &self,
        request: Request<wire::ReplaceSettingsRequest>,
    ) -> Result<Response<wire::SettingsDocument>, Status> {
        let caller = operator(&self.shared, &request)?;
        let result = Self::replace(self, request.get_ref()).await;
        audit(&caller, "Settings.Replace", "settings", result).map(Response::new)
    }
}
