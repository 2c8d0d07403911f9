//! Firn's storage engine: a durable, in-memory key-value store behind an append-only log and snapshots.
//!
//! Data flows one way: [`command`] -> [`keyspace`] -> [`log`] and [`snapshot`] -> [`disk`]. [`engine::Engine`] is a plain
//! single-writer object: no threads, no clock, no locks. [`store::Store`] is the thin shell with those around it.
//! The crate knows nothing of sockets, tokio or RESP bytes.

pub mod aof;
pub mod command;
pub mod debug;
pub mod disk;
pub mod engine;
pub mod eviction;
pub mod format;
pub mod glob;
pub mod hll;
pub mod import;
pub mod key;
pub mod keyspace;
pub mod limits;
pub mod log;
pub mod notices;
pub mod number;
pub mod planted;
pub mod prefixes;
pub mod rdb;
pub mod recovery;
pub mod snapshot;
pub mod store;
pub mod value;
pub mod waiting;
pub mod watching;
pub mod words;
