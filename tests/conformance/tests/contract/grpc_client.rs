//! Calls of the gRPC services, as any client generated from the `.proto` files makes them.

use prost::Message as _;
use realtime_proto::generated::admin::apps_client::AppsClient;
use realtime_proto::generated::admin::settings_client::SettingsClient;
use realtime_proto::generated::admin::{App, CreateAppRequest, DeleteAppRequest, PatchAppRequest};
use realtime_proto::generated::error::ErrorDetail;
use realtime_proto::generated::pubsub::PublishRequest;
use realtime_proto::generated::pubsub::pub_sub_client::PubSubClient;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Server, within};
use serde_json::Value;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

/// The services of a server, over one connection.
#[derive(Clone)]
pub(crate) struct Grpc {
    pub(crate) apps: AppsClient<Channel>,
    pub(crate) settings: SettingsClient<Channel>,
    pub(crate) pubsub: PubSubClient<Channel>,
}

/// A refusal: the gRPC status and the detail that travels with it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: Code,
    pub(crate) detail: ErrorDetail,
}

impl Refused {
    pub(crate) fn code(&self) -> &str {
        &self.detail.code
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let detail = ErrorDetail::decode(status.details()).expect("an ErrorDetail");
        Self { status: status.code(), detail }
    }
}

/// A call with a token.
pub(crate) fn call<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().expect("a token that fits a header");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// The answer, or the refusal.
pub(crate) async fn answer<T>(
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Refused> {
    Ok(within("the gRPC answer", answer).await.map(Response::into_inner)?)
}

/// A publish of the number 1.
pub(crate) fn publish(app_id: &str, topic: &str) -> PublishRequest {
    let (app_id, topic) = (app_id.to_owned(), topic.to_owned());
    PublishRequest { app_id, topic, message_json: "1".into(), ..Default::default() }
}

/// A connection to a server's gRPC port.
pub(crate) async fn channel(server: &Server) -> Channel {
    let ca = server.ca();
    let scheme = if ca.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", server.grpc_listen())).expect("a URL");
    if let Some((pem, _)) = ca {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint = endpoint.tls_config(tls).expect("TLS");
    }
    within("the gRPC port", endpoint.connect()).await.expect("a connection")
}

impl Grpc {
    pub(crate) async fn connect(server: &Server) -> Self {
        let channel = channel(server).await;
        Self {
            apps: AppsClient::new(channel.clone()),
            settings: SettingsClient::new(channel.clone()),
            pubsub: PubSubClient::new(channel),
        }
    }

    /// Patches an application as the operator; version 0 is any.
    pub(crate) async fn patch(&self, app_id: &str, patch: &Value, if_version: u64) -> Result<App, Refused> {
        let patch_json = patch.to_string().into();
        let patch = PatchAppRequest { app_id: app_id.to_owned(), patch_json, if_version };
        answer(self.apps.clone().patch(call(OPERATOR_TOKEN, patch))).await
    }

    /// Creates an application as the operator.
    pub(crate) async fn create(&self, document: &Value) -> Result<App, Refused> {
        let create = CreateAppRequest { document_json: document.to_string().into() };
        answer(self.apps.clone().create(call(OPERATOR_TOKEN, create))).await
    }

    /// Deletes an application as the operator; version 0 is any.
    pub(crate) async fn delete(&self, app_id: &str, if_version: u64) -> Result<(), Refused> {
        let delete = DeleteAppRequest { app_id: app_id.to_owned(), if_version };
        answer(self.apps.clone().delete(call(OPERATOR_TOKEN, delete))).await.map(drop)
    }
}
