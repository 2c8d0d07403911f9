//! What crosses crates: a client and a server process for tests, and the drivers that crash a real server.
//!
//! Nothing but `differential::InProcess` knows the engine: any server that speaks RESP can be judged (`--server` takes its path).

pub mod client;
pub mod corpus;
pub mod differential;
pub mod process;
pub mod torture;
