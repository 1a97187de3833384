//! The product compared with independent implementations, live: patterns with the npm module `matcher`, tokens
//! with Node's `jsonwebtoken` and PyJWT, signatures and keys with OpenSSL, compression with zlib and Node's `ws`.
//!
//! Where we differ on purpose, a table says how and why, and the test asserts exactly that difference.

#![allow(clippy::unwrap_used, reason = "the lint knows test functions only, not what they share")]

mod claims;
mod confusion;
mod deflate;
mod issued;
mod keys;
mod patterns;
mod respelled;
mod signatures;
mod support;
