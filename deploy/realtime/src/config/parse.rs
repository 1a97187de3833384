//! Texts to values. Errors say what a value must be; the resolver says which value.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use realtime_proto::AddressList;
use realtime_proto::app::Algorithm;

use crate::text_file;

/// An address to listen on; `None`: `off`.
pub(crate) type Listen = Option<SocketAddr>;

/// `host:port`; names are looked up, the first address counts.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if text.starts_with(':') {
        return Err("must be HOST:PORT; 0.0.0.0:PORT or [::]:PORT for every interface".into());
    }
    let mut found = text.to_socket_addrs().map_err(|e| format!("must be HOST:PORT ({e})"))?;
    found.next().ok_or_else(|| "the host has no address".into())
}

/// [`address`] or `off`.
pub(crate) fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" { Ok(None) } else { address(text).map(Some) }
}

/// A list of addresses, commas between them, that holds somebody; `None`: `off`.
pub(crate) fn addresses_or_off(text: &str) -> Result<Option<AddressList>, String> {
    if text == "off" {
        return Ok(None);
    }
    let entries: Vec<String> = text.split(',').map(|entry| entry.trim().to_owned()).collect();
    if entries.iter().any(|entry| entry.starts_with('!')) {
        return Err("must be addresses or CIDRs without denials, or off".into());
    }
    match AddressList::parse(&entries, "") {
        Ok(list) => Ok(Some(list)),
        Err(_) => Err("must be addresses or CIDRs such as 10.0.0.0/8, with commas between, or off".into()),
    }
}

/// The content of a file.
pub(crate) fn file(path: &str) -> Result<Vec<u8>, String> {
    text_file::read_bytes(Path::new(path)).map_err(|e| format!("cannot be read: {e}"))
}

/// `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// A whole number.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "must be a whole number".into())
}

/// Seconds, at most a day.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match number(text) {
        Ok(seconds) if seconds <= 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds, at most 86400".into()),
    }
}

/// How often, from ten seconds to a day; `None`: `off`.
pub(crate) fn period_or_off(text: &str) -> Result<Option<Duration>, String> {
    match (text, number(text)) {
        ("off", _) => Ok(None),
        (_, Ok(seconds @ 10..=86_400)) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err("must be a whole number of seconds from 10 to 86400, or off".into()),
    }
}

/// How long an answer is waited for: 1 to 3,600 seconds.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match number(text) {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds from 1 to 3600".into()),
    }
}

/// The URL of a gRPC service.
pub(crate) fn grpc_url(text: &str) -> Result<String, String> {
    url(text, &["http", "https"], "http://127.0.0.1:7070")
}

/// The URL of a server's public port.
pub(crate) fn public_url(text: &str) -> Result<String, String> {
    url(text, &["ws", "wss", "http", "https"], "ws://127.0.0.1:8080 or wss://example.com")
}

fn url(text: &str, schemes: &[&str], example: &str) -> Result<String, String> {
    let problem = || format!("must be a URL such as {example}");
    let uri: http::Uri = text.parse().map_err(|_| problem())?;
    let fits = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
        && uri.authority().is_some_and(|a| !a.host().is_empty());
    if fits { Ok(text.to_owned()) } else { Err(problem()) }
}

/// A token as HTTP headers and URLs carry it; the error does not repeat it. Else it is the server that seems to
/// refuse what could not even be sent.
pub(crate) fn token(text: String) -> Result<String, String> {
    if text.is_empty() {
        Err("must not be empty".into())
    } else if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err("has characters that no token has".into())
    }
}

/// A number of shard threads.
pub(crate) fn shards(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads <= 256 => Ok(threads),
        _ => Err("must be a whole number from 0 to 256".into()),
    }
}

/// A node's name.
pub(crate) fn node_id(text: &str) -> Result<String, String> {
    let ok = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if ok { Ok(text.to_owned()) } else { Err("must be 1 to 64 letters, digits, -, _ and .".into()) }
}

/// A JWS algorithm by its name.
pub(crate) fn algorithm(text: &str) -> Result<Algorithm, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| {
        "must be HS256 … HS512, RS256 … RS512, PS256 … PS512, ES256, ES384, ES512 or EdDSA".into()
    })
}

/// A token's lifetime in seconds: a number, with or without `s`, `m`, `h` or `d`; `None`: `never`.
pub(crate) fn lifetime(text: &str) -> Result<Option<u64>, String> {
    if text == "never" {
        return Ok(None);
    }
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    match digits.parse::<u32>() {
        Ok(count) if count > 0 => Ok(Some(u64::from(count) * factor)),
        _ => Err("must be a number of seconds above 0, or such as 15m, 12h, 30d, or never".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(listen("off"), Ok(None));
        for bad in ["", ":80", "127.0.0.1", "127.0.0.1:99999", "[::1]"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_addresses_name_somebody() {
        assert_eq!(addresses_or_off("off"), Ok(None));
        let list = addresses_or_off("10.0.0.0/8, ::1").unwrap().unwrap();
        assert!(list.contains([10, 1, 2, 3].into()) && !list.contains([11, 0, 0, 1].into()));
        for bad in ["", "on", "10.0.0.0/8,", "!10.0.0.1", "10.0.0.0/33"] {
            assert!(addresses_or_off(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lifetimes_have_units() {
        assert_eq!(lifetime("90"), Ok(Some(90)));
        assert_eq!(lifetime("15m"), Ok(Some(900)));
        assert_eq!(lifetime("12h"), Ok(Some(43_200)));
        assert_eq!(lifetime("30d"), Ok(Some(2_592_000)));
        assert_eq!(lifetime("never"), Ok(None));
        for bad in ["", "0", "-1", "m", "1w", "1.5h", "é"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_visible_characters() {
        assert_eq!(token("a.b-c_~+/=".into()), Ok("a.b-c_~+/=".into()));
        for bad in ["", "a\nb", "a b", "\u{e9}", "a\0"] {
            assert!(token(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_bounded() {
        assert!(seconds("86400").is_ok() && seconds("86401").is_err() && seconds("-1").is_err());
        assert!(shards("0").is_ok() && shards("257").is_err());
        assert!(node_id("a.b-c_1").is_ok() && node_id("").is_err() && node_id("a b").is_err());
        assert!(algorithm("ES512").is_ok() && algorithm("none").is_err());
    }
}
