//! Append-only files of Redis and Valkey: commands as RESP, perhaps behind an RDB file, perhaps in several parts named by a manifest.
//!
//! [`read`] gives commands (and [`read::Groups`] transactions) with their offsets, [`write`] writes them, [`rewrite`] makes commands of an entry's parts,
//! [`manifest`] is the list of a folder's files.
//!
//! 1. Reading is strict: every length is a canonical integer, every line and word ends with CRLF. No memory is taken by a length before the bytes
//!    have come.
//! 2. What ends too early is told apart from what is wrong: only the first may be a file that was still being written.

pub mod manifest;
pub mod read;
pub mod rewrite;
pub mod write;

#[cfg(test)]
mod tests;

pub use read::{AofError, BadAof, Command, CommandReader, Groups};
