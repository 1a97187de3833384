//! SIGKILL under load.

use std::collections::HashSet;
use std::time::Duration;

use realtime_testkit::eventually;

use crate::load::Load;
use crate::world::World;

/// Messages in the queue before the server dies.
const BEFORE: i64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acked_by_a_server_that_was_killed_is_in_the_queue() {
    let Some(mut world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let app = world.app(&url).create().await;
    let load = Load::start(&app, 10, Duration::from_millis(10)).await;
    eventually("messages in the queue", async || {
        let asked = world.backend.sqs.get_queue_attributes().queue_url(&url);
        let asked = asked.attribute_names("ApproximateNumberOfMessages".into());
        let count = asked.send().await.ok()?.attributes?.into_values().next()?.parse::<i64>().ok()?;
        (count >= BEFORE).then_some(())
    })
    .await;
    world.server.kill();
    let sent = load.stop().await;
    assert!(sent.ended.is_some() && sent.failed.is_empty());
    let received = world.backend.receive_all(&url).await;
    let there: HashSet<_> =
        received.iter().filter_map(|received| received.json()["id"].as_str().map(str::to_owned)).collect();
    assert!(sent.acked.len() > 100, "{} were acked", sent.acked.len());
    let lost: Vec<_> = sent.acked.difference(&there).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), sent.acked.len());
}
