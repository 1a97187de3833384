//! The gRPC service `realtime.pubsub.v1.PubSub` over the cluster: who calls, what is asked, then one call of the
//! cluster. The order of checks is the HTTP API's (docs/contract.md 4): 404 app · 403 address · 401 · 413 · 400 ·
//! 403 permission · 403 app disabled · 429 quota.
//!
//! Never here: delivery, and the rules of topics and permissions (`realtime-proto`, `realtime-auth`).

mod caller;
mod cursor;
mod forwarders;
mod inbound;
mod publish;
mod validate;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use realtime_auth::{Action, Caller, Gate};
use realtime_proto::generated::pubsub as wire;
use realtime_proto::usage::CALL_COST;
use realtime_proto::{ApiError, ConnectionId, ErrorCode, PatternSet};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::disconnect_request::Target as WireTarget;
use wire::pub_sub_server::PubSub;

use self::caller::Credentials;
use crate::{AppRuntime, Cluster, ConnectionInfo, Target};

/// Rows of a page where the caller does not say.
const DEFAULT_PAGE: usize = 100;
/// Rows of a page at most; more asked for is this.
const MAX_PAGE: usize = 1000;

/// The service. Cloning shares it.
///
/// In one process with a gateway, the gateway calls it directly with a [`Caller::Cluster`] in the request's
/// extensions; a request without a caller there is authenticated by its metadata.
#[derive(Debug, Clone)]
pub struct PubSubService {
    cluster: Cluster,
    gate: Arc<Gate>,
    /// Ends streams that would go on for ever.
    stop: CancellationToken,
}

impl PubSubService {
    /// A service over a cluster, or a node alone, with callers admitted by `gate`.
    #[must_use]
    pub fn new(cluster: Cluster, gate: Arc<Gate>) -> Self {
        Self { cluster, gate, stop: CancellationToken::new() }
    }

    /// The same; its streams end with `stop`.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// 404 app · 403 address · 401.
    async fn admit(
        &self,
        credentials: &Credentials,
        app_id: &str,
    ) -> Result<(Arc<AppRuntime>, Caller), ApiError> {
        let app = self.cluster.shards().app(app_id).ok_or_else(ApiError::no_such_app)?;
        let caller = credentials.admit(&self.gate, &app.app).await?;
        Ok((app, caller))
    }

    async fn remove_subscriptions(
        &self,
        credentials: &Credentials,
        request: wire::UnsubscribeRequest,
    ) -> Result<u64, ApiError> {
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        validate::unsubscribe(&request)?;
        permit(&caller, &app, Action::ManageSubscribers)?;
        enabled(&app)?;
        charge(&caller, &app, CALL_COST)?;
        audit(&caller, &app, "Unsubscribe");
        let config = &app.app.config;
        let patterns = &request.topic_patterns;
        let compiled = PatternSet::new(patterns.iter().map(String::as_str), config.permission_case);
        self.cluster.unsubscribe(&config.app_id, &request.subject, patterns, compiled).await
    }

    async fn close_connections(
        &self,
        credentials: &Credentials,
        request: wire::DisconnectRequest,
    ) -> Result<u64, ApiError> {
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        let target = target(request.target)?;
        permit(&caller, &app, Action::ManageConnections)?;
        enabled(&app)?;
        audit(&caller, &app, "Disconnect");
        let (target, must_exist) = match target {
            Asked::One(id) => {
                let id = id.ok_or_else(no_such_connection)?;
                (Target::Connection(id), true)
            }
            Asked::Many(target) => (target, false),
        };
        charge(&caller, &app, CALL_COST)?;
        let closed = self.cluster.disconnect(&app.app.config.app_id, target).await?;
        if must_exist && closed == 0 { Err(no_such_connection()) } else { Ok(closed) }
    }

    async fn connections(
        &self,
        credentials: &Credentials,
        request: wire::ListConnectionsRequest,
    ) -> Result<wire::ListConnectionsResponse, ApiError> {
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        let after = match cursor::decode(&request.cursor)? {
            Some(key) => Some(ConnectionId::parse(&key).ok_or_else(cursor::malformed)?),
            None => None,
        };
        permit(&caller, &app, Action::ManageConnections)?;
        enabled(&app)?;
        charge(&caller, &app, CALL_COST)?;
        let limit = page(request.limit);
        let subject = Some(request.subject.as_str()).filter(|subject| !subject.is_empty());
        // One more than asked for tells whether there is a next page.
        let rows = self.cluster.connections(&app.app.config.app_id, subject, after, limit + 1).await?;
        let next = next_cursor(&rows, limit, |row| row.id.to_string());
        Ok(wire::ListConnectionsResponse {
            items: rows.into_iter().take(limit).map(connection).collect(),
            next,
        })
    }

    async fn topics(
        &self,
        credentials: &Credentials,
        request: wire::ListTopicsRequest,
    ) -> Result<wire::ListTopicsResponse, ApiError> {
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        let after = cursor::decode(&request.cursor)?;
        permit(&caller, &app, Action::ManageSubscribers)?;
        charge(&caller, &app, CALL_COST)?;
        let limit = page(request.limit);
        let rows =
            self.cluster.topics(&app.app.config.app_id, &request.prefix, after.as_deref(), limit + 1).await?;
        let next = next_cursor(&rows, limit, |(topic, _)| topic.clone());
        let items =
            rows.into_iter().take(limit).map(|(topic, subscribers)| wire::Topic { topic, subscribers });
        Ok(wire::ListTopicsResponse { items: items.collect(), next })
    }
}

#[tonic::async_trait]
impl PubSub for PubSubService {
    async fn publish(
        &self,
        request: Request<wire::PublishRequest>,
    ) -> Result<Response<wire::PublishResponse>, Status> {
        let credentials = Credentials::of(&request);
        Ok(Response::new(self.publish_one(&credentials, request.into_inner()).await?))
    }

    async fn publish_batch(
        &self,
        request: Request<wire::PublishBatchRequest>,
    ) -> Result<Response<wire::PublishBatchResponse>, Status> {
        let credentials = Credentials::of(&request);
        let publishes = request.into_inner().publishes;
        validate::batch(publishes.len())?;
        let mut results = Vec::with_capacity(publishes.len());
        for publish in publishes {
            results.push(publish::result(self.publish_one(&credentials, publish).await));
        }
        Ok(Response::new(wire::PublishBatchResponse { results }))
    }

    type PublishStreamStream =
        Pin<Box<dyn Stream<Item = Result<wire::PublishStreamResponse, Status>> + Send + 'static>>;

    /// Driven by the reader of the responses: a client that does not read them is not read from either, so
    /// nothing queues, and what it leaves behind is dropped with the call.
    async fn publish_stream(
        &self,
        request: Request<Streaming<wire::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let credentials = Arc::new(Credentials::of(&request));
        let service = self.clone();
        let stopped = self.stop.clone().cancelled_owned();
        let responses = request.into_inner().take_until(stopped).then(move |request| {
            let (service, credentials) = (service.clone(), Arc::clone(&credentials));
            async move {
                let wire::PublishStreamRequest { sequence, publish } = request?;
                let published = match publish {
                    Some(publish) => service.publish_one(&credentials, publish).await,
                    None => Err(validate::missing("publish")),
                };
                let result = Some(publish::result(published));
                Ok(wire::PublishStreamResponse { sequence, result })
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn unsubscribe(
        &self,
        request: Request<wire::UnsubscribeRequest>,
    ) -> Result<Response<wire::UnsubscribeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let subscriptions = self.remove_subscriptions(&credentials, request.into_inner()).await?;
        Ok(Response::new(wire::UnsubscribeResponse { subscriptions }))
    }

    async fn disconnect(
        &self,
        request: Request<wire::DisconnectRequest>,
    ) -> Result<Response<wire::DisconnectResponse>, Status> {
        let credentials = Credentials::of(&request);
        let connections = self.close_connections(&credentials, request.into_inner()).await?;
        Ok(Response::new(wire::DisconnectResponse { connections }))
    }

    async fn list_connections(
        &self,
        request: Request<wire::ListConnectionsRequest>,
    ) -> Result<Response<wire::ListConnectionsResponse>, Status> {
        let credentials = Credentials::of(&request);
        Ok(Response::new(self.connections(&credentials, request.into_inner()).await?))
    }

    async fn list_topics(
        &self,
        request: Request<wire::ListTopicsRequest>,
    ) -> Result<Response<wire::ListTopicsResponse>, Status> {
        let credentials = Credentials::of(&request);
        Ok(Response::new(self.topics(&credentials, request.into_inner()).await?))
    }

    type InboundStream = inbound::Responses;

    async fn inbound(
        &self,
        request: Request<Streaming<wire::InboundRequest>>,
    ) -> Result<Response<Self::InboundStream>, Status> {
        let credentials = Credentials::of(&request);
        Ok(Response::new(self.consume(&credentials, request.into_inner()).await?))
    }

    async fn test_forwarders(
        &self,
        request: Request<wire::TestForwardersRequest>,
    ) -> Result<Response<wire::TestForwardersResponse>, Status> {
        let credentials = Credentials::of(&request);
        Ok(Response::new(self.test(&credentials, request.into_inner()).await?))
    }

    async fn app_status(
        &self,
        request: Request<wire::AppStatusRequest>,
    ) -> Result<Response<wire::AppStatusResponse>, Status> {
        let credentials = Credentials::of(&request);
        Ok(Response::new(self.status(&credentials, request.into_inner()).await?))
    }
}

/// What a disconnect names.
enum Asked {
    /// One connection; `None`: the text is no connection id, so there is none.
    One(Option<ConnectionId>),
    Many(Target),
}

fn target(target: Option<WireTarget>) -> Result<Asked, ApiError> {
    match target {
        Some(WireTarget::ConnectionId(id)) => Ok(Asked::One(ConnectionId::parse(&id))),
        Some(WireTarget::Subject(subject)) => {
            validate::subject(&subject)?;
            Ok(Asked::Many(Target::Subject(subject)))
        }
        Some(WireTarget::All(true)) => Ok(Asked::Many(Target::All)),
        Some(WireTarget::All(false)) => Err(validate::field("all", "must be true")),
        None => Err(validate::missing("target")),
    }
}

fn no_such_connection() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such connection")
}

fn permit(caller: &Caller, app: &AppRuntime, action: Action<'_>) -> Result<(), ApiError> {
    realtime_auth::authorize(caller, &app.app, action).into_result(action)
}

fn enabled(app: &AppRuntime) -> Result<(), ApiError> {
    if app.app.config.enabled {
        Ok(())
    } else {
        Err(ApiError::new(ErrorCode::AppDisabled, "the application is disabled"))
    }
}

/// 429 beyond the monthly quota; operators have none.
fn charge(caller: &Caller, app: &AppRuntime, bytes: u64) -> Result<(), ApiError> {
    if caller.is_metered() { app.charge_call(bytes) } else { Ok(()) }
}

/// Notes what an operator does; a gateway notes its own callers.
fn audit(caller: &Caller, app: &AppRuntime, method: &'static str) {
    if let Caller::Operator { name } = caller {
        tracing::info!(target: "audit", operator = %name, app = %app.app.config.app_id, method);
    }
}

fn page(limit: u32) -> usize {
    match usize::try_from(limit) {
        Ok(0) => DEFAULT_PAGE,
        Ok(limit) => limit.min(MAX_PAGE),
        Err(_) => MAX_PAGE,
    }
}

/// The cursor after the page's last row; empty when `rows`, of which one more than `limit` was asked for, has no
/// row beyond it.
fn next_cursor<T>(rows: &[T], limit: usize, key: impl FnOnce(&T) -> String) -> String {
    match rows.get(..limit).and_then(<[T]>::last) {
        Some(last) if rows.len() > limit => cursor::encode(&key(last)),
        Some(_) | None => String::new(),
    }
}

fn connection(info: ConnectionInfo) -> wire::Connection {
    wire::Connection {
        id: info.id.to_string(),
        subject: info.subject.to_string(),
        remote_address: info.remote_address.to_string(),
        connected_at_ms: info.connected_at_ms,
        subscriptions: info.subscriptions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_100_rows_by_default_and_1000_at_most() {
        assert_eq!([0, 1, 1000, 1001, u32::MAX].map(page), [100, 1, 1000, 1000, 1000]);
    }

    #[test]
    fn only_a_page_with_rows_beyond_it_has_a_next_one() {
        let key = |row: &&str| (*row).to_owned();
        assert_eq!(next_cursor(&["a", "b", "c"], 2, key), cursor::encode("b"));
        assert_eq!(next_cursor(&["a", "b"], 2, key), "");
        assert_eq!(next_cursor(&[], 2, key), "");
    }
}
