//! What arrives, and who is allowed to send where.

use aws_lc_rs::digest;
use aws_sdk_sqs::config::Credentials;
use realtime_forwarders::{AmbientCredentials, Class, Forwarders, Limits, Message, Options, TargetKind};
use realtime_proto::ids::hex;
use realtime_testkit::{FaultProxy, Moto};
use serde_json::json;

use super::support::*;

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

#[tokio::test]
async fn a_standard_queue_gets_every_message_byte_for_byte() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    let url = backend.queue("standard").await;
    let (forwarders, app) = (start(Limits::default()), to_queue("a", &url, &moto.url()));
    forwarders.configure(&app);
    let all: Vec<_> = (0..95).map(|n| forwarders.forward(&app, message(1, n))).collect();
    for answer in all {
        answer.await.unwrap();
    }
    let received = backend.receive_all(&url).await;
    let mut bodies: Vec<_> = received.iter().map(|received| received.body.clone()).collect();
    let mut expected: Vec<_> = (0..95).map(|n| body(1, n)).collect();
    bodies.sort_unstable();
    expected.sort_unstable();
    assert_eq!(bodies, expected);
    assert!(received.iter().all(|received| received.group.is_none()), "no group");
}

#[tokio::test]
async fn a_fifo_queue_gets_groups_in_order_and_nothing_twice() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    let url = backend.queue("ordered.fifo").await;
    let (forwarders, app) = (start(Limits::default()), to_queue("a", &url, &moto.url()));
    forwarders.configure(&app);
    let numbers = (0..12).flat_map(|number| (1..=4).map(move |from| (from, number)));
    let mut all: Vec<_> =
        numbers.map(|(from, number)| forwarders.forward(&app, message(from, number))).collect();
    // A client that has seen no ack sends again; presence has an id of its own.
    all.push(forwarders.forward(&app, message(1, 11)));
    all.push(forwarders.forward(&app, Message::presence(connection(1), false, body(1, 12))));
    for answer in all {
        answer.await.unwrap();
    }
    let received = backend.receive_all(&url).await;
    for from in 1..=4 {
        let group = connection(from).to_string();
        let of_group: Vec<_> = received.iter().filter(|r| r.group.as_deref() == Some(&group)).collect();
        let numbers: Vec<_> = of_group.iter().map(|received| parse(&received.body).1).collect();
        let last = if from == 1 { 12 } else { 11 };
        assert_eq!(numbers, (0..=last).collect::<Vec<_>>(), "{group}");
        let ids: Vec<_> = of_group.iter().map(|received| received.deduplication.clone().unwrap()).collect();
        assert_eq!(ids[3], sha256(&format!("{group}\nm3")));
        if from == 1 {
            assert_eq!(ids[12], sha256(&format!("{group}\ndisconnected")));
        }
    }
    assert_eq!(received.len(), 4 * 12 + 1);
}

#[tokio::test]
async fn topics_pass_messages_on_as_they_are() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    for name in ["topic", "topic.fifo"] {
        let (arn, url) = backend.topic(name).await;
        let (forwarders, app) = (start(Limits::default()), to_topic("a", &arn, &moto.url()));
        forwarders.configure(&app);
        let all: Vec<_> = (0..15).map(|n| forwarders.forward(&app, message(7, n))).collect();
        for answer in all {
            answer.await.unwrap();
        }
        let received = backend.receive_all(&url).await;
        let mut numbers: Vec<_> = received.iter().map(|received| parse(&received.body)).collect();
        if name.ends_with(".fifo") {
            assert!(received.iter().all(|r| r.group == Some(connection(7).to_string())), "{received:?}");
            assert!(
                received
                    .iter()
                    .any(|r| { r.deduplication == Some(sha256(&format!("{}\nm0", connection(7)))) })
            );
        } else {
            numbers.sort_unstable();
        }
        assert_eq!(numbers, (0..15).map(|n| (7, n)).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn a_message_goes_to_every_target_of_its_application() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    let (queue, (topic, subscriber)) = (backend.queue("direct").await, backend.topic("fan").await);
    let both = json!({"amazonSqsForwarder": forwarder("queueUrl", &queue, &moto.url()),
        "amazonSnsForwarder": forwarder("topicArn", &topic, &moto.url())});
    let (forwarders, app) = (start(Limits::default()), app("a", &both));
    forwarders.configure(&app);
    forwarders.forward(&app, message(1, 1)).await.unwrap();
    for url in [queue, subscriber] {
        let received = backend.receive_all(&url).await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].body, body(1, 1));
    }
    let stats = forwarders.stats();
    assert_eq!((stats.of(TargetKind::Sns).sent, stats.of(TargetKind::Sqs).sent), (1, 1));
}

#[tokio::test]
async fn endpoints_that_are_not_public_are_refused_unless_the_operator_allows_them() {
    let Some(moto) = Moto::start().await else { return };
    let url = Backend::new(&moto).queue("q").await;
    let proxy = FaultProxy::to(moto.address()).await;
    let port = proxy.url().rsplit(':').next().unwrap().to_owned();
    // The last one passes as text; its name has no public address.
    let endpoints = [proxy.url(), format!("https://127.0.0.1:{port}"), format!("https://localhost:{port}")];
    let forwarders = Forwarders::start(Options::default());
    for (number, endpoint) in endpoints.into_iter().enumerate() {
        let app = to_queue(&format!("app{number}"), &url, &endpoint);
        forwarders.configure(&app);
        let failure = forwarders.forward(&app, message(1, 1)).await.unwrap_err();
        assert_eq!(failure.class(), Class::Endpoint, "{endpoint}: {failure}");
    }
    assert_eq!(proxy.requests(), 0, "nothing was sent");
}

/// An application's URL of a queue is a name. Who could make it an address would have this server ask anybody.
#[tokio::test]
async fn the_queue_url_is_never_connected_to() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    backend.queue("q").await;
    let elsewhere = FaultProxy::to(moto.address()).await;
    let url = format!("{}/123456789012/q", elsewhere.url());
    let (forwarders, app) = (start(Limits::default()), to_queue("a", &url, &moto.url()));
    forwarders.configure(&app);
    // Whatever the endpoint makes of it.
    let _ = forwarders.forward(&app, message(1, 1)).await;
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn the_operators_credentials_are_lent_only_where_the_operator_says() {
    let Some(moto) = Moto::start().await else { return };
    let backend = Backend::new(&moto);
    let url = backend.queue("q").await;
    let own = json!({"enabled": true, "queueUrl": url, "region": REGION, "endpointUrl": moto.url()});
    let app = app("a", &json!({"amazonSqsForwarder": own}));
    let without = start(Limits::default());
    without.configure(&app);
    let failure = without.forward(&app, message(1, 1)).await.unwrap_err();
    assert_eq!(failure.class(), Class::Credentials, "{failure}");

    let lent = AmbientCredentials::new(Credentials::new(ACCESS_KEY, SECRET, None, None, "operator"));
    let options =
        Options { allow_insecure_endpoints: true, ambient_credentials: Some(lent), ..Options::default() };
    let with = Forwarders::start(options);
    with.configure(&app);
    with.forward(&app, message(1, 2)).await.unwrap();
    assert_eq!(backend.receive_all(&url).await.len(), 1);
}
