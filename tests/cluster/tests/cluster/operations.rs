//! What operators and services ask of the whole cluster.

use std::collections::{BTreeSet, HashMap};

use realtime_cluster_tests::PUBLISHER;
use realtime_testkit::{Client, Cluster, RawSocket, Role, TestApp, eventually};
use serde_json::{Value, json};

const CONNECTIONS: [&str; 1] = ["realtime:admin:manage:connections"];
const SUBSCRIBERS: [&str; 1] = ["realtime:admin:manage:subscribers"];

/// `everyone` and a user of its own at every node, subscribed to `news`.
async fn clients(cluster: &Cluster, app: &TestApp) -> Vec<(Client, Client)> {
    let mut clients = Vec::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        let app = app.at(node);
        let mut pair = (app.connect("everyone", &[]).await, app.connect(&format!("user-{i}"), &[]).await);
        pair.0.subscribe("news").await;
        pair.1.subscribe("news").await;
        clients.push(pair);
    }
    clients
}

async fn topics(app: &TestApp) -> Value {
    app.api(&SUBSCRIBERS, "GET", &format!("/api/topics/{}", app.id())).send().await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_unsubscribes_and_disconnects_are_the_whole_clusters() {
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let connections = format!("/api/connections/{}", app.id());
    let mut clients = clients(&cluster, &app).await;
    let list = app.api(&CONNECTIONS, "GET", &connections).send().await.expect(200);
    let listed: BTreeSet<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    let open: BTreeSet<&str> = clients.iter().flat_map(|(a, b)| [a.id(), b.id()]).collect();
    assert_eq!(listed, open);
    let news = json!({"topic": "news", "subscribers": 6});
    assert!(topics(&app).await["items"].as_array().unwrap().contains(&news));

    let unsubscribe = format!("/api/topics/{}/unsubscribe", app.id());
    let asked = json!({"topicPatterns": ["ne*"], "subject": "everyone"});
    let answer = app.api(&SUBSCRIBERS, "POST", &unsubscribe).json(&asked).send().await.expect(200);
    assert_eq!(answer["subscriptions"], 3);
    let news = json!({"topic": "news", "subscribers": 3});
    assert!(topics(&app).await["items"].as_array().unwrap().contains(&news));
    let receipt = format!("/api/topics/{}/publish?receipt=true", app.id());
    let publish = app.api(&[PUBLISHER], "POST", &receipt).json(&json!({"topic": "news", "message": 1}));
    assert_eq!(publish.send().await.expect(200)["receipt"]["matched"], 3);

    // One, wherever it is; a user, wherever; everybody.
    let (_, one) = clients.last_mut().unwrap();
    app.api(&CONNECTIONS, "DELETE", &format!("{connections}/{}", one.id())).send().await.expect(204);
    assert_eq!(one.drain_to_close().await.0, 4003);
    let everyone = format!("{connections}?subject=everyone");
    let answer = app.api(&CONNECTIONS, "DELETE", &everyone).send().await.expect(200);
    assert_eq!(answer["connections"], 3);
    for (everyone, _) in &mut clients {
        assert_eq!(everyone.drain_to_close().await.0, 4003);
    }
    let answer = app.api(&CONNECTIONS, "DELETE", &connections).send().await.expect(200);
    assert_eq!(answer["connections"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_dead_nodes_part_names_it_until_it_is_no_member() {
    let mut cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let mut clients = clients(&cluster, &app).await;
    cluster.nodes[2].kill();
    let everyone = format!("/api/connections/{}?subject=everyone", app.id());
    // The other nodes' part is done. The call may meet the dead node itself before the gateway knows.
    let partial = eventually("a partial answer", async || {
        let answer = app.api(&CONNECTIONS, "DELETE", &everyone).send().await;
        (answer.json()["code"] == "partial").then_some(answer)
    })
    .await;
    let problem = partial.expect_problem_with_retry(503, "partial");
    assert_eq!(problem["missingNodes"], json!([Cluster::node_id(2)]));
    for (everyone, _) in &mut clients[..2] {
        assert_eq!(everyone.drain_to_close().await.0, 4003);
    }
    // Repeating is safe, and whole once the node is out.
    let whole = eventually("a whole answer", async || {
        let answer = app.api(&CONNECTIONS, "DELETE", &everyone).send().await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(whole.json()["connections"], 0);
}

/// The state of a node in the list of a replica.
async fn state(cluster: &Cluster, replica: usize, node: usize) -> Option<String> {
    let members = cluster.members(&cluster.control_planes[replica]).await;
    let listed = members.iter().find(|member| member["id"] == *Cluster::node_id(node))?;
    Some(listed["state"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_undrained_by_any_replica_and_passed_by_meanwhile() {
    let cluster = Cluster::builder().args(Role::DataPlane, &["--drain-seconds", "1"]).start().await;
    let app = cluster.app().create().await;
    let mut clients: HashMap<usize, (Client, Client)> =
        clients(&cluster, &app).await.into_iter().enumerate().collect();
    for (replica, node) in [(0, 1), (1, 1), (0, 2)] {
        let id = Cluster::node_id(node);
        let drained = cluster.command(&cluster.control_planes[replica], &["drain", &id]).await;
        assert_eq!(String::from_utf8_lossy(&drained.stdout).trim(), format!("{id}: draining"));
        let server = &cluster.nodes[node];
        eventually("new sessions refused", async || {
            let path = app.path(&app.token("late", &[]));
            let refusal = RawSocket::open(server.listen(), &path, &[]).await.err()?;
            (refusal.status == 503).then_some(())
        })
        .await;
        for everyone in 0..2 {
            eventually("the state in every list", async || {
                (state(&cluster, everyone, node).await? == "draining").then_some(())
            })
            .await;
        }
        if let Some((everyone, user)) = clients.remove(&node) {
            for mut client in [everyone, user] {
                assert_eq!(client.drain_to_close().await.0, 1001);
            }
        }
        // Publishes on topics of every node go on.
        for number in 0..20 {
            let message = json!({"topic": format!("topic-{number}"), "message": number});
            app.publish(&message).await.expect(200);
        }
        let undrained = cluster.command(&cluster.control_planes[1 - replica], &["undrain", &id]).await;
        assert_eq!(String::from_utf8_lossy(&undrained.stdout).trim(), format!("{id}: ready"));
        eventually("the node ready again", async || {
            (state(&cluster, replica, node).await? == "ready").then_some(())
        })
        .await;
        let mut again = app.at(server).connect("again", &[]).await;
        again.subscribe("again").await;
        app.publish(&json!({"topic": "again", "message": "hello"})).await.expect(200);
        assert_eq!(again.expect("again", "broadcast").await, "hello");
    }
    let unknown = cluster.command(&cluster.control_planes[0], &["drain", "node-9"]).await;
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no such node: node-9"));
}
