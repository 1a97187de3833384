//! `amazonSnsForwarder` and `amazonSqsForwarder`: their objects and when a write keeps the secret.

use serde_json::{Map, Value, json};

use super::{Forwarder, Secret, origin};
use crate::reader::{Reader, line};

/// Longest topic ARN and queue URL, in characters.
const MAX_TARGET_CHARS: usize = 1024;
/// Longest access key id (AWS: 128) and secret (AWS: 40 today), in characters.
const MAX_CREDENTIAL_CHARS: usize = 256;
/// Longest region name, in bytes.
const MAX_REGION_BYTES: usize = 64;

/// Which service a forwarder feeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sns,
    Sqs,
}

impl Kind {
    /// The attribute that holds the forwarder.
    pub(super) const fn attribute(self) -> &'static str {
        match self {
            Self::Sns => "amazonSnsForwarder",
            Self::Sqs => "amazonSqsForwarder",
        }
    }

    /// The attribute inside it that names the target.
    const fn target(self) -> &'static str {
        match self {
            Self::Sns => "topicArn",
            Self::Sqs => "queueUrl",
        }
    }

    fn check_target(self, text: &str) -> Result<(), String> {
        line(text, 1, MAX_TARGET_CHARS)?;
        match self {
            Self::Sqs => origin::check_url(text, &["https", "http"]),
            Self::Sns => {
                let parts: Vec<&str> = text.split(':').collect();
                match parts[..] {
                    ["arn", _, "sns", region, account, topic]
                        if !region.is_empty() && !account.is_empty() && !topic.is_empty() =>
                    {
                        Ok(())
                    }
                    _ => Err("must be a topic's ARN, arn:aws:sns:REGION:ACCOUNT:TOPIC".to_owned()),
                }
            }
        }
    }
}

/// Reads the forwarder; absent and `{}` mean none. `current` is the one whose secret an object without its
/// own keeps. An explicit `null` drops the secret.
pub(super) fn read(r: &mut Reader<'_, '_>, kind: Kind, current: Option<&Forwarder>) -> Option<Forwarder> {
    let mut r = r.object(kind.attribute())?;
    r.names().next()?;
    r.ignore(&["secretSet"]);
    let enabled = r.boolean("enabled", false);
    let target = r.text(kind.target(), |text| kind.check_target(text));
    let region = r.text("region", check_region);
    for (name, value) in [(kind.target(), target), ("region", region)] {
        // A value that is there and wrong has been noted already.
        if enabled && value.is_none() && r.value(name).is_none() {
            r.error(name, "is required while enabled");
        }
    }
    let credential = |text: &str| line(text, 1, MAX_CREDENTIAL_CHARS);
    let mut forwarder = Forwarder {
        enabled,
        target: target.unwrap_or_default().to_owned(),
        region: region.unwrap_or_default().to_owned(),
        access_key_id: r.text("accessKeyId", credential).map(str::to_owned),
        secret_access_key: None,
        endpoint_url: r
            .text("endpointUrl", |text| origin::check_url(text, &["https", "http"]))
            .map(str::to_owned),
    };
    forwarder.secret_access_key = secret(&mut r, kind, &forwarder, current);
    r.finish();
    let empty = Forwarder {
        enabled: false,
        target: String::new(),
        region: String::new(),
        access_key_id: None,
        secret_access_key: None,
        endpoint_url: None,
    };
    (forwarder != empty).then_some(forwarder)
}

/// The secret of the document, or the kept one. A kept secret must never sign a request to anywhere else
/// than where its owner sent it.
fn secret(
    r: &mut Reader<'_, '_>,
    kind: Kind,
    new: &Forwarder,
    current: Option<&Forwarder>,
) -> Option<Secret> {
    const NAME: &str = "secretAccessKey";
    let dropped = r.is_null(NAME);
    if r.value(NAME).is_some() {
        let secret = r.text(NAME, |text| line(text, 1, MAX_CREDENTIAL_CHARS)).map(Secret::new);
        if r.value("accessKeyId").is_none() {
            r.error("accessKeyId", "is required with secretAccessKey");
        }
        return secret;
    }
    let kept = current.filter(|c| c.secret_access_key.is_some() && !dropped);
    if let Some(current) = kept {
        let same = current.target == new.target
            && current.endpoint_url == new.endpoint_url
            && current.access_key_id == new.access_key_id;
        if same {
            return current.secret_access_key.clone();
        }
        let target = kind.target();
        r.error(
            NAME,
            format!("is required when {target}, endpointUrl or accessKeyId changes; null drops it"),
        );
    } else if r.value("accessKeyId").is_some() {
        r.error(NAME, "is required with accessKeyId");
    }
    None
}

fn check_region(text: &str) -> Result<(), String> {
    let ok = (1..=MAX_REGION_BYTES).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if ok { Ok(()) } else { Err("must be an AWS region such as eu-west-1".to_owned()) }
}

/// What is written of the credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Both parts.
    Shown,
    /// Neither.
    Withheld,
    /// An API caller: the id, and `secretSet`.
    Hidden,
}

/// Writes a forwarder; `{}` for none.
pub(super) fn write(forwarder: Option<&Forwarder>, kind: Kind, credentials: Credentials) -> Value {
    let mut object = Map::new();
    let Some(forwarder) = forwarder else { return Value::Object(object) };
    object.insert("enabled".to_owned(), json!(forwarder.enabled));
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            object.insert(name.to_owned(), json!(value));
        }
    };
    put(kind.target(), Some(&forwarder.target));
    put("region", Some(&forwarder.region));
    put("endpointUrl", forwarder.endpoint_url.as_deref());
    let secret = forwarder.secret_access_key.as_ref();
    if credentials != Credentials::Withheld {
        put("accessKeyId", forwarder.access_key_id.as_deref());
    }
    match (credentials, secret) {
        (Credentials::Shown, Some(secret)) => put("secretAccessKey", Some(secret.expose())),
        (Credentials::Hidden, Some(_)) => {
            object.insert("secretSet".to_owned(), json!(true));
        }
        (Credentials::Withheld, _) | (_, None) => {}
    }
    Value::Object(object)
}
