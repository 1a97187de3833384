//! `X-Forwarded-For` and `Forwarded` (RFC 7239), read from the right. What stands left of the first
//! unlisted address was written by the client and is never looked at: it can neither choose an address nor
//! make the header malformed.

use std::net::{IpAddr, SocketAddr};

use super::AddressList;

/// The client behind listed proxies: `X-Forwarded-For` or `Forwarded`, walked from the right past
/// listed addresses; the first unlisted one. Malformed, absent, or `socket` not listed: `socket`.
/// Where every address is listed, the leftmost one: the client is inside the trusted network.
///
/// Several header lines are one text, joined by commas in their order. Where both headers are present,
/// `X-Forwarded-For` alone counts: nearly every proxy writes it, and most pass a client's `Forwarded` on
/// unseen. A proxy that writes only `Forwarded` must remove the `X-Forwarded-For` that it receives.
/// An IPv4-mapped IPv6 address is answered as its IPv4 address.
#[must_use]
pub fn client_address(
    socket: IpAddr,
    x_forwarded_for: Option<&str>,
    forwarded: Option<&str>,
    trusted: &AddressList,
) -> IpAddr {
    let socket = socket.to_canonical();
    if !trusted.contains(socket) {
        return socket;
    }
    match (x_forwarded_for, forwarded) {
        (Some(text), _) => walk(text.rsplit(',').map(node), trusted).unwrap_or(socket),
        (None, Some(text)) => walk(elements_from_right(text).map(forwarded_for), trusted).unwrap_or(socket),
        (None, None) => socket,
    }
}

/// `None`: an address on the way is malformed.
fn walk(addresses: impl Iterator<Item = Option<IpAddr>>, trusted: &AddressList) -> Option<IpAddr> {
    let mut last = None;
    for address in addresses {
        let address = address?;
        last = Some(address);
        if !trusted.contains(address) {
            break;
        }
    }
    last
}

/// An address: bare, with a port, IPv6 in brackets with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|s| s.ip()))
        .ok()
        .or_else(|| bracketed().map(IpAddr::V6))?;
    Some(address.to_canonical())
}

/// The comma-separated elements outside quoted strings, the last one first.
fn elements_from_right(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let cut = last_unquoted(text, b',');
        rest = cut.map(|at| &text[..at]);
        Some(cut.map_or(text, |at| &text[at + 1..]))
    })
}

/// Where `separator` stands last outside quoted strings, reading from the right.
fn last_unquoted(text: &str, separator: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for (i, &byte) in bytes.iter().enumerate().rev() {
        if byte == b'"' {
            let backslashes = bytes[..i].iter().rev().take_while(|&&b| b == b'\\').count();
            if backslashes % 2 == 0 {
                quoted = !quoted;
            }
        } else if byte == separator && !quoted {
            return Some(i);
        }
    }
    None
}

/// The address in an element's `for=`; `None` where it has none, two, or one that is no address, such as
/// `unknown` and `_hidden`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(text) = rest {
        let cut = last_unquoted(text, b';');
        let pair = cut.map_or(text, |at| &text[at + 1..]);
        rest = cut.map(|at| &text[..at]);
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value.trim()).is_some() {
            return None;
        }
    }
    let value = found?;
    let unquoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    node(unquoted.unwrap_or(value))
}
