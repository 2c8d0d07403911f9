//! What is no server to judge, or a server that misbehaves in ways that are no crash: the run ends, says what is the matter, loses nothing of what it
//! found, and never passes without proof.

use clap::Parser;
use firn_torture::{Ended, Failure, TortureArgs};
use std::net::{TcpListener, TcpStream};

#[derive(Parser, Debug)]
struct Cli {
    #[command(flatten)]
    arguments: TortureArgs,
}

/// The command line of `fake-server.py`.
fn fake(mode: &str) -> String {
    format!("python3 -S {}/tests/fake-server.py {mode} {{port}} {{dir}}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs it; gives how it ended and the report. What `words` do not say is short.
fn torture(words: &[&str]) -> (Result<Ended, Failure>, String) {
    let keep = tempfile::tempdir().expect("a folder");
    let usual = [
        ["--faults", "kill"],
        ["--seed", "1"],
        ["--load", "20"],
        ["--clients", "2"],
        ["--answer-limit", "10"],
        ["--keep", keep.path().to_str().expect("UTF-8")],
    ];
    let usual = usual.into_iter().filter(|[option, _]| !words.contains(option)).flatten();
    let cli = Cli::parse_from(["torture"].into_iter().chain(usual).chain(words.iter().copied()));
    let mut out = Vec::new();
    let ended = firn_torture::run(&cli.arguments, &mut out);
    (ended, String::from_utf8(out).expect("a report is text"))
}

#[track_caller]
fn broken(words: &[&str], parts: &[&str]) -> String {
    let (ended, report) = torture(words);
    let Err(Failure::Broken(why)) = ended else { panic!("{ended:?} of {words:?}\n{report}") };
    parts.iter().for_each(|part| assert!(why.contains(part), "{part:?} is not in {why:?}"));
    report
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

#[test]
fn a_first_start_that_never_is_one_quotes_what_came_instead() {
    for (mode, words) in [
        ("no-auth", ["NOAUTH Authentication required", "asks for a password"]),
        ("no-resp", ["no reply begins with HTTP/1.1", "does not start"]),
        ("refuse", ["ERR not in the mood", "refuses its first write"]),
    ] {
        broken(&["--server", &fake(mode)], &words);
    }
    broken(&["--server", &fake("quiet"), "--start-limit", "1"], &["PING was answered with nothing ("]);
    broken(&["--server", "true {port} {dir}"], &["the start ended (exit code 0)"]);
    broken(&["--server", "no-such-program {port} {dir}"], &["no-such-program", "not found", "is its program there?"]);
    broken(&["--server", "sleep 100 # {port} {dir}", "--start-limit", "1"], &["nobody listens on port"]);
}

#[test]
fn a_run_without_an_acknowledged_write_proves_nothing() {
    let why = ["no write was ever acknowledged on a folder of this machine", "client 0: "];
    let report = broken(&["--server", &fake("drop"), "--cycles", "2"], &why);
    assert!(report.contains("2 cycles from seed 1, 0 violations"), "{report}");
    assert!(
        report.contains("in 2 cycles nothing was acknowledged, which proves little; the last time: client 0: "),
        "{report}"
    );
    assert!(report.ends_with("torture: 0 passed, 0 failed\n"), "{report}");
}

#[test]
fn a_program_reads_the_verdict_at_the_top() {
    let of = |words: &[&str]| {
        let (_, report) = torture(words);
        serde_json::from_str::<serde_json::Value>(&report).expect("JSON")
    };
    let told = of(&["--server", &fake("drop"), "--cycles", "1", "--faults", "kill,term", "--json"]);
    assert_eq!(told["verdict"], "nothing-proven");
    assert!(told["trouble"].as_str().is_some_and(|why| why.contains("no write was ever acknowledged")), "{told}");
    assert!(told["not_made"][0].as_str().is_some_and(|faults| faults.contains("not made in 1 cycle")), "{told}");
    let told = of(&["--server", &fake("slow"), "--cycles", "1", "--workload", "registers", "--json"]);
    assert_eq!((&told["verdict"], &told["failed"]), (&"violations".into(), &1.into()));
    assert_eq!(told["runs"][0]["violations"].as_array().map(Vec::len), Some(1), "{told}");
}

#[test]
fn the_first_load_of_a_store_lasts_until_something_can_be_lost() {
    let (ended, report) = torture(&["--server", &fake("slow"), "--cycles", "1", "--workload", "registers"]);
    assert_eq!(ended, Ok(Ended::Violations), "{report}");
}

#[test]
fn a_server_that_hangs_after_its_restart_is_a_violation_with_a_replay() {
    let (ended, report) = torture(&["--server", &fake("hang"), "--cycles", "1", "--answer-limit", "2"]);
    assert_eq!(ended, Ok(Ended::Violations), "{report}");
    for part in
        ["VIOLATION after kill: it does not answer", "no answer within 2s", "replay: firn torture", "--answer-limit 2"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn a_server_that_hangs_under_load_is_a_violation() {
    // Seed 1 draws a load of 3.1 s.
    let (ended, report) =
        torture(&["--server", &fake("stall"), "--cycles", "1", "--load", "4000", "--answer-limit", "2"]);
    assert_eq!(ended, Ok(Ended::Violations), "{report}");
    assert!(report.contains("before the fault: client 0: no answer within 2s"), "{report}");
}

#[test]
fn a_wrapper_that_stays_the_parent_of_the_server_is_killed_with_it() {
    let port = free_port();
    let script = format!("sh -c '{}; true'", fake("drop"));
    let words = ["--server", &script, "--cycles", "2", "--port", &port.to_string()];
    let report = broken(&words, &["no write was ever acknowledged"]);
    assert!(report.contains("2 cycles from seed 1"), "{report}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the server is left behind");
}

#[test]
fn a_server_that_makes_itself_a_daemon_is_told_of_and_ended() {
    let port = free_port();
    let script = format!("sh -c 'setsid {} & exec sleep 0.5'", fake("drop"));
    broken(&["--server", &script, "--port", &port.to_string()], &["has to stay in the foreground"]);
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the daemon is left behind");
}

#[test]
fn what_goes_wrong_late_does_not_cost_what_was_found() {
    let words = ["--server", &fake("drop"), "--server", &fake("break"), "--cycles", "1"];
    let report = broken(&words, &["does not start on a folder of this machine"]);
    for part in ["python3 #1, everysec: 1 cycle", "python3 #2, everysec: 0 cycles", "this folder is not to my taste"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let report =
        broken(&["--server", &fake("break"), "--cycles", "3"], &["does not start on a folder of this machine"]);
    assert!(report.contains("ended by an error (cycle 0 (kill): the server does not start"), "{report}");
    // A wrong second command line is seen before the first one's cycles.
    let report = broken(&["--server", &fake("drop"), "--server", "false {port} {dir}"], &["false", "exit code 1"]);
    assert_eq!(report, "");
}

#[test]
fn what_cannot_be_written_is_known_before_the_first_start() {
    for words in [["--html", "/no/such/folder/page.html"], ["--keep", "/proc/no-such-folder"]] {
        let (ended, report) = torture(&[&["--server", "false {port} {dir}"], &words[..]].concat());
        let Err(Failure::Usage(why)) = ended else { panic!("{ended:?} {report}") };
        assert!(why.contains(words[0]), "{why}");
    }
    let (ended, _) = torture(&["--server", "s {port} {folder}"]);
    assert!(matches!(ended, Err(Failure::Usage(_))), "{ended:?}");
}

#[test]
fn numbers_that_make_no_run_are_refused() {
    for words in [
        ["--cycles", "0"],
        ["--minutes", "0"],
        ["--minutes", "nan"],
        ["--minutes", "1e300"],
        ["--minutes", "-1"],
        ["--start-limit", "0"],
        ["--answer-limit", "0"],
        ["--load", "0"],
        ["--port", "0"],
        ["--clients", "0"],
    ] {
        let error = Cli::try_parse_from(["torture", "--server", "s"].into_iter().chain(words)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}: {error}");
    }
}
