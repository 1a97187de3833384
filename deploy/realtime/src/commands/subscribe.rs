//! `realtime sub`.

use std::collections::BTreeSet;

use realtime_client::{Client, ErrorCode, Event, Message, Refusal};
use realtime_proto::topic::{self, MAIN};
use tokio::signal::unix::{SignalKind, signal};

use super::client::{ClientConfig, app_id, resolve};
use super::print::{self, Reader};
use crate::cli::SubArgs;
use crate::config::{Layers, parse};
use crate::credentials::{literal_pattern, subscribe_permission};
use crate::failure::{Failure, say};

/// The close code of a session whose token is refused; other refusals that are final are so to the client, too.
const UNAUTHORIZED: u16 = 4401;

/// Follows topics and prints one line per message, until interrupted.
pub(super) async fn run(args: &SubArgs, layers: &Layers) -> Result<(), Failure> {
    let (config, count) =
        resolve(&args.client, layers, |r| r.optional("count", args.count.as_ref(), parse::number))?;
    let topics: BTreeSet<&str> = args.topics.iter().map(String::as_str).collect();
    if let Some(other) = topics.iter().find(|t| topic::is_private(t) && !config.owns(t)) {
        return Err(Failure::input(format!(
            "{other}: clients cannot follow other private topics; their own, priv/{{subject}} and \
             priv/{{connectionId}}, come by themselves"
        )));
    }
    let secure = topics.iter().filter(|t| topic::is_secure(t));
    let permissions = secure.map(|t| subscribe_permission(&literal_pattern(t))).collect();
    let options = config.options(&app_id(&args.app)?, permissions)?;
    let (client, mut events) = Client::connect(options).map_err(|e| Failure::input(e.to_string()))?;
    if !topics.contains(MAIN) {
        client.unsubscribe(MAIN).await.map_err(|e| config.failed(e))?;
    }
    // Private topics come by themselves and cannot be asked for.
    for topic in topics.iter().filter(|t| !topic::is_private(t) && **t != MAIN) {
        client.subscribe(topic).await.map_err(|e| config.failed(e))?;
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut left = count;
    let mut connected = false;
    while left != Some(0) {
        let event = tokio::select! {
            event = events.next() => event,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match event {
            Some(Event::Message(message)) => {
                if print::one_of_many(&shown(&message, config.json))? == Reader::Gone {
                    break;
                }
                left = left.map(|n| n - 1);
            }
            Some(event) => {
                connected |= matches!(event, Event::Connected { .. });
                other(event, connected, &config)?;
            }
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

/// What is no message goes to standard error. A refused topic ends the command, and so does a server that at first
/// cannot be reached or refuses the token; once there has been a session, the connection is made again.
fn other(event: Event, connected: bool, config: &ClientConfig) -> Result<(), Failure> {
    match event {
        Event::Connected { connection_id } => say(&format!("connected as {connection_id}")),
        Event::Welcome { topic } => say(&format!("subscribed to {topic}")),
        // Asked for again by the client itself.
        Event::Refused(refusal) if refusal.code == ErrorCode::RateLimited.name() => {}
        Event::Refused(Refusal { code, message, topic, .. }) => {
            let about = topic.as_deref().unwrap_or("a request");
            return Err(Failure::coded(code.clone(), format!("{about}: refused: {message} ({code})")));
        }
        Event::Disconnected { code, reason, retry_in: None } => return Err(config.closed(code, &reason)),
        // Another token that is signed in the same way fares no better.
        Event::Disconnected { code: code @ (None | Some(UNAUTHORIZED)), reason, .. } if !connected => {
            return Err(config.closed(code, &reason));
        }
        Event::Disconnected { code, reason, retry_in: Some(delay) } => {
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            say(&format!("disconnected: {reason}{code}; again in {:.1} s", delay.as_secs_f64()));
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
