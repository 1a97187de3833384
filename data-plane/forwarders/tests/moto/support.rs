//! Applications that forward to queues and topics.

use std::time::Duration;

use realtime_forwarders::{Forwarders, Limits, Message, Options};
use realtime_proto::{AppConfig, ConnectionId};
pub(crate) use realtime_testkit::Backend;
pub(crate) use realtime_testkit::aws::{ACCESS_KEY, REGION, SECRET};
use serde_json::{Value, json};

/// A forwarder's object.
pub(crate) fn forwarder(attribute: &str, target: &str, endpoint: &str) -> Value {
    json!({"enabled": true, attribute: target, "region": REGION, "endpointUrl": endpoint,
        "accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET})
}

/// An application that forwards to a queue.
pub(crate) fn to_queue(id: &str, url: &str, endpoint: &str) -> AppConfig {
    app(id, &json!({"amazonSqsForwarder": forwarder("queueUrl", url, endpoint)}))
}

/// An application that forwards to a topic.
pub(crate) fn to_topic(id: &str, arn: &str, endpoint: &str) -> AppConfig {
    app(id, &json!({"amazonSnsForwarder": forwarder("topicArn", arn, endpoint)}))
}

pub(crate) fn app(id: &str, forwarders: &Value) -> AppConfig {
    let key = json!({"source": "raw", "algorithms": ["HS256"], "key": "0123456789abcdef0123456789abcdef", "issuer": []});
    let mut document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
    for (name, value) in forwarders.as_object().unwrap() {
        document[name] = value.clone();
    }
    AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap()
}

/// Forwarders that take endpoints on this machine.
pub(crate) fn start(limits: Limits) -> Forwarders {
    Forwarders::start(Options { limits, allow_insecure_endpoints: true, ambient_credentials: None })
}

/// Limits for tests in which calls shall time out.
pub(crate) fn impatient() -> Limits {
    Limits { call_timeout: Duration::from_millis(500), ..Limits::default() }
}

pub(crate) fn connection(number: u8) -> ConnectionId {
    ConnectionId([number; 16])
}

/// A message whose body says whose it is and which.
pub(crate) fn message(from: u8, number: usize) -> Message {
    Message::inbound(connection(from), &format!("m{number}"), body(from, number))
}

pub(crate) fn body(from: u8, number: usize) -> String {
    json!({"from": from, "number": number, "text": "é\u{1f600} \"quoted\""}).to_string()
}

/// What [`body`] was made of.
pub(crate) fn parse(body: &str) -> (u8, usize) {
    let body: Value = serde_json::from_str(body).unwrap();
    let number = |name: &str| usize::try_from(body[name].as_u64().unwrap()).unwrap();
    (u8::try_from(number("from")).unwrap(), number("number"))
}
