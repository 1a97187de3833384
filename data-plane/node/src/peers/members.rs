//! Who the peers are: what discovery says of them, whom this node calls, and which processes others have replaced.

use std::sync::Arc;

use hashbrown::HashMap;
use realtime_mesh::Member;
use realtime_proto::NodePrefix;
use realtime_proto::generated::discovery;
use tokio_util::sync::DropGuard;

use super::dial;
use super::driver::Driver;

/// Incarnations remembered that another has replaced: they get no link any more. A few restarts' worth.
const RETIRED: usize = 1024;

/// A peer that this node calls.
#[derive(Debug)]
pub(super) struct Dialed {
    address: String,
    incarnation: Arc<str>,
    /// Ends when dropped.
    _stop: DropGuard,
}

impl Driver {
    /// Takes over what discovery says: who is a member, whom to call, who has been replaced.
    pub(super) fn take_members(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        let Some(snapshot) = snapshot else { return };
        let own = &self.identity.id;
        let others: Vec<(Member, &discovery::Member)> = snapshot
            .members
            .values()
            .filter(|member| *member.node_id != **own && !member.peer.is_empty())
            .filter_map(|member| Some((known(member)?, member)))
            .collect();
        for (member, _) in &others {
            self.retire_before(member);
        }
        // Of processes that discovery has dropped as many are remembered as of replaced ones.
        let incarnations = &mut self.state.incarnations;
        if incarnations.len() > others.len() + RETIRED {
            incarnations.retain(|id, _| others.iter().any(|(member, _)| member.id == *id));
        }
        self.dial(&others);
        self.mesh.set_members(others.into_iter().map(|(member, _)| member));
        self.inbox.set_has_peers(self.mesh.status().next().is_some());
    }

    /// Remembers the process that the member has replaced.
    fn retire_before(&mut self, member: &Member) {
        // Replicas of the control plane may go back to an older state for a while.
        self.state.retired.retain(|retired| *retired != member.incarnation);
        let known = self.state.incarnations.insert(Arc::clone(&member.id), Arc::clone(&member.incarnation));
        if let Some(before) = known.filter(|before| *before != member.incarnation) {
            if self.state.retired.len() == RETIRED {
                self.state.retired.pop_front();
            }
            self.state.retired.push_back(before);
        }
    }

    /// The node with the smaller id calls.
    fn dial(&mut self, others: &[(Member, &discovery::Member)]) {
        let linked: HashMap<Arc<str>, Arc<str>> = self
            .mesh
            .links()
            .map(|(_, node)| (Arc::clone(&node.id), Arc::clone(&node.incarnation)))
            .collect();
        // A peer that discovery has dropped is called no more; a link to it lives as long as it does.
        self.state
            .dialed
            .retain(|id, _| linked.contains_key(id) || others.iter().any(|(member, _)| member.id == *id));
        for (member, found) in others.iter().filter(|(member, _)| member.id > self.identity.id) {
            // A restarted peer may have a link before discovery tells of it.
            let current = linked.get(&member.id) == Some(&member.incarnation);
            if let Some(dialed) = self.state.dialed.get_mut(&member.id)
                && dialed.address == found.peer
                && (current || dialed.incarnation == member.incarnation)
            {
                dialed.incarnation = Arc::clone(&member.incarnation);
                continue;
            }
            let stop = self.stop.child_token();
            let task = dial::keep(
                found.peer.clone(),
                Arc::clone(&member.id),
                Arc::clone(&self.identity),
                Arc::clone(&self.connect),
                self.events_in.clone(),
                stop.clone(),
            );
            self.tasks.spawn(task);
            let dialed = Dialed {
                address: found.peer.clone(),
                incarnation: Arc::clone(&member.incarnation),
                _stop: stop.drop_guard(),
            };
            self.state.dialed.insert(Arc::clone(&member.id), dialed);
        }
    }
}

/// The member as the mesh names it; one without a prefix has not registered.
fn known(member: &discovery::Member) -> Option<Member> {
    let prefix = NodePrefix::parse(&member.connection_id_prefix)?;
    Some(Member {
        id: member.node_id.as_str().into(),
        incarnation: member.incarnation.as_str().into(),
        prefix,
    })
}
