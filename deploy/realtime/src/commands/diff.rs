//! What a write changes, for people: unified differences of two documents without secrets.

use realtime_proto::app::{KeyConfig, KeySource, Secret};
use realtime_proto::{AppConfig, FieldErrors};
use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::print::pretty;

/// Stands for a secret that the server has and does not show. Long enough for any HS algorithm.
const UNKNOWN_SECRET: &str = "unknown-secret-unknown-secret-unknown-secret-unknown-secret-unknown-secret";
/// Stands for a secret that the file sets.
const NEW_SECRET: &str = "(set by the file)";

/// The difference between two documents, each with its name; empty when there is none.
pub(super) fn documents(old: Option<(&Value, &str)>, new: &Value, name: &str) -> String {
    let (old, old_name) = old.map_or((None, "(none)"), |(old, name)| (Some(old), name));
    let (before, after) = (old.map(pretty).unwrap_or_default(), pretty(new));
    if before == after {
        return String::new();
    }
    TextDiff::from_lines(&with_end(before), &with_end(after))
        .unified_diff()
        .header(old_name, name)
        .to_string()
}

fn with_end(mut text: String) -> String {
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The configuration that the server answered, with stand-ins for the secrets it keeps to itself: the rules for
/// what a replacing document keeps need one.
pub(super) fn from_public(document: &Value) -> Result<AppConfig, FieldErrors> {
    let is_set = |object: &Map<String, Value>| object.get("secretSet") == Some(&Value::Bool(true));
    AppConfig::from_stored(&filled(document, is_set))
}

/// A file's document with stand-ins for the secrets that it leaves to the server: whether the server has them is
/// seen later.
pub(super) fn with_stand_ins(document: &Value) -> Value {
    filled(document, |object| {
        let names = object.get("algorithms").and_then(Value::as_array).into_iter().flatten();
        let hmac = names.filter_map(Value::as_str).any(|name| name.starts_with("HS"));
        hmac && !object.contains_key("key")
            || object.contains_key("accessKeyId") && !object.contains_key("secretAccessKey")
    })
}

/// The document with stand-ins in the objects that `lacks` picks.
fn filled(document: &Value, lacks: impl Fn(&Map<String, Value>) -> bool) -> Value {
    let mut document = document.clone();
    for (object, secret) in [
        ("authKey", "key"),
        ("adminKey", "key"),
        ("amazonSnsForwarder", "secretAccessKey"),
        ("amazonSqsForwarder", "secretAccessKey"),
    ] {
        if let Some(Value::Object(object)) = document.get_mut(object)
            && lacks(object)
        {
            object.insert(secret.to_owned(), json!(UNKNOWN_SECRET));
        }
    }
    document
}

/// A configuration as it is shown: no secret, no read-only attribute, and a mark where the file sets a secret.
pub(super) fn shown(config: &AppConfig) -> Value {
    let mut document = config.to_public(0);
    if let Value::Object(object) = &mut document {
        for read_only in ["createdAt", "updatedAt", "version"] {
            object.remove(read_only);
        }
    }
    let forwarder = |f: &Option<realtime_proto::app::Forwarder>| {
        f.as_ref().and_then(|f| f.secret_access_key.clone()).filter(is_new)
    };
    for (object, member, set) in [
        ("authKey", "key", hmac(&config.auth_key)),
        ("adminKey", "key", hmac(&config.admin_key)),
        ("amazonSnsForwarder", "secretAccessKey", forwarder(&config.amazon_sns_forwarder)),
        ("amazonSqsForwarder", "secretAccessKey", forwarder(&config.amazon_sqs_forwarder)),
    ] {
        if set.is_some() {
            document[object][member] = json!(NEW_SECRET);
        }
    }
    document
}

fn hmac(key: &KeyConfig) -> Option<Secret> {
    match &key.source {
        KeySource::Hmac(secret) => Some(secret.clone()).filter(is_new),
        KeySource::Pem(_) | KeySource::Jwks { .. } | KeySource::Withheld => None,
    }
}

fn is_new(secret: &Secret) -> bool {
    secret.expose() != UNKNOWN_SECRET
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00.000Z";

    fn document(secret: Option<&str>) -> Value {
        let mut key = json!({"source": "raw", "algorithms": ["HS512"]});
        if let Some(secret) = secret {
            key["key"] = json!(secret);
        }
        json!({"appId": "a", "name": "n", "authKey": key, "adminKey": key})
    }

    const SECRET: &str = "hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush-hush";

    #[test]
    fn secrets_are_never_shown_but_that_they_are_set_is() {
        let config = AppConfig::create(&document(Some(SECRET)), NOW).unwrap();
        let text = documents(None, &shown(&config), "a.json");
        assert!(text.contains(NEW_SECRET) && !text.contains("hush"), "{text}");
        assert!(text.contains("+++ a.json"), "{text}");
    }

    #[test]
    fn a_document_without_its_secret_keeps_the_servers() {
        let stored = AppConfig::create(&document(Some(SECRET)), NOW).unwrap();
        let current = from_public(&stored.to_public(3)).unwrap();
        let mut file = document(None);
        let new = current.replace(&file, NOW).unwrap();
        assert_eq!(documents(Some((&shown(&current), "old")), &shown(&new), "f"), "");
        file["description"] = json!("new");
        let new = current.replace(&file, NOW).unwrap();
        let text = documents(Some((&shown(&current), "old")), &shown(&new), "f");
        assert!(text.contains("+  \"description\": \"new\""), "{text}");
        assert!(!text.contains("unknown-secret"), "{text}");
    }

    #[test]
    fn a_document_that_sets_the_secret_anew_is_a_change() {
        let stored = AppConfig::create(&document(Some(SECRET)), NOW).unwrap();
        let current = from_public(&stored.to_public(3)).unwrap();
        let new = current.replace(&document(Some(SECRET)), NOW).unwrap();
        assert!(documents(Some((&shown(&current), "old")), &shown(&new), "f").contains(NEW_SECRET));
    }
}
