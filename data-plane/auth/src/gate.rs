//! The order of checks before a request's body is read (protocol.md 2.1 and 4).

use std::net::IpAddr;
use std::sync::Arc;

use realtime_proto::ApiError;

use crate::{App, Caller, Identity, OperatorTokens};

/// Sizes of the verification pool and the token cache.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Threads that verify asymmetric signatures.
    pub verifier_threads: usize,
    /// Verifications that may wait, over all apps; each app may hold at most half.
    pub verifier_queue: usize,
    /// Verified tokens remembered until they expire.
    pub token_cache: usize,
}

/// Checks addresses and tokens. Cheap to clone by `Arc`; owns the verification threads and ends them on drop.
#[derive(Debug)]
pub struct Gate {}

impl Gate {
    /// Starts the verification threads.
    #[must_use]
    pub fn new(_config: GateConfig, _operators: OperatorTokens) -> Self {
        todo!()
    }

    /// A WebSocket client: `clientSourceAddress` (403), then the token against `authKey` (401; pool full: 503
    /// with a time to wait). `now` is Unix seconds. `token` is the bare JWT. The subject is checked too.
    ///
    /// # Errors
    /// The refusal for the caller.
    pub async fn admit_client(
        &self,
        _app: &Arc<App>,
        _address: IpAddr,
        _token: Option<&str>,
        _now: u64,
    ) -> Result<Arc<Identity>, ApiError> {
        todo!()
    }

    /// A caller of an app's API: an operator token passes at once; else `adminSourceAddress` (403), then the
    /// token against `adminKey` (401).
    ///
    /// # Errors
    /// The refusal for the caller.
    pub async fn admit_admin(
        &self,
        _app: &Arc<App>,
        _address: IpAddr,
        _token: Option<&str>,
        _now: u64,
    ) -> Result<Caller, ApiError> {
        todo!()
    }

    /// A caller of an operator-only API.
    ///
    /// # Errors
    /// 401 without a valid operator token.
    pub fn admit_operator(&self, _token: Option<&str>) -> Result<Caller, ApiError> {
        todo!()
    }
}
