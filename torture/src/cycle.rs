//! One fault after the other: start, load, fault, start again, judge, go on from what came back.
//!
//! A power cut of ext4 takes time (1 to 3 ms), and its shutdown call has a window that no real cut has: an fdatasync that passed
//! ext4's first look before the journal was aborted can find no transaction left to wait for, and returns 0 although its
//! bytes are gone (Linux 6.18: seen in 10 of 120 cuts of a program that only writes and flushes). A machine without power
//! acknowledges nothing; here the server still runs and passes that 0 on. So:
//! 1. In half of these cycles the server is stopped (SIGSTOP, until no thread of it is inside a call) before the cut and goes
//!    on after it: the cut falls between two instants of the server, and every acknowledgement counts.
//! 2. In the others the cut meets flushes under way. What was acknowledged before the call began counts; what was
//!    acknowledged later is unsure, but still part of a prefix of history.
//! 3. In both, under `always` and `no`, and with `--writes-first` under everysec: what was sent after the call had ended is never
//!    acknowledged.
//!
//! A cut of the FUSE layer is one instant, so there every acknowledgement counts.

use crate::damage;
use crate::ext4::Ext4;
use crate::fault::{Fault, Medium};
use crate::fuse::FuseDisk;
use crate::judge::{self, Case, Contract, Crash, Picture, Verdict};
use crate::load::{self, History, Load, Seen, Shared, Writer};
use crate::model::State;
use crate::plan::{Plan, Policy};
use crate::report::{Cycle, Outcome, Violation, Wrong};
use crate::rng::Rng;
use crate::server::{Launch, NoStart, Server, ended, last_lines};
use crate::stall::{self, Stalls};
use crate::{clock, dump, memory};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a SIGTERM may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long is waited for a disk fault to be met.
const MET_MAX: Duration = Duration::from_secs(8);
/// How long writes may take to resume when the disk has room again.
const RESUME_MAX: Duration = Duration::from_secs(20);

/// What ends a cycle early.
pub(crate) enum Stop {
    /// The server's doing.
    Violation(Box<Violation>),
    /// Ours, or the machine's.
    Broken(String),
}

impl From<Box<Violation>> for Stop {
    fn from(violation: Box<Violation>) -> Self {
        Stop::Violation(violation)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Broken(error.to_string())
    }
}

fn wrong(wrong: Wrong, text: impl Into<String>) -> Stop {
    Violation::new(wrong, text.into()).into()
}

enum Store {
    Folder(PathBuf),
    Fuse(FuseDisk),
    Ext4(Ext4),
}

/// A store that lives through many cycles, on one medium, and what the clients know of it.
struct Lane {
    store: Store,
    states: Vec<State>,
    numbers: Vec<u64>,
    /// The cycle whose shared keys lie in it.
    last: Option<u64>,
    /// How long the newest start took.
    start: Duration,
}

impl Lane {
    fn create(medium: Medium, work: &Path, clients: usize) -> io::Result<Lane> {
        let store = match medium {
            Medium::Folder => Store::Folder(work.join("folder")),
            Medium::Fuse => Store::Fuse(FuseDisk::create(&work.join("fuse"))?),
            Medium::Ext4 => {
                let folder = work.join("ext4");
                std::fs::create_dir_all(&folder)?;
                Store::Ext4(Ext4::create(&folder)?)
            }
        };
        let lane = Lane {
            store,
            states: vec![State::new(); clients],
            numbers: vec![1; clients],
            last: None,
            start: Duration::from_millis(30),
        };
        std::fs::create_dir_all(lane.folder())?;
        Ok(lane)
    }

    /// The server's `dir`.
    fn folder(&self) -> PathBuf {
        match &self.store {
            Store::Folder(path) => path.clone(),
            Store::Fuse(disk) => disk.path().join("data"),
            Store::Ext4(disk) => disk.path().join("data"),
        }
    }

    fn power_on(&mut self) -> io::Result<()> {
        match &mut self.store {
            Store::Folder(_) => Ok(()),
            Store::Fuse(disk) => disk.power_on(),
            Store::Ext4(disk) => {
                disk.unmount()?;
                disk.mount()
            }
        }
    }

    fn fuse(&self) -> io::Result<&FuseDisk> {
        match &self.store {
            Store::Fuse(disk) => Ok(disk),
            _ => Err(io::Error::other("this fault needs the FUSE layer")),
        }
    }

    /// Begins anew, after a violation.
    fn reset(&mut self) -> io::Result<()> {
        if let Store::Fuse(disk) = &mut self.store {
            disk.wipe()?;
        } else {
            self.power_on()?;
            std::fs::remove_dir_all(self.folder())?;
        }
        std::fs::create_dir_all(self.folder())?;
        let clients = self.states.len();
        (self.states, self.last) = (vec![State::new(); clients], None);
        Ok(())
    }
}

/// What a cycle's threads brought home.
struct Loaded {
    histories: Vec<History>,
    /// By client: what readers were shown of it.
    seen: Vec<Vec<Seen>>,
    crash: Crash,
    /// When the server was held up, under everysec and where that can be seen.
    stalls: Option<Stalls>,
}

/// The cycles of one server under one policy.
pub(crate) struct Torture {
    pub(crate) plan: Plan,
    work: PathBuf,
    lanes: BTreeMap<Medium, Lane>,
    databases: bool,
    began: Instant,
    /// What the server says that it is.
    pub(crate) version: String,
}

impl Torture {
    /// `work`: a folder of its own.
    pub(crate) fn new(plan: Plan, work: &Path) -> Torture {
        Torture {
            plan,
            work: work.into(),
            lanes: BTreeMap::new(),
            databases: true,
            began: Instant::now(),
            version: String::new(),
        }
    }

    /// Makes what a fault needs; the error says what is missing.
    pub(crate) fn provide(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Oom => memory::available()?,
            Fault::Clock => clock::available()?,
            _ => {}
        }
        let medium = fault.medium();
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.lanes.entry(medium) {
            let lane = Lane::create(medium, &self.work, self.plan.clients);
            vacant.insert(lane.map_err(|error| format!("{} needs {}: {error}", fault.name(), medium.name()))?);
        }
        Ok(())
    }

    /// The folder of a fault's store, and the server's output.
    pub(crate) fn files(&self, fault: Fault) -> (PathBuf, PathBuf) {
        let folder = self.lanes.get(&fault.medium()).map_or(PathBuf::new(), Lane::folder);
        (folder, self.work.join("log"))
    }

    fn launch(&self, folder: PathBuf) -> Launch {
        Launch {
            command: self.plan.command.clone(),
            port: self.plan.port,
            folder,
            policy: self.plan.policy.name(),
            log: self.work.join("log"),
            start_max: self.plan.start_max,
            environment: Vec::new(),
        }
    }

    /// One cycle. A violation is in it; an error is not the server's.
    pub(crate) fn cycle(&mut self, number: u64, fault: Fault) -> Result<(Cycle, Option<Violation>), String> {
        let seed = self.plan.seed.wrapping_add(number);
        let mut rng = Rng(seed);
        // One draw chose the fault.
        rng.draw();
        let began = Instant::now();
        let mut cycle = Cycle {
            cycle: number,
            seed,
            fault: fault.name().into(),
            at_ms: self.began.elapsed().as_millis() as u64,
            took_ms: 0,
            outcome: Outcome::Held,
            sent: 0,
            acknowledged: 0,
            lost: 0,
            lost_age_ms: None,
            lost_unstalled_ms: None,
            unsure: 0,
            refused: 0,
            start_kills: 0,
            snapshots: 0,
            start_ms: 0,
            note: String::new(),
        };
        let mut lane = self.lanes.remove(&fault.medium()).ok_or("the fault was not provided for")?;
        let result = match fault {
            Fault::DumpPresent => self.dump_present(&mut cycle),
            Fault::EioRestartCut => self.eio_restart_cut(&mut lane, &mut cycle, &mut rng),
            _ if fault.is_damage() => self.damaged(fault, &mut lane, &mut cycle, &mut rng),
            _ => self.crashed(fault, &mut lane, &mut cycle, &mut rng),
        };
        self.lanes.insert(fault.medium(), lane);
        cycle.took_ms = began.elapsed().as_millis() as u64;
        match result {
            Ok(()) => Ok((cycle, None)),
            Err(Stop::Broken(text)) => Err(format!("cycle {number} ({}): {text}", fault.name())),
            Err(Stop::Violation(mut violation)) => {
                cycle.outcome = Outcome::Violation;
                (violation.cycle, violation.seed, violation.fault) = (number, seed, fault.name().into());
                // A start that was refused has told already.
                if violation.said.is_empty() && !violation.text.contains("the start ended") {
                    let log = std::fs::read(self.work.join("log")).unwrap_or_default();
                    violation.said = last_lines(&String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]));
                }
                Ok((cycle, Some(*violation)))
            }
        }
    }

    /// After a violation: the store begins anew.
    pub(crate) fn reset(&mut self, fault: Fault) -> Result<(), String> {
        match self.lanes.get_mut(&fault.medium()) {
            Some(lane) => lane.reset().map_err(|error| format!("a new store: {error}")),
            None => Ok(()),
        }
    }

    /// Starts a server on a store that is as it should be.
    fn start(&mut self, lane: &mut Lane, fault: Fault) -> Result<Server, Stop> {
        match self.launch(lane.folder()).start() {
            Ok((mut server, took)) => {
                lane.start = took;
                if self.version.is_empty() {
                    self.version = version(&server).unwrap_or_default();
                }
                let _ = server.has_ended();
                Ok(server)
            }
            Err(NoStart::Failed(error)) => Err(error.into()),
            Err(why @ NoStart::TooLong { .. }) => Err(wrong(Wrong::StartDoesNotEnd, why.to_string())),
            // Nothing was ever asked of this store.
            Err(why) if lane.last.is_none() => Err(Stop::Broken(format!("the server does not start: {why}"))),
            Err(why) => Err(wrong(Wrong::RefusedStart, format!("undamaged files, {}: {why}", fault.name()))),
        }
    }

    fn load_of(&self) -> Load {
        Load {
            port: self.plan.port,
            clients: self.plan.clients,
            workloads: self.plan.workloads.clone(),
            databases: self.databases,
        }
    }

    /// Lets the clients write until `strike` has crashed the server.
    fn load(
        &mut self,
        lane: &mut Lane,
        server: &mut Server,
        cycle: &mut Cycle,
        rng: &mut Rng,
        strike: impl FnOnce(&Lane, &mut Server, &Shared, &mut Rng, &mut String) -> Result<Crash, Stop>,
    ) -> Result<Loaded, Stop> {
        self.databases = load::prepare(&mut server.connect()?, lane.last)?;
        lane.last = Some(cycle.cycle);
        for state in &mut lane.states {
            // The shared keys are the cycle's own.
            (state.log, state.count) = ((0, 0), 0);
        }
        let (load, shared) = (self.load_of(), Shared::default());
        let operated = rng.one_in(2);
        let lane = &*lane;
        let (watched, done) = (self.plan.policy == Policy::Everysec, AtomicBool::new(false));
        let loaded = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..load.clients)
                .map(|client| {
                    let writer = Writer {
                        client,
                        base: lane.states[client].clone(),
                        next: lane.numbers[client],
                        cycle: cycle.cycle,
                        depth: [1, 2, 16, 64][client % 4],
                        rng: Rng(rng.draw()),
                    };
                    let (load, shared) = (&load, &shared);
                    scope.spawn(move || writer.run(load, shared))
                })
                .collect();
            let (reader_rng, operator_rng) = (Rng(rng.draw()), Rng(rng.draw()));
            let (load, port) = (&load, load.port);
            let reader = scope.spawn(move || load::read_others(load, reader_rng));
            let operator = operated.then(|| scope.spawn(move || load::operate(port, operator_rng)));
            let (pid, done) = (server.pid(), &done);
            let watch = watched.then(|| scope.spawn(move || stall::watch(pid, done)));
            let struck = strike(lane, server, &shared, rng, &mut cycle.note);
            done.store(true, Ordering::Relaxed);
            // Whatever happened: the clients end when the server does.
            let killed = if server.has_ended().is_none() { server.kill().map(drop) } else { Ok(()) };
            let panicked = |_| io::Error::other("a client panicked");
            let mut histories = Vec::new();
            for writer in writers {
                histories.push(writer.join().map_err(panicked)?);
            }
            let seen = reader.join().map_err(panicked)?;
            let snapshots = operator.map_or(Ok(0), |operator| operator.join().map_err(panicked))?;
            let stalls = watch.map_or(Ok(None), |watch| watch.join().map_err(panicked))?;
            killed?;
            Ok::<_, Stop>((histories, seen, snapshots, stalls, struck))
        });
        let (histories, seen, snapshots, stalls, struck) = loaded?;
        cycle.snapshots += snapshots;
        for history in &histories {
            cycle.sent += history.sent.len() as u64;
            cycle.acknowledged += history.acknowledged() as u64;
            cycle.refused += history.refused.0;
        }
        let first_refusal = histories.iter().find_map(|history| history.refused.1.as_ref());
        if let Some(text) = first_refusal.filter(|_| cycle.note.is_empty()) {
            cycle.note.clone_from(text);
        }
        let crash = struck?;
        Ok(Loaded { histories, seen, crash, stalls })
    }

    /// A fault under load, and the start after it.
    fn crashed(&mut self, fault: Fault, lane: &mut Lane, cycle: &mut Cycle, rng: &mut Rng) -> Result<(), Stop> {
        let mut server = self.start(lane, fault)?;
        let (least, most) = fault.load(self.plan.policy);
        let most = self.plan.load_max.unwrap_or(most).max(least + Duration::from_micros(1));
        let wait = least + Duration::from_micros(rng.below((most - least).as_micros() as u64));
        let loaded = self.load(lane, &mut server, cycle, rng, |lane, server, shared, rng, note| {
            std::thread::sleep(wait);
            strike(fault, lane, server, shared, rng, note)
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
        let mut picture = self.observe(&mut server, cycle)?;
        for observed in &mut picture.clients {
            // The server's clock was off by so much.
            observed.read.0 = observed.read.0.saturating_add_signed(jump.min(0));
            observed.read.1 = observed.read.1.saturating_add_signed(jump.max(0));
        }
        if rng.one_in(8) && jump == 0 {
            server.kill()?;
            server = self.start(lane, fault)?;
            let again = self.observe(&mut server, cycle)?;
            judge::same(&picture, &again)?;
        }
        if fault == Fault::Oom {
            memory::clean(&mut server.connect()?, self.databases)?;
        }
        let contract = fault.contract(self.plan.policy);
        let verdicts = self.judge(lane, cycle, &loaded, &picture, contract, fault.is_cut())?;
        self.go_on(lane, cycle, &loaded, verdicts);
        server.kill()?;
        if fault == Fault::EioFsync {
            // What the failed sync was for would be lost by a power cut of a later cycle: that is a fault of its own.
            lane.reset()?;
        }
        Ok(())
    }

    fn start_at(&mut self, lane: &mut Lane, jump_ms: i64) -> Result<Server, Stop> {
        let mut launch = self.launch(lane.folder());
        launch.environment = clock::environment(jump_ms);
        match launch.start() {
            Ok((server, _)) => Ok(server),
            Err(NoStart::Failed(error)) => Err(error.into()),
            Err(why) => Err(wrong(Wrong::RefusedStart, format!("the clock is {jump_ms} ms off: {why}"))),
        }
    }

    /// Starts again; some starts are killed, once or several times.
    fn restart(&mut self, fault: Fault, lane: &mut Lane, cycle: &mut Cycle, rng: &mut Rng) -> Result<Server, Stop> {
        let mut kills = 0;
        if matches!(fault, Fault::KillStart | Fault::KillRecovery) {
            kills = 1 + rng.below(3);
        }
        while kills > 0 || rng.one_in(4) {
            kills = kills.saturating_sub(1);
            let mut server = self.launch(lane.folder()).spawn()?;
            let within = (2 * lane.start).max(Duration::from_millis(10)).as_micros() as u64;
            std::thread::sleep(Duration::from_micros(rng.below(within)));
            if let Some(status) = server.has_ended() {
                let said = last_lines(&server.said());
                return Err(wrong(Wrong::RefusedStart, format!("the start ended ({}): {said}", ended(status))));
            }
            server.kill()?;
            cycle.start_kills += 1;
        }
        let server = self.start(lane, fault)?;
        cycle.start_ms = lane.start.as_millis() as u64;
        Ok(server)
    }

    fn observe(&self, server: &mut Server, cycle: &Cycle) -> Result<Picture, Stop> {
        let seen = server.connect().and_then(|mut client| judge::observe(&mut client, &self.load_of(), cycle.cycle));
        seen.map_err(|error| match server.has_ended() {
            Some(status) => wrong(Wrong::Ended, format!("it ended while it was read ({})", ended(status))),
            None if error.kind() == io::ErrorKind::InvalidData => wrong(Wrong::FalseReply, error.to_string()),
            None => error.into(),
        })
    }

    /// The crash, as the ages of acknowledgements are counted from it; each of these must be borne out.
    ///
    /// Under everysec a stall of the disk or of the machine adds to what may be lost: ages are counted without it, or, where it cannot be
    /// measured, up to the newest acknowledgement only. A server that promises more (`--writes-first`) holds its replies back meanwhile:
    /// nothing that is lost is older than the limit at the time when the newest acknowledged command was sent.
    fn aged(&self, loaded: &Loaded, contract: Contract) -> Vec<Crash> {
        let Loaded { histories, crash, stalls, .. } = loaded;
        let Contract::OlderThan(limit) = contract else { return vec![*crash] };
        let sent = histories.iter().flat_map(|history| &history.sent);
        let newest = sent.filter(|sent| sent.acknowledged_at.is_some_and(|at| at <= crash.began));
        let newest_sent = newest.clone().map(|sent| sent.sent_at).max();
        let unstalled = match stalls {
            Some(stalls) => Some(stalls.back(crash.began, limit) + limit),
            None => newest.filter_map(|sent| sent.acknowledged_at).max(),
        };
        let held_back = if self.plan.writes_first { newest_sent } else { None };
        unstalled.into_iter().chain(held_back).map(|began| Crash { began, ..*crash }).collect()
    }

    fn judge(
        &self,
        lane: &Lane,
        cycle: &mut Cycle,
        loaded: &Loaded,
        picture: &Picture,
        contract: Contract,
        is_cut: bool,
    ) -> Result<Vec<Verdict>, Stop> {
        let Loaded { histories, seen, crash, stalls } = loaded;
        let mut verdicts = Vec::new();
        let crashes = self.aged(loaded, contract);
        for (client, history) in histories.iter().enumerate() {
            if let Some(finding) = history.findings.first() {
                return Err(wrong(Wrong::FalseReply, format!("before the fault: {finding}")));
            }
            let floors = crashes.iter().map(|crash| judge::floor(contract, history, crash));
            let mut floor = floors.max().unwrap_or(0);
            if self.plan.policy == Policy::Always && contract == Contract::All {
                // What anyone was shown is durable too.
                floor = floor.max(judge::shown(contract, history, &seen[client], crash));
            }
            let base = &lane.states[client];
            let case = Case { client, base, history, crash, floor, cycle: cycle.cycle };
            // Under everysec a server may acknowledge what it has not written yet, and so without a disk for a moment, unless it
            // promises more.
            if is_cut && (self.plan.writes_first || self.plan.policy != Policy::Everysec) {
                judge::nothing_acknowledged_later(&case)?;
            }
            let verdict = case.explain(&picture.clients[client]).map_err(|mut violation| {
                if let (Wrong::Lost, Contract::OlderThan(_), Some(stalls)) = (violation.wrong, contract, stalls) {
                    let since = history.sent.first().map_or(crash.began, |sent| sent.sent_at);
                    let (stalled, of) = (stalls.within(since, crash.began), crash.began - since);
                    let _ =
                        write!(violation.text, ", and the disk or the machine stalled for {stalled:.0?} of {of:.0?}");
                }
                violation
            });
            verdicts.push(verdict?);
        }
        let histories: Vec<&History> = histories.iter().collect();
        judge::one_moment(&histories, &verdicts, picture.count)?;
        for (history, verdict) in histories.iter().zip(&verdicts) {
            let gone = history.acknowledged().saturating_sub(verdict.prefix.1) as u64;
            if contract == Contract::All {
                cycle.unsure += gone;
            } else if gone > 0 {
                cycle.lost += gone;
                let age = judge::oldest_lost(history, verdict.prefix.1, crash).map(|age| age.as_millis() as u64);
                cycle.lost_age_ms = cycle.lost_age_ms.max(age);
                if let (Some(stalls), Some(age)) = (stalls, age) {
                    let since = crash.began.checked_sub(Duration::from_millis(age)).unwrap_or(crash.began);
                    let stalled = stalls.within(since, crash.began).as_millis() as u64;
                    cycle.lost_unstalled_ms = cycle.lost_unstalled_ms.max(Some(age.saturating_sub(stalled)));
                }
            }
        }
        Ok(verdicts)
    }

    fn go_on(&self, lane: &mut Lane, cycle: &Cycle, loaded: &Loaded, verdicts: Vec<Verdict>) {
        debug_assert!(lane.last == Some(cycle.cycle));
        for (client, (history, verdict)) in loaded.histories.iter().zip(verdicts).enumerate() {
            lane.numbers[client] = history.next;
            lane.states[client] = verdict.state;
        }
    }

    /// A clean stop, damage, a start.
    fn damaged(&mut self, fault: Fault, lane: &mut Lane, cycle: &mut Cycle, rng: &mut Rng) -> Result<(), Stop> {
        let mut server = self.start(lane, fault)?;
        let wait = Duration::from_millis(20 + rng.below(150));
        let loaded = self.load(lane, &mut server, cycle, rng, |lane, server, shared, rng, note| {
            std::thread::sleep(wait);
            strike(Fault::Term, lane, server, shared, rng, note)
        })?;
        drop(server);
        let (folder, backup) = (lane.folder(), self.work.join("backup"));
        damage::copy(&folder, &backup)?;
        let done = damage::apply(fault, &folder, rng)?;
        cycle.note = done.what.clone();
        match self.launch(folder.clone()).start() {
            Ok((mut server, took)) => {
                cycle.start_ms = took.as_millis() as u64;
                let contract = fault.contract(self.plan.policy);
                let verdicts = self
                    .observe(&mut server, cycle)
                    .and_then(|picture| self.judge(lane, cycle, &loaded, &picture, contract, false));
                let verdicts = verdicts.map_err(|stop| match stop {
                    Stop::Violation(mut violation) => {
                        violation.text = format!("{}, and served: {}", done.what, violation.text);
                        if violation.wrong == Wrong::Lost {
                            violation.wrong = Wrong::SilentLoss;
                        }
                        Stop::Violation(violation)
                    }
                    broken => broken,
                })?;
                self.go_on(lane, cycle, &loaded, verdicts);
                server.kill()?;
                return Ok(());
            }
            Err(NoStart::Failed(error)) => return Err(error.into()),
            Err(why @ NoStart::TooLong { .. }) => {
                return Err(wrong(Wrong::StartDoesNotEnd, format!("{}: {why}", done.what)));
            }
            Err(NoStart::Refused { status, said }) => {
                let text = format!("{}, and the start ended ({}): {}", done.what, ended(status), last_lines(&said));
                if !done.names.iter().any(|name| said.contains(name)) {
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
        let picture = self.observe(&mut server, cycle)?;
        let verdicts = self.judge(lane, cycle, &loaded, &picture, Contract::All, false)?;
        self.go_on(lane, cycle, &loaded, verdicts);
        server.kill()?;
        Ok(())
    }

    /// A failed fsync, a restart on the page cache, more writes, and then the power fails.
    fn eio_restart_cut(&mut self, lane: &mut Lane, cycle: &mut Cycle, rng: &mut Rng) -> Result<(), Stop> {
        let fault = Fault::EioRestartCut;
        let mut server = self.start(lane, fault)?;
        let wait = Duration::from_millis(20 + rng.below(100));
        let before = self.load(lane, &mut server, cycle, rng, |lane, server, shared, rng, note| {
            std::thread::sleep(wait);
            strike(Fault::EioFsync, lane, server, shared, rng, note)
        })?;
        drop(server);
        let base: Vec<State> = lane.states.clone();
        let mut server = self.start(lane, fault)?;
        let picture = self.observe(&mut server, cycle)?;
        let verdicts = self.judge(lane, cycle, &before, &picture, Contract::All, false)?;
        let there: Vec<usize> = verdicts.iter().map(|verdict| verdict.prefix.1).collect();
        self.go_on(lane, cycle, &before, verdicts);
        // Each client's history goes on: what came back of the first part, then the second. The cut loses or keeps both alike.
        let wait = Duration::from_millis(50 + rng.below(if self.plan.policy == Policy::Everysec { 3000 } else { 200 }));
        let mut after = self.load_again(lane, &mut server, cycle, rng, wait)?;
        drop(server);
        lane.power_on()?;
        let mut joined = Vec::new();
        for (client, (mut first, mut second)) in before.histories.into_iter().zip(after.histories).enumerate() {
            first.sent.truncate(there[client]);
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
        after.histories = joined;
        lane.states = base;
        let mut server = self.restart(fault, lane, cycle, rng)?;
        let picture = self.observe(&mut server, cycle)?;
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
        self.load(lane, server, cycle, rng, |lane, server, shared, rng, note| {
            std::thread::sleep(wait);
            strike(Fault::PowerCut, lane, server, shared, rng, note)
        })
    }

    fn dump_present(&self, cycle: &mut Cycle) -> Result<(), Stop> {
        let folder = self.work.join("dump");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("dump.rdb"), dump::BYTES)?;
        match self.launch(folder).start() {
            Ok((server, took)) => {
                cycle.start_ms = took.as_millis() as u64;
                let value = server.connect()?.call(&[b"GET", dump::KEY])?;
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
            Err(why) => Err(wrong(Wrong::UnnamedRefusal, why.to_string())),
        }
    }
}

fn version(server: &Server) -> Option<String> {
    let reply = server.connect().ok()?.call(&[b"INFO", b"server"]).ok()?;
    let text = String::from_utf8_lossy(reply.bytes()?).into_owned();
    let of = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    of("firn_version:").or_else(|| of("valkey_version:")).or_else(|| of("redis_version:"))
}

fn instant(server: &mut Server) -> io::Result<Crash> {
    let began = Instant::now();
    server.kill()?;
    Ok(Crash { began, ended: Instant::now(), sharp: true })
}

/// The fault itself, while clients write. The server is gone afterwards, or about to be killed.
fn strike(
    fault: Fault,
    lane: &Lane,
    server: &mut Server,
    shared: &Shared,
    rng: &mut Rng,
    note: &mut String,
) -> Result<Crash, Stop> {
    let expect_errors = || shared.faulty.store(true, Ordering::SeqCst);
    match fault {
        Fault::KillSnapshot | Fault::KillRewrite => {
            let word: &[u8] = if fault == Fault::KillSnapshot { b"BGSAVE" } else { b"BGREWRITEAOF" };
            let reply = server.connect()?.call(&[word])?;
            if reply.is_error() {
                *note = reply.to_string();
            }
            std::thread::sleep(Duration::from_micros(rng.below(12_000)));
            Ok(instant(server)?)
        }
        Fault::Term | Fault::KillStart => {
            expect_errors();
            let began = Instant::now();
            match server.terminate(STOP_MAX)? {
                Some(_) => Ok(Crash { began, ended: Instant::now(), sharp: true }),
                None => Err(wrong(Wrong::StopDoesNotEnd, format!("it runs on {STOP_MAX:?} after SIGTERM"))),
            }
        }
        Fault::PowerCut | Fault::PowerCutReordered => {
            expect_errors();
            let began = Instant::now();
            lane.fuse()?.cut(rng, fault == Fault::PowerCutReordered);
            let crash = Crash { began, ended: Instant::now(), sharp: true };
            // It learns of it in its own way; its later acknowledgements are lies.
            std::thread::sleep(Duration::from_millis(rng.below(60)));
            server.kill()?;
            Ok(crash)
        }
        Fault::PowerCutExt4 => {
            let Store::Ext4(disk) = &lane.store else { return Err(io::Error::other("no ext4").into()) };
            expect_errors();
            let frozen = rng.one_in(2);
            if frozen {
                server.stop()?;
            }
            let began = Instant::now();
            disk.cut()?;
            let ended = Instant::now();
            if frozen {
                server.go_on()?;
            }
            std::thread::sleep(Duration::from_millis(rng.below(60)));
            server.kill()?;
            Ok(Crash { began, ended, sharp: frozen })
        }
        Fault::EioFsync | Fault::EioWrite => {
            expect_errors();
            let fuse = lane.fuse()?;
            if fault == Fault::EioFsync {
                fuse.disk().faults.fail_syncs = 1;
            } else {
                fuse.disk().faults.fail_writes = 1;
            }
            met(fuse, server, note);
            std::thread::sleep(Duration::from_millis(100 + rng.below(300)));
            let ended_by_itself = server.has_ended();
            let crash = instant(server)?;
            if let Some(status) = ended_by_itself {
                *note = format!("the process ended ({})", ended(status));
            }
            fuse.disk().calm();
            Ok(crash)
        }
        Fault::FullDisk => full_disk(lane, server, shared, rng, note),
        Fault::SlowSync => {
            let fuse = lane.fuse()?;
            fuse.disk().faults.sync_delay = Some(Duration::from_millis(500 + rng.below(2000)));
            std::thread::sleep(Duration::from_millis(200 + rng.below(1800)));
            let crash = instant(server)?;
            fuse.disk().calm();
            Ok(crash)
        }
        Fault::ShortWrite => {
            expect_errors();
            let fuse = lane.fuse()?;
            fuse.disk().faults.short_writes = Some(64);
            std::thread::sleep(Duration::from_millis(20 + rng.below(200)));
            let status = server.has_ended();
            let crash = instant(server)?;
            if let Some(status) = status {
                *note = format!("the process ended ({})", ended(status));
            }
            fuse.disk().calm();
            Ok(crash)
        }
        Fault::Oom => {
            expect_errors();
            let began = Instant::now();
            memory::exhaust(server)?;
            Ok(Crash { began, ended: Instant::now(), sharp: true })
        }
        _ => Ok(instant(server)?),
    }
}

/// Waits until a disk fault was met.
fn met(fuse: &FuseDisk, server: &mut Server, note: &mut String) -> bool {
    let began = Instant::now();
    while fuse.disk().faults.happened == 0 {
        if began.elapsed() > MET_MAX || server.has_ended().is_some() {
            *note = "the fault was not met".into();
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

fn full_disk(
    lane: &Lane,
    server: &mut Server,
    shared: &Shared,
    rng: &mut Rng,
    note: &mut String,
) -> Result<Crash, Stop> {
    shared.faulty.store(true, Ordering::SeqCst);
    let fuse = lane.fuse()?;
    {
        let mut disk = fuse.disk();
        disk.faults.capacity = Some(disk.used() + rng.below(64 * 1024));
    }
    let was_met = met(fuse, server, note);
    std::thread::sleep(Duration::from_millis(200 + rng.below(400)));
    if let Some(status) = server.has_ended() {
        fuse.disk().calm();
        return Err(wrong(Wrong::Ended, format!("the disk is full, and the process ended ({})", ended(status))));
    }
    if was_met {
        let answer = server.connect().and_then(|mut client| client.call(&[b"GET", b"none"]));
        if !matches!(&answer, Ok(value) if !value.is_error()) {
            fuse.disk().calm();
            return Err(wrong(Wrong::DoesNotRead, format!("the disk is full, and a GET is answered with {answer:?}")));
        }
    }
    let before = shared.acknowledged.load(Ordering::Relaxed);
    fuse.disk().calm();
    let began = Instant::now();
    while shared.acknowledged.load(Ordering::Relaxed) < before + 20 {
        if let Some(status) = server.has_ended() {
            return Err(wrong(
                Wrong::Ended,
                format!("the disk has room again, and the process ended ({})", ended(status)),
            ));
        }
        if began.elapsed() > RESUME_MAX {
            let text = format!("{RESUME_MAX:?} after the disk has room again no write is accepted");
            return Err(wrong(Wrong::DoesNotResume, text));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    *note = format!("writes resumed after {} ms", began.elapsed().as_millis());
    std::thread::sleep(Duration::from_millis(rng.below(100)));
    Ok(instant(server)?)
}
