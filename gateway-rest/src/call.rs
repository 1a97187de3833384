//! A call on one application, in the order of checks that docs/contract.md 4 fixes: 404 app · 403 address · 401
//! when it is opened, 415 · 413 · 400 when its body is read, then 403 permission · 403 app disabled when the
//! function asks for them. The body is not touched before the token is verified.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Uri};
use realtime_auth::{Action, App, Caller, ClientAddress, Gate, authorize};
use realtime_discovery::Snapshot;
use realtime_proto::{ApiError, ConnectionId, ErrorCode};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::{UnfinishedBodies, body, fields};

/// How long a service may take. Longer than any bound inside the services, so that it only ends calls that
/// would hang for good.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(30);

/// An authenticated call on an application.
pub(crate) struct Call {
    /// The application.
    pub(crate) app: Arc<App>,
    /// Who calls.
    pub(crate) caller: Caller,
    /// The request without its body.
    pub(crate) parts: Parts,
    body: Body,
}

impl Call {
    /// 404 app · 403 address · 401.
    pub(crate) async fn open(
        snapshots: &watch::Receiver<Option<Arc<Snapshot>>>,
        gate: &Gate,
        request: Request,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let app = app(snapshots, app_id(&parts.uri))?;
        let caller = admit(gate, &app, &parts).await?;
        if let Caller::Operator { name } = &caller {
            // What the control plane executes it audits itself; nodes only see the gateway.
            tracing::info!(target: "audit", operator = %name, method = %parts.method, path = parts.uri.path());
        }
        Ok(Self { app, caller, parts, body })
    }

    /// 415 · 413 · then the 400 that a header can cause.
    pub(crate) async fn json(&mut self, limit: usize, bodies: &UnfinishedBodies) -> Result<Bytes, ApiError> {
        let body = std::mem::take(&mut self.body);
        let bytes = body::read(&self.parts.headers, body, body::JSON, limit, bodies).await?;
        self.check_app_header()?;
        Ok(bytes)
    }

    /// 400 where `X-App-Id` names another application than the path.
    pub(crate) fn check_app_header(&self) -> Result<(), ApiError> {
        check_app_header(&self.parts.headers, self.app.config.app_id.as_str())
    }

    /// 403 permission.
    pub(crate) fn permit(&self, action: Action<'_>) -> Result<(), ApiError> {
        permit(&self.caller, &self.app, action)
    }

    /// 403 app disabled.
    pub(crate) fn enabled(&self) -> Result<(), ApiError> {
        if self.app.config.enabled {
            Ok(())
        } else {
            Err(ApiError::new(ErrorCode::AppDisabled, "the application is disabled"))
        }
    }
}

/// The application that a path names: `/api/KIND/APP…` throughout. Taken as written: no character of an
/// application or connection id needs percent-encoding, so that what is encoded is none.
pub(crate) fn app_id(uri: &Uri) -> &str {
    segment(uri, 3)
}

/// The connection that `/api/connections/APP/CONNECTION` names.
pub(crate) fn connection_id(uri: &Uri) -> Option<ConnectionId> {
    ConnectionId::parse(segment(uri, 4))
}

fn segment(uri: &Uri, index: usize) -> &str {
    uri.path().split('/').nth(index).unwrap_or_default()
}

/// The application in force: 503 before the first configuration, else 404.
pub(crate) fn app(
    snapshots: &watch::Receiver<Option<Arc<Snapshot>>>,
    app_id: &str,
) -> Result<Arc<App>, ApiError> {
    let snapshot = snapshots.borrow();
    let snapshot = snapshot.as_ref().ok_or_else(no_configuration)?;
    snapshot.apps.get(app_id).cloned().ok_or_else(ApiError::no_such_app)
}

/// 403 address · 401.
pub(crate) async fn admit(gate: &Gate, app: &Arc<App>, parts: &Parts) -> Result<Caller, ApiError> {
    let address = client_address(parts)?;
    gate.admit_admin(app, address, bearer(&parts.headers), unix_seconds()).await
}

/// The permission check, as an error.
pub(crate) fn permit(caller: &Caller, app: &App, action: Action<'_>) -> Result<(), ApiError> {
    authorize(caller, app, action).into_result(action)
}

/// 400 where `X-App-Id` is sent and is not `app_id`.
pub(crate) fn check_app_header(headers: &HeaderMap, app_id: &str) -> Result<(), ApiError> {
    if headers.get_all("x-app-id").iter().all(|value| value == app_id) {
        return Ok(());
    }
    Err(fields::bad("X-App-Id", "must be the application of the path"))
}

/// The token of `Authorization: Bearer …`; `None` for anything else, two such headers included: a proxy before
/// this gateway may have judged the other one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    realtime_auth::bearer(value.to_str().ok()?)
}

/// Asks a service, wherever it runs.
pub(crate) async fn ask<T>(
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, ApiError> {
    match timeout(SERVICE_TIMEOUT, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(ApiError::from(&status)),
        Err(_) => Err(ApiError::new(ErrorCode::Unavailable, "the service did not answer in time")),
    }
}

/// A message from a caller, for the service to judge or to trust.
pub(crate) fn from_caller<T>(caller: Caller, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

/// The same for the control plane, which may run elsewhere: with the token and the address that the caller came with,
/// by which it checks the caller itself.
pub(crate) fn with_credentials<T>(caller: Caller, parts: &Parts, message: T) -> tonic::Request<T> {
    let mut request = from_caller(caller, message);
    let token = bearer(&parts.headers).and_then(|token| format!("Bearer {token}").parse().ok());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token);
    }
    if let Some(&address) = parts.extensions.get::<ClientAddress>() {
        request.extensions_mut().insert(address);
    }
    request
}

fn no_configuration() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the gateway has no configuration yet")
}

fn client_address(parts: &Parts) -> Result<IpAddr, ApiError> {
    let address = parts.extensions.get::<ClientAddress>();
    address
        .map(|&ClientAddress(address)| address)
        .ok_or_else(|| ApiError::new(ErrorCode::Internal, "the server did not say the client's address"))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
