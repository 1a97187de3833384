//! `Inbound`: the stream of what clients send to backends, from the first request to its end.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use realtime_auth::Action;
use realtime_proto::generated::pubsub as wire;
use realtime_proto::{ApiError, ErrorCode};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use wire::inbound_request::Kind as Heard;
use wire::inbound_response::Kind as Say;

use super::caller::Credentials;
use super::{PubSubService, audit, enabled, permit, validate};
use crate::AppRuntime;
use crate::consume::{Consumption, Wanted};

/// A consumer says at once what it wants.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often a stream looks whether its application still has one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The group of consumers that name none.
const DEFAULT_GROUP: &str = "default";
/// Messages that a consumer has at a time where it does not say.
const DEFAULT_UNANSWERED: u32 = 256;

/// What the call answers.
pub(super) type Responses =
    Pin<Box<dyn Stream<Item = Result<wire::InboundResponse, Status>> + Send + 'static>>;

impl PubSubService {
    /// Begins a stream.
    pub(super) async fn consume(
        &self,
        credentials: &Credentials,
        mut requests: Streaming<wire::InboundRequest>,
    ) -> Result<Responses, Status> {
        let first = timeout(START_WITHIN, requests.message()).await;
        let first = first.map_err(|_| validate::missing("start"))??;
        let Some(Heard::Start(start)) = first.and_then(|first| first.kind) else {
            return Err(validate::missing("start").into());
        };
        let (wanted, period) = self.wanted(credentials, start).await?;
        let app_id = wanted.app.to_string();
        let consumption = self.cluster.consume(wanted)?;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (service, stop) = (self.clone(), self.stop.clone());
        let step = Step::Begun;
        let inbound = Inbound { service, app_id, period, requests, consumption, stop, looks, step };
        let responses = stream::unfold(inbound, async |mut inbound| Some((inbound.next().await?, inbound)));
        Ok(Box::pin(responses))
    }

    /// 404 app · 403 address · 401 · 400 · 403 permission · 403 app or stream disabled. What is wanted, and the
    /// application's period.
    async fn wanted(
        &self,
        credentials: &Credentials,
        start: wire::InboundStart,
    ) -> Result<(Wanted, String), ApiError> {
        let (app, caller) = self.admit(credentials, &start.app_id).await?;
        validate::inbound(&start)?;
        permit(&caller, &app, Action::Consume)?;
        streams(&app)?;
        audit(&caller, &app, "Inbound");
        let group = if start.group.is_empty() { DEFAULT_GROUP.to_owned() } else { start.group };
        let window = if start.max_unanswered == 0 { DEFAULT_UNANSWERED } else { start.max_unanswered };
        let config = &app.app.config;
        let wanted = Wanted { app: config.app_id.clone(), group, window: window as usize };
        Ok((wanted, config.period.clone()))
    }
}

fn streams(app: &AppRuntime) -> Result<(), ApiError> {
    enabled(app)?;
    if app.app.config.enable_inbound_stream {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::InboundDisabled, "the application's enableInboundStream is off"))
}

/// A stream under way. Driven by the reader of the responses: whoever does not read is not given more than its window.
struct Inbound {
    service: PubSubService,
    app_id: String,
    /// In which the consumer was let in.
    period: String,
    requests: Streaming<wire::InboundRequest>,
    consumption: Consumption,
    stop: CancellationToken,
    looks: Interval,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Begun,
    Ready,
    /// It has been told why.
    Ended,
}

impl Inbound {
    /// The next response; `None`: the stream has ended.
    async fn next(&mut self) -> Option<Result<wire::InboundResponse, Status>> {
        let response = match self.step {
            Step::Ended => return None,
            Step::Begun => {
                let (nodes, missing_nodes) = self.consumption.ready().await;
                self.step = Step::Ready;
                let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
                Ok(Say::Ready(wire::InboundReady { nodes, missing_nodes }))
            }
            Step::Ready => self.message().await?,
        };
        if response.is_err() {
            self.step = Step::Ended;
        }
        let response = response.map(|kind| wire::InboundResponse { kind: Some(kind) });
        Some(response.map_err(Status::from))
    }

    /// Takes answers until there is a message.
    async fn message(&mut self) -> Option<Result<Say, ApiError>> {
        loop {
            tokio::select! {
                // Answers first: they make room.
                biased;
                () = self.stop.cancelled() => {
                    return Some(Err(ApiError::new(ErrorCode::Draining, "the node is stopping")));
                }
                // Whoever says nothing more cannot answer: it has left.
                request = self.requests.message() => match request.ok()??.kind {
                    Some(Heard::Answer(answer)) => self.answer(&answer),
                    Some(Heard::Start(_)) => return Some(Err(validate::field("start", "only once"))),
                    // Of a newer release.
                    None => {}
                },
                // Before messages: a stream that is never idle is looked at, too.
                _ = self.looks.tick() => {
                    if let Err(refusal) = self.goes_on() {
                        return Some(Err(refusal));
                    }
                }
                message = self.consumption.next() => {
                    let (sequence, redelivered) = (message.sequence, message.redelivered);
                    let body_json = message.body;
                    return Some(Ok(Say::Message(wire::InboundMessage { sequence, body_json, redelivered })));
                }
            }
        }
    }

    /// An application that was deleted and created again, between two looks, may be somebody else's: whoever consumed
    /// the old one has to be let in anew.
    fn goes_on(&self) -> Result<(), ApiError> {
        let app = self.service.cluster.shards().app(&self.app_id).ok_or_else(ApiError::no_such_app)?;
        streams(&app)?;
        if app.app.config.period == self.period {
            return Ok(());
        }
        let why = "the application has been disabled or deleted, and enabled or created again";
        Err(ApiError::new(ErrorCode::Unavailable, why))
    }

    fn answer(&mut self, answer: &wire::InboundAnswer) {
        answer.accepted.iter().for_each(|sequence| self.consumption.answer(*sequence, true));
        answer.refused.iter().for_each(|sequence| self.consumption.answer(*sequence, false));
    }
}
