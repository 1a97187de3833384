//! The forwarders against a real HTTP endpoint of SNS and SQS, sound and with faults on the way.

#![allow(clippy::unwrap_used, reason = "what fails a helper fails its test")]

mod delivery;
mod faults;
mod support;
