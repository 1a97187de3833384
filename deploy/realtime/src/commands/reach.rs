//! What is said when a server cannot be reached, or something else answers: the address and what to try.

use crate::failure::Failure;

/// `cause` as a library says it, for the server at `url` that the flag `--flag` names.
pub(super) fn unreachable(url: &str, flag: &str, cause: &str) -> Failure {
    let secure = url.starts_with("https://") || url.starts_with("wss://");
    let advice = if secure && cause.contains("InvalidContentType") {
        let plain = url.replacen("https://", "http://", 1).replacen("wss://", "ws://", 1);
        format!("no TLS is spoken there; try --{flag} {plain}")
    } else if cause.contains("invalid peer certificate") {
        "its certificate is not signed by a public authority, or is for another name".to_owned()
    } else if !secure && speaks_otherwise(cause) {
        format!(
            "another protocol is spoken there, or the server has no place left for a connection: is it the right \
             port, or is TLS needed (--{flag} {})?",
            with_tls(url)
        )
    } else {
        format!("is `realtime serve` running there? --{flag} names another address")
    };
    Failure::coded("unavailable", format!("cannot reach {url}: {cause}; {advice}"))
}

/// What the libraries say of bytes that are no answer.
fn speaks_otherwise(cause: &str) -> bool {
    ["httparse error", "gave no gRPC answer", "frame with invalid size", "h2 protocol error"]
        .iter()
        .any(|sign| cause.contains(sign))
}

fn with_tls(url: &str) -> String {
    url.replacen("http://", "https://", 1).replacen("ws://", "wss://", 1)
}
