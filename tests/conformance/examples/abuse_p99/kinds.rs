//! The kinds of abuse.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use realtime_testkit::TestApp;
use realtime_testkit::deflate::deflate;
use realtime_testkit::raw::{CLOSE, FIN, PING, RSV1, RawSocket, TEXT, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::flood::{FRAMES, Kind};
use crate::world::{World, opening};

/// One piece of a flood on a connection: about as much as a server reads at once.
const PIECE: usize = 64 * 1024;

macro_rules! kind {
    ($name:literal, $unit:expr, $workers:literal, $pace:expr, $step:path) => {
        Kind {
            name: $name,
            unit: $unit,
            workers: $workers,
            pace: Duration::from_micros($pace),
            step: |world, n| Box::pin(async move { $step(&world, n).await.unwrap_or(0) }),
        }
    };
}

/// Each as fast as core 1 makes it, except where a pace in microseconds is named.
pub(crate) static KINDS: &[Kind] = &[
    kind!("nothing but a busy core 1", "turns", 1, 0, spin),
    kind!("handshakes that never finish", "connections", 2000, 4_000_000, unfinished),
    kind!("headers byte by byte", "bytes", 2000, 4_000_000, dripping),
    kind!("heads of 60 KB", "heads", 32, 0, large_heads),
    kind!("tokens of 100 KB", "openings", 32, 0, large_tokens),
    kind!("bodies without end", "bodies", 32, 0, endless_bodies),
    kind!("pipelined requests", "requests", 16, 0, pipelined),
    kind!("sessions opened and reset", "sessions", 64, 0, churn),
    kind!("wrong HS256 tokens", "openings", 64, 0, wrong_tokens),
    kind!("forged ES512 tokens, 2,000/s", "openings", 400, 200_000, forged),
    kind!("forged ES512 tokens, all that go", "openings", 512, 0, forged),
    kind!("sessions of one subject", "sessions", 64, 0, one_subject),
    kind!("broken frames", "sessions", 32, 0, broken),
    kind!("deflate bombs", "bombs", 16, 0, bombs),
    kind!("pings, answers read", FRAMES, 8, 0, pings),
    kind!("pings, answers not read", FRAMES, 8, 0, pings_unread),
    kind!("publishes over the rate", FRAMES, 8, 0, over_the_rate),
    kind!("publishes without a rate", FRAMES, 8, 0, publishes),
    kind!("publishes with hostile patterns", FRAMES, 8, 0, hostile_patterns),
    kind!("publishes to slow readers", FRAMES, 100, 0, slow_readers),
    kind!("subscribes and unsubscribes", FRAMES, 8, 0, subscriptions),
    kind!("changes of 1,000 apps", "changes", 8, 0, changes),
];

async fn spin(_: &Arc<World>, _: usize) -> io::Result<u64> {
    for _ in 0..10_000 {
        std::hint::spin_loop();
    }
    Ok(1)
}

async fn unfinished(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let mut stream = world.dial(false).await?;
    stream.write_all(b"GET /apps/x?access_token=").await?;
    // Not quite the pace: the next one takes its place.
    sleep(Duration::from_millis(3900)).await;
    Ok(1)
}

async fn dripping(world: &Arc<World>, _: usize) -> io::Result<u64> {
    const BYTES: u64 = 39;
    let mut stream = world.dial(false).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX: ").await?;
    for _ in 0..BYTES {
        sleep(Duration::from_millis(100)).await;
        stream.write_all(b"x").await?;
    }
    Ok(BYTES)
}

/// Sends something and waits for what comes of it: only then the server has done its work.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<u64> {
    stream.write_all(request).await?;
    let read = stream.read(&mut [0; 2048]).await?;
    Ok(u64::from(read > 0))
}

async fn large_heads(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    ask(&mut world.dial(false).await?, head.as_bytes()).await
}

/// Writes until the server has had enough, and reads until it has ended the connection.
async fn until_cut(mut stream: TcpStream, first: &[u8], again: &[u8]) -> io::Result<u64> {
    let mut written = stream.write_all(first).await;
    while !again.is_empty() && written.is_ok() {
        written = stream.write_all(again).await;
    }
    // A reset may have overtaken the answer.
    let mut sink = [0; 2048];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    Ok(1)
}

async fn large_tokens(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let head = opening(&world.unlimited.path(&"x".repeat(100_000)));
    until_cut(world.dial(false).await?, head.as_bytes(), b"").await
}

async fn endless_bodies(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let head = format!(
        "POST /api/topics/{}/publish HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        world.unlimited.id(),
        world.unlimited.sign(world.publisher.clone())
    );
    let chunks = format!("400\r\n{}\r\n", " ".repeat(0x400)).repeat(16);
    until_cut(world.dial(false).await?, head.as_bytes(), chunks.as_bytes()).await
}

async fn pipelined(world: &Arc<World>, _: usize) -> io::Result<u64> {
    const REQUESTS: u64 = 200;
    let request = "GET /api/health/status HTTP/1.1\r\nHost: h\r\n\r\n".repeat(REQUESTS as usize);
    let last = b"GET /api/health/status HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    flood(world.dial(false).await?, request.as_bytes(), 10, last).await?;
    Ok(10 * REQUESTS)
}

async fn churn(world: &Arc<World>, _: usize) -> io::Result<u64> {
    world.session(&world.unlimited, &json!({}), false).await.map(|_| 1)
}

async fn wrong_tokens(world: &Arc<World>, n: usize) -> io::Result<u64> {
    let token = world.free.token(&n.to_string(), &[]);
    let wrong = format!("{}AAAAAAAA", &token[..token.len() - 8]);
    ask(&mut world.dial(false).await?, opening(&world.free.path(&wrong)).as_bytes()).await
}

async fn forged(world: &Arc<World>, _: usize) -> io::Result<u64> {
    ask(&mut world.dial(false).await?, world.forged().as_bytes()).await
}

async fn one_subject(world: &Arc<World>, _: usize) -> io::Result<u64> {
    // The first stays for a while and answers nothing; the others wait for it, or are refused.
    let claims = json!({"sub": "one"});
    let opened = timeout(Duration::from_secs(3), world.session(&world.unlimited, &claims, false)).await;
    if let Ok(Ok(session)) = opened {
        sleep(Duration::from_millis(200)).await;
        drop(session);
    }
    Ok(1)
}

async fn broken(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let mut session = world.session(&world.unlimited, &json!({}), false).await?;
    ask(&mut session.stream, b"\xff\xff\xff\xff").await
}

async fn bombs(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let stream = world.dial(false).await?;
    let path = world.unlimited.path(&world.unlimited.sign(json!({})));
    let offer = ("Sec-WebSocket-Extensions", "permessage-deflate");
    let opened = RawSocket::upgrade(stream, &path, &[offer]).await;
    let mut session = opened.map_err(|refusal| io::Error::other(refusal.text()))?;
    session.read_frame().await;
    static BOMB: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| deflate(&vec![0; 5 << 20]));
    ask(&mut session.stream, &encode(FIN | RSV1 | TEXT, &BOMB)).await
}

/// Writes the same some times and then what ends the connection, and throws away what comes, until the server ends
/// it: by then it has read everything.
async fn flood(stream: TcpStream, bytes: &[u8], times: usize, last: &[u8]) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let reading = async {
        let mut sink = vec![0; PIECE];
        while reader.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    let writing = async {
        for _ in 0..times {
            writer.write_all(bytes).await?;
        }
        writer.write_all(last).await
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

/// What ends a session in good order.
fn close() -> Vec<u8> {
    encode(FIN | CLOSE, &1000u16.to_be_bytes())
}

/// Floods a new session with one frame, a hundred pieces of it.
async fn flood_session(world: &World, app: &TestApp, claims: &Value, frame: &[u8]) -> io::Result<u64> {
    const PIECES: usize = 100;
    let session = world.session(app, claims, false).await?;
    let frames = PIECE / frame.len();
    flood(session.stream, &frame.repeat(frames), PIECES, &close()).await?;
    Ok(0)
}

fn publish(topic: &str, payload: &str) -> Vec<u8> {
    let frame = json!({"type": "publish", "data": {"topic": topic, "payload": payload}});
    encode(FIN | TEXT, frame.to_string().as_bytes())
}

async fn pings(world: &Arc<World>, _: usize) -> io::Result<u64> {
    flood_session(world, &world.unlimited, &json!({}), &encode(FIN | PING, b"")).await
}

async fn pings_unread(world: &Arc<World>, _: usize) -> io::Result<u64> {
    let mut session = world.session(&world.unlimited, &json!({}), true).await?;
    let frames = encode(FIN | PING, &[b'p'; 125]).repeat(500);
    while session.stream.write_all(&frames).await.is_ok() {}
    Ok(0)
}

async fn over_the_rate(world: &Arc<World>, _: usize) -> io::Result<u64> {
    flood_session(world, &world.free, &world.publisher, &publish("nobody", "x")).await
}

async fn publishes(world: &Arc<World>, _: usize) -> io::Result<u64> {
    flood_session(world, &world.unlimited, &world.publisher, &publish("nobody", "x")).await
}

async fn hostile_patterns(world: &Arc<World>, _: usize) -> io::Result<u64> {
    flood_session(world, &world.unlimited, &world.hostile, &publish(&"a".repeat(255), "x")).await
}

async fn slow_readers(world: &Arc<World>, n: usize) -> io::Result<u64> {
    if n == 0 {
        return flood_session(world, &world.unlimited, &world.publisher, &publish("slow", &"x".repeat(4000)))
            .await;
    }
    let mut session = world.session(&world.unlimited, &json!({}), true).await?;
    let subscribe = encode(FIN | TEXT, br#"{"type":"subscribe","data":{"topic":"slow"}}"#);
    session.stream.write_all(&subscribe).await?;
    sleep(Duration::from_secs(1)).await;
    Ok(0)
}

async fn subscriptions(world: &Arc<World>, _: usize) -> io::Result<u64> {
    const TOPICS: usize = 1000;
    let request = |kind: &str, n: usize| {
        encode(FIN | TEXT, json!({"type": kind, "data": {"topic": format!("t{n}")}}).to_string().as_bytes())
    };
    let mut frames: Vec<u8> = (0..TOPICS).flat_map(|n| request("subscribe", n)).collect();
    frames.extend((0..TOPICS).flat_map(|n| request("unsubscribe", n)));
    let session = world.session(&world.unlimited, &json!({}), false).await?;
    flood(session.stream, &frames, 20, &close()).await?;
    Ok(0)
}

async fn changes(world: &Arc<World>, _: usize) -> io::Result<u64> {
    world.change_an_app().await.map(|status| u64::from(status == 200))
}
