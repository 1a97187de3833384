//! 4: lists in pages, also while rows come and go.

use std::collections::BTreeSet;

use realtime_testkit::{Client, Server, TestApp};
use serde_json::{Value, json};

use crate::apps::minimal;
use crate::{CONNECTIONS, SUBSCRIBERS};

/// One page: its rows' keys, and the cursor of the next.
async fn page(app: &TestApp, list: &str, query: &str) -> (Vec<String>, Option<String>) {
    let (permission, key) = if list == "topics" { (SUBSCRIBERS, "topic") } else { (CONNECTIONS, "id") };
    let path = format!("/api/{list}/{}?{query}", app.id());
    let page = app.api(&[permission], "GET", &path).send().await.expect(200);
    let keys = page["items"].as_array().unwrap().iter().map(|row| row[key].as_str().unwrap().to_owned());
    (keys.collect(), page["next"].as_str().map(str::to_owned))
}

/// All pages of `limit` rows; `between` is called after each.
async fn walk(
    app: &TestApp,
    list: &str,
    filter: &str,
    limit: usize,
    mut between: impl AsyncFnMut(&[String]),
) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (rows, next) = page(app, list, &format!("limit={limit}{filter}{cursor}")).await;
        assert!(rows.len() <= limit);
        seen.extend(rows);
        between(&seen).await;
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}

fn assert_no_row_twice(seen: &[String]) {
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
}

#[tokio::test]
async fn a_cursor_goes_on_after_the_last_row_whatever_has_come_and_gone() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut stays = app.connect("stays", &[]).await;
    for n in (0..40).step_by(2) {
        stays.subscribe(&format!("t/{n:02}")).await;
    }
    let mut seen_between = 0;
    let seen = walk(&app, "topics", "&prefix=t/", 5, async |seen| {
        // The row that the cursor names goes, one before it comes, and one after it.
        let last = seen.last().unwrap().clone();
        stays.send("unsubscribe", json!({"topic": last})).await;
        stays.subscribe(&format!("t/0 {seen_between}")).await;
        stays.subscribe(&format!("t/39 {seen_between}")).await;
        seen_between += 1;
    })
    .await;
    assert_no_row_twice(&seen);
    for n in (0..40).step_by(2) {
        let name = format!("t/{n:02}");
        assert!(seen.contains(&name), "{name} was there all the time until it was seen");
    }
    assert!(seen.is_sorted(), "{seen:?}");
}

#[tokio::test]
async fn connections_that_stay_are_listed_once_while_others_come_and_go() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut staying = Vec::new();
    for n in 0..20 {
        staying.push(app.connect(&format!("stays {n}"), &[]).await);
    }
    let mut passing: Vec<Client> = Vec::new();
    for n in 0..5 {
        passing.push(app.connect(&format!("goes {n}"), &[]).await);
    }
    let mut round = 0;
    let seen = walk(&app, "connections", "", 4, async |_| {
        round += 1;
        if let Some(client) = passing.pop() {
            client.close().await;
        }
        passing.push(app.connect(&format!("comes {round}"), &[]).await);
    })
    .await;
    assert_no_row_twice(&seen);
    for client in &staying {
        assert!(seen.iter().any(|id| id == client.id()));
    }
}

/// A cursor means a place in the list, not a list that is kept.
#[tokio::test]
async fn a_cursor_is_good_again_and_for_another_page_size() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    for n in 0..6 {
        client.subscribe(&format!("t{n}")).await;
    }
    let (first, next) = page(&app, "topics", "prefix=t&limit=2").await;
    assert_eq!(first, ["t0", "t1"]);
    let next = next.unwrap();
    for _ in 0..2 {
        let (rows, _) = page(&app, "topics", &format!("prefix=t&limit=3&cursor={next}")).await;
        assert_eq!(rows, ["t2", "t3", "t4"]);
    }
    let (rows, end) = page(&app, "topics", "prefix=t&limit=6").await;
    assert_eq!((rows.len(), end), (6, None), "a page that holds the last row is the last");
}

#[tokio::test]
async fn the_queries_of_lists_are_read_strictly() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let _client = app.connect("user0@example.com/ä +", &[]).await;
    let get = |path: String| app.api(&[CONNECTIONS, SUBSCRIBERS], "GET", &path).send();
    for list in ["topics", "connections"] {
        for bad in ["limit=0", "limit=1001", "limit=x", "cursor=%3F", "cursor=a&cursor=b", "limit=1&limit=1"]
        {
            let answer = get(format!("/api/{list}/{}?{bad}", app.id())).await;
            assert_eq!(answer.status, 400, "{list} {bad}: {}", answer.text());
            answer.expect_problem(400, "invalid_request");
        }
        get(format!("/api/{list}/{}?limit=1000&utm_source=x", app.id())).await.expect(200);
    }
    let subject = "user0%40example.com%2F%C3%A4+%2B";
    let one = get(format!("/api/connections/{}?subject={subject}", app.id())).await.expect(200);
    assert_eq!(one["items"].as_array().unwrap().len(), 1, "{one}");
    let none = get(format!("/api/connections/{}?subject=user0", app.id())).await.expect(200);
    assert_eq!(none["items"], json!([]));
    get(format!("/api/connections/{}?subject=acks", app.id())).await.expect_problem(400, "invalid_request");
}

/// A slip must not close everybody's connections.
#[tokio::test]
async fn closing_connections_takes_a_subject_or_nothing() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    let delete = |query: &str| {
        let path = format!("/api/connections/{}{query}", app.id());
        app.api(&[CONNECTIONS], "DELETE", &path).send()
    };
    for slip in ["?subject=", "?subject", "?Subject=a", "?user=a", "?subject=a&subject=b", "?subject=%zz"] {
        delete(slip).await.expect_problem(400, "invalid_request");
    }
    client.expect_nothing().await;
    assert_eq!(delete("?subject=a").await.expect(200), json!({"connections": 1}));
    assert_eq!(client.expect_close().await.0, 4003);
}

#[tokio::test]
async fn applications_are_listed_in_pages_by_id() {
    let server = Server::start().await;
    for n in 0..7 {
        let mut document = minimal(&format!("app {n}"));
        document["appId"] = json!(format!("app-{n}"));
        server.operator("POST", "/api/apps").json(&document).send().await.expect(201);
    }
    let (mut seen, mut query) = (Vec::<String>::new(), "?limit=3".to_owned());
    loop {
        let page: Value = server.operator("GET", &format!("/api/apps{query}")).send().await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.iter().all(|app| app["authKey"].is_object() && app["version"].is_u64()), "{page}");
        seen.extend(items.iter().map(|app| app["appId"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=3&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|n| format!("app-{n}")).collect::<Vec<_>>());
    let bad = server.operator("GET", "/api/apps?limit=0").send().await;
    bad.expect_problem(400, "invalid_request");
}
