//! Settings: versions, and tiers that applications hang on.

use futures_util::future::join_all;
use realtime_proto::generated::admin as wire;
use realtime_proto::{ErrorCode, Settings};
use serde_json::{Value, json};

use crate::plane::{Plane, answer, app, assert_refused, document, operator};

async fn get(plane: &Plane) -> wire::SettingsDocument {
    answer(plane.settings().get(operator(wire::GetSettingsRequest {})).await).unwrap()
}

/// The defaults with other tiers.
fn with_tiers(tiers: &[&str]) -> Value {
    let mut document = Settings::default().to_json();
    let free = document["tiers"]["free"].clone();
    document["tiers"] = tiers.iter().map(|name| ((*name).to_owned(), free.clone())).collect();
    document
}

#[tokio::test]
async fn a_new_store_has_the_contracts_settings_with_a_version() {
    let plane = Plane::start().await;
    let first = get(&plane).await;
    assert_eq!(document(&first.document_json), Settings::default().to_json());
    assert!(first.version > 0);
    let plane = plane.restart().await;
    assert_eq!(get(&plane).await, first, "a restart writes nothing");
}

#[tokio::test]
async fn settings_are_replaced_against_their_version() {
    let plane = Plane::start().await;
    let first = get(&plane).await;
    let mut changed = document(&first.document_json);
    changed["limits"]["connectionsPerSubject"] = json!(5);
    let second = plane.put_settings(&changed, first.version).await.unwrap();
    assert_eq!(get(&plane).await, second);
    assert_refused(plane.put_settings(&changed, first.version).await, ErrorCode::StaleVersion, &[]);
    let third = plane.put_settings(&changed, 0).await.unwrap();
    assert!(third.version > second.version);
}

#[tokio::test]
async fn documents_that_do_not_fit_name_their_fields() {
    let plane = Plane::start().await;
    let unknown = json!({"limits": {"speed": 1}, "colour": 1});
    assert_refused(
        plane.put_settings(&unknown, 0).await,
        ErrorCode::Unprocessable,
        &["limits.speed", "colour"],
    );
    let replace = wire::ReplaceSettingsRequest { document_json: "{".into(), if_version: 0 };
    assert_refused(answer(plane.settings().replace(operator(replace)).await), ErrorCode::InvalidRequest, &[]);
}

#[tokio::test]
async fn a_tier_goes_only_when_no_app_uses_it() {
    let plane = Plane::start().await;
    plane.put_settings(&with_tiers(&["free", "gold", "gold-2"]), 0).await.unwrap();
    plane.create(&app("demo")).await.unwrap();
    plane.patch("demo", &json!({"tier": "gold"})).await.unwrap();
    assert_refused(plane.put_settings(&with_tiers(&["free"]), 0).await, ErrorCode::TierInUse, &[]);
    plane.put_settings(&with_tiers(&["free", "gold"]), 0).await.expect("gold-2 is another tier");
    plane.patch("demo", &json!({"tier": "free"})).await.unwrap();
    plane.put_settings(&with_tiers(&["free"]), 0).await.unwrap();
    assert_refused(plane.patch("demo", &json!({"tier": "gold"})).await, ErrorCode::Unprocessable, &["tier"]);
    plane.delete("demo", 0).await.unwrap();
    plane.put_settings(&with_tiers(&["silver"]), 0).await.expect("the app is gone");
}

#[tokio::test]
async fn an_app_never_ends_up_in_a_tier_that_is_removed_at_the_same_time() {
    let plane = Plane::start().await;
    for round in 0..8 {
        plane.put_settings(&with_tiers(&["free", "gold"]), 0).await.unwrap();
        let id = format!("app-{round}");
        let mut golden = app(&id);
        golden["tier"] = json!("gold");
        let settings = with_tiers(&["free"]);
        let (created, removed) = tokio::join!(plane.create(&golden), plane.put_settings(&settings, 0));
        match (created, removed) {
            (Ok(_), Err(error)) => {
                assert_eq!(error.code, ErrorCode::TierInUse);
                plane.delete(&id, 0).await.unwrap();
            }
            (Err(error), Ok(_)) => assert_eq!(error.code, ErrorCode::Unprocessable),
            other => panic!("both or neither: {other:?}"),
        }
    }
}

#[tokio::test]
async fn of_concurrent_replaces_of_one_version_exactly_one_wins() {
    let plane = Plane::start().await;
    let version = get(&plane).await.version;
    let document = with_tiers(&["free"]);
    let results = join_all((0..12).map(|_| plane.put_settings(&document, version))).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    for loser in results.into_iter().filter(Result::is_err) {
        assert_refused(loser, ErrorCode::StaleVersion, &[]);
    }
}
