//! What the mesh holds at most.

/// Bounds of a link's queues, and of what is mirrored.
#[derive(Debug, Clone, Copy)]
pub struct MeshLimits {
    /// Bytes of publishes that may wait for a peer.
    pub queue_bytes: usize,
    /// Requests and answers that may wait for a peer.
    pub controls: usize,
    /// Topics of one interest update.
    pub hashes: usize,
    /// Bytes of a message, about: an item is not split.
    pub message_bytes: usize,
    /// Bytes of mirrored sessions in a message, about.
    pub mirror_bytes: usize,
    /// Bytes that a node's mirrored sessions may take, what a session costs besides its texts included.
    pub session_bytes: usize,
}

impl Default for MeshLimits {
    fn default() -> Self {
        Self {
            // Some 100 ms of a busy node's publishes over a slow link, a second's worth at usual loads.
            queue_bytes: 16 * 1024 * 1024,
            // Operators' calls: far more than are ever under way at once.
            controls: 1024,
            // 64 KiB of them.
            hashes: 8192,
            // Large enough that a message's own costs do not count, small enough to leave while the next is put
            // together. Well below gRPC's usual 4 MiB.
            message_bytes: 256 * 1024,
            // A quarter of a message: a guardian that gets a whole set gets publishes as well.
            mirror_bytes: 64 * 1024,
            // 400,000 sessions with a few permissions each: more than a node of the usual size has, and what its
            // guardian can spare.
            session_bytes: 128 * 1024 * 1024,
        }
    }
}
