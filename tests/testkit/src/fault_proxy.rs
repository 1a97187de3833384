//! A way to an HTTP server on which requests meet faults, one after the other as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, io};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
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

/// A proxy on a free port; it ends with the value.
pub struct FaultProxy {
    url: String,
    script: watch::Sender<Arc<Script>>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// A way to the server at an address, at first without faults.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("the bound address"));
        let (script, scripts) = watch::channel::<Arc<Script>>(Arc::new(|_| Fault::None));
        let requests: Arc<AtomicUsize> = Arc::default();
        let task = tokio::spawn(accept(listener, address.to_owned(), scripts, Arc::clone(&requests)));
        Self { url, script, requests, task }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Every request meets this from now on.
    pub fn meets(&self, fault: Fault) {
        self.script.send_replace(Arc::new(move |_| fault.clone()));
    }

    /// Requests meet what the script says to their number, counted from the first of all.
    pub fn follows(&self, script: impl Fn(usize) -> Fault + Send + Sync + 'static) {
        self.script.send_replace(Arc::new(script));
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultProxy({})", self.url)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    address: String,
    scripts: watch::Receiver<Arc<Script>>,
    requests: Arc<AtomicUsize>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (address, scripts, requests) = (address.clone(), scripts.clone(), Arc::clone(&requests));
        // A client that goes early is no concern of the proxy's.
        connections.spawn(async move { serve(socket, &address, &scripts, &requests).await });
    }
}

async fn serve(
    socket: TcpStream,
    address: &str,
    scripts: &watch::Receiver<Arc<Script>>,
    requests: &AtomicUsize,
) -> io::Result<()> {
    let mut client = BufReader::new(socket);
    loop {
        let request = message(&mut client).await?;
        let number = requests.fetch_add(1, Ordering::SeqCst);
        let script = Arc::clone(&scripts.borrow());
        let fault = script(number);
        if let Fault::Silence = fault {
            std::future::pending::<()>().await;
        }
        let answer = match fault {
            Fault::None | Fault::LostAnswer => {
                let mut server = BufReader::new(TcpStream::connect(address).await?);
                server.get_mut().write_all(&request).await?;
                message(&mut server).await?
            }
            Fault::Answer(ref answer) => answer.clone(),
            Fault::Reset | Fault::Silence => return Ok(()),
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

/// A request or an answer with a `Content-Length`, or without a body.
async fn message(from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut text, mut length) = (Vec::new(), 0);
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
    }
    let head = text.len();
    text.resize(head + length, 0);
    from.read_exact(&mut text[head..]).await?;
    Ok(text)
}
