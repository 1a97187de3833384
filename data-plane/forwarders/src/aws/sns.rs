//! An SNS topic: one call of the SDK for a batch.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_sdk_sns::types::PublishBatchRequestEntry;
use realtime_proto::app::Forwarder;

use super::answers::BoundedAnswers;
use super::{Client, results};
use crate::failure::{Class, Failure};
use crate::message::Message;
use crate::sender::Sender;

/// See the module.
pub(super) struct Topic {
    sdk: aws_sdk_sns::Client,
    client: Client,
    arn: String,
}

impl Topic {
    pub(super) fn new(client: Client, forwarder: &Forwarder) -> Self {
        let mut config = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(forwarder.region.clone()))
            .credentials_provider(client.credentials.clone())
            .http_client(client.http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(client.timeouts.clone())
            .interceptor(BoundedAnswers)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(forwarder.endpoint_url.clone());
        let sdk = aws_sdk_sns::Client::from_conf(config.build());
        Self { sdk, client, arn: forwarder.target.clone() }
    }

    fn entry(&self, number: usize, message: &Message) -> Result<PublishBatchRequestEntry, Failure> {
        let fifo = self.client.fifo;
        PublishBatchRequestEntry::builder()
            .id(number.to_string())
            .message(message.body())
            .set_message_group_id(fifo.then(|| message.group_id()))
            .set_message_deduplication_id(fifo.then(|| message.deduplication_id()))
            .build()
            .map_err(|_| Failure::new(Class::Rejected))
    }
}

#[async_trait]
impl Sender for Topic {
    async fn send(&self, messages: &[Arc<Message>]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let entries = messages.iter().enumerate().map(|(number, message)| self.entry(number, message));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let call = self
            .sdk
            .publish_batch()
            .topic_arn(&self.arn)
            .set_publish_batch_request_entries(Some(entries))
            .send();
        let answer = call.await.map_err(|error| self.client.secrets.call_failure(&error))?;
        let accepted = answer.successful().iter().map(|entry| entry.id().unwrap_or_default());
        let refused = answer
            .failed()
            .iter()
            .map(|entry| (entry.id(), self.client.secrets.failure(entry.code(), None, entry.message())));
        Ok(results(messages.len(), accepted, refused))
    }
}
