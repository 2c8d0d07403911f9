//! One crash after the other: start, load, crash, start again, judge, go on from what came back.
//!
//! A power cut takes time (1 to 3 ms), and ext4's shutdown call has a window that no real cut has: an fdatasync that passed
//! ext4's first look before the journal was aborted can find no transaction left to wait for, and returns 0 although its
//! bytes are gone (Linux 6.18: seen in 10 of 120 cuts of a program that only writes and flushes). A machine without power
//! acknowledges nothing; here the server still runs and passes that 0 on. So:
//! 1. In half of the cycles the server is stopped (SIGSTOP, until no thread of it is inside a call) before the cut and goes
//!    on after it: the cut falls between two instants of the server, and every acknowledgement counts.
//! 2. In the others the cut meets flushes under way. What was acknowledged before the call began counts; what was
//!    acknowledged later is unsure, but still part of a prefix of history.
//! 3. In both, under every policy: what was sent after the call had ended is never acknowledged.

use super::Rng;
use super::ext4::Ext4;
use super::judge::{self, Contract, Picture, Verdict};
use super::load::{self, History, Seen, Writer};
use super::model::State;
use crate::process::{Program, Server};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `appendfsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Every acknowledged write is on the device.
    Always,
    /// Within about a second.
    Everysec,
    /// When the kernel likes.
    No,
}

impl Policy {
    /// The directive's value.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Always => "always",
            Policy::Everysec => "everysec",
            Policy::No => "no",
        }
    }
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The policy under test.
    pub policy: Policy,
    /// How often to crash.
    pub cycles: u64,
    /// The first seed.
    pub seed: u64,
    /// How many clients write.
    pub clients: usize,
    /// Load before a crash, at least and at most.
    pub load: (Duration, Duration),
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Crashes under load.
    pub crashes: u64,
    /// Kills during a start.
    pub start_kills: u64,
    /// Snapshots and compactions begun.
    pub snapshots: u64,
    /// Commands sent.
    pub sent: u64,
    /// Commands acknowledged before the crash.
    pub acknowledged: u64,
    /// Acknowledged commands that did not come back, within what the policy allows.
    pub forgone: u64,
    /// Cuts with the server stopped: all of its acknowledgements count.
    pub frozen: u64,
    /// Commands under `always` that were acknowledged after a cut had begun that met a running server, and did not come back.
    pub unsure: u64,
}

/// When a crash was.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Before it.
    pub began: Instant,
    /// After it. A kill's end is that of the process.
    pub ended: Instant,
    /// Whether the server was stopped meanwhile.
    pub frozen: bool,
}

/// What a cycle's threads brought home.
struct Loaded {
    histories: Vec<History>,
    /// By client: what readers were shown of it.
    seen: Vec<Vec<Seen>>,
    crash: Crash,
}

/// The longest age of an acknowledged write that `everysec` may lose.
const EVERYSEC_AGE_MAX: Duration = Duration::from_secs(2);

/// The cycles of one policy on one store.
#[derive(Debug)]
pub struct Torture {
    plan: Plan,
    program: Program,
    disk: Option<Ext4>,
    states: Vec<State>,
    numbers: Vec<u64>,
    cycle: u64,
    /// What was counted so far.
    pub counts: Counts,
}

impl Torture {
    /// Begins with an empty store. With a `disk` the crash is a power cut, else kill -9.
    pub fn new(plan: Plan, program: Program, disk: Option<Ext4>) -> Torture {
        let clients = plan.clients;
        let (states, numbers) = (vec![State::new(); clients], vec![1; clients]);
        Torture { plan, program, disk, states, numbers, cycle: 0, counts: Counts::default() }
    }

    /// Runs all cycles; the error tells seed and cycle.
    pub fn run(&mut self) -> Result<(), String> {
        while self.cycle < self.plan.cycles {
            let seed = self.plan.seed.wrapping_add(self.cycle);
            if let Err(error) = self.one(seed) {
                let tail = crate::process::log_tail(&self.program.log);
                return Err(format!("seed {seed}, cycle {}: {error}\nthe server's last words:\n{tail}", self.cycle));
            }
            self.cycle += 1;
        }
        Ok(())
    }

    fn one(&mut self, seed: u64) -> Result<(), String> {
        let mut rng = Rng(seed);
        let text = |error: io::Error| error.to_string();
        let mut server = self.program.start().map_err(text)?;
        for state in &mut self.states {
            // The shared keys are the cycle's own.
            (state.log, state.count) = ((0, 0), 0);
        }
        let loaded = self.load_and_crash(&mut server, &mut rng).map_err(text)?;
        self.counts.crashes += 1;
        self.counts.frozen += u64::from(loaded.crash.frozen);
        let mut server = self.restart(&mut rng).map_err(text)?;
        let observe = |server: &Server| judge::observe(&mut server.connect()?, self.plan.clients, self.cycle);
        let picture = observe(&server).map_err(text)?;
        if rng.one_in(8) {
            server.kill().map_err(text)?;
            server = self.program.start().map_err(text)?;
            let again = observe(&server).map_err(text)?;
            same(&picture, &again)?;
        }
        let verdicts = self.judge(&loaded, &picture)?;
        for (client, (history, verdict)) in loaded.histories.iter().zip(verdicts).enumerate() {
            self.counts.sent += history.sent.len() as u64;
            self.counts.acknowledged += history.acknowledged() as u64;
            let gone = history.acknowledged().saturating_sub(verdict.prefix.1) as u64;
            if self.plan.policy == Policy::Always {
                self.counts.unsure += gone;
            } else {
                self.counts.forgone += gone;
            }
            self.numbers[client] += history.sent.len() as u64;
            self.states[client] = verdict.state;
        }
        server.kill().map_err(text)?;
        Ok(())
    }

    /// Loads the server and crashes it.
    fn load_and_crash(&mut self, server: &mut Server, rng: &mut Rng) -> io::Result<Loaded> {
        let (port, clients, faulty) = (self.program.port, self.plan.clients, AtomicBool::new(false));
        let (least, most) = self.plan.load;
        let load = least + Duration::from_micros(rng.below((most - least).as_micros().max(1) as u64));
        let operated = rng.one_in(2);
        let disk = self.disk.as_ref();
        let (loaded, snapshots) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..clients)
                .map(|client| {
                    let writer = Writer {
                        client,
                        state: self.states[client].clone(),
                        next: self.numbers[client],
                        cycle: self.cycle,
                        depth: [1, 2, 16, 64][client % 4],
                        rng: Rng(rng.draw()),
                    };
                    let faulty = &faulty;
                    scope.spawn(move || writer.run(port, faulty))
                })
                .collect();
            let reader_rng = Rng(rng.draw());
            let reader = scope.spawn(move || load::read_others(port, clients, reader_rng));
            let operator_rng = Rng(rng.draw());
            let operator = operated.then(|| scope.spawn(move || load::operate(port, operator_rng)));
            std::thread::sleep(load);
            let crashed = match disk {
                None => kill(server),
                Some(disk) => {
                    faulty.store(true, Ordering::SeqCst);
                    let crash = cut(server, disk, rng.one_in(2));
                    // It learns of it in its own way; its later acknowledgements are lies.
                    std::thread::sleep(Duration::from_millis(rng.below(60)));
                    server.kill().and(crash)
                }
            };
            let mut histories = Vec::new();
            for writer in writers {
                histories.push(writer.join().map_err(|_| io::Error::other("a writer panicked"))?);
            }
            let seen = reader.join().map_err(|_| io::Error::other("a reader panicked"))?;
            let snapshots =
                operator.map_or(Ok(0), |operator| operator.join().map_err(|_| io::Error::other("panicked")))?;
            Ok::<_, io::Error>((Loaded { histories, seen, crash: crashed? }, snapshots))
        })?;
        self.counts.snapshots += snapshots;
        if let Some(disk) = &mut self.disk {
            disk.unmount()?;
            disk.mount()?;
        }
        Ok(loaded)
    }

    /// Starts again; sometimes a start is killed too, once or several times.
    fn restart(&mut self, rng: &mut Rng) -> io::Result<Server> {
        while rng.one_in(4) {
            let mut server = self.program.spawn()?;
            std::thread::sleep(Duration::from_micros(rng.below(30_000)));
            if !server.is_running() {
                return Err(io::Error::other(format!("the server ended during its start\n{}", server.log_tail())));
            }
            server.kill()?;
            self.counts.start_kills += 1;
        }
        self.program.start()
    }

    fn judge(&self, loaded: &Loaded, picture: &Picture) -> Result<Vec<Verdict>, String> {
        let Loaded { histories, seen, crash } = loaded;
        let contract = match (&self.disk, self.plan.policy) {
            (None, _) => Contract::All,
            (_, Policy::Always) if crash.frozen => Contract::All,
            (_, Policy::Always) => Contract::OlderThan(Duration::ZERO),
            (_, Policy::Everysec) => Contract::OlderThan(EVERYSEC_AGE_MAX),
            (_, Policy::No) => Contract::Prefix,
        };
        let mut verdicts = Vec::new();
        for (client, history) in histories.iter().enumerate() {
            if let Some(finding) = history.findings.first() {
                return Err(format!("before the crash: {finding}"));
            }
            if self.disk.is_some() {
                judge::nothing_acknowledged_later(client, history, crash)?;
            }
            let mut floor = judge::floor(contract, history, crash);
            if self.plan.policy == Policy::Always {
                // What anyone was shown is durable too.
                let shown = seen[client].iter().take_while(|seen| contract.counts(seen.at, crash)).last();
                let newest = shown.map_or(0, |seen| seen.number);
                floor = floor.max((newest + 1).saturating_sub(self.numbers[client]) as usize);
            }
            verdicts.push(judge::explain(
                &self.states[client],
                client,
                history,
                &picture.clients[client],
                floor,
                crash,
            )?);
        }
        judge::one_moment(histories, &verdicts, picture.count)?;
        Ok(verdicts)
    }
}

fn kill(server: &mut Server) -> io::Result<Crash> {
    let began = Instant::now();
    server.kill()?;
    Ok(Crash { began, ended: Instant::now(), frozen: false })
}

/// Cuts the power; `frozen`: while the server is stopped.
fn cut(server: &Server, disk: &Ext4, frozen: bool) -> io::Result<Crash> {
    if frozen {
        server.stop()?;
    }
    let began = Instant::now();
    disk.cut()?;
    let ended = Instant::now();
    if frozen {
        server.go_on()?;
    }
    Ok(Crash { began, ended, frozen })
}

/// Two starts without a write between them show the same, but for what has expired meanwhile.
fn same(first: &Picture, second: &Picture) -> Result<(), String> {
    for (client, (one, two)) in first.clients.iter().zip(&second.clients).enumerate() {
        for (key, (was, is)) in one.keys.iter().zip(&two.keys).enumerate() {
            let expired = was.as_ref().is_some_and(|was| was.deadline.is_some_and(|at| at <= two.read.1));
            if was != is && !(is.is_none() && expired) {
                return Err(format!("client {client}, key {key}: another start without writes shows another state"));
            }
        }
        if one.log != two.log {
            return Err(format!("client {client}: another start without writes shows another shared log"));
        }
    }
    if first.count != second.count {
        return Err("another start without writes shows another shared counter".into());
    }
    Ok(())
}
