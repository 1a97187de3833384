//! A server that may forward to this machine, an endpoint of SNS and SQS, and a backend that reads there.

use realtime_testkit::aws::{ACCESS_KEY, REGION, Received, SECRET};
use realtime_testkit::server::ServerBuilder;
use realtime_testkit::{Backend, Client, Fault, Moto, Server, TestAppBuilder};
use serde_json::{Value, json};

/// See the module.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) moto: &'static Moto,
    pub(crate) backend: Backend,
}

impl World {
    /// `None`: without an endpoint, which has been said.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(builder()).await
    }

    pub(crate) async fn with(server: ServerBuilder) -> Option<Self> {
        let moto = Moto::shared().await?;
        Some(Self { server: server.start().await, moto, backend: Backend::new(moto) })
    }

    /// An application with acks whose messages go to a queue.
    pub(crate) fn app(&self, queue: &str) -> TestAppBuilder {
        self.app_over(queue, &self.moto.url())
    }

    /// The same by way of another endpoint.
    pub(crate) fn app_over(&self, queue: &str, endpoint: &str) -> TestAppBuilder {
        let app = self.server.app().set("tier", "unlimited").set("clientInboundAckEnabled", true);
        app.set("amazonSqsForwarder", sqs(queue, endpoint))
    }
}

/// A server that may forward to any address.
pub(crate) fn builder() -> ServerBuilder {
    Server::builder().args(&["--allow-insecure-endpoints"])
}

pub(crate) fn sqs(queue: &str, endpoint: &str) -> Value {
    forwarder("queueUrl", queue, endpoint)
}

pub(crate) fn sns(topic: &str, endpoint: &str) -> Value {
    forwarder("topicArn", topic, endpoint)
}

fn forwarder(attribute: &str, target: &str, endpoint: &str) -> Value {
    json!({"enabled": true, attribute: target, "region": REGION, "endpointUrl": endpoint,
        "accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET})
}

/// An error of SQS's.
pub(crate) fn sqs_error(status: &str, code: &str, message: &str) -> Fault {
    Fault::answer(status, &format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"{message}"}}"#))
}

/// What a body says of presence; `None` for a message.
pub(crate) fn status(received: &Received) -> Option<String> {
    let body = received.json();
    let told = body["messageType"] == "presence";
    told.then(|| body["payload"]["status"].as_str().expect("a status").to_owned())
}

/// Of these, one connection's.
pub(crate) fn of<'a>(received: &'a [Received], connection: &str) -> Vec<&'a Received> {
    received.iter().filter(|received| received.json()["client"]["connectionId"] == connection).collect()
}

/// Sends a message with an id.
pub(crate) async fn message(client: &mut Client, id: &str) {
    client.send("message", json!({"payload": {"of": id}, "id": id})).await;
}

/// Takes the ack of a message, which must come next.
pub(crate) async fn acked(client: &mut Client, id: &str) {
    assert_eq!(client.expect("priv/acks", "ack").await, id);
}

/// Takes the failure of a message, which must come next; returns its text.
pub(crate) async fn failed(client: &mut Client, id: &str) -> String {
    let data = client.expect_error("forward_failed").await;
    assert_eq!((&data["id"], &data["topic"]), (&json!(id), &Value::Null));
    data["message"].as_str().expect("a text").to_owned()
}

/// What was told of a connection, in order: statuses, and ids of messages.
pub(crate) fn told(received: &[Received], connection: &str) -> Vec<String> {
    let events = of(received, connection).into_iter();
    let id = |event: &Received| event.json()["id"].as_str().expect("an id").to_owned();
    events.map(|event| status(event).unwrap_or_else(|| id(event))).collect()
}
