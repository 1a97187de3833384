//! What comes before HTTP on a connection: the PROXY protocol's header, and the TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use realtime_proto::address::{BadProxyHeader, ProxyHeader};
use realtime_proto::problem::{PROBLEM_MEDIA_TYPE, problem_json};
use realtime_proto::{AddressList, ApiError, ErrorCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::counters::Counters;
use super::{CLOSE_WITHIN, Door};
use crate::tls::{Acceptor, NotAccepted, Transport};

/// Why a connection was turned away before HTTP.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("its address is none of those that may speak the PROXY protocol")]
    Stranger,
    #[error(transparent)]
    ProxyHeader(#[from] BadProxyHeader),
    #[error("it took too long")]
    Late,
    #[error("it does not speak TLS")]
    Plain,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// The transport and the address of whoever is at its other end; `None`: the connection was turned away.
pub(super) async fn receive(
    door: &Door,
    socket: TcpStream,
    peer: SocketAddr,
) -> Option<(Transport, SocketAddr)> {
    let within = door.limits.handshake_within;
    let proxied = async {
        match &door.proxies {
            None => Ok((socket, peer)),
            Some(proxies) => past_proxy(socket, peer, proxies, within).await,
        }
    };
    let (socket, peer) = match proxied.await {
        Ok(received) => received,
        Err(why) => return turn_away(&door.counters, Counters::proxy_refused, peer, &why),
    };
    let Some(acceptor) = &door.tls else { return Some((Transport::Plain(socket), peer)) };
    match secured(acceptor, socket, within).await {
        Ok(transport) => {
            door.counters.tls_accepted();
            Some((transport, peer))
        }
        Err(why) => turn_away(&door.counters, Counters::tls_failed, peer, &why),
    }
}

fn turn_away<T>(counters: &Counters, count: fn(&Counters), peer: SocketAddr, why: &Turned) -> Option<T> {
    count(counters);
    tracing::debug!(%peer, %why, "turned a connection away");
    None
}

/// The PROXY protocol's header, and whom it names. From an address that is not listed, no byte is read.
async fn past_proxy(
    mut socket: TcpStream,
    peer: SocketAddr,
    proxies: &AddressList,
    within: Duration,
) -> Result<(TcpStream, SocketAddr), Turned> {
    if !proxies.contains(peer.ip()) {
        return Err(Turned::Stranger);
    }
    let source = timeout(within, read_header(&mut socket)).await.map_err(|_| Turned::Late)??;
    Ok((socket, source.unwrap_or(peer)))
}

async fn read_header(socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, Turned> {
    let mut fixed = [0; ProxyHeader::FIXED_BYTES];
    socket.read_exact(&mut fixed).await?;
    let header = ProxyHeader::parse(&fixed)?;
    let mut addresses = [0; ProxyHeader::MAX_ADDRESS_BYTES];
    let addresses = &mut addresses[..header.address_bytes()];
    socket.read_exact(addresses).await?;
    // Not a byte more: what follows is the client's.
    let mut left = header.skipped_bytes();
    let mut skipped = [0; 512];
    while left > 0 {
        let next = left.min(skipped.len());
        socket.read_exact(&mut skipped[..next]).await?;
        left -= next;
    }
    Ok(header.source(addresses))
}

async fn secured(acceptor: &Acceptor, socket: TcpStream, within: Duration) -> Result<Transport, Turned> {
    match timeout(within, acceptor.accept(socket)).await {
        Err(_) => Err(Turned::Late),
        Ok(Ok(stream)) => Ok(Transport::Tls(Box::new(stream))),
        Ok(Err(NotAccepted::Failed(error))) => Err(error.into()),
        Ok(Err(NotAccepted::Plain { socket, first_byte })) => {
            // A method begins with a capital letter. Whoever speaks something else would not understand the answer.
            if first_byte.is_ascii_uppercase() {
                // Nobody waits for a client that does not read it.
                let _ = timeout(CLOSE_WITHIN, tell_to_use_tls(socket)).await;
            }
            Err(Turned::Plain)
        }
    }
}

/// Answers plain HTTP on a TLS port, so that whoever tries it reads why instead of guessing at bytes.
async fn tell_to_use_tls(mut socket: TcpStream) -> io::Result<()> {
    let why = "this port speaks TLS: use https:// or wss://";
    let body = problem_json(&ApiError::new(ErrorCode::InvalidRequest, why));
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {PROBLEM_MEDIA_TYPE}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), &body].concat()).await?;
    socket.shutdown().await?;
    // What the client has sent is read, or the answer would be lost to a reset.
    let mut sink = [0; 1024];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}
