//! The byte stream below the WebSocket, and TLS on it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::Connector;

/// A two-way stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being made.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes the stream to a host: TCP, or a proxy or pipe of one's own. TLS is laid on it for `wss` and `https` addresses.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Connects to `host` (without brackets) and `port`.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a>;
}

/// Plain TCP without delay.
#[derive(Debug)]
pub(crate) struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Host and port of a server's address.
pub(crate) fn host_and_port(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let default = if matches!(uri.scheme_str(), Some("wss" | "https")) { 443 } else { 80 };
    (host, uri.port_u16().unwrap_or(default))
}

/// Text that holds no certificate which could be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no CA certificate in PEM form: {0}")]
pub struct BadCa(String);

/// Trusts the certificates of a PEM text, and no others.
pub(crate) fn trusting(pem: &[u8]) -> Result<Arc<ClientConfig>, BadCa> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| BadCa(e.to_string()))?;
        roots.add(certificate).map_err(|e| BadCa(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(BadCa("there is none".into()));
    }
    config(roots).ok_or_else(|| BadCa("TLS cannot be set up".into()))
}

/// The provider is named: which one is the process's default is not ours to decide.
fn config(roots: RootCertStore) -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Trusts the Mozilla roots.
static TLS: LazyLock<Option<Arc<ClientConfig>>> =
    LazyLock::new(|| config(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

/// TLS for `wss` addresses; `own` in place of the Mozilla roots.
pub(super) fn connector(uri: &Uri, own: Option<&Arc<ClientConfig>>) -> Option<Connector> {
    if uri.scheme_str() != Some("wss") {
        return Some(Connector::Plain);
    }
    own.cloned().or_else(|| TLS.clone()).map(Connector::Rustls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_brackets_and_ports_have_defaults() {
        for (uri, want) in [
            ("ws://[::1]:9/apps/a", ("::1", 9)),
            ("ws://h/apps/a", ("h", 80)),
            ("https://h", ("h", 443)),
            ("wss://h/apps/a", ("h", 443)),
        ] {
            assert_eq!(host_and_port(&uri.parse().unwrap()), want);
        }
    }

    #[test]
    fn secure_addresses_get_tls() {
        assert!(matches!(connector(&"wss://h/".parse().unwrap(), None), Some(Connector::Rustls(_))));
        assert!(matches!(connector(&"ws://h/".parse().unwrap(), None), Some(Connector::Plain)));
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        let cut = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for bad in ["", "text", cut, "-----BEGIN CERTIFICATE-----\n"] {
            assert!(trusting(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
