//! A way to an HTTP server on which requests meet faults, one after the other as a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It reaches the server, and the answer comes back.
    None,
    /// It reaches nobody; these bytes, status line and all, are the answer.
    Answer(Vec<u8>),
    /// It reaches nobody, and the connection is closed.
    Reset,
    /// It reaches nobody, and nothing answers.
    Silence,
    /// It waits until the proxy is told something else, and meets that.
    Hold,
    /// It reaches the server, and the answer is lost with the connection.
    LostAnswer,
}

impl Fault {
    /// An answer with a status and a body.
    #[must_use]
    pub fn answer(status: &str, body: &str) -> Self {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        Self::Answer((head + body).into_bytes())
    }
}

/// Decides on a request by its number, from 0.
type Script = dyn Fn(usize) -> Fault + Send + Sync;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A proxy on a free port; it ends with the value.
pub struct FaultProxy {
    way: Arc<Way>,
    listen: SocketAddr,
    /// Keeps the port while nobody listens on it.
    _port: TcpSocket,
    /// None while connections are refused.
    task: Option<JoinHandle<()>>,
}

/// What its connections share.
struct Way {
    server: String,
    script: watch::Sender<Arc<Script>>,
    requests: AtomicUsize,
    last_head: Mutex<String>,
}

impl FaultProxy {
    /// A way to the server at an address, at first without faults.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(address: &str) -> Self {
        let port = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listen = port.local_addr().expect("the bound address");
        let (script, _) = watch::channel::<Arc<Script>>(Arc::new(|_| Fault::None));
        let (requests, last_head) = (AtomicUsize::default(), Mutex::default());
        let way = Arc::new(Way { server: address.to_owned(), script, requests, last_head });
        let mut proxy = Self { way, listen, _port: port, task: None };
        proxy.listens();
        proxy
    }

    /// Breaks its connections and refuses new ones, until it [listens](Self::listens) again.
    pub async fn refuses(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The error is that it was aborted; then its sockets are closed.
            let _ = task.await;
        }
    }

    /// Takes connections, as it does from the beginning.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn listens(&mut self) {
        let listener = socket(self.listen).listen(BACKLOG).expect("a listener on a port of our own");
        self.task = Some(tokio::spawn(accept(listener, Arc::clone(&self.way))));
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Every request meets this from now on.
    pub fn meets(&self, fault: Fault) {
        self.way.script.send_replace(Arc::new(move |_| fault.clone()));
    }

    /// Requests meet what the script says to their number, counted from the first of all.
    pub fn follows(&self, script: impl Fn(usize) -> Fault + Send + Sync + 'static) {
        self.way.script.send_replace(Arc::new(script));
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.way.requests.load(Ordering::SeqCst)
    }

    /// The head of the last request, in lower case; empty before the first.
    #[must_use]
    pub fn last_head(&self) -> String {
        self.way.last_head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultProxy({})", self.listen)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Bound, and several may be to one port: one keeps it, another listens.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("a port that several sockets share");
    socket.bind(address).expect("a free port");
    socket
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let way = Arc::clone(&way);
        // A client that goes early is no concern of the proxy's.
        connections.spawn(async move { serve(socket, &way).await });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(socket: TcpStream, way: &Way) -> io::Result<()> {
    let mut client = BufReader::new(socket);
    let mut scripts = way.script.subscribe();
    loop {
        let (request, head) = message(&mut client).await?;
        *way.last_head.lock().unwrap_or_else(PoisonError::into_inner) = head;
        let number = way.requests.fetch_add(1, Ordering::SeqCst);
        let fault = loop {
            let script = Arc::clone(&scripts.borrow_and_update());
            match script(number) {
                Fault::Hold => scripts.changed().await.map_err(io::Error::other)?,
                fault => break fault,
            }
        };
        if let Fault::Silence = fault {
            std::future::pending::<()>().await;
        }
        let answer = match fault {
            Fault::None | Fault::LostAnswer => {
                let mut server = BufReader::new(TcpStream::connect(&way.server).await?);
                server.get_mut().write_all(&request).await?;
                message(&mut server).await?.0
            }
            Fault::Answer(ref answer) => answer.clone(),
            Fault::Reset | Fault::Silence | Fault::Hold => return Ok(()),
        };
        if let Fault::LostAnswer = fault {
            return Ok(());
        }
        client.get_mut().write_all(&answer).await?;
        if !matches!(fault, Fault::None) {
            return client.get_mut().shutdown().await;
        }
    }
}

/// A request or an answer with a `Content-Length`, or without a body; and its head in lower case.
async fn message(from: &mut BufReader<TcpStream>) -> io::Result<(Vec<u8>, String)> {
    let (mut text, mut head, mut length) = (Vec::new(), String::new(), 0);
    loop {
        let start = text.len();
        if from.read_until(b'\n', &mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&text[start..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let body = text.len();
    text.resize(body + length, 0);
    from.read_exact(&mut text[body..]).await?;
    Ok((text, head))
}
