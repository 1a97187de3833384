//! What `control-plane` was told, validated.

use std::path::PathBuf;
use std::time::Duration;

use realtime_control_plane::SecretKeys;
use realtime_control_plane::store::{EtcdError, EtcdOptions, EtcdPassword, EtcdTls, EtcdUser};

use crate::cli::{ControlPlaneArgs, EtcdArgs, defaults};
use crate::config::{Layers, Noted, Resolver, parse};
use crate::failure::Failure;
use crate::roles::links::{Advertised, LinksConfig};
use crate::roles::listeners::Ports;
use crate::roles::operators::Operators;
use crate::roles::secrets::{self, DataDirKeys};

/// The values of `control-plane`.
#[derive(Debug)]
pub(in crate::roles) struct ControlPlaneConfig {
    pub(super) ports: Ports,
    pub(super) links: LinksConfig,
    pub(super) store: StoreConfig,
    pub(super) operators: Operators,
    /// Key sets over plain HTTP and from addresses that are not public.
    pub(super) allow_insecure_jwks: bool,
    pub(super) ready_file: Option<PathBuf>,
}

/// Where everything is kept.
#[derive(Debug)]
pub(super) enum StoreConfig {
    /// In a file of this process's own.
    DataDir { path: PathBuf, secrets: DataDirKeys },
    /// In etcd, with other replicas.
    Etcd {
        options: Box<EtcdOptions>,
        /// How the other replicas reach this one.
        advertise: Advertised,
        /// `None`: somebody else sees to it.
        compact_every: Option<Duration>,
        secrets: SecretKeys,
    },
}

/// Every value, or every problem.
pub(in crate::roles) fn resolve(
    args: &ControlPlaneArgs,
    layers: &Layers,
) -> Result<ControlPlaneConfig, Failure> {
    let mut r = Resolver::new(layers);
    let listen = r.value("listen", args.listen.as_ref(), defaults::CONTROL_LISTEN, parse::address);
    let admin_listen =
        r.value("admin-listen", args.admin_listen.as_ref(), defaults::CONTROL_ADMIN_LISTEN, parse::listen);
    let operators = Operators::resolve(&mut r, args.operator_tokens.as_ref());
    let links = LinksConfig::resolve(&mut r, &args.cluster);
    let insecure_jwks = r.switch("allow-insecure-jwks", args.allow_insecure_jwks.as_ref());
    let ready_file = r.text("ready-file", args.ready_file.as_ref());
    if let (Ok(address), Ok(links)) = (listen, &links) {
        links.check_listen(&mut r, "listen", address);
    }
    let etcd = etcd_options(&mut r, &args.etcd);
    let compact = args.etcd.etcd_compact_seconds.as_ref();
    let compact_every =
        r.value("etcd-compact-seconds", compact, defaults::ETCD_COMPACT_SECONDS, parse::period_or_off);
    let data_dir = r.text("data-dir", args.data_dir.as_ref());
    let secrets = secrets::resolve(&mut r, args.secrets_key.as_ref());
    let advertise = ("advertise", args.advertise.as_ref());
    let store = match (etcd, listen, &links) {
        (Ok(Some(options)), Ok(listen), Ok(links)) => {
            links.check_etcd(&mut r, &options.endpoints);
            if args.data_dir.is_some() {
                r.note("data-dir", "not together with --etcd, which keeps everything");
            }
            if let Ok(None) = operators {
                let why = "needed with --etcd, or REALTIME_OPERATOR_TOKEN, the same for all replicas";
                r.note("operator-tokens", why);
            }
            let advertise = Advertised::resolve(&mut r, advertise, ("listen", listen), links);
            advertise.and_then(|advertise| {
                let (options, secrets) = (Box::new(options), secrets?.unwrap_or_default());
                Ok(StoreConfig::Etcd { options, advertise, compact_every: compact_every?, secrets })
            })
        }
        (Ok(None), _, _) => in_data_dir(&mut r, data_dir, secrets),
        (Err(noted), _, _) | (_, Err(noted), _) => Err(noted),
        (_, _, Err(noted)) => Err(*noted),
    };
    let operators = match (operators, &store) {
        (Ok(None), Ok(StoreConfig::DataDir { path, .. })) => Operators::in_data_dir(&mut r, path),
        (Ok(given), _) => Ok(given.unwrap_or(Operators::Nobody)),
        (Err(noted), _) => Err(noted),
    };
    r.finish()?;
    Ok(ControlPlaneConfig {
        ports: Ports { listen: listen?, grpc: None, admin: admin_listen?, peer: None },
        links: links?,
        store: store?,
        operators: operators?,
        allow_insecure_jwks: insecure_jwks?,
        ready_file: ready_file?.map(PathBuf::from),
    })
}

/// The store in a directory of this process's own.
fn in_data_dir(
    r: &mut Resolver<'_>,
    given: Result<Option<String>, Noted>,
    secrets: Result<Option<SecretKeys>, Noted>,
) -> Result<StoreConfig, Noted> {
    let path = PathBuf::from(given?.unwrap_or_else(|| defaults::DATA_DIR.into()));
    let secrets = DataDirKeys::resolve(r, secrets?, &path)?;
    Ok(StoreConfig::DataDir { path, secrets })
}

/// The etcd that is named, if one is.
fn etcd_options(r: &mut Resolver<'_>, args: &EtcdArgs) -> Result<Option<EtcdOptions>, Noted> {
    let endpoints = r.text("etcd", args.etcd.as_ref());
    let prefix =
        r.value("etcd-prefix", args.etcd_prefix.as_ref(), defaults::ETCD_PREFIX, |text| Ok(text.to_owned()));
    let tls = etcd_tls(r, args);
    let user = etcd_user(r, args);
    let (Some(endpoints), tls, user) = (endpoints?, tls?, user?) else { return Ok(None) };
    let endpoints = endpoints.split(',').map(|url| url.trim().to_owned());
    let options = EtcdOptions { tls, user, prefix: prefix?, ..EtcdOptions::new(endpoints) };
    match options.check() {
        Ok(()) => Ok(Some(options)),
        Err(EtcdError::Option { option, problem }) => Err(r.note(option, &problem)),
        Err(other) => Err(r.note("etcd", &other.to_string())),
    }
}

fn etcd_tls(r: &mut Resolver<'_>, args: &EtcdArgs) -> Result<Option<EtcdTls>, Noted> {
    let ca = r.text("etcd-ca", args.etcd_ca.as_ref());
    let cert = r.text("etcd-cert", args.etcd_cert.as_ref());
    let key = r.text("etcd-key", args.etcd_key.as_ref());
    let identity = match (cert?, key?) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (Some(_), None) => {
            return Err(r.note("etcd-key", "missing: --etcd-cert is given, and its key is needed"));
        }
        (None, Some(_)) => {
            return Err(r.note("etcd-cert", "missing: --etcd-key is given, and its certificate is needed"));
        }
    };
    match (ca?, identity) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(r.note("etcd-ca", "missing: --etcd-cert is given, and only TLS shows it")),
        (Some(ca), identity) => Ok(Some(EtcdTls { ca: ca.into(), identity })),
    }
}

fn etcd_user(r: &mut Resolver<'_>, args: &EtcdArgs) -> Result<Option<EtcdUser>, Noted> {
    let name = r.text("etcd-user", args.etcd_user.as_ref());
    let password = r.text("etcd-password-file", args.etcd_password_file.as_ref());
    match (name?, password?) {
        (None, None) => Ok(None),
        (Some(name), Some(file)) => Ok(Some(EtcdUser { name, password: EtcdPassword::File(file.into()) })),
        (Some(_), None) => Err(r.note("etcd-password-file", "missing: --etcd-user is given")),
        (None, Some(_)) => Err(r.note("etcd-user", "missing: --etcd-password-file is given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment with an operator's token.
    fn operated() -> Layers {
        let known = ["operator-token".to_owned()].into();
        let env = [("REALTIME_OPERATOR_TOKEN".to_owned(), "t".to_owned())].into_iter();
        Layers::from_parts(None, &known, Vec::new(), env, |_| Err("no file".into()))
    }

    fn problems(args: &ControlPlaneArgs, layers: &Layers) -> Vec<String> {
        match resolve(args, layers) {
            Err(Failure::Usage(problems)) => problems.into_iter().map(|p| p.0).collect(),
            Ok(_) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    fn on_etcd(urls: &str) -> ControlPlaneArgs {
        ControlPlaneArgs {
            etcd: EtcdArgs { etcd: Some(urls.into()), ..EtcdArgs::default() },
            ..ControlPlaneArgs::default()
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = resolve(&ControlPlaneArgs::default(), &Layers::default()).unwrap();
        assert_eq!(config.ports.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(config.ports.admin.unwrap().to_string(), "127.0.0.1:9091");
        assert!(matches!(config.store, StoreConfig::DataDir { path, .. } if path.ends_with("realtime-data")));
        let config = resolve(&on_etcd("http://127.0.0.1:1, http://localhost:1"), &operated()).unwrap();
        let StoreConfig::Etcd { options, compact_every, .. } = config.store else { panic!("on etcd") };
        assert_eq!((options.endpoints.len(), options.prefix.as_str()), (2, "/realtime"));
        assert_eq!(compact_every, Some(realtime_control_plane::COMPACT_EVERY));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut args = on_etcd("https://a:1");
        assert!(problems(&args, &operated())[0].starts_with("--etcd "), "https needs a CA");
        args.etcd.etcd_cert = Some("cert".into());
        args.etcd.etcd_user = Some("root".into());
        let found = problems(&args, &operated());
        assert!(found.len() == 2 && found[0].starts_with("--etcd-key ") && found[1].starts_with("--etcd-p"));
        let mut args = on_etcd("http://a:1,http://[::1]:1");
        let found = problems(&args, &operated());
        assert!(found.len() == 1 && found[0].contains("http://a:1 is another machine"), "{found:?}");
        args.cluster.insecure_cluster = Some("true".into());
        assert_eq!(problems(&args, &operated()), [""; 0]);
        args.data_dir = Some("dir".into());
        args.listen = Some("0.0.0.0:0".into());
        let found = problems(&args, &Layers::default()).join("\n");
        for flag in ["--data-dir", "--operator-tokens", "--advertise"] {
            assert!(found.contains(flag), "{flag} in {found}");
        }
    }
}
