//! A backend that answers its clients: it reads an application's inbound stream, and publishes each answer on
//! `priv/{connectionId}`, which only the client that asked can read.
//!
//! `cargo run --example inbound -- http://127.0.0.1:7070 chat "$TOKEN"`

use realtime_client::inbound::{Event, Message};
use realtime_client::{ApiError, Channel, Inbound, InboundOptions, PubSubClient};
use realtime_proto::generated::pubsub::PublishRequest;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, app, token] = arguments.as_slice() else {
        return Err("usage: inbound SERVER APP TOKEN".into());
    };
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Ok(serve(server, app, token, stop).await?)
}

/// Answers until `stop`, or until the stream ends for good.
pub(crate) async fn serve(
    server: &str,
    app: &str,
    token: &str,
    stop: impl Future<Output = ()>,
) -> Result<(), ApiError> {
    let mut pubsub = PubSubClient::new(Channel::connect(server, Some(token)).await?);
    let mut inbound = Inbound::connect(InboundOptions::new([server], app, token).group("answers"))?;
    println!("reading from {}", inbound.ready().await?.server);
    tokio::pin!(stop);
    loop {
        let delivery = tokio::select! {
            delivery = inbound.next() => delivery?,
            () = &mut stop => {
                // Takes the last answers along; what is not answered goes to another consumer.
                inbound.close().await;
                return Ok(());
            }
        };
        match &delivery.event {
            Event::Message(message) => match answer(&mut pubsub, app, message).await {
                // Only now the client gets its ack.
                Ok(()) => delivery.accept(),
                Err(error) => {
                    eprintln!("{}: {error}", message.id);
                    // The client gets `forward_failed` at once, and may send it again.
                    delivery.refuse();
                }
            },
            Event::Presence(presence) => {
                let what = if presence.is_connected { "came" } else { "went" };
                println!("{} {what}", presence.client.subject);
                delivery.accept();
            }
        }
    }
}

async fn answer(pubsub: &mut PubSubClient, app: &str, message: &Message) -> Result<(), ApiError> {
    // `client` is the server's word; the payload may be anything that JSON can say.
    let data = json!({ "youSaid": message.payload });
    let answer = json!({ "payload": { "data": data, "status": 200, "id": message.id } });
    let request = PublishRequest {
        app_id: app.to_owned(),
        topic: format!("priv/{}", message.client.connection_id),
        message_json: answer.to_string().into(),
        message_type: "response".to_owned(),
        ..PublishRequest::default()
    };
    pubsub.publish(request).await.map(drop)
}
