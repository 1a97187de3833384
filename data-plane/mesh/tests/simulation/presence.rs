//! What must hold of mirrored sessions, and what has become of each.

use std::collections::BTreeMap;

use realtime_mesh::Departed;
use realtime_proto::ConnectionId;

/// A session, from its beginning to the end of the run.
#[derive(Debug, Clone, Copy)]
struct Session {
    life: u64,
    state: State,
    /// The guardian has confirmed the state.
    confirmed: bool,
    announced: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// By itself; its node has told so.
    Ended,
    /// With its node.
    Died,
}

/// Every session of the run.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    sessions: BTreeMap<ConnectionId, Session>,
    /// Sessions that must be announced, and by which life: their node's guardian when it died.
    due: BTreeMap<ConnectionId, u64>,
}

impl Presence {
    pub(crate) fn opened(&mut self, id: ConnectionId, life: u64) {
        let session = Session { life, state: State::Open, confirmed: false, announced: 0 };
        self.sessions.insert(id, session);
    }

    /// The life's oldest open session ends, if there is one.
    pub(crate) fn end_one(&mut self, life: u64) -> Option<ConnectionId> {
        let open = |session: &Session| session.life == life && session.state == State::Open;
        let (id, session) = self.sessions.iter_mut().find(|(_, session)| open(session))?;
        (session.state, session.confirmed) = (State::Ended, false);
        Some(*id)
    }

    /// The life's guardian has confirmed everything.
    pub(crate) fn confirmed(&mut self, life: u64) {
        self.of(life).for_each(|(_, session)| session.confirmed = true);
    }

    /// The life's guardian is another: what the new one has is not confirmed yet.
    pub(crate) fn unconfirmed(&mut self, life: u64) {
        let open = self.of(life).filter(|(_, session)| session.state == State::Open);
        open.for_each(|(_, session)| session.confirmed = false);
    }

    /// A node dies, and so does a guardian; `guardian` is its own, if that has a whole set and is alive.
    pub(crate) fn died(&mut self, life: u64, guardian: Option<u64>) {
        self.due.retain(|_, by| *by != life);
        let mut due = Vec::new();
        for (id, session) in self.of(life).filter(|(_, session)| session.state == State::Open) {
            session.state = State::Died;
            due.extend(guardian.filter(|_| session.confirmed).map(|by| (*id, by)));
        }
        self.due.extend(due);
    }

    /// A node announces a session's end. `cut_off`: it may have been out of reach of who knows better.
    pub(crate) fn announced(&mut self, departed: &Departed, by: u64, cut_off: bool) {
        let session = self.sessions.get_mut(&departed.id).expect("a session");
        assert_eq!(*departed.session.subject, *departed.id.to_string());
        assert_ne!(session.state, State::Open, "{by} announced an open session: {session:?}");
        session.announced += 1;
        let wrong = session.announced > 1 || session.state == State::Ended && session.confirmed;
        assert!(!wrong || cut_off, "{by} announced again: {session:?}");
        self.due.remove(&departed.id);
    }

    /// Sessions that were announced; all that must be.
    pub(crate) fn check_end(&self) {
        assert!(self.due.is_empty(), "never announced: {:?}", self.due);
    }

    pub(crate) fn announcements(&self) -> u64 {
        self.sessions.values().map(|session| session.announced).sum()
    }

    fn of(&mut self, life: u64) -> impl Iterator<Item = (&ConnectionId, &mut Session)> {
        self.sessions.iter_mut().filter(move |(_, session)| session.life == life)
    }
}
