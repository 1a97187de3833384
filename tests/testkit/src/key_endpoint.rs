//! An identity provider's JWKS endpoint, over plain HTTP or HTTPS, that answers what a test says and counts what
//! it is asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the endpoint's URLs have in their query, and nothing may ever show.
pub const QUERY_SECRET: &str = "secret-of-the-query";

/// What the endpoint answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These bytes, status line and all.
    Bytes(Vec<u8>),
    /// Nothing, until it shall answer otherwise.
    Silence,
}

impl Answer {
    /// A status, header lines and a body.
    #[must_use]
    pub fn new(status: &str, headers: &[&str], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        Self::Bytes((text + "Connection: close\r\n\r\n" + body).into_bytes())
    }

    /// A key set.
    #[must_use]
    pub fn keys(keys: &[Value]) -> Self {
        Self::new("200 OK", &["Content-Type: application/json"], &json!({"keys": keys}).to_string())
    }

    /// The failure of a server behind the endpoint.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new("503 Service Unavailable", &[], "")
    }
}

/// A running endpoint on a free port; it ends with the value.
pub struct KeyEndpoint {
    origin: String,
    certificate: Option<String>,
    answer: watch::Sender<Answer>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl KeyEndpoint {
    /// Plain HTTP.
    pub async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    /// HTTPS with a certificate of its own for `localhost` and `127.0.0.1`.
    ///
    /// # Panics
    /// When the certificate cannot be made.
    pub async fn start_tls(answer: Answer) -> Self {
        let names = ["localhost", "127.0.0.1"].map(String::from);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("the certificate and its key");
        Self::serve(answer, Some((cert.pem(), TlsAcceptor::from(Arc::new(config))))).await
    }

    async fn serve(answer: Answer, tls: Option<(String, TlsAcceptor)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("the bound address").port();
        let (answer, answers) = watch::channel(answer);
        let requests = Arc::default();
        let (certificate, acceptor) = tls.unzip();
        let origin = match certificate {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let task = tokio::spawn(accept(listener, acceptor, answers, Arc::clone(&requests)));
        Self { origin, certificate, answer, requests, task }
    }

    /// The key set's URL, with a secret in its query.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/keys?key={QUERY_SECRET}", self.origin)
    }

    /// The host and port of the URL.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn host(&self) -> &str {
        self.origin.split_once("://").expect("an origin").1
    }

    /// The certificate as PEM.
    ///
    /// # Panics
    /// Where the endpoint speaks plain HTTP.
    #[must_use]
    pub fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("an HTTPS endpoint")
    }

    /// `authKey` or `adminKey` of an app whose keys come from here.
    #[must_use]
    pub fn key_config(&self) -> Value {
        json!({"source": "jwks", "jwksUri": self.url(), "audience": "realtime", "issuer": []})
    }

    /// Answers this from now on; who waits for an answer gets it too.
    pub fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Requests so far, those without an answer included.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for KeyEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for KeyEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEndpoint({})", self.origin)
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answers: watch::Receiver<Answer>,
    requests: Arc<AtomicUsize>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, answers, requests) = (tls.clone(), answers.clone(), Arc::clone(&requests));
        connections.spawn(async move { connection(socket, tls, answers, &requests).await });
    }
}

/// A client that goes early is no concern of the endpoint's.
async fn connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    answers: watch::Receiver<Answer>,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    match tls {
        Some(tls) => respond(tls.accept(socket).await?, answers, requests).await,
        None => respond(socket, answers, requests).await,
    }
}

async fn respond(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    mut answers: watch::Receiver<Answer>,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let answer = answers.wait_for(|answer| !matches!(answer, Answer::Silence)).await;
    let answer = answer.map(|answer| answer.clone()).map_err(std::io::Error::other)?;
    if let Answer::Bytes(bytes) = answer {
        socket.write_all(&bytes).await?;
    }
    socket.shutdown().await
}
