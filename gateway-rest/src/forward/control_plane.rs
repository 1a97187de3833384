//! `realtime.admin.v1.Apps` and `Settings` through the control plane's replicas, with the caller's own token: the
//! control plane checks it anew, and its audit log names the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use realtime_auth::ClientAddress;
use realtime_proto::generated::admin as wire;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use wire::apps_client::AppsClient;
use wire::apps_server::Apps;
use wire::settings_client::SettingsClient;
use wire::settings_server::Settings;

use super::Counters;
use super::attempt::{Effect, Target, offer};

/// Names the targets for people.
const REPLICAS: &str = "the control plane";
/// Longest answer: a page of 1,000 documents of 256 KiB.
const MAX_ANSWER: usize = 272 * 1024 * 1024;

/// The control plane, as a gateway sees it. Asks the replica that answered last, until it does not.
#[derive(Debug)]
pub struct ControlPlane {
    replicas: Vec<Channel>,
    current: AtomicUsize,
    counters: Arc<Counters>,
}

/// One replica in its turn.
struct Replica<'a> {
    index: usize,
    of: &'a ControlPlane,
}

impl Target for Replica<'_> {
    fn channel(&self) -> Channel {
        self.of.replicas[self.index].clone()
    }

    fn unreachable(&self) {
        let next = (self.index + 1) % self.of.replicas.len();
        // Unless somebody else has moved on meanwhile.
        let _ = self.of.current.compare_exchange(self.index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl ControlPlane {
    /// Channels that connect when they are used, and again after a connection was lost.
    #[must_use]
    pub fn new(replicas: Vec<Channel>, counters: Arc<Counters>) -> Self {
        Self { replicas, current: AtomicUsize::new(0), counters }
    }

    async fn pass_on<T: Clone, R>(
        &self,
        effect: Effect,
        request: Request<T>,
        call: impl Fn(Channel, Request<T>) -> BoxFuture<'static, Result<Response<R>, Status>>,
    ) -> Result<Response<R>, Status> {
        let (count, first) = (self.replicas.len(), self.current.load(Ordering::Relaxed));
        let replicas = (0..count).map(|turn| Replica { index: (first + turn) % count, of: self });
        let metadata = credentials(&request);
        offer((REPLICAS, effect), replicas, &metadata, request.into_inner(), &self.counters, call).await
    }
}

/// The caller's token, and the address that it came from.
fn credentials<T>(request: &Request<T>) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    if let Some(token) = request.metadata().get("authorization") {
        metadata.insert("authorization", token.clone());
    }
    let address = request.extensions().get::<ClientAddress>();
    if let Some(Ok(address)) = address.map(|ClientAddress(ip)| MetadataValue::try_from(ip.to_string())) {
        metadata.insert(ClientAddress::METADATA, address);
    }
    metadata
}

fn apps(channel: Channel) -> AppsClient<Channel> {
    AppsClient::new(channel).max_decoding_message_size(MAX_ANSWER)
}

#[tonic::async_trait]
impl Apps for ControlPlane {
    async fn list(
        &self,
        request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        self.pass_on(Effect::Reads, request, |to, request| {
            Box::pin(async move { apps(to).list(request).await })
        })
        .await
    }

    async fn get(&self, request: Request<wire::GetAppRequest>) -> Result<Response<wire::App>, Status> {
        self.pass_on(Effect::Reads, request, |to, request| {
            Box::pin(async move { apps(to).get(request).await })
        })
        .await
    }

    async fn create(&self, request: Request<wire::CreateAppRequest>) -> Result<Response<wire::App>, Status> {
        self.pass_on(Effect::Changes, request, |to, request| {
            Box::pin(async move { apps(to).create(request).await })
        })
        .await
    }

    async fn replace(
        &self,
        request: Request<wire::ReplaceAppRequest>,
    ) -> Result<Response<wire::App>, Status> {
        self.pass_on(Effect::Changes, request, |to, request| {
            Box::pin(async move { apps(to).replace(request).await })
        })
        .await
    }

    async fn patch(&self, request: Request<wire::PatchAppRequest>) -> Result<Response<wire::App>, Status> {
        self.pass_on(Effect::Changes, request, |to, request| {
            Box::pin(async move { apps(to).patch(request).await })
        })
        .await
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteAppRequest>,
    ) -> Result<Response<wire::DeleteAppResponse>, Status> {
        self.pass_on(Effect::Changes, request, |to, request| {
            Box::pin(async move { apps(to).delete(request).await })
        })
        .await
    }
}

#[tonic::async_trait]
impl Settings for ControlPlane {
    async fn get(
        &self,
        request: Request<wire::GetSettingsRequest>,
    ) -> Result<Response<wire::SettingsDocument>, Status> {
        let call = |to, request| -> BoxFuture<'static, _> {
            Box::pin(async move { SettingsClient::new(to).get(request).await })
        };
        self.pass_on(Effect::Reads, request, call).await
    }

    async fn replace(
        &self,
        request: Request<wire::ReplaceSettingsRequest>,
    ) -> Result<Response<wire::SettingsDocument>, Status> {
        let call = |to, request| -> BoxFuture<'static, _> {
            Box::pin(async move { SettingsClient::new(to).replace(request).await })
        };
        self.pass_on(Effect::Changes, request, call).await
    }
}
