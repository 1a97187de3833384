//! Requests to peers that wait for their answers. A call ends when every peer that it was sent to has answered or is
//! gone, or when its time is up.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use realtime_mesh::LinkId;
use realtime_proto::NodePrefix;
use realtime_proto::generated::peer as wire;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A peer that has not answered by then is missing. Well above a healthy peer's milliseconds, below what callers
/// wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A request that one peer or all shall answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) to: Recipients,
    /// Its number is the mesh's to give.
    pub(crate) request: wire::Request,
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipients {
    /// Every member.
    All,
    /// The node that owns connections with this prefix.
    Owner(NodePrefix),
}

/// What the peers said.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) responses: Vec<wire::response::Kind>,
    /// Members that were not asked, or have not answered.
    pub(crate) missing: Vec<Arc<str>>,
}

/// A call under way.
#[derive(Debug)]
struct Waiting {
    open: Vec<(LinkId, Arc<str>)>,
    answers: Answers,
    caller: oneshot::Sender<Answers>,
    deadline: Instant,
}

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    waiting: HashMap<u64, Waiting>,
}

impl Calls {
    /// A number for a new call; never 0.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Waits for these peers.
    pub(super) fn start(
        &mut self,
        number: u64,
        open: Vec<(LinkId, Arc<str>)>,
        missing: Vec<Arc<str>>,
        caller: oneshot::Sender<Answers>,
    ) {
        let answers = Answers { responses: Vec::new(), missing };
        let deadline = Instant::now() + ANSWER_WITHIN;
        self.waiting.insert(number, Waiting { open, answers, caller, deadline });
        self.finish_if_complete(number);
    }

    /// A peer has answered. An answer that nobody waits for is late, and passed over.
    pub(super) fn answer(&mut self, link: LinkId, response: wire::Response) {
        let number = response.number;
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        let Some(at) = waiting.open.iter().position(|(open, _)| *open == link) else { return };
        let (_, node) = waiting.open.swap_remove(at);
        match response.kind {
            None | Some(wire::response::Kind::Failure(_)) => waiting.answers.missing.push(node),
            Some(kind) => waiting.answers.responses.push(kind),
        }
        self.finish_if_complete(number);
    }

    /// A link is gone, and with it what it owed.
    pub(super) fn lose(&mut self, link: LinkId) {
        let numbers: Vec<u64> = self.waiting.keys().copied().collect();
        for number in numbers {
            let Some(waiting) = self.waiting.get_mut(&number) else { continue };
            if let Some(at) = waiting.open.iter().position(|(open, _)| *open == link) {
                let (_, node) = waiting.open.swap_remove(at);
                waiting.answers.missing.push(node);
                self.finish_if_complete(number);
            }
        }
    }

    /// Forgets calls whose callers have hung up, and ends those whose time is up.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        self.waiting.retain(|_, waiting| !waiting.caller.is_closed());
        let overdue = self.waiting.iter_mut().filter(|(_, waiting)| waiting.deadline <= now);
        let overdue: Vec<u64> = overdue
            .map(|(number, waiting)| {
                waiting.answers.missing.extend(waiting.open.drain(..).map(|(_, node)| node));
                *number
            })
            .collect();
        overdue.into_iter().for_each(|number| self.finish_if_complete(number));
    }

    fn finish_if_complete(&mut self, number: u64) {
        if self.waiting.get(&number).is_some_and(|waiting| waiting.open.is_empty())
            && let Some(waiting) = self.waiting.remove(&number)
        {
            // A caller that has hung up wants no answer.
            let _ = waiting.caller.send(waiting.answers);
        }
    }
}
