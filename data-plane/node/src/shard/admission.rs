//! How a connection becomes a session: the subject's connection limit (docs/contract.md 2.1), then the welcome.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use realtime_proto::app::ConnectionLimitPolicy;
use realtime_proto::{CloseCode, topic};
use realtime_session::{Codec, Session};

use super::connection::{Connection, END, Ending, Phase, Wait};
use super::hub::Hub;
use super::inbound::Presence;
use super::output::Output;
use super::poller::Interest;
use super::slab::Token;
use crate::runtime::AppRuntime;
use crate::shard::inbox::Adoption;

/// How long the oldest connection of a subject has to answer the ping (docs/contract.md 2.1).
const PROBE_MS: u64 = 2000;
/// Connections of one subject that may wait for the answer; further ones are refused at once.
const MAX_WAITING: usize = 4;

/// What the subject's limit says about a further connection.
enum Verdict {
    Welcome,
    /// Ask the oldest holder first.
    Probe(Token),
    Refuse,
}

impl Hub {
    /// Takes a connection from the front door.
    pub(super) fn adopt(&mut self, adoption: Adoption, codec: &mut Codec) {
        // The arrival may have been authenticated against a newer table than this shard has seen.
        self.take_table();
        let read_ahead = adoption.arrival.read_ahead.clone();
        let Some(index) = self.insert(adoption) else { return };
        let app = self.connections.get(index).and_then(|c| self.table.by_slot(c.slot)).cloned();
        match app {
            None => self.end(index, Ending::Close(CloseCode::AppGone)),
            Some(_) if self.drain.is_some() => self.end(index, Ending::Close(CloseCode::Draining)),
            Some(app) => self.admit(index, &app, read_ahead, Some(codec)),
        }
    }

    fn insert(&mut self, adoption: Adoption) -> Option<u32> {
        let Adoption { arrival, reservation } = adoption;
        let token = self.connections.next_token();
        if self.poller.add(arrival.stream.socket(), token).is_err() {
            return None;
        }
        // The front door may have read and sealed more than the opening.
        self.cells.unsent(0, arrival.stream.unsent());
        self.cells.unfinished(0, arrival.stream.unopened());
        let id = self.shared.ids.make(self.number, token.index);
        let subject = arrival.identity.subject.clone().unwrap_or_else(|| id.to_string().into());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let connection = Connection {
            output: Output::new(),
            ending: None,
            session: Session::new(arrival.deflate),
            stream: arrival.stream,
            // In no index yet; `admit` decides.
            phase: Phase::Closing { peer_done: false },
            slot: arrival.app.slot,
            id,
            identity: arrival.identity,
            subject,
            subscriptions: Vec::new(),
            older: END,
            newer: END,
            remote_address: arrival.remote_address,
            ack_envelope: arrival.ack_envelope,
            on_main: false,
            probed: false,
            mirrored: false,
            watched_writable: false,
            connected_at_ms: since_epoch.as_millis() as u64,
            last_seen_ms: self.now_ms,
            check_at: 0,
            reservation: Some(reservation),
        };
        Some(self.connections.insert(connection).index)
    }

    /// Applies the subject's limit to a connection that is in no index yet.
    fn admit(&mut self, index: u32, app: &Arc<AppRuntime>, read_ahead: Bytes, codec: Option<&mut Codec>) {
        match self.verdict(index, app) {
            Verdict::Welcome => self.open(index, app, &read_ahead, codec),
            Verdict::Refuse => self.refuse_subject(index),
            Verdict::Probe(holder) => {
                let Some(token) = self.connections.token(index) else { return };
                if let Some(connection) = self.connections.get_mut(index) {
                    connection.phase = Phase::Waiting(Box::new(Wait { holder, read_ahead }));
                }
                self.waiting.push(token);
                self.watch(index, Interest::Nothing);
                self.check_at(index, self.now_ms + PROBE_MS);
                if let Some(connection) = self.connections.get_mut(holder.index) {
                    connection.probed = true;
                }
                self.ping(holder.index);
            }
        }
    }

    fn refuse_subject(&mut self, index: u32) {
        self.end(index, Ending::Close(CloseCode::SubjectLimit));
    }

    fn verdict(&mut self, index: u32, app: &AppRuntime) -> Verdict {
        let limit = app.limits.connections_per_subject as usize;
        let Some(connection) = self.connections.get(index) else { return Verdict::Refuse };
        // A token without a subject has a subject of its own.
        if limit == 0 || connection.identity.subject.is_none() {
            return Verdict::Welcome;
        }
        let subject = connection.subject.clone();
        let holders: Vec<u32> = self
            .subjects
            .of(app.slot, &subject, &self.connections)
            .filter(|&c| self.connections.get(c).is_some_and(Connection::is_open))
            .collect();
        let Some(&oldest) = holders.last().filter(|_| holders.len() >= limit) else {
            return Verdict::Welcome;
        };
        if app.app.config.connection_limit_policy == ConnectionLimitPolicy::Replace {
            // More than one goes only where the limit has been lowered since.
            for &holder in &holders[limit - 1..] {
                self.refuse_subject(holder);
            }
            // They leave before the newcomer comes: whoever follows presence by subject reads it as online last, and
            // their topics make room for its own.
            self.reap();
            return Verdict::Welcome;
        }
        let waiting = self.waiting.iter().filter(|t| self.waits_for(t.index, oldest)).count();
        match self.connections.token(oldest) {
            Some(token) if waiting < MAX_WAITING => Verdict::Probe(token),
            _ => Verdict::Refuse,
        }
    }

    fn waits_for(&self, index: u32, holder: u32) -> bool {
        let phase = self.connections.get(index).map(|c| &c.phase);
        matches!(phase, Some(Phase::Waiting(wait)) if wait.holder.index == holder)
    }

    /// Makes a session of the connection: its topics, its welcome, presence; then what it had already sent.
    fn open(&mut self, index: u32, app: &Arc<AppRuntime>, read_ahead: &[u8], codec: Option<&mut Codec>) {
        self.watch(index, Interest::Read);
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.phase = Phase::Open;
        connection.last_seen_ms = self.now_ms;
        self.subjects.insert(index, &mut self.connections);
        let private = self.subject_came(index, app);
        let found = self.topics.find(app.slot, topic::MAIN);
        let main = self.add_subscription(index, app, topic::MAIN, found);
        self.cells.sessions_opened += 1;
        let main = main.map_or(0, |main| self.topics.topic(main).ticket);
        self.welcome_after(private.max(main), index, app, topic::MAIN);
        self.presence(index, app, Presence::Connected);
        self.mirror(index);
        self.schedule(index);
        if !read_ahead.is_empty() {
            let mut bytes = read_ahead.to_vec();
            match codec {
                Some(codec) => self.receive(index, &mut bytes, codec),
                None => self.receive(index, &mut bytes, &mut Codec::new()),
            }
        }
    }

    /// Resolves what waits for connections that have answered in this turn: they live, so the newcomers go.
    pub(super) fn answer_waiting(&mut self) {
        for holder in std::mem::take(&mut self.alive) {
            for index in self.waiters_of(holder) {
                self.refuse_subject(index);
            }
        }
    }

    /// The holder has ended: those that waited for it are looked at again, oldest first.
    pub(super) fn admit_waiters_of(&mut self, holder: u32) {
        for index in self.waiters_of(holder) {
            let Some(connection) = self.connections.get_mut(index).filter(|c| c.ending.is_none()) else {
                continue;
            };
            let phase = std::mem::replace(&mut connection.phase, Phase::Closing { peer_done: false });
            let (Phase::Waiting(wait), Some(app)) = (phase, self.table.by_slot(connection.slot).cloned())
            else {
                self.end(index, Ending::Close(CloseCode::AppGone));
                continue;
            };
            self.admit(index, &app, wait.read_ahead, None);
        }
    }

    /// Takes those who wait for `holder` off the list.
    fn waiters_of(&mut self, holder: u32) -> Vec<u32> {
        let waiting = std::mem::take(&mut self.waiting);
        let (found, rest) = waiting
            .into_iter()
            .filter(|t| self.connections.is_live(*t))
            .partition(|t| self.waits_for(t.index, holder));
        self.waiting = rest;
        let found: Vec<Token> = found;
        found.into_iter().map(|t| t.index).collect()
    }
}
