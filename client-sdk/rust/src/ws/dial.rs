//! The byte stream below the WebSocket, and TLS on it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::Connector;

/// A two-way stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being made.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes the stream to a host: TCP, or a proxy or pipe of one's own. TLS is laid on it for `wss` addresses.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Connects to `host` (without brackets) and `port`.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a>;
}

/// Plain TCP without delay.
#[derive(Debug)]
pub(super) struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Host and port of a session's address.
pub(super) fn host_and_port(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let default = if uri.scheme_str() == Some("wss") { 443 } else { 80 };
    (host, uri.port_u16().unwrap_or(default))
}

/// The Mozilla roots, with the provider named: which one is the process's default is not ours to decide.
static TLS: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
});

/// TLS for `wss` addresses.
pub(super) fn connector(uri: &Uri) -> Option<Connector> {
    if uri.scheme_str() == Some("wss") { TLS.clone().map(Connector::Rustls) } else { Some(Connector::Plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_brackets_and_ports_have_defaults() {
        for (uri, want) in [
            ("ws://[::1]:9/apps/a", ("::1", 9)),
            ("ws://h/apps/a", ("h", 80)),
            ("wss://h/apps/a", ("h", 443)),
        ] {
            assert_eq!(host_and_port(&uri.parse().unwrap()), want);
        }
    }

    #[test]
    fn secure_addresses_get_tls() {
        assert!(matches!(connector(&"wss://h/".parse().unwrap()), Some(Connector::Rustls(_))));
        assert!(matches!(connector(&"ws://h/".parse().unwrap()), Some(Connector::Plain)));
    }
}
