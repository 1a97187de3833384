//! The operator's settings.

use realtime_proto::{ApiError, ErrorCode};
use serde_json::json;

use crate::world::{ALL, Call, World, token};

#[tokio::test]
async fn settings_are_read_and_replaced_by_version() {
    let world = World::new();
    let read = world.send(Call::get("/api/settings").operator()).await;
    assert_eq!((read.status.as_u16(), read.header("etag")), (200, "\"7\""));
    assert_eq!(read.body, "{\"tiers\": {} }", "the document as the control plane made it");
    let put =
        |tag: &str| Call::put("/api/settings").operator().header("if-match", tag).json("{\"tiers\":{}}");
    assert_eq!(world.send(put("\"6\"")).await.refusal(), "412 stale_version");
    assert_eq!(world.send(put("\"6")).await.refusal(), "400 invalid_request");
    let replaced = world.send(put("\"7\"")).await;
    assert_eq!((replaced.status.as_u16(), replaced.header("etag")), (200, "\"8\""));
    assert_eq!(world.send(Call::put("/api/settings").operator().json("{}")).await.header("etag"), "\"9\"");
}

#[tokio::test]
async fn settings_are_for_operators() {
    let world = World::new();
    for call in [
        Call::get("/api/settings"),
        Call::get("/api/settings").token(&token(ALL)),
        Call::put("/api/settings").token(&token(ALL)).json(json!({})),
    ] {
        assert_eq!(world.send(call).await.refusal(), "401 unauthenticated");
    }
}

#[tokio::test]
async fn settings_check_the_body_before_they_ask() {
    let world = World::new();
    let put = || Call::put("/api/settings").operator();
    assert_eq!(world.send(put().json("{")).await.refusal(), "400 invalid_request");
    assert_eq!(world.send(put().json(" ".repeat(256 * 1024 + 1))).await.refusal(), "413 payload_too_large");
    let plain = put().header("content-type", "text/plain").body("{}".into());
    assert_eq!(world.send(plain).await.refusal(), "415 unsupported_media_type");
    let in_use = ApiError::new(ErrorCode::TierInUse, "tier free is in use");
    *world.settings.refusal.lock().unwrap() = Some(in_use);
    assert_eq!(world.send(put().json("{}")).await.refusal(), "409 tier_in_use");
}
