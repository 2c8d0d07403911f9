//! Crashes a real server under load, judges every restart, and prints what it counted.
//!
//! `crash-cycles kill`: kill -9. `crash-cycles power-cut`: a real ext4 whose power is cut (as root; else said and skipped).

use clap::{Parser, ValueEnum};
use firn_tests::process::Program;
use firn_tests::torture::cycle::{Counts, Plan, Policy, Torture};
use firn_tests::torture::{Rng, ext4::Ext4, unix_ms};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Crash {
    /// kill -9 of the process.
    Kill,
    /// The power of an ext4 in a file is cut; needs root and loop devices.
    PowerCut,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Chosen {
    Always,
    Everysec,
    No,
    All,
}

/// Crashes a server under load and judges what comes back.
#[derive(Parser)]
struct Arguments {
    /// How to crash it.
    crash: Crash,
    /// The server's binary.
    #[arg(long, default_value = "target/fast/firn-server")]
    server: PathBuf,
    /// `appendfsync`.
    #[arg(long, default_value = "all")]
    policy: Chosen,
    /// Crashes for each policy.
    #[arg(long, default_value_t = 100)]
    cycles: u64,
    /// Seed of the first cycle; the next cycle takes the next. Drawn from the clock if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Writing clients, each in its own database (at most 15).
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=15))]
    clients: u16,
    /// Port to use.
    #[arg(long, default_value_t = 7801)]
    port: u16,
    /// Further words for the server's command line (after `--`).
    #[arg(last = true)]
    extra: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Not resolved further: some servers choose what they are by the name of a link.
    let server = std::path::absolute(&arguments.server).unwrap_or_default();
    if !server.exists() {
        eprintln!("{} is not there: build it with cargo build --profile fast", arguments.server.display());
        return ExitCode::FAILURE;
    }
    let policies = match arguments.policy {
        Chosen::Always => vec![Policy::Always],
        Chosen::Everysec => vec![Policy::Everysec],
        Chosen::No => vec![Policy::No],
        Chosen::All => vec![Policy::Always, Policy::Everysec, Policy::No],
    };
    let mut seed = arguments.seed.unwrap_or_else(|| Rng(unix_ms()).below(1 << 32));
    let (mut good, mut bad) = (0, 0);
    for policy in policies {
        let folder = tempfile::Builder::new().prefix("firn-crash-").tempdir().expect("a temporary folder");
        let (mut disk, mut data) = (None, folder.path().join("data"));
        if arguments.crash == Crash::PowerCut {
            match Ext4::create(folder.path()) {
                Ok(made) => {
                    data = made.path().join("data");
                    disk = Some(made);
                }
                Err(error) => {
                    println!("SKIPPED: power cuts need root, mkfs.ext4 and loop devices: {error}");
                    return ExitCode::SUCCESS;
                }
            }
        }
        std::fs::create_dir_all(&data).expect("a folder for the data");
        let mut words: Vec<String> = Vec::new();
        for (directive, value) in [
            ("--appendonly", "yes"),
            ("--appendfsync", policy.name()),
            ("--save", ""),
            // Small data: compaction comes every few cycles by itself.
            ("--auto-aof-rewrite-min-size", "1mb"),
            ("--auto-aof-rewrite-percentage", "50"),
        ] {
            words.extend([directive.to_string(), value.to_string()]);
        }
        words.extend(arguments.extra.iter().cloned());
        let program = Program {
            path: server.clone(),
            port: arguments.port,
            folder: data,
            log: folder.path().join("log"),
            arguments: words,
        };
        let load = match (arguments.crash, policy) {
            // Long enough that there is something older than what everysec may lose.
            (Crash::PowerCut, Policy::Everysec) => (Duration::from_millis(200), Duration::from_millis(3500)),
            (Crash::PowerCut, _) => (Duration::from_millis(50), Duration::from_millis(500)),
            (Crash::Kill, _) => (Duration::from_millis(5), Duration::from_millis(250)),
        };
        let plan = Plan { policy, cycles: arguments.cycles, seed, clients: arguments.clients.into(), load };
        let what = if arguments.crash == Crash::Kill { "kill -9" } else { "power cut" };
        println!("{what}, appendfsync {}: {} cycles from seed {seed}", policy.name(), arguments.cycles);
        let began = Instant::now();
        let mut torture = Torture::new(plan, program, disk);
        let result = torture.run();
        let Counts { crashes, start_kills, snapshots, sent, acknowledged, forgone, frozen, unsure } = torture.counts;
        println!(
            "{what}, appendfsync {}: {crashes} crashes, {start_kills} kills during starts, {snapshots} snapshots and compactions, \
             {sent} writes sent, {acknowledged} acknowledged, {forgone} of them lost as the policy allows, {:.0} s",
            policy.name(),
            began.elapsed().as_secs_f64()
        );
        if arguments.crash == Crash::PowerCut {
            println!(
                "  {frozen} cuts with the server stopped; {unsure} writes acknowledged after the beginning of another cut and gone"
            );
        }
        seed = seed.wrapping_add(arguments.cycles);
        good += crashes;
        if let Err(error) = result {
            bad += 1;
            good -= u64::from(crashes > 0);
            drop(torture);
            let kept = folder.keep();
            println!("FAILED: {what}, appendfsync {}: {error}\nkept: {}", policy.name(), kept.display());
        }
    }
    println!("crash-cycles: {good} passed, {bad} failed");
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
