//! The admin listener: `/metrics`, `/livez`, `/readyz`. Knows nothing of the role that it speaks for:
//! readiness and the metrics' text come from closures.
//!
//! Never here: authentication. The listener is for the operator's network, not for the public one.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use realtime_proto::problem::{PROBLEM_MEDIA_TYPE, problem_json};
use realtime_proto::{ApiError, ErrorCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at one time; further ones wait in the backlog. A few scrapers and probes are all that comes.
const CONNECTIONS: usize = 64;
/// Longer than the usual scrape interval, so that scrapers keep their connection.
const HEADERS_WITHIN: Duration = Duration::from_secs(90);
/// For an answer under way at a stop; it is made at once and small.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// After a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The media type of Prometheus's text format.
const METRICS_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Says whether the process is ready, or why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;
/// Renders the metrics in Prometheus's text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// What the listener asks its role.
#[derive(Clone)]
pub struct AdminListener {
    ready: Readiness,
    metrics: MetricsText,
}

impl AdminListener {
    /// A listener that answers with these; both are called for each request and must not block.
    pub fn new(
        ready: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { ready: Arc::new(ready), metrics: Arc::new(metrics) }
    }

    /// Serves until `shutdown` resolves, then ends open connections. Dropping the future does the same.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let stop = CancellationToken::new();
        let _stop_on_drop = stop.clone().drop_guard();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        let accepting = async {
            while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
                match listener.accept().await {
                    Ok((socket, _)) => {
                        let connection = self.clone().connection(socket, stop.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting on the admin listener");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = shutdown => {}
        }
        drop(listener);
        stop.cancel();
        connections.close();
        connections.wait().await;
    }

    async fn connection(self, socket: TcpStream, stop: CancellationToken) {
        let service = service_fn(|request| {
            let response = self.answer(&request);
            async { Ok::<_, Infallible>(response) }
        });
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .serve_connection(TokioIo::new(socket), service);
        let mut http = std::pin::pin!(http);
        let ended = tokio::select! {
            ended = http.as_mut() => ended,
            () = stop.cancelled() => {
                http.as_mut().graceful_shutdown();
                timeout(FINISH_WITHIN, http).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "admin connection");
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !matches!(path, "/livez" | "/readyz" | "/metrics") {
            return problem(&ApiError::new(ErrorCode::NotFound, "there is nothing at this path"));
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = problem(&ApiError::new(ErrorCode::MethodNotAllowed, "only GET and HEAD"));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => text(StatusCode::OK, METRICS_MEDIA_TYPE, (self.metrics)()),
            "/readyz" => match (self.ready)() {
                Ok(()) => plain(StatusCode::OK, "ready\n"),
                Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {reason}\n")),
            },
            _ => plain(StatusCode::OK, "alive\n"),
        }
    }
}

impl fmt::Debug for AdminListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminListener").finish_non_exhaustive()
    }
}

fn plain(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", body.to_owned())
}

fn problem(error: &ApiError) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(status, PROBLEM_MEDIA_TYPE, problem_json(error))
}

fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
