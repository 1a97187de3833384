//! `POST /api/topics/{app}/publish`, the hot path: one pass over the body, the message a slice of it.

use axum::extract::Request;
use bytes::Bytes;
use realtime_auth::Action;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::generated::pubsub::{PublishRequest, PublishResponse};
use realtime_proto::nesting::nests_too_deep;
use realtime_proto::topic::{
    SERVER_MESSAGE_TYPES, is_valid_message_id, is_valid_message_type, is_valid_topic,
};
use realtime_proto::{ApiError, ErrorCode, FieldErrors};
use serde::Serialize;

use crate::call::{Call, ask, from_caller};
use crate::endpoint::Answer;
use crate::query::{self, Unknown};
use crate::{Shared, body, fields, respond};

#[derive(Serialize)]
struct Published<'a> {
    id: &'a str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

#[derive(Serialize)]
struct Receipt {
    nodes: u32,
    matched: u64,
    queued: u64,
    dropped: u64,
}

pub(crate) async fn publish<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let mut call = Call::open(&state.snapshots, &state.gate, request).await?;
    let body = call.json(body::PUBLISH_LIMIT, &state.bodies).await?;
    let receipt = wants_receipt(call.parts.uri.query())?;
    let app_id = call.app.config.app_id.as_str().to_owned();
    let publish = PublishRequest { app_id, receipt, ..parse(&body)? };
    call.permit(Action::Publish { topic: &publish.topic })?;
    check_message_type(&publish.message_type)?;
    call.enabled()?;
    let published = ask(state.pubsub.publish(from_caller(call.caller.vouched(), publish))).await?;
    answer(&published)
}

fn answer(published: &PublishResponse) -> Answer {
    let receipt = published.receipt.map(|r| Receipt {
        nodes: r.nodes,
        matched: r.matched,
        queued: r.queued,
        dropped: r.dropped,
    });
    respond::json(&Published { id: &published.id, bytes: published.bytes, receipt })
}

fn wants_receipt(query: Option<&str>) -> Result<bool, ApiError> {
    let [receipt] = query::parse(query, ["receipt"], Unknown::Ignored)?;
    match receipt.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(fields::bad("receipt", "must be true or false")),
    }
}

/// The body as a request without its application.
fn parse(body: &Bytes) -> Result<PublishRequest, ApiError> {
    let [topic, message, compress, message_type, id] =
        fields::object(body, ["topic", "message", "compress", "messageType", "id"])?;
    let mut errors = FieldErrors::default();

    let topic: Option<String> = fields::required(&mut errors, "topic", topic, "must be a string");
    if topic.as_deref().is_some_and(|topic| !is_valid_topic(topic)) {
        errors.push("topic", "must be 1 to 255 bytes without control characters");
    }
    let message = message.map(|message| body.slice_ref(message.get().as_bytes()));
    match &message {
        None => errors.push("message", "is missing"),
        Some(message) if nests_too_deep(message) => {
            errors.push("message", "must not nest deeper than 100 levels");
        }
        Some(_) => {}
    }
    let compress = fields::optional(&mut errors, "compress", compress, "must be true or false");
    let message_type: Option<String> =
        fields::optional(&mut errors, "messageType", message_type, "must be a string");
    if message_type.as_deref().is_some_and(|name| !is_valid_message_type(name)) {
        errors.push("messageType", "must be 1 to 128 bytes without control characters");
    }
    let id: Option<String> = fields::optional(&mut errors, "id", id, "must be a string");
    if id.as_deref().is_some_and(|id| !is_valid_message_id(id)) {
        errors.push("id", "must be 1 to 128 bytes");
    }

    let request = PublishRequest {
        app_id: String::new(),
        topic: topic.unwrap_or_default(),
        message_json: message.unwrap_or_default(),
        compress: compress.unwrap_or_default(),
        message_type: message_type.unwrap_or_default(),
        id: id.unwrap_or_default(),
        receipt: false,
    };
    errors.into_result(request).map_err(fields::invalid)
}

/// 403 for the types that only the server sends.
fn check_message_type(name: &str) -> Result<(), ApiError> {
    if SERVER_MESSAGE_TYPES.contains(&name) {
        let detail = format!("messageType {name} is the server's own");
        return Err(ApiError::new(ErrorCode::PermissionDenied, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PublishRequest, ApiError> {
        parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn the_message_is_a_slice_of_the_body() {
        let body = Bytes::from_static(b"{\"message\": {\"a\" : 1.50, \"a\":\"\\u00e4\"} , \"topic\":\"t\"}");
        let message = parse(&body).unwrap().message_json;
        assert_eq!(message, "{\"a\" : 1.50, \"a\":\"\\u00e4\"}");
        assert!(body.as_ptr_range().contains(&message.as_ptr()));
    }

    #[test]
    fn any_json_value_is_a_message_and_null_options_are_absent() {
        for message in ["null", "0", "-1e400", "true", "\"\"", "[]", "{}"] {
            let text = format!(
                r#"{{"topic":"t","message":{message},"compress":null,"messageType":null,"id":null,"more":1}}"#
            );
            let expected = PublishRequest {
                topic: "t".into(),
                message_json: message.as_bytes().to_vec().into(),
                ..PublishRequest::default()
            };
            assert_eq!(read(&text).unwrap(), expected);
        }
    }

    #[test]
    fn every_field_at_fault_is_named() {
        let error = read(r#"{"topic":5,"compress":"yes","messageType":"","id":[]}"#).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        let fields: Vec<_> = error.fields.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["topic", "message", "compress", "messageType", "id"]);
        let long = "x".repeat(256);
        let bad = [
            ("topic", format!(r#"{{"topic":"{long}","message":1}}"#)),
            ("topic", r#"{"topic":"","message":1}"#.into()),
            ("topic", r#"{"topic":"a\u007f","message":1}"#.into()),
            ("topic", r#"{"topic":null,"message":1}"#.into()),
            ("topic", r#"{"topic":"\ud800","message":1}"#.into()),
            ("id", format!(r#"{{"topic":"t","message":1,"id":"{long}"}}"#)),
            ("messageType", r#"{"topic":"t","message":1,"messageType":"a\n"}"#.into()),
        ];
        for (field, text) in bad {
            assert_eq!(read(&text).unwrap_err().fields[0].field, field, "{text}");
        }
    }
}
