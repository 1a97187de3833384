//! What `data-plane` was told, validated.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{DataPlaneArgs, defaults};
use crate::config::{Layers, Noted, Resolver, parse};
use crate::failure::Failure;
use crate::roles::forwarding::ForwardingConfig;
use crate::roles::links::{Advertised, ControlPlaneUrls, LinksConfig};
use crate::roles::listeners::Ports;
use crate::roles::operators::Operators;
use crate::roles::public::PublicConfig;

/// The machine's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The values of `data-plane`.
#[derive(Debug)]
pub(in crate::roles) struct DataPlaneConfig {
    pub(super) control_plane: ControlPlaneUrls,
    pub(super) links: LinksConfig,
    pub(super) ports: Ports,
    pub(super) public: PublicConfig,
    pub(super) forwarding: ForwardingConfig,
    /// How peers and gateways reach the node.
    pub(super) peer_advertise: Advertised,
    pub(super) node_id: String,
    /// 0: one per core.
    pub(super) shards: usize,
    pub(super) operators: Operators,
    pub(super) drain: Duration,
    pub(super) ready_file: Option<PathBuf>,
}

/// Every value, or every problem.
pub(in crate::roles) fn resolve(args: &DataPlaneArgs, layers: &Layers) -> Result<DataPlaneConfig, Failure> {
    let mut r = Resolver::new(layers);
    let control_plane = ControlPlaneUrls::resolve(&mut r, args.control_plane.as_ref());
    let links = LinksConfig::resolve(&mut r, &args.cluster);
    let listen = r.value("listen", args.listen.as_ref(), defaults::LISTEN, parse::address);
    let peer = r.value("peer-listen", args.peer_listen.as_ref(), defaults::PEER_LISTEN, parse::address);
    let grpc = r.value("grpc-listen", args.grpc_listen.as_ref(), defaults::NODE_GRPC_LISTEN, parse::listen);
    let admin =
        r.value("admin-listen", args.admin_listen.as_ref(), defaults::NODE_ADMIN_LISTEN, parse::listen);
    let node_id = node_id(&mut r, args.node_id.as_ref());
    let shards = r.value("shards", args.shards.as_ref(), defaults::SHARDS, parse::shards);
    let public = PublicConfig::resolve(&mut r, &args.public);
    let forwarding = ForwardingConfig::resolve(&mut r, &args.forwarding);
    let operators = Operators::resolve(&mut r, args.operator_tokens.as_ref());
    let drain =
        r.value("drain-seconds", args.drain_seconds.as_ref(), defaults::DRAIN_SECONDS, parse::seconds);
    let ready_file = r.text("ready-file", args.ready_file.as_ref());
    if let Ok(links) = &links {
        control_plane.iter().for_each(|urls| links.check_control_plane(&mut r, urls));
        peer.iter().for_each(|&address| links.check_listen(&mut r, "peer-listen", address));
    }
    let advertise = ("peer-advertise", args.peer_advertise.as_ref());
    let peer_advertise = match (&links, peer) {
        (Ok(links), Ok(address)) => Advertised::resolve(&mut r, advertise, ("peer-listen", address), links),
        (Err(noted), _) => Err(*noted),
        (_, Err(noted)) => Err(noted),
    };
    if let (Ok(Some(address)), Ok(public), Ok(links)) = (grpc, &public, &links) {
        public.check_grpc(&mut r, address, links.insecure);
    }
    r.finish()?;
    Ok(DataPlaneConfig {
        control_plane: control_plane?,
        links: links?,
        ports: Ports { listen: listen?, grpc: grpc?, admin: admin?, peer: Some(peer?) },
        public: public?,
        forwarding: forwarding?,
        peer_advertise: peer_advertise?,
        node_id: node_id?,
        shards: shards?,
        operators: operators?.unwrap_or(Operators::Nobody),
        drain: drain?,
        ready_file: ready_file?.map(PathBuf::from),
    })
}

/// The name that was given, or the machine's.
fn node_id(r: &mut Resolver<'_>, given: Option<&String>) -> Result<String, Noted> {
    if let Some(id) = r.optional("node-id", given, parse::node_id)? {
        return Ok(id);
    }
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    parse::node_id(host.trim())
        .map_err(|why| r.note("node-id", &format!("the machine's name {:?} is none: {why}", host.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(args: &DataPlaneArgs) -> Result<DataPlaneConfig, Failure> {
        resolve(args, &Layers::default())
    }

    fn problems(args: &DataPlaneArgs) -> Vec<String> {
        match resolved(args) {
            Err(Failure::Usage(problems)) => problems.into_iter().map(|p| p.0).collect(),
            Ok(_) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = resolved(&DataPlaneArgs::default()).unwrap();
        assert_eq!(config.ports.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.ports.peer.unwrap().to_string(), "127.0.0.1:7071");
        assert_eq!(config.ports.admin.unwrap().to_string(), "127.0.0.1:9092");
        assert!(config.ports.grpc.is_none() && !config.node_id.is_empty());
    }

    #[test]
    fn beyond_this_machine_nothing_goes_without_certificates_unless_told_otherwise() {
        let mut args = DataPlaneArgs {
            control_plane: Some("http://127.0.0.1:1, http://10.0.0.1:7070".into()),
            peer_listen: Some("0.0.0.0:0".into()),
            grpc_listen: Some("10.0.0.1:0".into()),
            ..DataPlaneArgs::default()
        };
        let found = problems(&args);
        assert_eq!(found.len(), 4, "{found:?}");
        args.cluster.insecure_cluster = Some("true".into());
        let found = problems(&args);
        assert!(found.len() == 1 && found[0].contains("--peer-advertise"), "{found:?}");
        args.peer_advertise = Some("10.0.0.1".into());
        assert!(problems(&args).is_empty());
    }
}
