//! Applications' secrets at rest: HS* keys and AWS secrets are encrypted in the stored documents, everything else
//! stays readable JSON. Nodes and gateways get documents with their secrets in the clear, over the cluster's links.
//!
//! In the place of a secret's text stands `{"encrypted": "v1:KEYID:BASE64"}`: AES-256-GCM, the nonce before the
//! ciphertext. The associated data names the application and the attribute, so that nobody who may write to the store
//! can move a secret to where it is sent to somebody else, or read by another application's owner. `KEYID` follows
//! from the key, which tells a missing key from a damaged document.
//!
//! Rejected: encrypting whole documents, which operators could no longer read in the store, and which would have to be
//! decrypted to find the smallest thing in them.
//!
//! Never here: files, flags, and what to do where a secret cannot be decrypted.

mod document;
mod envelope;
mod keys;
mod rewrite;
#[cfg(test)]
mod tests;

pub(crate) use document::{Lost, Opened, stored};
pub use keys::SecretKeys;
pub use rewrite::encrypted_app;
pub(crate) use rewrite::run as rewrite;
