//! One connection, from its first request to its end or to its shard.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2 as h2};
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use realtime_auth::ClientAddress;
use realtime_proto::address::client_address;
use realtime_proto::{AddressList, ApiError, CloseCode, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::http2::{self, Streams};
use super::opening::{Admission, Handshake, admit, check_handshake, check_serving};
use super::query::SessionQuery;
use super::response::{problem, switching};
use super::{Body, CLOSE_WITHIN, Door, arrival};
use crate::places::Place;
use crate::tls::Transport;
use crate::{Arrival, Stream};

/// Request line plus headers (docs/contract.md 2.1).
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request: browsers behind proxies send about thirty.
const MAX_HEADERS: usize = 100;
/// What the parser takes before it gives up with a 431 without a body. Above the documented limits, so that whoever
/// is over them by accident reads why.
pub(super) const PARSER_HEAD_BYTES: usize = 64 * 1024;
const PARSER_HEADERS: usize = 512;
/// hyper's buffer for one connection; it must hold the largest head that the parser takes.
const BUFFER_BYTES: usize = 2 * PARSER_HEAD_BYTES;

/// What an upgraded connection is for.
enum Purpose {
    /// A session.
    Session { admission: Admission, address: IpAddr, deflate: bool, ack_envelope: bool },
    /// To be told why not (`refusals=close`).
    Refusal(ApiError),
}

/// What the requests of one connection share.
struct Connection {
    door: Arc<Door>,
    peer: SocketAddr,
    place: Place,
    /// Set by the request that upgrades; taken when hyper has let go of the socket.
    upgrade: Mutex<Option<(OnUpgrade, Purpose)>>,
}

/// Serves a connection until it ends or its shard has it.
pub(super) async fn serve(
    door: Arc<Door>,
    socket: TcpStream,
    peer: SocketAddr,
    place: Place,
    stop: CancellationToken,
) {
    // Frames are small and written when they are due; waiting for more of them is the shards' business.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, %peer, "TCP_NODELAY");
    }
    let received = tokio::select! {
        received = arrival::receive(&door, socket, peer) => received,
        () = stop.cancelled() => None,
    };
    let Some((transport, peer)) = received else { return };
    let connection = Arc::new(Connection { door, peer, place, upgrade: Mutex::new(None) });
    if transport.is_http2() {
        connection.speak_http2(transport, stop).await;
    } else {
        connection.speak_http1(transport, stop).await;
    }
    let upgrade = connection.upgrade.lock().take();
    if let Some((on_upgrade, purpose)) = upgrade {
        match on_upgrade.await {
            Ok(upgraded) => connection.go_on(upgraded, purpose).await,
            Err(error) => tracing::debug!(%error, %peer, "the connection ended before its upgrade"),
        }
    }
}

impl Connection {
    async fn speak_http1(self: &Arc<Self>, transport: Transport, stop: CancellationToken) {
        let service = service_fn(|request| {
            let connection = Arc::clone(self);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.door.limits.headers_within)
            .max_header_size(PARSER_HEAD_BYTES)
            .max_headers(PARSER_HEADERS)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(transport), service)
            .with_upgrades();
        self.see_through(http, http1::UpgradeableConnection::graceful_shutdown, self.end(stop)).await;
    }

    async fn speak_http2(self: &Arc<Self>, transport: Transport, stop: CancellationToken) {
        let streams = Streams::default();
        let _ended = streams.end_on_drop();
        let service = service_fn(|request| {
            let connection = Arc::clone(self);
            async move { Ok::<_, Infallible>(without_connection_headers(connection.answer(request).await)) }
        });
        let http = http2::builder(&streams).serve_connection(TokioIo::new(transport), service);
        let end = async {
            tokio::select! {
                reason = self.end(stop) => reason,
                () = self.place.idle_for(self.door.limits.headers_within) => "idle",
            }
        };
        self.see_through(http, h2::Connection::graceful_shutdown, end).await;
        streams.end().await;
    }

    /// Resolves with the reason when the connection is to take no further request.
    async fn end(&self, stop: CancellationToken) -> &'static str {
        tokio::select! {
            () = stop.cancelled() => "stopping",
            () = sleep(self.door.limits.connection_age) => "old",
        }
    }

    /// Serves requests until the client or `end` says that it is enough.
    async fn see_through<C: Future<Output = hyper::Result<()>>>(
        &self,
        http: C,
        shut_down: fn(Pin<&mut C>),
        end: impl Future<Output = &'static str>,
    ) {
        let mut http = std::pin::pin!(http);
        let reason = tokio::select! {
            ended = http.as_mut() => return self.note(ended),
            reason = end => reason,
        };
        shut_down(http.as_mut());
        match timeout(self.door.limits.finish_within, http).await {
            Ok(ended) => self.note(ended),
            Err(_) => tracing::debug!(peer = %self.peer, reason, "a request in flight was cut off"),
        }
    }

    fn note(&self, ended: hyper::Result<()>) {
        if let Err(error) = ended {
            tracing::debug!(%error, peer = %self.peer, "HTTP connection");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let _keeps_its_place = self.place.request();
        match timeout(self.door.limits.answer_within, self.route(request)).await {
            Ok(response) => response,
            Err(_) => problem(&ApiError::new(ErrorCode::Unavailable, "the request took too long")),
        }
    }

    async fn route(&self, mut request: Request<Incoming>) -> Response<Body> {
        if let Err(refusal) = check_head(&request) {
            // What follows such a head may be part of it: nothing more is read.
            let mut response = problem(&refusal);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        let address = self.client_address(request.headers());
        if let Some(app_id) = request.uri().path().strip_prefix("/apps/") {
            let app_id = app_id.to_owned();
            return self.open(&app_id, request, address).await;
        }
        let Some(fallback) = self.door.fallback.clone() else {
            return problem(&ApiError::new(ErrorCode::NotFound, "there is nothing at this path"));
        };
        request.extensions_mut().insert(ClientAddress(address));
        match fallback.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn open(&self, app_id: &str, mut request: Request<Incoming>, address: IpAddr) -> Response<Body> {
        let handshake = check_handshake(&request);
        let query = SessionQuery::parse(request.uri().query().unwrap_or_default());
        let verdict = match check_serving(&self.door).and(handshake.as_ref().map_err(ApiError::clone)) {
            Ok(_) => admit(&self.door, app_id, &query, request.headers(), address).await,
            Err(refusal) => Err(refusal),
        };
        let (handshake, purpose) = match (handshake, verdict) {
            (Ok(handshake), Ok(admission)) => {
                let (deflate, ack_envelope) = (handshake.deflate, query.ack_envelope);
                (handshake, Purpose::Session { admission, address, deflate, ack_envelope })
            }
            // No frames but the close will be sent: nothing is negotiated.
            (Ok(handshake), Err(refusal)) if query.refusals_close => {
                (Handshake { deflate: false, ..handshake }, Purpose::Refusal(refusal))
            }
            (_, Err(refusal)) | (Err(refusal), _) => return problem(&refusal),
        };
        *self.upgrade.lock() = Some((hyper::upgrade::on(&mut request), purpose));
        let extension = handshake.extension();
        switching(handshake.accept, extension)
    }

    /// The client's address: what trusted proxies say, else the socket's; IPv4 as IPv4.
    fn client_address(&self, headers: &HeaderMap) -> IpAddr {
        let snapshot = self.door.snapshots.borrow().clone();
        let nobody = AddressList::default();
        let trusted = snapshot.as_ref().map_or(&nobody, |snapshot| &snapshot.settings.trusted_proxies);
        let forwarded_for = joined(headers, "x-forwarded-for");
        let forwarded = joined(headers, "forwarded");
        client_address(self.peer.ip(), forwarded_for.as_deref(), forwarded.as_deref(), trusted).to_canonical()
    }

    async fn go_on(&self, upgraded: Upgraded, purpose: Purpose) {
        let parts = match upgraded.downcast::<TokioIo<Transport>>() {
            Ok(parts) => parts,
            Err(_) => {
                tracing::error!("an upgraded connection is not the one that was accepted");
                return;
            }
        };
        let transport = parts.io.into_inner();
        match purpose {
            Purpose::Session { admission, address, deflate, ack_envelope } => {
                let Some((stream, read_ahead)) = self.take_back(transport, parts.read_buf).await else {
                    return;
                };
                let Admission { app, identity } = admission;
                let remote_address = address;
                let arrival =
                    Arrival { stream, read_ahead, app, identity, remote_address, deflate, ack_envelope };
                // Another opening may have taken the last place since the check; the shards have closed the socket.
                let adopted = self.door.shards().and_then(|shards| shards.adopt(arrival));
                if let Err(refusal) = adopted {
                    tracing::debug!(code = refusal.code.name(), peer = %self.peer, "no place for an opened session");
                }
            }
            Purpose::Refusal(refusal) => {
                if timeout(CLOSE_WITHIN, close(transport, &refusal)).await.is_err() {
                    tracing::debug!(peer = %self.peer, "a refused client did not close");
                }
            }
        }
    }

    /// The connection as a shard takes it, with all that was read from it.
    async fn take_back(&self, transport: Transport, read: Bytes) -> Option<(Stream, Bytes)> {
        // The answer to the opening is all that could still have to be written.
        match timeout(self.door.limits.answer_within, transport.into_stream()).await {
            Ok(Ok((stream, rest))) if rest.is_empty() => Some((stream, read)),
            Ok(Ok((stream, rest))) => Some((stream, [read, rest].concat().into())),
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %self.peer, "taking a connection back from the reactor");
                None
            }
            Err(_) => None,
        }
    }
}

/// Sends the close frame and waits until the client has closed too, so that it reads the frame before a reset.
async fn close(mut transport: Transport, refusal: &ApiError) {
    let code = CloseCode::Refused(refusal.code.http_status());
    let mut frame = Vec::new();
    // The error's name in place of the table's text: a browser gets nothing else to read.
    realtime_session::frame::write_close(&mut frame, code.code(), refusal.code.name());
    let mut sink = [0; 256];
    if transport.write_all(&frame).await.is_ok() && transport.shutdown().await.is_ok() {
        while transport.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    }
}

/// What HTTP/2 has no place for (RFC 9113, 8.2.2): each stream ends by itself, and nothing is upgraded.
fn without_connection_headers(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().remove(header::CONNECTION);
    response.headers_mut().remove(header::UPGRADE);
    response
}

/// The limits of request line plus headers, the one `Host` that RFC 9112 section 3.2 asks for, and the one transfer
/// coding that is understood, once: a proxy in front may have cut a request with others differently.
fn check_head<B>(request: &Request<B>) -> Result<(), ApiError> {
    let headers = request.headers();
    if headers.len() > MAX_HEADERS {
        return Err(ApiError::new(ErrorCode::HeadersTooLarge, "more than 100 headers"));
    }
    // As on the wire: "GET /target HTTP/1.1", "name: value" and their line ends.
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + " HTTP/1.1 \r\n".len();
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    if line + fields.sum::<usize>() > MAX_HEAD_BYTES {
        return Err(ApiError::new(ErrorCode::HeadersTooLarge, "request line and headers are over 16 KiB"));
    }
    let hosts = headers.get_all(header::HOST).iter().count();
    let names_host = match request.version() {
        Version::HTTP_11 => hosts == 1,
        // `:authority` takes the place of the header (RFC 9113, 8.3.1), and need not.
        Version::HTTP_2 => hosts <= 1 && (hosts == 1 || request.uri().authority().is_some()),
        _ => true,
    };
    if !names_host {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "a request must name one Host"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let understood = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !understood || codings.next().is_some() {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "the only transfer coding is chunked, once"));
    }
    Ok(())
}

/// The values of a list header as one list; `None` without any. What is no text stays in its place as what is no
/// address: a header that is there must not count as absent, or a client could have its own word preferred.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}
