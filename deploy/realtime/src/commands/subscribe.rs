//! `realtime sub`.

use std::collections::BTreeSet;

use realtime_client::{Client, Event, Message, SendError};
use realtime_proto::topic::{self, MAIN};
use tokio::signal::unix::{SignalKind, signal};

use super::client::{app_id, resolve};
use super::print;
use crate::cli::SubArgs;
use crate::config::{Layers, parse};
use crate::credentials::{literal_pattern, subscribe_permission};
use crate::failure::Failure;

/// Follows topics and prints one line per message, until interrupted.
pub(super) async fn run(args: &SubArgs, layers: &Layers) -> Result<(), Failure> {
    let (config, count) =
        resolve(&args.client, layers, |r| r.optional("count", args.count.as_ref(), parse::number))?;
    let topics: BTreeSet<&str> = args.topics.iter().map(String::as_str).collect();
    let secure = topics.iter().filter(|t| topic::is_secure(t));
    let permissions = secure.map(|t| subscribe_permission(&literal_pattern(t))).collect();
    let options = config.options(&app_id(&args.app)?, permissions)?;
    let (client, mut events) = Client::connect(options).map_err(|e| Failure::new(e.to_string()))?;
    if !topics.contains(MAIN) {
        client.unsubscribe(MAIN).await?;
    }
    // Private topics come by themselves and cannot be asked for.
    for topic in topics.iter().filter(|t| !topic::is_private(t) && **t != MAIN) {
        client.subscribe(topic).await?;
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut left = count;
    while left != Some(0) {
        let event = tokio::select! {
            event = events.next() => event,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match event {
            Some(Event::Message(message)) => {
                print::line(&shown(&message, config.json))?;
                left = left.map(|n| n - 1);
            }
            Some(event) => other(event)?,
            None => break,
        }
    }
    client.close().await;
    Ok(())
}

/// With `--json` the frame as the server writes it; else topic and data, and the type where it says something.
fn shown(message: &Message, json: bool) -> String {
    let Message { topic, message_type, data } = message;
    if json {
        let text = |s: &str| serde_json::Value::from(s).to_string();
        return format!(r#"{{"topic":{},"messageType":{},"data":{data}}}"#, text(topic), text(message_type));
    }
    if message_type == topic::BROADCAST {
        format!("{topic}\t{data}")
    } else {
        format!("{topic}\t{message_type}\t{data}")
    }
}

/// What is no message goes to standard error.
fn other(event: Event) -> Result<(), Failure> {
    match event {
        Event::Connected { connection_id } => eprintln!("connected as {connection_id}"),
        Event::Welcome { topic } => eprintln!("subscribed to {topic}"),
        Event::Refused(refusal) => {
            let about = refusal.topic.as_deref().unwrap_or("a request");
            eprintln!("refused: {about}: {} ({})", refusal.message, refusal.code);
        }
        Event::Disconnected { code, reason, retry_in: None } => {
            return Err(SendError::Closed { code, reason }.into());
        }
        Event::Disconnected { code, reason, retry_in: Some(delay) } => {
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            eprintln!("disconnected: {reason}{code}; again in {:.1} s", delay.as_secs_f64());
        }
        Event::Message(_) | Event::Ack { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let message = |kind: &str| Message {
            topic: "a\"b".into(),
            message_type: kind.into(),
            data: serde_json::value::RawValue::from_string("{\"n\": 1}".into()).unwrap(),
        };
        assert_eq!(shown(&message("broadcast"), false), "a\"b\t{\"n\": 1}");
        assert_eq!(shown(&message("presence"), false), "a\"b\tpresence\t{\"n\": 1}");
        assert_eq!(
            shown(&message("broadcast"), true),
            r#"{"topic":"a\"b","messageType":"broadcast","data":{"n": 1}}"#
        );
    }
}
