//! What is counted, and the memory that all targets share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use crate::failure::{Class, Failure};
use crate::message::TargetKind;

/// Upper bounds of the latency's buckets, in seconds; one more has no bound.
pub const LATENCY_BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What has happened so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// In the order of [`TargetKind::ALL`].
    pub by_kind: [KindStats; TargetKind::ALL.len()],
    /// Bytes of everything that waits or is in flight.
    pub bytes: usize,
}

impl Stats {
    /// What has happened to targets of one kind.
    #[must_use]
    pub const fn of(&self, kind: TargetKind) -> &KindStats {
        &self.by_kind[kind as usize]
    }
}

/// The same of all targets of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KindStats {
    /// Messages that wait or are in flight.
    pub queued: u64,
    /// Messages that were accepted.
    pub sent: u64,
    /// Messages answered with a failure, in the order of [`Class::ALL`].
    pub failed: [u64; Class::ALL.len()],
    /// Accepted messages by the time from acceptance here to the target's: for each of [`LATENCY_BOUNDS`] those that
    /// took at most that long and longer than the bound before; the last took longer than all.
    pub latency: [u64; LATENCY_BOUNDS.len() + 1],
    /// Sum of those times, in seconds.
    pub latency_sum: f64,
}

/// How a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// It takes messages.
    Sound,
    /// Its last call failed, and messages wait for the next attempt.
    Failing,
    /// It has failed for a while, or in a way that lasts: messages are refused at once.
    Open,
}

impl TargetState {
    /// The name in an application's status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sound => "ok",
            Self::Failing => "failing",
            Self::Open => "open",
        }
    }
}

/// A target of an application.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// What it is.
    pub kind: TargetKind,
    /// How it is now.
    pub state: TargetState,
    /// Messages that wait or are in flight.
    pub queued: usize,
    /// The last failure of a call or of a message, however long ago.
    pub last_error: Option<LastError>,
}

/// A failure and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct LastError {
    /// What it was.
    pub failure: Failure,
    /// When.
    pub at: SystemTime,
}

/// The counters behind [`KindStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    queued: AtomicU64,
    sent: AtomicU64,
    failed: [AtomicU64; Class::ALL.len()],
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn queued(&self) {
        add(&self.queued, 1);
    }

    /// A message that was queued has its answer.
    pub(crate) fn answered(&self, failure: Option<Class>) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        match failure {
            None => add(&self.sent, 1),
            Some(class) => self.failed(class),
        }
    }

    pub(crate) fn failed(&self, class: Class) {
        add(&self.failed[class.index()], 1);
    }

    /// An accepted message's time.
    pub(crate) fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = LATENCY_BOUNDS.iter().position(|bound| seconds <= *bound);
        add(&self.latency[bucket.unwrap_or(LATENCY_BOUNDS.len())], 1);
        add(&self.latency_micros, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn stats(&self) -> KindStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KindStats {
            queued: read(&self.queued),
            sent: read(&self.sent),
            failed: std::array::from_fn(|i| read(&self.failed[i])),
            latency: std::array::from_fn(|i| read(&self.latency[i])),
            latency_sum: Duration::from_micros(read(&self.latency_micros)).as_secs_f64(),
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Bytes that all targets share.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    total: usize,
}

impl Budget {
    pub(crate) const fn new(total: usize) -> Self {
        Self { used: AtomicUsize::new(0), total }
    }

    /// Takes bytes. `guaranteed`: whatever the others have taken.
    pub(crate) fn take(&self, bytes: usize, guaranteed: bool) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = guaranteed || before + bytes <= self.total;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
