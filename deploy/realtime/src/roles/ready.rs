//! The ready file: tells whoever started the process where it listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::private_file;

/// The bound addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) listen: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
}

impl Addresses {
    fn document(&self) -> Value {
        let mut document = Map::new();
        for (name, address) in [
            ("listen", Some(self.listen)),
            ("grpcListen", self.grpc),
            ("adminListen", self.admin),
            ("peerListen", self.peer),
        ] {
            if let Some(address) = address {
                document.insert(name.into(), address.to_string().into());
            }
        }
        Value::Object(document)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.listen)?;
        for (name, address) in [("gRPC", self.grpc), ("metrics and probes", self.admin), ("peers", self.peer)]
        {
            if let Some(address) = address {
                write!(f, ", {name} on {address}")?;
            }
        }
        Ok(())
    }
}

/// Writes the file in one step: who sees it sees all of it.
pub(super) fn write(path: &Path, addresses: &Addresses) -> Result<(), Failure> {
    private_file::replace_public(path, &format!("{}\n", addresses.document()))
        .map_err(|e| Failure::new(format!("cannot write the ready file {}: {e}", path.display())))
}

/// Takes the file away: what it says holds no longer, or not yet.
pub(super) fn remove(path: &Path) {
    // Most often there is none.
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_is_named() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let addresses =
            Addresses { listen: at("127.0.0.1:1"), grpc: None, admin: Some(at("[::1]:2")), peer: None };
        assert_eq!(addresses.document().to_string(), r#"{"adminListen":"[::1]:2","listen":"127.0.0.1:1"}"#);
    }
}
