use crate::app::{SECRETS, create, full, minimal, with};
use crate::{LATER, NOW, PEM, fields};
use realtime_proto::AppConfig;
use realtime_proto::app::KeySource;
use serde_json::{Value, json};

#[test]
fn the_stored_form_reads_back_as_the_same_configuration() {
    for document in [full(), minimal()] {
        let app = create(&document);
        assert_eq!(AppConfig::from_stored(&app.to_stored()).unwrap(), app);
    }
}

#[test]
fn the_stored_form_is_validated_but_for_attributes_of_newer_releases() {
    let mut stored = create(&full()).to_stored();
    stored["fromTheFuture"] = json!(1);
    stored["authKey"]["fromTheFuture"] = json!(1);
    assert!(AppConfig::from_stored(&stored).is_ok());
    stored["createdAt"] = json!("yesterday");
    stored["authKey"]["algorithms"] = json!([]);
    stored["appId"] = Value::Null;
    assert_eq!(fields(AppConfig::from_stored(&stored)), ["appId", "createdAt", "authKey.algorithms"]);
}

#[test]
fn the_public_form_shows_that_secrets_are_set_and_never_what_they_are() {
    let public = create(&full()).to_public(7);
    let text = public.to_string();
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret}");
    }
    for object in ["authKey", "adminKey", "amazonSnsForwarder", "amazonSqsForwarder"] {
        assert_eq!(public[object]["secretSet"], json!(true), "{object}");
    }
    assert_eq!(public["authKey"].get("key"), None);
    assert_eq!(public["amazonSnsForwarder"]["accessKeyId"], json!("AKIDSNS"));
    assert_eq!(public["version"], json!(7));
    let public = create(&minimal()).to_public(1);
    assert_eq!(
        public["authKey"],
        json!({"source": "raw", "key": PEM, "algorithms": ["ES512"], "issuer": []})
    );
    assert_eq!(public["amazonSnsForwarder"], json!({}));
}

#[test]
fn debugging_a_configuration_prints_no_secret() {
    let text = format!("{:?}", create(&full()));
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn gateways_get_admin_secrets_and_no_others() {
    let app = create(&full());
    let document = app.to_gateway();
    let text = document.to_string();
    assert!(text.contains("admin-secret-text"));
    for withheld in ["auth-secret-text", "sns-secret-text", "sqs-secret-text", "AKIDSNS", "AKIDSQS"] {
        assert!(!text.contains(withheld), "{withheld}");
    }
    let read = AppConfig::from_stored(&document).unwrap();
    assert_eq!(read.auth_key.source, KeySource::Withheld);
    assert_eq!(read.auth_key.algorithms, app.auth_key.algorithms);
    assert_eq!(read.admin_key, app.admin_key);
    assert!(read.inbound_enabled());
    assert_eq!(AppConfig::from_stored(&read.to_stored()).unwrap(), read, "withheld stays withheld");
    assert_eq!(read.to_public(1)["authKey"]["secretSet"], json!(true));
    let asymmetric = create(&minimal());
    assert_eq!(
        AppConfig::from_stored(&asymmetric.to_gateway()).unwrap(),
        asymmetric,
        "public keys are not withheld"
    );
}

#[test]
fn putting_what_get_answered_changes_nothing() {
    let app = create(&full());
    let put = app.replace(&app.to_public(4), LATER).unwrap();
    assert_eq!(put, AppConfig { updated_at: LATER.to_owned(), ..app });
}

#[test]
fn a_key_keeps_its_secret_while_source_and_family_stay() {
    let app = create(&full());
    let put = |key: Value| {
        let mut document = app.to_public(1);
        document["authKey"] = key;
        app.replace(&document, LATER)
    };
    let kept = put(json!({"source": "raw", "algorithms": ["HS384"], "issuer": ["x"]})).unwrap();
    assert_eq!(kept.auth_key.source, app.auth_key.source);
    let new = put(json!({"source": "raw", "algorithms": ["HS384"], "key": "new"})).unwrap();
    assert!(matches!(new.auth_key.source, KeySource::Hmac(s) if s.expose() == "new"));
    assert_eq!(fields(put(json!({"source": "raw", "algorithms": ["ES512"]}))), ["authKey.key"]);
    assert_eq!(fields(put(json!({"source": "raw", "algorithms": ["HS256"], "key": ""}))), ["authKey.key"]);
    assert_eq!(fields(put(json!(null))), ["authKey"]);
    let jwks = put(json!({"source": "jwks", "jwksUri": "https://a.example", "audience": "a"})).unwrap();
    let back =
        json!({"authKey": {"source": "raw", "algorithms": ["HS256"], "jwksUri": null, "audience": null}});
    assert_eq!(fields(jwks.patch(&back, LATER)), ["authKey.key"], "the secret is gone");
    let pem = create(&minimal());
    let hmac = json!({"authKey": {"algorithms": ["HS256"]}});
    assert_eq!(fields(pem.patch(&hmac, LATER)), ["authKey.key"], "a public key is no secret");
}

#[test]
fn a_forwarder_keeps_its_secret_only_while_it_goes_to_the_same_place() {
    let app = create(&full());
    let patch = |forwarder: Value| app.patch(&json!({"amazonSqsForwarder": forwarder}), LATER);
    for kept in [json!({}), json!({"enabled": true}), json!({"region": "us-east-1"})] {
        let forwarder = patch(kept.clone()).unwrap().amazon_sqs_forwarder.unwrap();
        assert_eq!(forwarder.secret_access_key.unwrap().expose(), "sqs-secret-text", "{kept}");
    }
    for moved in [
        json!({"queueUrl": "https://sqs.eu-west-1.amazonaws.com/666/q"}),
        json!({"endpointUrl": "http://127.0.0.1:6000"}),
        json!({"endpointUrl": null}),
        json!({"accessKeyId": "OTHER"}),
        json!({"accessKeyId": null}),
    ] {
        assert_eq!(fields(patch(moved.clone())), ["amazonSqsForwarder.secretAccessKey"], "{moved}");
        let mut document = app.to_public(1);
        for (name, value) in moved.as_object().unwrap() {
            document["amazonSqsForwarder"][name] = value.clone();
        }
        assert_eq!(fields(app.replace(&document, LATER)), ["amazonSqsForwarder.secretAccessKey"], "{moved}");
    }
    let renewed = patch(json!({"endpointUrl": null, "secretAccessKey": "new"})).unwrap();
    assert_eq!(renewed.amazon_sqs_forwarder.unwrap().secret_access_key.unwrap().expose(), "new");
}

#[test]
fn a_null_secret_drops_the_credentials_in_put_and_patch() {
    let app = create(&full());
    let drop = json!({"amazonSnsForwarder": {"accessKeyId": null, "secretAccessKey": null}});
    let mut document = app.to_public(1);
    document["amazonSnsForwarder"]["accessKeyId"] = Value::Null;
    document["amazonSnsForwarder"]["secretAccessKey"] = Value::Null;
    for changed in [app.patch(&drop, LATER), app.replace(&document, LATER)] {
        let forwarder = changed.unwrap().amazon_sns_forwarder.unwrap();
        assert_eq!((forwarder.access_key_id, forwarder.secret_access_key), (None, None));
    }
    let half = json!({"amazonSnsForwarder": {"secretAccessKey": null}});
    assert_eq!(
        fields(app.patch(&half, LATER)),
        ["amazonSnsForwarder.secretAccessKey"],
        "an id needs its secret"
    );
}

#[test]
fn an_empty_or_absent_forwarder_forgets_its_secret() {
    let app = create(&full());
    for reset in [json!(null), json!({})] {
        let mut document = app.to_public(1);
        document["amazonSqsForwarder"] = reset;
        document["amazonSnsForwarder"] = json!({});
        let changed = app.replace(&document, LATER).unwrap();
        assert!(changed.amazon_sqs_forwarder.is_none() && changed.amazon_sns_forwarder.is_none());
    }
}

#[test]
fn credentials_come_in_pairs() {
    let sns = |value: Value| fields(AppConfig::create(&with("amazonSnsForwarder", value), NOW));
    assert_eq!(sns(json!({"accessKeyId": "A"})), ["amazonSnsForwarder.secretAccessKey"]);
    assert_eq!(sns(json!({"secretAccessKey": "A"})), ["amazonSnsForwarder.accessKeyId"]);
}
