//! The verified caller.

use std::net::IpAddr;
use std::sync::Arc;

use realtime_proto::{AppId, Permissions};

/// What a verified token says.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The claim `sub`, valid as a subject; `None`: the token has none. (An admin token's may be any text.)
    pub subject: Option<Arc<str>>,
    /// Shared by all tokens of the app with an equal list.
    pub permissions: Arc<Permissions>,
    /// The claim `exp`, Unix seconds.
    pub expires_at: Option<u64>,
}

/// Who calls an API.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Holds an operator token; the name goes into the audit log.
    Operator {
        /// From the token file.
        name: Arc<str>,
    },
    /// Holds a token of this application's `adminKey`.
    App {
        /// The application.
        app_id: AppId,
        /// The token.
        identity: Arc<Identity>,
    },
    /// Another process of the cluster that has done the checks itself.
    Cluster,
}

/// The address a request comes from, found behind the listed proxies. The front door puts it into a request's
/// extensions; whoever checks addresses reads it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// The token of an `Authorization` header or of gRPC metadata: `Bearer TOKEN`, the scheme in any case.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim_start();
    let ok = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && !token.contains(|c: char| c.is_whitespace() || c == ',');
    ok.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_header_has_one_token_and_its_scheme_in_any_case() {
        for good in ["Bearer x.y.z", "bearer x.y.z", "BEARER   x.y.z ", " Bearer x.y.z"] {
            assert_eq!(bearer(good), Some("x.y.z"), "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "Basic x.y.z", "x.y.z", "Bearer a b", "Bearer a,b", "Bearerx y"]
        {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
