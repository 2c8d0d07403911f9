//! Lets every crash happen that a moment allows, as far as a budget goes, opens what is left, and judges it.

use crate::history::{self, Data, History};
use crate::world::{Moment, Promise, chain, options};
use firn_engine::disk::chooser::Chooser;
use firn_engine::disk::sim::{CrashRules, DiskState, SimDisk};
use firn_engine::log::Lsn;
use firn_engine::planted::Bug;
use firn_engine::store::{ManualClock, Options, Store, SyncPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

const DAY_MS: i64 = 24 * 3_600_000;

/// How thoroughly moments are examined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    /// Power cuts per moment: all, if there are no more, else so many samples.
    pub(crate) cuts: u64,
    /// One recovery in so many is itself crashed, at every call.
    pub(crate) inside_one_in: u64,
    /// Power cuts per call of such a recovery.
    pub(crate) cuts_inside: u64,
}

/// What was covered.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) moments: AtomicU64,
    /// Power cuts and kills of a running store.
    pub(crate) crashes: AtomicU64,
    /// Of those, moments whose power cuts were all enumerated.
    pub(crate) enumerated: AtomicU64,
    /// Crashes of a recovery.
    pub(crate) inside: AtomicU64,
    /// Crashes right after a recovery.
    pub(crate) again: AtomicU64,
}

impl Tally {
    /// All states that were opened and judged.
    pub(crate) fn states(&self) -> u64 {
        self.crashes.load(Relaxed) + self.inside.load(Relaxed) + self.again.load(Relaxed)
    }
}

/// What went wrong, and how to see it again.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) text: String,
    /// States that had been judged before.
    pub(crate) after: u64,
}

/// Everything needed to open states of one run.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) policy: SyncPolicy,
    pub(crate) adjust: fn(&mut Options),
    /// A bug that the judging threads have, too.
    pub(crate) bug: Option<Bug>,
    pub(crate) depth: Depth,
    pub(crate) tally: &'a Tally,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Death {
    Kill,
    Power,
}

impl Judge<'_> {
    /// Judges all moments with as many threads as there are cores; the first finding ends it.
    pub(crate) fn all(&self, moments: &[Moment], name: &str) -> Result<(), Finding> {
        let (next, stop, found) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    plant(self.bug);
                    while !stop.load(Relaxed) {
                        let Some(moment) = moments.get(next.fetch_add(1, Relaxed)) else { break };
                        if let Err(text) = self.moment(moment) {
                            stop.store(true, Relaxed);
                            let after = self.tally.states();
                            let text = format!(
                                "{name}, {:?}, life {}, before {}: {text}",
                                self.policy, moment.life, moment.call
                            );
                            found.lock().get_or_insert(Finding { text, after });
                        }
                    }
                });
            }
        });
        found.into_inner().map_or(Ok(()), Err)
    }

    /// All deaths at one moment.
    pub(crate) fn moment(&self, moment: &Moment) -> Result<(), String> {
        self.tally.moments.fetch_add(1, Relaxed);
        // A step may make a record and write it before the model hears of it; what is not yet written cannot be recovered.
        let promise = Promise { last: moment.history.last(), ..moment.promise };
        let moment = &Moment { promise, ..moment.clone() };
        self.death(moment, moment.state.kill(), Death::Kill, "kill")?;
        let rules = CrashRules { garbage: true, ..CrashRules::default() };
        let outcomes = moment.state.crash_outcomes(&rules);
        let enumerate = outcomes <= self.depth.cuts;
        let rules = CrashRules { scatter: !enumerate, ..rules };
        let mut chooser = if enumerate {
            self.tally.enumerated.fetch_add(1, Relaxed);
            Chooser::odometer()
        } else {
            Chooser::seeded(moment.call.number ^ u64::from(moment.life) << 32)
        };
        for _ in 0..self.depth.cuts {
            let state = moment.state.crash(&mut chooser, &rules);
            let picks = chooser.to_string();
            self.death(moment, state, Death::Power, &picks)
                .map_err(|text| format!("{text} (picks {picks}, scatter {})", rules.scatter))?;
            if !chooser.advance() {
                break;
            }
        }
        Ok(())
    }

    fn death(&self, moment: &Moment, state: DiskState, death: Death, how: &str) -> Result<(), String> {
        let number = self.tally.crashes.fetch_add(1, Relaxed);
        let least = match death {
            Death::Kill => moment.promise.kill,
            Death::Power => moment.promise.power,
        };
        let _ = how;
        let inside = number.is_multiple_of(self.depth.inside_one_in);
        let (lsn, after, states) = self.opened(state, least, moment, inside)?;
        for (at, state) in states.into_iter().enumerate() {
            // What the recovery read it may have copied and promised to nobody: only the old promise counts.
            let power = if death == Death::Kill { moment.promise.kill.min(moment.promise.power) } else { least };
            let inside = |text| format!("then inside the recovery, at its call {}: {text}", at + 1);
            self.tally.inside.fetch_add(1, Relaxed);
            self.opened(state.kill(), least, moment, false).map_err(inside)?;
            let mut chooser = Chooser::seeded(number ^ (at as u64) << 40);
            for _ in 0..self.depth.cuts_inside {
                let rules = CrashRules { scatter: true, garbage: true, ..CrashRules::default() };
                self.tally.inside.fetch_add(1, Relaxed);
                let crashed = state.crash(&mut chooser, &rules);
                self.opened(crashed, power, moment, false).map_err(inside)?;
                chooser.advance();
            }
        }
        // What was served after the recovery stays, whatever happens next; and nothing more comes up.
        let mut chooser = Chooser::seeded(number);
        let next =
            if number.is_multiple_of(2) { after.kill() } else { after.crash(&mut chooser, &CrashRules::default()) };
        self.tally.again.fetch_add(1, Relaxed);
        let exactly = Promise { power: lsn, kill: lsn, last: lsn };
        let (again, ..) = self
            .opened(next, lsn, &Moment { promise: exactly, ..moment.clone() }, false)
            .map_err(|text| format!("opened again: {text}"))?;
        assert_eq!(again, lsn);
        Ok(())
    }

    /// Opens a state and compares what it holds with the history. Gives its LSN, the disk afterwards, and the states inside.
    fn opened(
        &self,
        state: DiskState,
        least: Lsn,
        moment: &Moment,
        inside: bool,
    ) -> Result<(Lsn, DiskState, Vec<DiskState>), String> {
        let disk = SimDisk::from_state(state);
        let states = Arc::new(Mutex::new(Vec::new()));
        if inside {
            let sink = states.clone();
            let mut changed = true;
            disk.observe(move |call, state| {
                if std::mem::replace(&mut changed, call.kind.changes()) {
                    sink.lock().push(state.clone());
                }
            });
        }
        // Another clock, or no log from now on, changes nothing of what is there.
        let how = moment.call.number + u64::from(moment.life);
        let now_ms =
            moment.now_ms.saturating_add_signed([0, 0, -400 * DAY_MS, 2 * DAY_MS, 4000 * DAY_MS][how as usize % 5]);
        let logged = !how.is_multiple_of(7);
        let store = self.open(&disk, now_ms, logged)?;
        disk.unobserve();
        let lsn = check(&store, &moment.history, least, moment.promise.last)?;
        if logged && store.durable_lsn() != Some(lsn) {
            return Err(format!("opened at LSN {lsn}, but only {:?} is said to be durable", store.durable_lsn()));
        }
        let after = disk.state();
        disk.power_off();
        drop(store);
        let states = std::mem::take(&mut *states.lock());
        Ok((lsn, after, states))
    }

    fn open(&self, disk: &SimDisk, now_ms: u64, logged: bool) -> Result<Store, String> {
        let clock = Arc::new(ManualClock::new(now_ms));
        let mut options = options(self.policy, &clock);
        (self.adjust)(&mut options);
        options.log = logged;
        Store::open(Arc::new(disk.clone()), &options)
            .map_err(|error| format!("refused without need: {}", chain(&error)))
    }
}

/// Compares what a store holds with a history; gives its LSN.
pub(crate) fn check(store: &Store, history: &History, least: Lsn, most: Lsn) -> Result<Lsn, String> {
    let lsn = store.last_lsn();
    if lsn < least {
        return Err(format!("records {} to {least} were promised and are lost", lsn + 1));
    }
    if lsn > most {
        return Err(format!("it holds LSN {lsn}, but only {most} were there"));
    }
    let Some(point) = history.at(lsn) else { return Err(format!("LSN {lsn} was never there")) };
    let engine = store.lock();
    if history::digest(&engine) != point.digest {
        let difference = point.data.difference(&Data::of(&engine));
        return Err(format!("at LSN {lsn} the data are not what they were:\n    {difference}"));
    }
    // The digest is one comparison; that it sees what a full comparison sees is looked at for a sample.
    if lsn.is_multiple_of(64) && point.data != Data::of(&engine) {
        return Err(format!("at LSN {lsn} the digest is right and the data are not"));
    }
    Ok(lsn)
}

/// Plants a bug in this thread, or none.
pub(crate) fn plant(bug: Option<Bug>) {
    firn_engine::planted::plant(bug);
}
