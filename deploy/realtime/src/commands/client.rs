//! What `pub` and `sub` share: the address and the token of a WebSocket client.

use std::future::ready;

use realtime_client::{Options, TokenError, TokenSource};
use realtime_proto::AppId;
use realtime_proto::ids::{hex, random};

use super::token::subject;
use crate::cli::ClientArgs;
use crate::config::{Layers, Noted, Resolver};
use crate::credentials::{Claims, Signer, SigningConfig};
use crate::failure::Failure;

/// Lifetime of a token that is signed for one connection: it only has to outlive the opening.
const TOKEN_SECONDS: u64 = 60;

/// How to connect.
#[derive(Debug)]
pub(super) struct ClientConfig {
    server: String,
    app_token: Option<String>,
    subject: Option<String>,
    signing: SigningConfig,
    /// Print JSON.
    pub(super) json: bool,
}

impl ClientConfig {
    /// Reads the flags.
    pub(super) fn resolve(r: &mut Resolver<'_>, args: &ClientArgs) -> Result<Self, Noted> {
        let server = r.text("public-server", args.public_server.as_ref());
        let app_token = r.secret("app-token", args.app_token.as_ref());
        let subject = r.optional("sub", args.sub.as_ref(), subject);
        let json = r.switch("json", args.json.as_ref());
        let signing = SigningConfig::resolve(r, &args.signing);
        Ok(Self {
            server: server?.unwrap_or_else(|| "ws://127.0.0.1:8080".into()),
            app_token: app_token?,
            subject: subject?,
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
        Ok(Options::new(&self.server, app.as_str(), token))
    }

    /// The server has taken the connection, and nothing came of it.
    pub(super) fn no_session(&self) -> Failure {
        Failure::new(format!("{} has not opened a session in time", self.server))
    }

    /// A fresh token for each connection.
    fn signed(&self, signer: Signer, permissions: Vec<String>) -> TokenSource {
        let subject = self.subject.clone().unwrap_or_else(|| format!("cli-{}", hex(&random::<4>())));
        let claims = Claims { subject: Some(subject), permissions, lifetime: Some(TOKEN_SECONDS) };
        TokenSource::provider(move || ready(signer.sign(&claims).map_err(TokenError)))
    }
}

/// Reads an application's id given as a word.
pub(super) fn app_id(text: &str) -> Result<AppId, Failure> {
    AppId::parse(text).map_err(|e| Failure::new(format!("application id {text:?}: {e}")))
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
