//! Consumers of the inbound stream.

use tokio::time::timeout;

use super::*;
use crate::stats::TargetState;
use crate::stream::Consumer;

fn streamed(id: &str) -> AppConfig {
    with_forwarders(id, &json!({"enableInboundStream": true}))
}

/// Forwarders with an application that has a stream.
fn streaming() -> (Forwarders, AppConfig) {
    let (forwarders, app) = (start(&Fake::new(|_| Answer::Accept), Limits::default()), streamed("a"));
    forwarders.configure(&app);
    (forwarders, app)
}

fn consumer(forwarders: &Forwarders, app: &AppConfig, group: &str) -> Consumer {
    forwarders.consume(&app.app_id, group, 100).unwrap()
}

/// Nothing comes for a while.
async fn nothing(consumer: &mut Consumer) {
    let next = timeout(Duration::from_millis(10), consumer.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_accepted_when_a_consumer_of_every_group_has_said_so() {
    let (forwarders, app) = streaming();
    let (mut one, mut two) = (consumer(&forwarders, &app, "one"), consumer(&forwarders, &app, "two"));
    let mut answer = Box::pin(forwarders.forward(&app, message(1, 7)));
    assert_eq!(one.next().await.body(), "7");
    let delivery = two.next().await;
    assert!(one.accept(1) && !one.accept(1));
    assert!(timeout(Duration::from_secs(1), &mut answer).await.is_err());
    assert!(two.accept(delivery.sequence));
    assert_eq!(answer.await, Ok(()));
    let stats = forwarders.stats();
    assert_eq!(
        (stats.of(TargetKind::Stream).sent, stats.of(TargetKind::Stream).queued, stats.bytes),
        (1, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn each_message_goes_to_one_consumer_of_a_group_and_a_connections_messages_one_after_the_other() {
    let (forwarders, app) = streaming();
    let (mut one, mut two) = (consumer(&forwarders, &app, "g"), consumer(&forwarders, &app, "g"));
    let first = [forwarders.forward(&app, message(1, 1)), forwarders.forward(&app, message(1, 2))];
    let other = forwarders.forward(&app, message(2, 3));
    let (a, b) = (one.next().await, two.next().await);
    let mut bodies = [a.body(), b.body()];
    bodies.sort_unstable();
    assert_eq!(bodies, ["1", "3"]);
    nothing(&mut one).await;
    nothing(&mut two).await;
    assert!(one.accept(a.sequence) && two.accept(b.sequence));
    assert_eq!(other.await, Ok(()));
    let next = tokio::select! {
        next = one.next() => next,
        next = two.next() => next,
    };
    assert_eq!(next.body(), "2");
    assert!(one.accept(next.sequence) ^ two.accept(next.sequence), "one of them has it");
    for answer in first {
        assert_eq!(answer.await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_consumer_has_not_acknowledged_goes_to_another_one() {
    let (forwarders, app) = streaming();
    let mut one = consumer(&forwarders, &app, "g");
    let answer = forwarders.forward(&app, message(1, 1));
    assert!(!one.next().await.redelivered);
    drop(one);
    // A group is waited for: whoever comes back within 5 s gets it.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut two = consumer(&forwarders, &app, "g");
    let again = two.next().await;
    assert_eq!((again.body(), again.redelivered), ("1", true));
    assert!(two.accept(again.sequence));
    assert_eq!(answer.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_come_back_is_no_target_any_more() {
    let (forwarders, app) = streaming();
    let (mut stays, gone) = (consumer(&forwarders, &app, "stays"), consumer(&forwarders, &app, "gone"));
    let answer = forwarders.forward(&app, message(1, 1));
    let delivery = stays.next().await;
    assert!(stays.accept(delivery.sequence));
    drop(gone);
    assert_eq!(timeout(Duration::from_secs(6), answer).await, Ok(Ok(())));
    let begin = Instant::now();
    let answer = forwarders.forward(&app, message(1, 2));
    let delivery = stays.next().await;
    assert!(stays.accept(delivery.sequence));
    assert_eq!((answer.await, begin.elapsed()), (Ok(()), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn without_a_consumer_messages_wait_a_moment_and_then_fail_at_once() {
    let (forwarders, app) = streaming();
    let begin = Instant::now();
    let (first, second) = (forwarders.forward(&app, message(1, 1)), forwarders.forward(&app, message(1, 2)));
    assert_eq!(class(first.await), Some(Class::NoConsumer));
    assert_eq!(class(second.await), Some(Class::NoConsumer));
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    let refused = forwarders.forward(&app, message(2, 3)).await;
    assert_eq!((class(refused), begin.elapsed()), (Some(Class::NoConsumer), Duration::from_secs(5)));
    assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Open);
    // Once one has come, nothing is refused any more.
    let mut consumer = consumer(&forwarders, &app, "g");
    let answer = forwarders.forward(&app, message(3, 4));
    let delivery = consumer.next().await;
    assert_eq!((delivery.body(), begin.elapsed()), ("4", Duration::from_secs(5)));
    assert!(consumer.accept(delivery.sequence));
    assert_eq!(answer.await, Ok(()));
    assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Sound);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_comes_saves_what_waits() {
    let (forwarders, app) = streaming();
    let answer = forwarders.forward(&app, message(1, 1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut consumer = consumer(&forwarders, &app, "g");
    let begin = Instant::now();
    let delivery = consumer.next().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert!(consumer.accept(delivery.sequence));
    assert_eq!(answer.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_or_not_acknowledged_fails_alone() {
    let (forwarders, app) = streaming();
    let mut consumer = consumer(&forwarders, &app, "g");
    let begin = Instant::now();
    let (refused, stuck) = (forwarders.forward(&app, message(1, 1)), forwarders.forward(&app, message(2, 2)));
    let first = consumer.next().await;
    assert_eq!(first.body(), "1");
    assert!(consumer.refuse(first.sequence));
    assert_eq!(class(refused.await), Some(Class::Refused));
    assert_eq!(consumer.next().await.body(), "2");
    assert_eq!(class(stuck.await), Some(Class::Unacknowledged));
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Sound);
    // Its place in the window is taken until the consumer says something of it.
    assert!(consumer.accept(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_window_holds_messages_back_until_there_is_room() {
    let (forwarders, app) = streaming();
    let mut narrow = forwarders.consume(&app.app_id, "g", 1).unwrap();
    let (first, second) = (forwarders.forward(&app, message(1, 1)), forwarders.forward(&app, message(2, 2)));
    let delivery = narrow.next().await;
    nothing(&mut narrow).await;
    assert!(narrow.accept(delivery.sequence));
    assert_eq!(first.await, Ok(()));
    let delivery = narrow.next().await;
    assert!(narrow.accept(delivery.sequence));
    assert_eq!(second.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_before_its_consumer_took_it_is_passed_over() {
    let (forwarders, app) = streaming();
    let mut late = forwarders.consume(&app.app_id, "g", 1).unwrap();
    let given_up = forwarders.forward(&app, message(1, 1));
    assert_eq!(class(given_up.await), Some(Class::Unacknowledged));
    let answer = forwarders.forward(&app, message(2, 2));
    let delivery = late.next().await;
    assert_eq!((delivery.body(), delivery.sequence), ("2", 2));
    assert!(late.accept(2) && !late.accept(1));
    assert_eq!(answer.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn groups_are_counted_and_those_that_are_waited_for_too() {
    let (forwarders, app) = streaming();
    let group = |name: u32| forwarders.consume(&app.app_id, &name.to_string(), 1);
    let all: Vec<_> = (0..64).map_while(group).collect();
    assert_eq!(all.len(), 64);
    assert!(group(64).is_none() && group(0).is_some());
    drop(all);
    assert!(group(64).is_none() && group(0).is_some());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(group(64).is_some());
}

#[tokio::test(start_paused = true)]
async fn applications_do_not_see_each_others_messages_and_consumers_are_counted() {
    let (forwarders, app) = streaming();
    let other = streamed("b");
    forwarders.configure(&other);
    let mut consumer = consumer(&forwarders, &other, "g");
    drop(forwarders.forward(&app, message(1, 1)));
    nothing(&mut consumer).await;
    let many: Vec<_> = (1..1024).map_while(|_| forwarders.consume(&other.app_id, "g", 1)).collect();
    assert_eq!(many.len(), 1023);
    assert!(forwarders.consume(&other.app_id, "other", 1).is_none());
    assert!(forwarders.consume(&app.app_id, "g", 1).is_some());
    drop(many);
    assert!(forwarders.consume(&other.app_id, "other", 1).is_some());
}
