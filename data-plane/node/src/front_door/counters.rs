//! What the front door counts before HTTP.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{PROXY_REFUSALS, TLS_FAILURES, TLS_HANDSHAKES};

/// Written by connections' tasks, read for metrics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    tls_handshakes: AtomicU64,
    tls_failures: AtomicU64,
    proxy_refusals: AtomicU64,
}

impl Counters {
    pub(super) fn tls_accepted(&self) {
        self.tls_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tls_failed(&self) {
        self.tls_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn proxy_refused(&self) {
        self.proxy_refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// By metric name.
    pub(super) fn read(&self) -> [(&'static str, u64); 3] {
        [
            (TLS_HANDSHAKES, self.tls_handshakes.load(Ordering::Relaxed)),
            (TLS_FAILURES, self.tls_failures.load(Ordering::Relaxed)),
            (PROXY_REFUSALS, self.proxy_refusals.load(Ordering::Relaxed)),
        ]
    }
}
