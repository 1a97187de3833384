//! Whose credentials are used, and which endpoints.

use realtime_testkit::{FaultProxy, Moto, Server};
use serde_json::json;

use crate::PUBLISH;
use crate::world::{World, acked, builder, failed, message, sqs};

/// The operator's, in the environment.
const LENT: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIATHEOPERATORS"),
    ("AWS_SECRET_ACCESS_KEY", "the-operators-secret"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// An application's forwarder without credentials, which the operator enables; what a client hears, and what AWS sees.
async fn without_credentials(lend: bool) -> Option<()> {
    let server = LENT.iter().fold(builder(), |builder, (name, value)| builder.env(name, value));
    let server = if lend { server.args(&["--lend-aws-credentials"]) } else { server };
    let world = World::with(server).await?;
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    let mut forwarder = sqs(&url, &proxy.url());
    for own in ["accessKeyId", "secretAccessKey"] {
        forwarder.as_object_mut().unwrap().remove(own);
    }
    let app = world.server.app().set("clientInboundAckEnabled", true).set("amazonSqsForwarder", forwarder);
    let app = app.create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    message(&mut alice, "1").await;
    if lend {
        acked(&mut alice, "1").await;
        assert!(proxy.last_head().contains("credential=akiatheoperators/"), "{}", proxy.last_head());
        world.backend.receive_some(&url, 2).await;
    } else {
        assert_eq!(failed(&mut alice, "1").await, "AWS does not accept the credentials");
        assert_eq!(proxy.requests(), 0);
    }
    assert!(!world.server.log().contains("the-operators-secret"));
    Some(())
}

#[tokio::test]
async fn an_application_without_credentials_uses_the_operators_where_they_are_lent() {
    without_credentials(true).await;
}

#[tokio::test]
async fn an_application_without_credentials_fails_where_none_are_lent() {
    without_credentials(false).await;
}

/// Where credentials are lent, those of an application come first all the same.
#[tokio::test]
async fn an_applications_own_credentials_are_used_before_lent_ones() {
    let server = LENT.iter().fold(builder(), |builder, (name, value)| builder.env(name, value));
    let Some(world) = World::with(server.args(&["--lend-aws-credentials"])).await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    let app = world.app_over(&url, &proxy.url()).create().await;
    let mut alice = app.connect("alice", &[]).await;
    message(&mut alice, "1").await;
    acked(&mut alice, "1").await;
    assert!(proxy.last_head().contains("credential=akiatestaccesskey/"), "{}", proxy.last_head());
}

/// Whoever may configure an application could otherwise look around in the server's own network.
#[tokio::test]
async fn endpoints_that_the_operator_has_not_allowed_are_not_called() {
    let Some(moto) = Moto::shared().await else { return };
    let server = Server::start().await;
    let proxy = FaultProxy::to(moto.address()).await;
    for endpoint in [proxy.url(), proxy.url().replace("http://", "https://"), "https://localhost:1".into()] {
        let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/q";
        let app = server.app().set("amazonSqsForwarder", sqs(queue, &endpoint)).create().await;
        let mut alice = app.connect("alice", &[]).await;
        message(&mut alice, "1").await;
        assert_eq!(failed(&mut alice, "1").await, "the endpoint is not allowed", "{endpoint}");
        alice.send("publish", json!({"topic": "t", "payload": "x"})).await;
        alice.expect_error("permission_denied").await;
    }
    assert_eq!(proxy.requests(), 0);
}
