//! A cluster of real processes in bad days: each kind of process killed under load, nodes replaced and drained, broken
//! configurations and lost keys in the store.

mod configuration;
mod frozen;
mod kills;
mod membership;
mod rolling;
mod secrets;
