//! How a node reaches applications' SNS topics and SQS queues: what the operator allows and lends.

use std::sync::Arc;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use realtime_forwarders::{AmbientCredentials, Forwarders, Options};

use crate::cli::ForwardingArgs;
use crate::config::{Noted, Resolver};

/// What was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForwardingConfig {
    pub(super) insecure_endpoints: bool,
    pub(super) lend_credentials: bool,
}

impl ForwardingConfig {
    /// Reads the flags.
    pub(super) fn resolve(r: &mut Resolver<'_>, args: &ForwardingArgs) -> Result<Self, Noted> {
        let insecure = r.switch("allow-insecure-endpoints", args.allow_insecure_endpoints.as_ref());
        let lend = r.switch("lend-aws-credentials", args.lend_aws_credentials.as_ref());
        Ok(Self { insecure_endpoints: insecure?, lend_credentials: lend? })
    }

    /// Starts without targets. Credentials to lend are looked for when the first application needs them.
    pub(super) async fn start(self) -> Arc<Forwarders> {
        if self.insecure_endpoints {
            tracing::warn!(
                "--allow-insecure-endpoints: messages are forwarded over plain HTTP and to any address too"
            );
        }
        let ambient_credentials = match self.lend_credentials {
            true => Some(AmbientCredentials::new(DefaultCredentialsChain::builder().build().await)),
            false => None,
        };
        let allow_insecure_endpoints = self.insecure_endpoints;
        Arc::new(Forwarders::start(Options {
            allow_insecure_endpoints,
            ambient_credentials,
            ..Options::default()
        }))
    }
}
