//! What a fuzzer calls with any bytes. Each function checks properties that hold for every input and panics
//! where one does not; the binaries in `fuzz_targets/` hand libFuzzer's inputs to them, and the tests here run
//! them on seeds and on a bounded number of changed seeds with a stable toolchain.

mod access;
mod key_set;
mod proxy_header;
mod session;

pub use access::{application, patterns, token};
pub use key_set::key_set;
pub use proxy_header::proxy_header;
pub use session::{client_message, deflate_offer, frames};

#[cfg(test)]
mod bounded;
