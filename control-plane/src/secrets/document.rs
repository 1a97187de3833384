//! An application's document, as the store holds it and with its secrets in the clear.

use bytes::Bytes;
use realtime_proto::ids::{hex, random};
use realtime_proto::{AppConfig, FieldErrors, app::SecretField};
use serde_json::Value;

use super::envelope::{self, OpenError, SealError};
use super::keys::SecretKeys;
use crate::store::Entry;

/// The version of a document that was only encrypted anew. Versions are revisions of the store, which every write
/// moves on, but nothing has changed that anybody could see: nobody's `If-Match` may fail for it, no node hear of it.
const VERSION_KEPT: &str = "versionKept";

/// The document to store for a configuration.
pub(crate) fn stored(config: &AppConfig, keys: &SecretKeys) -> Result<Bytes, SealError> {
    let mut document = config.to_stored();
    seal(&mut document, config, keys)?;
    Ok(document.to_string().into())
}

/// Encrypts the secrets of a document, if that is wanted.
fn seal(document: &mut Value, config: &AppConfig, keys: &SecretKeys) -> Result<(), SealError> {
    let Some(key) = keys.writing() else { return Ok(()) };
    for field in config.secret_fields() {
        let Some(secret) = field.text(document) else { continue };
        let envelope = envelope::seal(key, config.app_id.as_str(), field, secret)?;
        field.set_envelope(document, envelope);
    }
    Ok(())
}

/// A stored document with its secrets in the clear.
pub(crate) struct Opened {
    /// Its version: the revision of its entry, unless it was only encrypted anew since.
    pub(crate) version: u64,
    document: Value,
    /// What could not be decrypted, which is encrypted in the document still.
    lost: Vec<(SecretField, OpenError)>,
    /// The ids of the keys that the secrets were encrypted with.
    key_ids: Vec<(SecretField, String)>,
    /// Whether the document is other than what is stored.
    is_changed: bool,
}

impl Opened {
    /// Reads an entry of the application. What it says of itself is not looked at.
    ///
    /// # Errors
    /// Why it is no document. The parser's own message is left out: it may quote the document.
    pub(crate) fn read(entry: &Entry, app_id: &str, keys: &SecretKeys) -> Result<Self, String> {
        let document: Value =
            serde_json::from_slice(&entry.value).map_err(|_| "it is not JSON".to_owned())?;
        let (version, is_changed) = (entry.revision, false);
        let mut opened = Self { version, document, lost: Vec::new(), key_ids: Vec::new(), is_changed };
        if let Value::Object(object) = &mut opened.document
            && let Some(kept) = object.remove(VERSION_KEPT)
        {
            opened.is_changed = true;
            opened.version = kept.as_u64().filter(|kept| *kept < version).unwrap_or(version);
        }
        for field in SecretField::ALL {
            let Some(envelope) = field.envelope(&opened.document) else { continue };
            let key_id = envelope::key_id(envelope).unwrap_or_default().to_owned();
            opened.key_ids.push((field, key_id));
            match envelope::open(keys, app_id, field, envelope) {
                Ok(secret) => field.set_text(&mut opened.document, secret.expose().to_owned()),
                Err(error) => opened.lost.push((field, error)),
            }
            opened.is_changed = true;
        }
        Ok(opened)
    }

    /// The configuration.
    ///
    /// # Errors
    /// Why it is not usable; of secrets that could not be decrypted, which and why.
    pub(crate) fn config(&self, app_id: &str) -> Result<AppConfig, String> {
        if self.lost.is_empty() {
            return valid(&self.document, app_id);
        }
        Err(self.lost_fields(OpenError::to_string).to_string())
    }

    /// The configuration for whoever may mend it: in the place of each secret that could not be decrypted stands a
    /// text that nobody knows.
    ///
    /// # Errors
    /// Why it is not usable but for that.
    pub(crate) fn mendable(&self, app_id: &str) -> Result<(AppConfig, Lost), String> {
        let lost = Lost { stand_in: hex(&random::<32>()), fields: self.lost_fields(OpenError::to_string) };
        let mut document = self.document.clone();
        for (field, _) in &self.lost {
            field.set_text(&mut document, lost.stand_in.clone());
        }
        Ok((valid(&document, app_id)?, lost))
    }

    /// The document for nodes, secrets included.
    pub(crate) fn for_nodes(&self, entry: &Entry) -> Bytes {
        if self.is_changed { self.document.to_string().into() } else { entry.value.clone() }
    }

    /// Whether a secret is encrypted.
    pub(super) fn has_encrypted(&self) -> bool {
        !self.key_ids.is_empty()
    }

    /// The same document, encrypted with the first of the keys; `None`: it is.
    pub(super) fn sealed_anew(
        &self,
        config: &AppConfig,
        keys: &SecretKeys,
    ) -> Result<Option<Bytes>, SealError> {
        let wanted = keys.writing().map(|key| key.id.as_str());
        let is_by = |field| self.key_ids.iter().find(|(of, _)| *of == field).map(|(_, id)| id.as_str());
        if config.secret_fields().into_iter().all(|field| is_by(field) == wanted) {
            return Ok(None);
        }
        let mut document = self.document.clone();
        seal(&mut document, config, keys)?;
        document[VERSION_KEPT] = self.version.into();
        Ok(Some(document.to_string().into()))
    }

    fn lost_fields(&self, why: impl Fn(&OpenError) -> String) -> FieldErrors {
        let mut errors = FieldErrors::default();
        for (field, error) in &self.lost {
            errors.push(field.path(), why(error));
        }
        errors
    }
}

/// Secrets that could not be decrypted.
pub(crate) struct Lost {
    /// What stands in their place.
    stand_in: String,
    /// Why, by field.
    fields: FieldErrors,
}

impl Lost {
    /// Refuses a configuration that keeps one of them: it would be replaced by nothing.
    ///
    /// # Errors
    /// Which.
    pub(crate) fn check(&self, new: &AppConfig) -> Result<(), FieldErrors> {
        let document = new.to_stored();
        let kept = |field: &SecretField| field.text(&document) == Some(&self.stand_in);
        let paths: Vec<String> = SecretField::ALL.into_iter().filter(kept).map(SecretField::path).collect();
        let mut errors = FieldErrors::default();
        for lost in self.fields.0.iter().filter(|lost| paths.contains(&lost.field)) {
            errors.push(lost.field.as_str(), format!("is required: the stored one {}", lost.message));
        }
        errors.into_result(())
    }
}

fn valid(document: &Value, app_id: &str) -> Result<AppConfig, String> {
    let config = AppConfig::from_stored(document).map_err(|e| e.to_string())?;
    if config.app_id.as_str() == app_id { Ok(config) } else { Err("its appId is not that of its key".into()) }
}
