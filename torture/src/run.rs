//! All servers, all policies, all cycles: chooses faults, shows progress, keeps what a violation leaves, and sees to it that whatever was found is
//! reported, however the run ends.

use crate::check::{self, Checked};
use crate::cycle::Torture;
use crate::fault::{self, Fault};
use crate::leftovers::{self, Work};
use crate::model::Workload;
use crate::plan::{Plan, Policy, TortureArgs};
use crate::progress::Progress;
use crate::report::{Report, Run, Violation, counted, lines};
use crate::rng::{Rng, mix, unix_ms};
use crate::{damage, html, replay, server, stop};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So many cycles with a violation leave their files.
const KEPT_MAX: usize = 3;
/// A run ends at so many violations: more of them say nothing new.
const VIOLATIONS_MAX: usize = 500;

/// How `firn torture` ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Nothing was found.
    Fine,
    /// There are violations.
    Violations,
    /// This signal ended it early. What was found until then is reported.
    Signal(i32),
}

/// Why a run says nothing, or less than it was to say. What it found until then is reported all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The command line is wrong; nothing was started.
    Usage(String),
    /// A fault that this machine cannot do, a server that does not start or takes no write, a full disk of our own.
    Broken(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Broken(error.to_string())
    }
}

/// Runs everything that the arguments ask for, and writes the report.
///
/// # Errors
/// A wrong command line, and what keeps it from running or from proving anything. A run with violations ends with these.
pub fn run(arguments: &TortureArgs, out: &mut dyn Write) -> Result<Ended, Failure> {
    if arguments.list_faults {
        list(out)?;
        return Ok(Ended::Fine);
    }
    let Checked { policies, page } = check::check(arguments)?;
    stop::listen();
    leftovers::tell_stale();
    let seed = arguments.seed.unwrap_or_else(|| Rng(unix_ms()).draw() >> 32);
    let mut jobs: Vec<Job<'_>> = Vec::new();
    let names: Vec<String> = arguments.server.iter().map(|command| name_of(command)).collect();
    for (at, command) in arguments.server.iter().enumerate() {
        // Two servers of one name are told apart by their numbers.
        let is_one_of_many = names.iter().filter(|name| **name == names[at]).count() > 1;
        let number = is_one_of_many.then(|| 1 + names[..at].iter().filter(|name| **name == names[at]).count());
        let job = |&policy: &Policy| Job { arguments, command, number, policy, seed, version: String::new() };
        jobs.extend(policies.iter().map(job));
    }
    // A mistake in the last command line costs nothing of the first ones' cycles.
    for (at, job) in jobs.iter_mut().enumerate() {
        if stop::is_asked() {
            break;
        }
        job.try_out(at == 0).map_err(|why| Failure::Broken(format!("{}: {}", job.command, lines(&why))))?;
    }
    let mut report = Report::default();
    let mut kept = Kept { folder: arguments.keep.clone(), count: 0 };
    let mut trouble = None;
    for job in &jobs {
        if stop::is_asked() || trouble.is_some() || (arguments.fail_fast && !report.is_fine()) {
            report.not_begun.push(job.title());
            continue;
        }
        match job.run(&mut kept) {
            Ok(run) => {
                trouble.clone_from(&run.trouble);
                report.runs.push(run);
            }
            Err(why) => {
                report.not_begun.push(job.title());
                trouble = Some(why);
            }
        }
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &report.told(trouble.as_deref())).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(report.text().as_bytes())?;
        let (passed, bad) = report.passed();
        writeln!(out, "torture: {passed} passed, {bad} failed")?;
    }
    out.flush()?;
    // Last, so that its failure costs nothing else.
    if let Some(page) = page
        && let Err(why) = page.write(&html::page(&report))
    {
        trouble.get_or_insert(why);
    }
    if let Some(signal) = stop::signal() {
        return Ok(Ended::Signal(signal));
    }
    match (report.is_fine(), trouble.or_else(|| report.proves_nothing())) {
        (true, None) => Ok(Ended::Fine),
        (true, Some(why)) => Err(Failure::Broken(lines(&why))),
        (false, trouble) => {
            trouble.iter().for_each(|why| eprintln!("torture: {}", lines(why)));
            Ok(Ended::Violations)
        }
    }
}

fn list(out: &mut dyn Write) -> io::Result<()> {
    let work = Work::create()?;
    let plan = Plan {
        command: String::new(),
        policy: Policy::Always,
        faults: Vec::new(),
        seed: 0,
        clients: 1,
        workloads: Vec::new(),
        load_max: None,
        start_max: Duration::ZERO,
        answer_max: Duration::ZERO,
        writes_first: false,
        port: 0,
    };
    let mut torture = Torture::new(plan, work.path());
    for (fault, group, what) in fault::list() {
        let here = match torture.provide(fault) {
            Ok(()) => "yes".to_owned(),
            Err(why) => format!("no: {why}"),
        };
        writeln!(out, "{group:<10} {:<20} {what}; by {}; here: {here}", fault.name(), fault.medium().name())?;
    }
    Ok(())
}

struct Kept {
    folder: Option<PathBuf>,
    count: usize,
}

impl Kept {
    /// Copies the files of a cycle with a violation. That this fails is told with the violation, and ends nothing.
    fn keep(&mut self, violation: &mut Violation, folder: &Path, log: &Path) {
        if self.count < KEPT_MAX {
            let place = self.copy(&violation.fault, folder, log);
            violation.kept = Some(place.unwrap_or_else(|error| format!("could not be kept: {error}")));
        }
    }

    fn copy(&mut self, fault: &str, folder: &Path, log: &Path) -> io::Result<String> {
        let home = match &self.folder {
            Some(home) => home,
            None => {
                let made = tempfile::Builder::new().prefix("firn-torture-kept-").tempdir()?;
                self.folder.insert(made.keep())
            }
        };
        self.count += 1;
        // What an earlier run left there stays.
        let free = (self.count..).map(|number| home.join(format!("{number}-{fault}"))).find(|place| !place.exists());
        let place = free.unwrap_or_else(|| home.join(fault));
        damage::copy(folder, &place)?;
        std::fs::copy(log, place.join("server-output.txt"))?;
        Ok(place.display().to_string())
    }
}

/// One server under one policy.
struct Job<'a> {
    arguments: &'a TortureArgs,
    command: &'a str,
    number: Option<usize>,
    policy: Policy,
    seed: u64,
    /// What it says that it is, once it was tried out.
    version: String,
}

impl Job<'_> {
    /// What it is called where there is no run of it to name.
    fn title(&self) -> String {
        let number = self.number.map_or(String::new(), |number| format!(" #{number}"));
        format!("{}{number}, {}", name_of(self.command), self.policy.name())
    }

    fn plan(&self, faults: Vec<Fault>) -> Result<Plan, String> {
        let arguments = self.arguments;
        let all = arguments.workload.is_empty();
        Ok(Plan {
            command: self.command.into(),
            policy: self.policy,
            faults,
            seed: self.seed,
            clients: arguments.clients.into(),
            workloads: if all { Workload::ALL.to_vec() } else { arguments.workload.clone() },
            load_max: arguments.load.map(Duration::from_millis),
            start_max: Duration::from_secs(arguments.start_limit),
            answer_max: Duration::from_secs(arguments.answer_limit),
            writes_first: arguments.writes_first,
            port: arguments.port.map_or_else(server::free_port, Ok).map_err(|error| error.to_string())?,
        })
    }

    /// Its first start, and whether this machine can make the faults, which are those of all.
    fn try_out(&mut self, with_faults: bool) -> Result<(), String> {
        let work = Work::create().map_err(|error| error.to_string())?;
        let faults = self.faults();
        let mut torture = Torture::new(self.plan(faults.clone())?, work.path());
        for fault in faults.into_iter().filter(|_| with_faults) {
            provide(&mut torture, fault)?;
        }
        torture.try_out()?;
        self.version = torture.version;
        Ok(())
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.arguments.faults.iter().flatten().copied().collect();
        faults.sort_unstable();
        faults.dedup();
        faults
    }

    fn run(&self, kept: &mut Kept) -> Result<Run, String> {
        let arguments = self.arguments;
        let work = Work::create().map_err(|error| error.to_string())?;
        let mut faults = self.faults();
        let mut torture = Torture::new(self.plan(faults.clone())?, work.path());
        torture.version.clone_from(&self.version);
        let cycles = arguments.cycles_max();
        let mut run = Run {
            server: name_of(self.command),
            number: self.number,
            version: self.version.clone(),
            command: self.command.into(),
            policy: self.policy.name().into(),
            seed: self.seed,
            mechanisms: std::collections::BTreeMap::new(),
            seconds: 0.0,
            cycles: Vec::new(),
            violations: Vec::new(),
            ended_by: None,
            trouble: None,
        };
        for fault in &mut faults {
            *fault = provide(&mut torture, *fault)?;
            run.mechanisms.insert(fault.name().into(), fault.medium().name().into());
        }
        torture.plan.faults.clone_from(&faults);
        let began = Instant::now();
        torture.until = arguments.minutes.and_then(|limit| began.checked_add(limit));
        let (mut early, mut stopped) = (None, None);
        let mut progress = Progress::new(run.title(), cycles);
        let mut number = 0;
        while early.is_none() && cycles.is_none_or(|cycles| number < cycles) {
            // One cycle is the least.
            if number > 0 && torture.until.is_some_and(|until| Instant::now() >= until) {
                stopped = Some("--minutes".into());
                break;
            }
            let fault = dealt(&faults, self.seed, number);
            progress.tell(number, fault.name(), run.violations.len());
            if stop::is_asked() {
                break;
            }
            match torture.cycle(number, fault) {
                Ok(Some((cycle, violation))) => {
                    run.cycles.push(cycle);
                    let Some(mut violation) = violation else {
                        number += 1;
                        continue;
                    };
                    let (folder, log) = torture.files(fault);
                    kept.keep(&mut violation, &folder, &log);
                    violation.replay = replay::lines(arguments, self.command, self.policy, &violation, self.seed);
                    if violation.fault != fault.name() {
                        // An earlier cycle's: this one alone shows nothing.
                        violation.replay[0] = violation.replay[1].clone();
                    }
                    run.violations.push(violation);
                    early = torture.reset(fault).err();
                    number += 1;
                    if arguments.fail_fast || run.violations.len() == VIOLATIONS_MAX {
                        let many = counted(run.violations.len() as u64, "violation");
                        stopped = Some(if arguments.fail_fast { "--fail-fast".into() } else { many });
                        break;
                    }
                }
                Ok(None) => break,
                Err(why) => early = Some(why),
            }
        }
        drop(progress);
        if let Some(signal) = stop::signal() {
            stopped = Some(format!("a signal ({})", stop::name(signal)));
        } else if let Some(why) = &early {
            stopped = Some(format!("an error ({why})"));
        }
        let done = run.cycles.len() as u64;
        let done = cycles.map_or_else(|| counted(done, "cycle"), |of| format!("{done} of {}", counted(of, "cycle")));
        run.ended_by = stopped.map(|by| format!("ended by {by} after {done}"));
        run.trouble = early.filter(|_| !stop::is_asked());
        run.seconds = began.elapsed().as_secs_f64();
        Ok(run)
    }
}

/// Makes what a fault needs; gives the fault that can be made. A power cut has two mechanisms: the cheaper one, else the other.
fn provide(torture: &mut Torture, fault: Fault) -> Result<Fault, String> {
    match torture.provide(fault) {
        Ok(()) => Ok(fault),
        Err(_) if fault == Fault::PowerCut && torture.provide(Fault::PowerCutExt4).is_ok() => Ok(Fault::PowerCutExt4),
        Err(why) => Err(why),
    }
}

/// The fault of a cycle. They are dealt like cards, in an order of each round's own: every one has its turn before any comes again.
fn dealt(faults: &[Fault], seed: u64, number: u64) -> Fault {
    let count = faults.len() as u64;
    let mut rng = Rng(mix(seed ^ mix(number / count)));
    let mut deck = faults.to_vec();
    for last in (1..count).rev() {
        deck.swap(last as usize, rng.below(last + 1) as usize);
    }
    deck[(number % count) as usize]
}

/// The program of a command line, without its folder and without `env NAME=VALUE` before it.
fn name_of(command: &str) -> String {
    let is_program = |word: &&str| *word != "env" && !word.contains('=');
    let program = command.split_whitespace().find(is_program).unwrap_or("server");
    program.rsplit('/').next().unwrap_or(program).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_turn_in_every_round() {
        let faults = fault::parse("all").unwrap();
        let count = faults.len() as u64;
        let round = |seed, round| (round * count..(round + 1) * count).map(|at| dealt(&faults, seed, at)).collect();
        for seed in [0, 1, u64::MAX] {
            let rounds: [Vec<Fault>; 2] = [round(seed, 0), round(seed, 1)];
            for dealt in &rounds {
                let mut sorted = dealt.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, faults, "seed {seed}");
            }
            assert_ne!(rounds[0], rounds[1], "the order is each round's own");
        }
        assert_ne!(round(1, 0), round(2, 0), "the order is the seed's");
        assert_eq!(dealt(&[Fault::Term], 7, 3), Fault::Term);
    }
}
