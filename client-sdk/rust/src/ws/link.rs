//! One connection: opening it, and its end as a value. Never retries.

use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderValue, Uri, header};
use realtime_proto::ConnectionId;
use serde::Deserialize;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::dial::{Stream, connector, host_and_port};
use super::options::Options;
use super::wire::{self, Incoming};

/// From dialling to the session's welcome. The server may take 2 s to decide about the subject's older
/// connection and 250 ms to tell its peers.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest frame taken. The server's own limit is a setting, 5 KiB by default; this only bounds memory.
const MAX_FRAME: usize = 16 << 20;

/// Of an answer that is no problem document, what may be shown.
const MAX_LINE: usize = 200;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<Box<dyn Stream>>>;

/// How a connection ended, or why it was never made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// The close code; 4000 + status for a refused opening; `None`: the connection broke.
    pub(super) code: Option<u16>,
    pub(super) reason: String,
    pub(super) retry_after: Option<Duration>,
}

impl End {
    pub(super) fn broken(reason: impl ToString) -> Self {
        Self { code: None, reason: reason.to_string(), retry_after: None }
    }

    pub(super) fn closed(frame: Option<&CloseFrame>) -> Self {
        match frame {
            None => Self::broken("closed without a code"),
            Some(frame) => {
                Self { code: Some(frame.code.into()), reason: frame.reason.to_string(), retry_after: None }
            }
        }
    }

    fn refused(response: &Response) -> Self {
        #[derive(Deserialize)]
        struct Problem {
            detail: Option<String>,
            title: Option<String>,
        }
        let status = response.status();
        let body = response.body().as_deref().unwrap_or_default();
        let problem = serde_json::from_slice(body).ok().and_then(|p: Problem| p.detail.or(p.title));
        let said = problem.or_else(|| plain(response).map(str::to_owned));
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        Self {
            code: Some(4000 + status.as_u16()),
            reason: said.unwrap_or_else(|| status.to_string()),
            retry_after: retry_after.and_then(|s| s.parse().ok()).map(Duration::from_secs),
        }
    }
}

/// What a server that has no problem documents says, such as that its port speaks another protocol; one short line.
fn plain(response: &Response) -> Option<&str> {
    let media_type = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let line = std::str::from_utf8(response.body().as_deref()?).ok()?.trim();
    let is_line = (1..=MAX_LINE).contains(&line.len()) && !line.contains(char::is_control);
    (media_type.starts_with("text/plain") && is_line).then_some(line)
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(response) => Self::refused(&response),
            other => Self::broken(other),
        }
    }
}

/// Opens a session: resolves once the server's welcome is there.
pub(super) async fn open(options: &Options, uri: &Uri) -> Result<(Socket, ConnectionId), End> {
    timeout(OPEN_TIMEOUT, async {
        let token = options.token.get().await.map_err(End::broken)?;
        let mut socket = upgrade(options, uri, &token).await?;
        let connection = welcome(&mut socket).await?;
        Ok((socket, connection))
    })
    .await
    .unwrap_or_else(|_| Err(End::broken("no session in time")))
}

async fn upgrade(options: &Options, uri: &Uri, token: &str) -> Result<Socket, End> {
    let (host, port) = host_and_port(uri);
    let cannot = |e: std::io::Error| End::broken(format!("cannot connect to {host}:{port}: {e}"));
    let stream = options.dial.dial(host, port).await.map_err(cannot)?;
    let mut request = uri.into_client_request()?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| End { code: Some(4401), ..End::broken("the token cannot be put into a header") })?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME));
    let (socket, _) =
        client_async_tls_with_config(request, stream, Some(config), connector(uri, options.tls.as_ref()))
            .await?;
    Ok(socket)
}

/// The first frame is the welcome on `main`, or the session is refused by a close.
async fn welcome(socket: &mut Socket) -> Result<ConnectionId, End> {
    loop {
        match socket.next().await {
            None => return Err(End::broken("closed before the welcome")),
            Some(Err(e)) => return Err(e.into()),
            Some(Ok(Frame::Close(frame))) => {
                finish(socket).await;
                return Err(End::closed(frame.as_ref()));
            }
            Some(Ok(Frame::Text(text))) => {
                return match wire::read(text.as_str()) {
                    Ok(Incoming::Welcome { connection: Some(id), .. }) => Ok(id),
                    _ => Err(End::broken("the server does not speak this protocol")),
                };
            }
            Some(Ok(Frame::Binary(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => {}
        }
    }
}

/// Lets the closing handshake run out, so that the peer sees an orderly end.
pub(super) async fn finish(socket: &mut Socket) {
    /// A peer that does not answer a close in this time is gone.
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
    let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = socket.next().await {} }).await;
}
