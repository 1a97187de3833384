//! Topics of an application: who is unsubscribed from which, and the list.

use axum::extract::Request;
use realtime_auth::Action;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::generated::pubsub::{ListTopicsRequest, UnsubscribeRequest};
use realtime_proto::topic::is_valid_subject;
use realtime_proto::{ApiError, FieldErrors};
use serde::Serialize;

use crate::call::{Call, ask, from_caller};
use crate::endpoint::Answer;
use crate::query::{self, Unknown};
use crate::{Shared, body, fields, respond};

/// Patterns in one unsubscribe.
const MAX_PATTERNS: usize = 50;

#[derive(Serialize)]
struct Unsubscribed {
    subscriptions: u64,
}

#[derive(Serialize)]
struct Topic<'a> {
    topic: &'a str,
    subscribers: u64,
}

/// `POST /api/topics/{app}/unsubscribe`
pub(crate) async fn unsubscribe<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let mut call = Call::open(&state.snapshots, &state.gate, request).await?;
    let body = call.json(body::UNSUBSCRIBE_LIMIT, &state.bodies).await?;
    let app_id = call.app.config.app_id.as_str().to_owned();
    let unsubscribe = UnsubscribeRequest { app_id, ..parse(&body)? };
    call.permit(Action::ManageSubscribers)?;
    call.enabled()?;
    let answer = ask(state.pubsub.unsubscribe(from_caller(call.caller.vouched(), unsubscribe))).await?;
    respond::json(&Unsubscribed { subscriptions: answer.subscriptions })
}

/// `GET /api/topics/{app}?prefix=&cursor=&limit=`
pub(crate) async fn list<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state.snapshots, &state.gate, request).await?;
    call.check_app_header()?;
    let [prefix, cursor, limit] =
        query::parse(call.parts.uri.query(), ["prefix", "cursor", "limit"], Unknown::Ignored)?;
    let list = ListTopicsRequest {
        app_id: call.app.config.app_id.as_str().to_owned(),
        prefix: prefix.unwrap_or_default().into_owned(),
        cursor: cursor.unwrap_or_default().into_owned(),
        limit: query::limit(limit.as_deref())?,
    };
    call.permit(Action::ManageSubscribers)?;
    let page = ask(state.pubsub.list_topics(from_caller(call.caller.vouched(), list))).await?;
    let items: Vec<_> =
        page.items.iter().map(|t| Topic { topic: &t.topic, subscribers: t.subscribers }).collect();
    respond::page(&items, &page.next)
}

fn parse(body: &[u8]) -> Result<UnsubscribeRequest, ApiError> {
    let [patterns, subject] = fields::object(body, ["topicPatterns", "subject"])?;
    let mut errors = FieldErrors::default();
    let patterns: Option<Vec<String>> =
        fields::required(&mut errors, "topicPatterns", patterns, "must be an array of strings");
    if patterns.as_ref().is_some_and(|patterns| !(1..=MAX_PATTERNS).contains(&patterns.len())) {
        errors.push("topicPatterns", format!("must hold 1 to {MAX_PATTERNS} patterns"));
    }
    let subject: Option<String> = fields::required(&mut errors, "subject", subject, "must be a string");
    if subject.as_deref().is_some_and(|subject| !is_valid_subject(subject)) {
        errors.push("subject", "must be 1 to 250 bytes without control characters, and not acks or errors");
    }
    let request = UnsubscribeRequest {
        app_id: String::new(),
        topic_patterns: patterns.unwrap_or_default(),
        subject: subject.unwrap_or_default(),
    };
    errors.into_result(request).map_err(fields::invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_at_fault(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().fields[0].field.clone()
    }

    #[test]
    fn patterns_and_subject_are_read() {
        let request = parse(br#"{"subject":"ann","topicPatterns":["a*","!ab"],"x":null}"#).unwrap();
        assert_eq!(request.subject, "ann");
        assert_eq!(request.topic_patterns, ["a*", "!ab"]);
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let fifty_one = serde_json::to_string(&vec!["a"; 51]).unwrap();
        for patterns in ["[]", "\"a\"", "[1]", "null", fifty_one.as_str()] {
            let text = format!(r#"{{"topicPatterns":{patterns},"subject":"s"}}"#);
            assert_eq!(field_at_fault(&text), "topicPatterns", "{text}");
        }
        for subject in ["\"\"", "1", "null", "\"a\\n\""] {
            let text = format!(r#"{{"topicPatterns":["a"],"subject":{subject}}}"#);
            assert_eq!(field_at_fault(&text), "subject", "{text}");
        }
        assert_eq!(field_at_fault(r#"{"topicPatterns":["a"]}"#), "subject");
        assert_eq!(field_at_fault(r#"{"subject":"s"}"#), "topicPatterns");
    }
}
