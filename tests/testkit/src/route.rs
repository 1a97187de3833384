//! How a test server is reached: plain, over TLS, as if through a load balancer. Every client of the kit connects
//! here, so that whatever it can do, it can do over each of them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A two-way stream of bytes.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection of any kind.
pub type Connection = Box<dyn Transport>;

/// What stands between a client and HTTP.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// TLS, trusting and offering this.
    pub tls: Option<Arc<ClientConfig>>,
    /// The source that a PROXY protocol header names.
    pub proxied_from: Option<IpAddr>,
}

/// The routes of the addresses that are not plain.
static ROUTES: LazyLock<Mutex<HashMap<String, Route>>> = LazyLock::new(Mutex::default);

/// From now on `address` is reached in this way.
pub(crate) fn set(address: &str, route: Route) {
    ROUTES.lock().unwrap_or_else(PoisonError::into_inner).insert(address.to_owned(), route);
}

/// Nobody is at `address` any more; whoever takes it next is plain, unless it says otherwise.
pub(crate) fn forget(address: &str) {
    ROUTES.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
}

/// Connects to `address` (`host:port`) in the way that its server expects.
///
/// # Errors
/// What the socket or the TLS handshake says.
pub async fn connect(address: &str) -> io::Result<Connection> {
    let route = ROUTES.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
    route.unwrap_or_default().connect(address).await
}

impl Route {
    /// Connects to `address` in this way.
    ///
    /// # Errors
    /// What the socket or the TLS handshake says.
    pub async fn connect(&self, address: &str) -> io::Result<Connection> {
        let mut socket = TcpStream::connect(address).await?;
        // Else two short writes in a row wait for the peer's delayed acknowledgement.
        socket.set_nodelay(true)?;
        if let Some(source) = self.proxied_from {
            socket.write_all(&proxy_header(source)).await?;
        }
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some(config) => Ok(Box::new(secure(socket, config).await?)),
        }
    }
}

/// Shakes hands over an open socket with a server on this machine.
///
/// # Errors
/// What the socket or the TLS handshake says.
pub async fn secure(
    socket: TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    TlsConnector::from(config.clone()).connect(name, socket).await
}

/// Version 2, `PROXY`, TCP, with a type-length-value that means nothing.
#[must_use]
pub fn proxy_header(source: IpAddr) -> Vec<u8> {
    const NOTHING: [u8; 5] = [0xe1, 0, 2, b'h', b'i'];
    let (family, mut addresses) = match source {
        IpAddr::V4(source) => (0x11, [source.octets(), [127, 0, 0, 1]].concat()),
        IpAddr::V6(source) => (0x21, [source.octets(), std::net::Ipv6Addr::LOCALHOST.octets()].concat()),
    };
    addresses.extend([0x12, 0x34, 0x01, 0xbb]);
    addresses.extend(NOTHING);
    let length = u16::try_from(addresses.len()).expect("a short header").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family], &length, &addresses].concat()
}
