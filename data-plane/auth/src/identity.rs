//! The verified caller.

use std::sync::Arc;

use realtime_proto::{AppId, Permissions};

/// What a verified token says.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The claim `sub`, valid as a subject; `None`: the token has none.
    pub subject: Option<Arc<str>>,
    /// Shared by all tokens of the app with an equal list.
    pub permissions: Arc<Permissions>,
    /// The claim `exp`, Unix seconds.
    pub expires_at: Option<u64>,
}

/// Who calls an API.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Holds an operator token; the name goes into the audit log.
    Operator {
        /// From the token file.
        name: Arc<str>,
    },
    /// Holds a token of this application's `adminKey`.
    App {
        /// The application.
        app_id: AppId,
        /// The token.
        identity: Arc<Identity>,
    },
    /// Another process of the cluster that has done the checks itself.
    Cluster,
}
