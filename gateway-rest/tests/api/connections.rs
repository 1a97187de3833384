//! The list of connections, and closing them.

use realtime_proto::generated::pubsub::disconnect_request::Target;
use serde_json::json;

use crate::world::{ALL, Call, World, token};

const ID: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn connections_are_listed_by_page() {
    let world = World::new();
    let answer = world.send(Call::get("/api/connections/app?subject=ann").token(&token(ALL))).await;
    let connection = json!({
        "id": ID, "subject": "ann", "remoteAddress": "192.0.2.1",
        "connectedAt": "2023-09-17T15:26:35.666Z", "subscriptions": 2,
    });
    assert_eq!(answer.json(), json!({"items": [connection], "next": "c+/="}));
    let seen = world.node.connection_lists.lock().unwrap().pop().unwrap();
    assert_eq!((seen.app_id.as_str(), seen.subject.as_str(), seen.cursor.as_str()), ("app", "ann", ""));

    let path = "/api/connections/app?subject=&cursor=c%2B%2F%3D";
    let last = world.send(Call::get(path).token(&token(ALL))).await;
    assert_eq!(last.json()["next"], json!(null));
    let seen = world.node.connection_lists.lock().unwrap().pop().unwrap();
    assert_eq!((seen.subject.as_str(), seen.cursor.as_str()), ("", "c+/="));
}

#[tokio::test]
async fn one_connection_is_closed_or_not_found() {
    let world = World::new();
    let close = |id: &str| Call::delete(&format!("/api/connections/app/{id}")).token(&token(ALL));
    let answer = world.send(close(ID)).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    let seen = world.node.disconnects.lock().unwrap().pop().unwrap();
    assert_eq!(seen.target, Some(Target::ConnectionId(ID.into())));

    *world.node.closed.lock().unwrap() = Some(0);
    assert_eq!(world.send(close(ID)).await.refusal(), "404 not_found");
    for malformed in ["x", &ID[1..], &ID.to_uppercase(), "%ff"] {
        assert_eq!(world.send(close(malformed)).await.refusal(), "404 not_found", "{malformed}");
    }
    assert_eq!(world.node.disconnects.lock().unwrap().len(), 1, "malformed ids reach no node");
}

#[tokio::test]
async fn a_malformed_id_tells_nothing_to_those_who_may_not_ask() {
    let world = World::new();
    let call = Call::delete("/api/connections/app/x").token(&token(&[]));
    assert_eq!(world.send(call).await.refusal(), "403 permission_denied");
}

#[tokio::test]
async fn all_or_one_users_connections_are_closed() {
    let world = World::new();
    *world.node.closed.lock().unwrap() = Some(12);
    let close = |query: &str| Call::delete(&format!("/api/connections/app{query}")).token(&token(ALL));
    assert_eq!(world.send(close("")).await.json(), json!({"connections": 12}));
    assert_eq!(world.node.disconnects.lock().unwrap().pop().unwrap().target, Some(Target::All(true)));
    world.send(close("?subject=a%20b")).await;
    let seen = world.node.disconnects.lock().unwrap().pop().unwrap();
    assert_eq!(seen.target, Some(Target::Subject("a b".into())));
}

#[tokio::test]
async fn a_slip_in_the_query_closes_nobody() {
    let world = World::new();
    for query in ["?subject=", "?subject", "?subjet=ann", "?subject=a&subject=b", "?subject=%0A"] {
        let call = Call::delete(&format!("/api/connections/app{query}")).token(&token(ALL));
        assert_eq!(world.send(call).await.refusal(), "400 invalid_request", "{query}");
    }
    assert!(world.node.disconnects.lock().unwrap().is_empty());
}
