//! The handle on the shards. Everything here may be called from any thread; nothing blocks.

use std::hash::BuildHasher;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;
use realtime_discovery::Snapshot;
use realtime_forwarders::Forwarders;
use realtime_proto::generated::peer as wire;
use realtime_proto::{ApiError, AppId, CloseCode, ConnectionId, ErrorCode, NodePrefix, PatternSet, topic};
use realtime_session::{Frame, encode, frame};
use tokio::sync::oneshot;

use crate::app_table::AppTable;
use crate::ids::ConnectionIds;
use crate::metrics::INBOX_PUBLISHES;
use crate::operation::{Arrival, ConnectionInfo, Publication, Receipt, Target};
use crate::peers::{MeshInbox, MeshPort, ToMesh};
use crate::runtime::{AppRuntime, NodeUsage};
use crate::shard::Seat;
use crate::shard::admin::smallest;
use crate::shard::counters::Published;
use crate::shard::inbox::{Adoption, Command, Delivery, Inbox, Query};
use crate::targets;
use crate::usage::UsageLedger;

/// Seconds that a caller is told to wait when an inbox is full: it empties in far less.
const FULL_RETRY_SECONDS: u32 = 1;
/// Connection ids have room for so many shards.
const MAX_SHARDS: usize = 256;

/// Sizes of the shards.
#[derive(Debug, Clone)]
pub struct ShardsConfig {
    /// Shard threads; 0: one per core.
    pub threads: usize,
    /// Where the mesh of a node with peers takes what is for them.
    pub mesh: Option<MeshPort>,
    /// Where clients' messages go besides `secure/inbound`; without them, such messages get `forward_failed`.
    pub forwarders: Option<Arc<Forwarders>>,
}

/// What the shards share with their handle.
#[derive(Debug)]
pub(crate) struct NodeShared {
    pub(crate) ids: ConnectionIds,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) table: ArcSwap<AppTable>,
    published: Vec<Arc<Published>>,
    usage: Arc<NodeUsage>,
    ledger: Arc<UsageLedger>,
    /// Where what concerns other nodes goes; a node without peers has none.
    pub(crate) mesh: Option<Arc<MeshInbox>>,
    pub(crate) forwarders: Option<Arc<Forwarders>>,
}

/// The running shards. Clone by `Arc`; dropping the last handle stops and joins the threads.
#[derive(Debug)]
pub struct Shards {
    shared: Arc<NodeShared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Makes a new table and its announcement one step.
    configuring: Mutex<()>,
    placement: DefaultHashBuilder,
    next: AtomicUsize,
}

impl Shards {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the operating system gives no thread or descriptor.
    pub fn start(config: ShardsConfig, prefix: NodePrefix) -> std::io::Result<Arc<Self>> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 { cores() } else { config.threads }.min(MAX_SHARDS);
        let seats = (0..threads).map(|_| Seat::new()).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(NodeShared {
            ids: ConnectionIds::new(prefix),
            inboxes: seats.iter().map(Seat::inbox).collect(),
            table: ArcSwap::default(),
            published: seats.iter().map(Seat::published).collect(),
            usage: Arc::default(),
            ledger: Arc::new(UsageLedger::new()),
            mesh: config.mesh.map(|port| port.0),
            forwarders: config.forwarders,
        });
        let shards = Arc::new(Self {
            shared: shared.clone(),
            threads: Mutex::default(),
            configuring: Mutex::default(),
            placement: DefaultHashBuilder::default(),
            next: AtomicUsize::new(0),
        });
        for (number, seat) in (0u8..).zip(seats) {
            let shared = shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(move || run_or_abort(seat, number, shared))?;
            shards.threads.lock().push(thread);
        }
        Ok(shards)
    }

    /// Puts a configuration in force: changed apps in place, sessions of removed or disabled ones closed (4004).
    pub fn configure(&self, snapshot: &Snapshot) {
        let _one_at_a_time = self.configuring.lock();
        let old = self.shared.table.load();
        // Before any session is judged by the new configuration, its targets are there.
        let forwarders = self.shared.forwarders.as_ref();
        let retiring =
            forwarders.and_then(|forwarders| targets::configure(forwarders, old.source(), &snapshot.apps));
        self.shared.table.store(Arc::new(old.next(snapshot, &self.shared.ledger)));
        let retiring = retiring.map(Arc::new);
        for inbox in &self.shared.inboxes {
            inbox.push(Command::Configure(retiring.clone()));
        }
    }

    /// What applications have used of their monthly quotas.
    #[must_use]
    pub fn usage_ledger(&self) -> Arc<UsageLedger> {
        Arc::clone(&self.shared.ledger)
    }

    /// The targets besides `secure/inbound`, where there are any.
    #[must_use]
    pub fn forwarders(&self) -> Option<&Arc<Forwarders>> {
        self.shared.forwarders.as_ref()
    }

    /// The application in force, disabled ones too; lock-free.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<Arc<AppRuntime>> {
        self.shared.table.load().by_id(id).cloned()
    }

    /// Reserves a place under the app's and the node's connection limits and hands the connection to a shard.
    ///
    /// # Errors
    /// `connection_limit`; the socket is closed with 4429 then.
    pub fn adopt(&self, arrival: Arrival) -> Result<(), ApiError> {
        let reservation = match arrival.app.reserve(&self.shared.usage) {
            Ok(reservation) => reservation,
            Err(refusal) => {
                let code = CloseCode::Refused(refusal.code.http_status());
                let mut close = Vec::new();
                // As the front door words its refusals.
                frame::write_close(&mut close, code.code(), refusal.code.name());
                arrival.stream.end_with(&close);
                return Err(refusal);
            }
        };
        let shard = self.place(&arrival);
        self.shared.inboxes[shard].push(Command::Adopt(Box::new(Adoption { arrival, reservation })));
        Ok(())
    }

    /// With a limit per subject all connections of a subject are on one shard, which then knows the limit alone;
    /// otherwise shards take turns.
    fn place(&self, arrival: &Arrival) -> usize {
        let shards = self.shared.inboxes.len();
        match &arrival.identity.subject {
            Some(subject) if arrival.app.limits.connections_per_subject > 0 => {
                let hash = self.placement.hash_one((arrival.app.slot, subject));
                (hash % shards as u64) as usize
            }
            _ => self.next.fetch_add(1, Ordering::Relaxed) % shards,
        }
    }

    /// Whether `adopt` would find a place, for a refusal before the upgrade.
    ///
    /// # Errors
    /// `connection_limit`.
    pub fn check_limits(&self, app: &AppRuntime) -> Result<(), ApiError> {
        app.check_limits(&self.shared.usage)
    }

    /// Hands a publish to every shard, and to the mesh for the peers that want it. Order per caller is kept.
    ///
    /// # Errors
    /// `app_not_found`, or `unavailable` when a shard's inbox, or the mesh's, is full: then nobody got it.
    pub fn publish(&self, publication: Publication) -> Result<(), ApiError> {
        let mesh = self.shared.mesh.as_ref().filter(|mesh| mesh.has_peers());
        if mesh.is_some_and(|mesh| !mesh.has_room()) {
            return Err(full());
        }
        let delivery = self.hand_out(&publication, |_| None)?;
        if let Some(mesh) = mesh {
            mesh.push_one(ToMesh::Publish(delivery));
        }
        Ok(())
    }

    /// The same on this node only, each shard's receipt to come; what was handed out, for the peers.
    pub(crate) fn publish_for_receipt(
        &self,
        publication: Publication,
    ) -> Result<(Delivery, Vec<oneshot::Receiver<Receipt>>), ApiError> {
        let mut answers = Vec::new();
        let delivery = self.hand_out(&publication, |_| {
            let (answer, receiver) = oneshot::channel();
            answers.push(receiver);
            Some(answer)
        })?;
        Ok((delivery, answers))
    }

    /// Adds up what the shards answer.
    pub(crate) async fn sum_receipts(answers: Vec<oneshot::Receiver<Receipt>>) -> Result<Receipt, ApiError> {
        let mut sum = Receipt::default();
        for answer in answers {
            let receipt = answer.await.map_err(|_| stopped())?;
            sum.matched += receipt.matched;
            sum.queued += receipt.queued;
            sum.dropped += receipt.dropped;
        }
        Ok(sum)
    }

    fn hand_out(
        &self,
        publication: &Publication,
        mut receipt: impl FnMut(usize) -> Option<oneshot::Sender<Receipt>>,
    ) -> Result<Delivery, ApiError> {
        let table = self.shared.table.load();
        let app = table.by_id(publication.app.as_str());
        let app = app.ok_or_else(ApiError::no_such_app)?;
        let delivery = delivery(app.slot, publication);
        if !self.reserve(1) {
            return Err(full());
        }
        for (number, inbox) in self.shared.inboxes.iter().enumerate() {
            let delivery = delivery.clone();
            inbox.push(Command::Publish { delivery, first: number == 0, receipt: receipt(number) });
        }
        Ok(delivery)
    }

    /// Room for so many publishes in every inbox, or in none.
    fn reserve(&self, publishes: usize) -> bool {
        let inboxes = &self.shared.inboxes;
        for (number, inbox) in inboxes.iter().enumerate() {
            if !inbox.reserve(publishes) {
                inboxes[..number].iter().for_each(|reserved| reserved.release(publishes));
                return false;
            }
        }
        true
    }

    /// A peer's publish, if its application is enabled here.
    pub(crate) fn delivery_of(&self, publish: &wire::Publish) -> Option<Delivery> {
        let table = self.shared.table.load();
        let app = table.by_id(std::str::from_utf8(&publish.app_id).ok()?)?;
        let topic = std::str::from_utf8(&publish.topic).ok()?;
        let frame =
            if publish.compress { Frame::compressible(&publish.json) } else { Frame::text(&publish.json) };
        app.app.config.enabled.then(|| Delivery { slot: app.slot, topic: topic.into(), frame })
    }

    /// Hands peers' publishes to every shard; `false`: one of them has no room, and none got them.
    pub(crate) fn try_deliver(&self, batch: Vec<Delivery>) -> bool {
        if !self.reserve(batch.len()) {
            return false;
        }
        let Some((last, others)) = self.shared.inboxes.split_last() else { return true };
        for inbox in others {
            inbox.push(Command::Batch(batch.clone()));
        }
        last.push(Command::Batch(batch));
        true
    }

    /// The same for one publish that every shard answers.
    pub(crate) fn try_deliver_with_receipt(
        &self,
        delivery: Delivery,
    ) -> Option<Vec<oneshot::Receiver<Receipt>>> {
        if !self.reserve(1) {
            return None;
        }
        let mut answers = Vec::new();
        for inbox in &self.shared.inboxes {
            let (answer, receiver) = oneshot::channel();
            answers.push(receiver);
            inbox.push(Command::Publish { delivery: delivery.clone(), first: false, receipt: Some(answer) });
        }
        Some(answers)
    }

    /// The enabled application in a slot.
    pub(crate) fn app_id(&self, slot: u32) -> Option<AppId> {
        self.shared.table.load().by_slot(slot).map(|app| app.app.config.app_id.clone())
    }

    /// The peers know of everything that the shard has told the mesh up to this ticket.
    pub(crate) fn confirm(&self, shard: u8, ticket: u64) {
        if let Some(inbox) = self.shared.inboxes.get(usize::from(shard)) {
            inbox.push(Command::Confirmed(ticket));
        }
    }

    /// Whether the id is one of this node's connections, open or not.
    #[must_use]
    pub fn owns(&self, id: ConnectionId) -> bool {
        self.shared.ids.owns(id)
    }

    /// Unsubscribes a subject's connections from matching topics; returns the number of subscriptions removed.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn unsubscribe(
        &self,
        app: &AppId,
        subject: &str,
        patterns: PatternSet,
    ) -> Result<u64, ApiError> {
        let patterns = Arc::new(patterns);
        let counts = self.ask(|reply| Command::Unsubscribe {
            app: app.clone(),
            subject: subject.to_owned(),
            patterns: patterns.clone(),
            reply,
        });
        Ok(counts.await?.into_iter().sum())
    }

    /// Closes connections with 4003; returns how many.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn disconnect(&self, app: &AppId, target: Target) -> Result<u64, ApiError> {
        let counts =
            self.ask(|reply| Command::Disconnect { app: app.clone(), target: target.clone(), reply });
        Ok(counts.await?.into_iter().sum())
    }

    /// Connections of an app in id order, after `after`, at most `limit`; `subject` filters.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn connections(
        &self,
        app: &AppId,
        subject: Option<&str>,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Result<Vec<ConnectionInfo>, ApiError> {
        let pages = self.ask(|reply| Command::Connections {
            query: Query { app: app.clone(), limit },
            subject: subject.map(str::to_owned),
            after,
            reply,
        });
        let mut found: Vec<ConnectionInfo> = pages.await?.into_iter().flatten().collect();
        smallest(&mut found, limit, |c| c.id);
        Ok(found)
    }

    /// Topics of an app (not `priv/`) with their subscriber counts, in name order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn topics(
        &self,
        app: &AppId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, ApiError> {
        let pages = self.ask(|reply| Command::Topics {
            query: Query { app: app.clone(), limit },
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            reply,
        });
        // The first `limit` names of all shards together are among the first `limit` of each.
        let mut sums = std::collections::BTreeMap::new();
        for (name, subscribers) in pages.await?.into_iter().flatten() {
            *sums.entry(name).or_insert(0) += subscribers;
        }
        Ok(sums.into_iter().take(limit).collect())
    }

    /// Puts one question to every shard.
    async fn ask<T>(
        &self,
        mut command: impl FnMut(oneshot::Sender<T>) -> Command,
    ) -> Result<Vec<T>, ApiError> {
        let mut answers = Vec::new();
        for inbox in &self.shared.inboxes {
            let (reply, answer) = oneshot::channel();
            inbox.push(command(reply));
            answers.push(answer);
        }
        let mut results = Vec::new();
        for answer in answers {
            results.push(answer.await.map_err(|_| stopped())?);
        }
        Ok(results)
    }

    /// Open sessions on this node, those that wait for their subject's limit included.
    #[must_use]
    pub fn open_sessions(&self) -> u64 {
        self.shared.usage.sessions()
    }

    /// Closes every session with 1001, spread evenly over `over`; resolves when none is left. Dropping the
    /// future does not stop it; [`Self::cancel_drain`] does.
    pub async fn drain(&self, over: Duration) {
        let mut waits = Vec::new();
        for inbox in &self.shared.inboxes {
            let (done, wait) = oneshot::channel();
            inbox.push(Command::Drain { over, done });
            waits.push(wait);
        }
        for wait in waits {
            // The shard says that it is done by dropping its end.
            let _ = wait.await;
        }
    }

    /// Stops a drain that is under way (`realtime undrain`).
    pub fn cancel_drain(&self) {
        for inbox in &self.shared.inboxes {
            inbox.push(Command::CancelDrain);
        }
    }

    /// Counters and gauges summed over the shards, by metric name.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut sums = Vec::new();
        for published in &self.shared.published {
            published.add_to(&mut sums);
        }
        let waiting: usize = self.shared.inboxes.iter().map(|inbox| inbox.publishes()).sum();
        sums.push((INBOX_PUBLISHES, waiting as u64));
        sums
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        for inbox in &self.shared.inboxes {
            inbox.push(Command::Stop);
        }
        for thread in self.threads.lock().drain(..) {
            // A shard that fails ends the process before it could be joined.
            let _ = thread.join();
        }
    }
}

/// Runs a shard. One that fails takes the process with it: its sessions are lost either way, and a node that
/// looked alive without it would leave their clients, and whoever asks it something, waiting for ever. Nodes hold
/// nothing that a restart does not bring back.
fn run_or_abort(seat: Seat, number: u8, shared: Arc<NodeShared>) {
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| seat.run(number, shared)));
    match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => tracing::error!(number, %error, "a shard's poller failed: aborting"),
        // The panic's message is on standard error already.
        Err(_) => tracing::error!(number, "a shard panicked: aborting"),
    }
    std::process::abort();
}

/// A queue that a publish must go through has no room; nobody got it.
pub(crate) fn full() -> ApiError {
    let why = "the node has more publishes queued than it can hold";
    ApiError::new(ErrorCode::Unavailable, why).retry_after(FULL_RETRY_SECONDS)
}

pub(crate) fn stopped() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the node is stopping")
}

/// Encodes a service's publish, once for all shards.
fn delivery(slot: u32, publication: &Publication) -> Delivery {
    let message_type = match publication.message_type.as_str() {
        "" => topic::BROADCAST,
        named => named,
    };
    let mut json = Vec::with_capacity(publication.message.len() + publication.topic.len() + 64);
    encode::service_publish(&mut json, &publication.topic, message_type, &publication.message);
    let frame = if publication.compress { Frame::compressible(&json) } else { Frame::text(&json) };
    Delivery { slot, topic: publication.topic.as_str().into(), frame }
}
