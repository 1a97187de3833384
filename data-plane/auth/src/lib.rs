//! Who calls, and what they may do: keys, tokens, operator tokens, `authorize`.
//! Used by data-plane nodes, gateways and the control plane alike, so that each check exists once.
//!
//! Never here: HTTP servers, gRPC transport, sockets but for the fetching of key sets (`jwks`). Time is an argument
//! (Unix seconds), but for the schedule of those fetches.

mod algorithm;
mod cache;
mod claims;
mod fair_queue;
mod permission_sets;
mod pool;
mod token;
mod verifier;

pub mod app;
pub mod authorize;
pub mod gate;
pub mod identity;
pub mod issue;
pub mod jwks;
pub mod keys;
pub mod operators;
pub mod refusal;

pub use app::App;
pub use authorize::{Action, Decision, Reason, authorize};
pub use gate::{Gate, GateConfig, GateStats};
pub use identity::{Behalf, Caller, ClientAddress, Identity, ProvisionalConnection, Standing, bearer};
pub use jwks::{JwksCache, JwksStats};
pub use keys::{Keys, KeysError, VerifyingKey};
pub use operators::OperatorTokens;
pub use refusal::Refusal;
pub use token::MAX_TOKEN_BYTES;
