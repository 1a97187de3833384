//! The connection to the control plane and the token for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use realtime_client::{AdminClient, Channel, ErrorCode};

use super::reach;
use crate::cli::{ServerArgs, defaults};
use crate::config::{Layers, Noted, Resolver, parse};
use crate::failure::Failure;
use crate::private_file;

/// Where and as whom.
#[derive(Debug)]
pub(super) struct Operator {
    server: String,
    token: Option<String>,
    ca: Option<Vec<u8>>,
    data_dir: PathBuf,
    timeout: Duration,
    /// Print JSON.
    pub(super) json: bool,
}

/// Reads the flags of a command that has no others.
pub(super) fn resolve(args: &ServerArgs, layers: &Layers) -> Result<Operator, Failure> {
    let mut r = Resolver::new(layers);
    let operator = Operator::resolve(&mut r, args);
    r.finish()?;
    Ok(operator?)
}

impl Operator {
    /// Reads the flags.
    pub(super) fn resolve(r: &mut Resolver<'_>, args: &ServerArgs) -> Result<Self, Noted> {
        let server = r.server("server", args.server.as_ref(), defaults::SERVER, parse::grpc_url);
        let token = r.token("operator-token", args.operator_token.as_ref());
        let data_dir = r.text("data-dir", args.data_dir.as_ref());
        let timeout = r.value("timeout", args.timeout.as_ref(), defaults::TIMEOUT, parse::timeout);
        let ca = r.optional("ca", args.ca.as_ref(), parse::file);
        let json = r.switch("json", args.json.as_ref());
        Ok(Self {
            server: server?,
            token: token?,
            data_dir: data_dir?.unwrap_or_else(|| defaults::DATA_DIR.into()).into(),
            timeout: timeout?,
            ca: ca?,
            json: json?,
        })
    }

    /// Connects and does `work`; what fails is told with the server's address and the token's origin.
    pub(super) async fn ask<T>(
        &self,
        work: impl AsyncFnOnce(&mut AdminClient) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (token, origin) = match &self.token {
            Some(token) => (token.clone(), "the one that was given".to_owned()),
            None => self.local_token()?,
        };
        let channel =
            Channel::connect_within(&self.server, Some(&token), self.timeout, self.ca.as_deref()).await;
        let channel = channel.map_err(|e| match e.code {
            ErrorCode::Unavailable => {
                let prefix = format!("cannot reach {}: ", self.server);
                reach::unreachable(&self.server, "server", e.detail.trim_start_matches(&prefix))
            }
            _ => e.into(),
        })?;
        let result = work(&mut AdminClient::new(channel)).await;
        result.map_err(|failure| self.explained(failure, &origin))
    }

    fn explained(&self, failure: Failure, token: &str) -> Failure {
        let Failure::Failed { code, message } = failure else { return failure };
        if code == ErrorCode::Unauthenticated.name() {
            let what = format!("{} does not accept the operator token ({token})", self.server);
            return Failure::coded(code, what);
        }
        if code == ErrorCode::Unavailable.name() && message.contains("gave no gRPC answer") {
            let cause = message.split("; is this").next().unwrap_or_default();
            return reach::unreachable(&self.server, "server", cause);
        }
        if code == ErrorCode::Unavailable.name() && message == realtime_client::grpc::NO_ANSWER {
            let seconds = self.timeout.as_secs();
            return Failure::coded(
                code,
                format!("no answer from {} within {seconds} s (--timeout)", self.server),
            );
        }
        Failure::Failed { code, message }
    }

    /// The token that `serve` made on this machine, and where it is. It is sent to this machine alone: a server
    /// elsewhere has no business with it.
    fn local_token(&self) -> Result<(String, String), Failure> {
        let needed = "an operator token is needed: give REALTIME_OPERATOR_TOKEN or --operator-token";
        if !is_local(&self.server) {
            return Err(Failure::input(needed));
        }
        let path = self.data_dir.join("operator.token");
        let shown = path.display().to_string();
        match private_file::read(Path::new(&path)) {
            Ok(Some(token)) => match parse::token(token) {
                Ok(token) => Ok((token, shown)),
                Err(why) => Err(Failure::input(format!("{shown}: the token {why}"))),
            },
            Ok(None) => Err(Failure::input(format!(
                "{needed}, or with --data-dir the directory of the server's data (there is no {shown})"
            ))),
            Err(e) => Err(Failure::input(format!("{needed} (cannot read {shown}: {e})"))),
        }
    }
}

/// Whether the URL's host is this machine.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_token_goes_to_this_machine_only() {
        for local in ["http://127.0.0.1:7070", "http://localhost:1/", "http://[::1]:7070", "http://127.9.9.9"]
        {
            assert!(is_local(local), "{local}");
        }
        for remote in [
            "http://example.com",
            "http://10.0.0.1:7070",
            "http://127.0.0.1@example.com",
            "http://localhost.example.com",
            "",
            "http://[::2]:1",
        ] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
