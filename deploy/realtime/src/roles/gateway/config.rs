//! What `gateway` was told, validated.

use std::path::PathBuf;

use crate::cli::{GatewayArgs, defaults};
use crate::config::{Layers, Resolver, parse};
use crate::failure::Failure;
use crate::roles::links::{ControlPlaneUrls, LinksConfig};
use crate::roles::listeners::Ports;
use crate::roles::operators::Operators;
use crate::roles::public::PublicConfig;

/// The values of `gateway`.
#[derive(Debug)]
pub(in crate::roles) struct GatewayConfig {
    pub(super) control_plane: ControlPlaneUrls,
    pub(super) links: LinksConfig,
    pub(super) ports: Ports,
    pub(super) public: PublicConfig,
    pub(super) operators: Operators,
    pub(super) ready_file: Option<PathBuf>,
}

/// Every value, or every problem.
pub(in crate::roles) fn resolve(args: &GatewayArgs, layers: &Layers) -> Result<GatewayConfig, Failure> {
    let mut r = Resolver::new(layers);
    let control_plane = ControlPlaneUrls::resolve(&mut r, args.control_plane.as_ref());
    let links = LinksConfig::resolve(&mut r, &args.cluster);
    let listen = r.value("listen", args.listen.as_ref(), defaults::GATEWAY_LISTEN, parse::address);
    let admin =
        r.value("admin-listen", args.admin_listen.as_ref(), defaults::GATEWAY_ADMIN_LISTEN, parse::listen);
    let public = PublicConfig::resolve(&mut r, &args.public);
    let operators = Operators::resolve(&mut r, args.operator_tokens.as_ref());
    let ready_file = r.text("ready-file", args.ready_file.as_ref());
    if let (Ok(urls), Ok(links)) = (&control_plane, &links) {
        links.check_control_plane(&mut r, urls);
    }
    r.finish()?;
    Ok(GatewayConfig {
        control_plane: control_plane?,
        links: links?,
        ports: Ports { listen: listen?, grpc: None, admin: admin?, peer: None },
        public: public?,
        operators: operators?.unwrap_or(Operators::Nobody),
        ready_file: ready_file?.map(PathBuf::from),
    })
}
