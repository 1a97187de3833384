//! Small implementations of the generated service traits: they record what they are asked and answer as told.
//! The applications' one keeps documents and versions, and puts each write into the gateway's snapshot, as
//! the discovery stream would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use realtime_auth::{App, Caller, JwksCache};
use realtime_discovery::{SharedMap, Snapshot};
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::admin::{self, *};
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::generated::pubsub::*;
use realtime_proto::{ApiError, AppConfig, AppId, ErrorCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio_stream::Pending;
use tonic::{Request, Response, Status, Streaming};

pub(crate) type Snapshots = Arc<watch::Sender<Option<Arc<Snapshot>>>>;

/// A time for documents; what it says does not matter here.
pub(crate) const NOW: &str = "2026-01-02T03:04:05.678Z";

/// The data plane: records requests; answers 1 for every count unless told otherwise.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) publishes: Mutex<Vec<PublishRequest>>,
    pub(crate) unsubscribes: Mutex<Vec<UnsubscribeRequest>>,
    pub(crate) disconnects: Mutex<Vec<DisconnectRequest>>,
    pub(crate) connection_lists: Mutex<Vec<ListConnectionsRequest>>,
    pub(crate) topic_lists: Mutex<Vec<ListTopicsRequest>>,
    pub(crate) tests: Mutex<Vec<TestForwardersRequest>>,
    /// What the next calls are refused with.
    pub(crate) refusal: Mutex<Option<ApiError>>,
    pub(crate) closed: Mutex<Option<u64>>,
}

impl Node {
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        let caller = request.extensions().get::<Caller>();
        assert!(matches!(caller, Some(Caller::Cluster { .. })), "the gateway vouches for its caller");
        match self.refusal.lock().unwrap().clone() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(request.into_inner()),
        }
    }
}

#[tonic::async_trait]
impl PubSub for Node {
    type PublishStreamStream = Pending<Result<PublishStreamResponse, Status>>;
    type InboundStream = Pending<Result<InboundResponse, Status>>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let publish = self.admit(request)?;
        match publish.topic.as_str() {
            "panic" => panic!("a bug of the service"),
            "hang" => std::future::pending().await,
            _ => {}
        }
        let receipt = publish.receipt.then_some(Receipt { nodes: 1, matched: 4, queued: 3, dropped: 1 });
        let id = if publish.id.is_empty() { "generated".into() } else { publish.id.clone() };
        let bytes = publish.message_json.len() as u64;
        self.publishes.lock().unwrap().push(publish);
        Ok(Response::new(PublishResponse { id, bytes, receipt }))
    }

    async fn publish_batch(
        &self,
        _: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        Err(Status::unimplemented("the HTTP API has no batches"))
    }

    async fn publish_stream(
        &self,
        _: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("the HTTP API has no streams"))
    }

    async fn inbound(
        &self,
        _: Request<Streaming<InboundRequest>>,
    ) -> Result<Response<Self::InboundStream>, Status> {
        Err(Status::unimplemented("the HTTP API has no streams"))
    }

    async fn unsubscribe(
        &self,
        request: Request<UnsubscribeRequest>,
    ) -> Result<Response<UnsubscribeResponse>, Status> {
        let request = self.admit(request)?;
        self.unsubscribes.lock().unwrap().push(request);
        Ok(Response::new(UnsubscribeResponse { subscriptions: 3 }))
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectRequest>,
    ) -> Result<Response<DisconnectResponse>, Status> {
        let request = self.admit(request)?;
        self.disconnects.lock().unwrap().push(request);
        let connections = self.closed.lock().unwrap().unwrap_or(1);
        Ok(Response::new(DisconnectResponse { connections }))
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        let request = self.admit(request)?;
        let next = if request.cursor.is_empty() { "c+/=" } else { "" };
        self.connection_lists.lock().unwrap().push(request);
        let connection = Connection {
            id: "0123456789abcdef0123456789abcdef".into(),
            subject: "ann".into(),
            remote_address: "192.0.2.1".into(),
            connected_at_ms: 1_694_964_395_666,
            subscriptions: 2,
        };
        Ok(Response::new(ListConnectionsResponse { items: vec![connection], next: next.into() }))
    }

    async fn list_topics(
        &self,
        request: Request<ListTopicsRequest>,
    ) -> Result<Response<ListTopicsResponse>, Status> {
        let request = self.admit(request)?;
        self.topic_lists.lock().unwrap().push(request);
        let topic = Topic { topic: "chat/\"ä\"".into(), subscribers: 7 };
        Ok(Response::new(ListTopicsResponse { items: vec![topic], next: String::new() }))
    }

    async fn test_forwarders(
        &self,
        request: Request<TestForwardersRequest>,
    ) -> Result<Response<TestForwardersResponse>, Status> {
        let request = self.admit(request)?;
        self.tests.lock().unwrap().push(request);
        let denied = ForwarderFailure { class: "denied".into(), message: "no \"right\"".into() };
        let results = vec![
            ForwarderTest { target: "sns".into(), failure: Some(denied) },
            ForwarderTest { target: "sqs".into(), failure: None },
        ];
        Ok(Response::new(TestForwardersResponse { id: "of the message".into(), results }))
    }

    async fn app_status(
        &self,
        request: Request<AppStatusRequest>,
    ) -> Result<Response<AppStatusResponse>, Status> {
        self.admit(request)?;
        let failure = ForwarderFailure { class: "network".into(), message: "no connection".into() };
        let last_error =
            Some(ForwarderError { failure: Some(failure), at_ms: 1_694_964_395_666, node: "node-1".into() });
        let of = |target: &str, state: i32, last_error| ForwarderStatus {
            target: target.into(),
            state,
            queued: 3,
            last_error,
        };
        let forwarders = vec![
            of("sns", ForwarderState::Ok.into(), None),
            of("sqs", ForwarderState::Failing.into(), last_error),
            // Of a newer release.
            of("new", 9, None),
        ];
        Ok(Response::new(AppStatusResponse { enabled: true, nodes: 2, connections: 4, forwarders }))
    }
}

/// The control plane's applications.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) apps: Mutex<BTreeMap<String, (AppConfig, u64)>>,
    pub(crate) callers: Mutex<Vec<Caller>>,
    snapshots: Snapshots,
}

impl Store {
    pub(crate) fn new(snapshots: Snapshots) -> Self {
        Self { apps: Mutex::default(), callers: Mutex::default(), snapshots }
    }

    fn note<T>(&self, request: Request<T>) -> T {
        let caller = request.extensions().get::<Caller>().cloned();
        self.callers.lock().unwrap().push(caller.expect("the gateway says who calls"));
        request.into_inner()
    }

    fn held(&self, id: &str, if_version: u64) -> Result<(AppConfig, u64), ApiError> {
        let held = self.apps.lock().unwrap().get(id).cloned();
        let (config, version) = held.ok_or_else(|| ApiError::new(ErrorCode::AppNotFound, "no such app"))?;
        if if_version != 0 && if_version != version {
            return Err(ApiError::new(ErrorCode::StaleVersion, "another version is in force"));
        }
        Ok((config, version))
    }

    pub(crate) fn put(&self, config: AppConfig, version: u64) -> admin::App {
        let id = config.app_id.clone();
        let answer = document(&config, version);
        self.apps.lock().unwrap().insert(id.to_string(), (config.clone(), version));
        let app = Arc::new(App::compile(config, version, &JwksCache::offline()).unwrap());
        self.change(|apps| {
            apps.insert(id, app);
        });
        answer
    }

    fn change(&self, edit: impl FnOnce(&mut SharedMap<AppId, Arc<App>>)) {
        self.snapshots.send_if_modified(|snapshot| {
            let Some(held) = snapshot else { return false };
            let mut next = Snapshot::clone(held);
            edit(&mut next.apps);
            *held = Arc::new(next);
            true
        });
    }
}

fn document(config: &AppConfig, version: u64) -> admin::App {
    let document_json = serde_json::to_vec(&config.to_public(version)).unwrap().into();
    admin::App { app_id: config.app_id.to_string(), version, document_json }
}

fn tree(json: &Bytes) -> Value {
    serde_json::from_slice(json).expect("the gateway passes on JSON only")
}

#[tonic::async_trait]
impl Apps for Store {
    async fn list(&self, request: Request<ListAppsRequest>) -> Result<Response<ListAppsResponse>, Status> {
        let list = self.note(request);
        let apps = self.apps.lock().unwrap();
        let mut later = apps.range(list.cursor..).map(|(_, (config, version))| document(config, *version));
        let limit = if list.limit == 0 { 100 } else { list.limit as usize };
        let items: Vec<_> = later.by_ref().take(limit).collect();
        let next = later.next().map(|app| app.app_id).unwrap_or_default();
        Ok(Response::new(ListAppsResponse { items, next }))
    }

    async fn get(&self, request: Request<GetAppRequest>) -> Result<Response<admin::App>, Status> {
        let get = self.note(request);
        let (config, version) = self.held(&get.app_id, 0)?;
        Ok(Response::new(document(&config, version)))
    }

    async fn create(&self, request: Request<CreateAppRequest>) -> Result<Response<admin::App>, Status> {
        let create = self.note(request);
        let config = AppConfig::create(&tree(&create.document_json), NOW).map_err(ApiError::from)?;
        if self.apps.lock().unwrap().contains_key(config.app_id.as_str()) {
            return Err(ApiError::new(ErrorCode::AppIdTaken, "the id is taken").into());
        }
        Ok(Response::new(self.put(config, 1)))
    }

    async fn replace(&self, request: Request<ReplaceAppRequest>) -> Result<Response<admin::App>, Status> {
        let replace = self.note(request);
        let (config, version) = self.held(&replace.app_id, replace.if_version)?;
        let config = config.replace(&tree(&replace.document_json), NOW).map_err(ApiError::from)?;
        Ok(Response::new(self.put(config, version + 1)))
    }

    async fn patch(&self, request: Request<PatchAppRequest>) -> Result<Response<admin::App>, Status> {
        let patch = self.note(request);
        let (config, version) = self.held(&patch.app_id, patch.if_version)?;
        let config = config.patch(&tree(&patch.patch_json), NOW).map_err(ApiError::from)?;
        Ok(Response::new(self.put(config, version + 1)))
    }

    async fn delete(
        &self,
        request: Request<DeleteAppRequest>,
    ) -> Result<Response<DeleteAppResponse>, Status> {
        let delete = self.note(request);
        self.held(&delete.app_id, delete.if_version)?;
        self.apps.lock().unwrap().remove(&delete.app_id);
        self.change(|apps| {
            apps.remove(delete.app_id.as_str());
        });
        Ok(Response::new(DeleteAppResponse::default()))
    }
}

/// The control plane's settings.
#[derive(Debug)]
pub(crate) struct SettingsStore {
    pub(crate) held: Mutex<(Bytes, u64)>,
    pub(crate) refusal: Mutex<Option<ApiError>>,
}

impl Default for SettingsStore {
    fn default() -> Self {
        Self { held: Mutex::new((Bytes::from_static(b"{\"tiers\": {} }"), 7)), refusal: Mutex::default() }
    }
}

impl SettingsStore {
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        let caller = request.extensions().get::<Caller>();
        assert!(matches!(caller, Some(Caller::Operator { .. })), "only operators come here");
        match self.refusal.lock().unwrap().clone() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(request.into_inner()),
        }
    }
}

#[tonic::async_trait]
impl Settings for SettingsStore {
    async fn get(&self, request: Request<GetSettingsRequest>) -> Result<Response<SettingsDocument>, Status> {
        self.admit(request)?;
        let (document_json, version) = self.held.lock().unwrap().clone();
        Ok(Response::new(SettingsDocument { version, document_json }))
    }

    async fn replace(
        &self,
        request: Request<ReplaceSettingsRequest>,
    ) -> Result<Response<SettingsDocument>, Status> {
        let replace = self.admit(request)?;
        let mut held = self.held.lock().unwrap();
        if replace.if_version != 0 && replace.if_version != held.1 {
            return Err(ApiError::new(ErrorCode::StaleVersion, "another version is in force").into());
        }
        *held = (replace.document_json, held.1 + 1);
        Ok(Response::new(SettingsDocument { version: held.1, document_json: held.0.clone() }))
    }
}
