//! The crate through its public interface: keys, tokens, the gate and the permission rules.

#![allow(clippy::unwrap_used, reason = "the lint knows test functions only, not what they share")]

mod arbitrary;
mod authorization;
mod claims;
mod gate;
mod golden;
mod jwks;
mod keys;
mod signatures;
mod support;
