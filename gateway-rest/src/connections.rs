//! Connections of an application: the list, and closing them.

use axum::extract::Request;
use realtime_auth::Action;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::disconnect_request::Target;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::generated::pubsub::{self, DisconnectRequest, ListConnectionsRequest};
use realtime_proto::timestamp;
use realtime_proto::topic::is_valid_subject;
use realtime_proto::{ApiError, ErrorCode};
use serde::Serialize;

use crate::call::{self, Call, ask, from_caller};
use crate::endpoint::Answer;
use crate::query::{self, Unknown};
use crate::{Shared, fields, respond};

#[derive(Serialize)]
struct Disconnected {
    connections: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    id: &'a str,
    subject: &'a str,
    remote_address: &'a str,
    connected_at: String,
    subscriptions: u32,
}

/// `GET /api/connections/{app}?subject=&cursor=&limit=`; an empty subject is everybody.
pub(crate) async fn list<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state.snapshots, &state.gate, request).await?;
    call.check_app_header()?;
    let [subject, cursor, limit] =
        query::parse(call.parts.uri.query(), ["subject", "cursor", "limit"], Unknown::Ignored)?;
    let subject = subject.filter(|subject| !subject.is_empty());
    let list = ListConnectionsRequest {
        app_id: call.app.config.app_id.as_str().to_owned(),
        subject: subject.map(|s| check_subject(&s)).transpose()?.unwrap_or_default(),
        cursor: cursor.unwrap_or_default().into_owned(),
        limit: query::limit(limit.as_deref())?,
    };
    call.permit(Action::ManageConnections)?;
    call.enabled()?;
    let page = ask(state.pubsub.list_connections(from_caller(call.caller.vouched(), list))).await?;
    let items = page.items.iter().map(row).collect::<Vec<_>>();
    respond::page(&items, &page.next)
}

/// `DELETE /api/connections/{app}`, `?subject=S` for one user. A subject that is given but empty, and any
/// other parameter, is refused: a slip must not close everybody's connections.
pub(crate) async fn disconnect<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state.snapshots, &state.gate, request).await?;
    call.check_app_header()?;
    let [subject] = query::parse(call.parts.uri.query(), ["subject"], Unknown::Refused)?;
    let target = match subject {
        Some(subject) => Target::Subject(check_subject(&subject)?),
        None => Target::All(true),
    };
    let connections = close(&state, call, target).await?;
    respond::json(&Disconnected { connections })
}

/// `DELETE /api/connections/{app}/{connection}`
pub(crate) async fn disconnect_one<P: PubSub, A: Apps, S: Settings>(
    state: Shared<P, A, S>,
    request: Request,
) -> Answer {
    let call = Call::open(&state.snapshots, &state.gate, request).await?;
    call.check_app_header()?;
    let none = || ApiError::new(ErrorCode::NotFound, "no such connection");
    let Some(id) = call::connection_id(&call.parts.uri) else {
        call.permit(Action::ManageConnections)?;
        call.enabled()?;
        return Err(none());
    };
    match close(&state, call, Target::ConnectionId(id.to_string())).await? {
        0 => Err(none()),
        _ => Ok(respond::no_content()),
    }
}

async fn close<P: PubSub, A: Apps, S: Settings>(
    state: &Shared<P, A, S>,
    call: Call,
    target: Target,
) -> Result<u64, ApiError> {
    call.permit(Action::ManageConnections)?;
    call.enabled()?;
    let app_id = call.app.config.app_id.as_str().to_owned();
    let disconnect = DisconnectRequest { app_id, target: Some(target) };
    Ok(ask(state.pubsub.disconnect(from_caller(call.caller.vouched(), disconnect))).await?.connections)
}

fn check_subject(subject: &str) -> Result<String, ApiError> {
    if is_valid_subject(subject) {
        Ok(subject.to_owned())
    } else {
        Err(fields::bad(
            "subject",
            "must be 1 to 250 bytes without control characters, and not acks or errors",
        ))
    }
}

fn row(connection: &pubsub::Connection) -> Connection<'_> {
    Connection {
        id: &connection.id,
        subject: &connection.subject,
        remote_address: &connection.remote_address,
        connected_at: timestamp(connection.connected_at_ms),
        subscriptions: connection.subscriptions,
    }
}
