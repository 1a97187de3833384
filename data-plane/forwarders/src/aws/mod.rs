//! Senders on the AWS SDK. All targets share two HTTP clients, with their connections and the system's certificates:
//! one for AWS's own endpoints, and one for applications' `endpointUrl`, which connects to public addresses only
//! unless the operator allows others.
//!
//! A queue's URL names the queue and is never connected to. The SDK neither tries again nor limits a call's time:
//! both are decided here, once for all.

mod answers;
mod endpoint;
mod errors;
mod sns;
mod sqs;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use realtime_proto::app::Forwarder;

use crate::failure::{Class, Failure};
use crate::message::TargetKind;
use crate::sender::{Connect, Sender};
use endpoint::PublicResolver;

/// For the connection of a call: one network's delay and a lost packet, with time left for the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The operator's own credentials, which applications without their own use. What provides them, such as AWS's chain
/// of environment, files and instance metadata, is whoever starts the forwarders to choose.
#[derive(Clone)]
pub struct AmbientCredentials(SharedCredentialsProvider);

impl AmbientCredentials {
    /// Credentials from a provider of the AWS SDK, which renews them itself.
    pub fn new(provider: impl ProvideCredentials + 'static) -> Self {
        Self(SharedCredentialsProvider::new(provider))
    }
}

impl fmt::Debug for AmbientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AmbientCredentials(…)")
    }
}

/// Makes senders to AWS.
pub(crate) struct Aws {
    /// To whatever a name resolves to.
    open: SharedHttpClient,
    /// To public addresses.
    guarded: SharedHttpClient,
    allow_insecure: bool,
    ambient: Option<AmbientCredentials>,
}

/// What both services' clients are made of.
struct Client {
    http: SharedHttpClient,
    credentials: SharedCredentialsProvider,
    timeouts: TimeoutConfig,
    fifo: bool,
    /// Of the application, to be kept out of errors.
    secrets: Arc<errors::Secrets>,
}

impl Aws {
    pub(crate) fn new(allow_insecure: bool, ambient: Option<AmbientCredentials>) -> Self {
        let builder =
            || aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        let (open, guarded) = (builder().build_https(), builder().build_with_resolver(PublicResolver));
        Self { open, guarded, allow_insecure, ambient }
    }

    fn client(&self, forwarder: &Forwarder) -> Result<Client, Failure> {
        let http = match &forwarder.endpoint_url {
            None => self.open.clone(),
            Some(url) => {
                endpoint::check(url, self.allow_insecure)?;
                if self.allow_insecure { self.open.clone() } else { self.guarded.clone() }
            }
        };
        let credentials = self.credentials(forwarder)?;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let fifo = crate::target::is_fifo(forwarder);
        Ok(Client { http, credentials, timeouts, fifo, secrets: Arc::new(errors::Secrets::of(forwarder)) })
    }

    fn credentials(&self, forwarder: &Forwarder) -> Result<SharedCredentialsProvider, Failure> {
        if let (Some(id), Some(secret)) = (&forwarder.access_key_id, &forwarder.secret_access_key) {
            let own = Credentials::new(id, secret.expose(), None, None, "application");
            return Ok(SharedCredentialsProvider::new(own));
        }
        let lent = self.ambient.as_ref().map(|ambient| ambient.0.clone());
        let none = "the application has none, and this server lends it none";
        lent.ok_or_else(|| Failure::because(Class::Credentials, none))
    }
}

impl Connect for Aws {
    fn connect(&self, kind: TargetKind, forwarder: &Forwarder) -> Result<Arc<dyn Sender>, Failure> {
        let client = self.client(forwarder)?;
        Ok(match kind {
            TargetKind::Sns => Arc::new(sns::Topic::new(client, forwarder)),
            TargetKind::Sqs => Arc::new(sqs::Queue::new(client, forwarder)),
            TargetKind::Stream => return Err(Failure::because(Class::Rejected, "a stream is not AWS's")),
        })
    }
}

/// The answer to a batch whose entries are numbered. An entry that AWS does not mention was not accepted.
fn results<'a>(
    entries: usize,
    accepted: impl Iterator<Item = &'a str>,
    refused: impl Iterator<Item = (&'a str, Failure)>,
) -> Vec<Result<(), Failure>> {
    let unmentioned = Failure::because(Class::Unavailable, "its answer leaves messages out");
    let mut results = vec![Err(unmentioned); entries];
    let told = accepted.map(|id| (id, Ok(()))).chain(refused.map(|(id, failure)| (id, Err(failure))));
    for (id, result) in told {
        if let Some(place) = id.parse::<usize>().ok().and_then(|number| results.get_mut(number)) {
            *place = result;
        }
    }
    results
}
