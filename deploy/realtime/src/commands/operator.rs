//! The connection to the control plane and the token for it.

use std::path::{Path, PathBuf};

use realtime_client::{AdminClient, Channel};

use crate::cli::ServerArgs;
use crate::config::{Layers, Noted, Resolver};
use crate::credentials::DATA_DIR;
use crate::failure::Failure;
use crate::private_file;

/// Where and as whom.
#[derive(Debug)]
pub(super) struct Operator {
    server: String,
    token: Option<String>,
    data_dir: PathBuf,
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
        let server = r.text("server", args.server.as_ref());
        let token = r.secret("operator-token", args.operator_token.as_ref());
        let data_dir = r.text("data-dir", args.data_dir.as_ref());
        let json = r.switch("json", args.json.as_ref());
        Ok(Self {
            server: server?.unwrap_or_else(|| "http://127.0.0.1:7070".into()),
            token: token?,
            data_dir: data_dir?.unwrap_or_else(|| DATA_DIR.into()).into(),
            json: json?,
        })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<AdminClient, Failure> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.local_token()?,
        };
        Ok(AdminClient::new(Channel::connect(&self.server, Some(&token)).await?))
    }

    /// The token that `serve` made on this machine. It is sent to this machine alone: a server elsewhere has no
    /// business with it.
    fn local_token(&self) -> Result<String, Failure> {
        let needed = "an operator token is needed: --token or REALTIME_OPERATOR_TOKEN";
        if !is_local(&self.server) {
            return Err(Failure::new(needed));
        }
        let path = self.data_dir.join("operator.token");
        match private_file::read(Path::new(&path)) {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(Failure::new(format!("{needed} (there is no {})", path.display()))),
            Err(e) => Err(Failure::new(format!("{needed} (cannot read {}: {e})", path.display()))),
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
