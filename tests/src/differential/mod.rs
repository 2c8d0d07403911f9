//! The differential test: the same random commands to Firn, Redis and Valkey, and the same replies expected, byte for byte.
//!
//! 1. Where Redis and Valkey differ, the newer behaviour (Valkey's) is the one to have; such replies are counted by command.
//! 2. Where Firn differs on purpose, `differences.txt` says so, with the reason; a line there that nothing matches is reported.
//! 3. A sequence is made from a seed alone. One that fails is tried again, so that a clock's tick is not taken for a difference,
//!    then shrunk and printed.

mod compare;
mod families;
mod generate;
mod in_process;
mod lists;
mod run;
mod several;
mod shrink;
mod streams;
mod target;

pub use compare::{Difference, Differences};
pub use generate::{Generator, Step, show};
pub use in_process::{InProcess, PACKED_ENTRIES};
pub use run::{Report, Runner};
pub use target::{Remote, Target};
