//! What a run found: the data, and how a person, a program (`--json`) and CI (exit code) read it.

use crate::fault::Fault;
use crate::stop;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // `words` describes each, for people.
pub enum Wrong {
    Lost,
    SilentLoss,
    Torn,
    NotAPrefix,
    FalseValue,
    CameBack,
    Invented,
    Lie,
    Unstable,
    FalseReply,
    RefusedStart,
    NeedlessRefusal,
    UnnamedRefusal,
    StartDoesNotEnd,
    StopDoesNotEnd,
    Ended,
    DoesNotRead,
    DoesNotAnswer,
    DoesNotResume,
    IgnoredDump,
}

impl Wrong {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Wrong::Lost => "acknowledged writes lost",
            Wrong::SilentLoss => "damage cut off acknowledged writes in silence",
            Wrong::Torn => "half of a transaction or command came back",
            Wrong::NotAPrefix => "not a prefix of history",
            Wrong::FalseValue => "wrong value served",
            Wrong::CameBack => "deleted or expired data came back",
            Wrong::Invented => "keys that nobody wrote",
            Wrong::Lie => "acknowledged without a disk",
            Wrong::Unstable => "two starts show two states",
            Wrong::FalseReply => "wrong reply",
            Wrong::RefusedStart => "refused to start after the fault",
            Wrong::NeedlessRefusal => "refused to start without need",
            Wrong::UnnamedRefusal => "refused to start without naming the file",
            Wrong::StartDoesNotEnd => "the start does not end",
            Wrong::StopDoesNotEnd => "SIGTERM does not end it",
            Wrong::Ended => "the process ended",
            Wrong::DoesNotRead => "no reads while writes are refused",
            Wrong::DoesNotAnswer => "it does not answer",
            Wrong::DoesNotResume => "writes do not resume",
            Wrong::IgnoredDump => "started empty beside a dump.rdb",
        }
    }
}

/// A number and what is counted.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One command of a violation's history. Times are µs from the beginning of the crash.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Who sent it.
    pub client: usize,
    /// Its number in the client's life.
    pub number: u64,
    /// The command.
    pub command: String,
    /// When it was about to be sent.
    pub sent_us: i64,
    /// When its reply was read.
    pub acknowledged_us: Option<i64>,
    /// How long the crash took.
    pub crash_us: i64,
    /// Whether the nearest state that explains what came back has it.
    pub there: bool,
}

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// What kind.
    pub wrong: Wrong,
    /// In detail.
    pub text: String,
    /// The fault of its cycle.
    pub fault: String,
    /// Which cycle.
    pub cycle: u64,
    /// The cycle's own seed.
    pub seed: u64,
    /// The minimal history.
    pub events: Vec<Event>,
    /// Commands that show it again: the cycle alone, and all that led to it.
    pub replay: [String; 2],
    /// What the server printed last.
    pub said: String,
    /// Where its files are kept.
    pub kept: Option<String>,
}

impl Violation {
    pub(crate) fn new(wrong: Wrong, text: String) -> Box<Violation> {
        Box::new(Violation {
            wrong,
            text,
            fault: String::new(),
            cycle: 0,
            seed: 0,
            events: Vec::new(),
            replay: [String::new(), String::new()],
            said: String::new(),
            kept: None,
        })
    }

    pub(crate) fn with_events(mut self: Box<Violation>, events: Vec<Event>) -> Box<Violation> {
        self.events = events;
        self
    }
}

/// How a cycle ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything that was promised held.
    Held,
    /// After damage the server refused to start, and named the file.
    Refused,
    /// See the violation.
    Violation,
}

/// One cycle.
#[derive(Clone, Debug, Serialize)]
pub struct Cycle {
    /// Which.
    pub cycle: u64,
    /// Its seed.
    pub seed: u64,
    /// Its fault.
    pub fault: String,
    /// When it began, in ms of the run.
    pub at_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Commands sent.
    pub sent: u64,
    /// Commands acknowledged.
    pub acknowledged: u64,
    /// Acknowledged commands that are gone, as the policy allows.
    pub lost: u64,
    /// How old the oldest of these was at the crash, in ms.
    pub lost_age_ms: Option<u64>,
    /// The same without the time in which the disk or the machine stalled; none where that cannot be seen.
    pub lost_unstalled_ms: Option<u64>,
    /// Commands acknowledged after the cut of a real file system had begun that met a running server, and gone.
    pub unsure: u64,
    /// Commands that were refused while the fault was in force.
    pub refused: u64,
    /// Starts that were killed.
    pub start_kills: u64,
    /// Snapshots and rewrites begun.
    pub snapshots: u64,
    /// How long the start after the fault took.
    pub start_ms: u64,
    /// What else there is to say.
    pub note: String,
}

impl Cycle {
    /// One that begins; nothing has been sent.
    pub(crate) fn new(cycle: u64, seed: u64, fault: &str, at_ms: u64) -> Cycle {
        Cycle {
            cycle,
            seed,
            fault: fault.into(),
            at_ms,
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
        }
    }
}

/// One server under one policy.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The server's name: the first word of its command line without its folder.
    pub server: String,
    /// Which one, where several servers have this name.
    pub number: Option<usize>,
    /// What it says that it is.
    pub version: String,
    /// The command line.
    pub command: String,
    /// What it promises.
    pub policy: String,
    /// Seed of the first cycle.
    pub seed: u64,
    /// How each kind of fault was made here.
    pub mechanisms: BTreeMap<String, String>,
    /// How long it took.
    pub seconds: f64,
    /// Every cycle.
    pub cycles: Vec<Cycle>,
    /// Every violation.
    pub violations: Vec<Violation>,
    /// What ended it before its last cycle, in words.
    pub ended_by: Option<String>,
    /// What went wrong with the run itself.
    pub trouble: Option<String>,
}

impl Run {
    /// Its column in tables.
    pub fn title(&self) -> String {
        let version = if self.version.is_empty() { String::new() } else { format!(" {}", self.version) };
        let number = self.number.map_or(String::new(), |number| format!(" #{number}"));
        format!("{}{version}{number}, {}", self.server, self.policy)
    }

    /// The cycles without a violation in which nothing was acknowledged that clients asked for: whatever held there, it proves little.
    pub(crate) fn silent(&self) -> impl Iterator<Item = &Cycle> {
        let is_silent = |cycle: &&Cycle| cycle.acknowledged == 0 && cycle.outcome != Outcome::Violation;
        self.cycles.iter().filter(is_silent).filter(|cycle| cycle.fault != Fault::DumpPresent.name())
    }

    /// The faults that were asked for and not made: there were too few cycles for all of them.
    pub(crate) fn not_made(&self) -> Option<String> {
        let is_missing = |fault: &&String| self.cycles.iter().all(|cycle| cycle.fault != **fault);
        let names: Vec<&str> = self.mechanisms.keys().filter(is_missing).map(String::as_str).collect();
        let cycles = counted(self.cycles.len() as u64, "cycle");
        (!names.is_empty()).then(|| format!("not made in {cycles}, so nothing is known of: {}", names.join(", ")))
    }

    /// Why a medium's cycles prove nothing, if on one of them nothing was ever acknowledged.
    fn proves_nothing(&self) -> Option<String> {
        let by_medium = |cycle: &Cycle| self.mechanisms.get(&cycle.fault).cloned().unwrap_or_default();
        let mut media: BTreeMap<String, (u64, Option<&Cycle>)> = BTreeMap::new();
        for cycle in self.cycles.iter().filter(|cycle| cycle.fault != Fault::DumpPresent.name()) {
            let (acknowledged, last) = media.entry(by_medium(cycle)).or_default();
            *acknowledged += cycle.acknowledged;
            *last = Some(cycle).filter(|cycle| !cycle.note.is_empty()).or(*last);
        }
        if self.cycles.is_empty() {
            return Some(format!("{}: no cycle was run, so nothing is proven", self.title()));
        }
        let (medium, (_, last)) = media.into_iter().find(|(_, (acknowledged, _))| *acknowledged == 0)?;
        let why = last.map_or("no client had a reply before the fault".into(), |cycle| cycle.note.clone());
        Some(format!("{}: no write was ever acknowledged on {medium}, so nothing is proven; last: {why}", self.title()))
    }

    fn sum(&self, of: impl Fn(&Cycle) -> u64) -> u64 {
        self.cycles.iter().map(of).sum()
    }

    /// What came of one kind of fault: how often what, in a few words.
    pub(crate) fn parts(&self, fault: &str) -> Vec<(Outcome, String)> {
        let of = |outcome| self.cycles.iter().filter(|one| one.fault == fault && one.outcome == outcome).count();
        let mut parts = Vec::new();
        for (outcome, words) in [(Outcome::Held, "held"), (Outcome::Refused, "refused, named")] {
            if of(outcome) > 0 {
                parts.push((outcome, format!("{} {words}", of(outcome))));
            }
        }
        let mut kinds: BTreeMap<Wrong, u64> = BTreeMap::new();
        for violation in self.violations.iter().filter(|violation| violation.fault == fault) {
            *kinds.entry(violation.wrong).or_default() += 1;
        }
        parts.extend(kinds.iter().map(|(wrong, count)| (Outcome::Violation, format!("{count} {}", wrong.words()))));
        parts
    }

    /// The same in one line; what is wrong is made to be seen.
    fn cell(&self, fault: &str, seen: impl Fn(String) -> String) -> String {
        let parts = self.parts(fault).into_iter();
        let parts = parts.map(|(outcome, text)| if outcome == Outcome::Violation { seen(text) } else { text });
        let line = parts.collect::<Vec<_>>().join(", ");
        if line.is_empty() { "-".into() } else { line }
    }
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Server by server, policy by policy.
    pub runs: Vec<Run>,
    /// The servers and policies whose turn did not come.
    pub not_begun: Vec<String>,
}

/// What `--json` tells: the verdict, as the exit code says it, before the report itself.
#[derive(Debug, Serialize)]
pub(crate) struct Told<'a> {
    /// `passed`, `violations`, `ended-by-a-signal` or `nothing-proven`.
    verdict: &'static str,
    passed: usize,
    failed: usize,
    /// What ended it early, or why it proves nothing.
    trouble: Option<String>,
    /// Faults that were asked for and had no turn, run by run.
    not_made: Vec<String>,
    #[serde(flatten)]
    report: &'a Report,
}

impl Report {
    /// For programs. `trouble`: what ended it early.
    pub(crate) fn told(&self, trouble: Option<&str>) -> Told<'_> {
        let (passed, failed) = self.passed();
        let trouble = trouble.map(str::to_string).or_else(|| self.proves_nothing());
        let verdict = match &trouble {
            _ if stop::signal().is_some() => "ended-by-a-signal",
            _ if !self.is_fine() => "violations",
            Some(_) => "nothing-proven",
            None => "passed",
        };
        let missed = |run: &Run| run.not_made().map(|faults| format!("{}: {faults}", run.title()));
        Told { verdict, passed, failed, trouble, not_made: self.runs.iter().filter_map(missed).collect(), report: self }
    }

    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.runs.iter().all(|run| run.violations.is_empty())
    }

    /// Cycles that held and in which something was acknowledged, and violations.
    pub(crate) fn passed(&self) -> (usize, usize) {
        let sum = |of: &dyn Fn(&Run) -> usize| self.runs.iter().map(of).sum::<usize>();
        let held = |run: &Run| run.cycles.iter().filter(|cycle| cycle.outcome != Outcome::Violation).count();
        let silent = |run: &Run| run.silent().count();
        (sum(&held) - sum(&silent), sum(&|run| run.violations.len()))
    }

    /// Why a run of several proves nothing.
    pub(crate) fn proves_nothing(&self) -> Option<String> {
        self.runs.iter().find_map(Run::proves_nothing)
    }

    /// The faults of all runs, in the order they were met.
    pub(crate) fn faults(&self) -> Vec<&str> {
        let mut faults: Vec<&str> = Vec::new();
        for cycle in self.runs.iter().flat_map(|run| &run.cycles) {
            if !faults.contains(&cycle.fault.as_str()) {
                faults.push(&cycle.fault);
            }
        }
        faults.sort_unstable();
        faults
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for run in &self.runs {
            run.write(&mut out);
        }
        for run in &self.not_begun {
            let _ = writeln!(out, "{run}: not begun");
        }
        if self.runs.len() > 1 {
            out.push_str("\nSide by side:\n");
            out.push_str(&self.table());
        }
        out
    }

    /// The table that compares servers, as Markdown.
    pub fn table(&self) -> String {
        let mut out = String::from("| fault |");
        for run in &self.runs {
            let _ = write!(out, " {} |", run.title());
        }
        out.push_str("\n| --- |");
        out.push_str(&" --- |".repeat(self.runs.len()));
        out.push('\n');
        for fault in self.faults() {
            let _ = write!(out, "| {fault} |");
            for run in &self.runs {
                let _ = write!(out, " {} |", run.cell(fault, |text| format!("**{text}**")));
            }
            out.push('\n');
        }
        out
    }
}

impl Run {
    fn write(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "{}: {} from seed {}, {}, {:.0} s",
            self.title(),
            counted(self.cycles.len() as u64, "cycle"),
            self.seed,
            counted(self.violations.len() as u64, "violation"),
            self.seconds
        );
        if let Some(ended) = &self.ended_by {
            let _ = writeln!(out, "  {ended}");
        }
        let silent = self.silent().count() as u64;
        if silent > 0 {
            let notes = self.silent().map(|cycle| cycle.note.as_str());
            let last = notes.filter(|note| !note.is_empty()).last().unwrap_or_default();
            let last = if last.is_empty() { String::new() } else { format!("; the last time: {last}") };
            let _ =
                writeln!(out, "  in {} nothing was acknowledged, which proves little{last}", counted(silent, "cycle"));
        }
        let _ = writeln!(
            out,
            "  {} writes sent, {} acknowledged, {} of them lost as the policy allows{}, {} refused; {} killed, {} snapshots and rewrites",
            self.sum(|cycle| cycle.sent),
            self.sum(|cycle| cycle.acknowledged),
            self.sum(|cycle| cycle.lost),
            match self.cycles.iter().filter_map(|cycle| cycle.lost_age_ms).max() {
                None => String::new(),
                Some(age) => match self.cycles.iter().filter_map(|cycle| cycle.lost_unstalled_ms).max() {
                    None => format!(" (the oldest was {age} ms old)"),
                    Some(net) => format!(" (the oldest was {age} ms old, {net} ms without stalls of the disk)"),
                },
            },
            self.sum(|cycle| cycle.refused),
            counted(self.sum(|cycle| cycle.start_kills), "start"),
            self.sum(|cycle| cycle.snapshots),
        );
        if self.sum(|cycle| cycle.unsure) > 0 {
            let _ = writeln!(
                out,
                "  {} writes acknowledged after the cut of a real file system had begun that met a running server, and gone (its shutdown lets a running fdatasync \
                 return 0)",
                self.sum(|cycle| cycle.unsure)
            );
        }
        let slowest = self.cycles.iter().map(|cycle| cycle.start_ms).max().unwrap_or(0);
        let _ = writeln!(out, "  the slowest start after a fault took {slowest} ms");
        let mut faults: Vec<&str> = self.cycles.iter().map(|cycle| cycle.fault.as_str()).collect();
        faults.sort_unstable();
        faults.dedup();
        for fault in faults {
            let how = self.mechanisms.get(fault).map_or("", String::as_str);
            let _ = writeln!(out, "  {fault:<20} {}  [{how}]", self.cell(fault, |text| text.to_uppercase()));
        }
        if let Some(faults) = self.not_made() {
            let _ = writeln!(out, "  {faults}");
        }
        let mut told: BTreeMap<(&str, Wrong), u64> = BTreeMap::new();
        for violation in &self.violations {
            let count = told.entry((&violation.fault, violation.wrong)).or_default();
            *count += 1;
            if *count <= 2 {
                violation.write(out);
            }
        }
        for ((fault, wrong), count) in told {
            if count > 2 {
                let _ = writeln!(out, "and {} more of {fault}: {}", count - 2, wrong.words());
            }
        }
    }
}

impl Violation {
    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "\nVIOLATION after {}: {}", self.fault, self.wrong.words());
        let _ = writeln!(out, "  {}", lines(&self.text));
        let _ = writeln!(out, "  cycle {}, seed {}", self.cycle, self.seed);
        for event in &self.events {
            let ms = |us: i64| format!("{:.1} ms", us as f64 / 1000.0);
            let acknowledged = event.acknowledged_us.map_or("never".into(), ms);
            let there = if event.there { "there" } else { "     " };
            let _ = writeln!(
                out,
                "    {there} #{:<7} sent {:>11}  acknowledged {acknowledged:>11}  {}",
                event.number,
                ms(event.sent_us),
                event.command
            );
        }
        if !self.said.is_empty() {
            let _ = writeln!(out, "  the server said last:\n    | {}", lines(&self.said));
        }
        let _ = writeln!(out, "  replay: {}", self.replay[0]);
        if self.replay[1] != self.replay[0] {
            let _ = writeln!(out, "  with all that led to it: {}", self.replay[1]);
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(out, "  its files: {kept}");
        }
    }
}

/// The lines of a server's output, which are parted by " | ", one below the other.
pub(crate) fn lines(text: &str) -> String {
    const WIDTH_MAX: usize = 400;
    let short = |line: &str| match line.char_indices().nth(WIDTH_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    };
    let mut parts = text.split(" | ");
    // What a violation itself says is told whole.
    let first = parts.next().unwrap_or_default().to_owned();
    std::iter::once(first).chain(parts.map(short)).collect::<Vec<_>>().join("\n    | ")
}
