//! How long the commands of a batch took.
//!
//! 1. A batch is measured as a whole, with two looks at the clock. A batch of one command, the usual case, is exact by that.
//! 2. Commands of constant cost (`Entry::brief`) that share a batch share its time evenly: looking at the clock for each would cost more than
//!    some of them take. All other commands of a batch are measured one by one, and are not part of what is shared.
//! 3. When the slow log is set to keep what takes less than [`EXACT_BELOW_US`], every command is measured by itself.
//! 4. In a script, commands of constant cost are part of the script's time and have none of their own; all others are measured.
//! 5. The time is that of execution: from the lookup of the names to the reply in the output buffer, the wait for the engine included.

use crate::dispatch::{Plan, Verdict};
use crate::table::Entry;
use std::time::Instant;

/// A slow log that asks for less, in microseconds, has every command measured.
pub(crate) const EXACT_BELOW_US: u64 = 1000;

/// Measures one batch.
pub(crate) struct Meter {
    /// The batch has one command.
    alone: bool,
    /// Every command is measured.
    exact: bool,
    /// When the command before ended, if that was looked at.
    last: Option<Instant>,
    began: Option<Instant>,
    /// Of the commands measured by themselves: how long all together, how many, the longest; in nanoseconds.
    nanos: u64,
    count: u64,
    longest: u64,
}

impl Meter {
    /// For a batch of `commands`.
    pub(crate) fn new(commands: usize, exact: bool) -> Self {
        Meter { alone: commands == 1, exact, last: None, began: None, nanos: 0, count: 0, longest: 0 }
    }

    /// A command begins.
    #[inline]
    pub(crate) fn begin(&mut self, entry: &Entry) {
        if self.alone || (entry.brief && !self.exact) {
            self.last = None;
        } else {
            self.began = Some(self.last.take().unwrap_or_else(Instant::now));
        }
    }

    /// It has ended. Notes the time in its plan if it was measured.
    #[inline]
    pub(crate) fn end(&mut self, plan: &mut Plan) {
        if let Some(began) = self.began.take() {
            let now = Instant::now();
            // 0 means not measured.
            plan.nanos = (now.duration_since(began).as_nanos() as u64).max(1);
            self.last = Some(now);
            self.nanos += plan.nanos;
            self.count += 1;
            if plan.verdict == Verdict::Run {
                self.longest = self.longest.max(plan.nanos);
            }
        }
    }

    /// What each of `commands` has that was not measured, when the whole batch took `nanos`; and the longest of all.
    pub(crate) fn share(&self, commands: usize, nanos: u64) -> (u64, u64) {
        let share = nanos.saturating_sub(self.nanos).checked_div(commands as u64 - self.count).unwrap_or(0);
        (share, share.max(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(brief: bool) -> Entry {
        let runner = crate::table::Runner::Server(crate::session::COMMANDS[0]);
        let mut entry = Entry::new(&firn_engine::command::Spec::BASE, runner);
        entry.brief = brief;
        entry
    }

    fn plan() -> Plan {
        Plan { verdict: Verdict::Run, ..Plan::UNKNOWN }
    }

    #[test]
    fn brief_commands_share_what_the_others_leave() {
        let mut meter = Meter::new(3, false);
        let mut plans = [plan(), plan(), plan()];
        for (plan, brief) in plans.iter_mut().zip([true, false, true]) {
            meter.begin(&entry(brief));
            meter.end(plan);
        }
        assert_eq!((plans[0].nanos, plans[2].nanos), (0, 0));
        assert!(plans[1].nanos > 0);
        let all = plans[1].nanos + 200;
        assert_eq!(meter.share(3, all), (100, plans[1].nanos.max(100)));
    }

    #[test]
    fn one_command_alone_needs_no_clock_and_exact_measures_all() {
        let mut meter = Meter::new(1, true);
        let mut one = plan();
        meter.begin(&entry(false));
        meter.end(&mut one);
        assert_eq!((one.nanos, meter.share(1, 70)), (0, (70, 70)));
        let mut meter = Meter::new(2, true);
        let mut plans = [plan(), plan()];
        for plan in &mut plans {
            meter.begin(&entry(true));
            meter.end(plan);
        }
        assert!(plans.iter().all(|plan| plan.nanos > 0));
        assert_eq!(meter.share(2, 1 << 40).0, 0);
    }
}
