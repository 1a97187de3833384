//! Which endpoints an application may name: `endpointUrl` makes this server send requests, and whoever may configure
//! an application must not be able to look around in the server's own neighbourhood.

use std::fmt;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use http::Uri;
use realtime_proto::address::is_public;
use tokio::net::lookup_host;

use crate::failure::{Class, Failure};

const NOT_PUBLIC: &str = "it is not at a public address";

/// What is wrong with an endpoint before any name is resolved. Addresses that stand for themselves are judged here,
/// because HTTP clients connect to them without asking a resolver.
pub(super) fn check(url: &str, allow_insecure: bool) -> Result<(), Failure> {
    let refused = |why| Failure::because(Class::Endpoint, why);
    let uri: Uri = url.parse().map_err(|_| refused("it is no URL"))?;
    if !matches!((uri.scheme_str(), allow_insecure), (Some("https"), _) | (Some("http"), true)) {
        return Err(refused("it must be https://…"));
    }
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let host = authority.ok_or_else(|| refused("it must have a host, and no user or password"))?.host();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    if !allow_insecure && literal.is_ok_and(|address| !is_public(address)) {
        return Err(refused(NOT_PUBLIC));
    }
    Ok(())
}

/// Resolves names to public addresses only: what it returns is what is connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicResolver;

impl ResolveDns for PublicResolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            let public: Vec<_> =
                found.map(|found| found.ip()).filter(|address| is_public(*address)).collect();
            if public.is_empty() { Err(ResolveDnsError::new(NotPublic)) } else { Ok(public) }
        })
    }
}

/// A name has no public address.
#[derive(Debug)]
pub(super) struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NOT_PUBLIC)
    }
}

impl std::error::Error for NotPublic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_public_addresses_is_allowed() {
        for good in [
            "https://sqs.example",
            "https://sqs.example:8443/x",
            "https://8.8.8.8",
            "https://[2606:4700::1]/",
        ] {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
        let bad = [
            "",
            "sqs.example",
            "ftp://sqs.example",
            "http://sqs.example",
            "https://user:pw@sqs.example",
            "https://127.0.0.1:4566",
            "https://10.1.2.3",
            "https://[::1]",
            "https://[::ffff:192.168.0.1]",
            "https://169.254.169.254/latest",
        ];
        for bad in bad {
            assert_eq!(check(bad, false).map_err(|f| f.class()), Err(Class::Endpoint), "{bad}");
        }
    }

    #[test]
    fn the_operator_may_allow_others() {
        for good in ["http://127.0.0.1:4566", "https://10.1.2.3", "http://localhost"] {
            assert_eq!(check(good, true), Ok(()), "{good}");
        }
        assert!(check("http://user@127.0.0.1", true).is_err());
        assert!(check("ftp://127.0.0.1", true).is_err());
    }

    #[tokio::test]
    async fn names_of_this_machine_resolve_to_nothing() {
        // The last two are 127.0.0.1 as the system's resolver reads it.
        for name in ["localhost", "127.1", "2130706433"] {
            assert!(PublicResolver.resolve_dns(name).await.is_err(), "{name}");
        }
    }
}
