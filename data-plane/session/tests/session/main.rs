//! The session through its public interface: bytes of a client in, events out.

mod framing;
mod properties;
mod refusals;
mod requests;
mod support;
