//! What holds for every document.

use crate::app::{create, full, minimal};
use crate::{LATER, NOW, PEM};
use proptest::prelude::*;
use realtime_proto::{AppConfig, PatternSet, PermissionCase, Settings};
use serde_json::{Map, Value, json};

/// JSON whose member names and texts are often those that mean something.
fn json_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("raw".to_owned()),
        Just("jwks".to_owned()),
        Just("HS256".to_owned()),
        Just("ES512".to_owned()),
        Just(PEM.to_owned()),
        Just("10.0.0.0/8".to_owned()),
        Just("https://a.example".to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let known = [full(), Settings::default().to_json()];
    let mut names: Vec<String> = Vec::new();
    let mut open: Vec<Value> = known.to_vec();
    while let Some(value) = open.pop() {
        for (name, value) in value.as_object().into_iter().flatten() {
            names.push(name.clone());
            open.push(value.clone());
        }
    }
    names.push("jwksUri".to_owned());
    names.push("secretWithheld".to_owned());
    prop_oneof![4 => proptest::sample::select(names), 1 => ".{0,6}"]
}

/// A valid document with some members replaced.
fn nearly_valid() -> impl Strategy<Value = Value> {
    (any::<bool>(), proptest::collection::vec((name(), json_value()), 0..3)).prop_map(|(all, changes)| {
        let mut document = if all { full() } else { minimal() };
        for (name, value) in changes {
            let inner = ["authKey", "adminKey", "amazonSnsForwarder", "amazonSqsForwarder"]
                .into_iter()
                .find(|object| document[object].get(&name).is_some());
            match inner {
                Some(object) => document[object][name] = value,
                None => document[name] = value,
            }
        }
        document
    })
}

/// The secret texts that a document sets, where they are valid.
fn secrets(app: &AppConfig) -> Vec<String> {
    let stored = app.to_stored();
    let key = |name: &str| {
        let hmac = stored[name]["algorithms"][0].as_str().is_some_and(|a| a.starts_with("HS"));
        stored[name]["key"].as_str().filter(|_| hmac)
    };
    let forwarder = |name: &str| stored[name]["secretAccessKey"].as_str();
    [key("authKey"), key("adminKey"), forwarder("amazonSnsForwarder"), forwarder("amazonSqsForwarder")]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

proptest! {
    #[test]
    fn no_document_panics_and_what_is_accepted_round_trips(
        document in prop_oneof![1 => json_value(), 3 => nearly_valid()],
        patch in json_value(),
    ) {
        let base = create(&full());
        let results = [
            AppConfig::create(&document, NOW),
            base.replace(&document, LATER),
            base.patch(&patch, LATER),
            AppConfig::from_stored(&document),
        ];
        for result in results {
            match result {
                Ok(app) => {
                    prop_assert_eq!(&AppConfig::from_stored(&app.to_stored()).unwrap(), &app);
                    let put = app.replace(&app.to_public(1), &app.updated_at).unwrap();
                    prop_assert_eq!(&put, &app);
                    prop_assert!(AppConfig::from_stored(&app.to_gateway()).is_ok());
                }
                Err(errors) => prop_assert!(!errors.0.is_empty()),
            }
        }
    }

    #[test]
    fn secrets_stay_out_of_public_forms_and_errors(
        // Long and of digits alone, so that no attribute or message contains one by chance.
        texts in proptest::collection::vec("[0-9]{12,30}", 4..=4),
        change in (name(), json_value()),
    ) {
        let mut document = full();
        document["authKey"]["key"] = json!(texts[0]);
        document["adminKey"]["key"] = json!(texts[1]);
        document["amazonSnsForwarder"]["secretAccessKey"] = json!(texts[2]);
        document["amazonSqsForwarder"]["secretAccessKey"] = json!(texts[3]);
        let app = create(&document);
        prop_assert_eq!(secrets(&app), texts.clone());
        let public = app.to_public(1).to_string();
        document[change.0] = change.1;
        let errors = AppConfig::create(&document, NOW).err().map(|e| e.to_string()).unwrap_or_default();
        for text in &texts {
            prop_assert!(!public.contains(text.as_str()));
            prop_assert!(!errors.contains(text.as_str()));
        }
    }

    #[test]
    fn no_settings_panic_and_what_is_accepted_round_trips(document in json_value(), limits in json_value()) {
        let mut nested = Settings::default().to_json();
        nested["limits"] = limits;
        for document in [document, nested] {
            if let Ok(settings) = Settings::parse(&document) {
                prop_assert_eq!(&Settings::parse(&settings.to_json()).unwrap(), &settings);
            }
        }
    }

    #[test]
    fn a_text_matches_its_own_escaped_pattern(text in ".{0,20}", long in "[a-zé]{240,300}") {
        for text in [text, long] {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            let [longer, negated, other] = [format!("{escaped}*"), format!("!{escaped}"), format!("{escaped}?")];
            for case in [PermissionCase::Insensitive, PermissionCase::Sensitive] {
                let matches = |pattern: &str| PatternSet::new([pattern], case).matches(&text);
                prop_assert!(matches(&escaped) && matches(&longer));
                prop_assert!(!matches(&negated) && !matches(&other));
            }
        }
    }
}
