//! The keys that encrypt secrets: one for what is written, any number for what is read.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realtime_proto::ids::hex;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a key's hash that make its id.
const ID_BYTES: usize = 8;
/// First in the list: what is written stays in the clear.
const PLAIN: &str = "plain";

/// Keys by which secrets are encrypted at rest. Cheap to clone; `Debug` shows their ids. The default has none: what is
/// written stays in the clear.
#[derive(Clone, Default)]
pub struct SecretKeys(Arc<Keys>);

#[derive(Default)]
struct Keys {
    /// Secrets are written in the clear although there are keys.
    plain: bool,
    keys: Vec<Key>,
}

/// One key.
pub(super) struct Key {
    /// Follows from the key, and does not tell it.
    pub(super) id: String,
    pub(super) cipher: RandomizedNonceKey,
}

impl SecretKeys {
    /// Reads keys, one in a line or with commas between them: 32 bytes each, in base64 or hex. The first encrypts, all
    /// decrypt. With `plain` in the place of the first, what is written stays in the clear. `#` begins a comment.
    ///
    /// # Errors
    /// What is wrong with which line; never its text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut found = Keys::default();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            for entry in line.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                found.add(entry).map_err(|why| format!("line {number}: {why}"))?;
            }
        }
        if found.keys.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        Ok(Self(Arc::new(found)))
    }

    /// Whether what is written from now on is encrypted.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.writing().is_some()
    }

    /// Whether there is a key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.keys.is_empty()
    }

    /// The id of a store as it is seen with these keys. What a receiver holds of a revision depends on what could be
    /// decrypted: with other keys the same revision may have more or less that is usable.
    pub(crate) fn view_of(&self, store_id: &str) -> String {
        let mut ids: Vec<&str> = self.0.keys.iter().map(|key| key.id.as_str()).collect();
        if ids.is_empty() {
            return store_id.to_owned();
        }
        ids.sort_unstable();
        format!("{store_id}.{}", short_hash(ids.concat().as_bytes()))
    }

    /// The key that encrypts.
    pub(super) fn writing(&self) -> Option<&Key> {
        if self.0.plain { None } else { self.0.keys.first() }
    }

    /// The key of an id.
    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.0.keys.iter().find(|key| key.id == id)
    }
}

impl Keys {
    fn add(&mut self, entry: &str) -> Result<(), String> {
        if entry == PLAIN {
            if self.plain || !self.keys.is_empty() {
                return Err(format!("{PLAIN} stands before every key, once"));
            }
            self.plain = true;
            return Ok(());
        }
        let key = Key::read(entry).ok_or("a key has 32 bytes in base64 or hex (openssl rand -base64 32)")?;
        if self.keys.iter().any(|held| held.id == key.id) {
            return Err("the key is given twice".to_owned());
        }
        self.keys.push(key);
        Ok(())
    }
}

impl Key {
    fn read(text: &str) -> Option<Self> {
        let bytes = match text.len() == 2 * KEY_BYTES {
            true => from_hex(text)?,
            false => STANDARD.decode(text).ok()?,
        };
        // Any other length is refused here.
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?;
        let id = short_hash(&[b"realtime secrets key id ", &bytes[..]].concat());
        Some(Self { id, cipher })
    }
}

fn short_hash(bytes: &[u8]) -> String {
    hex(&digest(&SHA256, bytes).as_ref()[..ID_BYTES])
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    text.as_bytes().chunks_exact(2).map(pair).collect()
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.0.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("SecretKeys").field("plain", &self.0.plain).field("ids", &ids).finish()
    }
}
