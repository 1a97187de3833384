//! What fails: retries, the circuit breaker, bounds, and what it costs others.

use std::collections::HashSet;

use tokio::task::JoinSet;

use super::*;
use crate::stats::TargetState;

fn failing(class: Class) -> Arc<Fake> {
    Fake::new(move |_| Answer::Fail(class))
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_for_30_s_in_growing_waits() {
    for passing in [Class::Throttled, Class::Network, Class::Unavailable, Class::Timeout] {
        let fake = failing(passing);
        let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
        forwarders.configure(&app);
        let begin = Instant::now();
        assert_eq!(class(forwarders.forward(&app, message(1, 1)).await), Some(passing));
        assert_eq!(begin.elapsed(), Duration::from_secs(30));
        let attempts = fake.calls().len();
        assert!((8..60).contains(&attempts), "{attempts} attempts");
    }
}

/// Attempts at a target that fails are one call at a time: most messages are in none.
#[tokio::test(start_paused = true)]
async fn what_has_waited_behind_the_attempts_is_told_what_these_met() {
    let (forwarders, app) = (start(&failing(Class::Network), Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..1000).map(|n| forwarders.forward(&app, message(1, n))).collect();
    for answer in all {
        assert_eq!(class(answer.await), Some(Class::Network));
    }
}

#[tokio::test(start_paused = true)]
async fn what_lasts_is_answered_at_once_and_probed_with_a_later_message() {
    for lasting in [Class::Credentials, Class::Denied, Class::Missing, Class::Endpoint] {
        let mended = Arc::new(Mutex::new(false));
        let works = Arc::clone(&mended);
        let fake = Fake::new(move |_| if *works.lock() { Answer::Accept } else { Answer::Fail(lasting) });
        let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
        forwarders.configure(&app);
        // All that waits is answered with the first call's failure.
        let all: Vec<_> = (0..25).map(|n| forwarders.forward(&app, message(1, n))).collect();
        let begin = Instant::now();
        for answer in all {
            assert_eq!(class(answer.await), Some(lasting));
        }
        assert_eq!(millis(begin), CALL.as_millis());
        let calls = fake.calls().len();
        assert_eq!(class(forwarders.forward(&app, message(1, 30)).await), Some(lasting));
        assert_eq!((fake.calls().len(), millis(begin)), (calls, CALL.as_millis()), "refused without a call");
        assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Open);

        *mended.lock() = true;
        sleep(Duration::from_secs(7)).await;
        let probe = forwarders.forward(&app, message(1, 31));
        assert_eq!(class(forwarders.forward(&app, message(1, 32)).await), Some(lasting), "one probe");
        assert_eq!(probe.await, Ok(()));
        assert_eq!(forwarders.forward(&app, message(1, 33)).await, Ok(()));
        assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Sound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_for_5_s_refuses_what_is_new_and_keeps_what_it_has() {
    let begin = Instant::now();
    let back = begin + Duration::from_secs(12);
    let fake =
        Fake::new(move |call| if call.at < back { Answer::Fail(Class::Network) } else { Answer::Accept });
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let early = forwarders.forward(&app, message(1, 1));
    sleep(Duration::from_secs(4)).await;
    let kept = forwarders.forward(&app, message(1, 2));
    assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Failing);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(class(forwarders.forward(&app, message(1, 3)).await), Some(Class::Network));
    assert_eq!(begin.elapsed(), Duration::from_secs(6), "at once");
    assert_eq!((early.await, kept.await), (Ok(()), Ok(())));
    assert!(begin.elapsed() < Duration::from_secs(18));
    assert_eq!(forwarders.forward(&app, message(1, 4)).await, Ok(()));
}

/// The calls under way at the beginning of an outage fail together: that is one failure, not thirty.
#[tokio::test(start_paused = true)]
async fn calls_that_fail_together_count_once() {
    let failed = Mutex::new(false);
    let begin = Instant::now();
    let fake = Fake::new(move |call| {
        *failed.lock() = true;
        if call.at == begin { Answer::Fail(Class::Network) } else { Answer::Accept }
    });
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..300).map(|n| forwarders.forward(&app, message(1, n))).collect();
    for answer in all {
        assert_eq!(answer.await, Ok(()));
    }
    // The first wait is 100 ms at most.
    assert!(millis(begin) <= 3 * CALL.as_millis() + 120, "{} ms", millis(begin));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_or_breaks_down_is_given_up_and_its_messages_tried_again() {
    let cases: [(fn() -> Answer, u128); 2] = [(|| Answer::Hang, 5000), (|| Answer::Panic, CALL.as_millis())];
    for (answer, ends) in cases {
        let first = Mutex::new(true);
        let fake =
            Fake::new(move |_| if std::mem::take(&mut *first.lock()) { answer() } else { Answer::Accept });
        let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
        forwarders.configure(&app);
        let begin = Instant::now();
        assert_eq!(forwarders.forward(&app, message(1, 1)).await, Ok(()));
        assert_eq!(fake.calls().len(), 2);
        let waited = millis(begin) - ends - CALL.as_millis();
        assert!(waited <= 101, "{waited} ms between the two calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_failure_concerns_its_entries_only() {
    let throttled = Mutex::new(HashSet::new());
    let fake = Fake::new(move |call| {
        let result = |body: &String| match body.as_str() {
            "3" => Err(Failure::new(Class::Rejected)),
            "5" if throttled.lock().insert(5) => Err(Failure::new(Class::Throttled)),
            _ => Ok(()),
        };
        Answer::Entries(call.bodies.iter().map(result).collect())
    });
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..10).map(|n| forwarders.forward(&app, message(1, n))).collect();
    for (number, answer) in all.into_iter().enumerate() {
        let expected = (number == 3).then_some(Class::Rejected);
        assert_eq!(class(answer.await), expected, "{number}");
    }
    let calls: Vec<_> = fake.calls().iter().map(|call| call.bodies.len()).collect();
    assert_eq!(calls, [10, 1]);
    assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Sound);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_which_a_whole_call_is_refused_is_found_and_costs_the_others_nothing() {
    let fake = Fake::new(|call| {
        let poisoned = call.bodies.iter().any(|body| body == "7");
        if poisoned { Answer::Fail(Class::Rejected) } else { Answer::Accept }
    });
    let (forwarders, app) = (start(&fake, Limits::default()), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..20).map(|n| forwarders.forward(&app, message(1, n))).collect();
    for (number, answer) in all.into_iter().enumerate() {
        assert_eq!(class(answer.await), (number == 7).then_some(Class::Rejected), "{number}");
    }
    assert_eq!(fake.accepted(&queue_url("q")).len(), 19);
    assert_eq!(fake.calls().len(), 2 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_gives_its_place_back() {
    let fake = Fake::new(|_| Answer::Accept);
    let limits = Limits { queued_messages: 20, ..Limits::default() };
    let (forwarders, app) = (start(&fake, limits), app("a", "q"));
    forwarders.configure(&app);
    let all: Vec<_> = (0..21).map(|n| forwarders.forward(&app, message(1, n))).collect();
    assert_eq!(forwarders.stats().of(TargetKind::Sqs).queued, 20);
    for (number, answer) in all.into_iter().enumerate() {
        assert_eq!(class(answer.await), (number == 20).then_some(Class::Full), "{number}");
    }
    let stats = forwarders.stats();
    assert_eq!((stats.of(TargetKind::Sqs).queued, stats.bytes, stats.of(TargetKind::Sqs).sent), (0, 0, 20));
    assert_eq!(stats.of(TargetKind::Sqs).failed[Class::Full.index()], 1);
    assert_eq!(forwarders.forward(&app, message(1, 30)).await, Ok(()));
}

/// One target may fill its own queue, many may fill the process's memory; what each is guaranteed stays.
#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_for_each_target_and_for_all() {
    let fake = Fake::new(|call| if call.target.ends_with("broken") { Answer::Hang } else { Answer::Accept });
    let limits =
        Limits { queued_bytes: 100_000, total_bytes: 250_000, guaranteed_bytes: 5_000, ..Limits::default() };
    let forwarders = start(&fake, limits);
    let broken = ["a", "b", "c"].map(|id| app(id, "broken"));
    let mut refused = Vec::new();
    for app in &broken {
        forwarders.configure(app);
        let large = || Message::inbound(connection(1), "x", "x".repeat(9_000));
        // Those that wait are dropped: nobody is interested, and they stay in the queue all the same.
        let all: Vec<_> = (0..20).map(|_| forwarders.forward(app, large())).collect();
        let full = all.into_iter().filter_map(|answer| poll_now(answer).and_then(class)).count();
        refused.push(full);
    }
    assert_eq!(refused, [10, 10, 14], "the third has what is left");
    assert!(forwarders.stats().bytes <= 250_000 + 3 * 5_000);
    let sound = app("d", "sound");
    forwarders.configure(&sound);
    assert_eq!(forwarders.forward(&sound, message(1, 1)).await, Ok(()), "what it is guaranteed");
}

/// The answer, if there is one already.
fn poll_now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// Thirty seconds without AWS under 500 messages a second, another application beside it.
#[tokio::test(start_paused = true)]
async fn an_outage_loses_nothing_that_was_accepted_and_costs_others_nothing() {
    let begin = Instant::now();
    let out = begin + Duration::from_secs(5)..begin + Duration::from_secs(35);
    let fake = Fake::new(move |call| {
        let dead = call.target.ends_with("dies") && out.contains(&call.at);
        if dead { Answer::Fail(Class::Network) } else { Answer::Accept }
    });
    let forwarders = start(&fake, Limits::default());
    let (dies, other) = (app("a", "dies"), app("b", "other"));
    forwarders.configure(&dies);
    forwarders.configure(&other);
    let (mut answers, mut others, mut most) = (JoinSet::new(), JoinSet::new(), 0);
    for number in 0..500 * 45 {
        let answer = forwarders.forward(&dies, message((number % 200) as u8, number));
        answers.spawn(async move { (number, answer.await) });
        if number % 5 == 0 {
            let answer = forwarders.forward(&other, message(1, number));
            let asked = Instant::now();
            others.spawn(async move { (answer.await, millis(asked)) });
        }
        most = most.max(forwarders.stats().of(TargetKind::Sqs).queued);
        sleep(Duration::from_millis(2)).await;
    }
    let (mut accepted, mut failed) = (HashSet::new(), 0);
    while let Some(answer) = answers.join_next().await {
        match answer.unwrap() {
            (number, Ok(())) => assert!(accepted.insert(number.to_string())),
            (_, Err(_)) => failed += 1,
        }
    }
    let arrived: HashSet<_> = fake.accepted(&queue_url("dies")).into_iter().collect();
    assert!(accepted.is_subset(&arrived), "an accepted message is not there");
    assert_eq!(accepted.len() + failed, 500 * 45, "each has its answer");
    // Before the outage, at its beginning, and after it.
    assert!(accepted.len() > 500 * 10, "{} accepted", accepted.len());
    assert!(failed > 500 * 15, "{failed} failed");
    assert!(most < 10_000, "{most} messages held");
    while let Some(answer) = others.join_next().await {
        let (answer, took) = answer.unwrap();
        assert_eq!(answer, Ok(()));
        assert!(took <= CALL.as_millis() + 21, "{took} ms");
    }
}
