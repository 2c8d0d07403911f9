//! `firn torture` and the signals that end it: the report is written, the exit code tells of it, and nothing stays behind.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn is_up(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Begins a run whose load lasts for minutes; it has begun when this returns.
fn started(mode: &str) -> (Child, u16) {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/../torture/tests/fake-server.py");
    let server = format!("python3 -S {fake} {mode} {{port}} {{dir}}");
    let child = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args(["torture", "--server", &server, "--faults", "kill", "--load", "600000", "--cycles", "7", "--seed", "1"])
        .args(["--port", &port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let home = std::env::temp_dir();
    let prefix = format!("firn-torture-{}-", child.id());
    until("the load does not begin", || {
        let entries = std::fs::read_dir(&home).expect("it can be read").flatten();
        let mut own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        own.any(|entry| entry.path().join("folder/seen").exists()) && is_up(port)
    });
    (child, port)
}

fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
}

fn ended(child: Child) -> (Output, String) {
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn a_signal_ends_the_load_and_the_report_says_so() {
    for (signal, code, name) in [("-INT", 130, "SIGINT"), ("-TERM", 143, "SIGTERM"), ("-HUP", 129, "SIGHUP")] {
        let (child, port) = started("drop");
        send(&child, signal);
        // `timeout` sends two at once.
        send(&child, signal);
        let (output, report) = ended(child);
        assert_eq!(output.status.code(), Some(code), "{report}{}", String::from_utf8_lossy(&output.stderr));
        // The cycle under way was judged.
        assert!(report.contains(&format!("ended by a signal ({name}) after 1 of 7 cycles")), "{report}");
        assert!(!is_up(port), "the server is left behind");
    }
}

#[test]
fn a_second_signal_ends_a_cycle_that_hangs_and_nothing_stays() {
    let (child, port) = started("hang");
    send(&child, "-TERM");
    // Everything is to be read back, and for a minute nothing is answered; what comes within a second is still the first signal.
    std::thread::sleep(Duration::from_millis(2500));
    let id = child.id();
    send(&child, "-TERM");
    let (output, report) = ended(child);
    assert_eq!((output.status.code(), report.as_str()), (Some(143), ""));
    until("the server is left behind", || !is_up(port));
    let prefix = format!("firn-torture-{id}-");
    let mut entries = std::fs::read_dir(std::env::temp_dir()).expect("it can be read").flatten();
    assert!(
        !entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)),
        "its folder is left behind"
    );
}

#[test]
fn a_server_does_not_outlive_a_tool_that_is_killed() {
    let (mut child, port) = started("drop");
    let id = child.id();
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    until("the server is left behind", || !is_up(port));
    // The folder stays, and the next run would tell of it.
    let prefix = format!("firn-torture-{id}-");
    for entry in std::fs::read_dir(std::env::temp_dir()).expect("it can be read").flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path()).expect("it is ours");
        }
    }
}
