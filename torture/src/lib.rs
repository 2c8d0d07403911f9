//! Crash-recovery testing of any server that speaks RESP, as a black box: `firn torture`.
//!
//! 1. Every key belongs to one client, which knows the exact state after each of its own commands ([`model`]). What a
//!    restart shows must be the state after some prefix of them: nothing lost in the middle, nothing out of order,
//!    no half of a command, a transaction or a script, nothing invented, nothing back that was deleted or has expired.
//! 2. How short the prefix may be is the contract of the policy and the fault ([`judge::Contract`]).
//! 3. All prefixes together must be one moment of history: a command that was sent after another client had its
//!    acknowledgement does not come back without that other one.
//! 4. All choices come from a printed seed. Times do not, so a failed cycle's folder is kept.
//!
//! The server is known by its command line and its replies only; nothing here knows Firn's engine.

mod block;
mod check;
pub mod client;
mod clock;
mod cycle;
mod damage;
mod dump;
mod fault;
mod fuse;
mod group;
mod html;
mod image;
mod judge;
mod leftovers;
mod load;
mod memory;
mod model;
mod plan;
mod progress;
mod refused;
mod replay;
mod report;
pub mod rng;
mod run;
mod server;
mod stall;
mod stop;

pub use fault::Fault;
pub use model::Workload;
pub use plan::{Policy, TortureArgs};
pub use report::Report;
pub use run::{Ended, Failure, run};
