//! As docs/http-api.md shows it.

use realtime_client::{Channel, PubSubClient};
use realtime_proto::generated::pubsub::PublishRequest;

pub(crate) async fn publish(admin_token: &str) -> Result<(), realtime_client::ApiError> {
    let channel = Channel::connect("http://127.0.0.1:7070", Some(admin_token)).await?;
    let mut pubsub = PubSubClient::new(channel);
    let published = pubsub
        .publish(PublishRequest {
            app_id: "chat".into(),
            topic: "news".into(),
            message_json: r#"{"hello":"world"}"#.into(),
            ..PublishRequest::default()
        })
        .await?;
    println!("{} bytes as {}", published.bytes, published.id);
    Ok(())
}
