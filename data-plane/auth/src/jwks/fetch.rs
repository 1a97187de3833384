//! One GET of a key set over HTTPS.
//!
//! Never here: when to fetch; what the document says. The connection is made by hand, because what is checked
//! must be what is connected to: the URL's host is resolved here, each address judged, and the socket opened to
//! an address that has passed. No redirects, no proxies from the environment, no cookies, nothing is kept open.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use realtime_proto::address::is_public;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For everything: sessions wait for it, and an identity provider answers within a second.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// For one address, so that one that does not answer leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Fifty times what identity providers publish.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// The answer's head: cookies and policies of a few KiB are usual.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Where documents come from.
#[async_trait]
pub(super) trait Fetch: fmt::Debug + Send + Sync {
    /// The document behind a URL.
    async fn fetch(&self, uri: &str) -> Result<Fetched, FetchError>;
}

/// A document.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// `max-age` of its `Cache-Control`.
    pub(super) max_age: Option<Duration>,
}

/// Why there is no document. The texts repeat nothing of the URL, which may hold a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Refused(&'static str),
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("connecting: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("no answer within {FETCH_TIMEOUT:?}")]
    Timeout,
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the document is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Document(#[from] super::NotAKeySet),
}

impl FetchError {
    /// The values of [`Self::reason`].
    pub(super) const REASONS: [&'static str; 9] =
        ["refused", "resolve", "connect", "tls", "timeout", "http", "status", "too_large", "document"];

    /// The kind of failure, for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::Http(_) => "http",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Document(_) => "document",
        }
    }
}

/// Fetches over the network.
pub(super) struct HttpFetcher {
    /// Plain HTTP and addresses that are not public are fine. Certificates are checked all the same.
    insecure: bool,
    /// Made with the first use: only servers with key sets read the system's certificates.
    tls: OnceLock<TlsConnector>,
}

impl HttpFetcher {
    pub(super) fn new(insecure: bool) -> Self {
        Self { insecure, tls: OnceLock::new() }
    }

    async fn get(&self, uri: &str) -> Result<Fetched, FetchError> {
        let target = Target::parse(uri, self.insecure).map_err(FetchError::Refused)?;
        let socket = self.connect(&target).await?;
        if !target.tls {
            return exchange(socket, &target).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| FetchError::Refused("its host is no name that a certificate can have"))?;
        let socket = self.connector()?.connect(name, socket).await.map_err(FetchError::Tls)?;
        exchange(socket, &target).await
    }

    fn connector(&self) -> Result<&TlsConnector, FetchError> {
        if let Some(connector) = self.tls.get() {
            return Ok(connector);
        }
        let made = connector().map_err(|error| FetchError::Tls(io::Error::other(error)))?;
        Ok(self.tls.get_or_init(|| made))
    }

    async fn connect(&self, target: &Target) -> Result<TcpStream, FetchError> {
        let found = lookup_host((target.host.as_str(), target.port)).await.map_err(FetchError::Resolve)?;
        let mut failed = FetchError::Refused(NOT_PUBLIC);
        for address in found.filter(|address| self.insecure || is_public(address.ip())) {
            match connect_to(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = FetchError::Connect(error),
            }
        }
        Err(failed)
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[async_trait]
impl Fetch for HttpFetcher {
    async fn fetch(&self, uri: &str) -> Result<Fetched, FetchError> {
        timeout(FETCH_TIMEOUT, self.get(uri)).await.unwrap_or(Err(FetchError::Timeout))
    }
}

impl fmt::Debug for HttpFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFetcher").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

const NOT_PUBLIC: &str =
    "it is not at a public address; the server's --allow-insecure-jwks allows others too";

const BAD_PORT: &str = "its port must be a number from 1 to 65535";

/// A URL taken apart.
pub(super) struct Target {
    uri: Uri,
    tls: bool,
    /// Without an IPv6 address's brackets.
    host: String,
    port: u16,
}

impl Target {
    /// What is wrong with a URL before any name is resolved.
    pub(super) fn parse(uri: &str, insecure: bool) -> Result<Self, &'static str> {
        let uri: Uri = uri.parse().map_err(|_| "must be a URL")?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("must be a URL, https://…"),
        };
        if !tls && !insecure {
            return Err("must be https://…; the server's --allow-insecure-jwks allows http:// too");
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or("must have a host, and no user or password")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" => {
                if tls {
                    443
                } else {
                    80
                }
            }
            port => port[1..].parse().ok().filter(|port| *port > 0).ok_or(BAD_PORT)?,
        };
        if !insecure && host.parse().is_ok_and(|literal| !is_public(literal)) {
            return Err(NOT_PUBLIC);
        }
        Ok(Self { uri, tls, host, port })
    }

    /// Host and, where the URL has one, port: what logs and metrics may show.
    pub(super) fn label(uri: &str) -> String {
        let shown = |uri: Uri| {
            let authority = uri.into_parts().authority?;
            let host = authority.host().to_ascii_lowercase();
            Some(authority.port_u16().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
        };
        uri.parse().ok().and_then(shown).unwrap_or_else(|| "invalid".into())
    }
}

/// Asks on a fresh connection, and drops it.
async fn exchange(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
) -> Result<Fetched, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(socket)).await?;
    let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = target.uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json, application/jwk-set+json")
        .header(header::USER_AGENT, concat!("realtime/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Refused("must be a URL"))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await.map_err(cut_short)?;
        Ok(Fetched { body: body.to_bytes(), max_age })
    };
    tokio::select! {
        answer = answer => answer,
        // The connection's own end, with or without an error, reaches the answer too.
        never = async { drop(connection.await); std::future::pending().await } => never,
    }
}

fn cut_short(error: Box<dyn std::error::Error + Send + Sync>) -> FetchError {
    if error.is::<LengthLimitError>() {
        return FetchError::TooLarge;
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => FetchError::Http(*error),
        // Only the limit and the connection end a body.
        Err(_) => FetchError::TooLarge,
    }
}

/// The first `max-age` of `Cache-Control`.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(','));
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}

/// TLS as the system's administrator trusts: its certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name,
/// so that a company's own authority needs no setting of ours. Reading them takes milliseconds, once.
fn connector() -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "reading the system's certificates");
    }
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        tracing::error!(
            "the system has no trusted certificates: no key set can be fetched over HTTPS; install them \
             (ca-certificates) or set SSL_CERT_FILE"
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_public_addresses_without_users_is_fetched() {
        for good in
            ["https://id.example", "https://id.example:8443/keys?x=1", "https://[2606:4700::1]/", "HTTPS://A"]
        {
            assert!(Target::parse(good, false).is_ok(), "{good}");
        }
        let bad = [
            "",
            "id.example",
            "/keys",
            "ftp://id.example/",
            "https://",
            "https://id.example:0/keys",
            "https://id.example:65536/",
            "https://id.example:/",
            "https://id.example:x/",
            "https://[2606:4700::1]:0/",
            "https://user@id.example/",
            "https://user:pw@id.example/",
            "http://id.example/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]:8443/",
            "https://169.254.169.254/latest",
        ];
        for bad in bad {
            assert!(Target::parse(bad, false).is_err(), "{bad}");
        }
        assert!(Target::parse("http://127.0.0.1:1/", true).is_ok());
        assert!(Target::parse("http://user@127.0.0.1:1/", true).is_err());
    }

    #[test]
    fn labels_show_the_host_and_nothing_else() {
        for (uri, label) in [
            ("https://ID.example/keys?secret=1", "id.example"),
            ("https://id.example:8443/", "id.example:8443"),
            ("https://user:pw@id.example/", "id.example"),
            ("https://[::1]:1/", "[::1]:1"),
            ("no url", "invalid"),
        ] {
            assert_eq!(Target::label(uri), label);
        }
    }

    #[test]
    fn max_age_is_read_where_it_is() {
        for (value, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"7\", must-revalidate", Some(7)),
            ("s-maxage=5", None),
            ("no-store", None),
            ("max-age=soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            assert_eq!(max_age(&headers), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
