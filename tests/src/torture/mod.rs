//! Crashing a real server, again and again, and judging what comes back. Speaks RESP only, so any server can be judged.
//!
//! 1. Every key belongs to one client, which knows the exact state after each of its own commands ([`model`]). What a
//!    restart shows must be the state after some prefix of them: nothing lost in the middle, nothing out of order,
//!    no half of a command, nothing invented.
//! 2. How short the prefix may be is the contract of the policy ([`judge::Contract`]).
//! 3. All prefixes together must be one moment of history: a command that was sent after another client had its
//!    acknowledgement does not come back without that other one.
//! 4. All choices come from a printed seed. Times do not, so a failed cycle's folder is kept.

pub mod cycle;
pub mod ext4;
pub mod judge;
pub mod load;
pub mod model;

/// A small generator (splitmix64), so that a seed names a run.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// splitmix64's output function: a good mixer of any 64 bits.
pub fn mix(bits: u64) -> u64 {
    let z = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Unix time in ms, the clock of deadlines.
pub fn unix_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
