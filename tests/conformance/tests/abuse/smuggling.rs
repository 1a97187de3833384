//! Requests that two readers would cut differently. Whatever a proxy in front makes of them, this server takes each
//! for one request or for none: nothing that stands inside a body is ever answered, and after what is ambiguous
//! the connection ends.

use realtime_testkit::Server;
use realtime_testkit::http::speak;

use crate::measure::code;

/// What must never be answered when it stands in a body.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// The statuses of all answers to these bytes, and whether the hidden request was among the answered ones.
async fn answers(server: &Server, bytes: &str) -> Vec<(u16, String)> {
    let answers = speak(server.listen(), bytes.as_bytes()).await;
    answers.iter().map(|answer| (answer.status, code(answer).to_string())).collect()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /first HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}")
}

/// RFC 9112, 6.3: framing that is invalid or in conflict.
#[tokio::test]
async fn framing_in_conflict_is_refused_and_ends_the_connection() {
    let server = Server::start().await;
    let cases = [
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n"),
        ("a list of lengths", "Content-Length: 0, 5\r\n"),
        ("a signed length", "Content-Length: +0\r\n"),
        ("a negative length", "Content-Length: -1\r\n"),
        ("a length in hex", "Content-Length: 0x5\r\n"),
        ("a length without digits", "Content-Length: \r\n"),
        ("a length beyond 64 bits", "Content-Length: 18446744073709551616\r\n"),
        ("chunked, but not last", "Transfer-Encoding: chunked, identity\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
        ("a coding with a length", "Transfer-Encoding: identity\r\nContent-Length: 0\r\n"),
        ("a folded header", "X-Folded: a\r\n b\r\n"),
        ("a folded length", "Content-Length: 0\r\n 5\r\n"),
        ("space before a colon", "Content-Length : 0\r\n"),
        ("space in a name", "Content Length: 0\r\n"),
        ("a nul", "X-Nul: a\0b\r\n"),
        ("a carriage return in a value", "X-Cr: a\rContent-Length: 5\r\n"),
        ("a second host", "Host: other\r\nContent-Length: 0\r\n"),
    ];
    for (what, headers) in cases {
        let got = answers(&server, &post(headers, HIDDEN)).await;
        // Some are answered 400, some by the end of the connection alone.
        let refused = match got.as_slice() {
            [] => true,
            [(status, _)] => *status == 400,
            _ => false,
        };
        assert!(refused, "{what}: {got:?}");
    }
}

/// RFC 9112, 6.1: of a length and a coding the coding counts, and nothing after such a request is read.
#[tokio::test]
async fn a_length_beside_a_coding_ends_the_connection_after_the_answer() {
    let server = Server::start().await;
    let codings = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \tchunked\r\nContent-Length: 4\r\n",
        "transfer-encoding: Chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
    ];
    for headers in codings {
        let got = answers(&server, &post(headers, &format!("0\r\n\r\n{HIDDEN}"))).await;
        assert!(matches!(got.as_slice(), [] | [(400 | 404, _)]), "{headers:?}: {got:?}");
    }
}

#[tokio::test]
async fn malformed_chunks_end_the_connection() {
    let server = Server::start().await;
    let bodies = [
        "5;ext=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "5\r\nhello!!\r\n0\r\n\r\n",
        "\r\n\r\n",
        "0\r\nContent-Length: 5\r\n",
    ];
    for body in bodies {
        let got = answers(&server, &post("Transfer-Encoding: chunked\r\n", &format!("{body}{HIDDEN}"))).await;
        assert!(matches!(got.as_slice(), [] | [(400 | 404, _)]), "{body:?}: {got:?}");
    }
}

/// Requests sent in advance are answered in order, one for one.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let bytes =
        [get("/api/health/status"), post("Content-Length: 7\r\n", "GET / H"), get("/api/health/status")];
    let got = answers(&server, &(bytes.concat() + HIDDEN)).await;
    let statuses: Vec<_> = got.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 404, 200, 404]);
}
