//! A group of consumers, which share the messages of an application. Pure but for the channels to the consumers.
//!
//! A message waits here until a consumer has room for it, and stays with that consumer until it is acknowledged. What
//! waits is bounded by the calls that the target's queue allows. The message itself is held by its call only: a consumer
//! that never answers keeps places of its window, and no memory of what was given up long ago.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Verdict;
use super::consumer::Handed;
use crate::message::Message;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Group {
    seats: BTreeMap<u64, Seat>,
    waiting: VecDeque<Pending>,
    /// Counts messages that were handed out.
    handed_out: u64,
    /// When the last consumer left, while there is none.
    left_at: Option<Instant>,
}

/// A consumer's place.
#[derive(Debug)]
struct Seat {
    window: usize,
    /// Has room for the whole window.
    outgoing: mpsc::Sender<Handed>,
    unacknowledged: BTreeMap<u64, Pending>,
    next_sequence: u64,
    /// Of the last message: the consumer that has waited longest comes first among equals.
    last_used: u64,
}

#[derive(Debug)]
struct Pending {
    message: Weak<Message>,
    done: oneshot::Sender<Verdict>,
    redelivered: bool,
}

impl Group {
    /// A further consumer, that may have `window` messages at a time.
    pub(super) fn join(&mut self, consumer: u64, window: usize) -> mpsc::Receiver<Handed> {
        let window = window.max(1);
        let (outgoing, incoming) = mpsc::channel(window);
        let unacknowledged = BTreeMap::new();
        let seat = Seat { window, outgoing, unacknowledged, next_sequence: 1, last_used: self.handed_out };
        self.seats.insert(consumer, seat);
        self.left_at = None;
        self.hand_out();
        incoming
    }

    /// The consumer has gone: what it has not acknowledged is for others, before everything else.
    pub(super) fn leave(&mut self, consumer: u64, now: Instant) {
        let Some(seat) = self.seats.remove(&consumer) else { return };
        for mut pending in seat.unacknowledged.into_values().rev() {
            pending.redelivered = true;
            self.waiting.push_front(pending);
        }
        if self.seats.is_empty() {
            self.left_at = Some(now);
        }
        self.hand_out();
    }

    /// Takes a message; the answer is to come. Without one the group has been forgotten.
    pub(super) fn offer(&mut self, message: &Arc<Message>) -> oneshot::Receiver<Verdict> {
        let (done, answer) = oneshot::channel();
        self.waiting.push_back(Pending { message: Arc::downgrade(message), done, redelivered: false });
        self.hand_out();
        answer
    }

    /// What a consumer says of a message; `false`: it does not have it.
    pub(super) fn settle(&mut self, consumer: u64, sequence: u64, verdict: Verdict) -> bool {
        let seat = self.seats.get_mut(&consumer);
        let Some(pending) = seat.and_then(|seat| seat.unacknowledged.remove(&sequence)) else { return false };
        // Who has waited may have given up.
        let _ = pending.done.send(verdict);
        self.hand_out();
        true
    }

    /// Consumers that are there.
    pub(super) fn consumers(&self) -> usize {
        self.seats.len()
    }

    /// Since when none is.
    pub(super) fn left_at(&self) -> Option<Instant> {
        self.left_at
    }

    /// Gives what waits to consumers that have room.
    fn hand_out(&mut self) {
        while let Some(pending) = self.waiting.front() {
            if pending.done.is_closed() {
                // It took too long.
                self.waiting.pop_front();
                continue;
            }
            let free = self.seats.values_mut().filter(|seat| seat.room() > 0);
            let Some(seat) = free.max_by_key(|seat| (seat.room(), Reverse(seat.last_used))) else { return };
            let Some(pending) = self.waiting.pop_front() else { return };
            self.handed_out += 1;
            seat.last_used = self.handed_out;
            seat.take(pending);
        }
    }
}

impl Seat {
    fn room(&self) -> usize {
        self.window - self.unacknowledged.len()
    }

    fn take(&mut self, pending: Pending) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let Pending { message, redelivered, .. } = &pending;
        let handed = Handed { sequence, message: Weak::clone(message), redelivered: *redelivered };
        // A consumer that has gone leaves at once, and then the message is for another one.
        let _ = self.outgoing.try_send(handed);
        self.unacknowledged.insert(sequence, pending);
    }
}

#[cfg(test)]
mod tests {
    use realtime_proto::ConnectionId;

    use super::*;

    fn message(id: &str) -> Arc<Message> {
        let connection = ConnectionId::parse("0a1b2c3d4e5f60718293a4b5c6d7e8f9").unwrap();
        Arc::new(Message::inbound(connection, id, id.to_owned()))
    }

    /// A message whose call is under way for as long as the test lasts.
    fn offer(group: &mut Group, id: &str) -> oneshot::Receiver<Verdict> {
        let message = message(id);
        let answer = group.offer(&message);
        std::mem::forget(message);
        answer
    }

    fn bodies(incoming: &mut mpsc::Receiver<Handed>) -> Vec<(u64, String, bool)> {
        let mut found = Vec::new();
        while let Ok(Handed { sequence, message, redelivered }) = incoming.try_recv() {
            found.push((sequence, message.upgrade().unwrap().body().to_owned(), redelivered));
        }
        found
    }

    #[test]
    fn each_message_goes_to_the_consumer_with_the_most_room() {
        let mut group = Group::default();
        let (mut one, mut two) = (group.join(1, 4), group.join(2, 2));
        let answers: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|id| offer(&mut group, id)).collect();
        assert_eq!(bodies(&mut one).len(), 3);
        assert_eq!(bodies(&mut two).len(), 1);
        assert!(answers.iter().all(|answer| answer.is_empty()));
        assert!(group.settle(2, 1, Verdict::Accepted) && !group.settle(2, 1, Verdict::Accepted));
        assert!(!group.settle(1, 9, Verdict::Accepted) && !group.settle(3, 1, Verdict::Accepted));
    }

    #[test]
    fn nobody_has_more_than_its_window_and_what_waits_comes_in_order() {
        let mut group = Group::default();
        let mut waiting: Vec<_> = ["a", "b", "c"].into_iter().map(|id| offer(&mut group, id)).collect();
        let mut one = group.join(1, 1);
        assert_eq!(bodies(&mut one), [(1, "a".into(), false)]);
        assert!(group.settle(1, 1, Verdict::Accepted));
        assert_eq!(waiting[0].try_recv(), Ok(Verdict::Accepted));
        // Nobody waits for it any more: it is passed over.
        drop(waiting.remove(1));
        assert_eq!(bodies(&mut one), [(2, "b".into(), false)]);
        assert!(group.settle(1, 2, Verdict::Refused));
        assert_eq!(bodies(&mut one), [(3, "c".into(), false)]);
        drop(waiting.remove(1));
        let _given_up = offer(&mut group, "d");
        let answer = offer(&mut group, "e");
        drop(_given_up);
        assert!(group.settle(1, 3, Verdict::Accepted));
        assert_eq!(bodies(&mut one), [(4, "e".into(), false)]);
        drop(answer);
    }

    #[test]
    fn what_a_consumer_leaves_behind_goes_to_others_first_and_says_so() {
        let now = Instant::now();
        let mut group = Group::default();
        let mut one = group.join(1, 2);
        let mut answers: Vec<_> = ["a", "b", "c"].into_iter().map(|id| offer(&mut group, id)).collect();
        assert_eq!(bodies(&mut one).len(), 2);
        group.leave(1, now);
        assert_eq!(group.left_at(), Some(now));
        let mut two = group.join(2, 8);
        assert_eq!(group.left_at(), None);
        assert_eq!(bodies(&mut two), [(1, "a".into(), true), (2, "b".into(), true), (3, "c".into(), false)]);
        assert!(group.settle(2, 2, Verdict::Accepted));
        assert_eq!(answers[1].try_recv(), Ok(Verdict::Accepted));
        drop(group);
        assert_eq!(answers[0].try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_consumer_that_never_answers_holds_no_message_once_its_call_has_given_it_up() {
        let mut group = Group::default();
        let mut unread = group.join(1, 1);
        let (first, second) = (message("a"), message("b"));
        let answers = [group.offer(&first), group.offer(&second)];
        let held = [&first, &second].map(Arc::downgrade);
        drop((first, second, answers));
        assert!(held.iter().all(|message| message.upgrade().is_none()));
        // Its place is taken nevertheless, until the consumer says something.
        let waits = offer(&mut group, "c");
        assert!(unread.try_recv().is_ok_and(|handed| handed.message.upgrade().is_none()));
        assert!(unread.try_recv().is_err());
        assert!(group.settle(1, 1, Verdict::Refused));
        assert_eq!(bodies(&mut unread), [(2, "c".into(), false)]);
        drop(waits);
    }
}
