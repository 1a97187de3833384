//! The cluster, its time, and what happens to it.

mod traffic;

use std::collections::BTreeMap;

use realtime_mesh::{Inbound, LinkId, Member};
use realtime_proto::generated::peer::LinkMessage;

use crate::ledger::Ledger;
use crate::network::Stream;
use crate::node::{Node, PublishId};
use crate::plan::{Plan, Trace};
use crate::presence::Presence;
use crate::random::Random;

/// Milliseconds.
const LATENCY: u64 = 5;
const JITTER: u64 = 60;
/// A silent peer is noticed within this (protocol: 5 s).
const KEEP_ALIVE: u64 = 5000;
/// A dead node's lease runs out within this.
const LEASE: u64 = 10_000;
const TOPICS: u64 = 30;
/// A link that was cut is noticed and up again, and its peer has had its say, within this.
const RELINK: u64 = KEEP_ALIVE + 2000;

/// A publish that must arrive, or see its link break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    publish: PublishId,
    /// Place of the receiving node.
    to: usize,
}

pub(crate) struct World {
    plan: Plan,
    random: Random,
    now: u64,
    lives: u64,
    /// `None`: down, until the time.
    nodes: Vec<Result<Node, u64>>,
    streams: Vec<Stream>,
    /// What the control plane holds, by place.
    leases: BTreeMap<usize, (Member, u64)>,
    /// The control plane is away until then.
    away_until: u64,
    /// Pairs that cannot reach each other, until then.
    partitions: BTreeMap<(usize, usize), u64>,
    /// With the stream that carries it.
    expected: BTreeMap<Expected, (String, [(usize, u64); 2])>,
    ledger: Ledger,
    presence: Presence,
    /// Until when a life may be without a link to a peer that lives.
    cut_off: BTreeMap<u64, u64>,
    trace: Trace,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = Self {
            random: Random::new(plan.seed),
            now: 0,
            lives: 0,
            nodes: Vec::new(),
            streams: Vec::new(),
            leases: BTreeMap::new(),
            away_until: 0,
            partitions: BTreeMap::new(),
            expected: BTreeMap::new(),
            ledger: Ledger::default(),
            presence: Presence::default(),
            cut_off: BTreeMap::new(),
            trace: Trace::default(),
            plan,
        };
        for place in 0..world.plan.nodes {
            world.nodes.push(Err(0));
            world.start(place);
        }
        world
    }

    pub(crate) fn run(mut self) -> Trace {
        // Nodes find each other first, as a node does before it is ready.
        self.pass(2000);
        for _ in 0..self.plan.steps {
            self.act();
            let time = self.random.below(40);
            self.pass(time);
        }
        self.heal();
        self.pass(3 * LEASE);
        self.check_end();
        self.publish_everything();
        self.trace.announced = self.presence.announcements();
        self.trace
    }

    fn start(&mut self, place: usize) {
        self.lives += 1;
        let node = Node::new(place, self.lives, self.plan.queue_bytes);
        self.leases.insert(place, (node.member.clone(), u64::MAX));
        self.nodes[place] = Ok(node);
    }

    fn act(&mut self) {
        let place = self.random.below(self.plan.nodes as u64) as usize;
        let other = self.random.below(self.plan.nodes as u64) as usize;
        let topic = format!("topic-{}", self.random.below(TOPICS));
        let happens = |random: &mut Random, rate: u64| rate != 0 && random.once_in(rate);
        if happens(&mut self.random, self.plan.crash) {
            self.crash(place);
        } else if happens(&mut self.random, self.plan.cut) {
            self.cut(place, other);
        } else if happens(&mut self.random, self.plan.partition) && place != other {
            let until = self.now + 1000 + self.random.below(15_000);
            self.partitions.insert((place.min(other), place.max(other)), until);
            self.cut_off([place, other], until + RELINK);
        } else if happens(&mut self.random, self.plan.outage) {
            self.away_until = self.now + self.random.below(20_000);
        } else {
            match self.random.below(7) {
                4 | 5 => {
                    let Ok(node) = &mut self.nodes[place] else { return };
                    self.presence.opened(node.open(), node.life);
                }
                6 => {
                    let Ok(node) = &mut self.nodes[place] else { return };
                    let ended = self.presence.end_one(node.life);
                    ended.into_iter().for_each(|id| node.mesh.session_ended(id));
                }
                0 => self.with(place, |node| node.subscribe(&topic)),
                1 => {
                    self.with(place, |node| node.unsubscribe(&topic));
                    self.expected.retain(|expected, (of, _)| expected.to != place || *of != topic);
                }
                _ => self.publish(place, &topic),
            }
        }
    }

    fn with(&mut self, place: usize, act: impl FnOnce(&mut Node)) {
        if let Ok(node) = &mut self.nodes[place] {
            act(node);
        }
    }

    fn crash(&mut self, place: usize) {
        if self.nodes[place].is_err() {
            return;
        }
        self.trace.crashes += 1;
        let guardian = self.guardian_of(place);
        if let Ok(node) = &self.nodes[place] {
            // One that discovery has never told of the node announces nothing.
            let knows = |other: &&Node| other.members.contains(&node.member);
            let knowing = self.nodes.iter().flatten().filter(knows).find(|n| Some(n.life) == guardian);
            self.presence.died(node.life, knowing.map(|guardian| guardian.life));
        }
        let down_for = self.random.below(15_000);
        if let Ok(node) = std::mem::replace(&mut self.nodes[place], Err(self.now + down_for)) {
            self.trace.counted_lost += node.mesh.losses().total();
        }
        if let Some((_, expires)) = self.leases.get_mut(&place) {
            *expires = self.now + LEASE;
        }
        for index in 0..self.streams.len() {
            if self.streams[index].ends.iter().any(|(node, _)| *node == place) {
                self.cut_stream(index);
            }
        }
        self.expected.retain(|expected, _| expected.to != place);
    }

    /// The life that has a node's whole mirror.
    fn guardian_of(&self, place: usize) -> Option<u64> {
        let mesh = &self.nodes[place].as_ref().ok()?.mesh;
        let guardian = mesh.guardian()?;
        let (_, member) = mesh.links().find(|(link, _)| *link == guardian)?;
        let is_it = |node: &&Node| node.member.incarnation == member.incarnation;
        self.nodes.iter().flatten().find(is_it).map(|node| node.life)
    }

    /// Notes which sessions are confirmed, and whose ends are announced.
    fn watch_presence(&mut self) {
        for place in 0..self.nodes.len() {
            let guardian = self.guardian_of(place);
            let now = self.now;
            let Ok(node) = &mut self.nodes[place] else { continue };
            match guardian {
                Some(_) if node.mesh.presence_pending() == 0 => self.presence.confirmed(node.life),
                Some(_) => {}
                None => self.presence.unconfirmed(node.life),
            }
            node.mesh.settle_departures(now);
            let cut_off = self.cut_off.get(&node.life).is_some_and(|until| now < *until);
            while let Some(departed) = node.mesh.next_departed() {
                self.presence.announced(&departed, node.life, cut_off);
            }
        }
    }

    /// The nodes may miss what their peers say until then.
    fn cut_off(&mut self, places: [usize; 2], until: u64) {
        for place in places {
            let Ok(node) = &self.nodes[place] else { continue };
            let before = self.cut_off.entry(node.life).or_default();
            *before = (*before).max(until);
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.cut_off([a, b], self.now + RELINK);
        for index in 0..self.streams.len() {
            if self.streams[index].joins(a, b) {
                self.cut_stream(index);
            }
        }
    }

    /// What is under way is lost; the ends notice at different times.
    fn cut_stream(&mut self, index: usize) {
        self.trace.cuts += u64::from(!self.streams[index].cut);
        let mut notice = || self.now + self.random.below(KEEP_ALIVE);
        let notices = [notice(), notice()];
        self.streams[index].cut(notices);
        let ends = self.streams[index].ends;
        self.expected.retain(|_, (_, over)| !same_pair(*over, ends));
    }

    fn is_partitioned(&self, a: usize, b: usize) -> bool {
        self.partitions.get(&(a.min(b), a.max(b))).is_some_and(|until| self.now < *until)
    }

    /// Lets time pass, in small steps.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        while self.now < until {
            self.now += 1 + self.random.below(4);
            self.step();
        }
    }

    fn step(&mut self) {
        for place in 0..self.nodes.len() {
            if matches!(self.nodes[place], Err(until) if until <= self.now) {
                self.start(place);
            }
        }
        self.discover();
        self.break_partitioned();
        for index in 0..self.streams.len() {
            self.advance(index);
        }
        self.streams.retain(|stream| !(stream.closed[0] && stream.closed[1]));
        self.dial();
        if self.now % 100 < 4 {
            self.watch_presence();
            self.nodes.iter_mut().flatten().for_each(|node| node.mesh.report_received());
        }
    }

    /// The control plane's members reach the nodes one by one, while it is there.
    fn discover(&mut self) {
        let now = self.now;
        self.leases.retain(|_, (_, expires)| now < *expires);
        if now < self.away_until {
            return;
        }
        let all: Vec<Member> = self.leases.values().map(|(member, _)| member.clone()).collect();
        for node in self.nodes.iter_mut().flatten() {
            let others: Vec<Member> = all.iter().filter(|m| m.id != node.member.id).cloned().collect();
            if node.members != others && self.random.once_in(10) {
                node.members.clone_from(&others);
                node.mesh.set_members(others);
            }
        }
    }

    fn break_partitioned(&mut self) {
        for index in 0..self.streams.len() {
            let [(a, _), (b, _)] = self.streams[index].ends;
            if !self.streams[index].cut && self.is_partitioned(a, b) {
                self.cut_stream(index);
            }
        }
    }

    /// The node with the smaller id calls every member that it has no stream to.
    fn dial(&mut self) {
        for a in 0..self.nodes.len() {
            let Ok(caller) = &self.nodes[a] else { continue };
            let life = caller.life;
            let wanted: Vec<Member> =
                caller.members.iter().filter(|m| m.id > caller.member.id).cloned().collect();
            for member in wanted {
                let Some(b) = self.place_of(&member) else { continue };
                let Ok(called) = &self.nodes[b] else { continue };
                let ends = [(a, life), (b, called.life)];
                let mine =
                    |stream: &Stream| stream.ends[0] == ends[0] && stream.joins(a, b) && !stream.closed[0];
                if self.is_partitioned(a, b) || self.streams.iter().any(mine) || !self.random.once_in(20) {
                    continue;
                }
                let delay = |random: &mut Random| LATENCY + random.below(JITTER);
                let first = self.now + delay(&mut self.random);
                let hello_at = [first + delay(&mut self.random), first];
                self.streams.push(Stream::new(ends, hello_at));
            }
        }
    }

    fn place_of(&self, member: &Member) -> Option<usize> {
        let alive = |node: &Result<Node, u64>| node.as_ref().is_ok_and(|node| node.member.id == member.id);
        self.nodes.iter().position(alive)
    }

    fn alive(&self, (place, life): (usize, u64)) -> bool {
        self.nodes[place].as_ref().is_ok_and(|node| node.life == life)
    }

    fn advance(&mut self, index: usize) {
        for side in [0, 1] {
            if !self.alive(self.streams[index].ends[side]) {
                self.streams[index].closed[side] = true;
            }
            if self.streams[index].closed[side] {
                continue;
            }
            self.greet(index, side);
            self.receive(index, side);
            self.send(index, side);
            let stream = &self.streams[index];
            if stream.cut && stream.notices_at[side] <= self.now {
                self.close(index, side);
            }
        }
    }

    /// Both hellos are there: the link is up at this end, and an older one between the two is closed first.
    fn greet(&mut self, index: usize, side: usize) {
        let stream = &self.streams[index];
        if stream.up[side].is_some() || stream.cut || self.now < stream.hello_at[side] {
            return;
        }
        let ((place, _), (peer, peer_life)) = (stream.ends[side], stream.ends[1 - side]);
        let Ok(member) = self.nodes[peer].as_ref().map(|node| node.member.clone()) else { return };
        if !self.alive((peer, peer_life)) {
            return;
        }
        for older in 0..self.streams.len() {
            if older != index && self.streams[older].joins(place, peer) {
                let end = usize::from(self.streams[older].ends[1].0 == place);
                self.cut_stream(older);
                self.streams[older].closed[end] = true;
            }
        }
        if let Ok(node) = &mut self.nodes[place] {
            self.streams[index].up[side] = Some(node.mesh.connected(member));
        }
    }

    fn receive(&mut self, index: usize, side: usize) {
        let now = self.now;
        while let Some(link) = self.streams[index].up[side]
            && !self.streams[index].cut
            && let Some(message) = self.streams[index].pipes[1 - side].pop(now)
        {
            self.process(index, side, link, message);
        }
    }

    fn process(&mut self, index: usize, side: usize, link: LinkId, message: LinkMessage) {
        let place = self.streams[index].ends[side].0;
        let Ok(node) = &mut self.nodes[place] else { return };
        for item in message.items {
            let inbound = node.mesh.receive(link, item).expect("the protocol is kept");
            let Some(Inbound::Publish(publish)) = inbound else { continue };
            let id = node.take(&publish);
            self.ledger.arrived(id.life);
            self.trace.arrived += 1;
            self.expected.remove(&Expected { publish: id, to: place });
        }
        node.welcome();
        self.trace.welcomed += node.subscribers.values().filter(|s| s.welcomed).count() as u64;
    }

    fn send(&mut self, index: usize, side: usize) {
        let Some(link) = self.streams[index].up[side] else { return };
        let place = self.streams[index].ends[side].0;
        while self.streams[index].pipes[side].has_room() {
            let Ok(node) = &mut self.nodes[place] else { return };
            let Some(message) = node.mesh.transmit(link) else { return };
            let at = self.now + LATENCY + self.random.below(JITTER);
            self.streams[index].pipes[side].push(at, message);
        }
    }

    fn close(&mut self, index: usize, side: usize) {
        self.streams[index].closed[side] = true;
        let place = self.streams[index].ends[side].0;
        if let (Some(link), Ok(node)) = (self.streams[index].up[side], &mut self.nodes[place]) {
            node.mesh.disconnected(link);
            node.welcome();
        }
    }

    fn heal(&mut self) {
        (self.plan.crash, self.plan.cut, self.plan.partition, self.plan.outage) = (0, 0, 0, 0);
        self.partitions.clear();
        self.away_until = 0;
    }

    fn check_end(&self) {
        self.presence.check_end();
        assert!(self.expected.is_empty(), "never arrived: {:?}", self.expected);
        let up: Vec<&Stream> = self.streams.iter().filter(|stream| !stream.cut).collect();
        assert_eq!(up.len(), self.plan.nodes * (self.plan.nodes - 1) / 2, "a link for each pair");
        for stream in up {
            assert!(stream.pipes.iter().all(|pipe| pipe.is_empty()), "messages without end");
            for side in [0, 1] {
                let (Ok(near), Ok(far)) =
                    (&self.nodes[stream.ends[side].0], &self.nodes[stream.ends[1 - side].0])
                else {
                    panic!("a node is down");
                };
                let link = stream.up[side].expect("a link");
                assert_eq!(near.mesh.topics_of(link), Some(far.subscribers.len()), "interest has converged");
                assert_eq!(far.mesh.local_topics(), far.subscribers.len());
            }
        }
        for node in self.nodes.iter().flatten() {
            assert!(node.subscribers.values().all(|subscriber| subscriber.welcomed), "everyone is welcomed");
            assert_eq!(node.mesh.unreachable().count(), 0);
        }
        if self.trace.cuts == 0 && self.plan.queue_bytes > 1000 {
            let lost: u64 = self.nodes.iter().flatten().map(|node| node.mesh.losses().total()).sum();
            assert_eq!(lost, 0, "nothing is lost while nothing breaks");
        }
    }
}

fn same_pair(a: [(usize, u64); 2], b: [(usize, u64); 2]) -> bool {
    a == b || a == [b[1], b[0]]
}
