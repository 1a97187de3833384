//! The sockets: all bound before anything is served, so that a port in use is told before the first client comes.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::config::ServeConfig;
use super::ready::Addresses;
use crate::failure::Failure;

/// Bound, not yet accepting; each is taken by who serves it.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) public: Option<TcpListener>,
    pub(super) grpc: Option<TcpListener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) addresses: Addresses,
}

impl Listeners {
    /// Binds what the configuration asks for; tells every address that cannot be had.
    pub(super) async fn bind(config: &ServeConfig) -> Result<Self, Failure> {
        let public = bind("listen", Some(config.listen)).await;
        let grpc = bind("grpc-listen", config.grpc_listen).await;
        let admin = bind("admin-listen", config.admin_listen).await;
        match (public, grpc, admin) {
            (Ok(Some(public)), Ok(grpc), Ok(admin)) => {
                let at = |listener: &Option<TcpListener>| {
                    listener.as_ref().map(TcpListener::local_addr).transpose()
                };
                let addresses =
                    Addresses { listen: public.local_addr()?, grpc: at(&grpc)?, admin: at(&admin)? };
                Ok(Self { public: Some(public), grpc, admin, addresses })
            }
            (public, grpc, admin) => {
                let problems = [public.err(), grpc.err(), admin.err()];
                Err(Failure::new(problems.into_iter().flatten().collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

async fn bind(flag: &str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, String> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|e| format!("cannot listen on {address} (--{flag}): {e}"))
}
