//! What `serve` was told, validated.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{ServeArgs, defaults};
use crate::config::{Layers, Resolver, parse};
use crate::failure::Failure;
use crate::roles::forwarding::ForwardingConfig;
use crate::roles::listeners::Ports;
use crate::roles::operators::Operators;
use crate::roles::public::PublicConfig;
use crate::roles::secrets::{self, DataDirKeys};

/// The values of `serve`.
#[derive(Debug)]
pub(in crate::roles) struct ServeConfig {
    pub(super) ports: Ports,
    pub(super) public: PublicConfig,
    pub(super) forwarding: ForwardingConfig,
    pub(super) data_dir: PathBuf,
    pub(super) secrets: DataDirKeys,
    pub(super) node_id: String,
    /// 0: one per core.
    pub(super) shards: usize,
    pub(super) operators: Operators,
    pub(super) drain: Duration,
    pub(super) ready_file: Option<PathBuf>,
    pub(super) demo: bool,
}

/// Every value, or every problem.
pub(in crate::roles) fn resolve(args: &ServeArgs, layers: &Layers) -> Result<ServeConfig, Failure> {
    let mut r = Resolver::new(layers);
    let listen = r.value("listen", args.listen.as_ref(), defaults::LISTEN, parse::address);
    let public = PublicConfig::resolve(&mut r, &args.public);
    let forwarding = ForwardingConfig::resolve(&mut r, &args.forwarding);
    let data_dir = r.text("data-dir", args.data_dir.as_ref());
    let grpc_listen = r.value("grpc-listen", args.grpc_listen.as_ref(), defaults::GRPC_LISTEN, parse::listen);
    let admin_listen =
        r.value("admin-listen", args.admin_listen.as_ref(), defaults::ADMIN_LISTEN, parse::listen);
    let node_id = r.value("node-id", args.node_id.as_ref(), defaults::NODE_ID, parse::node_id);
    let shards = r.value("shards", args.shards.as_ref(), defaults::SHARDS, parse::shards);
    let operators = Operators::resolve(&mut r, args.operator_tokens.as_ref());
    let secrets = secrets::resolve(&mut r, args.secrets_key.as_ref());
    let data_dir = data_dir.map(|given| PathBuf::from(given.unwrap_or_else(|| defaults::DATA_DIR.into())));
    let secrets = match (secrets, &data_dir) {
        (Ok(given), Ok(data_dir)) => DataDirKeys::resolve(&mut r, given, data_dir),
        (Err(noted), _) => Err(noted),
        (_, Err(noted)) => Err(*noted),
    };
    let operators = match (operators, &data_dir) {
        (Ok(None), Ok(data_dir)) => Operators::in_data_dir(&mut r, data_dir),
        (Ok(None), Err(noted)) => Err(*noted),
        (Err(noted), _) => Err(noted),
        (Ok(Some(given)), _) => Ok(given),
    };
    let drain =
        r.value("drain-seconds", args.drain_seconds.as_ref(), defaults::DRAIN_SECONDS, parse::seconds);
    let ready_file = r.text("ready-file", args.ready_file.as_ref());
    let insecure = r.switch("insecure-cluster", args.insecure_cluster.as_ref());
    let demo = r.switch("demo", args.demo.as_ref());
    if let (Ok(Some(address)), Ok(public), Ok(insecure)) = (grpc_listen, &public, insecure) {
        public.check_grpc(&mut r, address, insecure);
    }
    r.finish()?;
    Ok(ServeConfig {
        ports: Ports { listen: listen?, grpc: grpc_listen?, admin: admin_listen?, peer: None },
        public: public?,
        forwarding: forwarding?,
        node_id: node_id?,
        shards: shards?,
        data_dir: data_dir?,
        secrets: secrets?,
        operators: operators?,
        drain: drain?,
        ready_file: ready_file?.map(PathBuf::from),
        demo: demo?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(args: &ServeArgs) -> Result<ServeConfig, Failure> {
        resolve(args, &Layers::default())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = resolved(&ServeArgs::default()).unwrap();
        assert_eq!(config.ports.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.ports.grpc.unwrap().to_string(), "127.0.0.1:7070");
        assert_eq!(config.ports.admin.unwrap().to_string(), "127.0.0.1:9090");
        assert_eq!(config.data_dir, PathBuf::from("./realtime-data"));
        assert_eq!(config.drain, Duration::from_secs(30));
        assert!(matches!(config.operators, Operators::DataDir(_)));
        assert!(!config.demo && !config.public.allow_insecure_jwks);
        assert!(!config.forwarding.insecure_endpoints && !config.forwarding.lend_credentials);
    }

    #[test]
    fn grpc_without_tls_stays_on_this_machine_unless_told_otherwise() {
        let mut args = ServeArgs { grpc_listen: Some("0.0.0.0:7070".into()), ..ServeArgs::default() };
        let Err(Failure::Usage(problems)) = resolved(&args) else { panic!("refused") };
        assert!(problems[0].0.contains("--insecure-cluster"), "{problems:?}");
        args.insecure_cluster = Some("true".into());
        assert!(resolved(&args).is_ok());
        args.grpc_listen = Some("off".into());
        assert_eq!(resolved(&args).unwrap().ports.grpc, None);
    }

    #[test]
    fn an_operator_token_is_given_once_and_can_be_sent_in_a_header() {
        let known = ["operator-token", "operator-tokens"].map(String::from).into();
        for (token, args, problems) in [
            ("s3cret", ServeArgs::default(), 0),
            ("two words", ServeArgs::default(), 1),
            ("line\n", ServeArgs::default(), 1),
            ("s3cret", ServeArgs { operator_tokens: Some("f".into()), ..ServeArgs::default() }, 1),
        ] {
            let env = [("REALTIME_OPERATOR_TOKEN".to_owned(), token.to_owned())].into_iter();
            let layers = Layers::from_parts(None, &known, Vec::new(), env, |_| Err("no file".into()));
            let found = match resolve(&args, &layers) {
                Err(Failure::Usage(problems)) => problems.len(),
                _ => 0,
            };
            assert_eq!(found, problems, "{token:?}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let args = ServeArgs {
            listen: Some("nowhere".into()),
            admin_listen: Some("1".into()),
            drain_seconds: Some("soon".into()),
            demo: Some("perhaps".into()),
            ..ServeArgs::default()
        };
        let Err(Failure::Usage(problems)) = resolved(&args) else { panic!("refused") };
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
