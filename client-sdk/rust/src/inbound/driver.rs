//! The consumer's one task: opens streams, serves them, waits between them.

use realtime_proto::ApiError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::event::Delivery;
use super::handle::State;
use super::link::{self, Server};
use super::options::InboundOptions;
use super::pace::Pace;
use crate::ws::{TokenSource, random};

pub(super) struct Driver {
    pub(super) options: InboundOptions,
    pub(super) servers: Vec<Server>,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) state: watch::Sender<State>,
    pub(super) closing: CancellationToken,
}

impl Driver {
    /// Ends when it is closed, or with what will not change.
    pub(super) async fn run(self) {
        let can_renew = matches!(self.options.token, TokenSource::Provider(_));
        let mut pace = Pace::new(self.options.retry, self.servers.len(), can_renew);
        for server in self.servers.iter().cycle() {
            let (error, ready_at) = match self.stream(server).await {
                Ok(()) => return,
                Err(ended) => ended,
            };
            let stood = ready_at.map(|at| at.elapsed());
            let Some(pause) = pace.after(&error, stood, random()) else {
                self.state.send_replace(State::Ended(error));
                return;
            };
            let (server, code) = (&server.address, error.code.name());
            tracing::debug!(server, code, error = %error, ?pause, "the inbound stream has ended");
            self.state.send_replace(State::Connecting);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    /// One stream, from its opening to its end and since when it was ready; `Ok`: it was closed by this side.
    async fn stream(&self, server: &Server) -> Result<(), (ApiError, Option<Instant>)> {
        let opened = tokio::select! {
            opened = link::open(&self.options, server) => opened,
            () = self.closing.cancelled() => return Ok(()),
        };
        let link = opened.map_err(|error| (error, None))?;
        self.state.send_replace(State::Ready(link.ready.clone()));
        let ready_at = Instant::now();
        let window = self.options.max_unanswered as usize;
        let ended = link.serve(window, &self.deliveries, &self.closing).await;
        ended.map_or(Ok(()), |error| Err((error, Some(ready_at))))
    }
}
