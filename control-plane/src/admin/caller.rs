//! Who calls. In-process callers that have checked a caller put a [`Caller`] into the request's extensions,
//! which nothing from the network can do; everybody else has a token in the metadata.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use realtime_auth::{Action, App, Caller, ProvisionalConnection, authorize, bearer};
use realtime_proto::{ApiError, ErrorCode};
use tonic::{Request, Status};

use crate::shared::Shared;

/// The caller of a call that only operators may make.
pub(super) fn operator<T>(shared: &Shared, request: &Request<T>) -> Result<Caller, ApiError> {
    match known(request) {
        Some(caller @ (Caller::Operator { .. } | Caller::Cluster { .. })) => Ok(caller),
        Some(Caller::App { .. }) => {
            Err(ApiError::new(ErrorCode::PermissionDenied, "only an operator may do this"))
        }
        None => {
            let caller = shared.gate.admit_operator(token(request))?;
            authenticated(request, &caller);
            Ok(caller)
        }
    }
}

/// The caller of a call on one application, and the application: 404, 403 address, 401.
pub(super) async fn of_app<T>(
    shared: &Shared,
    request: &Request<T>,
    app_id: &str,
) -> Result<(Caller, Arc<App>), ApiError> {
    let app = shared.model.app(app_id).ok_or_else(ApiError::no_such_app)?;
    if let Some(caller) = known(request) {
        return Ok((caller, app));
    }
    let caller = match request.remote_addr() {
        Some(address) => shared.gate.admit_admin(&app, address.ip(), token(request), unix_seconds()).await?,
        // Without an address `adminSourceAddress` cannot be checked; operators are not subject to it.
        None => shared.gate.admit_operator(token(request))?,
    };
    authenticated(request, &caller);
    Ok((caller, app))
}

/// 403 permission.
pub(super) fn permit(caller: &Caller, app: &App, action: Action<'_>) -> Result<(), ApiError> {
    authorize(caller, app, action).into_result(action)
}

/// One line in the audit log for a read, where an operator asks: their tokens pass every check, so all that they
/// do is noted. Applications' own reads are not; services poll.
pub(super) fn audit_read<T>(
    caller: &Caller,
    call: &'static str,
    subject: &str,
    result: Result<T, ApiError>,
) -> Result<T, Status> {
    match caller {
        Caller::Operator { .. } => audit(caller, call, subject, result),
        Caller::App { .. } | Caller::Cluster { .. } => Ok(result?),
    }
}

/// One line in the audit log for every write that was asked for, and the answer. No document, no token.
pub(super) fn audit<T>(
    caller: &Caller,
    call: &'static str,
    subject: &str,
    result: Result<T, ApiError>,
) -> Result<T, Status> {
    let outcome = result.as_ref().map_or_else(|e| e.code.name(), |_| "ok");
    let (kind, name) = match caller {
        Caller::Operator { name } => ("operator", &**name),
        Caller::App { identity, .. } => ("app", identity.subject.as_deref().unwrap_or_default()),
        Caller::Cluster { .. } => ("cluster", ""),
    };
    tracing::info!(target: "audit", kind, name, call, subject, outcome);
    Ok(result?)
}

/// The connection is one of a caller from now on.
fn authenticated<T>(request: &Request<T>, caller: &Caller) {
    if let Some(connection) = request.extensions().get::<ProvisionalConnection>() {
        connection.keep(caller.standing());
    }
}

fn known<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get::<Caller>().cloned()
}

fn token<T>(request: &Request<T>) -> Option<&str> {
    bearer(request.metadata().get("authorization")?.to_str().ok()?)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
