//! All servers, all policies, all cycles: chooses faults, shows progress, keeps what a violation leaves, and tells how to see it again.

use crate::cycle::Torture;
use crate::damage;
use crate::fault::{self, Fault};
use crate::model::Workload;
use crate::plan::{Plan, Policy, TortureArgs};
use crate::report::{Report, Run, Violation};
use crate::rng::{Rng, unix_ms};
use crate::{html, server, stop};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
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
}

/// Runs everything that the arguments ask for, and writes the report.
///
/// # Errors
/// What keeps it from running: a fault that this machine cannot do, a server that does not start, a full disk of our own.
pub fn run(arguments: &TortureArgs, out: &mut dyn Write) -> Result<Ended, String> {
    let text = |error: std::io::Error| error.to_string();
    if arguments.list_faults {
        list(out).map_err(text)?;
        return Ok(Ended::Fine);
    }
    stop::listen();
    let mut report = Report::default();
    let seed = arguments.seed.unwrap_or_else(|| Rng(unix_ms()).draw() >> 32);
    let mut kept = Kept { folder: arguments.keep.clone(), count: 0 };
    'all: for command in &arguments.server {
        if !command.contains("{port}") || !command.contains("{dir}") {
            return Err(format!("--server needs {{port}} and {{dir}} in its command line: {command}"));
        }
        for &policy in &arguments.policy {
            let done = one(arguments, command, policy, seed, &mut kept)?;
            let bad = !done.violations.is_empty();
            report.runs.push(done);
            if stop::is_asked() || (bad && arguments.fail_fast) {
                break 'all;
            }
        }
    }
    if let Some(path) = &arguments.html {
        std::fs::write(path, html::page(&report)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(|error| error.to_string())?;
        writeln!(out).map_err(text)?;
    } else {
        out.write_all(report.text().as_bytes()).map_err(text)?;
        let cycles: usize = report.runs.iter().map(|run| run.cycles.len()).sum();
        let bad: usize = report.runs.iter().map(|run| run.violations.len()).sum();
        writeln!(out, "torture: {} passed, {bad} failed", cycles - bad.min(cycles)).map_err(text)?;
    }
    Ok(if report.is_fine() { Ended::Fine } else { Ended::Violations })
}

fn list(out: &mut dyn Write) -> std::io::Result<()> {
    let work = tempfile::tempdir()?;
    let plan = Plan {
        command: String::new(),
        policy: Policy::Always,
        faults: Vec::new(),
        seed: 0,
        clients: 1,
        workloads: Vec::new(),
        load_max: None,
        start_max: Duration::ZERO,
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
    /// Copies the files of a cycle with a violation.
    fn keep(&mut self, violation: &mut Violation, folder: &Path, log: &Path) -> Result<(), String> {
        if self.count == KEPT_MAX {
            return Ok(());
        }
        let error = |error: std::io::Error| format!("keeping the files of a violation: {error}");
        if self.folder.is_none() {
            let made = tempfile::Builder::new().prefix("firn-torture-kept-").tempdir().map_err(error)?;
            self.folder = Some(made.keep());
        }
        let Some(home) = &self.folder else { return Ok(()) };
        self.count += 1;
        let place = home.join(format!("{}-{}", self.count, violation.fault));
        damage::copy(folder, &place).map_err(error)?;
        std::fs::copy(log, place.join("server-output.txt")).map_err(error)?;
        violation.kept = Some(place.display().to_string());
        Ok(())
    }
}

fn one(arguments: &TortureArgs, command: &str, policy: Policy, seed: u64, kept: &mut Kept) -> Result<Run, String> {
    let work = tempfile::Builder::new().prefix("firn-torture-").tempdir().map_err(|error| error.to_string())?;
    let mut faults: Vec<Fault> = arguments.faults.iter().flatten().copied().collect();
    faults.sort_unstable();
    faults.dedup();
    let workloads = if arguments.workload.is_empty() { Workload::ALL.to_vec() } else { arguments.workload.clone() };
    let plan = Plan {
        command: command.into(),
        policy,
        faults: faults.clone(),
        seed,
        clients: arguments.clients.into(),
        workloads,
        load_max: arguments.load.map(Duration::from_millis),
        start_max: Duration::from_secs(arguments.start_limit),
        writes_first: arguments.writes_first,
        port: arguments.port.map_or_else(server::free_port, Ok).map_err(|error| error.to_string())?,
    };
    let mut torture = Torture::new(plan, work.path());
    let mut run = Run {
        server: name_of(command),
        version: String::new(),
        command: command.into(),
        policy: policy.name().into(),
        seed,
        mechanisms: std::collections::BTreeMap::new(),
        seconds: 0.0,
        cycles: Vec::new(),
        violations: Vec::new(),
    };
    for fault in &mut faults {
        if let Err(why) = torture.provide(*fault) {
            // A power cut has two mechanisms: the cheaper one, else the other.
            if *fault != Fault::PowerCut || torture.provide(Fault::PowerCutExt4).is_err() {
                return Err(why);
            }
            *fault = Fault::PowerCutExt4;
        }
        run.mechanisms.insert(fault.name().into(), fault.medium().name().into());
    }
    torture.plan.faults.clone_from(&faults);
    let bar = ProgressBar::new(arguments.cycles);
    let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {elapsed}, about {eta} more; {msg}");
    bar.set_style(style.map_err(|error| error.to_string())?);
    bar.set_prefix(format!("{}, {}", run.server, policy.name()));
    let began = Instant::now();
    let limit = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    for number in 0..arguments.cycles {
        if limit.is_some_and(|limit| began.elapsed() >= limit) || stop::is_asked() {
            break;
        }
        let mut rng = Rng(seed.wrapping_add(number));
        let fault = *rng.one_of(&faults);
        bar.set_message(format!("{}, {} violations", fault.name(), run.violations.len()));
        let (cycle, violation) = torture.cycle(number, fault)?;
        run.cycles.push(cycle);
        if let Some(mut violation) = violation {
            let (folder, log) = torture.files(fault);
            kept.keep(&mut violation, &folder, &log)?;
            violation.replay = replay(arguments, command, policy, &violation, seed);
            run.violations.push(violation);
            torture.reset(fault)?;
            if arguments.fail_fast || run.violations.len() == VIOLATIONS_MAX {
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    run.seconds = began.elapsed().as_secs_f64();
    run.version.clone_from(&torture.version);
    Ok(run)
}

/// The program of a command line, without its folder and without `env NAME=VALUE` before it.
fn name_of(command: &str) -> String {
    let is_program = |word: &&str| *word != "env" && !word.contains('=');
    let program = command.split_whitespace().find(is_program).unwrap_or("server");
    program.rsplit('/').next().unwrap_or(program).into()
}

/// The command lines that show a violation again: its cycle on an empty store, and everything from the first cycle on.
fn replay(arguments: &TortureArgs, command: &str, policy: Policy, violation: &Violation, seed: u64) -> [String; 2] {
    let mut common =
        format!("firn torture --server '{command}' --policy {} --clients {}", policy.name(), arguments.clients);
    if !arguments.workload.is_empty() {
        let names: Vec<String> = arguments.workload.iter().map(|one| format!("{one:?}").to_lowercase()).collect();
        common.push_str(&format!(" --workload {}", names.join(",")));
    }
    if let Some(load) = arguments.load {
        common.push_str(&format!(" --load {load}"));
    }
    if arguments.writes_first {
        common.push_str(" --writes-first");
    }
    let faults: Vec<&str> = arguments.faults.iter().flatten().map(|fault| fault.name()).collect();
    [
        format!("{common} --faults {} --cycles 1 --seed {}", violation.fault, violation.seed),
        format!("{common} --faults {} --cycles {} --seed {seed}", faults.join(","), violation.cycle + 1),
    ]
}
