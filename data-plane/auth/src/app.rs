//! A configuration with its keys compiled.

use realtime_proto::{AppConfig, FieldErrors};

/// An application as processes hold it: validated configuration plus compiled verification keys.
#[derive(Debug)]
pub struct App {
    /// The configuration.
    pub config: AppConfig,
    /// The configuration's version.
    pub version: u64,
}

impl App {
    /// Compiles both keys. The control plane calls it on every write, nodes and gateways on every update.
    ///
    /// # Errors
    /// Names `authKey.key` or `adminKey.key` when a key is unreadable, private, or fits none of the algorithms.
    pub fn compile(_config: AppConfig, _version: u64) -> Result<Self, FieldErrors> {
        todo!()
    }
}
