//! Reads a configuration document, wherever it comes from, into an [`AppConfig`].

use serde_json::Value;

use super::{AppConfig, forwarder, key, origin};
use crate::address::AddressList;
use crate::field::FieldErrors;
use crate::ids::{AppId, hex, random};
use crate::reader::{Reader, Unknown, line, tier_name};
use crate::timestamp::is_timestamp;

/// Longest `name`, in characters.
pub const MAX_NAME_CHARS: usize = 128;
/// Longest `description`, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 1024;
/// Entries of `allowedOrigins`: each is compared when a browser connects.
pub const MAX_ALLOWED_ORIGINS: usize = 100;
/// The tier of an application that names none.
const DEFAULT_TIER: &str = "free";

/// Where a document comes from decides what it may hold and what an absence means.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A caller creates an application.
    New { now: &'a str },
    /// A caller changes one.
    Change { current: &'a AppConfig, now: &'a str },
    /// Written by this code, in this or another process.
    Stored,
}

impl<'a> Source<'a> {
    /// The configuration whose secrets a document without them keeps.
    pub(super) const fn current(self) -> Option<&'a AppConfig> {
        match self {
            Self::Change { current, .. } => Some(current),
            Self::New { .. } | Self::Stored => None,
        }
    }

    /// Whether the document was written by this code.
    pub(super) const fn is_stored(self) -> bool {
        matches!(self, Self::Stored)
    }
}

pub(super) fn read(document: &Value, source: Source<'_>) -> Result<AppConfig, FieldErrors> {
    let mut errors = FieldErrors::default();
    let unknown = if source.is_stored() { Unknown::Ignored } else { Unknown::Refused };
    let config =
        Reader::root(document, unknown, &mut errors).and_then(|reader| read_attributes(reader, source));
    match (errors.0.is_empty(), config) {
        (true, Some(config)) => Ok(config),
        _ => Err(errors.capped()),
    }
}

/// `None` where something without a default is missing; whatever is wrong is noted.
fn read_attributes(mut r: Reader<'_, '_>, source: Source<'_>) -> Option<AppConfig> {
    r.ignore(&["version", "secretSet"]);
    let app_id = app_id(&mut r, source);
    let name = required(&mut r, "name", name_text);
    let (created_at, updated_at) = times(&mut r, source);
    let stored_period = if source.is_stored() { r.text("period", |_| Ok(())) } else { None };
    let current = source.current();
    let auth_key = key::read(&mut r, "authKey", current.map(|c| &c.auth_key), source);
    let admin_key = key::read(&mut r, "adminKey", current.map(|c| &c.admin_key), source);
    let sns = current.and_then(|c| c.amazon_sns_forwarder.as_ref());
    let sqs = current.and_then(|c| c.amazon_sqs_forwarder.as_ref());
    let amazon_sns_forwarder = forwarder::read(&mut r, forwarder::Kind::Sns, sns);
    let amazon_sqs_forwarder = forwarder::read(&mut r, forwarder::Kind::Sqs, sqs);
    let description = r.text("description", description_text).unwrap_or_default().to_owned();
    let tier = r.text("tier", tier_name).unwrap_or(DEFAULT_TIER).to_owned();
    let enabled = r.boolean("enabled", true);
    let period = period(stored_period, enabled, source);
    let admin_source_address = addresses(&mut r, "adminSourceAddress");
    let client_source_address = addresses(&mut r, "clientSourceAddress");
    let enable_web_socket_inbound_topic = r.boolean("enableWebSocketInboundTopic", false);
    let client_inbound_ack_enabled = r.boolean("clientInboundAckEnabled", false);
    let client_inbound_ack_format = r.choice("clientInboundAckFormat", ["id", "envelope"]);
    let connection_limit_policy = r.choice("connectionLimitPolicy", ["reject", "replace"]);
    let refused_subscription_policy = r.choice("refusedSubscriptionPolicy", ["error", "close"]);
    let permission_case = r.choice("permissionCase", ["insensitive", "sensitive"]);
    let disconnect_on_token_expiry = r.boolean("disconnectOnTokenExpiry", false);
    let enable_inbound_stream = r.boolean("enableInboundStream", false);
    let allowed_origins = r.strings("allowedOrigins", MAX_ALLOWED_ORIGINS, origin::check);
    r.finish();
    Some(AppConfig {
        app_id: app_id?,
        enabled,
        name: name?,
        description,
        tier,
        created_at,
        updated_at,
        period,
        auth_key: auth_key?,
        admin_key: admin_key?,
        admin_source_address,
        client_source_address,
        enable_web_socket_inbound_topic,
        client_inbound_ack_enabled,
        client_inbound_ack_format,
        connection_limit_policy,
        refused_subscription_policy,
        permission_case,
        disconnect_on_token_expiry,
        enable_inbound_stream,
        allowed_origins,
        amazon_sns_forwarder,
        amazon_sqs_forwarder,
    })
}

fn app_id(r: &mut Reader<'_, '_>, source: Source<'_>) -> Option<AppId> {
    let check = |text: &str| AppId::parse(text).map(drop).map_err(|e| e.to_string());
    match source {
        Source::New { .. } => match r.value("appId") {
            None => Some(AppId::generate()),
            Some(_) => AppId::parse(r.text("appId", check)?).ok(),
        },
        Source::Stored => AppId::parse(required(r, "appId", check)?.as_str()).ok(),
        Source::Change { current, .. } => {
            let own = |text: &str| match text == current.app_id.as_str() {
                true => Ok(()),
                false => Err("cannot be changed".to_owned()),
            };
            r.text("appId", own);
            Some(current.app_id.clone())
        }
    }
}

/// `createdAt` and `updatedAt`, which callers' documents may hold and nobody reads there.
fn times(r: &mut Reader<'_, '_>, source: Source<'_>) -> (String, String) {
    let mut stored = |name| {
        let check =
            |text: &str| is_timestamp(text).then_some(()).ok_or("must be an RFC 3339 time".to_owned());
        required(r, name, check).unwrap_or_default()
    };
    match source {
        Source::Stored => (stored("createdAt"), stored("updatedAt")),
        Source::New { now } => {
            r.ignore(&["createdAt", "updatedAt"]);
            (now.to_owned(), now.to_owned())
        }
        Source::Change { current, now } => {
            r.ignore(&["createdAt", "updatedAt"]);
            (current.created_at.clone(), now.to_owned())
        }
    }
}

/// The period that the document is in: another one where it begins one.
fn period(stored: Option<&str>, enabled: bool, source: Source<'_>) -> String {
    let new = || hex(&random::<8>());
    match source {
        Source::Stored => stored.unwrap_or_default().to_owned(),
        Source::New { .. } => new(),
        Source::Change { current, .. } if enabled && !current.enabled => new(),
        Source::Change { current, .. } => current.period.clone(),
    }
}

/// A text that must be there.
pub(super) fn required<'d>(
    r: &mut Reader<'d, '_>,
    name: &'d str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Option<String> {
    if r.value(name).is_none() {
        r.error(name, "is required");
        return None;
    }
    r.text(name, check).map(str::to_owned)
}

fn addresses(r: &mut Reader<'_, '_>, name: &'static str) -> AddressList {
    let entries = r.strings(name, crate::address::MAX_ADDRESSES, |_| Ok(()));
    AddressList::parse(&entries, &r.path_of(name)).unwrap_or_else(|problems| {
        r.extend(problems);
        AddressList::default()
    })
}

fn name_text(text: &str) -> Result<(), String> {
    line(text, 1, MAX_NAME_CHARS)?;
    // Names are unique, and two that differ in invisible ends would look the same.
    if text.trim() == text { Ok(()) } else { Err("must not begin or end with white space".to_owned()) }
}

fn description_text(text: &str) -> Result<(), String> {
    if text.chars().count() <= MAX_DESCRIPTION_CHARS {
        return Ok(());
    }
    Err(format!("must have at most {MAX_DESCRIPTION_CHARS} characters"))
}
