//! What holds around every route: health, tokens, unknown paths and methods, browsers, a missing configuration.

use axum::http::Method;
use serde_json::json;

use crate::world::{ALL, Call, OPERATOR, World, token};

#[tokio::test]
async fn health_needs_no_token_and_tells_whether_the_gateway_can_serve() {
    let answer = World::new().send(Call::get("/api/health/status").without_address()).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "ok", "revision": 42})));
    let answer = World::unconfigured().send(Call::get("/api/health/status")).await;
    assert_eq!((answer.refusal().as_str(), answer.header("retry-after")), ("503 unavailable", "1"));
}

#[tokio::test]
async fn without_a_configuration_apps_are_unavailable_and_operators_still_reach_the_control_plane() {
    let world = World::unconfigured();
    for path in ["/api/topics/app", "/api/connections/app", "/api/apps/app"] {
        let answer = world.send(Call::get(path).token(&token(ALL))).await;
        assert_eq!(answer.refusal(), "503 unavailable", "{path}");
    }
    assert_eq!(world.send(Call::get("/api/apps").operator()).await.status, 200);
    assert_eq!(world.send(Call::get("/api/settings").operator()).await.status, 200);
}

#[tokio::test]
async fn unknown_paths_are_404_problems() {
    let world = World::new();
    for path in
        ["/", "/api", "/api/topics", "/api/topics/app/publish/", "/api/apps/", "/api/nothing", "/x?y=%ff"]
    {
        assert_eq!(world.send(Call::get(path).operator()).await.refusal(), "404 not_found", "{path}");
    }
    for id in ["APP", "%ff", "a%2Fb", "a b".replace(' ', "%20").as_str()] {
        let answer = world.send(Call::get(&format!("/api/topics/{id}")).operator()).await;
        assert_eq!(answer.refusal(), "404 app_not_found", "{id}");
    }
}

#[tokio::test]
async fn wrong_methods_are_405_problems_that_name_the_right_ones() {
    let world = World::new();
    let cases = [
        (Method::GET, "/api/topics/app/publish", "POST,OPTIONS"),
        (Method::POST, "/api/topics/app", "GET,HEAD,OPTIONS"),
        (Method::PATCH, "/api/connections/app", "GET,HEAD,DELETE,OPTIONS"),
        (Method::GET, "/api/connections/app/x", "DELETE,OPTIONS"),
        (Method::DELETE, "/api/apps", "GET,HEAD,POST"),
        (Method::POST, "/api/apps/app", "GET,HEAD,PUT,PATCH,DELETE"),
        (Method::OPTIONS, "/api/settings", "GET,HEAD,PUT"),
        (Method::POST, "/api/health/status", "GET,HEAD"),
    ];
    for (method, path, allow) in cases {
        let answer = world.send(Call::new(method, path).operator()).await;
        assert_eq!(answer.refusal(), "405 method_not_allowed", "{path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[tokio::test]
async fn options_without_an_origin_tells_the_methods() {
    let world = World::new();
    world.app("listed", json!({"allowedOrigins": ["https://a.example"]}));
    for path in [
        "/api/topics/listed/publish",
        "/api/topics/listed/unsubscribe",
        "/api/topics/listed",
        "/api/connections/listed",
        "/api/connections/listed/x",
    ] {
        let answer = world.send(Call::new(Method::OPTIONS, path)).await;
        let refused = world.send(Call::new(Method::PUT, path)).await;
        assert_eq!((answer.status.as_u16(), refused.status.as_u16()), (204, 405), "{path}");
        assert_eq!(answer.header("allow"), refused.header("allow"), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), "", "{path}");
    }
    let unknown = world.send(Call::new(Method::OPTIONS, "/api/topics/nowhere")).await;
    assert_eq!(unknown.refusal(), "404 app_not_found");
}

#[tokio::test]
async fn no_answer_is_for_caches() {
    let world = World::new();
    for call in [
        Call::get("/api/health/status"),
        Call::get("/api/topics/app").operator(),
        Call::get("/api/topics/app"),
        Call::get("/api/apps/app").operator(),
        Call::get("/nothing"),
        Call::new(Method::PUT, "/api/topics/app"),
        Call::new(Method::OPTIONS, "/api/topics/app").header("origin", "https://a.example"),
    ] {
        let answer = world.send(call).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.status);
    }
}

#[tokio::test]
async fn a_missing_or_malformed_token_is_a_401() {
    let world = World::new();
    let get = || Call::get("/api/topics/app");
    let foreign = realtime_auth::issue::sign(
        realtime_proto::app::Algorithm::HS256,
        &"x".repeat(64),
        r#"{"permissions":["realtime:admin:manage:subscribers"]}"#,
        None,
    );
    for call in [
        get(),
        get().header("authorization", OPERATOR),
        get().header("authorization", &format!("Basic {OPERATOR}")),
        get().header("authorization", "Bearer "),
        get().token("x"),
        get().operator().token("x"),
        get().token(OPERATOR).operator(),
        get().token(&foreign.unwrap()),
        get().token(&"x".repeat(9_000)),
    ] {
        assert_eq!(world.send(call).await.refusal(), "401 unauthenticated");
    }
    let lower = get().header("authorization", &format!("bearer {OPERATOR}"));
    assert_eq!(world.send(lower).await.status, 200);
}

#[tokio::test]
async fn a_request_without_a_known_address_is_not_let_in() {
    let answer = World::new().send(Call::get("/api/topics/app").operator().without_address()).await;
    assert_eq!(answer.refusal(), "500 internal");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_read_the_answers() {
    let world = World::new();
    world.app("listed", json!({"allowedOrigins": ["https://a.example"]}));
    let preflight = |app: &str, origin: &str| {
        Call::new(Method::OPTIONS, &format!("/api/topics/{app}/publish")).header("origin", origin)
    };
    let any = world.send(preflight("app", "https://x.example")).await;
    assert_eq!((any.status.as_u16(), any.header("access-control-allow-origin")), (204, "*"));
    assert_eq!(any.header("access-control-allow-headers"), "authorization, content-type, x-app-id");
    assert!(any.header("access-control-allow-methods").contains("POST"));
    assert_eq!(any.header("allow"), "POST,OPTIONS");
    let listed = world.send(preflight("listed", "https://a.example")).await;
    assert_eq!(listed.header("access-control-allow-origin"), "https://a.example");
    assert_eq!(listed.header("vary"), "Origin");
    let other = world.send(preflight("listed", "https://b.example")).await;
    assert_eq!(other.refusal(), "403 origin_forbidden");
    assert_eq!(other.header("access-control-allow-origin"), "");
    let unknown = world.send(preflight("nowhere", "https://a.example")).await;
    assert_eq!(unknown.refusal(), "404 app_not_found");

    // Refusals can be read too; other origins get the answer without the header, which browsers withhold.
    let get = |origin: &str| Call::get("/api/connections/listed").header("origin", origin);
    let refused = world.send(get("https://a.example")).await;
    assert_eq!(refused.refusal(), "401 unauthenticated");
    assert_eq!(refused.header("access-control-allow-origin"), "https://a.example");
    let other = world.send(get("https://b.example").operator()).await;
    assert_eq!((other.status.as_u16(), other.header("access-control-allow-origin")), (200, ""));
    let configuration =
        world.send(Call::get("/api/apps/app").operator().header("origin", "https://a.example")).await;
    assert_eq!(
        configuration.header("access-control-allow-origin"),
        "",
        "configurations are for the same origin"
    );
}
