//! What crosses crates: a client and a server process for tests, and what compares servers.
//!
//! Nothing but `differential::InProcess` knows the engine: any server that speaks RESP can be judged (`--server` takes its path).

pub mod corpus;
pub mod differential;
pub mod process;
pub use firn_torture::client;
pub use firn_torture::rng::{Rng, mix};
