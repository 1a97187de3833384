//! Unsubscribe and the list of topics.

use serde_json::json;

use crate::world::{ALL, Call, World, token};

#[tokio::test]
async fn unsubscribe_passes_patterns_and_subject_on() {
    let world = World::new();
    let body = json!({"topicPatterns": ["chat/*", "!chat/1"], "subject": "ann"});
    let answer = world.send(Call::post("/api/topics/app/unsubscribe").token(&token(ALL)).json(body)).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"subscriptions": 3})));
    let seen = world.node.unsubscribes.lock().unwrap().pop().unwrap();
    assert_eq!((seen.app_id.as_str(), seen.subject.as_str()), ("app", "ann"));
    assert_eq!(seen.topic_patterns, ["chat/*", "!chat/1"]);
}

#[tokio::test]
async fn unsubscribe_names_what_is_wrong() {
    let world = World::new();
    let cases = [
        (json!({"topicPatterns": [], "subject": "s"}), vec!["topicPatterns"]),
        (json!({"topicPatterns": vec!["a"; 51], "subject": "s"}), vec!["topicPatterns"]),
        (json!({"topicPatterns": ["a"], "subject": ""}), vec!["subject"]),
        (json!({}), vec!["topicPatterns", "subject"]),
    ];
    for (body, fields) in cases {
        let call = Call::post("/api/topics/app/unsubscribe").token(&token(ALL)).json(&body);
        let answer = world.send(call).await;
        assert_eq!(
            (answer.refusal().as_str(), answer.fields()),
            ("400 invalid_request", owned(&fields)),
            "{body}"
        );
    }
    let fifty = json!({"topicPatterns": vec!["a"; 50], "subject": "s"});
    let call = Call::post("/api/topics/app/unsubscribe").token(&token(ALL)).json(fifty);
    assert_eq!(world.send(call).await.status, 200);
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn unsubscribe_needs_its_own_permission() {
    let world = World::new();
    let body = json!({"topicPatterns": ["*"], "subject": "s"});
    let granted = token(&["realtime:admin:manage:subscribers"]);
    let other = token(&["realtime:admin:manage:connections"]);
    let path = "/api/topics/app/unsubscribe";
    assert_eq!(world.send(Call::post(path).token(&granted).json(&body)).await.status, 200);
    let refused = world.send(Call::post(path).token(&other).json(&body)).await;
    assert_eq!(refused.refusal(), "403 permission_denied");
}

#[tokio::test]
async fn topics_are_listed_by_page() {
    let world = World::new();
    let path = "/api/topics/app?prefix=a%2Fb&cursor=x%2By&limit=5";
    let answer = world.send(Call::get(path).token(&token(ALL))).await;
    assert_eq!(answer.json(), json!({"items": [{"topic": "chat/\"ä\"", "subscribers": 7}], "next": null}));
    let seen = world.node.topic_lists.lock().unwrap().pop().unwrap();
    assert_eq!((seen.app_id.as_str(), seen.prefix.as_str()), ("app", "a/b"));
    assert_eq!((seen.cursor.as_str(), seen.limit), ("x+y", 5));

    world.send(Call::get("/api/topics/app").token(&token(ALL))).await;
    let seen = world.node.topic_lists.lock().unwrap().pop().unwrap();
    assert_eq!((seen.prefix.as_str(), seen.cursor.as_str(), seen.limit), ("", "", 0));
    let bad = world.send(Call::get("/api/topics/app?limit=1001").token(&token(ALL))).await;
    assert_eq!((bad.refusal().as_str(), bad.fields()), ("400 invalid_request", owned(&["limit"])));
}
