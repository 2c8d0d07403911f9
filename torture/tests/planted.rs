//! The judge sees what it is there for: a server with a bug planted on purpose is caught, within a stated number of cycles, and the
//! same server without one is not.
//!
//! `tests/run planted` names that server in `FIRN_PLANTED_SERVER`: it has firn-server's feature `planted-bugs`.

use clap::Parser;
use firn_torture::{Ended, TortureArgs};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    arguments: TortureArgs,
}

/// Runs the planted server; `bug` none: as it should be. Gives how it ended and the report.
fn torture(bug: Option<&str>, policy: &str, faults: &str, cycles: u64) -> Option<(Ended, String)> {
    let Some(server) = std::env::var("FIRN_PLANTED_SERVER").ok().filter(|path| std::path::Path::new(path).exists())
    else {
        println!("SKIPPED: FIRN_PLANTED_SERVER names no server with the feature planted-bugs (tests/run planted does)");
        return None;
    };
    let bug = bug.map_or(String::new(), |bug| format!("FIRN_PLANTED_BUG={bug} "));
    let command = format!(
        "env {bug}{server} --port {{port}} --dir {{dir}} --appendonly yes --appendfsync {{policy}} --save \"\""
    );
    let cycles = cycles.to_string();
    let words =
        ["torture", "--server", &command, "--policy", policy, "--faults", faults, "--cycles", &cycles, "--fail-fast"];
    let cli = Cli::parse_from(words.into_iter().chain(["--seed", "1"]));
    let mut out = Vec::new();
    let ended = firn_torture::run(&cli.arguments, &mut out).expect("this machine can make these faults");
    Some((ended, String::from_utf8(out).expect("a report is text")))
}

/// Hunts one bug; `cycles` is the stated number within which it must be caught.
fn caught(bug: &str, policy: &str, faults: &str, cycles: u64) {
    let Some((ended, report)) = torture(Some(bug), policy, faults, cycles) else { return };
    assert_eq!(ended, Ended::Violations, "{bug} was not caught within {cycles} cycles:\n{report}");
    let first = report.lines().next().unwrap_or_default();
    let violation = report.lines().find(|line| line.starts_with("VIOLATION")).unwrap_or_default();
    println!("planted {bug}: {violation}; {first} (at most {cycles})");
}

/// Power cuts need FUSE, that is root and /dev/fuse; what cannot be made here says so.
fn has_fuse() -> bool {
    // SAFETY: geteuid has no preconditions.
    let here = std::path::Path::new("/dev/fuse").exists() && unsafe { libc::geteuid() } == 0;
    if !here {
        println!("SKIPPED: power cuts need root and /dev/fuse");
    }
    here
}

#[test]
fn a_server_without_a_bug_is_not_accused() {
    let faults = if has_fuse() { "kills,power" } else { "kills" };
    if let Some((ended, report)) = torture(None, "always", faults, 25) {
        assert_eq!(ended, Ended::Fine, "{report}");
    }
}

#[test]
fn an_acknowledgement_before_the_write_is_caught_within_20_power_cuts() {
    if has_fuse() {
        caught("acknowledge-first", "always", "power-cut", 20);
    }
}

#[test]
fn one_fsync_in_four_left_out_is_caught_within_100_power_cuts() {
    if has_fuse() {
        caught("skip-one-sync", "always", "power-cut", 100);
    }
}

#[test]
fn a_record_replayed_twice_is_caught_within_20_kills() {
    caught("replay-twice", "always", "kill", 20);
}

#[test]
fn one_dropped_record_in_a_thousand_is_caught_within_40_kills() {
    caught("drop-record", "no", "kill", 40);
}
