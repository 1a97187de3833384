//! What a server process uses, as the operating system and the server's own metrics tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::http::Request;
use crate::server::Server;

/// Bytes in the unit of `/proc/PID/status`.
const KIB: u64 = 1024;

impl Server {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Memory of the process that is in use and not shared with files (`RssAnon`), in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the server's process");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        let kib = line.trim().trim_end_matches(" kB");
        kib.parse::<u64>().expect("a number of kB") * KIB
    }

    /// CPU time of all its threads so far.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the server's process");
        let nanos = threads.filter_map(|thread| {
            // A thread may have ended meanwhile.
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// How many files, sockets included, the process has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server's process").count()
    }

    /// The values of the metrics without labels, by name.
    ///
    /// # Panics
    /// When the admin listener does not answer.
    pub async fn metrics(&self) -> BTreeMap<String, u64> {
        let answer = Request::new(self.admin_listen(), "GET", "/metrics").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        answer.text().lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()
    }

    /// One metric.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn metric(&self, name: &str) -> u64 {
        *self.metrics().await.get(name).unwrap_or_else(|| panic!("no metric {name}"))
    }
}

/// Lets this thread, and the threads and processes that it starts, run on one core only.
///
/// # Panics
/// When the machine does not have it.
pub fn pin_to_core(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).unwrap_or_else(|error| panic!("core {core}: {error}"));
}

/// Lets this thread run after others of the usual priority.
///
/// # Panics
/// Never: anybody may step back.
pub fn lower_priority() {
    const NICE: i32 = 15;
    // On Linux it is the thread's, whatever the name says.
    setpriority_process(None, NICE).expect("a lower priority");
}
