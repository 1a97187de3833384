//! One target's queue: what is sent next, what is tried again, what is given up. Pure: time is an argument.
//!
//! A message waits in `ready` (to be sent), in `delayed` (its own retry) or, with a FIFO target, in `behind`: of each
//! connection only the first message is ready, delayed or in flight, and the next comes up when that one is done for.
//! `items` has all of them, those in flight too, in the order of acceptance, which is that of their deadlines. A place
//! whose message has been answered meanwhile is skipped when it comes up.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use realtime_proto::ConnectionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff::Jitter;
use crate::failure::{Class, Failure, Scope};
use crate::health::Health;
use crate::limits::{Limits, Pace};
use crate::message::Message;
use crate::sender::MAX_BATCH_BYTES;
use crate::stats::{Budget, Counters};

/// Where a message's answer goes. Who has lost interest has dropped the other end.
pub(crate) type Reply = oneshot::Sender<Result<(), Failure>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Arc<Limits>,
    pace: Pace,
    counters: Arc<Counters>,
    budget: Arc<Budget>,
    fifo: bool,
    items: BTreeMap<u64, Item>,
    next_number: u64,
    /// Weight of `items`.
    bytes: usize,
    ready: VecDeque<Place>,
    delayed: BTreeMap<(Instant, u64), Place>,
    behind: HashMap<ConnectionId, VecDeque<u64>>,
    calls: usize,
    health: Health,
    /// Set: nothing new is taken, and at this time everything is given up.
    ends_at: Option<Instant>,
}

#[derive(Debug)]
struct Item {
    message: Arc<Message>,
    reply: Reply,
    accepted: Instant,
    attempts: u32,
    /// Was in a call that was refused as a whole: the next is its own.
    alone: bool,
    last: Option<Failure>,
}

/// A message's place among those that can be sent.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    since: Instant,
    /// Whose next message comes up when this one is done for.
    releases: Option<ConnectionId>,
}

/// A call that shall begin.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Arc<Message>>,
    /// When the first of them is answered anyhow.
    pub(crate) deadline: Instant,
    places: Vec<Place>,
    round: u64,
}

/// What a call brought: an entry for each message, or a failure of all.
pub(crate) type Outcome = Result<Vec<Result<(), Failure>>, Failure>;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Begin a call, and ask again.
    Send(Batch),
    /// Ask again at this time, or when something has happened.
    Wait(Option<Instant>),
    /// Nothing ever again.
    End,
}

impl Queue {
    pub(crate) fn new(
        limits: Arc<Limits>,
        pace: Pace,
        counters: Arc<Counters>,
        budget: Arc<Budget>,
        jitter: Jitter,
    ) -> Self {
        let health = Health::new(&limits, jitter);
        Self {
            limits,
            pace,
            counters,
            budget,
            fifo: false,
            items: BTreeMap::new(),
            next_number: 0,
            bytes: 0,
            ready: VecDeque::new(),
            delayed: BTreeMap::new(),
            behind: HashMap::new(),
            calls: 0,
            health,
            ends_at: None,
        }
    }

    /// The target has another configuration: what was wrong may be mended. What waits goes to the new one.
    pub(crate) fn configure(&mut self, fifo: bool) {
        self.fifo = fifo;
        self.try_again();
    }

    /// Whatever was wrong may be mended: no wait for the next attempt.
    pub(crate) fn try_again(&mut self) {
        self.health.forget();
    }

    /// Takes a message, or answers at once why not.
    pub(crate) fn push(&mut self, message: Arc<Message>, reply: Reply, now: Instant) {
        if let Err(failure) = self.admit(&message, now) {
            self.counters.failed(failure.class());
            // Nobody waits: fine.
            let _ = reply.send(Err(failure));
            return;
        }
        let weight = message.weight();
        self.bytes += weight;
        self.counters.queued();
        let (number, connection) = (self.next_number, message.connection());
        self.next_number += 1;
        let item = Item { message, reply, accepted: now, attempts: 0, alone: false, last: None };
        self.items.insert(number, item);
        if !self.fifo {
            self.ready.push_back(Place { number, since: now, releases: None });
        } else if let Some(behind) = self.behind.get_mut(&connection) {
            behind.push_back(number);
        } else {
            self.behind.insert(connection, VecDeque::new());
            self.ready.push_back(Place { number, since: now, releases: Some(connection) });
        }
    }

    /// Reserves the message's bytes where there is room and the target works.
    fn admit(&self, message: &Message, now: Instant) -> Result<(), Failure> {
        if self.ends_at.is_some() {
            return Err(Failure::new(Class::Stopped));
        }
        if message.body().len() > MAX_BATCH_BYTES {
            return Err(Failure::new(Class::TooLarge));
        }
        // With nothing in the queue, the next message is the probe.
        let probes = self.items.is_empty() && self.health.allows_call(self.calls, self.pace.calls, now);
        if let Some(failure) = self.health.open(now).filter(|_| !probes) {
            return Err(failure.clone());
        }
        let bytes = self.bytes + message.weight();
        if self.items.len() >= self.limits.queued_messages || bytes > self.limits.queued_bytes {
            return Err(Failure::new(Class::Full));
        }
        if !self.budget.take(message.weight(), bytes <= self.limits.guaranteed_bytes) {
            return Err(Failure::because(Class::Full, "all targets of this server together"));
        }
        Ok(())
    }

    /// What is to be done now.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        self.expire(now);
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let place = entry.remove();
            self.ready.push_back(place);
        }
        if self.ends_at.is_some() && self.items.is_empty() {
            return Step::End;
        }
        match self.batch(now) {
            Some(batch) => Step::Send(batch),
            None => Step::Wait(self.wakes_at(now)),
        }
    }

    /// A call has ended.
    pub(crate) fn finished(&mut self, batch: Batch, outcome: Outcome, now: Instant) {
        self.calls -= 1;
        let failure = match outcome {
            Ok(results) => match common_failure(&results) {
                // Each entry failed for the target's sake.
                Some(failure) => failure,
                None => {
                    self.health.succeeded();
                    for (place, result) in batch.places.into_iter().zip(results) {
                        self.settle(place, result, now);
                    }
                    return;
                }
            },
            Err(failure) => failure,
        };
        match failure.class().scope() {
            Scope::Message => self.refused(batch.places, &failure, now),
            Scope::Passing => {
                self.health.failed(batch.round, &failure, now);
                self.put_back(batch.places, &failure);
            }
            Scope::Lasting => {
                if self.health.failed(batch.round, &failure, now) {
                    self.give_up(&failure);
                }
                // Those of another round have another attempt.
                self.put_back(batch.places, &failure);
            }
        }
    }

    /// Takes nothing more; what is left at `at` is given up.
    pub(crate) fn end_at(&mut self, at: Instant) {
        self.ends_at = Some(self.ends_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Answers everything that waits or is in flight with a failure.
    pub(crate) fn give_up(&mut self, failure: &Failure) {
        let numbers: Vec<u64> = self.items.keys().copied().collect();
        for number in numbers {
            self.answer(number, Err(failure.clone()));
        }
    }

    /// How the target is.
    pub(crate) const fn health(&self) -> &Health {
        &self.health
    }

    /// Messages that are not answered yet.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    fn expire(&mut self, now: Instant) {
        if self.ends_at.is_some_and(|at| now >= at) {
            self.give_up(&Failure::new(Class::Stopped));
        }
        while let Some((&number, item)) = self.items.first_key_value() {
            if now < item.accepted + self.limits.lifetime {
                break;
            }
            // What no call has had its turn for has waited for the target, too.
            let known = item.last.as_ref().or_else(|| self.health.failure());
            let failure = known.cloned().unwrap_or_else(|| Failure::new(self.pace.late));
            self.answer(number, Err(failure));
        }
        // So that places of answered messages do not pile up while nothing is sent.
        while let Some(place) = self.ready.front().copied().filter(|p| !self.items.contains_key(&p.number)) {
            self.ready.pop_front();
            self.release(place, now);
        }
    }

    /// The next call, if one may begin.
    fn batch(&mut self, now: Instant) -> Option<Batch> {
        let oldest = self.ready.front()?.since;
        let worth_it = self.calls == 0
            || self.ready.len() >= self.pace.entries
            || self.ends_at.is_some()
            || now >= oldest + self.pace.batch_wait;
        if !worth_it || !self.health.allows_call(self.calls, self.pace.calls, now) {
            return None;
        }
        let (mut messages, mut places, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut deadline = now + self.limits.lifetime;
        while let Some(&place) = self.ready.front().filter(|_| messages.len() < self.pace.entries) {
            let Some(item) = self.items.get(&place.number) else {
                self.ready.pop_front();
                self.release(place, now);
                continue;
            };
            bytes += item.message.body().len();
            if !messages.is_empty() && (item.alone || bytes > MAX_BATCH_BYTES) {
                break;
            }
            self.ready.pop_front();
            messages.push(Arc::clone(&item.message));
            deadline = deadline.min(item.accepted + self.limits.lifetime);
            places.push(place);
            if item.alone {
                break;
            }
        }
        if messages.is_empty() {
            return None;
        }
        self.calls += 1;
        Some(Batch { messages, deadline, places, round: self.health.begin() })
    }

    /// When there is something to be done without anything happening.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let deadline = self.items.first_key_value().map(|(_, item)| item.accepted + self.limits.lifetime);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        // A call that is under way wakes by its end.
        let sends = self.ready.front().filter(|_| self.calls < self.pace.calls).and_then(|place| {
            if self.health.is_failing() {
                return self.health.retry_at();
            }
            let at = place.since + self.pace.batch_wait;
            (at > now).then_some(at)
        });
        [deadline, delayed, sends, self.ends_at].into_iter().flatten().min()
    }

    /// One message of a call that was answered.
    fn settle(&mut self, place: Place, result: Result<(), Failure>, now: Instant) {
        if let Err(failure) = &result
            && failure.class().scope() == Scope::Passing
            && let Some(item) = self.items.get_mut(&place.number)
        {
            item.attempts += 1;
            item.last = Some(failure.clone());
            let at = now + self.health.pause(item.attempts);
            self.delayed.insert((at, place.number), place);
            return;
        }
        if result.is_ok()
            && let Some(item) = self.items.get(&place.number)
        {
            self.counters.took(now - item.accepted);
        }
        self.answer(place.number, result);
        self.release(place, now);
    }

    /// A call was refused for what it says: the messages go again, each by itself, to find out which it was.
    fn refused(&mut self, places: Vec<Place>, failure: &Failure, now: Instant) {
        self.health.succeeded();
        if let [place] = places[..] {
            self.settle(place, Err(failure.clone()), now);
            return;
        }
        for place in &places {
            if let Some(item) = self.items.get_mut(&place.number) {
                item.alone = true;
            }
        }
        self.put_back(places, failure);
    }

    /// To the front, in their order: the target's own pause is theirs.
    fn put_back(&mut self, places: Vec<Place>, failure: &Failure) {
        for place in places.into_iter().rev() {
            if let Some(item) = self.items.get_mut(&place.number) {
                item.attempts += 1;
                item.last = Some(failure.clone());
            }
            self.ready.push_front(place);
        }
    }

    /// The place's message is done for: the connection's next one comes up.
    fn release(&mut self, place: Place, now: Instant) {
        let Some(connection) = place.releases else { return };
        let Some(behind) = self.behind.get_mut(&connection) else { return };
        while let Some(number) = behind.pop_front() {
            if self.items.contains_key(&number) {
                self.ready.push_back(Place { number, since: now, releases: place.releases });
                return;
            }
        }
        self.behind.remove(&connection);
    }

    fn answer(&mut self, number: u64, result: Result<(), Failure>) {
        let Some(item) = self.items.remove(&number) else { return };
        let weight = item.message.weight();
        self.bytes -= weight;
        self.budget.give_back(weight);
        self.counters.answered(result.as_ref().err().map(Failure::class));
        // Nobody waits: fine.
        let _ = item.reply.send(result);
    }
}

/// The failure of a call of which every entry failed, and for the target's sake.
fn common_failure(results: &[Result<(), Failure>]) -> Option<Failure> {
    let first = results.first()?.as_ref().err()?;
    let same = |result: &Result<(), Failure>| {
        result.as_ref().is_err_and(|f| f.class().scope() == first.class().scope())
    };
    (first.class().scope() != Scope::Message && results.iter().all(same)).then(|| first.clone())
}

/// What is left in a queue that nobody empties any more is answered, and its bytes are given back.
impl Drop for Queue {
    fn drop(&mut self) {
        self.give_up(&Failure::new(Class::Stopped));
    }
}
