//! Turns the gateway's functions into route handlers: every refusal becomes a problem document, a panic
//! becomes one with status 500, and where pages of other origins may call, CORS headers are added.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures_util::FutureExt as _;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::{ApiError, ErrorCode};

use crate::{Shared, cors, respond};

/// What every function of the API returns.
pub(crate) type Answer = Result<Response, ApiError>;

/// Whether pages of other origins may call.
#[derive(Debug, Clone, Copy)]
enum Browsers {
    SameOrigin,
    AllowedOrigins,
}

/// A function of the API as a route handler. A value instead of a middleware layer: one box per request.
#[derive(Debug)]
pub(crate) struct Endpoint<H> {
    handler: H,
    browsers: Browsers,
}

impl<H: Clone> Clone for Endpoint<H> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), browsers: self.browsers }
    }
}

impl<H> Endpoint<H> {
    /// For services, the console and commands.
    pub(crate) fn plain(handler: H) -> Self {
        Self { handler, browsers: Browsers::SameOrigin }
    }

    /// For paths of one application, which may allow origins.
    pub(crate) fn cors(handler: H) -> Self {
        Self { handler, browsers: Browsers::AllowedOrigins }
    }
}

/// Tells this implementation of [`Handler`] from axum's own for functions.
pub(crate) struct Marker<F>(PhantomData<F>);

impl<H, F, P, A, S> Handler<Marker<F>, Shared<P, A, S>> for Endpoint<H>
where
    H: FnOnce(Shared<P, A, S>, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
    P: PubSub,
    A: Apps,
    S: Settings,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, state: Shared<P, A, S>) -> Self::Future {
        Box::pin(async move {
            let cross_origin = match self.browsers {
                Browsers::SameOrigin => None,
                Browsers::AllowedOrigins => cors::CrossOrigin::of(&request, &state.snapshots),
            };
            let answer = AssertUnwindSafe((self.handler)(state, request)).catch_unwind().await;
            let mut response = match answer {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => respond::problem(&error),
                Err(_) => respond::problem(&ApiError::new(ErrorCode::Internal, "a handler panicked")),
            };
            if let Some(cross_origin) = cross_origin {
                cross_origin.allow(&mut response);
            }
            response
        })
    }
}
