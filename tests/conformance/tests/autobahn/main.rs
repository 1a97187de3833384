//! WebSocket protocol cases after the list of the Autobahn|Testsuite 25.10, each under its number there.
//!
//! The suite speaks to an echo server. Here a message that it wants echoed is a `publish` on `main` whose payload must
//! come back byte for byte, to the sender and to an observer; and a frame that must fail the connection gives the close
//! code of docs/contract.md 2.3, with nothing relayed after it. A binary message is a publish with `compress:
//! true`, which comes back as a binary frame. Lengths are those of the whole frame, in both directions where the case is about
//! framing.
//!
//! What differs, and why:
//! - 1.1.1, 1.2.1, 6.1.1, 6.1.2: a message of no bytes is whole and valid, but no JSON object: 1008, not 1002. The
//!   server never sends one; the nearest is a publish of the empty text, which must come back.
//! - 1.2, 9.2, 9.4, 9.6, 9.8: bytes that are not UTF-8 are no JSON; binary messages hold text. That arbitrary bytes in
//!   a binary frame are 1008 stands in `contract/malformed.rs`.
//! - 6.5 to 6.23: each sequence stands once alone, and once as a payload. Alone, what is valid UTF-8 gives 1008 in place
//!   of the echo. A control character has to be escaped in a payload.
//! - 6.4: the waits between the parts are pings where frames may come between, so that no time has to pass; where none
//!   may (6.4.3, 6.4.4), a second run completes the same first part to a valid message.
//! - 9.1.4 to 9.1.6, 9.2.4 to 9.2.6 (4, 8 and 16 MiB): over the ceiling of `maxMessageBytes`, 1 MiB: 1009.
//! - 9.3.1 to 9.3.8, 9.4.1 to 9.4.8: 1 MiB in place of 4 MiB in fragments, for the same reason; 9.3.9 and 9.4.9, one
//!   fragment of 4 MiB: 1009.
//! - 12 and 13: as many of the 1,000 messages as make 128 KiB, at least two: no context is kept from one to the next.
//!   The data are generated here, of the same kinds; a picture's and a PDF's bytes are characters of a text.
//! - 13.3 to 13.6: offers with `server_max_window_bits` are declined, which the suite counts as unimplemented; the
//!   messages pass uncompressed.
//!
//! No equivalent: nothing of the list that the suite runs. It has defined, but does not run, 9.9.1 (a message without
//! end); the limits of section 9 cover it. Sections 0, 7.2, 7.4 to 7.12 but 7.5, 7.7 and 7.9, 8 and 11 are empty.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bench;
mod closing;
mod compression;
mod fragmentation;
mod framing;
mod limits;
mod opcodes;
mod pings;
mod reserved_bits;
mod utf8;
