//! Who calls the service.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use realtime_auth::{App, Caller, Gate, ProvisionalConnection};
use realtime_proto::{ApiError, ErrorCode};
use tonic::Request;

/// What a request says about its caller. Read once per call; a stream's requests share it, and each is checked
/// against it anew, so that a token that expires or a key that changes ends the right to go on.
pub(super) enum Credentials {
    /// Checked by another part of this process, which left the caller in the request's extensions. Nothing that
    /// comes over a network can be there.
    Checked(Caller),
    /// `authorization: Bearer`, and where it came from.
    Token { token: Option<String>, address: Option<IpAddr>, connection: Option<ProvisionalConnection> },
}

impl Credentials {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        if let Some(caller) = request.extensions().get::<Caller>() {
            return Self::Checked(caller.clone());
        }
        let value = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = value.and_then(realtime_auth::bearer).map(str::to_owned);
        let address = request.remote_addr().map(|address| address.ip().to_canonical());
        Self::Token { token, address, connection: request.extensions().get().cloned() }
    }

    /// The caller, if it may call for `app` at all: 403 address · 401.
    pub(super) async fn admit(&self, gate: &Gate, app: &Arc<App>) -> Result<Caller, ApiError> {
        match self {
            Self::Checked(caller) => Ok(caller.clone()),
            Self::Token { token, address: Some(address), connection } => {
                let caller = gate.admit_admin(app, *address, token.as_deref(), unix_now()).await?;
                connection.iter().for_each(|connection| connection.keep(caller.standing()));
                Ok(caller)
            }
            // Not over TCP, so no address list can have a say; without one, deny-only lists would let it pass.
            Self::Token { address: None, .. } => {
                Err(ApiError::new(ErrorCode::AddressForbidden, "the caller's address is not known"))
            }
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
