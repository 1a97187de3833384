//! Faults between the forwarders and the endpoint.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use realtime_forwarders::{Class, Failure, Forwarders, Limits, TargetKind, TargetState};
use realtime_proto::AppConfig;
use realtime_testkit::{Fault, FaultProxy, Moto, eventually};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Interval, interval};

use super::support::*;

fn sqs_error(status: &str, code: &str, message: &str) -> Fault {
    Fault::answer(status, &format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"{message}"}}"#))
}

fn sns_error(status: &str, code: &str, message: &str) -> Fault {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    Fault::answer(status, &format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"))
}

/// Whatever meets two of three requests, and even where the queue took them and the answer was lost: each connection's
/// messages are in the queue once, and in their order.
#[tokio::test]
async fn faults_on_the_way_cost_a_fifo_queue_neither_messages_nor_order() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    let url = backend.queue("q.fifo").await;
    let proxy = FaultProxy::to(moto.address()).await;
    proxy.follows(|number| match number % 9 {
        0 => sqs_error("400 Bad Request", "RequestThrottled", "Slow down"),
        2 => Fault::answer("500 Internal Server Error", "oops"),
        3 => Fault::Reset,
        5 | 6 => Fault::LostAnswer,
        8 => sqs_error("503 Service Unavailable", "ServiceUnavailable", ""),
        _ => Fault::None,
    });
    let (forwarders, app) = (start(Limits::default()), to_queue("a", &url, &proxy.url()));
    forwarders.configure(&app);
    let numbers = (0..10).flat_map(|number| (1..=5).map(move |from| (from, number)));
    let all: Vec<_> = numbers.map(|(from, number)| forwarders.forward(&app, message(from, number))).collect();
    for answer in all {
        answer.await.unwrap();
    }
    let received = backend.receive_all(&url).await;
    for from in 1..=5 {
        let of_one = received.iter().map(|r| parse(&r.body)).filter(|(f, _)| *f == from);
        assert_eq!(of_one.map(|(_, n)| n).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>(), "{from}");
    }
}

#[tokio::test]
async fn aws_errors_are_told_apart_and_told_in_words_without_secrets() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    let (url, (arn, _)) = (backend.queue("q").await, backend.topic("t").await);
    let told = format!("{ACCESS_KEY} may not use {SECRET}");
    let cases = [
        ("400 Bad Request", "AccessDenied", Class::Denied),
        ("403 Forbidden", "AccessDeniedException", Class::Denied),
        ("403 Forbidden", "InvalidClientTokenId", Class::Credentials),
        ("403 Forbidden", "SignatureDoesNotMatch", Class::Credentials),
        ("400 Bad Request", "ExpiredToken", Class::Credentials),
        ("400 Bad Request", "QueueDoesNotExist", Class::Missing),
        ("404 Not Found", "NotFound", Class::Missing),
        ("400 Bad Request", "InvalidParameterValue", Class::Rejected),
    ];
    for (status, code, class) in cases {
        for sns in [false, true] {
            let proxy = FaultProxy::to(moto.address()).await;
            let fault = if sns { sns_error } else { sqs_error };
            proxy.meets(fault(status, code, &told));
            let app = match sns {
                true => to_topic("a", &arn, &proxy.url()),
                false => to_queue("a", &url, &proxy.url()),
            };
            let forwarders = start(Limits::default());
            forwarders.configure(&app);
            let failure = forwarders.forward(&app, message(1, 1)).await.unwrap_err();
            assert_eq!(failure.class(), class, "{code}, SNS {sns}: {failure}");
            assert_eq!(proxy.requests(), 1, "{code}, SNS {sns}: no second attempt");
            let shown = format!("{failure} {failure:?} {:?}", forwarders.status(&app.app_id));
            assert!(shown.contains(code), "{shown}");
            assert!(!shown.contains(ACCESS_KEY) && !shown.contains(SECRET), "{shown}");
        }
    }
}

#[tokio::test]
async fn queues_and_topics_that_do_not_exist_are_missing() {
    let Some(moto) = Moto::start().await else { return };
    let url = format!("{}/123456789012/nowhere", moto.url());
    let arn = format!("arn:aws:sns:{REGION}:123456789012:nowhere");
    for app in [to_queue("a", &url, &moto.url()), to_topic("b", &arn, &moto.url())] {
        let forwarders = start(Limits::default());
        forwarders.configure(&app);
        let failure = forwarders.forward(&app, message(1, 1)).await.unwrap_err();
        assert_eq!(failure.class(), Class::Missing, "{failure}");
        assert_eq!(forwarders.status(&app.app_id)[0].state, TargetState::Open);
    }
}

#[tokio::test]
async fn endpoints_that_refuse_are_silent_speak_nonsense_or_too_much_fail_within_the_lifetime() {
    let Some(moto) = Moto::start().await else { return };
    let url = Backend::new(&moto).queue("q").await;
    // Bound and closed again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = FaultProxy::to(moto.address()).await;
    silent.meets(Fault::Silence);
    let nonsense = FaultProxy::to(moto.address()).await;
    nonsense.meets(Fault::answer("200 OK", "<html>"));
    // It has read the request and taken nothing of it.
    let forgetful = FaultProxy::to(moto.address()).await;
    forgetful.meets(Fault::answer("200 OK", r#"{"Successful":[],"Failed":[]}"#));
    // It has taken the message, and says so behind more than is read.
    let talkative = FaultProxy::to(moto.address()).await;
    let taken = r#"{"Successful":[{"Id":"0","MessageId":"m","MD5OfMessageBody":"d"}],"Failed":[]}"#;
    talkative.meets(Fault::answer("200 OK", &(" ".repeat(64 * 1024) + taken)));
    let cases = [
        (format!("http://{nobody}"), Class::Network),
        (silent.url(), Class::Timeout),
        (nonsense.url(), Class::Unavailable),
        (forgetful.url(), Class::Unavailable),
        (talkative.url(), Class::Unavailable),
    ];
    for (endpoint, class) in cases {
        let limits = Limits { lifetime: Duration::from_millis(1200), ..impatient() };
        let (forwarders, app) = (start(limits), to_queue("a", &url, &endpoint));
        forwarders.configure(&app);
        let begin = Instant::now();
        let failure = forwarders.forward(&app, message(1, 1)).await.unwrap_err();
        assert_eq!(failure.class(), class, "{failure}");
        assert!(begin.elapsed() >= Duration::from_millis(1200), "tried again until then");
    }
}

/// Two applications under load.
struct Load<'a> {
    forwarders: &'a Forwarders,
    dies: &'a AppConfig,
    other: &'a AppConfig,
    sent: usize,
    answers: JoinSet<(usize, Result<(), Failure>)>,
    others: JoinSet<Result<(), Failure>>,
    ticks: Interval,
}

impl Load<'_> {
    /// 500 messages a second: so many, and on, slower, until the proxy has seen some of these requests.
    async fn phase(&mut self, messages: usize, proxy: &FaultProxy, fault: Fault) {
        proxy.meets(fault);
        let (requests, end) = (proxy.requests() + 3, self.sent + messages);
        while self.sent < end || proxy.requests() < requests {
            let number = self.sent;
            let answer = self.forwarders.forward(self.dies, message(1, number));
            self.answers.spawn(async move { (number, answer.await) });
            if number.is_multiple_of(10) {
                self.others.spawn(self.forwarders.forward(self.other, message(2, number)));
            }
            self.sent += 1;
            for _ in 0..if self.sent < end { 1 } else { 25 } {
                self.ticks.tick().await;
            }
        }
    }
}

/// The endpoint is out for a while under load, in every way: what was answered with success is there, everything else
/// was answered with a failure, and another application is not held up.
#[tokio::test]
async fn an_outage_under_load_loses_nothing_that_was_accepted() {
    let (Some(moto), Some(sound)) = (Moto::start().await, Moto::start().await) else { return };
    let (backend, consumer) = (Backend::new(&moto), Backend::new(&sound));
    let (url, other_url) = (backend.queue("dies").await, consumer.queue("other").await);
    let proxy = FaultProxy::to(moto.address()).await;
    // The machine may be busy, and the other application's messages shall all arrive.
    let limits = Limits {
        lifetime: Duration::from_secs(8),
        call_timeout: Duration::from_secs(2),
        open_after: Duration::from_millis(500),
        longest_wait: Duration::from_millis(500),
        ..Limits::default()
    };
    let forwarders = start(limits);
    let (dies, other) = (to_queue("a", &url, &proxy.url()), to_queue("b", &other_url, &sound.url()));
    forwarders.configure(&dies);
    forwarders.configure(&other);
    let ticks = interval(Duration::from_millis(2));
    let (answers, others) = (JoinSet::new(), JoinSet::new());
    let mut load =
        Load { forwarders: &forwarders, dies: &dies, other: &other, sent: 0, answers, others, ticks };
    load.phase(300, &proxy, Fault::None).await;
    load.phase(200, &proxy, Fault::LostAnswer).await;
    load.phase(200, &proxy, Fault::Silence).await;
    load.phase(200, &proxy, Fault::Reset).await;
    load.phase(100, &proxy, sqs_error("400 Bad Request", "RequestThrottled", "Slow down")).await;
    load.phase(100, &proxy, Fault::answer("500 Internal Server Error", "")).await;
    load.phase(100, &proxy, Fault::None).await;
    let Load { sent, mut answers, mut others, .. } = load;
    eventually("a target that works again", async || forwarders.forward(&dies, message(9, 0)).await.ok())
        .await;
    let (mut accepted, mut failed) = (HashSet::new(), 0);
    while let Some(answer) = answers.join_next().await {
        match answer.unwrap() {
            (number, Ok(())) => assert!(accepted.insert(number)),
            (_, Err(_)) => failed += 1,
        }
    }
    while let Some(answer) = others.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(accepted.len() + failed, sent);
    assert!(failed > 0 && !accepted.is_empty(), "{} accepted, {failed} failed", accepted.len());
    let received = backend.receive_all(&url).await;
    let arrived: HashSet<_> =
        received.iter().map(|r| parse(&r.body)).filter(|(from, _)| *from == 1).collect();
    let lost: Vec<_> = accepted.iter().filter(|number| !arrived.contains(&(1, **number))).collect();
    assert!(lost.is_empty(), "accepted and not there: {lost:?}");
    assert_eq!(consumer.receive_all(&other_url).await.len(), sent.div_ceil(10));
    let stats = forwarders.stats();
    assert_eq!((stats.of(TargetKind::Sqs).queued, stats.bytes), (0, 0));
}
