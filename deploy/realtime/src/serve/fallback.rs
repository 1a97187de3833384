//! The gateway's router behind the front door: everything on the public port but `/apps/…`.

use std::convert::Infallible;

use axum::Router;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use realtime_data_plane::Fallback;
use realtime_data_plane::front_door::Body;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

/// Adapts the router. Its answers are documents that are in memory already, so collecting them copies nothing
/// of size; it makes their body shareable between threads, as the front door wants it.
pub(super) fn gateway(router: Router) -> Fallback {
    BoxCloneSyncService::new(service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await?;
            Ok::<_, Infallible>(collected(response).await)
        }
    }))
}

async fn collected(response: Response<axum::body::Body>) -> Response<Body> {
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => Response::from_parts(head, full(body.to_bytes())),
        Err(error) => {
            tracing::error!(%error, "the gateway's answer broke off");
            let mut response = Response::new(full(bytes::Bytes::new()));
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn full(bytes: bytes::Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}
