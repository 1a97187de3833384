//! Answers on their way from the application's tasks to the stream that the messages came over.

use std::collections::VecDeque;
use std::time::Duration;

use realtime_proto::generated::pubsub as wire;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use wire::inbound_request::Kind;

/// Answers of one request at most: those of a second at a thousand messages a second.
const MAX_ANSWERS: usize = 1024;
/// The server gives a message up after this time: what nobody can answer any more is refused then, only so that it
/// does not hold its place for ever.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);

/// What has become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted(u64),
    Refused(u64),
    /// Its receipt was dropped.
    Abandoned(u64),
}

/// The way to answer one message. An answer to a message whose stream has ended has no effect: that message comes
/// again, to this consumer or to another one.
///
/// Dropped without an answer, as by a task that panics or is cancelled, the message stays unanswered. Should the stream
/// end within 30 s, because the program is stopping, it goes to another consumer; if it does not, its client gets
/// `forward_failed` after that time, and until then nothing more comes of its connection.
#[derive(Debug)]
#[must_use = "its client gets no ack before it is accepted"]
pub struct Receipt {
    sequence: u64,
    /// `None` once it is answered.
    stream: Option<mpsc::Sender<Answer>>,
}

impl Receipt {
    pub(super) fn new(sequence: u64, stream: mpsc::Sender<Answer>) -> Self {
        Self { sequence, stream: Some(stream) }
    }

    /// It is processed, and need never come again: its client may get its ack.
    pub fn accept(mut self) {
        self.say(Answer::Accepted(self.sequence));
    }

    /// It is not to be processed, by nobody: its client gets `forward_failed`.
    pub fn refuse(mut self) {
        self.say(Answer::Refused(self.sequence));
    }

    /// Its stream has ended: an answer would have no effect.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.stream.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    fn say(&mut self, answer: Answer) {
        if let Some(stream) = self.stream.take() {
            // There is room for all that the server may leave unanswered.
            let _ = stream.try_send(answer);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.say(Answer::Abandoned(self.sequence));
    }
}

/// Sends the answers of a stream: as many as are at hand in each request.
#[derive(Debug)]
pub(super) struct Answers {
    requests: mpsc::Sender<wire::InboundRequest>,
    incoming: mpsc::Receiver<Answer>,
    batch: wire::InboundAnswer,
    /// In the order of their times.
    abandoned: VecDeque<(Instant, u64)>,
}

impl Answers {
    /// `requests` is the stream's; `incoming` has room for one answer to each message.
    pub(super) fn new(
        requests: mpsc::Sender<wire::InboundRequest>,
        incoming: mpsc::Receiver<Answer>,
    ) -> Self {
        Self { requests, incoming, batch: wire::InboundAnswer::default(), abandoned: VecDeque::new() }
    }

    /// Sends until nobody takes requests any more. May be dropped half-way.
    pub(super) async fn send(&mut self) {
        let requests = self.requests.clone();
        loop {
            self.gather().await;
            let Ok(place) = requests.reserve().await else { return };
            self.take_ready();
            place.send(self.request());
        }
    }

    /// Sends what has been said so far, and says no more.
    pub(super) async fn finish(mut self) {
        loop {
            self.take_ready();
            let request = self.request();
            if matches!(&request.kind, Some(Kind::Answer(answer)) if count(answer) == 0)
                || self.requests.send(request).await.is_err()
            {
                return;
            }
        }
    }

    /// Waits until there is something to say.
    async fn gather(&mut self) {
        while count(&self.batch) == 0 {
            let due = self.abandoned.front().map(|(at, _)| *at);
            tokio::select! {
                // The reader of the stream holds one end.
                Some(answer) = self.incoming.recv() => self.note(answer),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let given_up = self.abandoned.pop_front();
                    self.batch.refused.extend(given_up.map(|(_, sequence)| sequence));
                }
            }
        }
    }

    fn take_ready(&mut self) {
        while count(&self.batch) < MAX_ANSWERS
            && let Ok(answer) = self.incoming.try_recv()
        {
            self.note(answer);
        }
    }

    fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted(sequence) => self.batch.accepted.push(sequence),
            Answer::Refused(sequence) => self.batch.refused.push(sequence),
            Answer::Abandoned(sequence) => {
                self.abandoned.push_back((Instant::now() + GIVEN_UP_AFTER, sequence));
            }
        }
    }

    fn request(&mut self) -> wire::InboundRequest {
        wire::InboundRequest { kind: Some(Kind::Answer(std::mem::take(&mut self.batch))) }
    }
}

fn count(answer: &wire::InboundAnswer) -> usize {
    answer.accepted.len() + answer.refused.len()
}
