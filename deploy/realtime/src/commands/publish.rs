//! `realtime pub`.

use std::time::Duration;

use realtime_client::{Client, Event, Events, Options, Outgoing, Retry, SendError};
use realtime_proto::topic::MAIN;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::client::{ClientConfig, app_id, resolve};
use super::print;
use crate::cli::{PubArgs, defaults};
use crate::config::{Layers, parse};
use crate::credentials::{literal_pattern, publish_permission};
use crate::failure::Failure;

/// Publishes one message and waits until the server has processed it.
pub(super) async fn run(args: &PubArgs, layers: &Layers) -> Result<(), Failure> {
    let (config, (message_type, id, compress, within)) = resolve(&args.client, layers, |r| {
        let message_type = r.text("message-type", args.message_type.as_ref());
        let id = r.text("id", args.id.as_ref());
        let compress = r.switch("compress", args.compress.as_ref());
        let within = r.value("timeout", args.timeout.as_ref(), defaults::TIMEOUT, parse::timeout);
        Ok((message_type?, id?, compress?, within?))
    })?;
    let mut message = payload(&args.message)?;
    if let Some(name) = message_type {
        message = message.message_type(name);
    }
    if let Some(id) = id {
        message = message.id(id);
    }
    if compress {
        message = message.compressed();
    }
    let options =
        config.options(&app_id(&args.app)?, vec![publish_permission(&literal_pattern(&args.topic))])?;
    // A person waits: no second attempt to connect, and one time for everything.
    let options = options.retry(Retry { attempts: Some(1), ..Retry::default() }).send_timeout(Duration::MAX);
    let sent = timeout(within, send(options, &args.topic, message, &config)).await;
    let id = sent.unwrap_or_else(|_| Err(config.no_answer(within)))?;
    print::either(config.json, || json!({ "id": id }), &format!("published {id}"))
}

/// Connects, publishes, and waits until the server has processed the message; its id.
async fn send(
    options: Options,
    topic: &str,
    message: Outgoing,
    config: &ClientConfig,
) -> Result<String, Failure> {
    let (client, mut events) = Client::connect(options).map_err(|e| Failure::input(e.to_string()))?;
    let id = client.publish(topic, message).await.map_err(|e| config.failed(e))?;
    // Requests of one session are processed in order: when this subscription, which the session has had all
    // along, is confirmed, the publish is through. An ack would need the application's consent.
    client.subscribe(MAIN).await.map_err(|e| config.failed(e))?;
    processed(&mut events, &id).await.map_err(|e| config.failed(e))?;
    client.close().await;
    Ok(id)
}

async fn processed(events: &mut Events, id: &str) -> Result<(), SendError> {
    while let Some(event) = events.next().await {
        match event {
            Event::Welcome { topic } if topic == MAIN => return Ok(()),
            Event::Ack { id: acked } if acked == id => return Ok(()),
            Event::Refused(refusal) if refusal.id.as_deref() == Some(id) => {
                return Err(SendError::Refused(refusal));
            }
            // The barrier itself came too fast: the refusal answers it as well.
            Event::Refused(refusal) if refusal.id.is_none() => return Ok(()),
            Event::Disconnected { code, reason, .. } => return Err(SendError::Closed { code, reason }),
            Event::Connected { .. } | Event::Welcome { .. } | Event::Message(_) | Event::Ack { .. } => {}
            Event::Refused(_) => {}
        }
    }
    Err(SendError::Unconfirmed)
}

/// A JSON object, array or string as it stands; anything else as a string.
fn payload(text: &str) -> Result<Outgoing, Failure> {
    let fits = text.trim_start().starts_with(['{', '[', '"']);
    if let (true, Ok(raw)) = (fits, RawValue::from_string(text.trim().to_owned())) {
        return Ok(Outgoing::raw(raw));
    }
    Outgoing::json(text).map_err(|e| Failure::new(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_array_or_string_is_sent_as_a_string() {
        for (text, want) in [
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("[1]", "[1]"),
            ("\"x\"", "\"x\""),
            ("hello", "\"hello\""),
            ("42", "\"42\""),
            ("{broken", "\"{broken\""),
            ("", "\"\""),
        ] {
            let sent = format!("{:?}", payload(text).unwrap());
            assert!(sent.contains(want), "{text}: {sent}");
        }
    }
}
