//! The public port of a role: TLS, load balancers before it, and how the keys of its callers' tokens are fetched.

use std::net::SocketAddr;

use realtime_data_plane::FrontDoor;
use realtime_proto::AddressList;

use super::tasks::Tasks;
use super::tls::{PublicTls, TlsFiles};
use crate::cli::{PublicArgs, defaults};
use crate::config::{Noted, Resolver, parse};
use crate::failure::Failure;

/// What was given.
#[derive(Debug)]
pub(super) struct PublicConfig {
    /// `None`: plain.
    pub(super) tls: Option<TlsFiles>,
    /// Who speaks the PROXY protocol to the port; `None`: nobody.
    proxies: Option<AddressList>,
    /// Key sets over plain HTTP and from addresses that are not public.
    pub(super) allow_insecure_jwks: bool,
}

impl PublicConfig {
    /// Reads the flags, and the files that they name.
    pub(super) fn resolve(r: &mut Resolver<'_>, args: &PublicArgs) -> Result<Self, Noted> {
        let tls = tls_files(r, args);
        let proxies = r.value(
            "proxy-protocol",
            args.proxy_protocol.as_ref(),
            defaults::PROXY_PROTOCOL,
            parse::addresses_or_off,
        );
        let allow_insecure_jwks = r.switch("allow-insecure-jwks", args.allow_insecure_jwks.as_ref());
        Ok(Self { tls: tls?, proxies: proxies?, allow_insecure_jwks: allow_insecure_jwks? })
    }

    /// Notes a gRPC port for services that other machines reach without TLS: tokens pass over it. The public port is
    /// another matter: browsers reach it, and TLS in front of it is usual.
    pub(super) fn check_grpc(&self, r: &mut Resolver<'_>, address: SocketAddr, insecure: bool) {
        if self.tls.is_none() && !insecure && !address.ip().is_loopback() {
            let why = "can be reached from other machines and has no TLS; give --tls-cert and --tls-key, \
                       or allow it with --insecure-cluster";
            r.note("grpc-listen", &format!("{address} {why}"));
        }
    }

    /// Loads TLS and keeps it up to date.
    pub(super) fn start(self, tasks: &mut Tasks) -> Result<PublicPort, Failure> {
        let tls = match self.tls {
            Some(files) => {
                let started = PublicTls::start(files);
                let (tls, follow) = started.map_err(|e| Failure::new(format!("TLS: {e}")))?;
                tasks.spawn_until_stop("TLS certificate", follow);
                Some(tls)
            }
            None => None,
        };
        Ok(PublicPort { tls, proxies: self.proxies })
    }
}

/// Both files or neither.
fn tls_files(r: &mut Resolver<'_>, args: &PublicArgs) -> Result<Option<TlsFiles>, Noted> {
    let (chain, key) = (r.text("tls-cert", args.tls_cert.as_ref()), r.text("tls-key", args.tls_key.as_ref()));
    match (chain?, key?) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => {
            TlsFiles::load(chain.into(), key.into()).map(Some).map_err(|bad| r.note(bad.flag, &bad.why))
        }
        (Some(_), None) => Err(r.note("tls-key", "missing: --tls-cert is given, and its key is needed")),
        (None, Some(_)) => {
            Err(r.note("tls-cert", "missing: --tls-key is given, and its certificate is needed"))
        }
    }
}

/// How the public port speaks.
#[derive(Debug)]
pub(super) struct PublicPort {
    /// `None`: plain.
    pub(super) tls: Option<PublicTls>,
    proxies: Option<AddressList>,
}

impl PublicPort {
    /// The same door with this port's TLS and proxies.
    pub(super) fn at(&self, mut door: FrontDoor) -> FrontDoor {
        if let Some(tls) = &self.tls {
            door = door.with_tls(tls.http());
        }
        if let Some(proxies) = &self.proxies {
            door = door.with_proxies(proxies.clone());
        }
        door
    }
}
