//! The sockets: all bound before anything is served, so that a port in use is told before the first client comes.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::ready::Addresses;
use crate::failure::Failure;

/// Where to listen; `None`: the role has no such port, or it is off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) listen: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
}

/// Bound, not yet accepting; each is taken by who serves it.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) public: Option<TcpListener>,
    pub(super) grpc: Option<TcpListener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) peer: Option<TcpListener>,
    pub(super) addresses: Addresses,
}

impl Listeners {
    /// Binds what the configuration asks for; tells every address that cannot be had.
    pub(super) async fn bind(ports: Ports) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        let mut bound = async |flag, address| match bind(flag, address).await {
            Ok(listener) => listener,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let public = bound("listen", Some(ports.listen)).await;
        let grpc = bound("grpc-listen", ports.grpc).await;
        let admin = bound("admin-listen", ports.admin).await;
        let peer = bound("peer-listen", ports.peer).await;
        if !problems.is_empty() {
            return Err(Failure::new(problems.join("; ")));
        }
        let at = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let addresses = Addresses {
            listen: at(&public)?.unwrap_or(ports.listen),
            grpc: at(&grpc)?,
            admin: at(&admin)?,
            peer: at(&peer)?,
        };
        Ok(Self { public, grpc, admin, peer, addresses })
    }
}

async fn bind(flag: &str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, String> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|e| format!("cannot listen on {address} (--{flag}): {e}"))
}
