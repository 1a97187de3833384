//! Configurations that come, change and go; the drain; what operators see.

use super::*;
use crate::stats::{LATENCY_BOUNDS, TargetState};

pub(super) fn both(id: &str) -> AppConfig {
    let sns = forwarder("topicArn", "arn:aws:sns:eu-west-1:123456789012:t");
    let sqs = forwarder("queueUrl", &queue_url("q"));
    with_forwarders(id, &json!({"amazonSnsForwarder": sns, "amazonSqsForwarder": sqs}))
}

#[tokio::test(start_paused = true)]
async fn a_message_is_accepted_when_every_target_has_it() {
    let fake = Fake::new(|call| if call.target.contains("sns") { Answer::Hang } else { Answer::Accept });
    let (forwarders, app) = (start(&fake, Limits::default()), both("a"));
    forwarders.configure(&app);
    assert_eq!(class(forwarders.forward(&app, message(1, 1)).await), Some(Class::Timeout));
    assert_eq!(fake.accepted(&queue_url("q")), ["1"], "one target's failure keeps it from no other");
    let stats = forwarders.stats();
    let (sns, sqs) = (stats.of(TargetKind::Sns), stats.of(TargetKind::Sqs));
    assert_eq!((sqs.sent, sns.sent), (1, 0));
    assert_eq!(sns.failed[Class::Timeout.index()], 1);
    assert_eq!(sqs.latency.iter().sum::<u64>(), 1);
    assert_eq!(sqs.latency[LATENCY_BOUNDS.iter().position(|b| *b == 0.05).unwrap()], 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_accepted_for_a_target_that_is_not_known_here() {
    let fake = Fake::new(|_| Answer::Accept);
    let (forwarders, known, wanted) = (start(&fake, Limits::default()), app("a", "q"), both("a"));
    assert_eq!(class(forwarders.forward(&known, message(1, 1)).await), Some(Class::Stopped));
    forwarders.configure(&known);
    // The session's configuration is newer, and has a topic, too.
    assert_eq!(class(forwarders.forward(&wanted, message(1, 2)).await), Some(Class::Stopped));
    let later = AppConfig { period: "another".into(), ..known.clone() };
    assert_eq!(class(forwarders.forward(&later, message(1, 3)).await), Some(Class::Stopped));
    assert_eq!(forwarders.forward(&known, message(1, 4)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_changed_forwarder_keeps_its_queue_and_gets_new_clients() {
    let fake = Fake::new(|call| match call.target.ends_with("wrong") {
        true => Answer::Fail(Class::Network),
        false => Answer::Accept,
    });
    let (forwarders, wrong) = (start(&fake, Limits::default()), app("a", "wrong"));
    let right = AppConfig { period: wrong.period.clone(), ..app("a", "right") };
    forwarders.configure(&wrong);
    let waiting = forwarders.forward(&wrong, message(1, 1));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(forwarders.status(&wrong.app_id)[0].state, TargetState::Open);
    forwarders.configure(&right);
    let begin = Instant::now();
    assert_eq!(waiting.await, Ok(()));
    assert!(millis(begin) <= 2 * CALL.as_millis(), "{} ms", millis(begin));
    assert_eq!(fake.accepted(&queue_url("right")), ["1"]);
}

/// The calls under way still sign with the old credentials.
#[tokio::test(start_paused = true)]
async fn corrected_credentials_save_what_is_in_flight() {
    let fake = Fake::new(|call| match call.target.ends_with("wrong") {
        true => Answer::Fail(Class::Credentials),
        false => Answer::Accept,
    });
    let (forwarders, wrong) = (start(&fake, Limits::default()), app("a", "wrong"));
    forwarders.configure(&wrong);
    let all: Vec<_> = (0..25).map(|n| forwarders.forward(&wrong, message(1, n))).collect();
    tokio::task::yield_now().await;
    assert_eq!(fake.calls().len(), 2, "under way");
    forwarders.configure(&AppConfig { period: wrong.period.clone(), ..app("a", "right") });
    for answer in all {
        assert_eq!(answer.await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn another_application_of_the_same_id_gets_nothing_of_the_old_one() {
    let fake = Fake::new(|call| if call.target.ends_with("old") { Answer::Hang } else { Answer::Accept });
    let (forwarders, old) = (start(&fake, Limits::default()), app("a", "old"));
    forwarders.configure(&old);
    let (first, second) = (forwarders.forward(&old, message(1, 1)), forwarders.forward(&old, message(1, 2)));
    forwarders.configure(&AppConfig { period: "another".into(), ..app("a", "new") });
    assert_eq!((class(first.await), class(second.await)), (Some(Class::Stopped), Some(Class::Stopped)));
    assert!(fake.accepted(&queue_url("new")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_has_5_s_for_what_it_holds() {
    let fake = Fake::new(|call| match call.bodies[0].as_str() {
        "1" => Answer::Accept,
        _ => Answer::Fail(Class::Network),
    });
    let (forwarders, app, other) = (start(&fake, Limits::default()), app("a", "q.fifo"), app("b", "q"));
    forwarders.configure(&app);
    forwarders.configure(&other);
    let sent = forwarders.forward(&app, message(1, 1));
    forwarders.remove(&app);
    assert_eq!(sent.await, Ok(()));
    assert_eq!(class(forwarders.forward(&app, message(1, 3)).await), Some(Class::Stopped));
    assert!(forwarders.status(&app.app_id).is_empty());

    let begin = Instant::now();
    let stuck = forwarders.forward(&other, message(1, 2));
    // Switched off is the same as gone.
    let off = json!({"enabled": false});
    forwarders.configure(&with_forwarders("b", &json!({"amazonSqsForwarder": off})));
    assert_eq!(class(stuck.await), Some(Class::Stopped));
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    forwarders.drain(Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(5), "no task is left");
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_what_is_there_and_fails_the_rest_at_its_deadline() {
    let fake = Fake::new(|call| if call.target.ends_with("broken") { Answer::Hang } else { Answer::Accept });
    let (forwarders, app, broken) = (start(&fake, Limits::default()), app("a", "q.fifo"), app("b", "broken"));
    forwarders.configure(&app);
    forwarders.configure(&broken);
    let all: Vec<_> = (0..50).map(|n| forwarders.forward(&app, message(1, n))).collect();
    let stuck = forwarders.forward(&broken, message(1, 1));
    let begin = Instant::now();
    forwarders.drain(begin + Duration::from_secs(4)).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(4));
    assert_eq!(class(stuck.await), Some(Class::Stopped));
    for answer in all {
        assert_eq!(answer.await, Ok(()));
    }
    assert_eq!(class(forwarders.forward(&app, message(1, 99)).await), Some(Class::Stopped));
    let stats = forwarders.stats();
    assert_eq!((stats.of(TargetKind::Sqs).queued, stats.bytes, stats.of(TargetKind::Sqs).sent), (0, 0, 50));
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_sound_targets_ends_early() {
    let fake = Fake::new(|_| Answer::Accept);
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..50).map(|n| forwarders.forward(&app, message(1, n))).collect();
    let begin = Instant::now();
    forwarders.drain(begin + Duration::from_secs(30)).await;
    assert_eq!(begin.elapsed(), CALL);
    for answer in all {
        assert_eq!(answer.await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_forwarders_answers_everything() {
    let fake = Fake::new(|_| Answer::Hang);
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let waiting = forwarders.forward(&app, message(1, 1));
    drop(forwarders);
    let begin = Instant::now();
    assert_eq!(class(waiting.await), Some(Class::Stopped));
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_status_has_the_last_error_and_nothing_has_secrets() {
    let fake = Fake::new(|_| Answer::Fail(Class::Denied));
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let failure = forwarders.forward(&app, message(1, 1)).await.unwrap_err();
    let status = forwarders.status(&app.app_id);
    let last = status[0].last_error.as_ref().unwrap();
    assert_eq!((status[0].kind, &last.failure), (TargetKind::Sqs, &failure));
    let shown = format!("{forwarders:?} {status:?} {failure:?} {failure} {:?}", message(1, 1));
    assert!(!shown.contains(SECRET) && !shown.contains("AKIAEXAMPLE"), "{shown}");
    assert!(shown.contains("may not send"), "{shown}");
}
