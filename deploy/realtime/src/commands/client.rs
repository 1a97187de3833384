//! What `pub` and `sub` share: the address and the token of a WebSocket client.

use std::future::ready;
use std::time::Duration;

use realtime_client::{ErrorCode, Options, SendError, TokenError, TokenSource};
use realtime_proto::AppId;
use realtime_proto::ids::{hex, random};
use realtime_proto::topic::PRIVATE_PREFIX;

use super::reach;
use super::token::subject;
use crate::cli::{ClientArgs, defaults};
use crate::config::{Layers, Noted, Resolver, parse};
use crate::credentials::{self, Claims, Signer, SigningConfig};
use crate::failure::Failure;

/// Lifetime of a token that is signed for one connection: it only has to outlive the opening.
const TOKEN_SECONDS: u64 = 60;

/// How to connect.
#[derive(Debug)]
pub(super) struct ClientConfig {
    server: String,
    app_token: Option<String>,
    subject: Option<String>,
    ca: Option<Vec<u8>>,
    signing: SigningConfig,
    /// Print JSON.
    pub(super) json: bool,
}

impl ClientConfig {
    /// Reads the flags.
    pub(super) fn resolve(r: &mut Resolver<'_>, args: &ClientArgs) -> Result<Self, Noted> {
        let server = r.server(
            "public-server",
            args.public_server.as_ref(),
            defaults::PUBLIC_SERVER,
            parse::public_url,
        );
        let app_token = r.token("app-token", args.app_token.as_ref());
        let subject = r.optional("sub", args.sub.as_ref(), subject);
        let ca = r.optional("ca", args.ca.as_ref(), parse::file);
        let json = r.switch("json", args.json.as_ref());
        let signing = SigningConfig::resolve(r, &args.signing);
        Ok(Self {
            server: server?,
            app_token: app_token?,
            subject: subject?,
            ca: ca?,
            signing: signing?,
            json: json?,
        })
    }

    /// Options of a client of this application. A token signed here allows just `permissions`.
    pub(super) fn options(&self, app: &AppId, permissions: Vec<String>) -> Result<Options, Failure> {
        let token = match &self.app_token {
            Some(token) => token.clone().into(),
            None => self.signed(self.signing.signer(Some(app))?, permissions),
        };
        let options = Options::new(&self.server, app.as_str(), token);
        match &self.ca {
            Some(pem) => options.ca(pem).map_err(|e| Failure::new(format!("--ca: {e}"))),
            None => Ok(options),
        }
    }

    /// Whether the server subscribes such a client to this `priv/` topic. The topic of a connection's id cannot be
    /// known before there is the connection; what a token that cannot be read says is left to the server.
    pub(super) fn owns(&self, private_topic: &str) -> bool {
        let own = |subject: &str| private_topic.strip_prefix(PRIVATE_PREFIX) == Some(subject);
        match &self.app_token {
            Some(token) => {
                credentials::claimed_subject(token).is_none_or(|sub| sub.as_str().is_some_and(own))
            }
            None => self.subject.as_deref().is_some_and(own),
        }
    }

    /// No answer has come in time.
    pub(super) fn no_answer(&self, within: Duration) -> Failure {
        let what = format!("no answer from {} within {} s (--timeout)", self.server, within.as_secs());
        Failure::coded(ErrorCode::Unavailable.name(), what)
    }

    /// What a client's error means to whoever gave the command.
    pub(super) fn failed(&self, error: SendError) -> Failure {
        match error {
            SendError::Invalid(_) => Failure::input(error.to_string()),
            SendError::Closed { code, reason } => self.closed(code, &reason),
            SendError::Disconnected | SendError::Unconfirmed | SendError::Refused(_) => error.into(),
        }
    }

    /// Why there is no session, or no longer one.
    pub(super) fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        match code {
            None => reach::unreachable(&self.server, "public-server", cause(reason)),
            Some(code @ 4400..4600) => Failure::coded(
                "refused",
                format!("{} refuses the session: {reason} ({})", self.server, code - 4000),
            ),
            Some(code) => {
                Failure::coded("closed", format!("{} has closed the session: {reason} ({code})", self.server))
            }
        }
    }

    /// A fresh token for each connection.
    fn signed(&self, signer: Signer, permissions: Vec<String>) -> TokenSource {
        let subject = self.subject.clone().unwrap_or_else(|| format!("cli-{}", hex(&random::<4>())));
        let claims = Claims { subject: Some(subject), permissions, lifetime: Some(TOKEN_SECONDS) };
        TokenSource::provider(move || ready(signer.sign(&claims).map_err(TokenError)))
    }
}

/// What a library says, without the library and the address, which is told anyway.
fn cause(reason: &str) -> &str {
    let reason = reason.trim_start_matches("IO error: ").trim_start_matches("WebSocket protocol error: ");
    match reason.strip_prefix("cannot connect to ").and_then(|rest| rest.split_once(": ")) {
        Some((_, cause)) => cause,
        None => reason,
    }
}

/// Reads an application's id given as a word.
pub(super) fn app_id(text: &str) -> Result<AppId, Failure> {
    AppId::parse(text).map_err(|e| Failure::input(format!("application id {text:?} {e}")))
}

/// Finishes a resolver for a command whose only values are these and `more`.
pub(super) fn resolve<T>(
    args: &ClientArgs,
    layers: &Layers,
    more: impl FnOnce(&mut Resolver<'_>) -> Result<T, Noted>,
) -> Result<(ClientConfig, T), Failure> {
    let mut r = Resolver::new(layers);
    let config = ClientConfig::resolve(&mut r, args);
    let more = more(&mut r);
    r.finish()?;
    Ok((config?, more?))
}
