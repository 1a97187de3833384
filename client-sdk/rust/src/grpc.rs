//! The gRPC services: a channel, the bearer token on every call, and refusals as [`ApiError`].
//! Methods mirror the services one to one and retry nothing.

use std::error::Error as _;
use std::time::Duration;

use futures_util::Stream;
use realtime_proto::generated::admin as wire;
use realtime_proto::generated::admin::apps_client::AppsClient;
use realtime_proto::generated::admin::nodes_client::NodesClient;
use realtime_proto::generated::admin::settings_client::SettingsClient;
use realtime_proto::generated::pubsub;
use realtime_proto::generated::pubsub::pub_sub_client::PubSubClient as GeneratedPubSub;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::Value;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

/// A server that does not take a connection in this time is taken for unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No call of these services waits for people or for other machines any longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call that has taken too long ends with.
pub const NO_ANSWER: &str = "no answer in time";
/// How the transport says so.
const TIMED_OUT: &str = "Timeout expired";

/// Puts the bearer token on every call.
#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

type Authorized = InterceptedService<tonic::transport::Channel, Bearer>;

/// A connection to a server, with the token that authorizes calls. Cheap to clone.
#[derive(Clone)]
pub struct Channel(Authorized);

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel(…)")
    }
}

impl Channel {
    /// Connects to `server`, `http://host:port` or `https://host:port`, with an operator's token or one of an app.
    ///
    /// # Errors
    /// `invalid_request` for a malformed address or token, `unavailable` when the server cannot be reached.
    pub async fn connect(server: &str, token: Option<&str>) -> Result<Self, ApiError> {
        Self::connect_within(server, token, CALL_TIMEOUT, None).await
    }

    /// The same; connecting (at most 10 s) and each call may take this long, and an `https` server's certificate must
    /// come from this CA (PEM) where one is given, in place of those that browsers trust.
    ///
    /// # Errors
    /// As [`Self::connect`]; `invalid_request` for a CA that cannot be read.
    pub async fn connect_within(
        server: &str,
        token: Option<&str>,
        timeout: Duration,
        ca: Option<&[u8]>,
    ) -> Result<Self, ApiError> {
        let endpoint = endpoint(server, ca)?;
        let unreachable =
            |why: &str| ApiError::new(ErrorCode::Unavailable, format!("cannot reach {server}: {why}"));
        // The endpoint's own limit leaves out the TLS handshake.
        let endpoint = endpoint.timeout(timeout);
        let channel = match tokio::time::timeout(CONNECT_TIMEOUT.min(timeout), endpoint.connect()).await {
            Ok(connected) => connected.map_err(|e| unreachable(&innermost(&e)))?,
            Err(_) => return Err(unreachable(NO_ANSWER)),
        };
        Self::over(channel, token)
    }

    /// Uses a connection that exists.
    ///
    /// # Errors
    /// `invalid_request` when the token cannot be put into a header.
    pub fn over(channel: tonic::transport::Channel, token: Option<&str>) -> Result<Self, ApiError> {
        let bearer = token.map(|token| {
            let mut value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
                ApiError::new(ErrorCode::InvalidRequest, "the token has characters that no token has")
            })?;
            value.set_sensitive(true);
            Ok::<_, ApiError>(value)
        });
        Ok(Self(InterceptedService::new(channel, Bearer(bearer.transpose()?))))
    }
}

/// A server, `http://host:port` or `https://host:port`, before it is connected to.
pub(crate) fn endpoint(server: &str, ca: Option<&[u8]>) -> Result<Endpoint, ApiError> {
    let malformed = || {
        ApiError::new(
            ErrorCode::InvalidRequest,
            format!("{server:?} is not a URL such as http://127.0.0.1:7070"),
        )
    };
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(|_| malformed())?;
    match endpoint.uri().scheme_str() {
        Some("http") => Ok(endpoint),
        Some("https") => {
            let tls = ClientTlsConfig::new();
            let tls = match ca {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_webpki_roots(),
            };
            let bad = |e| ApiError::new(ErrorCode::InvalidRequest, format!("TLS: {}", innermost(&e)));
            endpoint.tls_config(tls).map_err(bad)
        }
        _ => Err(malformed()),
    }
}

/// The cause that says something: tonic's own text is "transport error".
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Unwraps a call's answer.
async fn call<T>(answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, ApiError> {
    answer.await.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
}

/// What a status says.
pub(crate) fn refusal(status: &Status) -> ApiError {
    let mut error = ApiError::from(status);
    // The transport's own status, not an answer: most often the port is another service's.
    if let (true, Some(cause)) = (status.details().is_empty(), status.source()) {
        let cause = innermost(cause);
        if cause == TIMED_OUT {
            return ApiError::new(ErrorCode::Unavailable, NO_ANSWER);
        }
        error.code = ErrorCode::Unavailable;
        error.detail = format!("the server gave no gRPC answer ({cause}); is this its gRPC address?");
    }
    error
}

/// Publishing and the administration of connections and subscriptions.
#[derive(Debug, Clone)]
pub struct PubSubClient(GeneratedPubSub<Authorized>);

impl PubSubClient {
    /// The service behind `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(GeneratedPubSub::new(channel.0))
    }

    /// Begins an inbound stream, which [`Inbound`](crate::Inbound) makes usable.
    pub(crate) async fn inbound(
        &mut self,
        requests: impl Stream<Item = pubsub::InboundRequest> + Send + 'static,
    ) -> Result<Streaming<pubsub::InboundResponse>, ApiError> {
        call(self.0.inbound(requests)).await
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn publish(
        &mut self,
        request: pubsub::PublishRequest,
    ) -> Result<pubsub::PublishResponse, ApiError> {
        call(self.0.publish(request)).await
    }

    /// Publishes in order; each entry has its own answer, in the same order.
    ///
    /// # Errors
    /// The server's refusal of the whole batch.
    pub async fn publish_batch(
        &mut self,
        publishes: Vec<pubsub::PublishRequest>,
    ) -> Result<Vec<Result<pubsub::PublishResponse, ApiError>>, ApiError> {
        let answer = call(self.0.publish_batch(pubsub::PublishBatchRequest { publishes })).await?;
        Ok(answer.results.into_iter().map(publish_result).collect())
    }

    /// Removes a subject's subscriptions from all topics that match; returns how many.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn unsubscribe(
        &mut self,
        app_id: &str,
        subject: &str,
        topic_patterns: Vec<String>,
    ) -> Result<u64, ApiError> {
        let request =
            pubsub::UnsubscribeRequest { app_id: app_id.into(), topic_patterns, subject: subject.into() };
        Ok(call(self.0.unsubscribe(request)).await?.subscriptions)
    }

    /// Closes connections; returns how many.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn disconnect(
        &mut self,
        app_id: &str,
        target: pubsub::disconnect_request::Target,
    ) -> Result<u64, ApiError> {
        let request = pubsub::DisconnectRequest { app_id: app_id.into(), target: Some(target) };
        Ok(call(self.0.disconnect(request)).await?.connections)
    }

    /// A page of the application's connections.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn list_connections(
        &mut self,
        request: pubsub::ListConnectionsRequest,
    ) -> Result<pubsub::ListConnectionsResponse, ApiError> {
        call(self.0.list_connections(request)).await
    }

    /// A page of the application's topics.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn list_topics(
        &mut self,
        request: pubsub::ListTopicsRequest,
    ) -> Result<pubsub::ListTopicsResponse, ApiError> {
        call(self.0.list_topics(request)).await
    }
}

fn publish_result(result: pubsub::PublishResult) -> Result<pubsub::PublishResponse, ApiError> {
    match result.result {
        Some(pubsub::publish_result::Result::Published(published)) => Ok(published),
        Some(pubsub::publish_result::Result::Failure(failure)) => Err(ApiError::new(
            ErrorCode::from_name(&failure.code).unwrap_or(ErrorCode::Internal),
            failure.message,
        )),
        None => Err(ApiError::new(ErrorCode::Internal, "the server's answer is empty")),
    }
}

/// An application as the control plane answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its id.
    pub app_id: String,
    /// Changes with every write.
    pub version: u64,
    /// The configuration without its secrets.
    pub document: Value,
}

/// A document with its version.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Changes with every write.
    pub version: u64,
    /// The document.
    pub document: Value,
}

/// Applications, settings and nodes, for operators.
#[derive(Debug, Clone)]
pub struct AdminClient {
    apps: AppsClient<Authorized>,
    settings: SettingsClient<Authorized>,
    nodes: NodesClient<Authorized>,
}

impl AdminClient {
    /// The services behind `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self {
            apps: AppsClient::new(channel.0.clone()),
            settings: SettingsClient::new(channel.0.clone()),
            nodes: NodesClient::new(channel.0),
        }
    }

    /// Every application, page by page behind the scenes.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn apps(&mut self) -> Result<Vec<App>, ApiError> {
        let mut apps = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = call(self.apps.list(wire::ListAppsRequest { cursor, limit: 0 })).await?;
            for item in page.items {
                apps.push(app(item)?);
            }
            if page.next.is_empty() {
                return Ok(apps);
            }
            cursor = page.next;
        }
    }

    /// One application.
    ///
    /// # Errors
    /// `app_not_found`, or another refusal.
    pub async fn app(&mut self, app_id: &str) -> Result<App, ApiError> {
        app(call(self.apps.get(wire::GetAppRequest { app_id: app_id.into() })).await?)
    }

    /// Creates an application.
    ///
    /// # Errors
    /// The server's refusal, with the fields at fault.
    pub async fn create_app(&mut self, document: &Value) -> Result<App, ApiError> {
        app(call(self.apps.create(wire::CreateAppRequest { document_json: text(document) })).await?)
    }

    /// Replaces an application's configuration; `if_version` 0: whatever is there.
    ///
    /// # Errors
    /// The server's refusal, `stale_version` when another version is there.
    pub async fn replace_app(
        &mut self,
        app_id: &str,
        document: &Value,
        if_version: u64,
    ) -> Result<App, ApiError> {
        let request =
            wire::ReplaceAppRequest { app_id: app_id.into(), document_json: text(document), if_version };
        app(call(self.apps.replace(request)).await?)
    }

    /// Applies an RFC 7396 merge patch to an application's configuration.
    ///
    /// # Errors
    /// The server's refusal, `stale_version` when another version is there.
    pub async fn patch_app(&mut self, app_id: &str, patch: &Value, if_version: u64) -> Result<App, ApiError> {
        let request = wire::PatchAppRequest { app_id: app_id.into(), patch_json: text(patch), if_version };
        app(call(self.apps.patch(request)).await?)
    }

    /// Deletes an application.
    ///
    /// # Errors
    /// The server's refusal, `stale_version` when another version is there.
    pub async fn delete_app(&mut self, app_id: &str, if_version: u64) -> Result<(), ApiError> {
        call(self.apps.delete(wire::DeleteAppRequest { app_id: app_id.into(), if_version })).await.map(drop)
    }

    /// The operator's settings.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn settings(&mut self) -> Result<Document, ApiError> {
        document(call(self.settings.get(wire::GetSettingsRequest {})).await?)
    }

    /// Replaces the settings; `if_version` 0: whatever is there.
    ///
    /// # Errors
    /// The server's refusal, `stale_version` when another version is there.
    pub async fn replace_settings(
        &mut self,
        settings: &Value,
        if_version: u64,
    ) -> Result<Document, ApiError> {
        let request = wire::ReplaceSettingsRequest { document_json: text(settings), if_version };
        document(call(self.settings.replace(request)).await?)
    }

    /// The live nodes.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn nodes(&mut self) -> Result<Vec<wire::Node>, ApiError> {
        Ok(call(self.nodes.list(wire::ListNodesRequest {})).await?.items)
    }

    /// Starts to drain a node.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn drain(&mut self, node_id: &str) -> Result<(), ApiError> {
        call(self.nodes.drain(wire::DrainRequest { node_id: node_id.into() })).await.map(drop)
    }

    /// Lets a drained node take sessions again.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn undrain(&mut self, node_id: &str) -> Result<(), ApiError> {
        call(self.nodes.undrain(wire::UndrainRequest { node_id: node_id.into() })).await.map(drop)
    }
}

fn text(document: &Value) -> bytes::Bytes {
    document.to_string().into()
}

fn parse(json: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(json)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("the server's document is no JSON: {e}")))
}

fn app(answer: wire::App) -> Result<App, ApiError> {
    let document = parse(&answer.document_json)?;
    Ok(App { app_id: answer.app_id, version: answer.version, document })
}

fn document(answer: wire::SettingsDocument) -> Result<Document, ApiError> {
    Ok(Document { version: answer.version, document: parse(&answer.document_json)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Channel::connect(&format!("http://{free}"), None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.detail.contains(&free.to_string()) && error.detail.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_speaks_something_else_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            use std::io::Write as _;
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
            stream
        });
        let channel = Channel::connect(&format!("http://{address}"), None).await.unwrap();
        let error = AdminClient::new(channel).apps().await.unwrap_err();
        assert!(error.detail.contains("is this its gRPC address?"), "{error}");
        drop(server.join().unwrap());
    }

    #[tokio::test]
    async fn malformed_addresses_and_tokens_are_refused_without_repeating_the_token() {
        for bad in ["", "127.0.0.1:7070", "ftp://h", "http://"] {
            let error = Channel::connect(bad, None).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{bad}");
        }
        let channel = Endpoint::from_static("http://h").connect_lazy();
        let error = Channel::over(channel, Some("hush\n")).unwrap_err();
        assert!(error.code == ErrorCode::InvalidRequest && !error.detail.contains("hush"));
    }

    #[test]
    fn entries_of_a_batch_have_their_own_errors() {
        use pubsub::publish_result::Result as Entry;
        let failure = |code: &str| pubsub::PublishResult {
            result: Some(Entry::Failure(pubsub::Failure { code: code.into(), message: "m".into() })),
        };
        let code = |result| publish_result(result).unwrap_err().code;
        assert_eq!(code(failure("quota_exceeded")), ErrorCode::QuotaExceeded);
        assert_eq!(code(failure("from_the_future")), ErrorCode::Internal);
        assert_eq!(code(pubsub::PublishResult { result: None }), ErrorCode::Internal);
        let published = pubsub::PublishResponse { id: "1".into(), ..Default::default() };
        let result = pubsub::PublishResult { result: Some(Entry::Published(published.clone())) };
        assert_eq!(publish_result(result), Ok(published));
    }
}
