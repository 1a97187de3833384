//! The PROXY protocol's header, which whoever reaches the port writes first.

use std::net::IpAddr;

use realtime_proto::address::{BadProxyHeader, ProxyHeader};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A connection's first bytes. What is read and skipped is just what the header says, a source comes of a whole
/// address of the family that it names, and nothing without the signature is a header.
pub fn proxy_header(data: &[u8]) {
    let Some((fixed, rest)) = data.split_first_chunk::<{ ProxyHeader::FIXED_BYTES }>() else { return };
    let header = match ProxyHeader::parse(fixed) {
        Ok(header) => header,
        Err(error) => {
            let is_other = matches!(error, BadProxyHeader::Missing | BadProxyHeader::Version1);
            assert_eq!(is_other, !fixed.starts_with(SIGNATURE), "{error}");
            return;
        }
    };
    assert!(fixed.starts_with(SIGNATURE));
    let announced = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    assert_eq!(header.address_bytes() + header.skipped_bytes(), announced);
    assert!(header.address_bytes() <= ProxyHeader::MAX_ADDRESS_BYTES);
    let Some(addresses) = rest.get(..header.address_bytes()) else { return };
    match (header.source(addresses).map(|source| source.ip()), fixed[12], fixed[13]) {
        (Some(IpAddr::V4(source)), 0x21, 0x11) => assert_eq!(source.octets(), rest[..4]),
        (Some(IpAddr::V6(source)), 0x21, 0x21) => assert_eq!(source.octets(), rest[..16]),
        (None, 0x20, _) => {}
        (None, 0x21, family) => assert!(family != 0x11 && family != 0x21, "{family:#x}"),
        other => panic!("{other:?}"),
    }
}
