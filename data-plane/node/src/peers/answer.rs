//! What peers ask of this node's own connections. Nothing is asked any further: the asker asks every node itself.

use std::sync::Arc;

use realtime_proto::generated::peer as wire;
use realtime_proto::{ApiError, AppId, ConnectionId, ErrorCode, PatternSet};
use wire::request::Kind;
use wire::response::Kind as Answer;

use super::figures_of_app;
use crate::{Shards, Target};

/// Rows of a page at most, whatever is asked for: one more than callers get.
const MAX_ROWS: u32 = 1001;

/// Does what is asked of the node of this id.
pub(super) async fn answer(shards: Arc<Shards>, node: Arc<str>, request: wire::Request) -> wire::Response {
    let wire::Request { number, app_id, kind } = request;
    let kind = match act(&shards, &node, &app_id, kind).await {
        Ok(answer) => answer,
        Err(error) => Answer::Failure(error.code.name().to_owned()),
    };
    wire::Response { number, kind: Some(kind) }
}

async fn act(shards: &Shards, node: &str, app_id: &str, kind: Option<Kind>) -> Result<Answer, ApiError> {
    let app = AppId::parse(app_id).map_err(|_| malformed("app_id"))?;
    Ok(match kind.ok_or_else(|| malformed("kind"))? {
        Kind::Unsubscribe(asked) => {
            let case = shards.app(app_id).map(|app| app.app.config.permission_case).unwrap_or_default();
            let patterns = PatternSet::new(asked.topic_patterns.iter().map(String::as_str), case);
            Answer::Count(shards.unsubscribe(&app, &asked.subject, patterns).await?)
        }
        Kind::Disconnect(asked) => {
            let target = match asked.target.ok_or_else(|| malformed("target"))? {
                wire::disconnect::Target::ConnectionId(id) => {
                    Target::Connection(ConnectionId::parse(&id).ok_or_else(|| malformed("connection_id"))?)
                }
                wire::disconnect::Target::Subject(subject) => Target::Subject(subject),
                wire::disconnect::Target::All(true) => Target::All,
                wire::disconnect::Target::All(false) => return Err(malformed("all")),
            };
            Answer::Count(shards.disconnect(&app, target).await?)
        }
        Kind::ListConnections(asked) => {
            let subject = Some(asked.subject.as_str()).filter(|subject| !subject.is_empty());
            let after = match asked.after.as_str() {
                "" => None,
                id => Some(ConnectionId::parse(id).ok_or_else(|| malformed("after"))?),
            };
            let rows = shards.connections(&app, subject, after, rows(asked.limit)).await?;
            Answer::Connections(wire::Connections { items: rows.into_iter().map(connection).collect() })
        }
        Kind::ListTopics(asked) => {
            let after = Some(asked.after.as_str()).filter(|after| !after.is_empty());
            let rows = shards.topics(&app, &asked.prefix, after, rows(asked.limit)).await?;
            let items = rows.into_iter().map(|(topic, subscribers)| wire::Topic { topic, subscribers });
            Answer::Topics(wire::Topics { items: items.collect() })
        }
        Kind::AppStatus(wire::AppStatus {}) => Answer::AppFigures(figures_of_app::here(shards, node, &app)),
    })
}

fn rows(limit: u32) -> usize {
    limit.min(MAX_ROWS) as usize
}

fn connection(info: crate::ConnectionInfo) -> wire::Connection {
    wire::Connection {
        id: info.id.to_string(),
        subject: info.subject.to_string(),
        remote_address: info.remote_address.to_string(),
        connected_at_ms: info.connected_at_ms,
        subscriptions: info.subscriptions,
    }
}

fn malformed(field: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, format!("{field}: malformed"))
}
