//! Who calls, and what they may do: keys, tokens, operator tokens, `authorize`.
//! Used by data-plane nodes, gateways and the control plane alike, so that each check exists once.
//!
//! Never here: sockets, HTTP, gRPC transport. Time is an argument (Unix seconds).

pub mod app;
pub mod authorize;
pub mod gate;
pub mod identity;
pub mod operators;

pub use app::App;
pub use authorize::{Action, Decision, authorize};
pub use gate::{Gate, GateConfig};
pub use identity::{Caller, Identity};
pub use operators::OperatorTokens;
