//! Queues and topics, and applications that forward to them.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName};
use realtime_forwarders::{Forwarders, Limits, Message, Options};
use realtime_proto::{AppConfig, ConnectionId};
use realtime_testkit::Moto;
use serde_json::{Value, json};

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const ACCESS_KEY: &str = "AKIATESTACCESSKEY";
pub(crate) const SECRET: &str = "test-secret-access-key";

/// What a consumer gets.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) body: String,
    pub(crate) group: Option<String>,
    pub(crate) deduplication: Option<String>,
}

/// A backend's view of the endpoint: the AWS SDK with its own defaults.
pub(crate) struct Backend {
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) sns: aws_sdk_sns::Client,
}

impl Backend {
    pub(crate) fn new(moto: &Moto) -> Self {
        let credentials = || Credentials::new(ACCESS_KEY, SECRET, None, None, "test");
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .credentials_provider(credentials())
            .endpoint_url(moto.url());
        let sns = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .credentials_provider(credentials())
            .endpoint_url(moto.url());
        Self {
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
        }
    }

    /// Makes a queue; FIFO by its name.
    pub(crate) async fn queue(&self, name: &str) -> String {
        let fifo = name.ends_with(".fifo").then(|| (QueueAttributeName::FifoQueue, "true".to_owned()));
        let attributes = fifo.into_iter().collect::<HashMap<_, _>>();
        let attributes = (!attributes.is_empty()).then_some(attributes);
        let made = self.sqs.create_queue().queue_name(name).set_attributes(attributes).send().await;
        made.unwrap().queue_url.unwrap()
    }

    /// Makes a topic and a queue of the same name that gets its messages as they are.
    pub(crate) async fn topic(&self, name: &str) -> (String, String) {
        let url = self.queue(name).await;
        let mut topic = self.sns.create_topic().name(name);
        if name.ends_with(".fifo") {
            topic = topic.attributes("FifoTopic", "true");
        }
        let arn = topic.send().await.unwrap().topic_arn.unwrap();
        let asked =
            self.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await.unwrap().attributes.unwrap();
        let subscribed = self
            .sns
            .subscribe()
            .topic_arn(&arn)
            .protocol("sqs")
            .endpoint(&attributes[&QueueAttributeName::QueueArn])
            .attributes("RawMessageDelivery", "true");
        subscribed.send().await.unwrap();
        (arn, url)
    }

    /// Takes everything out of a queue.
    pub(crate) async fn receive_all(&self, url: &str) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let asked = self
                .sqs
                .receive_message()
                .queue_url(url)
                .max_number_of_messages(10)
                .wait_time_seconds(0)
                .message_system_attribute_names(MessageSystemAttributeName::All);
            let messages = asked.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            let done = messages.iter().enumerate().map(|(number, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.set_receipt_handle(message.receipt_handle.clone()).build().unwrap()
            });
            let deleted = self.sqs.delete_message_batch().queue_url(url).set_entries(Some(done.collect()));
            assert!(deleted.send().await.unwrap().failed().is_empty());
            for message in messages {
                let attribute = |name| message.attributes.as_ref().and_then(|all| all.get(&name).cloned());
                all.push(Received {
                    group: attribute(MessageSystemAttributeName::MessageGroupId),
                    deduplication: attribute(MessageSystemAttributeName::MessageDeduplicationId),
                    body: message.body.unwrap(),
                });
            }
        }
    }
}

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
