//! Another node's part of a consumer's stream: a task that reads it, and comes back when it breaks.

use std::sync::Arc;

use bytes::Bytes;
use realtime_proto::generated::peer as wire;
use realtime_proto::ids;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;
use wire::consume_request::Kind as Say;
use wire::consume_response::Kind as Heard;
use wire::peer_client::PeerClient;

use super::{Reach, Wanted};
use crate::peers::{CALL_WITHIN, Pauses};

/// What a node's task tells.
#[derive(Debug)]
pub(super) struct News {
    pub(super) node: Arc<str>,
    pub(super) event: Event,
}

#[derive(Debug)]
pub(super) enum Event {
    /// The node knows the consumer.
    Ready(Line),
    /// For the consumer.
    Message { stream: u64, sequence: u64, body: Bytes, redelivered: bool },
}

/// The way back to a node, over one stream.
#[derive(Debug)]
pub(super) struct Line {
    /// Of the task.
    number: u64,
    stream: u64,
    /// Has room for the answers to a whole window.
    answers: mpsc::Sender<wire::ConsumeRequest>,
}

impl Line {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Says what has become of a message of a stream; of an earlier stream nobody waits for it.
    pub(super) fn answer(&self, stream: u64, sequence: u64, accepted: bool) {
        if stream == self.stream {
            let answer = Say::Answer(wire::ConsumeAnswer { sequence, accepted });
            // The stream may have just broken.
            let _ = self.answers.try_send(wire::ConsumeRequest { kind: Some(answer) });
        }
    }
}

/// Another node, as a consumer sees it.
#[derive(Debug)]
pub(super) struct Remote {
    /// Of its task; never used again.
    pub(super) number: u64,
    pub(super) address: String,
    /// `None`: not reached yet.
    pub(super) line: Option<Line>,
    gone: CancellationToken,
    /// Ends the task, and its stream, once another has taken its place: only the newest stream's messages can be
    /// answered, and the node gives the others to whoever can.
    _ends: DropGuard,
}

impl Remote {
    /// The node, and what follows it until it is let go and its stream has ended.
    pub(super) fn new(
        reach: Arc<Reach>,
        node: Arc<str>,
        address: String,
        wanted: Wanted,
        news: mpsc::Sender<News>,
    ) -> (Self, impl Future<Output = (Arc<str>, u64)> + Send + use<>) {
        let (number, gone) = (u64::from_le_bytes(ids::random()), CancellationToken::new());
        let (replaced, name, at) = (CancellationToken::new(), Arc::clone(&node), address.clone());
        let channels = Arc::clone(&reach);
        let task = Task { number, reach, node, address: address.clone(), wanted, news, gone: gone.clone() };
        let _ends = replaced.clone().drop_guard();
        let running = async move {
            replaced.run_until_cancelled_owned(task.run()).await;
            // Nodes that come and go under new addresses shall leave nothing behind.
            channels.forget(&at);
            (name, number)
        };
        (Self { number, address, line: None, gone, _ends }, running)
    }

    /// Discovery does not name it any more, or at another address: it is not called again.
    pub(super) fn let_go(&self) {
        self.gone.cancel();
    }

    pub(super) fn is_let_go(&self) -> bool {
        self.gone.is_cancelled()
    }
}

struct Task {
    number: u64,
    reach: Arc<Reach>,
    node: Arc<str>,
    address: String,
    wanted: Wanted,
    news: mpsc::Sender<News>,
    gone: CancellationToken,
}

impl Task {
    async fn run(self) {
        let mut pauses = Pauses::default();
        let gone = self.gone.clone();
        while !gone.is_cancelled() {
            let started = Instant::now();
            if let Err(error) = self.follow(u64::from_le_bytes(ids::random())).await {
                tracing::debug!(peer = %self.node, error, "a consumer's stream from a peer");
                self.reach.forget(&self.address);
            }
            let (pause, _) = pauses.after(started.elapsed());
            tokio::select! {
                () = sleep(pause) => {}
                () = gone.cancelled() => {}
            }
        }
    }

    /// Reads one stream to its end.
    async fn follow(&self, stream: u64) -> Result<(), String> {
        let said = |status: tonic::Status| status.message().to_owned();
        let (answers, answered) = mpsc::channel(self.wanted.window + 1);
        let opening = timeout(CALL_WITHIN, self.open(answered));
        let mut incoming = tokio::select! {
            opened = opening => opened.map_err(|_| "no answer in time".to_owned())??,
            () = self.gone.cancelled() => return Ok(()),
        };
        let mut line = Some(Line { number: self.number, stream, answers });
        while let Some(response) = incoming.message().await.map_err(said)? {
            let event = match response.kind {
                Some(Heard::Ready(wire::ConsumeReady {})) => line.take().map(Event::Ready),
                Some(Heard::Message(wire::ConsumeMessage { sequence, body_json, redelivered })) => {
                    Some(Event::Message { stream, sequence, body: body_json, redelivered })
                }
                // Of a newer release.
                None => None,
            };
            let Some(event) = event else { continue };
            // The consumer takes what it has room for; whoever waits here holds up this stream alone.
            let news = News { node: Arc::clone(&self.node), event };
            if self.news.send(news).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn open(
        &self,
        answered: mpsc::Receiver<wire::ConsumeRequest>,
    ) -> Result<Streaming<wire::ConsumeResponse>, String> {
        let Wanted { app, group, window } = &self.wanted;
        let window = u32::try_from(*window).unwrap_or(u32::MAX);
        let start = Say::Start(wire::ConsumeStart { app_id: app.to_string(), group: group.clone(), window });
        let requests = tokio_stream::once(wire::ConsumeRequest { kind: Some(start) });
        let mut client = PeerClient::new(self.reach.channel(&self.address).await?);
        let response = client.consume(requests.chain(ReceiverStream::new(answered))).await;
        Ok(response.map_err(|status| status.message().to_owned())?.into_inner())
    }
}
