//! An application's forwarders: whether they work, and how they fare.

use std::sync::Arc;
use std::time::Duration;

use realtime_auth::Action;
use realtime_forwarders::{Forwarders, Message, TestResult};
use realtime_proto::generated::{peer, pubsub as wire};
use realtime_proto::ids::{hex, random};
use realtime_proto::{ApiError, ConnectionId, ErrorCode};
use realtime_session::encode;
use tokio::time::{Instant, sleep};

use super::caller::Credentials;
use super::{PubSubService, audit, enabled, permit};
use crate::AppRuntime;

/// Seconds until a caller should ask again while a test is under way: by then that one is over.
const UNDER_WAY_RETRY_SECONDS: u32 = 10;
/// How long a test waits for the configuration that its gateway has: changes reach all within a tenth of a second.
const CONFIGURED_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl PubSubService {
    pub(super) async fn test(
        &self,
        credentials: &Credentials,
        request: wire::TestForwardersRequest,
    ) -> Result<wire::TestForwardersResponse, ApiError> {
        if let Credentials::Checked(_) = credentials {
            self.configured(&request.app_id, request.version).await?;
        }
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        permit(&caller, &app, Action::ManageApplication)?;
        enabled(&app)?;
        let forwarders = self.cluster.shards().forwarders().ok_or_else(|| {
            ApiError::new(ErrorCode::NotConfigured, "this server has no targets besides secure/inbound")
        })?;
        audit(&caller, &app, "TestForwarders");
        let id = hex(&random::<16>());
        let results = send(forwarders, &app, &id).await?;
        Ok(wire::TestForwardersResponse { id, results: results.into_iter().map(result).collect() })
    }

    /// Waits until this node has an application's configuration of this version: who has just changed it tests what
    /// they have changed it to.
    async fn configured(&self, app_id: &str, version: u64) -> Result<(), ApiError> {
        let has = || self.cluster.shards().app(app_id).map_or(0, |app| app.app.version) >= version;
        let deadline = Instant::now() + CONFIGURED_WITHIN;
        while !has() {
            if Instant::now() >= deadline {
                let late = "the node does not have the application's newest configuration yet";
                return Err(ApiError::new(ErrorCode::Unavailable, late).retry_after(1));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub(super) async fn status(
        &self,
        credentials: &Credentials,
        request: wire::AppStatusRequest,
    ) -> Result<wire::AppStatusResponse, ApiError> {
        let (app, caller) = self.admit(credentials, &request.app_id).await?;
        permit(&caller, &app, Action::ManageApplication)?;
        let config = &app.app.config;
        let (nodes, figures) = self.cluster.app_figures(&config.app_id).await?;
        let peer::AppFigures { connections, forwarders } = figures;
        let forwarders = forwarders.into_iter().map(forwarder).collect();
        Ok(wire::AppStatusResponse { enabled: config.enabled, nodes, connections, forwarders })
    }
}

async fn send(forwarders: &Arc<Forwarders>, app: &AppRuntime, id: &str) -> Result<Vec<TestResult>, ApiError> {
    let config = &app.app.config;
    let body = encode::forwarded_test(config.app_id.as_str(), id);
    let message = Message::inbound(ConnectionId([0; 16]), id, body);
    let results = forwarders.test(config, message).await.ok_or_else(|| {
        let why = "a test of this application's forwarders is under way";
        ApiError::new(ErrorCode::RateLimited, why).retry_after(UNDER_WAY_RETRY_SECONDS)
    })?;
    if results.is_empty() {
        let none = "the application has no target besides secure/inbound that is enabled";
        return Err(ApiError::new(ErrorCode::InboundDisabled, none));
    }
    Ok(results)
}

fn result((kind, sent): TestResult) -> wire::ForwarderTest {
    let failure = sent.err().map(|failure| wire::ForwarderFailure {
        class: failure.class().name().to_owned(),
        message: failure.to_string(),
    });
    wire::ForwarderTest { target: kind.name().to_owned(), failure }
}

/// The states' numbers are the same.
fn forwarder(forwarder: peer::Forwarder) -> wire::ForwarderStatus {
    let peer::Forwarder { target, state, queued, last_error } = forwarder;
    let last_error = last_error.map(|peer::ForwarderError { class, message, at_ms, node }| {
        wire::ForwarderError { failure: Some(wire::ForwarderFailure { class, message }), at_ms, node }
    });
    wire::ForwarderStatus { target, state, queued, last_error }
}
