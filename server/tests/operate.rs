//! How operators run the real binary: under a supervisor, checking a configuration first, watching commands.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use support::{BINARY, PATIENCE, Server, encode};

#[test]
fn systemd_hears_when_the_server_is_ready_and_when_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let hear = || {
        let mut buffer = [0; 4096];
        let n = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let mut server = Server::start_with(0, &["--supervised", "systemd"], &[("NOTIFY_SOCKET", path.as_os_str())]);
    assert_eq!(hear(), "STATUS=Loading");
    let ready = hear();
    assert!(ready.starts_with("READY=1\n") && ready.contains(&format!("MAINPID={}", server.child.id())), "{ready}");
    let mut client = server.connect();
    client.send(&encode(&[b"SHUTDOWN"]));
    assert!(hear().starts_with("STOPPING=1\n"), "the end");
    assert!(server.child.wait().expect("it ends").success());
}

#[test]
fn supervised_by_nobody_it_runs_all_the_same() {
    let server = Server::start(&["--supervised", "systemd"]);
    server.is_well();
    assert!(server.log().contains("NOTIFY_SOCKET is not set"), "{}", server.log());
}

fn check_config(text: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.conf");
    fs::write(&path, text.replace("FOLDER", &folder.path().display().to_string())).expect("written");
    Command::new(BINARY).arg("--check-config").arg(&path).args(words).output().expect("it runs")
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let right = check_config("port 0\ndir FOLDER\nappendfsync always\n", &["--maxmemory", "1gb"]);
    assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
    for (text, words, reason) in [
        ("port 0\nappendfsync sometimes\n", &[][..], "at line 2\n>>> 'appendfsync sometimes'"),
        ("port 0\nno-such-thing 1\n", &[], "at line 2"),
        ("dir /nowhere/at/all\n", &[], "at line 1"),
        ("rename-command NOPE x\n", &[], "No such command in rename-command"),
        ("tls-port 1\ndir FOLDER\n", &[], "tls-port needs tls-cert-file"),
        ("port 0\n", &["--hz", "often"], "hz"),
    ] {
        let wrong = check_config(text, words);
        let told = String::from_utf8_lossy(&wrong.stderr);
        assert_eq!(wrong.status.code(), Some(1), "{text}: {told}");
        assert!(told.contains(reason), "{text}: {told}");
    }
    let none = Command::new(BINARY).arg("--check-config").output().expect("it runs");
    assert_eq!(none.status.code(), Some(1));
}

#[test]
fn monitor_shows_what_runs_but_no_secrets_and_ends_with_reset() {
    for threads in ["1", "2"] {
        let server = Server::start(&["--io-threads", threads]);
        let mut watcher = server.connect();
        assert_eq!(watcher.line(b"MONITOR\r\n"), "+OK");
        let mut client = server.connect();
        let seen = |watcher: &mut support::Connection<_>, end: &str| {
            let line = watcher.line(b"");
            let (head, words) = line.split_once("] ").expect("a line of MONITOR");
            let path = server.socket().display().to_string();
            assert!(head.starts_with('+') && head.contains(" [0 unix:"), "{line} {path}");
            assert_eq!(words, end);
        };
        client.line(&encode(&[b"set", b"k", b"a \"b\"\r\n\xff"]));
        seen(&mut watcher, r#""set" "k" "a \"b\"\r\n\xff""#);
        client.line(b"AUTH default secret\r\n");
        seen(&mut watcher, r#""AUTH" "(redacted)" "(redacted)""#);
        client.line(&encode(&[b"CONFIG", b"SET", b"hz", b"11"])); // Not shown.
        client.send(b"MULTI\r\nINCR n\r\nEXEC\r\n");
        for words in [r#""MULTI""#, r#""INCR" "n""#, r#""EXEC""#] {
            seen(&mut watcher, words);
        }
        client.line(&encode(&[b"EVAL", b"return redis.call('INCR', KEYS[1])", b"1", b"n"]));
        seen(&mut watcher, r#""EVAL" "return redis.call('INCR', KEYS[1])" "1" "n""#);
        let line = watcher.line(b"");
        assert!(line.ends_with(r#" [0 lua] "INCR" "n""#), "what a script runs comes behind it: {line}");
        client.send(b"NOPE\r\nSET\r\nPING\r\n"); // What does not run is not shown.
        seen(&mut watcher, r#""PING""#);
        assert_eq!(watcher.line(b"RESET\r\n"), "+RESET");
        // What was asked before the watching ended may still come.
        client.line(b"SET after 1\r\n");
        assert_eq!(watcher.line(b"ECHO done\r\n"), "$4");
        assert_eq!(watcher.line(b""), "done");
    }
}

/// What the redis.conf of Redis 7 says: the store's folder has the name of Redis' own.
#[test]
fn the_store_may_have_the_folder_name_of_redis() {
    let words = ["--appenddirname", "appendonlydir", "--appendfsync", "always"];
    let mut server = Server::start(&words);
    assert_eq!(server.connect().line(&encode(&[b"SET", b"k", b"v"])), "+OK");
    assert!(server.folder.path().join("appendonlydir/STORE").is_file());
    server.child.kill().expect("killed");
    server.child.wait().expect("it ended");
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().expect("a folder"));
    fs::remove_file(folder.path().join("s")).expect("the socket was there");
    let server = Server::start_in(folder, &words);
    assert_eq!(server.connect().ask(&encode(&[b"GET", b"k"]), 7), b"$1\r\nv\r\n");
}

/// Clients never get the descriptors that the log needs, whatever `maxclients` says and however often the configuration changes.
#[test]
fn clients_leave_room_for_the_files_of_the_store() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let server = Server::start(&["--maxclients", "4000000000"]);
    let pid = Pid::from_child(&server.child);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(150), maximum: Some(150) })
        .expect("less is always allowed");
    let mut client = server.connect();
    assert_eq!(client.line(&encode(&[b"CONFIG", b"SET", b"timeout", b"100"])), "+OK");
    client.send(&encode(&[b"INFO", b"clients"]));
    client.send(&encode(&[b"QUIT"]));
    let info = String::from_utf8(client.until_closed()).expect("text");
    assert!(info.contains("\nmaxclients:86\r"), "{info}");
    let mut client = server.connect();
    assert_eq!(
        client.line(&encode(&[b"CONFIG", b"SET", b"maxclients", b"4000000001"])),
        "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to handle the \
         specified number of clients, try with 86"
    );
    assert_eq!(client.line(&encode(&[b"CONFIG", b"SET", b"maxclients", b"50"])), "+OK");
}

/// Writes go on when the process may open no more files: the log grows in the one that it has.
#[test]
fn without_descriptors_writes_are_acknowledged() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    for policy in ["always", "everysec"] {
        let mut server = Server::start(&["--appendfsync", policy, "--log-segment-size", "1mb", "--save", ""]);
        let mut client = server.connect();
        assert_eq!(client.line(b"SET first 1\r\n"), "+OK");
        // None that is not open already.
        prlimit(Some(Pid::from_child(&server.child)), Resource::Nofile, Rlimit { current: Some(3), maximum: Some(3) })
            .expect("less is always allowed");
        let value = vec![b'v'; 100_000];
        for n in 0..40 {
            let key = format!("key:{n}");
            assert_eq!(client.line(&encode(&[b"SET", key.as_bytes(), &value])), "+OK", "{policy}");
        }
        server.child.kill().expect("it runs");
        server.child.wait().expect("it ends");
        let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().expect("a folder"));
        let server = Server::start_in(folder, &[]);
        assert_eq!(server.connect().line(b"DBSIZE\r\n"), ":41");
    }
}

#[test]
fn what_maxclients_was_cut_to_is_what_config_get_tells() {
    // The server starts with the limits of a shell that has lowered its own.
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 200 && exec \"$0\" --port 0 --unixsocket s --dir \"$1\" --maxclients 4000000000",
            BINARY,
        ])
        .arg(folder.path())
        .current_dir(folder.path())
        .stdout(fs::File::create(folder.path().join("log")).expect("a log"))
        .spawn()
        .expect("the binary starts");
    let mut client = support::Connection::when_up(&folder.path().join("s"));
    let told = client.line(b"CONFIG GET maxclients\r\n");
    assert_eq!(told, "*2");
    client.take("$10\r\nmaxclients\r\n".len());
    let len: usize = client.line(b"")[1..].parse().expect("a length");
    let told = String::from_utf8(client.take(len + 2)).expect("digits");
    client.send(b"INFO clients\r\nQUIT\r\n");
    let info = String::from_utf8(client.until_closed()).expect("text");
    assert!(info.contains(&format!("\nmaxclients:{}\r", told.trim())), "{told} in {info}");
    assert_ne!(told.trim(), "4000000000");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

fn signal(server: &Server, name: &str) {
    let process = server.child.id().to_string();
    assert!(Command::new("kill").args([name, &process]).status().expect("it runs").success());
}

fn terminate(server: &Server) {
    signal(server, "-TERM");
}

#[test]
fn a_second_sigint_ends_an_end_that_does_not_come() {
    for first in ["-TERM", "-INT"] {
        let mut server = Server::start(&["--busy-reply-threshold", "20", "--appendonly", "no", "--save", "3600 1000"]);
        let mut client = server.connect();
        client.send(&encode(&[b"EVAL", b"while true do end", b"0"]));
        let began = std::time::Instant::now();
        let mut admin = server.connect();
        while !admin.line(b"EXISTS k\r\n").starts_with("-BUSY") {
            assert!(began.elapsed() < PATIENCE, "the script does not take long");
        }
        signal(&server, first);
        while !server.log().contains("The snapshot waits for the script") {
            assert!(began.elapsed() < PATIENCE, "{}", server.log());
        }
        signal(&server, "-TERM");
        assert!(admin.line(b"EXISTS k\r\n").starts_with("-BUSY"), "a SIGTERM waits with the first");
        signal(&server, "-INT");
        assert_eq!(server.child.wait().expect("it ends").code(), Some(1));
        assert!(server.log().contains("You insist... exiting now."), "{}", server.log());
    }
}

#[test]
fn a_unix_socket_that_cannot_be_made_is_what_the_log_tells_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(BINARY)
        .args(["--port", "0", "--unixsocket", "/no/such/folder/s", "--dir"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("Failed opening Unix socket: /no/such/folder/s: ") && !log.contains("(TCP)"), "{log}");
}

#[test]
fn a_second_server_leaves_the_socket_of_the_first_alone() {
    let mut first = Server::start(&[]);
    let socket = first.folder.path().join("s");
    let second = |folder: &std::path::Path| {
        let mut command = Command::new(BINARY);
        command.args(["--port", "0", "--unixsocket"]).arg(&socket).arg("--dir").arg(folder);
        command
    };
    let folder = tempfile::tempdir().expect("a folder");
    let output = second(folder.path()).output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("Failed opening Unix socket: ") && log.contains("a server listens there"), "{log}");
    assert_eq!(first.connect().line(b"PING\r\n"), "+PONG");

    // What a killed server leaves behind is in nobody's way.
    first.child.kill().expect("killed");
    first.child.wait().expect("it ends");
    assert!(socket.exists());
    let mut third = second(folder.path()).stdout(std::process::Stdio::null()).spawn().expect("it starts");
    let began = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < PATIENCE, "it does not come up");
    }
    third.kill().expect("killed");
    third.wait().expect("it ends");
}

#[test]
fn a_relative_logfile_is_in_the_working_folder_that_the_configuration_names() {
    let (cwd, data) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let conf = cwd.path().join("x.conf");
    // Whatever the order of the lines.
    fs::write(&conf, format!("port 0\nlogfile firn.log\ndir {}\naclfile none\n", data.path().display()))
        .expect("written");
    let output = Command::new(BINARY).arg(&conf).current_dir(cwd.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "there is no such aclfile");
    assert!(fs::read_to_string(data.path().join("firn.log")).expect("a log").contains("ACL errors"));
    assert!(!cwd.path().join("firn.log").exists());
}

#[test]
fn a_signal_does_not_lose_what_only_a_snapshot_keeps_while_a_script_runs() {
    let words = ["--busy-reply-threshold", "20", "--appendonly", "no", "--save", "3600 1000"];
    let mut server = Server::start(&words);
    let (mut client, mut admin) = (server.connect(), server.connect());
    assert_eq!(client.line(b"SET k v\r\n"), "+OK");
    client.send(&encode(&[b"EVAL", b"while true do end", b"0"]));
    let began = std::time::Instant::now();
    while !admin.line(b"EXISTS k\r\n").starts_with("-BUSY") {
        assert!(began.elapsed() < PATIENCE, "the script does not take long");
    }
    terminate(&server);
    while !server.log().contains("The snapshot waits for the script") {
        assert!(began.elapsed() < PATIENCE, "{}", server.log());
    }
    assert_eq!(admin.line(b"SCRIPT KILL\r\n"), "+OK");
    assert!(server.child.wait().expect("it ends").success());
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().expect("a folder"));
    let server = Server::start_in(folder, &words);
    assert_eq!(server.connect().line(b"GET k\r\n"), "$1");
}
