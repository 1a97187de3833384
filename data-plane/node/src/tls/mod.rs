//! TLS: the certificate that listeners show, the handshake, and a connection's records.
//!
//! `session` is one connection without sockets; `stream` lays it on a tokio socket for as long as the connection
//! speaks HTTP or gRPC. A WebSocket's session then goes to its shard, which calls it between epoll and the codec.
//!
//! Never here: files (who owns them calls [`Tls::replace`]), addresses, HTTP.

mod certificate;
mod session;
mod stream;
mod transport;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use certificate::{BadCertificate, Certificate};
#[cfg(test)]
pub(crate) use session::tests::shaken;
pub(crate) use session::{RECORD_BYTES, SEALED_BYTES, Session};
pub use stream::{NotAccepted, TlsStream};
pub use transport::Transport;

/// HTTP/2 in ALPN.
pub(crate) const H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The certificate in force. Connections made before it is replaced live on.
#[derive(Debug)]
pub struct Tls {
    current: Arc<Current>,
    http: Acceptor,
    grpc: Acceptor,
}

/// Accepts connections of one kind of listener. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<ServerConfig>);

#[derive(Debug)]
struct Current(ArcSwap<Certificate>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().key())
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 with this certificate.
    ///
    /// # Errors
    /// What the TLS library says of its own configuration.
    pub fn new(certificate: Certificate) -> Result<Self, rustls::Error> {
        let current = Arc::new(Current(ArcSwap::from_pointee(certificate)));
        // Stateless resumption: a client that comes back pays no signature, and the server remembers nothing.
        let tickets = aws_lc_rs::Ticketer::new()?;
        let acceptor = |protocols: &[&[u8]]| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder =
                ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let mut config = builder.with_no_client_auth().with_cert_resolver(current.clone());
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config.ticketer = tickets.clone();
            Ok::<_, rustls::Error>(Acceptor(Arc::new(config)))
        };
        let (http, grpc) = (acceptor(&[H2, HTTP_1_1])?, acceptor(&[H2])?);
        Ok(Self { current, http, grpc })
    }

    /// Shows another certificate from the next handshake on.
    pub fn replace(&self, certificate: Certificate) {
        self.current.0.store(Arc::new(certificate));
    }

    /// When the certificate in force expires, in seconds since the Unix epoch.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.current.0.load().not_after()
    }

    /// For the public port: HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn http(&self) -> Acceptor {
        self.http.clone()
    }

    /// For a gRPC port: HTTP/2.
    #[must_use]
    pub fn grpc(&self) -> Acceptor {
        self.grpc.clone()
    }
}
