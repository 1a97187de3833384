//! Writes of applications: read, decide, commit on the condition that what was read still holds, and again
//! when it does not. Names, tiers and versions are decided by the commit, never by the model.

use bytes::Bytes;
use realtime_auth::{App, JwksCache};
use realtime_proto::{ApiError, AppConfig, ErrorCode, FieldErrors, Settings};

use super::document::{check_version, stored, unavailable, unusable};
use crate::keys;
use crate::secrets::{self, Lost, Opened};
use crate::shared::Shared;
use crate::store::{Commit, Condition, Entry, Op, Store};

/// Attempts against concurrent writers. Each conflict means that another writer has got through.
const ATTEMPTS: usize = 64;

/// An application and its version.
pub(super) struct Written {
    pub(super) config: AppConfig,
    pub(super) version: u64,
}

/// Stores a new application.
pub(super) async fn create(shared: &Shared, config: AppConfig) -> Result<Written, ApiError> {
    check_keys(shared, &config, None)?;
    let (store, id) = (&*shared.store, config.app_id.as_str());
    for _ in 0..ATTEMPTS {
        if get(store, &keys::app(id)).await?.is_some() {
            return Err(ApiError::new(ErrorCode::AppIdTaken, "appId: is taken"));
        }
        check_name(store, &config).await?;
        let mut conditions =
            vec![Condition::Absent(keys::app(id)), Condition::Absent(keys::app_name(&config.name))];
        conditions.push(check_tier(store, &config).await?);
        let ops = vec![
            Op::put(keys::app(id), document(shared, &config)?),
            Op::put(keys::app_name(&config.name), id.to_owned()),
            Op::put(keys::tier_app(&config.tier, id), Bytes::new()),
        ];
        if let Some(version) = commit(shared, conditions, ops).await? {
            return Ok(Written { config, version });
        }
    }
    Err(contended())
}

/// Stores what `decide` makes of the application as it is.
pub(super) async fn update(
    shared: &Shared,
    app_id: &str,
    if_version: u64,
    decide: impl Fn(&AppConfig) -> Result<AppConfig, ApiError>,
) -> Result<Written, ApiError> {
    let store = &*shared.store;
    for _ in 0..ATTEMPTS {
        let entry = get(store, &keys::app(app_id)).await?.ok_or_else(ApiError::no_such_app)?;
        let Stored { config: old, version, lost } = read(shared, &entry, app_id)?;
        check_version(version, if_version)?;
        let new = decide(&old)?;
        lost.check(&new)?;
        check_keys(shared, &new, Some(&old))?;
        let mut conditions = vec![Condition::Revision(entry.key, entry.revision)];
        let mut ops = vec![Op::put(keys::app(app_id), document(shared, &new)?)];
        if new.name != old.name {
            check_name(store, &new).await?;
            conditions.push(Condition::Absent(keys::app_name(&new.name)));
            ops.push(Op::Delete(keys::app_name(&old.name)));
            ops.push(Op::put(keys::app_name(&new.name), app_id.to_owned()));
        }
        if new.tier != old.tier {
            conditions.push(check_tier(store, &new).await?);
            ops.push(Op::Delete(keys::tier_app(&old.tier, app_id)));
            ops.push(Op::put(keys::tier_app(&new.tier, app_id), Bytes::new()));
        }
        if let Some(version) = commit(shared, conditions, ops).await? {
            return Ok(Written { config: new, version });
        }
    }
    Err(contended())
}

/// Removes an application; the revision at which it went.
pub(super) async fn delete(shared: &Shared, app_id: &str, if_version: u64) -> Result<u64, ApiError> {
    let store = &*shared.store;
    for _ in 0..ATTEMPTS {
        let entry = get(store, &keys::app(app_id)).await?.ok_or_else(ApiError::no_such_app)?;
        let opened = Opened::read(&entry, app_id, &shared.secrets);
        check_version(opened.as_ref().map_or(entry.revision, |opened| opened.version), if_version)?;
        let mut ops = vec![Op::Delete(keys::app(app_id))];
        match opened.and_then(|opened| opened.mendable(app_id)) {
            Ok((config, _)) => ops.extend([
                Op::Delete(keys::app_name(&config.name)),
                Op::Delete(keys::tier_app(&config.tier, app_id)),
            ]),
            // What is not usable must be removable, and what it says of itself may be another's.
            Err(_) => ops.extend(belongings(store, app_id).await?.into_iter().map(Op::Delete)),
        }
        let conditions = vec![Condition::Revision(entry.key, entry.revision)];
        if let Some(version) = commit(shared, conditions, ops).await? {
            return Ok(version);
        }
    }
    Err(contended())
}

/// An application as stored.
struct Stored {
    config: AppConfig,
    version: u64,
    /// Its secrets that cannot be decrypted, which another write has to bring.
    lost: Lost,
}

/// The application that an entry holds.
fn read(shared: &Shared, entry: &Entry, app_id: &str) -> Result<Stored, ApiError> {
    let read = || {
        let opened = Opened::read(entry, app_id, &shared.secrets)?;
        let (config, lost) = opened.mendable(app_id)?;
        Ok(Stored { config, version: opened.version, lost })
    };
    read().map_err(|reason: String| unusable(entry, &reason))
}

/// The application as stored, whether or not its secrets can be decrypted: for whoever is about to mend it.
pub(super) async fn stored_app(shared: &Shared, app_id: &str) -> Result<Written, ApiError> {
    let entry = get(&*shared.store, &keys::app(app_id)).await?.ok_or_else(ApiError::no_such_app)?;
    let Stored { config, version, .. } = read(shared, &entry, app_id)?;
    Ok(Written { config, version })
}

/// The keys that belong to an application, whatever its document says. Reads all names and uses of tiers: this is for
/// documents that somebody has broken by hand.
async fn belongings(store: &dyn Store, app_id: &str) -> Result<Vec<String>, ApiError> {
    let names = store.list(keys::APP_NAMES).await.map_err(unavailable)?.entries;
    let tiers = store.list(keys::TIER_APPS).await.map_err(unavailable)?.entries;
    let names = names.into_iter().filter(|entry| entry.value == app_id).map(|entry| entry.key);
    let uses = |key: &str| key.rsplit_once('/').is_some_and(|(_, app)| app == app_id);
    let tiers = tiers.into_iter().map(|entry| entry.key).filter(|key| uses(key));
    Ok(names.chain(tiers).collect())
}

/// Commits, and waits until this replica's readers see it. `None`: a condition did not hold.
pub(super) async fn commit(
    shared: &Shared,
    conditions: Vec<Condition>,
    ops: Vec<Op>,
) -> Result<Option<u64>, ApiError> {
    match shared.store.commit(conditions, ops).await.map_err(unavailable)? {
        Commit::Committed { revision } => {
            shared.model.reached(revision).await;
            Ok(Some(revision))
        }
        Commit::Conflict => Ok(None),
    }
}

/// The settings as stored, and the condition that they stay so.
pub(super) async fn settings(store: &dyn Store) -> Result<(Settings, Condition), ApiError> {
    let Some(entry) = get(store, keys::SETTINGS).await? else {
        return Ok((Settings::default(), Condition::Absent(keys::SETTINGS.to_owned())));
    };
    let settings = Settings::from_stored(&stored(&entry)?).map_err(|e| unusable(&entry, &e.to_string()))?;
    Ok((settings, Condition::Revision(entry.key, entry.revision)))
}

pub(super) fn contended() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "too many concurrent changes").retry_after(1)
}

pub(super) async fn get(store: &dyn Store, key: &str) -> Result<Option<Entry>, ApiError> {
    store.get(key).await.map_err(unavailable)
}

/// 422 where a key is unreadable, private, or fits none of its algorithms, or a new key set's URL is none that
/// this server would fetch.
fn check_keys(shared: &Shared, config: &AppConfig, current: Option<&AppConfig>) -> Result<(), ApiError> {
    // The version is known only after the commit, and the keys do not depend on it.
    App::compile(config.clone(), 0, &JwksCache::offline())?;
    Ok(shared.gate.jwks().check(config, current)?)
}

/// 409 where another application has the name.
async fn check_name(store: &dyn Store, config: &AppConfig) -> Result<(), ApiError> {
    match get(store, &keys::app_name(&config.name)).await? {
        Some(owner) if owner.value != config.app_id.as_str() => {
            Err(ApiError::new(ErrorCode::NameTaken, "name: is taken by another application"))
        }
        Some(_) | None => Ok(()),
    }
}

/// 422 where the settings have no such tier; else the condition that they keep it.
async fn check_tier(store: &dyn Store, config: &AppConfig) -> Result<Condition, ApiError> {
    let (settings, unchanged) = settings(store).await?;
    if settings.tiers.contains_key(&config.tier) {
        return Ok(unchanged);
    }
    let mut errors = FieldErrors::default();
    errors.push("tier", "the settings have no such tier");
    Err(errors.into())
}

fn document(shared: &Shared, config: &AppConfig) -> Result<Bytes, ApiError> {
    secrets::stored(config, &shared.secrets).map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string()))
}
