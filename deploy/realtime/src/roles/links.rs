//! The links between the processes of a cluster: how each is reached, how soon a silent one is given up, and which
//! addresses may be used without certificates.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use realtime_control_plane::{Dial as DialReplica, Peering};
use realtime_data_plane::metrics::CertificateGauges;
use realtime_data_plane::peers::Connect;
use realtime_discovery::Replicas;
use realtime_gateway::forward::Dial;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint, Server};
use tower::service_fn;

use super::cluster_tls::{Callers, ClusterFiles, ClusterPort, ClusterTls};
use super::tasks::Tasks;
use crate::cli::{ClusterArgs, defaults};
use crate::config::{Noted, Resolver};

/// A connection within a data centre takes milliseconds; a host that is down answers nothing at all, and somebody
/// waits for the next one.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A host that did not answer is asked again after this; meanwhile nobody waits for it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Between control plane and nodes: a silent side is given up within 1.5 s, so that a node has another replica within
/// two, and a dead node's lease begins to run out.
const DISCOVERY_PING: Duration = Duration::from_millis(500);
/// For the answer to that ping.
const DISCOVERY_PONG: Duration = Duration::from_secs(1);
/// Between nodes, and from gateways to nodes: a silent peer is noticed within five seconds.
const PEER_PING: Duration = Duration::from_secs(2);
/// For the answer to that ping.
const PEER_PONG: Duration = Duration::from_secs(3);
/// Calls at one time on one connection to a node: what a gateway has under way.
const CALLS_PER_CONNECTION: u32 = 4096;
/// What a consumer that does not read leaves on its stream from another node: some ten messages. The connection, which
/// consumers of all applications share, takes as much of each of them: nobody's unread messages hold up another's.
const CONSUMER_WINDOW_BYTES: u32 = 64 * 1024;
/// What takes the fear out of an address that other machines reach.
const ADVICE: &str =
    "give --cluster-cert, --cluster-key and --cluster-ca, or allow it with --insecure-cluster";

/// The replicas of the control plane, by their URLs: at least one.
#[derive(Debug)]
pub(super) struct ControlPlaneUrls(Vec<Uri>);

impl ControlPlaneUrls {
    /// Reads `--control-plane`.
    pub(super) fn resolve(r: &mut Resolver<'_>, given: Option<&String>) -> Result<Self, Noted> {
        let urls =
            |text: &str| text.split(',').map(|url| replica_url(url.trim())).collect::<Result<Vec<_>, _>>();
        r.value("control-plane", given, defaults::CONTROL_PLANE, urls).map(Self)
    }
}

fn replica_url(text: &str) -> Result<Uri, String> {
    let problem =
        || "must be URLs such as http://127.0.0.1:7070 or https://HOST:PORT, commas between them".to_owned();
    let uri: Uri = text.parse().map_err(|_| problem())?;
    let is_base = uri.path().len() <= 1 && uri.query().is_none();
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.authority().is_some_and(|a| a.port().is_some() && !a.as_str().contains('@'));
    if is_base && scheme && host { Ok(uri) } else { Err(problem()) }
}

/// What was given about links.
#[derive(Debug)]
pub(super) struct LinksConfig {
    /// `None`: links are plain.
    files: Option<ClusterFiles>,
    /// `--insecure-cluster`.
    pub(super) insecure: bool,
}

impl LinksConfig {
    /// Reads the flags, and the files that they name.
    pub(super) fn resolve(r: &mut Resolver<'_>, args: &ClusterArgs) -> Result<Self, Noted> {
        let insecure = r.switch("insecure-cluster", args.insecure_cluster.as_ref());
        let given = [
            ("cluster-cert", r.text("cluster-cert", args.cluster_cert.as_ref())?),
            ("cluster-key", r.text("cluster-key", args.cluster_key.as_ref())?),
            ("cluster-ca", r.text("cluster-ca", args.cluster_ca.as_ref())?),
        ];
        let files = match given {
            [(_, None), (_, None), (_, None)] => None,
            [(_, Some(cert)), (_, Some(key)), (_, Some(ca))] => {
                let files = ClusterFiles::load(cert.into(), key.into(), ca.into());
                Some(files.map_err(|bad| r.note(bad.flag, &bad.why))?)
            }
            given => {
                let mut noted = Noted;
                for (flag, _) in given.iter().filter(|(_, file)| file.is_none()) {
                    noted = r.note(flag, "missing: the three files are given together");
                }
                return Err(noted);
            }
        };
        Ok(Self { files, insecure: insecure? })
    }

    /// Notes an address to listen on that other machines reach without certificates.
    pub(super) fn check_listen(&self, r: &mut Resolver<'_>, flag: &str, address: SocketAddr) {
        if self.files.is_none() && !self.insecure && !address.ip().is_loopback() {
            r.note(flag, &format!("{address} can be reached from other machines; {ADVICE}"));
        }
    }

    /// Notes replicas whose URLs do not fit the certificates, or the lack of them.
    pub(super) fn check_control_plane(&self, r: &mut Resolver<'_>, urls: &ControlPlaneUrls) {
        for uri in &urls.0 {
            let secure = uri.scheme_str() == Some("https");
            let problem = match (secure, &self.files) {
                (true, None) => {
                    "is https, which needs --cluster-cert, --cluster-key and --cluster-ca".to_owned()
                }
                (false, Some(_)) => "is plain http; with cluster certificates it must be https".to_owned(),
                (false, None) if !self.insecure && !is_this_machine(uri) => {
                    format!("is another machine; {ADVICE}")
                }
                (true, Some(_)) | (false, None) => continue,
            };
            r.note("control-plane", &format!("{uri} {problem}"));
        }
    }

    /// Notes an etcd on another machine that is reached without TLS.
    pub(super) fn check_etcd(&self, r: &mut Resolver<'_>, urls: &[String]) {
        if self.insecure {
            return;
        }
        for url in urls {
            let uri = url.parse::<Uri>();
            if uri.is_ok_and(|uri| uri.scheme_str() == Some("http") && !is_this_machine(&uri)) {
                let why = "is another machine, to which all keys and passwords would go in plain text; use https \
                           with --etcd-ca, or allow it with --insecure-cluster";
                r.note("etcd", &format!("{url} {why}"));
            }
        }
    }

    /// Notes a name or address by which others call this process, and which its certificate does not hold.
    fn check_name(&self, r: &mut Resolver<'_>, flag: &str, host: &str) {
        if self.files.as_ref().is_some_and(|files| !files.is_for(host)) {
            r.note(flag, &format!("the certificate of --cluster-cert is not for {host}"));
        }
    }

    /// Takes the certificates into use and keeps them up to date.
    pub(super) fn start(self, tasks: &mut Tasks) -> Links {
        let tls = self.files.map(|files| {
            let (tls, follow) = ClusterTls::start(files);
            tasks.spawn_until_stop("cluster certificates", follow);
            tls
        });
        Links { tls }
    }
}

/// How the processes of the cluster reach each other.
#[derive(Debug, Clone)]
pub(super) struct Links {
    tls: Option<ClusterTls>,
}

impl Links {
    /// Channels to the control plane's replicas, which connect when they are used.
    pub(super) fn control_plane(&self, urls: &ControlPlaneUrls) -> Vec<Channel> {
        let authorities = urls.0.iter().filter_map(Uri::authority);
        let endpoints = authorities.filter_map(|authority| endpoint(authority.as_str()).ok());
        endpoints.map(|endpoint| self.lazy(discovery_pace(endpoint))).collect()
    }

    /// For metrics; `None`: links are plain.
    pub(super) fn certificate(&self) -> Option<CertificateGauges> {
        self.tls.as_ref().map(ClusterTls::gauges)
    }

    /// How replicas of the control plane reach each other.
    pub(super) fn peering(&self, address: String) -> Peering {
        let links = self.clone();
        let dial: DialReplica = Arc::new(move |address| Ok(links.lazy(discovery_pace(endpoint(address)?))));
        Peering { address, dial }
    }

    /// Opens a node's links to its peers.
    pub(super) fn to_peers(&self) -> Connect {
        self.connecting(peer_pace)
    }

    /// Opens a node's channels to the others for its consumers of inbound streams.
    pub(super) fn for_consumers(&self) -> Connect {
        self.connecting(|endpoint| {
            peer_pace(endpoint)
                .initial_stream_window_size(CONSUMER_WINDOW_BYTES)
                .initial_connection_window_size(CALLS_PER_CONNECTION * CONSUMER_WINDOW_BYTES)
        })
    }

    fn connecting(&self, pace: fn(Endpoint) -> Endpoint) -> Connect {
        let tls = self.tls.clone();
        Arc::new(move |address| {
            let (endpoint, tls) = (endpoint(address), tls.clone());
            Box::pin(async move {
                let endpoint = pace(endpoint?);
                let connector = service_fn(move |uri| open(uri, tls.clone()));
                endpoint.connect_with_connector(connector).await.map_err(|e| with_causes(&e))
            })
        })
    }

    /// Opens a gateway's channels to nodes.
    pub(super) fn to_nodes(&self) -> Dial {
        let links = self.clone();
        Arc::new(move |address| Ok(links.lazy(peer_pace(endpoint(address)?))))
    }

    /// A port that processes of the cluster call.
    pub(super) fn port(&self, callers: Callers) -> ClusterPort {
        ClusterPort { tls: self.tls.clone(), callers }
    }

    fn lazy(&self, endpoint: Endpoint) -> Channel {
        let (tls, silent) = (self.tls.clone(), Arc::new(Silence::default()));
        let connector = service_fn(move |uri| {
            let (tls, silent) = (tls.clone(), Arc::clone(&silent));
            async move { silent.or_connect(open(uri, tls)).await }
        });
        endpoint.connect_with_connector_lazy(connector)
    }
}

/// Whether an address has just answered nothing at all. The calls that wait for one channel ask for a connection one
/// after the other: only the first of them waits for a host that is down.
#[derive(Debug, Default)]
struct Silence(Mutex<Option<Instant>>);

impl Silence {
    async fn or_connect<T>(&self, connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let until = *self.until();
        if until.is_some_and(|until| Instant::now() < until) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer a moment ago"));
        }
        let connected = connecting.await;
        let silent = connected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        *self.until() = silent.then(|| Instant::now() + ASK_AGAIN_AFTER);
        connected
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, plain or not.
type Opened = TokioIo<Either<TcpStream, TlsStream<TcpStream>>>;

/// One connection, in time. Not by the endpoint's own limit: its error does not say that nothing was sent.
async fn open(uri: Uri, tls: Option<ClusterTls>) -> io::Result<Opened> {
    timeout(CONNECT_WITHIN, connect(uri, tls))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
}

async fn connect(uri: Uri, tls: Option<ClusterTls>) -> io::Result<Opened> {
    let authority = uri.authority().ok_or_else(|| io::Error::other("no address"))?;
    let host = authority.host();
    let port = authority.port_u16().ok_or_else(|| io::Error::other("no port"))?;
    let socket = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    socket.set_nodelay(true)?;
    Ok(TokioIo::new(match tls {
        None => Either::Left(socket),
        Some(tls) => Either::Right(tls.connect(host, socket).await?),
    }))
}

/// By `host:port`. Whether TLS is spoken is the connector's affair, so that the scheme is always the plain one.
fn endpoint(authority: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|e| with_causes(&e))?;
    Ok(endpoint.keep_alive_while_idle(true))
}

fn discovery_pace(endpoint: Endpoint) -> Endpoint {
    endpoint.http2_keep_alive_interval(DISCOVERY_PING).keep_alive_timeout(DISCOVERY_PONG)
}

fn peer_pace(endpoint: Endpoint) -> Endpoint {
    endpoint.http2_keep_alive_interval(PEER_PING).keep_alive_timeout(PEER_PONG)
}

/// For discovery: the replicas as its client takes them.
pub(super) fn replicas(channels: &[Channel]) -> Option<Replicas> {
    let (first, others) = channels.split_first()?;
    Some(Replicas::new(first.clone(), others.iter().cloned()))
}

/// The side of the control plane that is called.
pub(super) fn control_plane_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(DISCOVERY_PING))
        .http2_keepalive_timeout(Some(DISCOVERY_PONG))
}

/// The side of a node that peers and gateways call. The answers of consumers' streams that are not read for a while hold
/// up no others: a connection takes as much as all of them may have.
pub(super) fn peer_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(PEER_PING))
        .http2_keepalive_timeout(Some(PEER_PONG))
        .max_concurrent_streams(Some(CALLS_PER_CONNECTION))
        .initial_connection_window_size(CALLS_PER_CONNECTION * CONSUMER_WINDOW_BYTES)
}

/// How others reach a port of this process.
#[derive(Debug)]
pub(super) struct Advertised(Option<(String, Option<u16>)>);

impl Advertised {
    /// Reads the flag of a port. Notes a port that nobody could call, and a name that the
    /// process's certificate does not hold.
    pub(super) fn resolve(
        r: &mut Resolver<'_>,
        (flag, given): (&str, Option<&String>),
        (listen_flag, listen): (&str, SocketAddr),
        links: &LinksConfig,
    ) -> Result<Self, Noted> {
        let advertised = r.optional(flag, given, advertised)?;
        match &advertised {
            Some((host, _)) => links.check_name(r, flag, host),
            None if listen.ip().is_unspecified() => {
                return Err(r.note(flag, &format!("is needed, because nobody can call {listen}")));
            }
            None => links.check_name(r, listen_flag, &listen.ip().to_string()),
        }
        Ok(Self(advertised))
    }

    /// `host:port` for the port that was bound.
    pub(super) fn address(&self, bound: SocketAddr) -> String {
        match &self.0 {
            Some((host, port)) => format!("{host}:{}", port.unwrap_or(bound.port())),
            None => bound.to_string(),
        }
    }
}

/// `HOST` or `HOST:PORT`.
fn advertised(text: &str) -> Result<(String, Option<u16>), String> {
    let problem = || "must be HOST or HOST:PORT, as the others reach this one".to_owned();
    let authority: Authority = text.parse().map_err(|_| problem())?;
    let host = authority.host();
    let nowhere = host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    if host.is_empty() || text.contains('@') || nowhere {
        return Err(problem());
    }
    Ok((host.to_owned(), authority.port_u16()))
}

fn is_this_machine(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// An error with what has led to it: the transport's own says only "transport error".
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_address_is_one_that_others_can_call() {
        assert_eq!(advertised("node-1.example"), Ok(("node-1.example".into(), None)));
        assert_eq!(advertised("10.0.0.1:7071"), Ok(("10.0.0.1".into(), Some(7071))));
        assert_eq!(advertised("[::1]:1"), Ok(("[::1]".into(), Some(1))));
        for bad in ["", "0.0.0.0:1", ":1", "a b", "u@h", "http://h"] {
            assert!(advertised(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn replicas_are_urls_with_a_port() {
        for good in ["http://127.0.0.1:7070", "http://h:1/", "https://[::1]:7070"] {
            assert!(replica_url(good).is_ok(), "{good}");
        }
        for bad in ["", "h:1", "http://h", "ftp://h:1", "http://u@h:1", "http://h:1/x"] {
            assert!(replica_url(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn only_the_first_call_waits_for_a_host_that_answers_nothing() {
        let silent = Silence::default();
        let error = |kind: io::ErrorKind| async move { io::Result::<()>::Err(kind.into()) };
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut] {
            assert_eq!(silent.or_connect(error(kind)).await.unwrap_err().kind(), kind);
        }
        let asked = silent.or_connect(async { panic!("nobody asks so soon") });
        let asked: io::Result<()> = asked.await;
        assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
