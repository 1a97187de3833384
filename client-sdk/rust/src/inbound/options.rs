//! How to consume: servers, application, token, group, limits.

use std::sync::Arc;
use std::time::Duration;

use realtime_proto::{ApiError, ErrorCode};

use super::link::Server;
use crate::ws::{Dial, Retry, TcpDial, TokenSource, trusting};

/// Messages unanswered at a time where nothing else is asked for: the server's own default.
const UNANSWERED: u32 = 256;

/// Everything an [`Inbound`](super::Inbound) needs to know.
#[derive(Debug, Clone)]
pub struct InboundOptions {
    servers: Vec<String>,
    pub(super) app: String,
    pub(super) token: TokenSource,
    pub(super) group: String,
    pub(super) max_unanswered: u32,
    ca: Option<Arc<[u8]>>,
    pub(super) retry: Retry,
    pub(super) dial: Arc<dyn Dial>,
}

impl InboundOptions {
    /// Consumes from one of `servers`: the gRPC addresses of nodes, `http://host:port` or `https://host:port`, tried in
    /// turn, or one address that leads to any of them. Each brings what clients of the whole cluster send.
    ///
    /// The token is an operator's, or one of the application's `adminKey` that may read `secure/inbound`.
    pub fn new<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
        app: impl Into<String>,
        token: impl Into<TokenSource>,
    ) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            app: app.into(),
            token: token.into(),
            group: String::new(),
            max_unanswered: UNANSWERED,
            ca: None,
            // A group without consumers is waited for 5 s, and backends are few.
            retry: Retry {
                first: Duration::from_millis(250),
                max: Duration::from_secs(5),
                ..Retry::default()
            },
            dial: Arc::new(TcpDial),
        }
    }

    /// Takes the token from somewhere else. A provider is asked before every stream, and once more when its token is
    /// refused.
    #[must_use]
    pub fn token(mut self, token: impl Into<TokenSource>) -> Self {
        self.token = token.into();
        self
    }

    /// Shares the messages with the consumers of this group (`default`). Each group gets every message, and a client
    /// its ack when all have accepted it.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// How many messages may be unanswered at a time (256; 1 to 4,096).
    #[must_use]
    pub fn max_unanswered(mut self, messages: u32) -> Self {
        self.max_unanswered = messages.max(1);
        self
    }

    /// Trusts the certificates of this CA (PEM), and no others, for `https` addresses.
    #[must_use]
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into().into());
        self
    }

    /// Changes the delays between attempts: within `first` as long as a server is left that was not tried since the
    /// last stream that stood, and longer with every round after that.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Makes the byte streams to servers in another way than by TCP.
    #[must_use]
    pub fn dial(mut self, dial: impl Dial + 'static) -> Self {
        self.dial = Arc::new(dial);
        self
    }

    /// Whom to connect to.
    pub(super) fn servers(&self) -> Result<Vec<Server>, ApiError> {
        if self.servers.is_empty() {
            return Err(ApiError::new(ErrorCode::InvalidRequest, "no server is named"));
        }
        if let Some(ca) = &self.ca {
            // Found out here: the transport takes a text without certificates for one that trusts nobody.
            trusting(ca).map_err(|bad| ApiError::new(ErrorCode::InvalidRequest, bad.to_string()))?;
        }
        self.servers.iter().map(|server| Server::new(server, self.ca.as_deref())).collect()
    }
}
