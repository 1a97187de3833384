//! An application on a test server, with the key that signs its tokens.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::http::{Request, Response};
use crate::raw::RawSocket;
use crate::server::{OPERATOR_TOKEN, Server};
use crate::token::{Signer, random_hex, unix_now};
use crate::{Algorithm, within};

/// An application that is about to be created.
#[derive(Debug)]
pub struct TestAppBuilder {
    api: String,
    nodes: Vec<String>,
    signer: Signer,
    attributes: Map<String, Value>,
}

impl TestAppBuilder {
    /// To be created through the API at one address, and served by the nodes at others.
    pub(crate) fn new(api: &str, nodes: Vec<String>) -> Self {
        let signer = Signer::generate(Algorithm::HS256);
        Self { api: api.into(), nodes, signer, attributes: Map::new() }
    }

    /// Sets an attribute of the configuration.
    #[must_use]
    pub fn set(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(attribute.into(), value.into());
        self
    }

    /// Signs with another key than a new HS256 secret.
    #[must_use]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.signer = signer;
        self
    }

    /// Creates it as the operator, and waits until every node serves it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create(mut self) -> TestApp {
        for key in ["authKey", "adminKey"] {
            self.attributes.entry(key).or_insert_with(|| self.signer.key_config());
        }
        self.attributes.entry("name").or_insert_with(|| json!(format!("app {}", random_hex::<8>())));
        let request = Request::new(&self.api, "POST", "/api/apps").token(OPERATOR_TOKEN);
        let created = request.json(&Value::Object(self.attributes)).send().await.expect(201);
        let app_id = created["appId"].as_str().expect("`appId` of the created app").to_owned();
        let address = self.nodes.first().expect("a node").clone();
        let app = TestApp { api: self.api, address, id: app_id, signer: Arc::new(self.signer) };
        for node in &self.nodes {
            app.wait_until_served(node).await;
        }
        app
    }
}

/// An application on a test server.
#[derive(Debug, Clone)]
pub struct TestApp {
    api: String,
    address: String,
    id: String,
    /// Signs the app's tokens, for clients and for the API.
    pub signer: Arc<Signer>,
}

impl TestApp {
    /// The `appId`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its sessions are opened: the server's public address, or that of a cluster's first node.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same application, with its sessions opened at this node.
    #[must_use]
    pub fn at(&self, node: &Server) -> Self {
        Self { address: node.listen().into(), ..self.clone() }
    }

    /// Until the configuration stream has brought the app to the node, its sessions are refused with 404.
    async fn wait_until_served(&self, node: &str) {
        crate::eventually("a node to know the new app", || async {
            // Without a token, so that no session is opened.
            let answer = RawSocket::open(node, &self.path(""), &[]).await;
            answer.is_err_and(|refusal| refusal.status != 404).then_some(())
        })
        .await;
    }

    /// A token with these claims, good for a minute where they do not say otherwise.
    #[must_use]
    pub fn sign(&self, claims: Value) -> String {
        let mut claims = claims;
        if let Some(map) = claims.as_object_mut() {
            map.entry("exp").or_insert_with(|| json!(unix_now() + 60));
        }
        self.signer.sign(&claims)
    }

    /// A token for a subject with permissions.
    #[must_use]
    pub fn token(&self, subject: &str, permissions: &[&str]) -> String {
        self.sign(json!({"sub": subject, "permissions": permissions}))
    }

    /// The path of a WebSocket session with a token; empty for none.
    #[must_use]
    pub fn path(&self, token: &str) -> String {
        match token {
            "" => format!("/apps/{}", self.id),
            _ => format!("/apps/{}?access_token={token}", self.id),
        }
    }

    /// Opens a session and takes its welcome.
    pub async fn connect(&self, subject: &str, permissions: &[&str]) -> Client {
        self.connect_with(&self.token(subject, permissions), "").await
    }

    /// Opens a session with a token and more of a query (`&ack_format=envelope`), and takes its welcome.
    pub async fn connect_with(&self, token: &str, query: &str) -> Client {
        Client::open(&self.address, &format!("{}{query}", self.path(token))).await
    }

    /// Opens a session whose bytes the test writes and reads itself; the welcome is still to be read.
    pub async fn connect_raw(&self, token: &str, headers: &[(&str, &str)]) -> RawSocket {
        within("the upgrade", RawSocket::open(&self.address, &self.path(token), headers))
            .await
            .unwrap_or_else(|refusal| panic!("the upgrade was refused: {refusal:?}"))
    }

    /// Asks for a session that the server should refuse, and returns the refusal.
    ///
    /// # Panics
    /// When it is not refused.
    pub async fn refused(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        match within("the refusal", RawSocket::open(&self.address, path, headers)).await {
            Ok(_) => panic!("the session was opened"),
            Err(refusal) => refusal,
        }
    }

    /// A request to the API with a token of the app that has these permissions.
    #[must_use]
    pub fn api(&self, permissions: &[&str], method: &str, path: &str) -> Request {
        Request::new(&self.api, method, path).token(&self.token("service", permissions))
    }

    /// `POST /api/topics/{appId}/publish` with every publisher permission.
    pub async fn publish(&self, body: &Value) -> Response {
        let path = format!("/api/topics/{}/publish", self.id);
        self.api(&["realtime:publisher:write:topic:*"], "POST", &path).json(body).send().await
    }

    /// Changes the configuration as the operator (RFC 7396) and returns the new one.
    pub async fn patch(&self, change: &Value) -> Value {
        let path = format!("/api/apps/{}", self.id);
        let request = Request::new(&self.api, "PATCH", &path).token(OPERATOR_TOKEN);
        request.json(change).send().await.expect(200)
    }

    /// Deletes it as the operator.
    pub async fn delete(&self) {
        let path = format!("/api/apps/{}", self.id);
        Request::new(&self.api, "DELETE", &path).token(OPERATOR_TOKEN).send().await.expect(204);
    }
}
