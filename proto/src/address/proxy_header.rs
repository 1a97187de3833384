//! The header of the PROXY protocol, version 2, as load balancers write it before the first byte of a connection.
//! Fixed sizes only: what follows the addresses (TLVs) is skipped by whoever reads the bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How the text form, version 1, begins.
const VERSION_1: &[u8] = b"PROXY ";

/// Why bytes are no header of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxyHeader {
    /// The connection begins with something else.
    #[error("no PROXY protocol header")]
    Missing,
    /// The text form.
    #[error("PROXY protocol version 1; only version 2 is read")]
    Version1,
    /// A version or command that is not assigned.
    #[error("unknown PROXY protocol version or command {0:#04x}")]
    Command(u8),
    /// An address family or transport that is not assigned.
    #[error("unknown PROXY protocol address family {0:#04x}")]
    Family(u8),
    /// Shorter than its addresses.
    #[error("a PROXY protocol header of {0} bytes is too short for its addresses")]
    Short(u16),
}

/// The fixed part of a header, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    addresses: Addresses,
    length: u16,
}

/// What the header tells of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addresses {
    /// Nothing: the proxy speaks for itself, or the client came over something that has no IP address.
    None,
    V4,
    V6,
}

impl Addresses {
    /// Source and destination address, source and destination port.
    fn bytes(self) -> u16 {
        match self {
            Self::None => 0,
            Self::V4 => 2 * 4 + 2 * 2,
            Self::V6 => 2 * 16 + 2 * 2,
        }
    }
}

impl ProxyHeader {
    /// Bytes of the fixed part.
    pub const FIXED_BYTES: usize = 16;
    /// The most bytes that [`Self::source`] needs.
    pub const MAX_ADDRESS_BYTES: usize = 36;

    /// Reads the fixed part.
    ///
    /// # Errors
    /// What is no header of version 2, and what the protocol says must be rejected.
    pub fn parse(fixed: &[u8; Self::FIXED_BYTES]) -> Result<Self, BadProxyHeader> {
        let [signature @ .., command, family, high, low] = fixed;
        if *signature != SIGNATURE {
            let version_1 = fixed.starts_with(VERSION_1);
            return Err(if version_1 { BadProxyHeader::Version1 } else { BadProxyHeader::Missing });
        }
        let length = u16::from_be_bytes([*high, *low]);
        let is_local = match command {
            0x20 => true,
            0x21 => false,
            _ => return Err(BadProxyHeader::Command(*command)),
        };
        let addresses = match family {
            _ if is_local => Addresses::None,
            0x11 => Addresses::V4,
            0x21 => Addresses::V6,
            // Unspecified, datagrams, Unix sockets: assigned, and without an address that a session could have.
            0x00 | 0x01 | 0x02 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30..=0x32 => Addresses::None,
            _ => return Err(BadProxyHeader::Family(*family)),
        };
        if length < addresses.bytes() {
            return Err(BadProxyHeader::Short(length));
        }
        Ok(Self { addresses, length })
    }

    /// Bytes after the fixed part that hold the addresses.
    #[must_use]
    pub fn address_bytes(&self) -> usize {
        self.addresses.bytes().into()
    }

    /// Bytes after the addresses, to be skipped.
    #[must_use]
    pub fn skipped_bytes(&self) -> usize {
        (self.length - self.addresses.bytes()).into()
    }

    /// The client's address out of [`Self::address_bytes`] bytes; `None`: the connection's own counts.
    #[must_use]
    pub fn source(&self, bytes: &[u8]) -> Option<SocketAddr> {
        let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        match self.addresses {
            Addresses::None => None,
            Addresses::V4 => Some((Ipv4Addr::from(*bytes.first_chunk::<4>()?), port(8)?).into()),
            Addresses::V6 => Some((Ipv6Addr::from(*bytes.first_chunk::<16>()?), port(32)?).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fixed(command: u8, family: u8, length: u16) -> [u8; ProxyHeader::FIXED_BYTES] {
        let mut bytes = [0; ProxyHeader::FIXED_BYTES];
        bytes[..12].copy_from_slice(&SIGNATURE);
        bytes[12..14].copy_from_slice(&[command, family]);
        bytes[14..].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn the_source_of_a_proxied_connection_is_the_clients() {
        let header = ProxyHeader::parse(&fixed(0x21, 0x11, 15)).unwrap();
        assert_eq!((header.address_bytes(), header.skipped_bytes()), (12, 3));
        let bytes = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
        assert_eq!(header.source(&bytes), Some("192.0.2.7:4660".parse().unwrap()));

        let header = ProxyHeader::parse(&fixed(0x21, 0x21, 36)).unwrap();
        let mut bytes = [0; 36];
        (bytes[15], bytes[31], bytes[33]) = (1, 2, 80);
        assert_eq!(header.source(&bytes), Some("[::1]:80".parse().unwrap()));
    }

    #[test]
    fn local_and_unspecified_leave_the_connections_own_address() {
        for (command, family, length) in
            [(0x20, 0x00, 0), (0x20, 0x11, 12), (0x20, 0xff, 3), (0x21, 0x00, 9), (0x21, 0x31, 216)]
        {
            let header = ProxyHeader::parse(&fixed(command, family, length)).unwrap();
            assert_eq!((header.address_bytes(), header.skipped_bytes()), (0, length.into()));
            assert_eq!(header.source(&[]), None);
        }
    }

    #[test]
    fn what_the_protocol_forbids_is_refused() {
        let parse = |command, family, length| ProxyHeader::parse(&fixed(command, family, length));
        assert_eq!(parse(0x11, 0x11, 12), Err(BadProxyHeader::Command(0x11)));
        assert_eq!(parse(0x22, 0x11, 12), Err(BadProxyHeader::Command(0x22)));
        assert_eq!(parse(0x21, 0x13, 12), Err(BadProxyHeader::Family(0x13)));
        assert_eq!(parse(0x21, 0x41, 12), Err(BadProxyHeader::Family(0x41)));
        assert_eq!(parse(0x21, 0x11, 11), Err(BadProxyHeader::Short(11)));
        assert_eq!(parse(0x21, 0x21, 35), Err(BadProxyHeader::Short(35)));
        assert_eq!(ProxyHeader::parse(b"PROXY TCP4 192.0"), Err(BadProxyHeader::Version1));
        assert_eq!(ProxyHeader::parse(b"GET / HTTP/1.1\r\n"), Err(BadProxyHeader::Missing));
    }

    proptest! {
        /// Whatever comes, what is read and skipped is what the header says, and a source comes of whole addresses.
        #[test]
        fn lengths_add_up(command: u8, family: u8, length: u16, rest in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(header) = ProxyHeader::parse(&fixed(command, family, length)) {
                prop_assert_eq!(header.address_bytes() + header.skipped_bytes(), usize::from(length));
                prop_assert!(header.address_bytes() <= ProxyHeader::MAX_ADDRESS_BYTES);
                let whole = header.address_bytes() > 0 && rest.len() >= header.address_bytes();
                prop_assert_eq!(header.source(&rest).is_some(), whole);
            }
        }
    }
}
