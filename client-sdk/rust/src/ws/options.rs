//! How to connect: address, application, token, limits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use realtime_proto::AppId;
use rustls::ClientConfig;

use super::dial::{BadCa, Dial, TcpDial, trusting};

/// The address or the application's id cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL with a host.
    #[error("{0:?} is not a URL such as ws://127.0.0.1:8080 or wss://example.com")]
    Url(String),
    /// Not an application's id.
    #[error("application id {0:?} {1}")]
    App(String, realtime_proto::ids::BadAppId),
}

/// A token could not be had; the client tries again later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no token: {0}")]
pub struct TokenError(pub String);

type TokenFuture = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Where the access token of each connection comes from. Never printed.
#[derive(Clone)]
pub enum TokenSource {
    /// One token for every connection. Once the server refuses it, the client gives up.
    Fixed(Arc<str>),
    /// Asked before every connection.
    Provider(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenSource {
    /// Calls `provider` before every connection.
    pub fn provider<F, R>(provider: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        Self::Provider(Arc::new(move || Box::pin(provider())))
    }

    pub(crate) async fn get(&self) -> Result<String, TokenError> {
        match self {
            Self::Fixed(token) => Ok(token.to_string()),
            Self::Provider(provider) => provider().await,
        }
    }
}

impl From<&str> for TokenSource {
    fn from(token: &str) -> Self {
        Self::Fixed(token.into())
    }
}

impl From<String> for TokenSource {
    fn from(token: String) -> Self {
        Self::Fixed(token.into())
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "TokenSource::Fixed(…)",
            Self::Provider(_) => "TokenSource::Provider(…)",
        })
    }
}

/// How attempts to reconnect are spread: full jitter, that is a random time below `first × 2ⁿ`, capped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Ceiling of the first delay.
    pub first: Duration,
    /// Ceiling of every delay.
    pub max: Duration,
    /// Failures in a row after which the client gives up; `None`: never.
    pub attempts: Option<u32>,
}

impl Default for Retry {
    /// Half a second doubling to 30 s, for ever: a restarted node is found again at once by few and within
    /// half a minute by all.
    fn default() -> Self {
        Self { first: Duration::from_millis(500), max: Duration::from_secs(30), attempts: None }
    }
}

/// Everything a [`Client`](super::Client) needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) url: String,
    pub(super) app: String,
    pub(super) token: TokenSource,
    pub(super) retry: Retry,
    pub(super) dial: Arc<dyn Dial>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) send_timeout: Duration,
    pub(super) ack_timeout: Duration,
    pub(super) event_queue: usize,
}

impl Options {
    /// Connects to `url` (`ws://`, `wss://`, `http://` or `https://`, with or without a path before `/apps`).
    pub fn new(url: impl Into<String>, app: impl Into<String>, token: impl Into<TokenSource>) -> Self {
        Self {
            url: url.into(),
            app: app.into(),
            token: token.into(),
            retry: Retry::default(),
            dial: Arc::new(TcpDial),
            tls: None,
            // Long enough for a restart of the server, short enough for a person who waits.
            send_timeout: Duration::from_secs(10),
            // The server gives up forwarding after 30 s and says so.
            ack_timeout: Duration::from_secs(35),
            event_queue: 256,
        }
    }

    /// Takes the token from somewhere else.
    #[must_use]
    pub fn token(mut self, token: impl Into<TokenSource>) -> Self {
        self.token = token.into();
        self
    }

    /// Changes the delays between attempts.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Makes the byte stream below the WebSocket in another way than by TCP.
    #[must_use]
    pub fn dial(mut self, dial: impl Dial + 'static) -> Self {
        self.dial = Arc::new(dial);
        self
    }

    /// Trusts these CA certificates (PEM) for `wss` addresses, in place of those that browsers trust.
    ///
    /// # Errors
    /// When the text holds none.
    pub fn ca(mut self, pem: impl AsRef<[u8]>) -> Result<Self, BadCa> {
        self.tls = Some(trusting(pem.as_ref())?);
        Ok(self)
    }

    /// How long a publish waits for a connection before it fails (10 s).
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// How long an ack is waited for (35 s).
    #[must_use]
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// How many events may wait for the application (256; at least 1).
    #[must_use]
    pub fn event_queue(mut self, events: usize) -> Self {
        self.event_queue = events.max(1);
        self
    }

    /// The session's address.
    pub(super) fn session_uri(&self) -> Result<Uri, BadUrl> {
        let bad = || BadUrl::Url(self.url.clone());
        let app = AppId::parse(&self.app).map_err(|e| BadUrl::App(self.app.clone(), e))?;
        let base: Uri = self.url.parse().map_err(|_| bad())?;
        let scheme = match base.scheme_str() {
            Some("ws" | "http") => "ws",
            Some("wss" | "https") => "wss",
            _ => return Err(bad()),
        };
        let authority = base.authority().ok_or_else(bad)?;
        let path = base.path().trim_end_matches('/');
        format!("{scheme}://{authority}{path}/apps/{app}").parse().map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(url: &str, app: &str) -> Result<String, BadUrl> {
        Options::new(url, app, "t").session_uri().map(|u| u.to_string())
    }

    #[test]
    fn the_session_address_is_below_the_given_one() {
        assert_eq!(uri("ws://h:8080", "demo").unwrap(), "ws://h:8080/apps/demo");
        assert_eq!(uri("https://h/", "demo").unwrap(), "wss://h/apps/demo");
        assert_eq!(uri("http://[::1]:1/rt/", "a").unwrap(), "ws://[::1]:1/rt/apps/a");
    }

    #[test]
    fn other_addresses_and_ids_are_refused_by_name() {
        for bad in ["", "h:8080", "ftp://h", "/apps", "ws://"] {
            assert_eq!(uri(bad, "demo"), Err(BadUrl::Url(bad.into())));
        }
        assert!(uri("ws://h", "No/App").unwrap_err().to_string().contains("No/App"));
    }

    #[test]
    fn tokens_are_never_printed() {
        assert!(!format!("{:?}", Options::new("ws://h", "a", "hush")).contains("hush"));
    }
}
