//! The gateway's router behind the front door: everything on the public port but `/apps/…`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use realtime_data_plane::Fallback;
use realtime_data_plane::front_door::Body;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

/// What is taken of a body that the router answered without: as much as the largest that any route reads.
const UNREAD_BYTES: usize = 256 * 1024;
/// How long it is taken: what a slow mobile network delivers of it; who sends more slowly may see the stream reset.
const UNREAD_WITHIN: Duration = Duration::from_secs(2);

/// Adapts the router. Its answers are documents that are in memory already, so collecting them copies nothing
/// of size; it makes their body shareable between threads, as the front door wants it.
pub(super) fn gateway(router: Router) -> Fallback {
    BoxCloneSyncService::new(service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            // HTTP/1.1's connection deals with it itself, and who waits for a 100 sends nothing.
            let takes_rest = request.version() == Version::HTTP_2 && !request.headers().contains_key(EXPECT);
            let (request, unread) = watched(request);
            let response = collected(router.oneshot(request).await?).await;
            if takes_rest && let Ok(rest) = unread.await {
                discard(rest).await;
            }
            Ok::<_, Infallible>(response)
        }
    }))
}

/// A request whose body comes back if it was not read to its end. An answer over HTTP/2 that overtakes the body
/// resets the stream, and usual clients (curl 7.88) then report that instead of the answer.
fn watched(request: Request<Incoming>) -> (Request<Watched>, oneshot::Receiver<Incoming>) {
    let (back, unread) = oneshot::channel();
    (request.map(|body| Watched { body: Some(body), back: Some(back) }), unread)
}

/// A body that is sent back when it is dropped before its end.
struct Watched {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Some(back)) = (unread, self.back.take()) {
            // Nobody waits for it where the answer has been given up.
            let _ = back.send(body);
        }
    }
}

/// Takes what is left of a body; gives up silently.
async fn discard(mut body: Incoming) {
    let mut taken = 0;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > UNREAD_BYTES {
                return;
            }
        }
    };
    // Late or not, the answer is the same.
    let _ = timeout(UNREAD_WITHIN, rest).await;
}

async fn collected(response: Response<axum::body::Body>) -> Response<Body> {
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => Response::from_parts(head, full(body.to_bytes())),
        Err(error) => {
            tracing::error!(%error, "the gateway's answer broke off");
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}
