//! The applications that are abused, their tokens, and connections to use them with.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use realtime_testkit::raw::RawSocket;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Algorithm, Request, Server, Signer, TestApp, eventually, unix_now};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

/// Applications that are there to be changed.
const MANY_APPS: usize = 1000;
/// Openings with forged tokens; used again when through, which costs the server the same.
const FORGED: usize = 20_000;
/// Addresses of the loopback that connections come from: each has ports of its own.
const SOURCES: usize = 100;

pub(crate) struct World {
    pub(crate) address: String,
    /// Of the tier `free`, and of `unlimited`.
    pub(crate) free: TestApp,
    pub(crate) unlimited: TestApp,
    /// A token that may publish, and one whose patterns are hostile.
    pub(crate) publisher: Value,
    pub(crate) hostile: Value,
    forged: Vec<String>,
    next: AtomicUsize,
}

impl World {
    pub(crate) async fn prepare(server: &Server) -> Self {
        let free = server.app().create().await;
        let unlimited = server.app().set("tier", "unlimited").create().await;
        let es512 = server.app().signer(Signer::generate(Algorithm::ES512)).create().await;
        let key = free.signer.key_config();
        for n in 0..MANY_APPS {
            let app = json!({"appId": format!("many-{n}"), "name": format!("Many {n}"), "authKey": key, "adminKey": key});
            let created = server.operator("POST", "/api/apps").json(&app).send().await;
            assert_eq!(created.status, 201, "{}", created.text());
        }
        let publish = "realtime:publisher:write:topic:";
        let hostile = (0..40).map(|n| format!("{publish}*{}b*{n}", "a*".repeat(50))).collect::<Vec<_>>();
        Self {
            address: server.listen().to_owned(),
            forged: forged(&es512),
            publisher: json!({"permissions": [format!("{publish}*")], "exp": unix_now() + 86_400}),
            hostile: json!({"permissions": hostile, "exp": unix_now() + 86_400}),
            free,
            unlimited,
            next: AtomicUsize::new(0),
        }
    }

    /// The next number of a series.
    pub(crate) fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// An opening with a forged ES512 token.
    pub(crate) fn forged(&self) -> &str {
        &self.forged[self.next() % FORGED]
    }

    /// A connection that ends with a reset, so that its port is free again. With `narrow` its kernel takes little.
    pub(crate) async fn dial(&self, narrow: bool) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if narrow {
            socket.set_recv_buffer_size(4096)?;
        }
        let source = u8::try_from(2 + self.next() % SOURCES).unwrap();
        socket.bind(([127, 0, 0, source], 0).into())?;
        let stream = socket.connect(self.address.parse().unwrap()).await?;
        stream.set_zero_linger()?;
        Ok(stream)
    }

    /// A session, its welcome read.
    pub(crate) async fn session(
        &self,
        app: &TestApp,
        claims: &Value,
        narrow: bool,
    ) -> io::Result<RawSocket<TcpStream>> {
        let stream = self.dial(narrow).await?;
        let opened = RawSocket::upgrade(stream, &app.path(&app.sign(claims.clone())), &[]).await;
        let mut socket = opened.map_err(|refusal| io::Error::other(refusal.text()))?;
        socket.read_frame().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(socket)
    }

    /// A change of one of the many applications; its status.
    pub(crate) async fn change_an_app(&self) -> io::Result<u16> {
        let n = self.next();
        let path = format!("/api/apps/many-{}", n % MANY_APPS);
        let request = Request::new(&self.address, "PATCH", &path).token(OPERATOR_TOKEN);
        Ok(request.json(&json!({"description": n.to_string()})).exchange().await?.status)
    }

    /// Waits until nothing of the abuse is left.
    pub(crate) async fn calm_down(&self, server: &Server) {
        eventually("calm", async || {
            let metrics = server.metrics().await;
            let quiet = metrics["realtime_connections"] <= 1
                && metrics["realtime_http_connections"] == 0
                && metrics["realtime_verifier_queue"] == 0;
            quiet.then_some(())
        })
        .await;
    }
}

fn forged(app: &TestApp) -> Vec<String> {
    let token = Signer::generate(Algorithm::ES512).sign(&json!({"sub": "u"}));
    let (header, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let cheap = Signer::generate(Algorithm::HS256);
    let request = |n: usize| {
        let signed = cheap.sign(&json!({"sub": format!("u{n}")}));
        let claims = signed.split('.').nth(1).unwrap();
        opening(&app.path(&format!("{header}.{claims}.{signature}")))
    };
    (0..FORGED).map(request).collect()
}

/// A request for the upgrade.
pub(crate) fn opening(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
