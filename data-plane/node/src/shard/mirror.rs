//! Which sessions the mesh mirrors at a peer: those of applications with inbound messaging, since their ends are to be
//! announced even if this node dies. A node without peers mirrors nothing.

use realtime_mesh::OwnSession;

use super::connection::Connection;
use super::hub::Hub;
use crate::peers::ToMesh;

impl Hub {
    /// Has an open session mirrored, or no more, as its application wants it.
    pub(super) fn mirror(&mut self, index: u32) {
        if self.shared.mesh.is_none() {
            return;
        }
        let Some(connection) = self.connections.get_mut(index).filter(|c| c.is_open()) else { return };
        let Some(app) = self.table.by_slot(connection.slot) else { return };
        if connection.mirrored == app.policy.inbound_enabled {
            return;
        }
        connection.mirrored = app.policy.inbound_enabled;
        let id = connection.id;
        let work = if connection.mirrored {
            let session = OwnSession {
                app: app.app.config.app_id.clone(),
                subject: connection.subject.clone(),
                permissions: connection.identity.permissions.clone(),
            };
            ToMesh::SessionOpened { id, session }
        } else {
            ToMesh::SessionEnded(id)
        };
        self.interest.outbox.push(work);
    }

    /// A session has ended.
    pub(super) fn end_mirror(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index).filter(|c| c.mirrored) {
            connection.mirrored = false;
            self.interest.outbox.push(ToMesh::SessionEnded(connection.id));
        }
    }

    /// Inbound messaging has been switched on or off somewhere.
    pub(super) fn mirror_anew(&mut self) {
        if self.shared.mesh.is_none() {
            return;
        }
        let differs = |connection: &Connection| {
            let app = self.table.by_slot(connection.slot);
            app.is_some_and(|app| app.policy.inbound_enabled != connection.mirrored)
        };
        let found: Vec<u32> = self.connections.iter().filter(|(_, c)| differs(c)).map(|(i, _)| i).collect();
        found.into_iter().for_each(|index| self.mirror(index));
    }
}
