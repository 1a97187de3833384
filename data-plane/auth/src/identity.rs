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
    Cluster {
        /// For whom.
        behalf: Behalf,
    },
}

/// Whose call a process of the cluster passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behalf {
    /// An operator's.
    Operator,
    /// That of a service with the application's token.
    App,
}

impl Behalf {
    /// The gRPC metadata that names it. Only ports that nobody but the cluster's own processes reaches believe it.
    pub const METADATA: &'static str = "x-realtime-behalf";

    /// Its name in the metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::App => "app",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Operator, Self::App].into_iter().find(|behalf| behalf.name() == name)
    }
}

impl Caller {
    /// What its connection counts as.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Operator { .. } | Self::Cluster { .. } => Standing::Operator,
            Self::App { .. } => Standing::Application,
        }
    }

    /// The caller that another process of the cluster meets when this one, which has checked `self`, passes
    /// the call on.
    #[must_use]
    pub fn vouched(&self) -> Self {
        let behalf = match self {
            Self::Operator { .. } => Behalf::Operator,
            Self::App { .. } => Behalf::App,
            Self::Cluster { behalf } => *behalf,
        };
        Self::Cluster { behalf }
    }

    /// Whether the call counts against the application's monthly quota and is refused beyond it: operators
    /// ignore quotas.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        match self {
            Self::Operator { .. } | Self::Cluster { behalf: Behalf::Operator } => false,
            Self::App { .. } | Self::Cluster { behalf: Behalf::App } => true,
        }
    }
}

/// The address a request comes from, found behind the listed proxies. The front door puts it into a request's
/// extensions; whoever checks addresses reads it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The gRPC metadata by which a gateway passes it on. Only connections of the cluster's own processes are believed.
    pub const METADATA: &'static str = "x-realtime-client-address";
}

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An operator's, or another process's of the cluster.
    Operator,
    /// Of a caller of an application, who must not keep operators out.
    Application,
}

/// A connection that gives way to new ones until somebody who calls over it has been authenticated. The port puts it
/// into a request's extensions; whoever authenticates callers says so there.
#[derive(Clone)]
pub struct ProvisionalConnection(Arc<dyn Fn(Standing) + Send + Sync>);

impl ProvisionalConnection {
    /// `keep`: what makes it a lasting one. It is called at every authentication.
    pub fn new(keep: impl Fn(Standing) + Send + Sync + 'static) -> Self {
        Self(Arc::new(keep))
    }

    /// A caller has been authenticated.
    pub fn keep(&self, standing: Standing) {
        (self.0)(standing);
    }
}

impl std::fmt::Debug for ProvisionalConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProvisionalConnection(…)")
    }
}

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
    fn only_operators_ignore_quotas_however_many_processes_pass_their_call_on() {
        let operator = Caller::Operator { name: "ann".into() };
        let permissions =
            Arc::new(Permissions::new(Default::default(), realtime_proto::PermissionCase::Insensitive));
        let identity = Arc::new(Identity { subject: None, permissions, expires_at: None });
        let app = Caller::App { app_id: AppId::parse("a").unwrap(), identity };
        for (caller, metered) in [(operator, false), (app, true)] {
            assert_eq!(caller.is_metered(), metered);
            assert_eq!(caller.vouched().is_metered(), metered);
            assert_eq!(caller.vouched().vouched().is_metered(), metered);
        }
    }

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
