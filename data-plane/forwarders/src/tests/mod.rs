//! Scheduling in virtual time, against an AWS that does what a test says.

mod faults;
mod life;
mod order;
mod past_the_queue;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use realtime_proto::app::Forwarder;
use realtime_proto::{AppConfig, ConnectionId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::failure::{Class, Failure};
use crate::forwarders::Forwarders;
use crate::limits::Limits;
use crate::message::{Message, TargetKind};
use crate::sender::{Connect, Sender};

const SECRET: &str = "very-secret-access-key";
/// What a call to the fake takes.
const CALL: Duration = Duration::from_millis(50);

/// A call, as the fake saw it.
#[derive(Debug, Clone)]
struct Call {
    target: String,
    at: Instant,
    bodies: Vec<String>,
}

/// What the fake does with a call.
enum Answer {
    /// Takes every entry.
    Accept,
    Entries(Vec<Result<(), Failure>>),
    Fail(Class),
    Hang,
    Panic,
}

type Script = dyn Fn(&Call) -> Answer + Send + Sync;

/// An AWS.
struct Fake {
    script: Box<Script>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    /// Bodies in the order of acceptance, with their target.
    accepted: Vec<(String, String)>,
    under_way: usize,
    most_under_way: usize,
}

impl Fake {
    fn new(script: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), seen: Mutex::default() })
    }

    fn calls(&self) -> Vec<Call> {
        self.seen.lock().calls.clone()
    }

    fn accepted(&self, target: &str) -> Vec<String> {
        let seen = self.seen.lock();
        seen.accepted.iter().filter(|(t, _)| t == target).map(|(_, body)| body.clone()).collect()
    }
}

struct FakeSender {
    fake: Arc<Fake>,
    target: String,
}

#[async_trait]
impl Sender for FakeSender {
    async fn send(&self, messages: &[Arc<Message>]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let bodies: Vec<_> = messages.iter().map(|message| message.body().to_owned()).collect();
        let call = Call { target: self.target.clone(), at: Instant::now(), bodies };
        {
            let mut seen = self.fake.seen.lock();
            seen.calls.push(call.clone());
            seen.under_way += 1;
            seen.most_under_way = seen.most_under_way.max(seen.under_way);
        }
        let answer = (self.fake.script)(&call);
        if matches!(answer, Answer::Hang) {
            std::future::pending::<()>().await;
        }
        sleep(CALL).await;
        let mut seen = self.fake.seen.lock();
        seen.under_way -= 1;
        let results = match answer {
            Answer::Accept => vec![Ok(()); call.bodies.len()],
            Answer::Entries(results) => results,
            Answer::Fail(class) => return Err(Failure::new(class)),
            Answer::Hang | Answer::Panic => panic!("as the test wants"),
        };
        for (body, _) in call.bodies.into_iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            seen.accepted.push((self.target.clone(), body));
        }
        Ok(results)
    }
}

impl Connect for Arc<Fake> {
    fn connect(&self, _: TargetKind, forwarder: &Forwarder) -> Result<Arc<dyn Sender>, Failure> {
        Ok(Arc::new(FakeSender { fake: Arc::clone(self), target: forwarder.target.clone() }))
    }
}

fn start(fake: &Arc<Fake>, limits: Limits) -> Forwarders {
    Forwarders::start_with(limits, Arc::new(Arc::clone(fake)))
}

fn queue_url(name: &str) -> String {
    format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{name}")
}

/// An application with an SQS queue.
fn app(id: &str, queue: &str) -> AppConfig {
    with_forwarders(id, &json!({"amazonSqsForwarder": forwarder("queueUrl", &queue_url(queue))}))
}

fn forwarder(attribute: &str, target: &str) -> Value {
    json!({"enabled": true, attribute: target, "region": "eu-west-1",
        "accessKeyId": "AKIAEXAMPLE", "secretAccessKey": SECRET})
}

fn with_forwarders(id: &str, more: &Value) -> AppConfig {
    let key = json!({"source": "raw", "algorithms": ["HS256"], "key": "0123456789abcdef0123456789abcdef", "issuer": []});
    let mut document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap()
}

fn connection(number: u8) -> ConnectionId {
    ConnectionId([number; 16])
}

/// A message of a connection; its body is its number.
fn message(from: u8, number: usize) -> Message {
    Message::inbound(connection(from), &number.to_string(), number.to_string())
}

fn class(result: Result<(), Failure>) -> Option<Class> {
    result.err().map(|failure| failure.class())
}

fn millis(from: Instant) -> u128 {
    from.elapsed().as_millis()
}
