//! 5: a thousand applications that change all the time, while others, and they themselves, are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use realtime_testkit::Request;
use realtime_testkit::server::OPERATOR_TOKEN;
use serde_json::json;

use crate::PUBLISH;
use crate::crowd::crowd;
use crate::measure::{Neighbour, frugal_server, three_times};

const APPS: usize = 1000;

/// A thousand apps are created, then each is changed three times. Sessions of a changed app and of an unrelated one
/// publish and receive all the while, and none of them ends.
#[tokio::test]
async fn a_thousand_apps_change_and_no_session_notices() {
    let server = frugal_server().await;
    let (used, mut neighbour) =
        (server.app().set("tier", "unlimited").create().await, Neighbour::of(&server).await);
    let key = used.signer.key_config();
    let created = crowd(APPS, |n| {
        let app = json!({"appId": format!("many-{n}"), "name": format!("Many {n}"), "authKey": key, "adminKey": key});
        let request = Request::new(server.listen(), "POST", "/api/apps").token(OPERATOR_TOKEN).json(&app);
        async move { request.send().await.status }
    })
    .await;
    assert_eq!(created, [201; APPS]);
    let mut sessions = Vec::new();
    for n in 0..10 {
        sessions.push(used.connect(&format!("user{n}"), &[PUBLISH]).await);
        sessions[n].subscribe("t").await;
    }
    three_times(&server, async |round| {
        let done = Arc::new(AtomicBool::new(false));
        let (finished, listen, used_id) = (done.clone(), server.listen().to_owned(), used.id().to_owned());
        let changes = tokio::spawn(async move {
            let changed = crowd(APPS, |n| {
                // Some of the changes are those of the app in use.
                let id = if n % 20 == 0 { used_id.clone() } else { format!("many-{n}") };
                let change = json!({"description": format!("{round} {n}")});
                let request =
                    Request::new(&listen, "PATCH", &format!("/api/apps/{id}")).token(OPERATOR_TOKEN);
                async move { request.json(&change).send().await.status }
            })
            .await;
            finished.store(true, Ordering::Relaxed);
            changed
        });
        let mut published = 0;
        while !done.load(Ordering::Relaxed) || published == 0 {
            published += 1;
            sessions[0].publish("t", json!([published])).await;
            for session in &mut sessions {
                assert_eq!(session.expect("t", "broadcast").await["payload"], json!([published]));
            }
            neighbour.is_served().await;
        }
        assert_eq!(changes.await.unwrap(), [200; APPS]);
        neighbour.may_come().await;
    })
    .await;
}
