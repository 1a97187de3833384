//! 2.2: the frames of the server, byte for byte.

use realtime_testkit::{RawSocket, Server, TestApp};
use serde_json::{Value, json};

use crate::grpc_client::{Grpc, answer, call, publish};
use crate::{PUBLISH, READ};

async fn text(socket: &mut RawSocket) -> String {
    let frame = socket.expect_frame().await;
    assert_eq!(frame.first_byte, 0x81, "one whole text frame");
    String::from_utf8(frame.payload).unwrap()
}

/// What the server writes next in answer to a client's frame.
async fn ask(socket: &mut RawSocket, frame: &str) -> String {
    socket.write_text(frame).await;
    text(socket).await
}

/// A session, and its connection id.
async fn open(app: &TestApp, subject: &str, permissions: &[&str]) -> (RawSocket, String) {
    let mut socket = app.connect_raw(&app.token(subject, permissions), &[]).await;
    let welcome: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    let id = welcome["data"]["connection"]["id"].as_str().expect("an id").to_owned();
    (socket, id)
}

/// Behind a proxy, so that the address is one of IPv6 that came with a port.
#[tokio::test]
async fn a_welcome_names_topic_id_app_and_the_address_without_its_port() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server.change_settings(|settings| settings["trustedProxies"] = json!(["127.0.0.0/8"])).await;
    let forwarded = [("Forwarded", "for=\"[2001:db8::9]:4711\"")];
    let mut socket = app.connect_raw(&app.token("alice", &[]), &forwarded).await;
    let main = text(&mut socket).await;
    let id: Value = serde_json::from_str(&main).unwrap();
    let id = id["data"]["connection"]["id"].as_str().unwrap();
    let data =
        format!(r#"{{"connection":{{"id":"{id}","appId":"{}","remoteAddress":"2001:db8::9"}}}}"#, app.id());
    assert_eq!(main, format!(r#"{{"topic":"main","messageType":"welcome","data":{data}}}"#));
    for topic in [r"chat/1", r#"a\"\\ä\u007e"#] {
        let welcome =
            ask(&mut socket, &format!(r#"{{"type":"subscribe","data":{{"topic":"{topic}"}}}}"#)).await;
        let named = topic.replace(r"\u007e", "~");
        assert_eq!(welcome, format!(r#"{{"topic":"{named}","messageType":"welcome","data":{data}}}"#));
    }
}

#[tokio::test]
async fn a_services_message_is_passed_on_as_it_was_posted() {
    let server = Server::start().await;
    let (app, mut grpc) = (server.app().create().await, Grpc::connect(&server).await);
    let (mut socket, _) = open(&app, "alice", &[]).await;
    let message = r#"{ "b" : [1.0, 1E2,-0], "a":"\u00e9\/", "a" : null }"#;
    let expected = format!(r#"{{"topic":"main","messageType":"broadcast","data":{message}}}"#);
    let path = format!("/api/topics/{}/publish", app.id());
    let body = format!(r#"{{"topic":"main","message":{message}}}"#);
    app.api(&[PUBLISH], "POST", &path).body("application/json", body).send().await.expect(200);
    assert_eq!(text(&mut socket).await, expected);
    let mut request = publish(app.id(), "main");
    request.message_json = message.into();
    answer(grpc.pubsub.publish(call(&app.token("service", &[PUBLISH]), request))).await.unwrap();
    assert_eq!(text(&mut socket).await, expected);
}

#[tokio::test]
async fn a_clients_publish_has_the_client_the_payload_as_sent_and_the_id() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let (mut socket, id) = open(&app, "user\"0", &[PUBLISH]).await;
    let client = format!(r#"{{"connectionId":"{id}","subject":"user\"0"}}"#);
    for (payload, sent_type, message_type) in [
        (r#"{ "n" : 1.50, "n" : 2 }"#, "", "broadcast"),
        (r#""\u00e9\/""#, r#","messageType":"ty\u0070ing""#, "typing"),
    ] {
        let data = format!(r#""topic":"main","payload":{payload},"id":"5\t2"{sent_type}"#);
        let frame = ask(&mut socket, &format!(r#"{{"type":"publish","data":{{{data}}}}}"#)).await;
        let data = format!(r#"{{"client":{client},"payload":{payload},"id":"5\t2"}}"#);
        assert_eq!(frame, format!(r#"{{"topic":"main","messageType":"{message_type}","data":{data}}}"#));
    }
}

#[tokio::test]
async fn messages_and_presence_have_the_permissions_of_the_client() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let (mut backend, _) = open(&app, "backend", &[READ]).await;
    ask(&mut backend, r#"{"type":"subscribe","data":{"topic":"secure/inbound"}}"#).await;
    for (subject, permissions, listed) in
        [("alice", &["p:1", "p \"2"][..], r#""p:1","p \"2""#), ("bob", &[], "")]
    {
        let (mut socket, id) = open(&app, subject, permissions).await;
        let client = format!(r#"{{"connectionId":"{id}","subject":"{subject}","permissions":[{listed}]}}"#);
        let presence = |payload: &str| {
            let data = format!(r#"{{"client":{client},"subProtocol":1,"payload":{payload}}}"#);
            format!(r#"{{"topic":"secure/inbound","messageType":"presence","data":{data}}}"#)
        };
        assert_eq!(text(&mut backend).await, presence(r#"{"code":0,"status":"connected"}"#));
        for (sent_type, message_type) in [("", "broadcast"), (r#","messageType":"order""#, "order")] {
            let data = format!(r#""payload":[1.0, "x"],"id":"53"{sent_type}"#);
            socket.write_text(&format!(r#"{{"type":"message","data":{{{data}}}}}"#)).await;
            let data = format!(r#"{{"client":{client},"payload":[1.0, "x"],"id":"53"}}"#);
            let expected =
                format!(r#"{{"topic":"secure/inbound","messageType":"{message_type}","data":{data}}}"#);
            assert_eq!(text(&mut backend).await, expected);
        }
        drop(socket);
        assert_eq!(text(&mut backend).await, presence(r#"{"code":-1,"status":"disconnected"}"#));
    }
}

/// What the URL asks for counts over the application's format only where it asks for the envelope.
#[tokio::test]
async fn an_ack_is_the_id_or_the_envelope_around_it() {
    let server = Server::start().await;
    let acking = || server.app().set("clientInboundAckEnabled", true);
    let (by_id, by_envelope) =
        (acking().create().await, acking().set("clientInboundAckFormat", "envelope").create().await);
    for (app, query, enveloped) in [
        (&by_id, "", false),
        (&by_id, "&ack_format=id", false),
        (&by_id, "&ack_format=envelope", true),
        (&by_id, "&ack_format=Envelope", false),
        (&by_envelope, "", true),
        (&by_envelope, "&ack_format=id", true),
    ] {
        let token = app.sign(json!({"permissions": [PUBLISH]}));
        let mut socket = app.connect_raw(&format!("{token}{query}"), &[]).await;
        text(&mut socket).await;
        let frame = r#"{"type":"publish","data":{"topic":"t","payload":"x","id":"a\"1"}}"#;
        let data = if enveloped { r#"{"data":"a\"1"}"# } else { r#""a\"1""# };
        let expected = format!(r#"{{"topic":"priv/acks","messageType":"ack","data":{data}}}"#);
        assert_eq!(ask(&mut socket, frame).await, expected, "{query}");
    }
}

#[tokio::test]
async fn an_error_has_code_message_id_and_topic_and_leaves_out_what_there_is_not() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let (mut socket, _) = open(&app, "alice", &[]).await;
    for (frame, code, rest) in [
        (
            r#"{"type":"publish","data":{"topic":"t","payload":"x","id":"7"}}"#,
            "permission_denied",
            r#","id":"7","topic":"t""#,
        ),
        (r#"{"type":"publish","data":{"topic":"t","payload":"x"}}"#, "permission_denied", r#","topic":"t""#),
        (r#"{"type":"message","data":{"payload":"x","id":"7"}}"#, "inbound_disabled", r#","id":"7""#),
        (r#"{"type":"message","data":{"payload":"x"}}"#, "inbound_disabled", ""),
    ] {
        let error = ask(&mut socket, frame).await;
        let read: Value = serde_json::from_str(&error).unwrap();
        let message = &read["data"]["message"];
        assert!(message.is_string(), "{error}");
        let data = format!(r#"{{"code":"{code}","message":{message}{rest}}}"#);
        assert_eq!(error, format!(r#"{{"topic":"priv/errors","messageType":"error","data":{data}}}"#));
    }
}
