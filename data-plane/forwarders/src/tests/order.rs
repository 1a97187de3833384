//! Batches, calls side by side, and the order of FIFO targets.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::*;
use crate::backoff::Jitter;
use crate::sender::MAX_BATCH_BYTES;

#[tokio::test(start_paused = true)]
async fn a_lone_message_waits_for_no_others() {
    let fake = Fake::new(|_| Answer::Accept);
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let start = Instant::now();
    assert_eq!(forwarders.forward(&app, message(1, 1)).await, Ok(()));
    assert_eq!(millis(start), CALL.as_millis());
}

#[tokio::test(start_paused = true)]
async fn calls_carry_up_to_ten_messages_and_wait_at_most_20_ms_for_them() {
    let fake = Fake::new(|_| Answer::Accept);
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let begin = Instant::now();
    let lone = forwarders.forward(&app, message(1, 0));
    // Under way before the others come.
    tokio::task::yield_now().await;
    let mut all: JoinSet<_> = (1..=25).map(|n| forwarders.forward(&app, message(1, n))).collect();
    assert_eq!(lone.await, Ok(()));
    while let Some(answer) = all.join_next().await {
        assert_eq!(answer.unwrap(), Ok(()));
    }
    let calls: Vec<_> =
        fake.calls().iter().map(|call| ((call.at - begin).as_millis(), call.bodies.len())).collect();
    assert_eq!(calls, [(0, 1), (0, 10), (0, 10), (20, 5)]);
}

#[tokio::test(start_paused = true)]
async fn calls_carry_at_most_256_kib() {
    let fake = Fake::new(|_| Answer::Accept);
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let large = |bytes| Message::inbound(connection(1), "x", "x".repeat(bytes));
    let all: Vec<_> = (0..5).map(|_| forwarders.forward(&app, large(100 * 1024))).collect();
    for answer in all {
        assert_eq!(answer.await, Ok(()));
    }
    assert!(
        fake.calls().iter().all(|call| call.bodies.iter().map(String::len).sum::<usize>() <= MAX_BATCH_BYTES)
    );
    assert_eq!(fake.calls().len(), 3);
    assert_eq!(forwarders.forward(&app, large(MAX_BATCH_BYTES)).await, Ok(()));
    let refused = forwarders.forward(&app, large(MAX_BATCH_BYTES + 1)).await;
    assert_eq!(class(refused), Some(Class::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn a_standard_target_has_as_many_calls_under_way_as_allowed() {
    let fake = Fake::new(|_| Answer::Accept);
    let limits = Limits { calls: 4, ..Limits::default() };
    let (forwarders, app) = (start(&fake, limits), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..200).map(|n| forwarders.forward(&app, message(1, n))).collect();
    let begin = Instant::now();
    for answer in all {
        assert_eq!(answer.await, Ok(()));
    }
    assert_eq!(fake.seen.lock().most_under_way, 4);
    assert_eq!(millis(begin), CALL.as_millis() * 5);
}

/// Calls fail, entries fail, and calls take nothing: whatever happens, each connection's messages are accepted in
/// their order, and those of several connections share calls.
#[tokio::test(start_paused = true)]
async fn a_fifo_target_gets_each_connections_messages_in_order() {
    for seed in 0..20 {
        let chance = Mutex::new(Jitter::seeded(seed));
        let fake = Fake::new(move |call| {
            let mut chance = chance.lock();
            let mut per = |n: u64| chance.next().is_multiple_of(n);
            if per(10) {
                return Answer::Fail(Class::Network);
            }
            let throttled = || Err(Failure::new(Class::Throttled));
            let entries = call.bodies.iter().map(|_| if per(4) { throttled() } else { Ok(()) });
            Answer::Entries(entries.collect())
        });
        let limits =
            Limits { lifetime: Duration::from_secs(600), open_after: Duration::MAX / 4, ..Limits::default() };
        let (forwarders, app) = (start(&fake, limits), app("a", "q.fifo"));
        forwarders.configure(&app);
        let numbers = (0..40).flat_map(|n| (0..8).map(move |from| (from, n * 10 + usize::from(from))));
        let all: Vec<_> =
            numbers.map(|(from, number)| forwarders.forward(&app, message(from, number))).collect();
        for answer in all {
            assert_eq!(answer.await, Ok(()), "seed {seed}");
        }
        let mut last: HashMap<usize, usize> = HashMap::new();
        for body in fake.accepted(&queue_url("q.fifo")) {
            let number: usize = body.parse().unwrap();
            let before = last.insert(number % 10, number);
            assert!(before.is_none_or(|before| before < number), "seed {seed}: {before:?} before {number}");
        }
        assert_eq!(last.len(), 8);
        for call in fake.calls() {
            let mut froms: Vec<_> =
                call.bodies.iter().map(|body| body.parse::<usize>().unwrap() % 10).collect();
            froms.sort_unstable();
            froms.dedup();
            assert_eq!(froms.len(), call.bodies.len(), "two of one connection in a call");
        }
        assert!(fake.calls().len() < 8 * 40, "connections share calls");
    }
}

/// The call of an answered message is still under way: the next one must not overtake it.
#[tokio::test(start_paused = true)]
async fn a_fifo_message_that_is_given_up_in_flight_is_not_overtaken() {
    let fake = Fake::new(|call| if call.bodies == ["1"] { Answer::Hang } else { Answer::Accept });
    let limits = Limits { lifetime: Duration::from_secs(3), ..Limits::default() };
    let (forwarders, app) = (start(&fake, limits), app("a", "q.fifo"));
    forwarders.configure(&app);
    let begin = Instant::now();
    let first = forwarders.forward(&app, message(1, 1));
    sleep(Duration::from_secs(2)).await;
    let second = forwarders.forward(&app, message(1, 2));
    assert_eq!(class(first.await), Some(Class::Timeout));
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    // The first one's call has its 5 s, and the second message gives up as it is still behind it.
    assert_eq!(class(second.await), Some(Class::Timeout));
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(fake.calls().len(), 1);
}
