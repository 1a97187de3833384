//! Origins and the forms of URLs. What may be fetched is decided where it is fetched.

/// Longest origin and URL, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// The parts of `scheme://authority…`.
struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
    /// From the first `/`, `?` or `#` on.
    rest: &'a str,
}

/// Checks an entry of `allowedOrigins`: `scheme://host[:port]`.
pub(super) fn check(text: &str) -> Result<(), String> {
    let problem = match split(text) {
        _ if text == "*" => "must be an origin; an empty list allows every origin",
        _ if text.contains('*') => "must be one origin; wildcards are not supported",
        Some(parts) if parts.rest.is_empty() => return Ok(()),
        _ => "must be an origin, scheme://host or scheme://host:port, without a path",
    };
    Err(problem.to_owned())
}

/// Checks the form of a URL with one of these schemes, without user or password.
pub(super) fn check_url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let ok = split(text).is_some_and(|parts| {
        schemes.iter().any(|s| parts.scheme.eq_ignore_ascii_case(s))
            && !parts.rest.contains('#')
            && parts.rest.bytes().all(|b| b.is_ascii_graphic())
    });
    if ok { Ok(()) } else { Err(format!("must be a URL, {}://…", schemes.join(":// or "))) }
}

/// Whether two origins are the same: case does not count, and a scheme's own port may be left out.
pub(super) fn same(a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (split(a), split(b)) else { return false };
    b.rest.is_empty()
        && a.scheme.eq_ignore_ascii_case(b.scheme)
        && a.host.eq_ignore_ascii_case(b.host)
        && a.effective_port() == b.effective_port()
}

impl Parts<'_> {
    fn effective_port(&self) -> Option<u16> {
        let own = || match self.scheme {
            s if s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("ws") => Some(80),
            s if s.eq_ignore_ascii_case("https") || s.eq_ignore_ascii_case("wss") => Some(443),
            _ => None,
        };
        self.port.or_else(own)
    }
}

fn split(text: &str) -> Option<Parts<'_>> {
    let (scheme, after) = text.split_once("://").filter(|_| text.len() <= MAX_URL_BYTES)?;
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
    } else {
        let (host, port) = authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p)));
        let host_ok = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        (host_ok.then_some(host)?, port)
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    scheme_ok.then_some(Parts { scheme, host, port, rest })
}
