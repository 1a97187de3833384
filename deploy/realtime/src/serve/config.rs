//! What `serve` was told, validated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use realtime_proto::AddressList;

use super::tls::TlsFiles;
use crate::cli::{ServeArgs, defaults};
use crate::config::{Layers, Noted, Resolver, parse};
use crate::failure::Failure;

/// The values of `serve`.
#[derive(Debug)]
pub(super) struct ServeConfig {
    pub(super) listen: SocketAddr,
    /// `None`: plain.
    pub(super) tls: Option<TlsFiles>,
    /// Who speaks the PROXY protocol to the public port; `None`: nobody.
    pub(super) proxies: Option<AddressList>,
    pub(super) data_dir: PathBuf,
    /// `None`: off.
    pub(super) grpc_listen: Option<SocketAddr>,
    /// `None`: off.
    pub(super) admin_listen: Option<SocketAddr>,
    pub(super) node_id: String,
    /// 0: one per core.
    pub(super) shards: usize,
    pub(super) operators: OperatorSource,
    pub(super) drain: Duration,
    pub(super) ready_file: Option<PathBuf>,
    /// Key sets over plain HTTP and from addresses that are not public.
    pub(super) allow_insecure_jwks: bool,
    pub(super) demo: bool,
}

/// Where operator tokens come from.
pub(super) enum OperatorSource {
    /// `REALTIME_OPERATOR_TOKEN`.
    Given(String),
    /// `--operator-tokens`.
    File(PathBuf),
    /// `DATA_DIR/operator.token`, made at the first start.
    DataDir,
}

impl std::fmt::Debug for OperatorSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => write!(f, "File({path:?})"),
            Self::DataDir => f.write_str("DataDir"),
        }
    }
}

impl ServeConfig {
    /// Every value, or every problem.
    pub(super) fn resolve(args: &ServeArgs, layers: &Layers) -> Result<Self, Failure> {
        let mut r = Resolver::new(layers);
        let listen = r.value("listen", args.listen.as_ref(), defaults::LISTEN, parse::address);
        let tls = tls_files(&mut r, args);
        let proxies = r.value(
            "proxy-protocol",
            args.proxy_protocol.as_ref(),
            defaults::PROXY_PROTOCOL,
            parse::addresses_or_off,
        );
        let data_dir = r.text("data-dir", args.data_dir.as_ref());
        let grpc_listen =
            r.value("grpc-listen", args.grpc_listen.as_ref(), defaults::GRPC_LISTEN, parse::listen);
        let admin_listen =
            r.value("admin-listen", args.admin_listen.as_ref(), defaults::ADMIN_LISTEN, parse::listen);
        let node_id = r.value("node-id", args.node_id.as_ref(), defaults::NODE_ID, parse::node_id);
        let shards = r.value("shards", args.shards.as_ref(), defaults::SHARDS, parse::shards);
        let token = r.token("operator-token", None);
        let token_file = r.text("operator-tokens", args.operator_tokens.as_ref());
        let drain =
            r.value("drain-seconds", args.drain_seconds.as_ref(), defaults::DRAIN_SECONDS, parse::seconds);
        let ready_file = r.text("ready-file", args.ready_file.as_ref());
        let insecure = r.switch("insecure-cluster", args.insecure_cluster.as_ref());
        let allow_insecure_jwks = r.switch("allow-insecure-jwks", args.allow_insecure_jwks.as_ref());
        let demo = r.switch("demo", args.demo.as_ref());
        // Operator tokens pass over this port. The public port is another matter: browsers reach it, and TLS in
        // front of it is usual.
        if let (Ok(Some(address)), Ok(false), Ok(None)) = (grpc_listen, insecure, &tls)
            && !address.ip().is_loopback()
        {
            let why = "can be reached from other machines and has no TLS; give --tls-cert and --tls-key, \
                       or allow it with --insecure-cluster";
            r.note("grpc-listen", &format!("{address} {why}"));
        }
        if let (Ok(Some(_)), Ok(Some(_))) = (&token, &token_file) {
            r.note("operator-tokens", "an operator token is given too; give one of the two");
        }
        if let Ok(Some(token)) = &token
            && (token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            // Nothing else can stand behind "Bearer " in a header, so it would never match.
            r.note("operator-token", "must be printable ASCII without spaces");
        }
        let operators = match (token, token_file) {
            (_, Ok(Some(file))) => Ok(OperatorSource::File(file.into())),
            (Ok(Some(token)), Ok(None)) => Ok(OperatorSource::Given(token)),
            (Ok(None), Ok(None)) => Ok(OperatorSource::DataDir),
            (Err(noted), _) | (_, Err(noted)) => Err(noted),
        };
        r.finish()?;
        Ok(Self {
            listen: listen?,
            tls: tls?,
            proxies: proxies?,
            data_dir: data_dir?.unwrap_or_else(|| defaults::DATA_DIR.into()).into(),
            grpc_listen: grpc_listen?,
            admin_listen: admin_listen?,
            node_id: node_id?,
            shards: shards?,
            operators: operators?,
            drain: drain?,
            ready_file: ready_file?.map(PathBuf::from),
            allow_insecure_jwks: allow_insecure_jwks?,
            demo: demo?,
        })
    }
}

/// Both files or neither.
fn tls_files(r: &mut Resolver<'_>, args: &ServeArgs) -> Result<Option<TlsFiles>, Noted> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &ServeArgs) -> Result<ServeConfig, Failure> {
        ServeConfig::resolve(args, &Layers::default())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = resolve(&ServeArgs::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.grpc_listen.unwrap().to_string(), "127.0.0.1:7070");
        assert_eq!(config.admin_listen.unwrap().to_string(), "127.0.0.1:9090");
        assert_eq!(config.data_dir, PathBuf::from("./realtime-data"));
        assert_eq!(config.drain, Duration::from_secs(30));
        assert!(matches!(config.operators, OperatorSource::DataDir));
        assert!(!config.demo && !config.allow_insecure_jwks);
    }

    #[test]
    fn grpc_without_tls_stays_on_this_machine_unless_told_otherwise() {
        let mut args = ServeArgs { grpc_listen: Some("0.0.0.0:7070".into()), ..ServeArgs::default() };
        let Err(Failure::Usage(problems)) = resolve(&args) else { panic!("refused") };
        assert!(problems[0].0.contains("--insecure-cluster"), "{problems:?}");
        args.insecure_cluster = Some("true".into());
        assert!(resolve(&args).is_ok());
        args.grpc_listen = Some("off".into());
        assert_eq!(resolve(&args).unwrap().grpc_listen, None);
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
            let found = match ServeConfig::resolve(&args, &layers) {
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
        let Err(Failure::Usage(problems)) = resolve(&args) else { panic!("refused") };
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
