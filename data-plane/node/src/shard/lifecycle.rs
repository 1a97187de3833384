//! How sessions end, what their timers do, and configuration changes.

use std::sync::Arc;

use realtime_proto::CloseCode;
use realtime_session::frame;

use super::connection::{Connection, Ending, Phase};
use super::drain::Drain;
use super::hub::Hub;
use super::inbound::Presence;
use super::poller::Interest;
use super::slab::Token;
use super::wheel::{TICK_MS, Wheel};
use crate::app_table::AppTable;

/// How long a closing connection may take to receive its last frames and to hang up: long enough for a slow
/// mobile network's round trips, short enough that descriptors do not pile up.
const LINGER_MS: u64 = 3000;
impl Hub {
    /// Decides a connection's end; the first decision counts. Acted on when the turn finishes.
    pub(super) fn end(&mut self, index: u32, ending: Ending) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.ending.is_none() {
            connection.ending = Some(ending);
            self.ended.push(index);
        } else if ending == Ending::Gone {
            // It was closing already, and now there is nobody to tell.
            connection.ending = Some(Ending::Gone);
            self.ended.push(index);
        }
    }

    /// Takes ended connections out of every index and sends their close frames.
    pub(super) fn reap(&mut self) {
        while let Some(index) = self.ended.pop() {
            let Some(connection) = self.connections.get(index) else { continue };
            let Some(ending) = connection.ending else { continue };
            if connection.reservation.is_some() {
                self.leave(index, ending);
            }
            match ending {
                Ending::Gone => self.forget(index),
                Ending::Close(code) => self.say_goodbye(index, code.code(), code.reason(), false),
                Ending::PeerClosed(code) => self.say_goodbye(index, code, "", true),
            }
        }
    }

    /// The session is over: out of the indices, its place free, presence told.
    fn leave(&mut self, index: u32, ending: Ending) {
        self.count(ending);
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.reservation = None;
        let slot = connection.slot;
        match connection.phase {
            Phase::Open => {}
            Phase::Waiting(_) => return self.watch(index, Interest::Read),
            Phase::Closing { .. } => return,
        }
        self.cells.sessions_closed += 1;
        connection.phase = Phase::Closing { peer_done: false };
        let app = self.table.by_slot(slot).cloned();
        let meshed = self.shared.mesh.is_some();
        self.topics.unsubscribe_all(index, &mut self.connections, |removed| {
            if !removed.last {
                return;
            }
            if let Some(app) = &app {
                app.usage.remove_topic(&removed.name);
            }
            if meshed {
                self.interest.unsubscribed(slot, removed.name);
            }
        });
        self.subjects.remove(index, &mut self.connections);
        self.subject_left(index);
        self.abandon_outstanding(index, ending == Ending::Close(CloseCode::Draining));
        if let Some(app) = app {
            self.presence(index, &app, Presence::Disconnected);
        }
        self.end_mirror(index);
        self.admit_waiters_of(index);
    }

    fn count(&mut self, ending: Ending) {
        match ending {
            Ending::Close(CloseCode::SlowConsumer) => self.cells.slow_consumers += 1,
            Ending::Close(CloseCode::Idle) => self.cells.idle_timeouts += 1,
            Ending::Close(CloseCode::SubjectLimit) => self.cells.subject_limits += 1,
            Ending::Close(
                CloseCode::ProtocolError
                | CloseCode::NotUtf8
                | CloseCode::InvalidMessage
                | CloseCode::SecureTopicForbidden
                | CloseCode::TooBig,
            ) => self.cells.violations += 1,
            _ => {}
        }
    }

    /// Queues the close frame and gives the connection a while to take it.
    fn say_goodbye(&mut self, index: u32, code: u16, reason: &str, peer_done: bool) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.phase = Phase::Closing { peer_done };
        // What a slow consumer has not taken is lost; the close frame comes right after the frame under way.
        if connection.ending == Some(Ending::Close(CloseCode::SlowConsumer)) {
            connection.output.drop_unsent(&mut self.cells);
        }
        let mut close = Vec::with_capacity(4 + reason.len());
        frame::write_close(&mut close, code, reason);
        self.send(index, close);
        self.check_at(index, self.now_ms + LINGER_MS);
    }

    /// A closing connection's last frame is out: no more from us. The client hangs up, or its time runs out.
    pub(super) fn hang_up(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index) else { return };
        let gone = !connection.stream.shut_down();
        if gone || matches!(connection.phase, Phase::Closing { peer_done: true }) {
            self.end(index, Ending::Gone);
        }
    }

    /// Drops the connection.
    fn forget(&mut self, index: u32) {
        if let Some(mut connection) = self.connections.remove(index) {
            self.cells.unfinished(connection.session.held_bytes(), 0);
            let Connection { output, stream, .. } = &mut connection;
            self.turn.discard(output, stream, &mut self.cells);
            self.cells.unfinished(stream.unopened(), 0);
        }
    }

    /// Changes what the poller reports of a connection that is not blocked.
    pub(super) fn watch(&mut self, index: u32, interest: Interest) {
        let Some(token) = self.connections.token(index) else { return };
        let Some(connection) = self.connections.get(index) else { return };
        if self.poller.watch(connection.stream.socket(), token, interest).is_err() {
            self.end(index, Ending::Gone);
        }
    }

    /// Enters the one time at which the connection is looked at.
    pub(super) fn check_at(&mut self, index: u32, at_ms: u64) {
        let Some(token) = self.connections.token(index) else { return };
        let now_tick = self.now_ms / TICK_MS;
        let Some(connection) = self.connections.get_mut(index) else { return };
        let tick = Wheel::tick(at_ms).max(now_tick + 1);
        connection.check_at = tick;
        self.wheel.insert(token, tick);
    }

    /// Enters the next time at which an open session is due: its ping, its idle time-out, its token's expiry.
    pub(super) fn schedule(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index) else { return };
        let idle = self.idle_ms();
        let quiet_at = connection.last_seen_ms + idle / 2;
        let next = match idle {
            0 => None,
            // After the ping there is as long again for the answer.
            _ if quiet_at <= self.now_ms => Some(connection.last_seen_ms + idle),
            _ => Some(quiet_at),
        };
        let next = [next, self.expiry_ms(connection)].into_iter().flatten().min();
        if let Some(at) = next {
            self.check_at(index, at);
        }
    }

    fn idle_ms(&self) -> u64 {
        u64::from(self.table.settings.limits.idle_timeout_seconds) * 1000
    }

    /// When the session's token expires, on the shard's clock, where the application closes sessions then.
    fn expiry_ms(&self, connection: &Connection) -> Option<u64> {
        let app = self.table.by_slot(connection.slot)?;
        if !app.app.config.disconnect_on_token_expiry {
            return None;
        }
        let expires_ms = connection.identity.expires_at?.saturating_mul(1000);
        let now_unix =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as u64;
        Some(self.now_ms + expires_ms.saturating_sub(now_unix))
    }

    /// Looks at every connection whose time has come.
    pub(super) fn run_timers(&mut self) {
        self.run_drain();
        self.welcome_overdue();
        let mut due = Vec::new();
        self.wheel.advance(self.now_ms, &mut due);
        for (token, tick) in due {
            if self.connections.is_live(token) {
                self.look_at(token, tick);
            }
        }
    }

    fn look_at(&mut self, token: Token, tick: u64) {
        let index = token.index;
        let Some(connection) = self.connections.get_mut(index).filter(|c| c.check_at == tick) else { return };
        // The entry is used up. What is not entered again has none, until a change of the settings brings one.
        connection.check_at = 0;
        match &connection.phase {
            Phase::Closing { .. } => self.end(index, Ending::Gone),
            // The holder has not answered in time: it is dead.
            Phase::Waiting(wait) => {
                let holder = wait.holder;
                if self.connections.is_live(holder) {
                    self.end(holder.index, Ending::Close(CloseCode::Idle));
                }
            }
            Phase::Open => self.look_at_session(index),
        }
    }

    fn look_at_session(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index) else { return };
        if self.expiry_ms(connection).is_some_and(|at| at <= self.now_ms) {
            return self.end(index, Ending::Close(CloseCode::TokenExpired));
        }
        let (idle, quiet) = (self.idle_ms(), self.now_ms - connection.last_seen_ms);
        if idle != 0 && quiet >= idle {
            return self.end(index, Ending::Close(CloseCode::Idle));
        }
        if idle != 0 && quiet >= idle / 2 {
            self.ping(index);
        }
        self.schedule(index);
    }

    /// Puts the node's current table in force here.
    pub(super) fn take_table(&mut self) {
        let table = self.shared.table.load();
        if Arc::ptr_eq(&table, &self.table) {
            return;
        }
        let table = arc_swap::Guard::into_inner(table);
        let old = std::mem::replace(&mut self.table, table);
        if old.gone != self.table.gone {
            let table = self.table.clone();
            self.tell_targets_of_the_end(&old);
            self.end_where(|c| table.by_slot(c.slot).is_none(), CloseCode::AppGone);
        }
        if old.inbound != self.table.inbound {
            self.mirror_anew();
        }
        if old.timers == self.table.timers {
            return;
        }
        let open: Vec<u32> = self.connections.iter().filter(|(_, c)| c.is_open()).map(|(i, _)| i).collect();
        for index in open {
            self.reschedule_if_earlier(index);
        }
    }

    /// Sessions whose application is gone or disabled are about to end: its targets hear of it now, while they still
    /// take events.
    fn tell_targets_of_the_end(&mut self, old: &AppTable) {
        let gone = |c: &Connection| c.is_open() && self.table.by_slot(c.slot).is_none();
        let gone: Vec<(u32, u32)> =
            self.connections.iter().filter(|(_, c)| gone(c)).map(|(i, c)| (i, c.slot)).collect();
        for (index, slot) in gone {
            if let Some(app) = old.by_slot(slot) {
                self.forward_presence(index, app, Presence::Disconnected);
            }
        }
    }

    fn reschedule_if_earlier(&mut self, index: u32) {
        let Some(before) = self.connections.get(index).map(|c| c.check_at) else { return };
        let Some(connection) = self.connections.get(index) else { return };
        let idle = self.idle_ms();
        let next = [(idle != 0).then_some(connection.last_seen_ms + idle / 2), self.expiry_ms(connection)];
        let Some(next) = next.into_iter().flatten().min() else { return };
        if before == 0 || Wheel::tick(next) < before {
            self.check_at(index, next);
        }
    }

    /// Ends every session that the condition names; returns how many.
    pub(super) fn end_where(&mut self, condition: impl Fn(&Connection) -> bool, code: CloseCode) -> u64 {
        let found: Vec<u32> = self.connections.iter().filter(|(_, c)| condition(c)).map(|(i, _)| i).collect();
        found.into_iter().map(|index| self.end_unless_ending(index, code)).sum()
    }

    /// Ends a connection that is not ending yet; returns 1 if so.
    pub(super) fn end_unless_ending(&mut self, index: u32, code: CloseCode) -> u64 {
        let ending = self.connections.get(index).is_none_or(|c| c.ending.is_some());
        if !ending {
            self.end(index, Ending::Close(code));
        }
        u64::from(!ending)
    }

    /// When the shard has something to do even if nothing comes.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let drain = self.drain.as_ref().and_then(Drain::next_ms);
        [drain, self.interest.next_deadline_ms(), self.wheel.next_deadline_ms()].into_iter().flatten().min()
    }
}
