//! Crash tests of the whole engine on the simulated disk: `Store` as programs use it, driven step by step, killed and cut off
//! from power at every call to the disk, with every fault that a disk can have.
//!
//! The model keeps one digest per LSN; a recovered store must be one of those states, not older than what had been promised.
//! Every run prints what it covered. `FIRN_CRASH_STATES` sets how many states the power cuts cover (default one million).

mod damage;
mod families;
mod faults;
mod history;
mod judge;
mod libraries;
mod meanwhile;
mod planted;
mod power;
mod workload;
mod world;

/// States, damages or bugs that were covered, for the sum that `tests/run` prints.
pub(crate) fn counted(number: u64, what: &str) {
    println!("counted: {number} {what}");
}

/// Prints past the test harness' capture: what was covered is part of the result.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "    crash: {text}");
}
