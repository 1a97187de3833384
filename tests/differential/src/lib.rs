//! What the differential tests need besides the crates that they compare: the oracles, which are long-lived
//! Node and Python processes with the libraries that clients and token issuers use, and seeded randomness.
//!
//! Never here: code of the server, or an opinion on who is right. That is in the tests' tables.

pub mod oracle;
pub mod random;

pub use oracle::{Oracle, node, python};
pub use random::{Random, seeds};
