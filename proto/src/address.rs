//! Source address lists (docs/contract.md 5), the walk past trusted proxies, the PROXY protocol's header, and which
//! addresses are the public internet's.

mod forwarded;
mod proxy_header;
mod public;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::field::FieldErrors;

pub use forwarded::client_address;
pub use proxy_header::{BadProxyHeader, ProxyHeader};
pub use public::is_public;

/// Entries of one list. Each is looked at for every new connection.
pub const MAX_ADDRESSES: usize = 1000;

/// Bits before the IPv4 address in an IPv4-mapped IPv6 address.
const MAPPED_PREFIX: u8 = 96;

/// CIDRs and single addresses that allow, or with a leading `!` deny. Empty: everyone may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    entries: Vec<Box<str>>,
    allowed: Vec<Range>,
    denied: Vec<Range>,
}

/// What one entry covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// `0.0.0.0/0`: IPv6 too.
    Everyone,
    V4(Ipv4Net),
    V6(Ipv6Net),
}

impl AddressList {
    /// Reads the entries; `field` is the list's path for error messages, such as `adminSourceAddress`.
    ///
    /// # Errors
    /// Every entry that is no address, as `field[i]`; more than [`MAX_ADDRESSES`], as `field`.
    pub fn parse(entries: &[String], field: &str) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        if entries.len() > MAX_ADDRESSES {
            errors.push(field, format!("must have at most {MAX_ADDRESSES} entries"));
            return Err(errors);
        }
        let mut list = Self::default();
        for (i, entry) in entries.iter().enumerate() {
            let (ranges, text) = match entry.strip_prefix('!') {
                Some(text) => (&mut list.denied, text),
                None => (&mut list.allowed, entry.as_str()),
            };
            match Range::parse(text) {
                Some(range) => ranges.push(range),
                None => errors.push(
                    format!("{field}[{i}]"),
                    "must be an IP address or a CIDR such as 10.0.0.0/8, with a leading ! to deny",
                ),
            }
            list.entries.push(entry.as_str().into());
        }
        errors.into_result(list)
    }

    /// A denial always wins; with allowing entries one must match; only denials: everyone else may.
    /// An IPv4-mapped IPv6 address is its IPv4 address; `0.0.0.0/0` covers IPv6 too.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !self.denied.iter().any(|r| r.covers(address))
            && (self.allowed.is_empty() || self.allowed.iter().any(|r| r.covers(address)))
    }

    /// Whether some allowing entry matches: membership, for lists such as `trustedProxies`, where empty means nobody.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|r| r.covers(address))
    }

    /// The entries as they were written.
    #[must_use]
    pub fn entries(&self) -> &[Box<str>] {
        &self.entries
    }
}

impl Range {
    /// Bits after the prefix are ignored, as in `10.0.0.1/8`. A range of IPv4-mapped addresses is its IPv4 range.
    fn parse(text: &str) -> Option<Self> {
        let net = match text.parse::<IpNet>() {
            Ok(net) => net.trunc(),
            Err(_) => text.parse::<IpAddr>().ok()?.into(),
        };
        Some(match net {
            IpNet::V4(net) if net.prefix_len() == 0 => Self::Everyone,
            IpNet::V4(net) => Self::V4(net),
            IpNet::V6(net) => {
                match (net.addr().to_ipv4_mapped(), net.prefix_len().checked_sub(MAPPED_PREFIX)) {
                    (Some(v4), Some(prefix)) => Self::V4(Ipv4Net::new(v4, prefix).ok()?),
                    _ => Self::V6(net),
                }
            }
        })
    }

    /// `address` is canonical.
    fn covers(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Everyone, _) => true,
            (Self::V4(net), IpAddr::V4(address)) => net.contains::<&Ipv4Addr>(&address),
            (Self::V6(net), IpAddr::V6(address)) => net.contains::<&Ipv6Addr>(&address),
            (Self::V4(_), IpAddr::V6(_)) | (Self::V6(_), IpAddr::V4(_)) => false,
        }
    }
}
