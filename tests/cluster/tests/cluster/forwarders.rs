//! Test messages and an application's status, through a gateway, over several nodes.

use realtime_testkit::{Cluster, Fault, FaultProxy, Moto, Request, Role, TestApp, eventually};
use serde_json::{Value, json};

const APPLICATION: &str = "realtime:admin:manage:application";
const REGION: &str = "eu-west-1";

/// Makes a queue by SQS's JSON protocol; moto looks at the signature for the service alone.
async fn queue(moto: &Moto, name: &str) -> String {
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIA/20260101/{REGION}/sqs/aws4_request, Signature=0");
    let request = Request::new(moto.address(), "POST", "/")
        .header("X-Amz-Target", "AmazonSQS.CreateQueue")
        .header("Authorization", &scope)
        .body("application/x-amz-json-1.0", json!({"QueueName": name}).to_string());
    request.send().await.expect(200)["QueueUrl"].as_str().unwrap().to_owned()
}

fn to_queue(url: &str, endpoint: &str) -> Value {
    json!({"enabled": true, "queueUrl": url, "region": REGION, "endpointUrl": endpoint,
        "accessKeyId": "AKIA", "secretAccessKey": "secret"})
}

fn status_of(app: &TestApp) -> Request {
    app.api(&[APPLICATION], "GET", &format!("/api/apps/{}/status", app.id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_that_of_all_nodes_and_tests_go_by_the_newest_configuration() {
    let Some(moto) = Moto::start().await else { return };
    let mut cluster = Cluster::builder()
        .control_planes(1)
        .nodes(2)
        .args(Role::DataPlane, &["--allow-insecure-endpoints"])
        .start()
        .await;
    let proxy = FaultProxy::to(moto.address()).await;
    let (url, nowhere) = (queue(&moto, "q").await, format!("{}/123456789012/nowhere", moto.url()));
    let app = cluster
        .app()
        .set("clientInboundAckEnabled", true)
        .set("amazonSqsForwarder", to_queue(&url, &proxy.url()))
        .create()
        .await;
    let mut clients = Vec::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        clients.push(app.at(node).connect(&format!("client-{i}"), &[]).await);
    }
    let is = async |status: [Value; 3]| {
        eventually("the status of both nodes", async || {
            let told = status_of(&app).send().await.expect(200);
            let sqs = &told["forwarders"][0];
            let same = [&sqs["state"], &sqs["queued"], &sqs["lastError"]["node"]]
                == [&status[0], &status[1], &status[2]];
            (same && (&told["nodes"], &told["connections"]) == (&json!(2), &json!(2))).then_some(())
        })
        .await;
    };
    is([json!("ok"), json!(0), json!(null)]).await;

    proxy.meets(Fault::Silence);
    for client in &mut clients {
        client.send("message", json!({"payload": "x", "id": "waits"})).await;
    }
    is([json!("ok"), json!(2), json!(null)]).await;
    proxy.meets(Fault::None);
    for client in &mut clients {
        assert_eq!(client.expect("priv/acks", "ack").await, "waits");
    }
    let denied = json!({"__type": "com.amazonaws.sqs#AccessDenied", "message": "no"}).to_string();
    proxy.meets(Fault::answer("403 Forbidden", &denied));
    clients[1].send("message", json!({"payload": "x"})).await;
    clients[1].expect_error("forward_failed").await;
    is([json!("open"), json!(0), json!("node-1")]).await;

    // Whichever node has the call: they have it in turn.
    let path = format!("/api/apps/{}/forwarders/test", app.id());
    for turn in 0..20 {
        let (target, class) = if turn % 2 == 0 { (&nowhere, json!("missing")) } else { (&url, json!(null)) };
        app.patch(&json!({"amazonSqsForwarder": to_queue(target, &moto.url())})).await;
        let tested = app.api(&[APPLICATION], "POST", &path).send().await.expect(200);
        assert_eq!(tested["results"][0]["class"], class, "{turn}: {tested}");
    }

    // It is a member until its lease has run out.
    cluster.nodes[1].kill();
    let partial = eventually("an answer without the dead node", async || {
        Some(status_of(&app).send().await).filter(|answer| answer.json()["code"] == "partial")
    });
    let problem = partial.await.expect_problem_with_retry(503, "partial");
    assert_eq!((&problem["missingNodes"], &problem["sum"]), (&json!(["node-1"]), &json!(1)), "{problem}");
}
