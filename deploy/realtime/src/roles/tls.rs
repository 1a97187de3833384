//! The certificate of the public port and its files: read at the start, and again when they change.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use realtime_data_plane::metrics::CertificateGauges;
use realtime_data_plane::tls::{Acceptor, BadCertificate, Certificate, Tls};

use super::watch::Watched;
use crate::credentials::now;
use crate::text_file;

/// The files of `--tls-cert` and `--tls-key`, read and found to fit each other.
#[derive(Debug)]
pub(super) struct TlsFiles {
    paths: Paths,
    watched: Watched,
    certificate: Certificate,
}

#[derive(Debug)]
struct Paths {
    chain: PathBuf,
    key: PathBuf,
}

/// What is wrong with the files, and whose flag has to say it.
#[derive(Debug)]
pub(super) struct BadFile {
    pub(super) flag: &'static str,
    pub(super) why: String,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}: {}", self.flag, self.why)
    }
}

const CHAIN_FLAG: &str = "tls-cert";
const KEY_FLAG: &str = "tls-key";

impl TlsFiles {
    /// Reads both files.
    pub(super) fn load(chain: PathBuf, key: PathBuf) -> Result<Self, BadFile> {
        let watched = Watched::new(vec![chain.clone(), key.clone()]);
        let paths = Paths { chain, key };
        let certificate = paths.read()?;
        Ok(Self { paths, watched, certificate })
    }
}

impl Paths {
    fn read(&self) -> Result<Certificate, BadFile> {
        let read = |flag, path: &PathBuf| {
            text_file::read_bytes(path)
                .map_err(|e| BadFile { flag, why: format!("cannot read {}: {e}", path.display()) })
        };
        let (chain, key) = (read(CHAIN_FLAG, &self.chain)?, read(KEY_FLAG, &self.key)?);
        Certificate::from_pem(&chain, &key).map_err(|bad| {
            let (flag, path) = match bad {
                BadCertificate::Chain(_) => (CHAIN_FLAG, &self.chain),
                BadCertificate::Key(_) => (KEY_FLAG, &self.key),
            };
            BadFile { flag, why: format!("{}: {bad}", path.display()) }
        })
    }
}

/// TLS of the process's ports.
#[derive(Debug, Clone)]
pub(super) struct PublicTls {
    tls: Arc<Tls>,
    reload_failures: Arc<AtomicU64>,
}

impl PublicTls {
    /// TLS with the certificate of these files, and what keeps it up to date for ever.
    pub(super) fn start(files: TlsFiles) -> Result<(Self, impl Future<Output = ()> + Send + use<>), String> {
        let TlsFiles { paths, watched, certificate } = files;
        warn_if_expired(&certificate);
        let tls = Arc::new(Tls::new(certificate).map_err(|e| e.to_string())?);
        let public = Self { tls, reload_failures: Arc::default() };
        let reloaded = public.clone();
        let follow = watched.follow(move || reloaded.read_again(&paths));
        Ok((public, follow))
    }

    fn read_again(&self, paths: &Paths) {
        match paths.read() {
            Ok(certificate) => {
                tracing::info!(expires_in_seconds = expires_in(&certificate), "TLS certificate read again");
                warn_if_expired(&certificate);
                self.tls.replace(certificate);
            }
            // Half of a change, or a mistake: whoever connects meanwhile gets the certificate that worked.
            Err(error) => {
                self.reload_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the TLS certificate stays as it was");
            }
        }
    }

    /// For the public port.
    pub(super) fn http(&self) -> Acceptor {
        self.tls.http()
    }

    /// For the gRPC port.
    pub(super) fn grpc(&self) -> Acceptor {
        self.tls.grpc()
    }

    /// For metrics.
    pub(super) fn gauges(&self) -> CertificateGauges {
        CertificateGauges {
            expires_in: self.tls.not_after().saturating_sub(now()),
            reload_failures: self.reload_failures.load(Ordering::Relaxed),
        }
    }
}

fn expires_in(certificate: &Certificate) -> u64 {
    certificate.not_after().saturating_sub(now())
}

fn warn_if_expired(certificate: &Certificate) {
    if expires_in(certificate) == 0 {
        tracing::warn!("the TLS certificate has expired: clients will refuse it");
    }
}
