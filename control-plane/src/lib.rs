//! The control plane: what is configured, who is a member, and telling everybody.

pub mod store;
