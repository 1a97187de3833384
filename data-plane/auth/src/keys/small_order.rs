//! Ed25519 public keys that are no keys: the eight points of small order. With one of them every signature of a
//! few verifies for any message, so anybody could sign, and the all-zero key, which somebody may put as a
//! placeholder, is among them. RFC 8032 leaves the check to applications; the library does not make it.

/// The `y` of these points, little-endian, with the spellings that are not reduced. The bit of the sign of `x`,
/// the highest of the last byte, is zero here.
const SMALL: [[u8; 32]; 7] = [
    // 0: two points of order 4.
    [0; 32],
    // 1: the neutral one.
    spelled(0x01, 0x00, 0x00),
    // Four of order 8.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    // p - 1, which is -1: the one of order 2. Then 0 and 1 spelled as p and p + 1.
    spelled(0xec, 0xff, 0x7f),
    spelled(0xed, 0xff, 0x7f),
    spelled(0xee, 0xff, 0x7f),
];

/// The first byte, the thirty in the middle and the last one.
const fn spelled(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut y = [middle; 32];
    y[0] = first;
    y[31] = last;
    y
}

/// Whether an Ed25519 key, bare or as the end of its SPKI, is such a point.
pub(crate) fn is_small(encoded: &[u8]) -> bool {
    encoded.last_chunk::<32>().is_some_and(|key| {
        let mut y = *key;
        y[31] &= 0x7f;
        SMALL.contains(&y)
    })
}
