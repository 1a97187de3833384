//! One call, offered to one process after the other until one of them has it.

use std::error::Error;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use realtime_proto::{ApiError, ErrorCode};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{ConnectError, Request, Response, Status};

use super::Counters;

/// Seconds until a caller whom nobody could serve should ask again: other processes take over within a few.
const RETRY_SECONDS: u32 = 2;

/// A process that may take a call.
pub(super) trait Target {
    /// The way to it.
    fn channel(&self) -> Channel;
    /// It could not be reached.
    fn unreachable(&self);
}

/// What a call does where it is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it may be asked again.
    Reads,
    /// Something that must not be done twice.
    Changes,
}

/// What is known of a call that did not succeed.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The process has answered: this is its refusal.
    Answered,
    /// The process was not reached.
    Unreached,
    /// The process says that it takes no calls for now.
    Draining,
    /// It may have been processed.
    Unknown,
}

/// Offers `message` to the targets in turn. `what` names them, for people.
pub(super) async fn offer<T, R>(
    (what, effect): (&str, Effect),
    targets: impl IntoIterator<Item = impl Target>,
    metadata: &MetadataMap,
    message: T,
    counters: &Counters,
    call: impl Fn(Channel, Request<T>) -> BoxFuture<'static, Result<Response<R>, Status>>,
) -> Result<Response<R>, Status>
where
    T: Clone,
{
    let mut asked = false;
    for target in targets {
        if std::mem::replace(&mut asked, true) {
            counters.passed_on.fetch_add(1, Ordering::Relaxed);
        }
        let mut request = Request::new(message.clone());
        *request.metadata_mut() = metadata.clone();
        let status = match call(target.channel(), request).await {
            Ok(response) => return Ok(response),
            Err(status) => status,
        };
        match fate(&status) {
            Fate::Answered => return Err(status),
            Fate::Unknown if effect == Effect::Reads => target.unreachable(),
            Fate::Unknown => {
                // For the calls after this one.
                target.unreachable();
                counters.unknown.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = told(&status), "a call to {what} was sent and has no answer");
                let detail =
                    format!("{what} did not answer; the call may have been carried out all the same");
                return Err(unavailable(detail));
            }
            Fate::Unreached => {
                tracing::debug!(error = told(&status), "{what} cannot be reached");
                target.unreachable();
            }
            Fate::Draining => {}
        }
    }
    counters.refused.fetch_add(1, Ordering::Relaxed);
    Err(unavailable(format!("{what} cannot be reached; nothing was done")))
}

/// With what has led to it: the transport's own words are "transport error".
fn told(status: &Status) -> String {
    let causes = status.source().into_iter().flat_map(causes);
    causes.fold(status.message().to_owned(), |text, cause| format!("{text}: {cause}"))
}

fn unavailable(detail: String) -> Status {
    ApiError::new(ErrorCode::Unavailable, detail).retry_after(RETRY_SECONDS).into()
}

fn fate(status: &Status) -> Fate {
    // What the transport says has a cause in this process; what a server answers has none.
    let Some(cause) = status.source() else {
        let draining = ApiError::from(status).code == ErrorCode::Draining;
        return if draining { Fate::Draining } else { Fate::Answered };
    };
    if causes(cause).any(is_before_sending) { Fate::Unreached } else { Fate::Unknown }
}

fn causes<'a>(first: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(first), |&error| error.source())
}

/// No connection, or one that ended before it had taken the request.
fn is_before_sending(error: &(dyn Error + 'static)) -> bool {
    error.is::<ConnectError>() || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
}
