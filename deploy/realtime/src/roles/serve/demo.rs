//! `--demo`: an application to try, and what to paste to try it.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf, absolute};

use realtime_auth::{Caller, issue};
use realtime_proto::AppId;
use realtime_proto::app::Algorithm;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::{CreateAppRequest, GetAppRequest};
use realtime_proto::{AdminPermission, ApiError, ErrorCode};
use serde_json::{Value, json};
use tonic::Request;

use crate::credentials::{Claims, Signer, key_file, publish_permission, subscribe_permission};
use crate::failure::Failure;
use crate::private_file;
use crate::roles::node::Node;
use crate::roles::ready::Addresses;

/// The application's id and name.
const APP: &str = "demo";
/// Long enough to come back to a trial.
const TOKEN_SECONDS: u64 = 30 * 86_400;

/// What the demo needs to know of the process.
#[derive(Debug)]
pub(super) struct Demo {
    data_dir: PathBuf,
    /// Where the operator's token is, if it is in a file.
    operator_token: Option<PathBuf>,
}

/// How the ports are addressed.
#[derive(Debug, Clone, Copy)]
struct Schemes {
    ws: &'static str,
    http: &'static str,
}

impl Schemes {
    fn new(secure: bool) -> Self {
        if secure { Self { ws: "wss", http: "https" } } else { Self { ws: "ws", http: "http" } }
    }
}

/// A new key and its public half, kept together: the one signs, the other goes into the application.
struct Keys {
    path: PathBuf,
    private: String,
    public: String,
}

impl Demo {
    pub(super) fn new(data_dir: &Path, operator_token: Option<&Path>) -> Self {
        let full = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { data_dir: full(data_dir), operator_token: operator_token.map(full) }
    }

    /// Makes the application where it is missing, and waits until the node has it; what to print.
    pub(super) async fn prepare(
        &self,
        apps: &impl Apps,
        node: &Node,
        addresses: &Addresses,
        secure: bool,
    ) -> Result<String, Failure> {
        let app = AppId::parse(APP).map_err(|e| Failure::new(e.to_string()))?;
        let keys = self.keys(&app).map_err(|e| Failure::new(format!("the key of the demo: {e}")))?;
        let document = existing_or_new(apps, &keys.public).await?;
        let mut in_force = node.in_force.clone();
        in_force
            .wait_for(|snapshot| snapshot.as_ref().is_some_and(|s| s.apps.contains_key(&app)))
            .await
            .map_err(|_| Failure::new("the node has stopped"))?;
        let has_our_key =
            |name: &str| document[name]["key"].as_str().map(str::trim) == Some(keys.public.trim());
        if !has_our_key("authKey") || !has_our_key("adminKey") {
            return Ok(format!(
                "The application {APP:?} has other keys than the one in {}: sign tokens for it with yours.",
                keys.path.display()
            ));
        }
        let signer = Signer::new(keys.private.clone(), Some(Algorithm::ES256)).map_err(Failure::new)?;
        self.text(&keys, &signer, addresses, Schemes::new(secure)).map_err(Failure::new)
    }

    fn keys(&self, app: &AppId) -> std::io::Result<Keys> {
        let path = key_file(&self.data_dir, app);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let text = match private_file::read(&path)? {
            Some(text) => text,
            None => {
                let pair = issue::generate(Algorithm::ES256);
                let text = format!("{}\n{}\n", pair.private_pem.trim(), pair.public_pem.trim());
                private_file::create(&path, &text)?;
                text
            }
        };
        let public = text.find("-----BEGIN PUBLIC KEY-----").ok_or_else(|| {
            std::io::Error::other(format!("{} holds no public key; move it away", path.display()))
        })?;
        let public = text[public..].trim().to_owned() + "\n";
        Ok(Keys { path, private: text, public })
    }

    fn text(
        &self,
        keys: &Keys,
        signer: &Signer,
        addresses: &Addresses,
        Schemes { ws, http }: Schemes,
    ) -> Result<String, String> {
        let everything = [publish_permission("*"), subscribe_permission("*")];
        let admin = [
            AdminPermission::ManageSubscribers,
            AdminPermission::ManageConnections,
            AdminPermission::ManageApplication,
        ];
        // No subject: with one, a second connection with the same token would be one too many.
        let sign = |permissions: Vec<String>| {
            signer.sign(&Claims { subject: None, permissions, lifetime: Some(TOKEN_SECONDS) })
        };
        let client_token = sign(everything.to_vec())?;
        let admin_token = sign(everything.into_iter().chain(admin.map(|p| p.name().to_owned())).collect())?;
        let host = reachable(addresses.listen);
        let key = quote(&keys.path.to_string_lossy());
        let program = program();
        let url = format!("{ws}://{host}/apps/{APP}?access_token={client_token}");
        let mut text = String::new();
        let mut say = |what: &str, paste: &str| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{what}\n\n{paste}\n\n");
        };
        say("A token for clients (30 days; may subscribe and publish everywhere):", &client_token);
        say("A token for the HTTP API of this application (30 days):", &admin_token);
        say("The WebSocket URL:", &url);
        say("Follow a topic:", &format!("{program} sub {APP} main --server {ws}://{host} --key {key}"));
        say(
            "Publish on it:",
            &format!("{program} pub {APP} main 'hello' --server {ws}://{host} --key {key}"),
        );
        say(
            "Publish over HTTP:",
            &format!(
                "curl -X POST {http}://{host}/api/topics/{APP}/publish -H 'Authorization: Bearer {admin_token}' \
                 -H 'Content-Type: application/json' -d '{{\"topic\":\"main\",\"message\":\"hello over HTTP\"}}'"
            ),
        );
        say("In the console of a browser:", &browser_snippet(&url));
        if let Some(path) = &self.operator_token {
            say("The operator's token is in:", &path.display().to_string());
        }
        if let (Some(grpc), Some(_)) = (addresses.grpc, &self.operator_token) {
            let data_dir = quote(&self.data_dir.to_string_lossy());
            let command =
                format!("{program} apps list --server {http}://{} --data-dir {data_dir}", reachable(grpc));
            say("Manage applications with it:", &command);
        }
        Ok(format!("The application {APP:?} is ready to try.\n\n{}", text.trim_end()))
    }
}

/// The application's document.
async fn existing_or_new(apps: &impl Apps, public_key: &str) -> Result<Value, Failure> {
    let found = apps.get(by_demo(GetAppRequest { app_id: APP.into() })).await;
    let answer = match found {
        Ok(found) => found,
        Err(status) if ApiError::from(&status).code == ErrorCode::AppNotFound => {
            let document_json = document(public_key).to_string().into();
            apps.create(by_demo(CreateAppRequest { document_json })).await.map_err(refused)?
        }
        Err(status) => return Err(refused(status)),
    };
    serde_json::from_slice(&answer.into_inner().document_json)
        .map_err(|e| Failure::new(format!("the application {APP}: {e}")))
}

fn refused(status: tonic::Status) -> Failure {
    Failure::new(format!("the application {APP}: {}", status.message()))
}

/// The operator who has asked for the demo on the command line.
fn by_demo<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::Operator { name: "demo".into() });
    request
}

fn document(public_key: &str) -> Value {
    let key = json!({ "source": "raw", "key": public_key, "algorithms": ["ES256"], "issuer": [] });
    json!({
        "appId": APP,
        "name": APP,
        "description": "Made by realtime serve --demo",
        "authKey": key,
        "adminKey": key,
        "enableWebSocketInboundTopic": true,
        "clientInboundAckEnabled": true,
    })
}

fn browser_snippet(url: &str) -> String {
    format!(
        "const ws = new WebSocket('{url}');\n\
         ws.onmessage = (event) => console.log(event.data);\n\
         ws.onopen = () => ws.send(JSON.stringify({{ type: 'publish', data: {{ topic: 'main', payload: 'hello from a browser' }} }}));"
    )
}

/// The address as a program on this machine reaches it.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// How this program is called from a shell in any directory.
fn program() -> String {
    let by_path = std::env::args_os().next().is_some_and(|name| name.to_string_lossy().contains('/'));
    match (by_path, std::env::current_exe()) {
        (true, Ok(path)) => quote(&path.to_string_lossy()),
        _ => "realtime".into(),
    }
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quote("/a b/c'd"), r"'/a b/c'\''d'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn addresses_are_printed_as_this_machine_reaches_them() {
        for (bound, printed) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), printed);
        }
    }

    #[test]
    fn the_key_is_made_once_and_its_public_half_kept() {
        let dir = tempfile::tempdir().unwrap();
        let demo = Demo::new(dir.path(), None);
        let app = AppId::parse(APP).unwrap();
        let first = demo.keys(&app).unwrap();
        let second = demo.keys(&app).unwrap();
        assert_eq!((&first.public, &first.private.trim()), (&second.public, &second.private.trim()));
        assert!(!first.public.contains("PRIVATE"));
        assert!(Signer::new(first.private, None).is_ok());
    }
}
