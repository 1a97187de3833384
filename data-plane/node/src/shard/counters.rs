//! What a shard counts and holds: plain cells that only the shard writes, copied out once a turn for readers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// The shard's own cells.
        #[derive(Debug, Clone, Copy, Default)]
        pub(super) struct Cells { $($(#[$doc])* pub(super) $field: u64,)* }

        /// The copy that readers sum.
        #[derive(Debug, Default)]
        pub(crate) struct Published { $($field: AtomicU64,)* }

        impl Published {
            /// Stores the cells; called by the owning shard only.
            pub(super) fn store(&self, cells: &Cells) {
                $(self.$field.store(cells.$field, Ordering::Relaxed);)*
            }

            /// Adds the figures to `sums`, which has one entry per counter.
            pub(crate) fn add_to(&self, sums: &mut Vec<(&'static str, u64)>) {
                if sums.is_empty() {
                    *sums = vec![$(($name, 0),)*];
                }
                let values = [$(self.$field.load(Ordering::Relaxed),)*];
                for (sum, value) in sums.iter_mut().zip(values) {
                    sum.1 += value;
                }
            }
        }
    };
}

impl Cells {
    /// Notes what a connection holds unsent, and what it held before.
    #[inline]
    pub(super) fn unsent(&mut self, before: usize, now: usize) {
        self.unsent_bytes = self.unsent_bytes + now as u64 - before as u64;
    }

    /// The same for what it holds of frames and messages that are not complete.
    #[inline]
    pub(super) fn unfinished(&mut self, before: usize, now: usize) {
        self.unfinished_bytes = self.unfinished_bytes + now as u64 - before as u64;
    }
}

counters! {
    /// Sessions that got their welcome.
    sessions_opened = "realtime_sessions_opened_total";
    /// Sessions that ended, for whatever reason.
    sessions_closed = "realtime_sessions_closed_total";
    /// Frames' bytes read from clients.
    bytes_received = "realtime_received_bytes_total";
    /// Bytes that sockets took.
    bytes_sent = "realtime_sent_bytes_total";
    /// Write calls.
    writes = "realtime_writes_total";
    /// Clients' frames that became an event.
    frames_received = "realtime_frames_received_total";
    /// Publishes that started on this shard (from clients) or were handed to it first (from services).
    publishes = "realtime_publishes_total";
    /// Frames encoded, over all wire variants.
    encodings = "realtime_encodings_total";
    /// Frames put into connections' output queues by publishes.
    deliveries = "realtime_deliveries_total";
    /// Requests answered with an error frame.
    refusals = "realtime_refusals_total";
    /// Sessions closed with 4008.
    slow_consumers = "realtime_slow_consumers_total";
    /// Sessions closed with 4010.
    idle_timeouts = "realtime_idle_timeouts_total";
    /// Sessions closed with 1002, 1007, 1008 or 1009.
    violations = "realtime_violations_total";
    /// Connections closed with 4009.
    subject_limits = "realtime_subject_limit_closes_total";
    /// Welcomes sent before every peer had confirmed.
    unconfirmed_welcomes = "realtime_unconfirmed_welcomes_total";
    /// Turns that read nothing because another shard's inbox was full.
    stalled_turns = "realtime_stalled_turns_total";
    /// Now: connections of every phase.
    connections = "realtime_connections";
    /// Now: topics with a subscriber.
    topics = "realtime_topics";
    /// Now: entries of connections in topics.
    subscriptions = "realtime_subscriptions";
    /// Now: bytes that sockets have refused to take.
    unsent_bytes = "realtime_unsent_bytes";
    /// Now: memory of frames and messages that are not complete.
    unfinished_bytes = "realtime_unfinished_bytes";
}
