//! Keys, envelopes and documents, without a store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realtime_proto::AppConfig;
use realtime_proto::app::SecretField;
use realtime_proto::ids::hex;
use serde_json::{Value, json};

use super::envelope::{self, OpenError};
use super::{Opened, SecretKeys, stored};
use crate::keys;
use crate::store::Entry;

const SECRET: &str = "a secret of thirty-two bytes or more";

/// A key as a file has it.
fn text(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn keys(bytes: &[u8]) -> SecretKeys {
    SecretKeys::parse(&bytes.iter().map(|byte| text(*byte)).collect::<Vec<_>>().join("\n")).unwrap()
}

fn seal(keys: &SecretKeys, secret: &str) -> String {
    envelope::seal(keys.writing().unwrap(), "app", SecretField::AUTH_KEY, secret).unwrap()
}

fn open(keys: &SecretKeys, envelope: &str) -> Result<String, OpenError> {
    envelope::open(keys, "app", SecretField::AUTH_KEY, envelope).map(|secret| secret.expose().to_owned())
}

fn config() -> AppConfig {
    let key = json!({"source": "raw", "key": SECRET, "algorithms": ["HS256"]});
    let sqs = json!({
        "queueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q", "region": "eu-west-1",
        "accessKeyId": "AKIA", "secretAccessKey": SECRET,
    });
    let document =
        json!({"appId": "app", "name": "App", "authKey": key, "adminKey": key, "amazonSqsForwarder": sqs});
    AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap()
}

fn entry(document: impl Into<bytes::Bytes>, revision: u64) -> Entry {
    Entry { key: keys::app("app"), value: document.into(), revision, lease: None }
}

fn read(entry: &Entry, keys: &SecretKeys) -> Opened {
    Opened::read(entry, "app", keys).unwrap()
}

#[test]
fn keys_are_32_bytes_in_base64_or_hex_and_one_key_whichever_way() {
    let one = SecretKeys::parse(&format!("# made today\n\n {} # the first\n", text(1))).unwrap();
    let same = SecretKeys::parse(&hex(&[1; 32])).unwrap();
    assert_eq!(format!("{one:?}"), format!("{same:?}"));
    assert_eq!(open(&same, &seal(&one, SECRET)).as_deref(), Ok(SECRET));
    assert!(SecretKeys::parse(&format!("{},{}", text(1), text(2))).unwrap().encrypts());
    assert!(!format!("{one:?}").contains(&text(1)[..8]) && !SecretKeys::default().encrypts());
}

#[test]
fn a_store_looks_different_with_other_keys_and_not_in_another_order() {
    assert_eq!(SecretKeys::default().view_of("id"), "id");
    assert_eq!(keys(&[1, 2]).view_of("id"), keys(&[2, 1]).view_of("id"));
    assert_ne!(keys(&[1, 2]).view_of("id"), keys(&[1]).view_of("id"));
    assert!(keys(&[1]).view_of("id").starts_with("id."));
}

#[test]
fn what_is_no_key_is_told_by_its_line_and_not_repeated() {
    let short = STANDARD.encode([7; 31]);
    for (bad, why) in [
        (String::new(), "there is no key"),
        ("# none\n".into(), "there is no key"),
        ("plain".into(), "there is no key"),
        (format!("{}\n{short}", text(1)), "line 2: a key has 32 bytes"),
        ("hush-hush".into(), "line 1: a key has 32 bytes"),
        (format!("{}zz", hex(&[1; 31])), "line 1: a key has 32 bytes"),
        (format!("{}\n{}", text(1), hex(&[1; 32])), "line 2: the key is given twice"),
        (format!("{}\nplain", text(1)), "line 2: plain stands before"),
        (format!("plain,plain,{}", text(1)), "line 1: plain stands before"),
    ] {
        let error = SecretKeys::parse(&bad).unwrap_err();
        assert!(error.starts_with(why), "{error}");
        assert!(!error.contains("hush") && !error.contains(&short) && !error.contains("zz"), "{error}");
    }
}

#[test]
fn a_secret_is_read_back_and_its_envelope_is_another_each_time() {
    let keys = keys(&[1]);
    for secret in ["", "ä", SECRET, &"x".repeat(4096)] {
        let (first, second) = (seal(&keys, secret), seal(&keys, secret));
        assert_ne!(first, second);
        assert_eq!(
            (open(&keys, &first).as_deref(), open(&keys, &second).as_deref()),
            (Ok(secret), Ok(secret))
        );
        let parts: Vec<&str> = first.split(':').collect();
        assert_eq!((parts[0], parts[1].len(), parts.len()), ("v1", 16, 3), "{first}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let keys = keys(&[1]);
    let envelope = seal(&keys, SECRET);
    let (head, body) = envelope.rsplit_once(':').unwrap();
    let body = STANDARD.decode(body).unwrap();
    for at in 0..body.len() {
        let mut body = body.clone();
        body[at] ^= 1;
        let tampered = format!("{head}:{}", STANDARD.encode(&body));
        assert!(matches!(open(&keys, &tampered), Err(OpenError::Refused(_))), "{at}");
    }
    for length in [0, 5, 12, 27, body.len() - 1] {
        let cut = format!("{head}:{}", STANDARD.encode(&body[..length]));
        assert!(matches!(open(&keys, &cut), Err(OpenError::Refused(_))), "{length}");
    }
    assert!(matches!(open(&keys, &format!("{head}:*")), Err(OpenError::Refused(_))));
    for other in ["", "v1", "v2:0123456789abcdef:AAAA", "v1:hush-hush-hush-:AAAA", "v1:0123456789abcdef"] {
        assert_eq!(open(&keys, other), Err(OpenError::Form), "{other}");
    }
}

#[test]
fn an_envelope_opens_in_its_own_application_and_field_alone() {
    let keys = keys(&[1]);
    let envelope = seal(&keys, SECRET);
    for (app_id, field) in [
        ("other", SecretField::AUTH_KEY),
        ("app", SecretField::ADMIN_KEY),
        ("app", SecretField::SNS),
        ("app", SecretField::SQS),
    ] {
        let opened = envelope::open(&keys, app_id, field, &envelope);
        assert!(matches!(opened, Err(OpenError::Refused(_))), "{app_id} {field:?}");
    }
}

#[test]
fn a_missing_key_is_named_by_its_id() {
    let (one, two) = (keys(&[1]), keys(&[2]));
    let envelope = seal(&one, SECRET);
    let id = envelope.split(':').nth(1).unwrap().to_owned();
    assert_eq!(open(&two, &envelope), Err(OpenError::UnknownKey(id.clone())));
    assert_eq!(open(&SecretKeys::default(), &envelope), Err(OpenError::NoKeys(id)));
}

#[test]
fn a_stored_document_has_no_secret_and_all_else_in_the_clear() {
    let (config, keys) = (config(), keys(&[1]));
    let bytes = stored(&config, &keys).unwrap();
    let written = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(!written.contains(SECRET), "{written}");
    let mut readable: Value = serde_json::from_str(&written).unwrap();
    for field in config.secret_fields() {
        assert!(field.envelope(&readable).unwrap().starts_with("v1:"), "{readable}");
        field.set_text(&mut readable, SECRET.into());
    }
    assert_eq!(readable, config.to_stored());
    let entry = entry(bytes, 7);
    let opened = read(&entry, &keys);
    assert_eq!((opened.config("app").unwrap(), opened.version), (config.clone(), 7));
    assert_eq!(opened.for_nodes(&entry), config.to_stored().to_string());
    assert_eq!(opened.sealed_anew(&config, &keys), Ok(None));
}

#[test]
fn a_document_is_encrypted_anew_under_the_first_key_and_keeps_its_version_and_content() {
    let config = config();
    let (none, old, both, new) = (SecretKeys::default(), keys(&[1]), keys(&[2, 1]), keys(&[2]));
    let mut document = config.to_stored();
    document["ofANewerRelease"] = json!({"kept": true});
    let plain = entry(document.to_string(), 7);
    let for_nodes = read(&plain, &none).for_nodes(&plain);
    assert_eq!(for_nodes, plain.value);
    let sealed = read(&plain, &old).sealed_anew(&config, &old).unwrap().expect("it was in the clear");
    let sealed = entry(sealed, 20);
    assert!(!String::from_utf8_lossy(&sealed.value).contains(SECRET));
    let rotated = read(&sealed, &both).sealed_anew(&config, &both).unwrap().expect("under the old key");
    let rotated = entry(rotated, 30);
    assert!(read(&rotated, &old).config("app").is_err(), "the old key is needed no more");
    for (entry, keys) in [(&sealed, &old), (&rotated, &new)] {
        let opened = read(entry, keys);
        assert_eq!((opened.version, opened.for_nodes(entry)), (7, for_nodes.clone()));
        assert_eq!(opened.config("app").unwrap(), config);
        assert_eq!(opened.sealed_anew(&config, keys), Ok(None));
    }
    // Whoever writes next writes another version.
    let written = entry(stored(&config, &new).unwrap(), 31);
    assert_eq!(read(&written, &new).version, 31);
}

#[test]
fn plain_before_the_keys_reads_them_and_writes_in_the_clear() {
    let (config, key) = (config(), keys(&[1]));
    let plain = SecretKeys::parse(&format!("plain\n{}", text(1))).unwrap();
    assert!(!plain.encrypts() && !plain.is_empty());
    assert_eq!(stored(&config, &plain).unwrap(), config.to_stored().to_string());
    let sealed = entry(stored(&config, &key).unwrap(), 7);
    let cleared = read(&sealed, &plain).sealed_anew(&config, &plain).unwrap().expect("it was encrypted");
    let cleared = entry(cleared, 9);
    let opened = read(&cleared, &SecretKeys::default());
    assert_eq!((opened.config("app").unwrap(), opened.version), (config.clone(), 7));
    assert_eq!(read(&cleared, &plain).sealed_anew(&config, &plain), Ok(None));
}

#[test]
fn what_cannot_be_decrypted_is_named_and_must_be_given_anew() {
    let (config, wrong) = (config(), keys(&[2]));
    let lost = entry(stored(&config, &keys(&[1])).unwrap(), 7);
    let opened = read(&lost, &wrong);
    let why = opened.config("app").unwrap_err();
    for field in ["authKey.key", "adminKey.key", "amazonSqsForwarder.secretAccessKey"] {
        assert!(why.contains(&format!("{field}: is encrypted with the key ")), "{why}");
    }
    assert!(why.contains("not in --secrets-key") && !why.contains(SECRET), "{why}");
    let (mendable, lost) = opened.mendable("app").unwrap();
    assert_eq!(mendable.name, "App");
    let fields = |patch: Value| {
        let new = mendable.patch(&patch, "2026-01-02T00:00:00.000Z").unwrap();
        let errors = lost.check(&new).err().unwrap_or_default();
        errors.0.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    let all = ["authKey.key", "adminKey.key", "amazonSqsForwarder.secretAccessKey"];
    assert_eq!(fields(json!({"description": "new"})), all);
    assert_eq!(fields(json!({"authKey": {"key": "n"}, "amazonSqsForwarder": {}})), [all[1], all[2]]);
    let dropped = json!({"secretAccessKey": null, "accessKeyId": null});
    let keys = json!({"authKey": {"key": "n"}, "adminKey": {"key": "n"}, "amazonSqsForwarder": dropped});
    assert!(fields(keys).is_empty());
}

#[test]
fn a_version_that_is_kept_is_never_ahead_of_the_store() {
    for (kept, version) in [(json!(3), 3), (json!(9), 7), (json!("3"), 7), (json!(-1), 7)] {
        let mut document = config().to_stored();
        document["versionKept"] = kept;
        let opened = read(&entry(document.to_string(), 7), &SecretKeys::default());
        assert_eq!(opened.version, version, "{document}");
    }
}
