//! Membership in a simulated cluster: one seed, virtual time, several processes under each node id, and replicas whose
//! calls to the store are interleaved one by one, fail, lose their answers, or end with their replica between any two.
//!
//! What must hold after every step: each member has its prefix, under one lease, and no prefix is left without a member;
//! an incarnation that was told its prefix takes nobody's place, and keeps that prefix; an operator's word stays with
//! its incarnation and ends with it. In the end, once nothing fails any more, each id has the one process that lives, and
//! who has left or died is out.
//!
//! `SIMULATION_SEED=n` repeats one run, `SIMULATION_RUNS=n` makes more of them.

mod store;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use realtime_proto::NodePrefix;

use super::{Candidate, Member, Membership, MembershipError, NodeState, Registration};
use crate::keys;
use store::{Random, SimulatedStore};

/// Runs by default: some seconds in a debug build.
const RUNS: u64 = 30;
const STEPS: usize = 800;
const TTL: u64 = 7000;
const IDS: [&str; 2] = ["a", "b"];
/// Registrations, reports and words under way at one time.
const CALLS: usize = 6;

/// What became of a call to membership.
enum Outcome {
    Registered(Result<Registration, MembershipError>),
    Other,
}

/// A call under way at some replica.
struct Call {
    process: usize,
    /// What the candidate says; whoever registers with a prefix has been a member.
    prefix: Option<NodePrefix>,
    /// Its process still waits for it.
    awaited: bool,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
}

/// A process under a node id.
#[derive(Debug)]
struct Process {
    id: &'static str,
    incarnation: String,
    /// As it was told.
    prefix: Option<NodePrefix>,
    registration: Option<Registration>,
    state: NodeState,
    /// It does nothing any more: dead, gone, or superseded.
    over: bool,
}

/// What a run came to; equal for equal seeds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    registered: u64,
    superseded: u64,
    replaced: u64,
    expired: u64,
    left: u64,
    failed: u64,
}

struct World {
    random: Random,
    store: Arc<SimulatedStore>,
    membership: Membership,
    processes: Vec<Process>,
    calls: Vec<Call>,
    members: BTreeMap<&'static str, Member>,
    trace: Trace,
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Arc::new(SimulatedStore::new(!seed, 12));
        Self {
            random: Random::new(seed),
            membership: Membership::new(Arc::clone(&store) as _, Duration::from_millis(TTL)),
            store,
            processes: Vec::new(),
            calls: Vec::new(),
            members: BTreeMap::new(),
            trace: Trace::default(),
        }
    }

    fn run(mut self) -> Trace {
        for _ in 0..STEPS {
            self.act();
            self.live(200);
        }
        self.store.heal();
        for _ in 0..400 {
            self.live(200);
        }
        self.check_end();
        self.trace
    }

    /// Something that comes from outside.
    fn act(&mut self) {
        let id = IDS[self.random.below(IDS.len() as u64) as usize];
        let alive: Vec<usize> =
            (0..self.processes.len()).filter(|index| !self.processes[*index].over).collect();
        let some = self.random.below(alive.len().max(1) as u64) as usize;
        let some = alive.get(some).copied().unwrap_or(usize::MAX);
        match self.random.below(60) {
            // Another process of a node: a restart, or somebody's mistake.
            0 => self.processes.push(Process {
                id,
                incarnation: format!("{id}-{}", self.processes.len()),
                prefix: None,
                registration: None,
                state: NodeState::Ready,
                over: false,
            }),
            // Death.
            1 if self.random.below(3) == 0 => self.with(some, |process| process.over = true),
            // Its stream breaks: what the replica does for it may go on.
            2..=5 => {
                self.with(some, |process| process.registration = None);
                self.calls
                    .iter_mut()
                    .filter(|call| call.process == some)
                    .for_each(|call| call.awaited = false);
            }
            6 => self.leave(some),
            7..=9 => self.report(some),
            10 => {
                let membership = self.membership.clone();
                self.call(some, None, async move {
                    // Who is no member is told so.
                    let _ = membership.want(id, NodeState::Draining).await;
                    Outcome::Other
                });
            }
            // Nobody keeps any lease alive for a while.
            11 => self.store.pass(TTL),
            // A replica dies in the middle of something.
            12..=14 if !self.calls.is_empty() => {
                let call = self.random.below(self.calls.len() as u64) as usize;
                drop(self.calls.swap_remove(call));
            }
            _ => {}
        }
    }

    fn with(&mut self, process: usize, change: impl FnOnce(&mut Process)) {
        if let Some(process) = self.processes.get_mut(process) {
            change(process);
        }
    }

    fn call(
        &mut self,
        process: usize,
        prefix: Option<NodePrefix>,
        future: impl Future<Output = Outcome> + 'static,
    ) {
        if self.calls.len() < CALLS && process < self.processes.len() {
            self.calls.push(Call { process, prefix, awaited: true, future: Box::pin(future) });
        }
    }

    fn leave(&mut self, index: usize) {
        let Some(process) = self.processes.get_mut(index).filter(|process| !process.over) else { return };
        let Some(registration) = process.registration.take() else { return };
        process.over = true;
        let membership = self.membership.clone();
        self.trace.left += 1;
        self.call(index, None, async move {
            membership.leave(registration).await;
            Outcome::Other
        });
    }

    fn report(&mut self, index: usize) {
        let Some(process) = self.processes.get_mut(index).filter(|process| !process.over) else { return };
        let Some(registration) = process.registration else { return };
        process.state = match process.state {
            NodeState::Ready => NodeState::Draining,
            NodeState::Draining => NodeState::Ready,
        };
        let (membership, candidate, state) = (self.membership.clone(), candidate(process), process.state);
        self.call(index, None, async move {
            // One that fails ends the stream, which a broken one is for.
            let _ = membership.set_state(&candidate, registration, state).await;
            Outcome::Other
        });
    }

    /// Lets everything that goes on go on for a while.
    fn live(&mut self, time: u64) {
        let until = time + self.random.below(time);
        let mut passed = 0;
        while passed < until {
            let step = 1 + self.random.below(100);
            passed += step;
            self.store.pass(step);
            self.look();
            for index in 0..self.processes.len() {
                self.keep(index);
            }
            self.poll_one();
            self.look();
        }
    }

    /// What its stream does for a process: a registration, its lease, a look at what has become of the member.
    fn keep(&mut self, index: usize) {
        let process = &self.processes[index];
        if process.over || self.random.below(4) != 0 {
            return;
        }
        let Some(registration) = process.registration else {
            let waiting = |call: &Call| call.process == index && call.awaited;
            if !self.calls.iter().any(waiting) {
                let (membership, candidate) = (self.membership.clone(), candidate(process));
                self.call(index, candidate.prefix, async move {
                    Outcome::Registered(membership.register(&candidate).await)
                });
            }
            return;
        };
        let kept = self.store.keep(registration.lease);
        // As a stream checks it.
        match self.members.get(process.id) {
            Some(member) if member.incarnation() == process.incarnation && member.is_by(registration) => {
                assert!(kept, "a member without a lease: {member:?}");
            }
            Some(member) if member.revision > registration.revision => {
                if member.incarnation() == process.incarnation {
                    self.trace.replaced += 1;
                } else {
                    self.trace.superseded += 1;
                    self.processes[index].over = true;
                }
                self.processes[index].registration = None;
            }
            Some(_) | None => {
                self.trace.expired += 1;
                self.processes[index].registration = None;
            }
        }
    }

    /// One of the calls goes on, by a step.
    fn poll_one(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let index = self.random.below(self.calls.len() as u64) as usize;
        let call = &mut self.calls[index];
        let before = self.members.clone();
        let polled = call.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let (process, prefix) = (call.process, call.prefix);
        self.look();
        let id = self.processes[process].id;
        if let (Some(before), Some(now)) = (before.get(id), self.members.get(id))
            && before.incarnation() != now.incarnation()
        {
            assert_eq!(now.incarnation(), self.processes[process].incarnation);
            assert_eq!(prefix, None, "{now:?} has come back in the place of {before:?}");
            assert_eq!(now.wanted(), None, "{now:?} has heard what was said to {before:?}");
        }
        if let Poll::Ready(outcome) = polled {
            let call = self.calls.swap_remove(index);
            if let Outcome::Registered(result) = outcome
                && call.awaited
                && !self.processes[process].over
            {
                self.registered(process, result);
            }
        }
    }

    fn registered(&mut self, index: usize, result: Result<Registration, MembershipError>) {
        let process = &mut self.processes[index];
        match result {
            Ok(registration) => {
                assert!(process.prefix.is_none_or(|prefix| prefix == registration.prefix), "{process:?}");
                process.prefix = Some(registration.prefix);
                process.registration = Some(registration);
                self.trace.registered += 1;
            }
            Err(MembershipError::Superseded) => {
                process.over = true;
                self.trace.superseded += 1;
            }
            // It comes back.
            Err(_) => self.trace.failed += 1,
        }
    }

    /// What the store says now, checked.
    fn look(&mut self) {
        let entries = self.store.entries();
        let mut members = BTreeMap::new();
        for id in IDS {
            let Some(entry) = entries.get(&keys::node(id)) else { continue };
            let member = Member::read(entry).expect("a document");
            let prefix = NodePrefix::parse(&member.document.prefix).expect("a prefix");
            let owner = &entries.get(&keys::node_prefix(prefix)).expect("the prefix of a member");
            assert_eq!(owner.value, format!("{id}/{}", member.incarnation()));
            assert_eq!(owner.lease, member.lease);
            members.insert(id, member);
        }
        assert_eq!(entries.len(), 2 * members.len(), "something is left over: {entries:?}");
        for (id, now) in &members {
            let before = self.members.get(id).filter(|before| before.incarnation() == now.incarnation());
            let number = |member: &Member| member.wanted().map_or(0, |wanted| wanted.number);
            assert!(before.is_none_or(|before| number(before) <= number(now)), "{before:?} became {now:?}");
        }
        self.members = members;
    }

    fn check_end(&self) {
        for id in IDS {
            let alive: Vec<&Process> =
                self.processes.iter().filter(|process| process.id == id && !process.over).collect();
            assert!(alive.len() <= 1, "{alive:?}");
            let member = self.members.get(id).map(Member::incarnation);
            assert_eq!(member, alive.first().map(|process| &*process.incarnation));
            if let (Some(process), Some(member)) = (alive.first(), self.members.get(id)) {
                assert!(process.registration.is_some_and(|registration| member.is_by(registration)));
            }
        }
    }
}

fn candidate(process: &Process) -> Candidate {
    Candidate {
        id: process.id.to_owned(),
        incarnation: process.incarnation.clone(),
        listen: "127.0.0.1:1".into(),
        peer: "127.0.0.1:2".into(),
        version: "1".into(),
        state: process.state,
        prefix: process.prefix,
    }
}

fn seeds() -> std::ops::Range<u64> {
    let read = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match read("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..read("SIMULATION_RUNS").unwrap_or(RUNS),
    }
}

#[test]
fn members_are_who_lives_whatever_breaks_in_between() {
    let mut sum = Trace::default();
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| World::new(seed).run());
        let Ok(trace) = outcome else { panic!("failed with SIMULATION_SEED={seed}") };
        sum.registered += trace.registered;
        sum.superseded += trace.superseded;
        sum.replaced += trace.replaced;
        sum.expired += trace.expired;
        sum.left += trace.left;
        sum.failed += trace.failed;
    }
    let Trace { registered, superseded, replaced, expired, left, failed } = sum;
    let all = [registered, superseded, replaced, expired, left, failed];
    // One run alone may be without.
    let some = all.iter().all(|happened| *happened > 0) || seeds().count() == 1;
    assert!(some, "nothing of a kind has happened: {sum:?}");
}

#[test]
fn a_run_is_repeated_by_its_seed() {
    assert_eq!(World::new(7).run(), World::new(7).run());
}
