//! Sessions as nodes mirror them: what a `disconnected` event needs.

use std::sync::Arc;

use realtime_proto::generated::peer as wire;
use realtime_proto::{AppId, ConnectionId, Permissions, Texts};

/// A mirrored session's cost besides its texts, about: its place in the map, its handles, the allocator's share.
const SESSION_BYTES: usize = 128;
/// A text's cost in a list, about.
const TEXT_BYTES: usize = 4;

/// A session of this node; it shares its texts with its connection.
#[derive(Debug, Clone)]
pub struct OwnSession {
    /// Its application.
    pub app: AppId,
    /// The token's subject, or the connection's id for a token without.
    pub subject: Arc<str>,
    /// The token's.
    pub permissions: Arc<Permissions>,
}

impl OwnSession {
    /// What the session costs its guardian.
    pub(crate) fn bytes(&self) -> usize {
        bytes(&self.app, &self.subject, self.permissions.list())
    }

    pub(crate) fn to_wire(&self, id: ConnectionId) -> wire::Session {
        wire::Session {
            connection_id: id.0.to_vec().into(),
            app_id: self.app.to_string(),
            subject: self.subject.to_string(),
            permissions: self.permissions.list().iter().map(str::to_owned).collect(),
        }
    }
}

/// A session of a node that has died with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// Of its connection.
    pub id: ConnectionId,
    /// What there is to say of it.
    pub session: MirroredSession,
}

/// A session of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredSession {
    /// Its application.
    pub app: AppId,
    /// As the events name it.
    pub subject: Box<str>,
    /// In the token's order.
    pub permissions: Texts,
}

impl MirroredSession {
    pub(crate) fn bytes(&self) -> usize {
        bytes(&self.app, &self.subject, &self.permissions)
    }

    /// `None`: it does not read. `like` is a session that may be of the same application: they share its name then.
    pub(crate) fn parse(session: wire::Session, like: Option<&AppId>) -> Option<(ConnectionId, Self)> {
        let id = id(&session.connection_id)?;
        let app = match like.filter(|like| like.as_str() == session.app_id) {
            Some(like) => like.clone(),
            None => AppId::parse(&session.app_id).ok()?,
        };
        let subject = session.subject.into_boxed_str();
        Some((id, Self { app, subject, permissions: session.permissions.into() }))
    }
}

/// A connection id on the wire.
pub(crate) fn id(bytes: &[u8]) -> Option<ConnectionId> {
    bytes.try_into().ok().map(ConnectionId)
}

fn bytes(app: &AppId, subject: &str, permissions: &Texts) -> usize {
    let texts = app.as_str().len() + subject.len() + permissions.joined_len();
    SESSION_BYTES + texts + TEXT_BYTES * permissions.iter().count()
}
