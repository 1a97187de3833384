//! Test messages.

use super::life::both;
use super::*;
use tokio::time::timeout;

use crate::stats::{Stats, TargetState};

async fn tested(forwarders: &Forwarders, app: &AppConfig) -> Vec<(TargetKind, Option<Class>)> {
    let results = forwarders.test(app, message(0, 0)).await.expect("no other test");
    results.into_iter().map(|(kind, result)| (kind, class(result))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_test_message_goes_to_every_enabled_target_once_and_each_has_its_own_answer() {
    let fake = Fake::new(|call| match call.target.contains("sns") {
        true => Answer::Fail(Class::Denied),
        false => Answer::Accept,
    });
    let (forwarders, app) = (start(&fake, Limits::default()), both("a"));
    let expected = [(TargetKind::Sns, Some(Class::Denied)), (TargetKind::Sqs, None)];
    assert_eq!(tested(&forwarders, &app).await, expected);
    assert_eq!(fake.calls().len(), 2, "no second attempt");
    assert_eq!(fake.accepted(&queue_url("q")), ["0"]);
    assert_eq!(forwarders.stats(), Stats::default(), "nothing is counted");
    let off = with_forwarders("b", &json!({}));
    assert_eq!(tested(&forwarders, &off).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_test_message_passes_an_open_target_and_leaves_it_as_it_is() {
    let fake = Fake::new(|call| match call.bodies == ["0"] {
        true => Answer::Accept,
        false => Answer::Fail(Class::Network),
    });
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let waiting = forwarders.forward(&app, message(1, 1));
    sleep(Duration::from_secs(8)).await;
    let before = forwarders.status(&app.app_id);
    assert_eq!(before[0].state, TargetState::Open);
    let begin = Instant::now();
    assert_eq!(tested(&forwarders, &app).await, [(TargetKind::Sqs, None)]);
    assert_eq!(millis(begin), CALL.as_millis());
    assert_eq!(forwarders.status(&app.app_id), before);
    assert_eq!(class(waiting.await), Some(Class::Network));
}

#[tokio::test(start_paused = true)]
async fn a_test_takes_ten_seconds_at_most_and_a_call_that_breaks_down_is_a_failure() {
    let fake = Fake::new(|call| if call.target.contains("sns") { Answer::Hang } else { Answer::Panic });
    let (forwarders, app) = (start(&fake, Limits::default()), both("a"));
    let begin = Instant::now();
    let expected = [(TargetKind::Sns, Some(Class::Timeout)), (TargetKind::Sqs, Some(Class::Unavailable))];
    assert_eq!(tested(&forwarders, &app).await, expected);
    assert_eq!(millis(begin), 10_000);
}

/// A consumer that answers is as good as AWS.
#[tokio::test(start_paused = true)]
async fn a_test_message_goes_to_the_streams_consumers_too() {
    let forwarders = start(&Fake::new(|_| Answer::Accept), Limits::default());
    let app = with_forwarders("a", &json!({"enableInboundStream": true}));
    assert_eq!(tested(&forwarders, &app).await, [(TargetKind::Stream, Some(Class::NoConsumer))]);
    let mut consumer = forwarders.consume(&app.app_id, "g", 10).unwrap();
    for (answers, expected) in [(true, None), (false, Some(Class::Unacknowledged))] {
        let answer = async {
            let delivery = consumer.next().await;
            assert!(!answers || consumer.accept(delivery.sequence));
        };
        let (results, ()) = tokio::join!(tested(&forwarders, &app), answer);
        assert_eq!(results, [(TargetKind::Stream, expected)]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_test_of_an_application_is_under_way_at_a_time() {
    let fake = Fake::new(|call| if call.target.ends_with("hangs") { Answer::Hang } else { Answer::Accept });
    let forwarders = start(&fake, Limits::default());
    let (hangs, other) = (app("a", "hangs"), app("b", "q"));
    let mut first = Box::pin(forwarders.test(&hangs, message(0, 0)));
    assert!(timeout(CALL, &mut first).await.is_err());
    assert_eq!(forwarders.test(&hangs, message(0, 0)).await, None);
    assert_eq!(tested(&forwarders, &other).await, [(TargetKind::Sqs, None)]);
    // Who has asked for it has hung up.
    drop(first);
    assert_eq!(tested(&forwarders, &hangs).await, [(TargetKind::Sqs, Some(Class::Timeout))]);
}
