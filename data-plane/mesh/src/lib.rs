//! The core of the peer mesh, without I/O: which topics the nodes of a cluster want, to which of them a publish
//! goes, whose sessions are mirrored where, and what each link between two nodes sends next.
//!
//! Inputs are calls (a shard's first subscriber of a topic, a link that came up, an item that arrived, a publish);
//! outputs are asked for ([`Mesh::transmit`], [`Mesh::confirmations`]). The same code runs between sockets and in the
//! simulation of `tests/`, which breaks links and restarts nodes between any two steps.
//!
//! Invariants:
//! - A link sends its publishes in the order of [`Mesh::publish`], each once.
//! - A peer is sent every publish until its whole interest is known, and those it wants from then on.
//! - A ticket is confirmed only when every linked peer has confirmed an interest that holds the ticket's topic.
//! - A node's sessions are announced as ended by one peer, the one whose mirror has the greatest epoch, once discovery
//!   has dropped the node and no link of that peer leads to it.
//! - What is not sent is counted by reason, never silently dropped.
//!
//! Never here: sockets, clocks, tasks, tokens; delivery to subscribers.

mod guard;
mod hash;
mod limits;
mod link;
mod local;
mod loss;
mod mesh;
mod presence;
mod remote;
mod session;
mod ward;

pub use hash::{InterestKey, TopicHash};
pub use limits::MeshLimits;
pub use link::Violation;
pub use local::Origin;
pub use loss::Losses;
pub use mesh::{Confirmation, Inbound, LinkId, Member, Mesh, PeerStatus};
pub use presence::MirrorFigures;
pub use session::{Departed, MirroredSession, OwnSession};
