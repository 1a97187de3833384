//! The cluster's certificates: shown and demanded on every link between its processes, read at the start and again
//! when their files change. Links that are open live on; the next one has what is in force then.
//!
//! Never here: the public port's certificate, which browsers trust (`tls`).

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use realtime_data_plane::grpc_port::Handshake;
use realtime_data_plane::metrics::CertificateGauges;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo};
use x509_parser::parse_x509_certificate;

use super::tls::BadFile;
use super::watch::Watched;
use crate::credentials::now;
use crate::text_file;

const CERT_FLAG: &str = "cluster-cert";
const KEY_FLAG: &str = "cluster-key";
const CA_FLAG: &str = "cluster-ca";
const NO_CERTIFICATE: &str = "holds no certificate";
/// HTTP/2 in ALPN.
const H2: &[u8] = b"h2";

/// The files of the three flags, read and found to fit each other.
#[derive(Debug)]
pub(super) struct ClusterFiles {
    paths: Paths,
    watched: Watched,
    material: Material,
}

#[derive(Debug)]
struct Paths {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// What is made of the files.
#[derive(Debug)]
struct Material {
    certificate: CertificateDer<'static>,
    /// Its end, in seconds since the Unix epoch.
    not_after: u64,
    client: Arc<ClientConfig>,
    /// Demands a certificate.
    members_only: Arc<ServerConfig>,
    /// Takes callers without one.
    anybody: Arc<ServerConfig>,
}

impl ClusterFiles {
    /// Reads the files.
    pub(super) fn load(cert: PathBuf, key: PathBuf, ca: PathBuf) -> Result<Self, BadFile> {
        let watched = Watched::new(vec![cert.clone(), key.clone(), ca.clone()]);
        let paths = Paths { cert, key, ca };
        let material = paths.read()?;
        Ok(Self { paths, watched, material })
    }

    /// Whether others that call this process by `host` will accept the certificate.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let certificate = ParsedCertificate::try_from(&self.material.certificate);
        match (certificate, server_name(host)) {
            (Ok(certificate), Ok(name)) => rustls::client::verify_server_name(&certificate, &name).is_ok(),
            _ => false,
        }
    }
}

impl Paths {
    fn read(&self) -> Result<Material, BadFile> {
        let read = |flag, path: &PathBuf| {
            text_file::read_bytes(path).map_err(|e| bad(flag, path, &format!("cannot be read: {e}")))
        };
        let (cert, key, ca) =
            (read(CERT_FLAG, &self.cert)?, read(KEY_FLAG, &self.key)?, read(CA_FLAG, &self.ca)?);
        let chain = certificates(&cert).map_err(|why| bad(CERT_FLAG, &self.cert, &why))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&ca).map_err(|why| bad(CA_FLAG, &self.ca, &why))? {
            roots.add(authority).map_err(|e| bad(CA_FLAG, &self.ca, &format!("cannot be used: {e}")))?;
        }
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| bad(KEY_FLAG, &self.key, "holds no private key that can be read"))?;
        self.material(chain, key, Arc::new(roots))
    }

    fn material(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Arc<RootCertStore>,
    ) -> Result<Material, BadFile> {
        let bad_ca = |e: &dyn std::fmt::Display| bad(CA_FLAG, &self.ca, &format!("cannot be used: {e}"));
        let bad_pair = |e: rustls::Error| match e {
            rustls::Error::InconsistentKeys(_) => bad(KEY_FLAG, &self.key, "does not fit the certificate"),
            e => bad(CERT_FLAG, &self.cert, &format!("cannot be used: {e}")),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let demanding = verifier().build().map_err(|e| bad_ca(&e))?;
        let lenient = verifier().allow_unauthenticated().build().map_err(|e| bad_ca(&e))?;
        let Some((certificate, intermediates)) = chain.split_first() else {
            return Err(bad(CERT_FLAG, &self.cert, NO_CERTIFICATE));
        };
        demanding.verify_client_cert(certificate, intermediates, UnixTime::now()).map_err(|e| {
            bad(CERT_FLAG, &self.cert, &format!("will not be accepted by who trusts --{CA_FLAG}: {e}"))
        })?;
        let server = |verifier: Arc<dyn ClientCertVerifier>| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_protocol_versions(&[&TLS13])?.with_client_cert_verifier(verifier);
            let mut config = builder.with_single_cert(chain.clone(), key.clone_key())?;
            config.alpn_protocols = vec![H2.to_vec()];
            // Links live long. A resumed one would not meet the certificates in force.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok(Arc::new(config))
        };
        let members_only = server(demanding).map_err(bad_pair)?;
        let anybody = server(lenient).map_err(bad_pair)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(bad_pair)?;
        let mut client = builder
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(bad_pair)?;
        client.alpn_protocols = vec![H2.to_vec()];
        client.resumption = Resumption::disabled();
        let (_, parsed) = parse_x509_certificate(certificate)
            .map_err(|e| bad(CERT_FLAG, &self.cert, &format!("cannot be read: {e}")))?;
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        let certificate = certificate.clone();
        Ok(Material { certificate, not_after, client: Arc::new(client), members_only, anybody })
    }
}

fn bad(flag: &'static str, path: &std::path::Path, why: &str) -> BadFile {
    BadFile { flag, why: format!("{}: {why}", path.display()) }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|e| format!("not PEM: {e}"))?;
    if all.is_empty() { Err(NO_CERTIFICATE.into()) } else { Ok(all) }
}

/// The certificates in force.
#[derive(Debug, Clone)]
pub(super) struct ClusterTls {
    current: Arc<ArcSwap<Material>>,
    reload_failures: Arc<AtomicU64>,
}

impl ClusterTls {
    /// With the certificates of these files, and what keeps them up to date for ever.
    pub(super) fn start(files: ClusterFiles) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let ClusterFiles { paths, watched, material } = files;
        let tls =
            Self { current: Arc::new(ArcSwap::from_pointee(material)), reload_failures: Arc::default() };
        let Self { current, reload_failures } = tls.clone();
        let follow = watched.follow(move || match paths.read() {
            Ok(material) => {
                tracing::info!("cluster certificates read again");
                current.store(Arc::new(material));
            }
            // Half of a change, or a mistake: links go on with the certificates that worked.
            Err(error) => {
                reload_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the cluster certificates stay as they were");
            }
        });
        (tls, follow)
    }

    /// For metrics.
    pub(super) fn gauges(&self) -> CertificateGauges {
        let expires_in = self.current.load().not_after.saturating_sub(now());
        CertificateGauges { expires_in, reload_failures: self.reload_failures.load(Ordering::Relaxed) }
    }

    /// Calls the process at `host`.
    pub(super) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.current.load().client));
        connector.connect(server_name(host)?, socket).await
    }
}

/// A name, or an address with or without brackets.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

/// Whom a port of the cluster lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// Whoever has a certificate of the cluster's CA.
    Members,
    /// Others too: operators, who bring tokens.
    Anybody,
}

/// Accepts the links of a port.
#[derive(Debug, Clone)]
pub(super) struct ClusterPort {
    /// `None`: links are plain, and whoever reaches the port is a member.
    pub(super) tls: Option<ClusterTls>,
    pub(super) callers: Callers,
}

impl Handshake for ClusterPort {
    type Connection = LinkStream;

    async fn accept(&self, socket: TcpStream) -> io::Result<LinkStream> {
        let tcp = socket.connect_info();
        let Some(ClusterTls { current, .. }) = &self.tls else {
            return Ok(LinkStream {
                stream: Either::Left(socket),
                caller: LinkCaller { tcp, is_member: true },
            });
        };
        let config = match self.callers {
            Callers::Members => Arc::clone(&current.load().members_only),
            Callers::Anybody => Arc::clone(&current.load().anybody),
        };
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        let is_member = stream.get_ref().1.peer_certificates().is_some();
        Ok(LinkStream { stream: Either::Right(Box::new(stream)), caller: LinkCaller { tcp, is_member } })
    }

    /// A port for members alone lets nobody else in, if need be by where it can be reached from.
    fn authenticates(&self, link: &LinkStream) -> bool {
        link.caller.is_member && (self.tls.is_some() || self.callers == Callers::Members)
    }
}

/// Who is at the other end of a link; services find it in a request's extensions.
#[derive(Debug, Clone)]
pub(super) struct LinkCaller {
    pub(super) tcp: TcpConnectInfo,
    /// A process of the cluster.
    pub(super) is_member: bool,
}

/// An accepted link.
#[derive(Debug)]
pub(super) struct LinkStream {
    stream: Either<TcpStream, Box<server::TlsStream<TcpStream>>>,
    caller: LinkCaller,
}

impl Connected for LinkStream {
    type ConnectInfo = LinkCaller;

    fn connect_info(&self) -> LinkCaller {
        self.caller.clone()
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
