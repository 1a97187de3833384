//! What a backend sees of SNS and SQS: queues and topics, read with the AWS SDK as it comes.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName};
use serde_json::Value;

use crate::moto::Moto;
use crate::token::random_hex;
use crate::wait::eventually;

/// The region of everything.
pub const REGION: &str = "eu-west-1";
/// An access key id. The endpoint takes any.
pub const ACCESS_KEY: &str = "AKIATESTACCESSKEY";
/// Its secret.
pub const SECRET: &str = "test-secret-access-key";

/// Messages of one receive.
const RECEIVED_AT_ONCE: i32 = 10;
/// What was received comes once: longer than any test.
const OUT_OF_SIGHT_SECONDS: i32 = 3600;

/// What a consumer gets.
#[derive(Debug, Clone)]
pub struct Received {
    /// The body.
    pub body: String,
    /// The message group of a FIFO queue.
    pub group: Option<String>,
    /// The deduplication id of a FIFO queue.
    pub deduplication: Option<String>,
}

impl Received {
    /// The body's value.
    ///
    /// # Panics
    /// When it is no JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// See the module.
pub struct Backend {
    /// Queues.
    pub sqs: aws_sdk_sqs::Client,
    /// Topics.
    pub sns: aws_sdk_sns::Client,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl Backend {
    /// Of this endpoint.
    #[must_use]
    pub fn new(moto: &Moto) -> Self {
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

    /// Makes a queue of this name; FIFO if it ends so. Returns its URL.
    ///
    /// # Panics
    /// When the endpoint refuses.
    pub async fn queue(&self, name: &str) -> String {
        let fifo = name.ends_with(".fifo").then(|| (QueueAttributeName::FifoQueue, "true".to_owned()));
        let attributes = fifo.into_iter().collect::<HashMap<_, _>>();
        let attributes = (!attributes.is_empty()).then_some(attributes);
        let made = self.sqs.create_queue().queue_name(name).set_attributes(attributes).send().await;
        made.expect("a queue").queue_url.expect("its URL")
    }

    /// Makes a queue that no other test has.
    pub async fn new_queue(&self) -> String {
        self.queue(&format!("q-{}", random_hex::<8>())).await
    }

    /// The same, FIFO.
    pub async fn new_fifo_queue(&self) -> String {
        self.queue(&format!("q-{}.fifo", random_hex::<8>())).await
    }

    /// Makes a topic of this name, FIFO if it ends so, and a queue of the same name that gets its messages as they are.
    /// Returns the topic's ARN and the queue's URL.
    ///
    /// # Panics
    /// When the endpoint refuses.
    pub async fn topic(&self, name: &str) -> (String, String) {
        let url = self.queue(name).await;
        let mut topic = self.sns.create_topic().name(name);
        if name.ends_with(".fifo") {
            topic = topic.attributes("FifoTopic", "true");
        }
        let arn = topic.send().await.expect("a topic").topic_arn.expect("its ARN");
        let asked =
            self.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await.expect("the queue").attributes.expect("its ARN");
        let subscribed = self
            .sns
            .subscribe()
            .topic_arn(&arn)
            .protocol("sqs")
            .endpoint(&attributes[&QueueAttributeName::QueueArn])
            .attributes("RawMessageDelivery", "true");
        subscribed.send().await.expect("a subscription");
        (arn, url)
    }

    /// Takes what a queue has at once, ten messages at most.
    ///
    /// # Panics
    /// When the endpoint refuses.
    pub async fn receive(&self, url: &str) -> Vec<Received> {
        let asked = self
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(RECEIVED_AT_ONCE)
            .wait_time_seconds(0)
            .visibility_timeout(OUT_OF_SIGHT_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::All);
        let messages = asked.send().await.expect("an answer").messages.unwrap_or_default();
        // In a FIFO queue the next of a group comes once these are gone. In others they are out of sight, and moto takes
        // seconds to delete thousands.
        if url.ends_with(".fifo") && !messages.is_empty() {
            let done = messages.iter().enumerate().map(|(number, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.set_receipt_handle(message.receipt_handle.clone()).build().expect("an entry")
            });
            let deleted = self.sqs.delete_message_batch().queue_url(url).set_entries(Some(done.collect()));
            assert!(deleted.send().await.expect("an answer").failed().is_empty());
        }
        messages.into_iter().map(received).collect()
    }

    /// Takes everything out of a queue.
    pub async fn receive_all(&self, url: &str) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let some = self.receive(url).await;
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    /// Waits for so many messages, and returns everything that has come by then.
    pub async fn receive_some(&self, url: &str, count: usize) -> Vec<Received> {
        let mut all = Vec::new();
        eventually("messages in the queue", async || {
            all.extend(self.receive(url).await);
            (all.len() >= count).then_some(())
        })
        .await;
        all
    }
}

fn received(message: aws_sdk_sqs::types::Message) -> Received {
    let attribute = |name| message.attributes.as_ref().and_then(|all| all.get(&name).cloned());
    Received {
        group: attribute(MessageSystemAttributeName::MessageGroupId),
        deduplication: attribute(MessageSystemAttributeName::MessageDeduplicationId),
        body: message.body.expect("a body"),
    }
}

/// The deduplication id of a message, or of presence with its status in place of the id (docs/contract.md 3).
#[must_use]
pub fn deduplication_id(connection_id: &str, id: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{connection_id}\n{id}").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
