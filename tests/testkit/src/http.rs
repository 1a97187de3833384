//! A minimal HTTP/1.1 client: one request per connection, sent exactly as a test words it.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::route::connect;
use crate::wait::within;

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Request {
    address: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request to `address` (`host:port`).
    #[must_use]
    pub fn new(address: &str, method: &str, path: &str) -> Self {
        Self {
            address: address.into(),
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer`.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sets a JSON body with its content type.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets any body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// When no well-formed answer comes.
    pub async fn send(self) -> Response {
        let what = format!("answer to {} {}", self.method, self.path);
        within(&what, self.exchange()).await.unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    /// The same; an error where the connection breaks.
    ///
    /// # Errors
    /// What the socket says, or that the answer is no HTTP.
    pub async fn exchange(self) -> std::io::Result<Response> {
        let mut socket = connect(&self.address).await?;
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.address);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut request = head.into_bytes();
        request.extend(self.body.unwrap_or_default());
        // A server may answer and close before it has read a body that is too long: what it said counts.
        let written = match socket.write_all(&request).await {
            Ok(()) => socket.flush().await,
            failed => failed,
        };
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer).await;
        match Response::parse(&answer) {
            Some(response) => Ok(response),
            None => {
                written?;
                read?;
                Err(std::io::Error::other(format!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer))))
            }
        }
    }
}

/// Sends bytes as they are and returns every answer until the server ends the connection, which the last request
/// should ask for.
///
/// # Panics
/// When something else than whole answers comes, or no end.
pub async fn speak(address: &str, bytes: &[u8]) -> Vec<Response> {
    let mut socket = connect(address).await.expect("a connection");
    let mut got = Vec::new();
    within("the answers", async {
        // The server may end the connection before it has read everything: what it said counts.
        let _ = socket.write_all(bytes).await;
        let _ = socket.flush().await;
        let _ = socket.read_to_end(&mut got).await;
    })
    .await;
    let mut rest = got.as_slice();
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (answer, used) =
            Response::first(rest).unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(rest)));
        answers.push(answer);
        rest = &rest[used..];
    }
    answers
}

/// Names and values as they came.
pub(crate) type Headers = Vec<(String, String)>;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The answer, once its announced length is there; `None` before, and where only the end of the
    /// connection would tell.
    pub(crate) fn whole(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes).filter(|r| r.header("content-length").or(r.header("transfer-encoding")).is_some())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        Self::first(bytes).map(|(response, _)| response)
    }

    /// The first answer, and its length.
    fn first(bytes: &[u8]) -> Option<(Self, usize)> {
        let (status, headers, rest) = parse_head(bytes)?;
        let mut response = Self { status, headers, body: Vec::new() };
        let body = match response.header("content-length") {
            _ if response.header("transfer-encoding") == Some("chunked") => {
                let (body, used) = dechunk(rest)?;
                response.body = body;
                used
            }
            Some(length) => {
                let length = length.parse().ok()?;
                response.body = rest.get(..length)?.to_vec();
                length
            }
            None => {
                response.body = rest.to_vec();
                rest.len()
            }
        };
        Some((response, bytes.len() - rest.len() + body))
    }

    /// A header's value by its name, case ignored.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("status {}: {e} in {:?}", self.status, self.text()))
    }

    /// Checks that this is a problem document (RFC 9457) of the status and code, and returns it.
    ///
    /// # Panics
    /// When it is another answer.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "`{member}` of {problem}");
        }
        problem
    }

    /// The same with `Retry-After` in whole seconds.
    ///
    /// # Panics
    /// When it is another answer.
    #[track_caller]
    pub fn expect_problem_with_retry(&self, status: u16, code: &str) -> Value {
        let problem = self.expect_problem(status, code);
        let seconds = self.header("retry-after").and_then(|v| v.parse::<u32>().ok());
        assert!(seconds.is_some_and(|s| s > 0), "Retry-After: {:?}", self.header("retry-after"));
        problem
    }

    /// Checks the status and returns the JSON body.
    ///
    /// # Panics
    /// When it is another status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

/// Status, headers, and what follows the head; `None` while the head is not whole.
pub(crate) fn parse_head(bytes: &[u8]) -> Option<(u16, Headers, &[u8])> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers = lines
        .map(|line| line.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())))
        .collect::<Option<Vec<_>>>()?;
    Some((status, headers, &bytes[end + 4..]))
}

/// The body in chunks, and the length of what carried it. Trailers do not come from our server.
fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut rest = bytes;
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            rest = rest[line + 2..].strip_prefix(b"\r\n")?;
            return Some((body, bytes.len() - rest.len()));
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 4 + size..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_length_is_cut_there() {
        let response =
            Response::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n{}rest").unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, &b"{}"[..]));
        assert_eq!(response.header("x"), Some("y"));
    }

    #[test]
    fn chunks_are_joined() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(Response::parse(bytes).unwrap().body, b"abc");
    }

    #[test]
    fn half_an_answer_is_none() {
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{").is_none());
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\nContent-Le").is_none());
    }
}
