//! The members of the etcd cluster: one connection to each that was needed, and the member that is asked first.
//!
//! A call goes to one member; when that one cannot do it or does not answer, to the next, until the call's time is
//! over. Balancing every call over all members, as the client library can, would run into a dead one again and
//! again; here it is left after the first time, until the others fail.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, KvClient, LeaseClient, WatchClient};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use super::error::{EtcdError, Verdict, judge};
use super::options::EtcdOptions;

/// A member's time to answer, doubled once all have failed. Etcd answers within milliseconds. What it takes
/// on just after its leader has died it loses, and says so only after seven seconds: asked again a second later, when
/// it has noticed, it refuses until there is a new leader. An etcd that is only slow gets the longer times.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
/// After every member has failed: before asking them again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Largest answer: a page of a listing is below this with every document at its limit.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A connection to one member. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) watch: WatchClient,
    pub(super) member: usize,
    /// Of its own for each connection, so that only the one that has failed is given up.
    number: u64,
}

struct Member {
    url: String,
    connection: Mutex<Option<Connection>>,
    /// Counts the calls that it has failed.
    failures: watch::Sender<u64>,
}

/// All members.
pub(super) struct Endpoints {
    options: EtcdOptions,
    members: Vec<Member>,
    /// Who is asked first.
    current: AtomicUsize,
    connections: AtomicU64,
}

/// Why no member did it.
#[derive(Debug)]
pub(super) enum CallError {
    /// Everyone's answer.
    Verdict(Verdict),
    /// The options changed under us: a file cannot be read any more.
    Option(EtcdError),
}

impl Endpoints {
    pub(super) fn new(options: EtcdOptions) -> Self {
        let member = |url: &String| Member {
            url: url.trim_end_matches('/').to_owned(),
            connection: Mutex::default(),
            failures: watch::Sender::new(0),
        };
        let members = options.endpoints.iter().map(member).collect();
        Self { options, members, current: AtomicUsize::new(0), connections: AtomicU64::new(0) }
    }

    /// Asks one member after another. `work` gets the number of attempts before: with any, it may have been done.
    pub(super) async fn call<T, F>(
        &self,
        work: impl Fn(Connection, u32) -> F + Send + Sync,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let deadline = Instant::now() + self.options.call_limit;
        let (mut limit, mut pause) = (FIRST_ATTEMPT, FIRST_PAUSE);
        let mut attempts = 0;
        loop {
            let member = self.current.load(Ordering::Relaxed) % self.members.len();
            let limit_now = limit.min(deadline.saturating_duration_since(Instant::now()));
            let error = match self.attempt(member, limit_now, |c| work(c, attempts)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let reason = match &error {
                CallError::Verdict(Verdict::Elsewhere(reason)) => reason,
                // Once more: the password's file may have a new one since this connection was made.
                CallError::Verdict(Verdict::Refused(reason)) if attempts == 0 => reason,
                CallError::Verdict(_) | CallError::Option(_) => return Err(error),
            };
            tracing::debug!(url = self.members[member].url, reason, "an attempt at etcd failed");
            self.leave(member);
            attempts += 1;
            if (attempts as usize).is_multiple_of(self.members.len()) {
                if Instant::now() + pause >= deadline {
                    return Err(error);
                }
                sleep(pause).await;
                (limit, pause) = (limit * 2, pause * 2);
            } else if Instant::now() >= deadline {
                return Err(error);
            }
        }
    }

    async fn attempt<T, F>(
        &self,
        member: usize,
        limit: Duration,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let elsewhere = |reason: &dyn fmt::Display| {
            let url = &self.members[member].url;
            CallError::Verdict(Verdict::Elsewhere(format!("{url}: {reason}")))
        };
        let connecting = timeout(limit, self.connection(member)).await;
        let connection = connecting.map_err(|_| elsewhere(&format_args!("no connection in {limit:?}")))??;
        let number = connection.number;
        let verdict = match timeout(limit, work(connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => judge(&error),
            Err(_) => Verdict::Elsewhere(format!("no answer in {limit:?}")),
        };
        // What a new connection may do better, with new certificates or a new password even.
        if !matches!(verdict, Verdict::Answer(_)) {
            self.close(member, Some(number)).await;
        }
        Err(match verdict {
            Verdict::Elsewhere(reason) => elsewhere(&reason),
            verdict => CallError::Verdict(verdict),
        })
    }

    /// The connection to a member, made if there is none.
    async fn connection(&self, member: usize) -> Result<Connection, CallError> {
        let place = &self.members[member];
        let mut connection = place.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let options = self.options.to_connect().await.map_err(CallError::Option)?;
        let client = Client::connect([&place.url], Some(options)).await.map_err(|e| match e {
            // Of the certificates: the URL and the rest have been checked.
            etcd_client::Error::TransportError(e) => {
                let problem =
                    std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
                CallError::Option(EtcdError::option("etcd-ca, etcd-cert, etcd-key", problem))
            }
            e => CallError::Verdict(judge(&e)),
        })?;
        let made = Connection {
            kv: client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES),
            lease: client.lease_client(),
            watch: client.watch_client().max_decoding_message_size(MAX_ANSWER_BYTES),
            member,
            number: self.connections.fetch_add(1, Ordering::Relaxed),
        };
        *connection = Some(made.clone());
        Ok(made)
    }

    /// Asks another member first from now on, unless somebody has seen to that.
    pub(super) fn leave(&self, member: usize) {
        self.members[member].failures.send_modify(|failures| *failures += 1);
        let next = (member + 1) % self.members.len();
        let _ = self.current.compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Changes whenever a member fails a call.
    pub(super) fn failures(&self, member: usize) -> watch::Receiver<u64> {
        self.members[member].failures.subscribe()
    }

    /// Where a member is.
    pub(super) fn url(&self, member: usize) -> &str {
        &self.members[member].url
    }

    /// Gives up a member's connection; `None`: whichever it is.
    async fn close(&self, member: usize, number: Option<u64>) {
        let mut connection = self.members[member].connection.lock().await;
        connection.take_if(|held| number.is_none_or(|number| held.number == number));
    }

    /// Gives up all connections.
    pub(super) async fn close_all(&self) {
        for member in 0..self.members.len() {
            self.close(member, None).await;
        }
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| &member.url)).finish()
    }
}
