//! Publishes: who must get them, who must not.

use std::collections::BTreeSet;
use std::sync::Arc;

use realtime_mesh::LinkId;

use super::{Expected, TOPICS, World};
use crate::network::Stream;
use crate::node::Node;

impl World {
    pub(super) fn publish(&mut self, place: usize, topic: &str) {
        let Ok(node) = &mut self.nodes[place] else { return };
        let (id, publish) = node.next_publish(topic);
        self.trace.published += 1;
        let full = node.mesh.losses().queue_full;
        let mut queued = BTreeSet::new();
        node.mesh.publish(&publish, |link| {
            assert!(queued.insert(format!("{link:?}")), "{id:?} was queued twice for one link");
        });
        self.ledger.queued(id.life, queued.len());
        let mut full = node.mesh.losses().queue_full - full;
        let links: Vec<(LinkId, String)> =
            node.mesh.links().map(|(link, member)| (link, member.incarnation.to_string())).collect();
        let from = (place, node.life);
        for (to, receiver) in self.nodes.iter().enumerate().filter(|(to, _)| *to != place) {
            let Ok(receiver) = receiver else { continue };
            let Some((link, _)) = links.iter().find(|(_, life)| **life == *receiver.member.incarnation)
            else {
                continue;
            };
            let sound = |s: &Stream| !s.cut && s.up.contains(&Some(*link)) && s.joins(place, to);
            if !receiver.is_welcomed(topic) || !self.streams.iter().any(sound) {
                continue;
            }
            // Welcomed and linked: the promise. Without room in the queue it is counted instead.
            if queued.contains(&format!("{link:?}")) {
                let ends = [from, (to, receiver.life)];
                self.expected.insert(Expected { publish: id, to }, (topic.to_owned(), ends));
            } else {
                assert_ne!(full, 0, "{id:?} on {topic} was kept from node {to}");
                full -= 1;
            }
        }
    }

    /// Once more on every topic from everywhere, now that all is quiet: it goes to who has a subscriber, and to nobody
    /// else.
    pub(super) fn publish_everything(&mut self) {
        let topics = (0..TOPICS).map(|number| format!("topic-{number}"));
        let mut due = Vec::new();
        for (place, topic) in (0..self.plan.nodes).flat_map(|place| topics.clone().map(move |t| (place, t))) {
            let has_it = |node: &Result<Node, u64>| node.as_ref().is_ok_and(|n| n.is_welcomed(&topic));
            let wanted: BTreeSet<Arc<str>> =
                self.others(place).filter(|to| has_it(to)).filter_map(id_of).collect();
            let Ok(node) = &mut self.nodes[place] else { panic!("a node is down") };
            let (id, publish) = node.next_publish(&topic);
            let (mut queued, full) = (Vec::new(), node.mesh.losses().queue_full);
            node.mesh.publish(&publish, |link| queued.push(link));
            self.ledger.queued(id.life, queued.len());
            if node.mesh.losses().queue_full > full {
                continue;
            }
            let names = node.mesh.links().filter(|(link, _)| queued.contains(link));
            let names: BTreeSet<Arc<str>> = names.map(|(_, member)| Arc::clone(&member.id)).collect();
            assert_eq!(names, wanted, "on {topic} from node {place}");
            due.push((place, id, wanted));
        }
        self.pass(10_000);
        for (place, id, wanted) in due {
            let came = self.others(place).filter(|to| to.as_ref().is_ok_and(|node| node.has(id)));
            assert_eq!(came.filter_map(id_of).collect::<BTreeSet<_>>(), wanted, "{id:?}");
        }
        for node in self.nodes.iter().flatten() {
            self.ledger.check(node.life, node.mesh.losses());
        }
    }

    fn others(&self, place: usize) -> impl Iterator<Item = &Result<Node, u64>> {
        self.nodes.iter().enumerate().filter(move |(to, _)| *to != place).map(|(_, node)| node)
    }
}

fn id_of(node: &Result<Node, u64>) -> Option<Arc<str>> {
    node.as_ref().ok().map(|node| Arc::clone(&node.member.id))
}
