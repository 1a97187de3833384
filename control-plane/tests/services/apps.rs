//! Applications: what is stored, refused and listed, and who wins races.

use futures_util::future::join_all;
use realtime_proto::ErrorCode;
use realtime_proto::generated::admin as wire;
use serde_json::json;

use crate::plane::{AUTH_SECRET, Plane, answer, app, assert_refused, document, key, operator, replace};

#[tokio::test]
async fn an_app_is_created_read_replaced_patched_and_deleted() {
    let plane = Plane::start().await;
    let created = plane.create(&app("demo")).await.unwrap();
    assert_eq!(created.app_id, "demo");
    let shown = document(&created.document_json);
    assert_eq!((&shown["tier"], &shown["version"]), (&json!("free"), &json!(created.version)));
    assert!(!String::from_utf8_lossy(&created.document_json).contains(AUTH_SECRET), "secrets are write-only");
    assert_eq!(plane.get("demo").await.unwrap(), created);

    let mut changed = shown.clone();
    changed["description"] = json!("new");
    let replaced = plane.replace(&changed, created.version).await.unwrap();
    assert!(replaced.version > created.version);
    let patched = plane.patch("demo", &json!({"name": "Another name", "description": null})).await.unwrap();
    let shown = document(&patched.document_json);
    assert_eq!((&shown["name"], &shown["description"]), (&json!("Another name"), &json!("")));
    assert_eq!(shown["createdAt"], document(&created.document_json)["createdAt"]);

    assert_refused(plane.delete("demo", created.version).await, ErrorCode::StaleVersion, &[]);
    plane.delete("demo", patched.version).await.unwrap();
    assert_refused(plane.get("demo").await, ErrorCode::AppNotFound, &[]);
    assert_refused(plane.delete("demo", 0).await, ErrorCode::AppNotFound, &[]);
    assert_refused(plane.replace(&changed, 0).await, ErrorCode::AppNotFound, &[]);
    plane.create(&app("demo")).await.expect("id and name are free again");
}

#[tokio::test]
async fn an_app_without_an_id_gets_one() {
    let plane = Plane::start().await;
    let mut anonymous = app("x");
    anonymous.as_object_mut().unwrap().remove("appId");
    let created = plane.create(&anonymous).await.unwrap();
    assert_eq!(created.app_id.len(), 32);
    assert_eq!(plane.get(&created.app_id).await.unwrap().version, created.version);
}

#[tokio::test]
async fn apps_and_versions_survive_a_restart() {
    let plane = Plane::start().await;
    let created = plane.create(&app("demo")).await.unwrap();
    let plane = plane.restart().await;
    assert_eq!(plane.get("demo").await.unwrap(), created);
}

#[tokio::test]
async fn taken_ids_and_names_are_told_apart() {
    let plane = Plane::start().await;
    plane.create(&app("one")).await.unwrap();
    assert_refused(plane.create(&app("one")).await, ErrorCode::AppIdTaken, &[]);
    let mut same_name = app("two");
    same_name["name"] = json!("The app one");
    assert_refused(plane.create(&same_name).await, ErrorCode::NameTaken, &[]);
    plane.create(&app("two")).await.unwrap();
    let taken = plane.patch("two", &json!({"name": "The app one"})).await;
    assert_refused(taken, ErrorCode::NameTaken, &[]);
    plane.patch("two", &json!({"name": "the app one"})).await.expect("case counts");
    // Names are free once their app has another, or is gone.
    plane.patch("one", &json!({"name": "moved"})).await.unwrap();
    plane.patch("two", &json!({"name": "The app one"})).await.unwrap();
}

#[tokio::test]
async fn documents_that_do_not_fit_are_refused_with_their_fields() {
    let plane = Plane::start().await;
    let create = |bytes: &'static [u8]| async {
        answer(plane.apps().create(operator(wire::CreateAppRequest { document_json: bytes.into() })).await)
    };
    assert_refused(create(b"{\"name\":").await, ErrorCode::InvalidRequest, &[]);
    let open = br#"{"adminSourceAddress":["10.0.0.0/8"],"adminSourceAddress":[]}"#;
    assert_refused(create(open).await, ErrorCode::Unprocessable, &["adminSourceAddress"]);
    assert_refused(create(b"[]").await, ErrorCode::Unprocessable, &[""]);
    let mut wrong = app("demo");
    wrong["tier"] = json!("gold");
    assert_refused(plane.create(&wrong).await, ErrorCode::Unprocessable, &["tier"]);
    wrong = app("demo");
    wrong["colour"] = json!("red");
    assert_refused(plane.create(&wrong).await, ErrorCode::Unprocessable, &["colour"]);
    wrong = app("demo");
    wrong["authKey"] = json!({"source": "raw", "key": "not a PEM", "algorithms": ["ES512"], "issuer": []});
    assert_refused(plane.create(&wrong).await, ErrorCode::Unprocessable, &["authKey.key"]);
    let large = json!({"name": "x".repeat(256 * 1024)});
    assert_refused(plane.create(&large).await, ErrorCode::PayloadTooLarge, &[]);

    plane.create(&app("demo")).await.unwrap();
    let patched = plane.patch("demo", &json!({"tier": "gold", "enabled": "yes"})).await;
    assert_refused(patched, ErrorCode::Unprocessable, &["enabled"]);
    assert_refused(plane.patch("demo", &json!({"tier": "gold"})).await, ErrorCode::Unprocessable, &["tier"]);
    assert_refused(plane.patch("demo", &json!(7)).await, ErrorCode::Unprocessable, &[""]);
}

#[tokio::test]
async fn an_unreadable_public_key_is_named() {
    let plane = Plane::start().await;
    let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let mut wrong = app("demo");
    wrong["authKey"] = json!({"source": "raw", "key": pem, "algorithms": ["ES512"], "issuer": []});
    assert_refused(plane.create(&wrong).await, ErrorCode::Unprocessable, &["authKey.key"]);
    assert_refused(plane.get("demo").await, ErrorCode::AppNotFound, &[]);
}

#[tokio::test]
async fn a_stale_version_is_refused_and_zero_means_any() {
    let plane = Plane::start().await;
    let first = plane.create(&app("demo")).await.unwrap().version;
    let second = plane.replace(&app("demo"), 0).await.unwrap().version;
    assert_refused(plane.replace(&app("demo"), first).await, ErrorCode::StaleVersion, &[]);
    plane.replace(&app("demo"), second).await.unwrap();
}

#[tokio::test]
async fn of_concurrent_replaces_of_one_version_exactly_one_wins() {
    let plane = Plane::start().await;
    let version = plane.create(&app("demo")).await.unwrap().version;
    let results = join_all((0..16).map(|i| {
        let mut document = app("demo");
        document["description"] = json!(format!("writer {i}"));
        let mut apps = plane.apps();
        async move { answer(apps.replace(operator(replace(&document, version))).await) }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for loser in lost {
        assert_refused(loser, ErrorCode::StaleVersion, &[]);
    }
    assert_eq!(plane.get("demo").await.unwrap(), *won[0].as_ref().unwrap());
}

#[tokio::test]
async fn concurrent_patches_without_a_version_all_get_through() {
    let plane = Plane::start().await;
    plane.create(&app("demo")).await.unwrap();
    let patches = [
        json!({"description": "d"}),
        json!({"enableInboundStream": true}),
        json!({"disconnectOnTokenExpiry": true}),
        json!({"clientInboundAckEnabled": true}),
        json!({"allowedOrigins": ["https://a.example"]}),
    ];
    for result in join_all(patches.iter().map(|patch| plane.patch("demo", patch))).await {
        result.unwrap();
    }
    let shown = document(&plane.get("demo").await.unwrap().document_json);
    for patch in &patches {
        for (name, value) in patch.as_object().unwrap() {
            assert_eq!(&shown[name], value, "no patch undoes another");
        }
    }
}

#[tokio::test]
async fn of_concurrent_creates_with_one_name_or_id_exactly_one_wins() {
    let plane = Plane::start().await;
    let named = |i: usize| {
        let mut document = app(&format!("app-{i}"));
        document["name"] = json!("the same");
        document
    };
    let documents: Vec<_> = (0..12).map(named).collect();
    let results = join_all(documents.iter().map(|d| plane.create(d))).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    for loser in results.into_iter().filter(Result::is_err) {
        assert_refused(loser, ErrorCode::NameTaken, &[]);
    }
    let same_id = app("one");
    let results = join_all((0..12).map(|_| plane.create(&same_id))).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    for loser in results.into_iter().filter(Result::is_err) {
        assert_refused(loser, ErrorCode::AppIdTaken, &[]);
    }
}

#[tokio::test]
async fn lists_come_in_pages_ordered_by_id() {
    let plane = Plane::start().await;
    let documents: Vec<_> = (0..130).map(|i| app(&format!("app-{i:03}"))).collect();
    for result in join_all(documents.iter().map(|d| plane.create(d))).await {
        result.unwrap();
    }
    let page = |cursor: String, limit| {
        let mut apps = plane.apps();
        async move { answer(apps.list(operator(wire::ListAppsRequest { cursor, limit })).await) }
    };
    let first = page(String::new(), 0).await.unwrap();
    assert_eq!(first.items.len(), 100, "the default");
    let second = page(first.next.clone(), 0).await.unwrap();
    assert_eq!((second.items.len(), second.next.as_str()), (30, ""));
    let ids: Vec<_> = first.items.iter().chain(&second.items).map(|item| item.app_id.clone()).collect();
    assert_eq!(ids, (0..130).map(|i| format!("app-{i:03}")).collect::<Vec<_>>());
    let exact = page("app-119".into(), 10).await.unwrap();
    assert_eq!((exact.items.len(), exact.next.as_str()), (10, ""));
    assert_eq!(page(String::new(), 5000).await.unwrap().items.len(), 130);
    assert_refused(page("Not An Id".into(), 0).await, ErrorCode::InvalidRequest, &["cursor"]);
}

#[tokio::test]
async fn a_key_that_is_sent_without_its_secret_keeps_it() {
    let plane = Plane::start().await;
    let created = plane.create(&app("demo")).await.unwrap();
    // What GET answers is what PUT accepts.
    plane.replace(&document(&created.document_json), created.version).await.unwrap();
    let mut other = app("demo");
    other["authKey"] = key("another secret that is long enough here");
    plane.replace(&other, 0).await.unwrap();
}
