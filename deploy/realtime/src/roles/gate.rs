//! The process's gate, with sizes for a machine of its own.

use std::sync::Arc;

use realtime_auth::{Gate, GateConfig, JwksCache, OperatorTokens};

/// Signatures that may wait to be verified: at ES512's 2,000 a second and core, one or two seconds' worth.
const VERIFIER_QUEUE: usize = 4096;
/// Verified tokens remembered, of half a kilobyte each; fewer where permission lists are long.
const TOKEN_CACHE: usize = 65_536;

/// Where key sets are kept; `insecure`: they may come over plain HTTP and from addresses that are not public.
pub(super) fn jwks(insecure: bool) -> JwksCache {
    if insecure {
        tracing::warn!(
            "--allow-insecure-jwks: key sets are fetched over plain HTTP and from any address too"
        );
    }
    JwksCache::new(insecure)
}

/// A gate that knows no operators yet.
pub(super) fn new(jwks: JwksCache) -> Arc<Gate> {
    let verifier_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sizes = GateConfig { verifier_threads, verifier_queue: VERIFIER_QUEUE, token_cache: TOKEN_CACHE };
    Arc::new(Gate::new(sizes, OperatorTokens::default()).with_jwks(jwks))
}
