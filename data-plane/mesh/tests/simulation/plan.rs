//! What runs do, and what they come to.

/// What a run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) steps: usize,
    pub(crate) queue_bytes: usize,
    /// One step in so many does this; 0: none.
    pub(crate) crash: u64,
    pub(crate) cut: u64,
    pub(crate) partition: u64,
    pub(crate) outage: u64,
}

impl Plan {
    pub(crate) fn everything() -> Self {
        let queue_bytes = 1 << 20;
        Self { seed: 0, nodes: 3, steps: 0, queue_bytes, crash: 80, cut: 40, partition: 60, outage: 100 }
    }

    pub(crate) fn stable() -> Self {
        Self { crash: 0, cut: 0, partition: 0, outage: 0, ..Self::everything() }
    }
}

/// What a run came to; equal for equal seeds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) published: u64,
    pub(crate) arrived: u64,
    pub(crate) welcomed: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) counted_lost: u64,
    pub(crate) announced: u64,
}
