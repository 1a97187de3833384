//! Source address lists (protocol.md 5) and the walk past trusted proxies.

use std::net::IpAddr;

use crate::field::FieldErrors;

/// CIDRs and single addresses that allow, or with a leading `!` deny. Empty: everyone may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    entries: Vec<Box<str>>,
}

impl AddressList {
    /// Reads the entries; `field` is the list's path for error messages, such as `adminSourceAddress`.
    ///
    /// # Errors
    /// Every entry that is no address, as `field[i]`.
    pub fn parse(_entries: &[String], _field: &str) -> Result<Self, FieldErrors> {
        todo!()
    }

    /// A denial always wins; with allowing entries one must match; only denials: everyone else may.
    /// An IPv4-mapped IPv6 address is its IPv4 address; `0.0.0.0/0` covers IPv6 too.
    #[must_use]
    pub fn allows(&self, _address: IpAddr) -> bool {
        todo!()
    }

    /// Whether some allowing entry matches: membership, for lists such as `trustedProxies`, where empty means nobody.
    #[must_use]
    pub fn contains(&self, _address: IpAddr) -> bool {
        todo!()
    }

    /// The entries as they were written.
    #[must_use]
    pub fn entries(&self) -> &[Box<str>] {
        &self.entries
    }
}

/// The client behind listed proxies: `X-Forwarded-For` or `Forwarded`, walked from the right past
/// listed addresses; the first unlisted one. Malformed, absent, or `socket` not listed: `socket`.
#[must_use]
pub fn client_address(
    _socket: IpAddr,
    _x_forwarded_for: Option<&str>,
    _forwarded: Option<&str>,
    _trusted: &AddressList,
) -> IpAddr {
    todo!()
}
