//! Random cases that can be had again: everything follows from a seed, which a failure prints.

/// Names one seed to run instead of the usual ones.
pub const SEED_VARIABLE: &str = "REALTIME_TEST_SEED";

/// Seeds of every run: what they find is found everywhere.
const FIXED: [u64; 2] = [1, 2];

/// The seeds of this run: the fixed ones and a new one, or the one that [`SEED_VARIABLE`] names.
///
/// # Panics
/// When the variable is no number, or the operating system has no randomness.
#[must_use]
pub fn seeds() -> Vec<u64> {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => vec![text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={text} is no seed"))],
        Err(_) => {
            // 32 bits are enough for a seed, and easy to copy from a log.
            let new = getrandom::u32().expect("random numbers");
            FIXED.into_iter().chain([new.into()]).collect()
        }
    }
}

/// SplitMix64: small, fast, and the same everywhere. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Bytes of any value.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next_u64() as u8).collect()
    }
}
