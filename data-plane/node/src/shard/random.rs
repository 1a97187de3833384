//! Random bytes without a system call each.

/// Message ids: unique, not secret, so a fast generator (splitmix64) with a random start serves.
pub(super) struct Random(u64, u64);

impl Random {
    pub(super) fn new() -> Self {
        let [a, b] = [realtime_proto::ids::random::<8>(), realtime_proto::ids::random::<8>()];
        Self(u64::from_ne_bytes(a), u64::from_ne_bytes(b))
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn bytes(&mut self) -> [u8; 16] {
        let (a, b) = (self.word(), self.word() ^ self.1);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&a.to_ne_bytes());
        bytes[8..].copy_from_slice(&b.to_ne_bytes());
        bytes
    }
}
