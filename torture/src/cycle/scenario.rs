//! What a cycle goes through, from a start on a sound store to the verdict: a crash and a restart; damage while the server is down; a failed
//! fsync with a restart and a power cut behind it; a start beside a dump.rdb.

use super::lane::Lane;
use super::strike::strike;
use super::{Loaded, Stop, Torture, unanswered, wrong};
use crate::fault::Fault;
use crate::judge::{self, Contract};
use crate::model::State;
use crate::plan::Policy;
use crate::report::{Cycle, Outcome, Wrong};
use crate::rng::Rng;
use crate::server::{NoStart, Server, ended, last_lines};
use crate::{clock, damage, dump, memory, stop};
use std::time::{Duration, Instant};

impl Torture {
    /// A fault under load, and the start after it.
    pub(super) fn crashed(
        &mut self,
        fault: Fault,
        lane: &mut Lane,
        cycle: &mut Cycle,
        rng: &mut Rng,
    ) -> Result<(), Stop> {
        let mut server = self.start(lane, fault)?;
        let (least, most) = fault.load(self.plan.policy);
        let most = self.plan.load_max.unwrap_or(most).max(least + Duration::from_micros(1));
        let wait = least + Duration::from_micros(rng.below((most - least).as_micros() as u64));
        let (until, longest) = (self.until, self.longest());
        let loaded = self.load(fault, lane, &mut server, cycle, rng, |lane, server, shared, rng, note| {
            stop::sleep(until.map_or(wait, |until| wait.min(until.saturating_duration_since(Instant::now()))));
            strike(fault, lane, server, shared, longest, rng, note)
        })?;
        drop(server);
        if fault.is_cut() {
            lane.power_on()?;
        }
        let jump = if fault == Fault::Clock { clock::jump(rng) } else { 0 };
        let mut server = match fault {
            Fault::Clock => self.start_at(lane, jump)?,
            _ => self.restart(fault, lane, cycle, rng)?,
        };
        let mut picture = self.observe(&server, cycle)?;
        for observed in &mut picture.clients {
            // The server's clock was off by so much.
            observed.read.0 = observed.read.0.saturating_add_signed(jump.min(0));
            observed.read.1 = observed.read.1.saturating_add_signed(jump.max(0));
        }
        if rng.one_in(8) && jump == 0 {
            server.kill()?;
            server = self.start(lane, fault)?;
            let again = self.observe(&server, cycle)?;
            judge::same(&picture, &again)?;
        }
        if fault == Fault::Oom {
            let cleaned = server.connect().and_then(|mut client| memory::clean(&mut client, self.databases));
            cleaned.map_err(|error| unanswered(&server, "what filled the memory is deleted", &error))?;
        }
        let contract = fault.contract(self.plan.policy);
        let verdicts = self.judge(lane, cycle, &loaded, &picture, contract, fault.is_cut())?;
        self.go_on(lane, cycle, &loaded, verdicts);
        if jump > 0 {
            // Deadlines that were ahead have passed there: what died of that does not come back with the time.
            for (state, observed) in lane.states.iter_mut().zip(&picture.clients) {
                state
                    .keys
                    .iter_mut()
                    .zip(&observed.keys)
                    .filter(|(_, seen)| seen.is_none())
                    .for_each(|(held, _)| *held = None);
            }
        }
        server.kill()?;
        if fault == Fault::EioFsync {
            // What the failed sync was for would be lost by a power cut of a later cycle: that is a fault of its own.
            lane.reset()?;
        }
        Ok(())
    }

    fn longest(&self) -> Duration {
        self.plan.load_max.unwrap_or(Duration::MAX)
    }

    fn start_at(&mut self, lane: &mut Lane, jump_ms: i64) -> Result<Server, Stop> {
        let mut launch = self.launch(lane.folder());
        launch.environment = clock::environment(jump_ms);
        match launch.start() {
            Ok((server, _)) => Ok(server),
            Err(NoStart::Failed(error)) => Err(error.into()),
            Err(NoStart::Asked) => Err(Stop::Asked),
            Err(why) if clock::clashes(&why.to_string()) => Err(Stop::Broken(format!(
                "clock jumps cannot be made for this server, which libfaketime cannot live in: {why}"
            ))),
            Err(why) => Err(wrong(Wrong::RefusedStart, format!("the clock is {jump_ms} ms off: {why}"))),
        }
    }

    /// A clean stop, damage, a start.
    pub(super) fn damaged(
        &mut self,
        fault: Fault,
        lane: &mut Lane,
        cycle: &mut Cycle,
        rng: &mut Rng,
    ) -> Result<(), Stop> {
        let mut server = self.start(lane, fault)?;
        let (wait, longest) = (Duration::from_millis(20 + rng.below(150)), self.longest());
        let loaded = self.load(Fault::Term, lane, &mut server, cycle, rng, |lane, server, shared, rng, note| {
            stop::sleep(wait);
            strike(Fault::Term, lane, server, shared, longest, rng, note)
        })?;
        drop(server);
        let (folder, backup) = (lane.folder(), self.work.join("backup"));
        damage::copy(&folder, &backup)?;
        let done = damage::apply(fault, &folder, rng)?;
        cycle.note = done.what.clone();
        match self.launch(folder.clone()).start() {
            Ok((mut server, took)) => {
                cycle.start_ms = took.as_millis() as u64;
                let contract = done.contract(fault, self.plan.policy);
                let verdicts = self
                    .observe(&server, cycle)
                    .and_then(|picture| self.judge(lane, cycle, &loaded, &picture, contract, false));
                let verdicts = verdicts.map_err(|stop| match stop {
                    Stop::Violation(mut violation) => {
                        violation.text = format!("{}, and served: {}", done.what, violation.text);
                        if violation.wrong == Wrong::Lost {
                            violation.wrong = Wrong::SilentLoss;
                        }
                        Stop::Violation(violation)
                    }
                    other => other,
                })?;
                self.go_on(lane, cycle, &loaded, verdicts);
                lane.damage = Some(format!("cycle {}, {}: {}", cycle.cycle, fault.name(), done.what));
                server.kill()?;
                return Ok(());
            }
            Err(NoStart::Failed(error)) => return Err(error.into()),
            Err(NoStart::Asked) => return Err(Stop::Asked),
            Err(why @ NoStart::TooLong { .. }) => {
                return Err(wrong(Wrong::StartDoesNotEnd, format!("{}: {why}", done.what)));
            }
            Err(NoStart::Refused { status, said }) => {
                let text = format!("{}, and the start ended ({}): {}", done.what, ended(status), last_lines(&said));
                if !done.is_named_in(&said) {
                    return Err(wrong(Wrong::UnnamedRefusal, text));
                }
                if fault == Fault::ZeroTail {
                    return Err(wrong(Wrong::NeedlessRefusal, text));
                }
                cycle.outcome = Outcome::Refused;
                cycle.note = text;
            }
        }
        // With the files as they were it starts, and nothing is missing.
        damage::copy(&backup, &folder)?;
        let mut server = self.start(lane, fault)?;
        let picture = self.observe(&server, cycle)?;
        let verdicts = self.judge(lane, cycle, &loaded, &picture, Contract::All, false)?;
        self.go_on(lane, cycle, &loaded, verdicts);
        server.kill()?;
        Ok(())
    }

    /// A failed fsync, a restart on the page cache, more writes, and then the power fails.
    pub(super) fn eio_restart_cut(&mut self, lane: &mut Lane, cycle: &mut Cycle, rng: &mut Rng) -> Result<(), Stop> {
        let fault = Fault::EioRestartCut;
        let mut server = self.start(lane, fault)?;
        let (wait, longest) = (Duration::from_millis(20 + rng.below(100)), self.longest());
        let mut before = self.load(fault, lane, &mut server, cycle, rng, |lane, server, shared, rng, note| {
            stop::sleep(wait);
            strike(Fault::EioFsync, lane, server, shared, longest, rng, note)
        })?;
        drop(server);
        let base: Vec<State> = lane.states.clone();
        let mut server = self.start(lane, fault)?;
        let picture = self.observe(&server, cycle)?;
        let verdicts = self.judge(lane, cycle, &before, &picture, Contract::All, false)?;
        for (history, verdict) in before.histories.iter_mut().zip(&verdicts) {
            verdict.keep(&mut history.sent);
        }
        let unsure_increments = verdicts.iter().map(|verdict| verdict.count.1 - verdict.count.0).sum();
        self.go_on(lane, cycle, &before, verdicts);
        // Each client's history goes on: what came back of the first part, then the second. The cut loses or keeps both alike.
        let wait = Duration::from_millis(50 + rng.below(if self.plan.policy == Policy::Everysec { 3000 } else { 200 }));
        let mut after = self.load_again(lane, &mut server, cycle, rng, wait)?;
        drop(server);
        lane.power_on()?;
        let mut joined = Vec::new();
        for (mut first, mut second) in before.histories.into_iter().zip(after.histories) {
            if self.plan.policy == Policy::Always && second.acknowledged() > 0 {
                // Whoever was answered later was answered on top of what had come back.
                let at = before.crash.ended;
                first.sent.iter_mut().for_each(|sent| _ = sent.acknowledged_at.get_or_insert(at));
            }
            first.sent.append(&mut second.sent);
            first.findings.append(&mut second.findings);
            first.next = second.next;
            joined.push(first);
        }
        (after.histories, after.unsure_increments) = (joined, unsure_increments);
        lane.states = base;
        let mut server = self.restart(fault, lane, cycle, rng)?;
        let picture = self.observe(&server, cycle)?;
        let contract = fault.contract(self.plan.policy);
        let verdicts = self.judge(lane, cycle, &after, &picture, contract, true)?;
        self.go_on(lane, cycle, &after, verdicts);
        server.kill()?;
        Ok(())
    }

    /// Load on top of what a restart showed, in the same cycle: the shared keys go on too.
    fn load_again(
        &mut self,
        lane: &mut Lane,
        server: &mut Server,
        cycle: &mut Cycle,
        rng: &mut Rng,
        wait: Duration,
    ) -> Result<Loaded, Stop> {
        // `load` begins with new shared keys; here the old ones stay.
        lane.last = None;
        let longest = self.longest();
        self.load(Fault::EioRestartCut, lane, server, cycle, rng, |lane, server, shared, rng, note| {
            stop::sleep(wait);
            strike(Fault::PowerCut, lane, server, shared, longest, rng, note)
        })
    }

    /// A start beside a dump.rdb and nothing else.
    pub(super) fn dump_present(&self, cycle: &mut Cycle) -> Result<(), Stop> {
        let folder = self.work.join("dump");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("dump.rdb"), dump::BYTES)?;
        match self.launch(folder).start() {
            Ok((server, took)) => {
                cycle.start_ms = took.as_millis() as u64;
                let value = server.connect().and_then(|mut client| client.call(&[b"GET", dump::KEY]));
                let value = value.map_err(|error| unanswered(&server, "the key of dump.rdb is read", &error))?;
                if value.bytes() == Some(dump::VALUE) {
                    return Ok(());
                }
                Err(wrong(Wrong::IgnoredDump, format!("GET of the key in dump.rdb was answered with {value}")))
            }
            Err(NoStart::Refused { said, .. }) if said.contains("dump.rdb") => {
                cycle.outcome = Outcome::Refused;
                cycle.note = last_lines(&said);
                Ok(())
            }
            Err(NoStart::Failed(error)) => Err(error.into()),
            Err(NoStart::Asked) => Err(Stop::Asked),
            Err(why) => Err(wrong(Wrong::UnnamedRefusal, why.to_string())),
        }
    }
}
