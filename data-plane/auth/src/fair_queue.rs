//! A bounded queue that serves applications in turn. A plain value: no threads, no locks.
//!
//! Invariants: an application is in `turns` exactly once while something of it waits, and `waiting` is the sum
//! over all applications.

use std::collections::{HashMap, VecDeque};

use realtime_proto::AppId;

/// Items that wait, by application.
pub(crate) struct FairQueue<T> {
    by_app: HashMap<AppId, VecDeque<T>>,
    turns: VecDeque<AppId>,
    waiting: usize,
    capacity: usize,
}

/// There is no room for this application's item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<T> FairQueue<T> {
    /// At least one item fits.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { by_app: HashMap::new(), turns: VecDeque::new(), waiting: 0, capacity: capacity.max(1) }
    }

    /// One application may hold at most half of the queue: a flood of one leaves room for the others.
    pub(crate) fn push(&mut self, app: &AppId, item: T) -> Result<(), Full> {
        let share = (self.capacity / 2).max(1);
        let own = self.by_app.get(app).map_or(0, VecDeque::len);
        if self.waiting >= self.capacity || own >= share {
            return Err(Full);
        }
        if own == 0 {
            self.turns.push_back(app.clone());
        }
        self.by_app.entry(app.clone()).or_default().push_back(item);
        self.waiting += 1;
        Ok(())
    }

    /// The oldest item of the application whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let app = self.turns.pop_front()?;
        let items = self.by_app.get_mut(&app)?;
        let item = items.pop_front()?;
        self.waiting -= 1;
        if items.is_empty() {
            self.by_app.remove(&app);
        } else {
            self.turns.push_back(app);
        }
        Some(item)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppId {
        AppId::parse(name).unwrap()
    }

    #[test]
    fn one_application_holds_at_most_half() {
        let mut queue = FairQueue::new(8);
        for i in 0..4 {
            assert_eq!(queue.push(&app("a"), i), Ok(()));
        }
        assert_eq!(queue.push(&app("a"), 9), Err(Full));
        for i in 0..4 {
            assert_eq!(queue.push(&app("b"), i), Ok(()));
        }
        assert_eq!(queue.push(&app("c"), 9), Err(Full), "the whole is bounded too");
        assert_eq!(queue.len(), 8);
        queue.pop();
        assert_eq!(queue.push(&app("c"), 9), Ok(()));
    }

    #[test]
    fn applications_take_turns_and_each_keeps_its_order() {
        let mut queue = FairQueue::new(100);
        for item in ["a1", "a2", "a3", "a4"] {
            queue.push(&app("a"), item).unwrap();
        }
        queue.push(&app("b"), "b1").unwrap();
        queue.push(&app("c"), "c1").unwrap();
        queue.push(&app("b"), "b2").unwrap();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
        assert_eq!(queue.len(), 0);
        assert!(queue.by_app.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn the_smallest_queue_takes_one_item() {
        let mut queue = FairQueue::new(0);
        assert_eq!(queue.push(&app("a"), 1), Ok(()));
        assert_eq!(queue.push(&app("b"), 2), Err(Full));
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.pop(), None);
    }
}
