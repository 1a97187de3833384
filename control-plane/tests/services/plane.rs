//! A control plane behind a server on a free port, and what tests say to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use realtime_auth::{Gate, GateConfig, OperatorTokens, issue};
use realtime_control_plane::store::EtcdOptions;
use realtime_control_plane::{ControlPlane, ControlPlaneConfig, Peering, ReplicaConfig};
use realtime_proto::app::Algorithm;
use realtime_proto::generated::admin as wire;
use realtime_proto::generated::discovery::discovery_server::DiscoveryServer;
use realtime_proto::generated::replica::replica_server::ReplicaServer;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use wire::apps_client::AppsClient;
use wire::apps_server::AppsServer;
use wire::nodes_client::NodesClient;
use wire::nodes_server::NodesServer;
use wire::settings_client::SettingsClient;
use wire::settings_server::SettingsServer;

pub(crate) const OPERATOR: &str = "an-operator-token-of-some-length";
/// Secrets of the apps that tests make.
pub(crate) const ADMIN_SECRET: &str = "the admin key's secret, 32 bytes or more";
pub(crate) const AUTH_SECRET: &str = "the auth key's secret, 32 bytes or more";
pub(crate) const MANAGE_APPLICATION: &str = "realtime:admin:manage:application";
pub(crate) const MANAGE_KEYS: &str = "realtime:admin:manage:keys";

pub(crate) struct Plane {
    pub(crate) control: ControlPlane,
    pub(crate) channel: Channel,
    /// Of an embedded store.
    directory: Option<TempDir>,
    server: JoinHandle<()>,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_with(TempDir::new().unwrap(), realtime_control_plane::MEMBER_TTL).await
    }

    pub(crate) async fn start_with(directory: TempDir, member_ttl: Duration) -> Self {
        let config = ControlPlaneConfig { member_ttl, ..ControlPlaneConfig::new(directory.path()) };
        Self { directory: Some(directory), ..Self::open(config).await }
    }

    /// On data that is the caller's.
    pub(crate) async fn open(config: ControlPlaneConfig) -> Self {
        let control = ControlPlane::open(config, gate()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(control, listener)
    }

    /// A replica on etcd.
    pub(crate) async fn replica(etcd: &EtcdOptions) -> Self {
        Self::replica_with(etcd, |config| config).await
    }

    /// The same with another configuration.
    pub(crate) async fn replica_with(
        etcd: &EtcdOptions,
        configure: impl FnOnce(ReplicaConfig) -> ReplicaConfig,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = configure(ReplicaConfig::new(Peering::plain(address)));
        let control = ControlPlane::open_on_etcd(etcd, &config, &gate()).await.unwrap();
        Self::serve(control, listener)
    }

    fn serve(control: ControlPlane, listener: TcpListener) -> Self {
        let address: SocketAddr = listener.local_addr().unwrap();
        let router = Server::builder()
            .add_service(AppsServer::new(control.apps_service()))
            .add_service(SettingsServer::new(control.settings_service()))
            .add_service(NodesServer::new(control.nodes_service()))
            .add_service(DiscoveryServer::new(control.discovery_service()))
            .add_service(ReplicaServer::new(control.replica_service()));
        let server = tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming(incoming).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { control, channel, directory: None, server }
    }

    /// Ends it; what is left is its data, where that is its own.
    pub(crate) async fn stop(self) -> Option<TempDir> {
        self.control.shutdown().await;
        self.server.abort();
        self.directory
    }

    pub(crate) async fn restart(self) -> Self {
        let directory = self.stop().await.expect("an embedded store");
        Self::start_with(directory, realtime_control_plane::MEMBER_TTL).await
    }

    pub(crate) fn apps(&self) -> AppsClient<Channel> {
        AppsClient::new(self.channel.clone())
    }

    pub(crate) fn settings(&self) -> SettingsClient<Channel> {
        SettingsClient::new(self.channel.clone())
    }

    pub(crate) fn nodes(&self) -> NodesClient<Channel> {
        NodesClient::new(self.channel.clone())
    }

    pub(crate) async fn create(&self, document: &Value) -> Result<wire::App, ApiError> {
        let document_json = document.to_string().into();
        answer(self.apps().create(operator(wire::CreateAppRequest { document_json })).await)
    }

    pub(crate) async fn get(&self, app_id: &str) -> Result<wire::App, ApiError> {
        let get = wire::GetAppRequest { app_id: app_id.into() };
        answer(self.apps().get(operator(get)).await)
    }

    pub(crate) async fn replace(&self, document: &Value, if_version: u64) -> Result<wire::App, ApiError> {
        answer(self.apps().replace(operator(replace(document, if_version))).await)
    }

    pub(crate) async fn patch(&self, app_id: &str, patch: &Value) -> Result<wire::App, ApiError> {
        answer(self.apps().patch(operator(patch_of(app_id, patch))).await)
    }

    pub(crate) async fn delete(&self, app_id: &str, if_version: u64) -> Result<(), ApiError> {
        let delete = wire::DeleteAppRequest { app_id: app_id.into(), if_version };
        answer(self.apps().delete(operator(delete)).await).map(drop)
    }

    pub(crate) async fn put_settings(
        &self,
        document: &Value,
        if_version: u64,
    ) -> Result<wire::SettingsDocument, ApiError> {
        let document_json = document.to_string().into();
        let replace = wire::ReplaceSettingsRequest { document_json, if_version };
        answer(self.settings().replace(operator(replace)).await)
    }

    pub(crate) async fn drain(&self, node_id: &str) -> Result<(), ApiError> {
        let drain = wire::DrainRequest { node_id: node_id.into() };
        answer(self.nodes().drain(operator(drain)).await).map(drop)
    }

    pub(crate) async fn undrain(&self, node_id: &str) -> Result<(), ApiError> {
        let undrain = wire::UndrainRequest { node_id: node_id.into() };
        answer(self.nodes().undrain(operator(undrain)).await).map(drop)
    }

    pub(crate) async fn list_nodes(&self) -> Vec<wire::Node> {
        answer(self.nodes().list(operator(wire::ListNodesRequest {})).await).unwrap().items
    }
}

pub(crate) fn gate() -> Arc<Gate> {
    let gate = GateConfig { verifier_threads: 1, verifier_queue: 16, token_cache: 16 };
    Arc::new(Gate::new(gate, OperatorTokens::single(OPERATOR)))
}

pub(crate) fn replace(document: &Value, if_version: u64) -> wire::ReplaceAppRequest {
    let app_id = document["appId"].as_str().unwrap().to_owned();
    wire::ReplaceAppRequest { app_id, document_json: document.to_string().into(), if_version }
}

pub(crate) fn patch_of(app_id: &str, patch: &Value) -> wire::PatchAppRequest {
    wire::PatchAppRequest { app_id: app_id.into(), patch_json: patch.to_string().into(), if_version: 0 }
}

/// A valid document with secrets.
pub(crate) fn app(app_id: &str) -> Value {
    json!({
        "appId": app_id,
        "name": format!("The app {app_id}"),
        "adminKey": key(ADMIN_SECRET),
        "authKey": key(AUTH_SECRET),
    })
}

pub(crate) fn key(secret: &str) -> Value {
    json!({"source": "raw", "key": secret, "algorithms": ["HS256"], "issuer": []})
}

pub(crate) fn document(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// A request with the operator's token.
pub(crate) fn operator<T>(message: T) -> Request<T> {
    with_token(message, OPERATOR)
}

/// A request with a token of the apps' `adminKey`.
pub(crate) fn app_token<T>(message: T, permissions: &[&str]) -> Request<T> {
    let claims = json!({"sub": "service", "permissions": permissions}).to_string();
    with_token(message, &issue::sign(Algorithm::HS256, ADMIN_SECRET, &claims, None).unwrap())
}

pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub(crate) fn answer<T>(result: Result<Response<T>, Status>) -> Result<T, ApiError> {
    result.map(Response::into_inner).map_err(|status| ApiError::from(&status))
}

/// The code and the named fields.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(
    result: Result<T, ApiError>,
    code: ErrorCode,
    fields: &[&str],
) {
    let error = result.expect_err("a refusal");
    let named: Vec<&str> = error.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!((error.code, named.as_slice()), (code, fields), "{error}");
}
