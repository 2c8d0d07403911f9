//! One fault after the other: start, load, fault, start again, judge, go on from what came back.
//!
//! Here are the parts of a cycle; [`scenario`] puts them together, [`strike`] has the faults, [`lane`] the stores.

mod lane;
mod scenario;
mod strike;

use crate::fault::{Fault, Medium};
use crate::judge::{self, Case, Contract, Crash, Picture, Verdict};
use crate::load::{self, History, Load, Seen, Shared, Writer};
use crate::plan::{Plan, Policy};
use crate::refused::IN_FLIGHT_MAX;
use crate::report::{Cycle, Outcome, Violation, Wrong};
use crate::rng::Rng;
use crate::server::{Launch, NoStart, OUT_OF_REACH, Server, ended, last_lines};
use crate::stall::{self, Patience, Stalls};
use crate::{client, clock, group, memory, stop};
use lane::Lane;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// What ends a cycle early.
pub(crate) enum Stop {
    /// The server's doing.
    Violation(Box<Violation>),
    /// Ours, or the machine's.
    Broken(String),
    /// A signal: the cycle does not count.
    Asked,
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

/// How long clients may go on after the end of the server: as long as it takes to read what it had sent.
const CLIENTS_END_MAX: Duration = Duration::from_secs(15);
/// How long the first load of a store waits for the first acknowledgement, whatever --load says.
const FIRST_MAX: Duration = Duration::from_secs(5);
/// How long a process that has closed a connection may take to end, if that is why.
const END_MAX: Duration = Duration::from_secs(3);
/// A slow disk of our own may hold an answer up for longer than the server is given to answer.
const SLOW_ANSWER_MAX: Duration = Duration::from_secs(60);

/// What an exchange with a server that was up says of it when it fails.
fn unanswered(server: &Server, doing: &str, error: &io::Error) -> Stop {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let is_closed =
        matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionRefused | ConnectionAborted);
    let status: Option<ExitStatus> =
        if is_closed { server.wait_for_end(END_MAX).ok().flatten() } else { server.has_ended() };
    match status {
        Some(status) => wrong(Wrong::Ended, format!("it ended while {doing} ({})", ended(status))),
        None if error.kind() == io::ErrorKind::InvalidData => {
            wrong(Wrong::FalseReply, format!("while {doing}: {error}"))
        }
        None if is_closed => {
            wrong(Wrong::DoesNotAnswer, format!("it runs, and ended the connection while {doing}: {error}"))
        }
        None if client::is_hung(error) => {
            wrong(Wrong::DoesNotAnswer, format!("it runs, and does not answer while {doing}: {error}"))
        }
        None => Stop::Broken(format!("while {doing}: {error}")),
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
    /// Increments of the shared counter that are in the histories and may not have happened.
    unsure_increments: u64,
}

/// The cycles of one server under one policy.
pub(crate) struct Torture {
    pub(crate) plan: Plan,
    work: PathBuf,
    lanes: BTreeMap<Medium, Lane>,
    databases: bool,
    began: Instant,
    /// When the run is to end.
    pub(crate) until: Option<Instant>,
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
            until: None,
            version: String::new(),
        }
    }

    /// Makes what a fault needs; the error says what is missing.
    pub(crate) fn provide(&mut self, fault: Fault) -> Result<(), String> {
        self.make(fault).map_err(|why| match fault {
            Fault::Clock => why,
            _ if rustix::process::geteuid().is_root() => why,
            _ => format!("{why} (it takes root; without: --faults kills,damage)"),
        })
    }

    fn make(&mut self, fault: Fault) -> Result<(), String> {
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

    /// The first start, on an empty folder, and a first write: what fails here says nothing about recovery.
    pub(crate) fn try_out(&mut self) -> Result<(), String> {
        let folder = self.work.join("first");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let launch = Launch { is_first: true, ..self.launch(folder.clone()) };
        let mut server = match launch.start() {
            Ok((server, _)) => server,
            Err(NoStart::Asked) => return Ok(()),
            Err(why) => return Err(format!("the server does not start: {why}{}", self.hint(&why))),
        };
        let mut written = server.connect().and_then(|mut client| client.call(&[b"SET", b"firn-torture", b"1"]));
        if written.is_err() && stop::is_asked() {
            written = Ok(client::Value::Null);
        }
        let said = || last_lines(&server.said());
        match written {
            Err(error) => {
                return Err(format!("the server starts, and its first write fails: {error}; it printed: {}", said()));
            }
            Ok(answer) if answer.is_error() => {
                return Err(format!("the server starts, and refuses its first write: SET was answered with {answer}"));
            }
            Ok(_) => {}
        }
        self.version = version(&server).unwrap_or_default();
        server.kill().map_err(|error| format!("kill -9: {error}"))?;
        if server.connect().and_then(|mut client| client.call(&[b"PING"])).is_ok() {
            let who = if group::end_strays(&self.work) { OUT_OF_REACH } else { "another server listens there" };
            return Err(format!("port {} answers after kill -9 of what was started: {who}", self.plan.port));
        }
        std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())
    }

    /// What may be behind a first start that failed.
    fn hint(&self, why: &NoStart) -> String {
        match why {
            NoStart::Refused { status, .. } if status.success() && group::end_strays(&self.work) => {
                format!("; {OUT_OF_REACH}")
            }
            NoStart::Refused { status, .. } if status.code() == Some(127) => "; is its program there?".into(),
            NoStart::TooLong { answer, .. } if answer.contains("NOAUTH") => {
                "; it asks for a password, and has to be started without one".into()
            }
            NoStart::TooLong { answer, .. } if answer.contains("refused") => {
                format!("; nobody listens on port {}: is it told so by {{port}}?", self.plan.port)
            }
            _ => String::new(),
        }
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
            work: self.work.clone(),
            start_max: self.plan.start_max,
            answer_max: self.plan.answer_max,
            is_first: false,
            environment: Vec::new(),
        }
    }

    /// One cycle; none where a signal ended it before it was judged. A violation is in it; an error is not the server's.
    pub(crate) fn cycle(&mut self, number: u64, fault: Fault) -> Result<Option<(Cycle, Option<Violation>)>, String> {
        let seed = self.plan.seed.wrapping_add(number);
        let mut rng = Rng(seed);
        // One draw chose the fault.
        rng.draw();
        let began = Instant::now();
        let mut cycle = Cycle::new(number, seed, fault.name(), self.began.elapsed().as_millis() as u64);
        let mut lane = self.lanes.remove(&fault.medium()).ok_or("the fault was not provided for")?;
        let mut result = match fault {
            Fault::DumpPresent => self.dump_present(&mut cycle),
            Fault::EioRestartCut => self.eio_restart_cut(&mut lane, &mut cycle, &mut rng),
            _ if fault.is_damage() => self.damaged(fault, &mut lane, &mut cycle, &mut rng),
            _ => self.crashed(fault, &mut lane, &mut cycle, &mut rng),
        };
        // A dump.rdb lies in a folder of its own.
        if let (Err(Stop::Violation(violation)), true) = (&mut result, fault != Fault::DumpPresent) {
            lane.trace(violation, &mut cycle);
        }
        lane.is_proven |= cycle.acknowledged > 0;
        if lane.last == Some(number) {
            lane.newest = Some((fault, number));
        }
        self.lanes.insert(fault.medium(), lane);
        cycle.took_ms = began.elapsed().as_millis() as u64;
        match result {
            Ok(()) => Ok(Some((cycle, None))),
            Err(Stop::Asked) => Ok(None),
            // A terminal's Ctrl-C reaches mount and its like as well.
            Err(Stop::Broken(_)) if stop::is_asked() => Ok(None),
            Err(Stop::Broken(text)) => Err(format!("cycle {number} ({}): {text}", fault.name())),
            Err(Stop::Violation(mut violation)) => {
                cycle.outcome = Outcome::Violation;
                (violation.cycle, violation.seed, violation.fault) = (number, seed, cycle.fault.clone());
                // A start that was refused has told already.
                if violation.said.is_empty() && !violation.text.contains("the start ended") {
                    let log = std::fs::read(self.work.join("log")).unwrap_or_default();
                    violation.said = last_lines(&String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]));
                }
                Ok(Some((cycle, Some(*violation))))
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
            Ok((server, took)) => {
                lane.start = took;
                lane.is_known = true;
                Ok(server)
            }
            Err(NoStart::Failed(error)) => Err(error.into()),
            Err(NoStart::Asked) => Err(Stop::Asked),
            Err(why) if !lane.is_known => {
                Err(Stop::Broken(format!("the server does not start on {}: {why}", fault.medium().name())))
            }
            Err(why @ NoStart::TooLong { .. }) => Err(wrong(Wrong::StartDoesNotEnd, why.to_string())),
            // Nothing was ever asked of this store.
            Err(why) if lane.last.is_none() => Err(Stop::Broken(format!("the server does not start: {why}"))),
            Err(why) => Err(wrong(Wrong::RefusedStart, format!("files as the server left them: {why}"))),
        }
    }

    fn load_of(&self) -> Load {
        Load {
            port: self.plan.port,
            clients: self.plan.clients,
            workloads: self.plan.workloads.clone(),
            databases: self.databases,
            answer_max: self.plan.answer_max,
        }
    }

    /// Lets the clients write until `strike`, which is this fault, has crashed the server.
    fn load(
        &mut self,
        fault: Fault,
        lane: &mut Lane,
        server: &mut Server,
        cycle: &mut Cycle,
        rng: &mut Rng,
        strike: impl FnOnce(&Lane, &mut Server, &Shared, &mut Rng, &mut String) -> Result<Crash, Stop>,
    ) -> Result<Loaded, Stop> {
        let prepared = server.connect().and_then(|mut client| load::prepare(&mut client, lane.last));
        self.databases = prepared.map_err(|error| unanswered(server, "a cycle is prepared", &error))?;
        lane.last = Some(cycle.cycle);
        for state in &mut lane.states {
            // The shared keys are the cycle's own.
            (state.log, state.count) = ((0, 0), 0);
        }
        let (mut load, shared) = (self.load_of(), Shared::new());
        if matches!(fault, Fault::SlowSync | Fault::SlowCut) {
            load.answer_max = load.answer_max.max(SLOW_ANSWER_MAX);
        }
        // A rewrite flushes everything anew, which mends what a failed fsync has left.
        let operated = rng.one_in(if fault == Fault::EioRestartCut { 8 } else { 2 });
        let lane = &*lane;
        let depth_max = if fault.refuses() { IN_FLIGHT_MAX as u64 } else { u64::MAX };
        let (watched, done) = (self.plan.policy == Policy::Everysec, AtomicBool::new(false));
        let loaded = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..load.clients)
                .map(|client| {
                    let writer = Writer {
                        client,
                        base: lane.states[client].clone(),
                        next: lane.numbers[client],
                        cycle: cycle.cycle,
                        depth: depth_max.min([1, 2, 16, 64][client % 4]),
                        rng: Rng(rng.draw()),
                    };
                    let (load, shared) = (&load, &shared);
                    scope.spawn(move || writer.run(load, shared))
                })
                .collect();
            let (reader_rng, operator_rng) = (Rng(rng.draw()), Rng(rng.draw()));
            let (load, shared) = (&load, &shared);
            let reader = scope.spawn(move || load::read_others(load, shared, reader_rng));
            let operator = operated.then(|| scope.spawn(move || load::operate(load, shared, operator_rng)));
            let (pids, done) = (server.pids(), &done);
            let watch = watched.then(|| scope.spawn(move || stall::watch(&pids.ok()?, done)));
            // Faults that come before any acknowledgement prove nothing: the first one on a store has something to lose.
            let began = Instant::now();
            while !lane.is_proven
                && !shared.any.load(Ordering::Relaxed)
                && began.elapsed() < FIRST_MAX
                && !writers.iter().all(|writer| writer.is_finished())
                && !stop::is_asked()
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            let struck = strike(lane, server, shared, rng, &mut cycle.note);
            done.store(true, Ordering::Relaxed);
            // Whatever happened: the clients end when the server does.
            let killed = server.kill().map(drop);
            let is_over = || {
                let rest_is_over = reader.is_finished() && operator.as_ref().is_none_or(ScopedJoinHandle::is_finished);
                rest_is_over && writers.iter().all(ScopedJoinHandle::is_finished)
            };
            let mut patience = Patience::new(CLIENTS_END_MAX);
            while !is_over() && !patience.is_over() {
                std::thread::sleep(Duration::from_micros(200));
            }
            let is_out_of_reach = !is_over();
            shared.give_up();
            let panicked = |_| io::Error::other("a client panicked");
            let mut histories = Vec::new();
            for writer in writers {
                histories.push(writer.join().map_err(panicked)?);
            }
            let seen = reader.join().map_err(panicked)?;
            let snapshots = operator.map_or(Ok(0), |operator| operator.join().map_err(panicked))?;
            let stalls = watch.map_or(Ok(None), |watch| watch.join().map_err(panicked))?;
            killed?;
            if is_out_of_reach {
                group::end_strays(&self.work);
                return Err(Stop::Broken(format!(
                    "clients are still connected {CLIENTS_END_MAX:?} after kill -9: {OUT_OF_REACH}"
                )));
            }
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
        let first_loss = histories.iter().find_map(|history| history.lost.as_ref());
        let first = first_refusal.or(first_loss.filter(|_| cycle.acknowledged == 0));
        if let Some(text) = first.filter(|_| cycle.note.is_empty()) {
            cycle.note.clone_from(text);
        }
        let crash = struck?;
        Ok(Loaded { histories, seen, crash, stalls, unsure_increments: 0 })
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

    fn observe(&self, server: &Server, cycle: &Cycle) -> Result<Picture, Stop> {
        let seen = server.connect().and_then(|mut client| judge::observe(&mut client, &self.load_of(), cycle.cycle));
        seen.map_err(|error| unanswered(server, "everything is read back", &error))
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
        let Loaded { histories, seen, crash, stalls, .. } = loaded;
        let mut verdicts = Vec::new();
        let crashes = self.aged(loaded, contract);
        for (client, history) in histories.iter().enumerate() {
            if let Some(finding) = history.findings.first() {
                return Err(wrong(Wrong::FalseReply, format!("before the fault: {finding}")));
            }
            if let Some(hung) = &history.hung {
                return Err(wrong(Wrong::DoesNotAnswer, format!("before the fault: {hung}")));
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
        judge::one_moment(&histories, &verdicts, picture.count, loaded.unsure_increments)?;
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
}

fn version(server: &Server) -> Option<String> {
    let reply = server.connect().ok()?.call(&[b"INFO", b"server"]).ok()?;
    let text = String::from_utf8_lossy(reply.bytes()?).into_owned();
    let of = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    of("firn_version:").or_else(|| of("valkey_version:")).or_else(|| of("redis_version:"))
}
