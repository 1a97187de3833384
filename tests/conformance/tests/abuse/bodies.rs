//! 4: bodies that are not what their headers say, or never end.

use std::time::Duration;

use realtime_testkit::http::speak;
use realtime_testkit::{Server, TestApp, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PUBLISH;
use crate::crowd::{connect_from, crowd, read_to_end};
use crate::measure::{Baseline, Neighbour, frugal_server, three_times};

/// The server's time for a body is 15 s (docs/configuration.md).
const BODY_WITHIN: Duration = Duration::from_secs(45);

/// The head of a publish with a token.
fn publish(app: &TestApp, more: &str) -> String {
    let (id, token) = (app.id(), app.token("service", &[PUBLISH]));
    format!(
        "POST /api/topics/{id}/publish HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn a_body_that_does_not_come_is_400_after_its_time() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let cases = [
        publish(&app, "Content-Length: 100\r\n") + "{\"topic\":",
        publish(&app, "Transfer-Encoding: chunked\r\n") + "5\r\n{\"top\r\n",
        publish(&app, "Transfer-Encoding: chunked\r\n") + "ffff\r\n{",
    ];
    let waiting = cases.map(|bytes| {
        let address = server.listen().to_owned();
        tokio::spawn(async move {
            let mut stream = connect_from(&address, 1).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let read = timeout(BODY_WITHIN, stream.read(&mut answer)).await.expect("an answer").unwrap();
            String::from_utf8_lossy(&answer[..read]).into_owned()
        })
    });
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("did not arrive within 15 s"), "{answer}");
    }
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_413_before_it_is_sent() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for length in ["10000000000", "18446744073709551000"] {
        let head = publish(&app, &format!("Content-Length: {length}\r\nConnection: close\r\n"));
        let answers = speak(server.listen(), head.as_bytes()).await;
        let [answer] = answers.as_slice() else { panic!("{length}: {answers:?}") };
        answer.expect_problem(413, "payload_too_large");
    }
}

/// A valid token is enough to be waited for; what it may do is told afterwards.
#[tokio::test]
async fn bodies_that_are_never_finished_hold_64_mib_together_and_keep_out_nobody() {
    const COUNT: usize = 600;
    const BYTES: usize = 250_000;
    const LIMIT: u64 = 64 << 20;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let before = server.resident_bytes();
    let head = format!(
        "PATCH /api/apps/{} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 262144\r\n\r\n",
        app.id(),
        app.token("nobody", &[])
    );
    // The memory is bounded rather than back: what has been freed came in pieces that the C library keeps for the next.
    let baseline = Baseline::take(&server).await;
    for _ in 0..3 {
        let mut begun = crowd(COUNT, |_| {
            let (address, head) = (server.listen().to_owned(), head.clone());
            async move {
                let mut stream = connect_from(&address, 1).await;
                // Whoever is refused may be cut off in the middle of it.
                let _ = stream.write_all(&[head.as_bytes(), &[b' '; BYTES]].concat()).await;
                stream
            }
        })
        .await;
        // What has been sent need not have been read yet.
        let held = eventually("bodies that are held", async || {
            let held = server.metric("realtime_unfinished_body_bytes").await;
            (held >= LIMIT / 4).then_some(held)
        })
        .await;
        assert!(held <= LIMIT, "{held} bytes held");
        neighbour.may_come().await;
        let resident = server.resident_bytes().saturating_sub(before);
        // Besides, what the connections read into, and have read in that moment.
        assert!(resident < LIMIT + COUNT as u64 * 3 * 65_536, "{resident} bytes resident");
        let mut refused = 0;
        eventually("refused bodies", async || {
            for stream in &mut begun {
                refused += usize::from(is_refused(stream).await);
            }
            (refused > 0).then_some(())
        })
        .await;
        assert!(refused < COUNT, "everybody is refused");
        drop(begun);
        baseline.returns(&server).await;
    }
}

/// Whether an answer is there, which must be that nothing more is taken now.
async fn is_refused(stream: &mut TcpStream) -> bool {
    let mut answer = vec![0; 4096];
    let Ok(Ok(read @ 1..)) = timeout(Duration::from_millis(1), stream.read(&mut answer)).await else {
        return false;
    };
    let answer = String::from_utf8_lossy(&answer[..read]).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    true
}

/// Sends chunks until the server has had enough; returns its answer and how much it took.
async fn pour(mut stream: TcpStream, head: String) -> (String, usize) {
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400)).repeat(16);
    let mut poured = 0;
    let _ = stream.write_all(head.as_bytes()).await;
    while stream.write_all(chunk.as_bytes()).await.is_ok() {
        poured += chunk.len();
        assert!(poured < 1 << 28, "the server takes everything");
    }
    (String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned(), poured)
}

/// The rest of a body that is too long is thrown away for a while, so that clients who write first read the 413.
#[tokio::test]
async fn chunks_without_end_are_cut_off_and_not_kept() {
    let server = frugal_server().await;
    let app = server.app().create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let before = server.resident_bytes();
    three_times(&server, async |_| {
        let head = publish(&app, "Transfer-Encoding: chunked\r\n");
        let poured = crowd(8, |_| {
            let (address, head) = (server.listen().to_owned(), head.clone());
            async move { pour(connect_from(&address, 1).await, head).await }
        })
        .await;
        neighbour.may_come().await;
        for (answer, _) in &poured {
            // A reset overtakes the answer of a client that never looked.
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
        }
        let sum: usize = poured.iter().map(|(_, bytes)| bytes).sum();
        let held = server.resident_bytes().saturating_sub(before);
        assert!(held < (8 << 20) && sum > 8 * 5120, "{held} bytes held of {sum}");
    })
    .await;
}

/// Without a valid token nothing of a body is waited for.
#[tokio::test]
async fn a_caller_without_a_token_is_answered_before_its_body() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for framing in ["Content-Length: 5000", "Transfer-Encoding: chunked"] {
        let head = publish(&app, &format!("{framing}\r\n")).replace("Bearer ", "Bearer x");
        let mut stream = connect_from(server.listen(), 1).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{framing}: {answer}");
    }
}
