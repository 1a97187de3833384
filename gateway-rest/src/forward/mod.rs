//! The services of other processes, for a gateway in a process of its own: every call goes to one that can take it.
//!
//! A call that was certainly not processed (no connection, or the answer that the node is draining) goes on to the
//! next process, and so does one that only reads. A change that was sent and has no answer is never sent again: it is
//! answered 503, and that says so.
//!
//! Never here: who may call (the routes have checked it), certificates and addresses' names (whoever gives [`Dial`]).

mod attempt;
mod choice;
mod control_plane;
mod data_plane;
mod members;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tonic::transport::Channel;

pub use control_plane::ControlPlane;
pub use data_plane::DataPlane;
pub(crate) use members::takes_calls;

/// Makes the channel to an address, `host:port`. It connects when it is used, and again after a connection was lost.
/// The error says what is wrong with the address.
pub type Dial = Arc<dyn Fn(&str) -> Result<Channel, String> + Send + Sync>;

/// What became of the calls, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    passed_on: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    /// Calls that went on to another process because one had certainly not processed them.
    #[must_use]
    pub fn passed_on(&self) -> u64 {
        self.passed_on.load(Ordering::Relaxed)
    }

    /// Calls that were sent and got no answer.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Calls that no process took.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
