//! The command line of `firn torture`.

use crate::fault::{self, Fault};
use crate::model::Workload;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that any limit on the command line may be, in seconds: a month. More of it is a mistake, and times are added up.
const SECONDS_MAX: u64 = 30 * 86_400;
const SECONDS: RangeInclusive<u64> = 1..=SECONDS_MAX;

fn minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())? * 60.0;
    if seconds > 0.0 && seconds <= SECONDS_MAX as f64 {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(format!("more than 0 and at most {} minutes", SECONDS_MAX / 60))
}

/// What the server under test promises: Redis' `appendfsync`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, clap::ValueEnum)]
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

/// The default of `--start-limit`.
pub(crate) const START_LIMIT: u64 = 60;
/// The default of `--answer-limit`.
pub(crate) const ANSWER_LIMIT: u64 = 60;
/// Cycles, where nothing else ends a run.
const CYCLES: u64 = 100;

/// The arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct TortureArgs {
    /// The server's command line, with {port}, {dir} and, if it takes one, {policy}. Repeat it to compare servers.
    #[arg(long, required_unless_present = "list_faults", value_name = "COMMAND")]
    pub server: Vec<String>,
    /// What the server promises; several are tried one after the other.
    ///
    /// What is given to the kernel outlives the process, so after kills, failing disks and damage every acknowledged write must be there
    /// under each policy. They differ after power cuts: `always` keeps every acknowledged write, `everysec` those older than 2 seconds (without the
    /// time in which the disk stalls), `no` any of them; what is there is the beginning of history, without gaps.
    #[arg(long, value_delimiter = ',', default_value = "everysec")]
    pub policy: Vec<Policy>,
    /// Faults, by name or group (see --list-faults).
    #[arg(long, value_delimiter = ',', default_value = "kills,power", value_parser = fault::parse)]
    pub faults: Vec<Vec<Fault>>,
    /// Tells which faults there are, and which of them this machine can do.
    #[arg(long)]
    pub list_faults: bool,
    /// Cycles for each server and policy; a cycle is one fault [default: 100, or as many as --minutes allow]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub cycles: Option<u64>,
    /// End after this many minutes for each server and policy, whatever --cycles says.
    #[arg(long, value_parser = minutes)]
    pub minutes: Option<Duration>,
    /// Seed of the first cycle; the next cycle takes the next. Drawn from the clock, and printed, if not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Writing clients.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=15))]
    pub clients: u16,
    /// What the clients do; all of it if not given.
    #[arg(long, value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Longest load before a fault, in ms (else a matter of the fault).
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX * 1000))]
    pub load: Option<u64>,
    /// How long a start may take, in seconds.
    #[arg(long, default_value_t = START_LIMIT, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(SECONDS))]
    pub start_limit: u64,
    /// How long an answer of a server that is up may take, in seconds.
    #[arg(long, default_value_t = ANSWER_LIMIT, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(SECONDS))]
    pub answer_limit: u64,
    /// Also under everysec the server promises to write before it acknowledges (Firn does; Redis writes later while an fsync runs):
    /// nothing that is sent after a power cut may be acknowledged.
    #[arg(long)]
    pub writes_first: bool,
    /// The port to use; a free one is looked for if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The report as JSON on standard output, `verdict` first.
    #[arg(long)]
    pub json: bool,
    /// Also write the report, with its timeline, as a page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where the files of the first cycles with a violation are kept (else in a temporary folder, which is named).
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// End at the first violation.
    #[arg(long)]
    pub fail_fast: bool,
}

impl TortureArgs {
    /// How many cycles, if that ends a run.
    pub(crate) fn cycles_max(&self) -> Option<u64> {
        self.cycles.or(if self.minutes.is_some() { None } else { Some(CYCLES) })
    }
}

/// What one server is put through under one policy.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) command: String,
    pub(crate) policy: Policy,
    pub(crate) faults: Vec<Fault>,
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) load_max: Option<Duration>,
    pub(crate) start_max: Duration,
    pub(crate) answer_max: Duration,
    pub(crate) writes_first: bool,
    pub(crate) port: u16,
}
