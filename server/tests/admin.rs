//! The real binary: its command line, its configuration file, and the commands that administer it.
//!
//! Every server listens on a unix socket in a folder of its own and on no port, so that tests run side by side.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_firn-server");
/// How long a start or an end may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    socket: std::path::PathBuf,
}

impl Server {
    /// Starts a server in `folder` with `words` after its own ones.
    fn start(folder: &Path, words: &[&str]) -> Server {
        let socket = folder.join("s");
        let child = Command::new(BINARY)
            .args(words)
            .args(["--port", "0", "--unixsocket", "s", "--dir"])
            .arg(folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("the binary starts");
        let mut server = Server { child, socket };
        let began = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(server.child.try_wait().expect("a child").is_none(), "it ended: {}", log());
            assert!(began.elapsed() < PATIENCE, "it does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(2));
        }
        server
    }

    /// Sends an inline command; the reply's bytes.
    fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(format!("{command}\r\nECHO the-end\r\n").as_bytes()).expect("sent");
        const END: &[u8] = b"$7\r\nthe-end\r\n";
        let mut reply = Vec::new();
        let mut chunk = [0; 4096];
        while !reply.ends_with(END) {
            let read = match stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.expect("a reply"),
            };
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&reply));
            reply.extend_from_slice(&chunk[..read]);
        }
        reply.truncate(reply.len() - END.len());
        String::from_utf8(reply).expect("plain text")
    }

    /// The strings and numbers of a reply, one after the other.
    fn words(&self, command: &str) -> Vec<String> {
        let reply = self.ask(command);
        let plain = |line: &&str| !line.starts_with(['$', '*', '~', '%']);
        reply.split("\r\n").filter(plain).map(str::to_owned).filter(|line| !line.is_empty()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(words: &[&str]) -> Output {
    Command::new(BINARY).args(words).stdin(Stdio::null()).output().expect("the binary starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_broken_configuration_ends_the_start_with_place_and_reason() {
    let folder = folder();
    let file = folder.path().join("x.conf");
    fs::write(&file, "port 0\n\ntimeout abc\n").expect("written");
    let output = run(&[file.to_str().expect("plain")]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "FATAL CONFIG FILE ERROR (Firn ",
        "x.conf, at line 3",
        ">>> 'timeout abc'",
        "couldn't be parsed into an integer",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(output.stdout.is_empty(), "nothing was started");
}

#[test]
fn wrong_options_are_named_as_redis_server_names_them() {
    for (words, line, reason) in [
        (&["--port"][..], "'port'", "wrong number of arguments"),
        (&["--port", "6380", "--loglevel"], "'loglevel'", "wrong number of arguments"),
        (&["--port", "6379", "6380"], "'port \"6379\" \"6380\"'", "wrong number of arguments"),
        (&["--port", "--loglevel", "verbose"], "'port \"--loglevel\" \"verbose\"'", "wrong number of arguments"),
        (&["--port", "--bla", "--loglevel", "verbose"], "'port \"--bla\"'", "couldn't be parsed into an integer"),
        (&["--loglevel", "--bla"], "'loglevel \"--bla\"'", "argument(s) must be one of the following"),
        (&["--shutdown-on-sigint"], "'shutdown-on-sigint'", "argument(s) must be one of the following"),
        (&["--replicaof", "127.0.0.1", "abc"], "'replicaof \"127.0.0.1\" \"abc\"'", "Invalid master port"),
        (&["--replicaof", "127.0.0.1", "6379"], "'replicaof \"127.0.0.1\" \"6379\"'", "there is no replication yet"),
        (&["--cluster-enabled", "yes"], "'cluster-enabled \"yes\"'", "there is no cluster mode"),
        (&["--no-such-thing", "1"], "'no-such-thing \"1\"'", "Bad directive"),
        (&["--rename-command", "NOPE", "x"], "'rename-command \"NOPE\" \"x\"'", "No such command in rename-command"),
    ] {
        let output = run(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        assert!(text.contains(line) && text.contains(reason), "{words:?}: {text}");
    }
}

#[test]
fn help_and_version_teach_and_end() {
    for (word, part) in [("--help", "firn-server [FILE]"), ("-v", "Firn server v="), ("--version", "Firn server v=")] {
        let output = run(&[word]);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(part), "{word}");
    }
    assert!(!run(&["--test-memory", "1"]).status.success());
}

#[test]
fn what_the_suite_overrides_is_taken() {
    let folder = folder();
    fs::write(folder.path().join("x.conf"), "save 900 1\nproc-title-template a\n").expect("written");
    let words = [
        "x.conf",
        "loglevel",
        "verbose",
        "--maxmemory '700mb'",
        "--proc-title-template --my--title--template",
        "--save",
        "100",
        "100",
    ];
    let server = Server::start(folder.path(), &words);
    assert_eq!(server.words("CONFIG GET save"), ["save", "900 1 100 100"]);
    assert_eq!(server.words("CONFIG GET maxmemory"), ["maxmemory", "734003200"]);
    assert_eq!(server.words("CONFIG GET loglevel"), ["loglevel", "verbose"]);
    assert_eq!(server.words("CONFIG GET proc-title-template"), ["proc-title-template", "--my--title--template"]);
}

#[test]
fn every_directive_can_be_set_to_what_it_is_and_survives_a_rewrite_and_a_start() {
    let folder = folder();
    fs::write(
        folder.path().join("x.conf"),
        "# mine\ntimeout 0\nenable-protected-configs yes\nenable-debug-command yes\n",
    )
    .expect("written");
    let before;
    {
        let server = Server::start(folder.path(), &["x.conf"]);
        assert_eq!(
            server.ask("CONFIG SET timeout 17 requirepass \"\" save \"5 6\" hash-max-ziplist-entries 9"),
            "+OK\r\n"
        );
        before = server.ask("CONFIG GET *");
        let words = server.words("CONFIG GET lazyfree*");
        for pair in words.chunks(2) {
            assert_eq!(server.ask(&format!("CONFIG SET {} {}", pair[0], pair[1])), "+OK\r\n", "{pair:?}");
        }
        assert_eq!(server.ask("DEBUG CONFIG-REWRITE-FORCE-ALL"), "+OK\r\n");
    }
    let text = fs::read_to_string(folder.path().join("x.conf")).expect("the file");
    assert!(text.starts_with("# mine\ntimeout 17\nenable-protected-configs yes\n"), "{text}");
    assert!(text.contains("hash-max-listpack-entries 9\n") && text.contains("save 5 6\n"), "{text}");
    let server = Server::start(folder.path(), &["x.conf"]);
    assert_eq!(server.ask("CONFIG GET *"), before);
}

#[test]
fn config_set_is_all_or_nothing() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(
        server.ask("CONFIG SET maxmemory 10000001 maxmemory-clients 200%"),
        "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100\r\n"
    );
    assert_eq!(server.words("CONFIG GET maxmemory"), ["maxmemory", "0"]);
    assert_eq!(
        server.ask("CONFIG SET dir /tmp"),
        "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config\r\n"
    );
    assert_eq!(server.ask("CONFIG SET timeout"), "-ERR wrong number of arguments for 'config|set' command\r\n");
    assert_eq!(server.ask("CONFIG SET timeout 1 port"), "-ERR syntax error\r\n");
    assert_eq!(server.ask("CONFIG REWRITE"), "-ERR The server is running without a config file\r\n");
}

#[test]
fn a_port_that_is_taken_leaves_everything_as_it_was() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let reply = server.ask(&format!("CONFIG SET maxmemory 5 port {port}"));
    assert!(
        reply.starts_with(
            "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port"
        ),
        "{reply}"
    );
    assert_eq!(server.words("CONFIG GET maxmemory"), ["maxmemory", "0"]);
    assert_eq!(server.words("CONFIG GET port"), ["port", "0"]);
    drop(taken);
    assert_eq!(server.ask(&format!("CONFIG SET port {port}")), "+OK\r\n");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(server.ask("CONFIG SET bind 127.0.0.1"), "+OK\r\n", "the address that stays is not bound again");
}

#[test]
fn debug_is_refused_unless_it_is_enabled() {
    let one = folder();
    let server = Server::start(one.path(), &[]);
    assert!(server.ask("DEBUG HELP").starts_with("-ERR DEBUG command not allowed."));
    let other = folder();
    let server = Server::start(other.path(), &["--enable-debug-command", "local"]);
    assert!(server.ask("DEBUG HELP").starts_with('*'), "a unix socket is local");
    assert_eq!(server.ask("SET a 1"), "+OK\r\n");
    assert_eq!(server.words("DEBUG DIGEST"), ["943d800368fb9c0e951138f1bc0e313ac769d91f"]);
    assert_eq!(server.ask("DEBUG POPULATE 2000 p 20"), "+OK\r\n");
    assert_eq!(server.ask("DBSIZE"), ":2001\r\n");
    assert_eq!(server.ask("STRLEN p:1999"), ":20\r\n");
    assert!(server.ask("DEBUG SEGFAULT").starts_with("-ERR DEBUG SEGFAULT is refused"));
    assert!(server.ask("DEBUG NOPE").starts_with("-ERR unknown subcommand or wrong number of arguments for 'NOPE'"));
    for seconds in ["nan", "inf", "-1", "x"] {
        assert_eq!(server.ask(&format!("DEBUG SLEEP {seconds}")), "+OK\r\n");
    }
    assert!(server.ask("PING").starts_with("+PONG"));
}

#[test]
fn renamed_commands_are_found_by_their_new_name_only() {
    let folder = folder();
    fs::write(folder.path().join("x.conf"), "rename-command FLUSHDB badger\nrename-command FLUSHALL \"\"\n")
        .expect("written");
    let server = Server::start(folder.path(), &["x.conf"]);
    assert!(server.ask("FLUSHDB").starts_with("-ERR unknown command"));
    assert!(server.ask("FLUSHALL").starts_with("-ERR unknown command"));
    assert_eq!(server.ask("badger"), "+OK\r\n");
    assert_eq!(server.ask("CONFIG REWRITE"), "+OK\r\n");
    let text = fs::read_to_string(folder.path().join("x.conf")).expect("the file");
    assert!(text.starts_with("rename-command FLUSHDB badger\nrename-command FLUSHALL \"\"\n"), "{text}");
}

#[test]
fn info_shows_the_sections_that_are_asked_for() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    server.ask("SET a 1");
    let titles = |command: &str| {
        server.ask(command).lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(titles("INFO keyspace"), ["Keyspace"]);
    assert_eq!(titles("INFO KEYSPACE server"), ["Server", "Keyspace"]);
    assert_eq!(titles("INFO nothing"), [""; 0]);
    let default = titles("INFO");
    assert!(default.contains(&"Firn".to_owned()) && !default.contains(&"Commandstats".to_owned()), "{default:?}");
    assert_eq!(titles("INFO default"), default);
    assert!(titles("INFO all").contains(&"Commandstats".to_owned()));
    assert!(server.ask("INFO").contains("\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"));
    assert!(server.ask("INFO commandstats").contains("cmdstat_set:calls=1,"));
    assert_eq!(server.ask("CONFIG RESETSTAT"), "+OK\r\n");
    assert!(!server.ask("INFO commandstats").contains("cmdstat_set:"));
}

#[test]
fn command_tells_what_there_is() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.words("COMMAND GETKEYS MSET a 1 b 2"), ["a", "b"]);
    assert_eq!(server.words("COMMAND GETKEYSANDFLAGS GET a"), ["a", "+RO", "+access"]);
    for (command, error) in [
        ("COMMAND GETKEYS NOPE a", "-ERR Invalid command specified\r\n"),
        ("COMMAND GETKEYS PING", "-ERR The command has no key arguments\r\n"),
        ("COMMAND GETKEYS GET a b", "-ERR Invalid number of arguments specified for command\r\n"),
        ("COMMAND GETKEYS ZUNIONSTORE d 3 a b", "-ERR Invalid arguments specified for command\r\n"),
        ("COMMAND GETKEYS ZUNIONSTORE d 0 a", "-ERR Invalid arguments specified for command\r\n"),
        ("COMMAND GETKEYS EVAL x 0 a", "*0\r\n"),
        ("CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n"),
        ("READONLY", "-ERR This instance has cluster support disabled\r\n"),
        ("COMMAND LIST FILTERBY NOPE a", "-ERR syntax error\r\n"),
    ] {
        assert_eq!(server.ask(command), error, "{command}");
    }
    assert_eq!(server.ask("COMMAND INFO nope"), "*1\r\n$-1\r\n");
    let get = server.words("COMMAND INFO get");
    let last_key = get.iter().position(|word| word == "lastkey").expect("a key spec");
    assert_eq!(get[last_key + 1], ":0", "the last key is told relative to the first");
    assert_eq!(server.words("COMMAND LIST FILTERBY PATTERN config|g*"), ["config|get"]);
    let count = server.ask("COMMAND COUNT");
    assert_eq!(
        server.ask("COMMAND").split("\r\n").next().map(|line| line.replace('*', ":")),
        Some(count.trim().to_owned())
    );
}

/// The value of an INFO field.
fn field(server: &Server, name: &str) -> String {
    let info = server.ask("INFO everything");
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("INFO has no {name}")).to_owned()
}

#[test]
fn snapshots_are_taken_on_demand_and_told_by_info() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--save", ""]);
    assert_eq!(server.ask("SET a 1"), "+OK\r\n");
    assert_eq!(field(&server, "rdb_changes_since_last_save"), "1");
    assert_eq!(server.ask("SAVE"), "+OK\r\n");
    assert_eq!(field(&server, "rdb_changes_since_last_save"), "0");
    assert_eq!(field(&server, "rdb_saves"), "1");
    assert_eq!(field(&server, "snapshot_last_lsn"), "1");
    let saved: u64 = server.ask("LASTSAVE").trim_start_matches(':').trim().parse().expect("a time");
    assert_eq!(field(&server, "rdb_last_save_time"), saved.to_string());
    assert_eq!(server.ask("BGSAVE NOPE"), "-ERR syntax error\r\n");
    assert!(server.ask("BGSAVE").starts_with("+Background saving started"));
    assert!(server.ask("BGREWRITEAOF").starts_with("+Background append only file rewriting "));
    let began = Instant::now();
    while field(&server, "rdb_bgsave_in_progress") != "0" {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(field(&server, "rdb_last_bgsave_status"), "ok");
    assert_eq!(field(&server, "aof_last_write_status"), "ok");
}

#[test]
fn waitaof_answers_when_it_is_on_the_device() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--appendfsync", "no"]);
    assert_eq!(server.ask("SET a 1"), "+OK\r\n");
    assert_eq!(server.ask("WAITAOF 1 0 0"), "*2\r\n:1\r\n:0\r\n");
    assert_eq!(field(&server, "durable_lsn"), field(&server, "last_lsn"));
    assert_eq!(server.ask("WAITAOF 0 1 1"), "*2\r\n:1\r\n:0\r\n", "there are no replicas: it ends by its timeout");
    for (command, error) in [
        ("WAITAOF x 0 0", "-ERR value is not an integer or out of range\r\n"),
        ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1\r\n"),
        ("WAITAOF 1 -1 0", "-ERR value is out of range, must be positive\r\n"),
        ("WAITAOF 1 0 -1", "-ERR timeout is negative\r\n"),
        ("WAITAOF 1 0 x", "-ERR timeout is not an integer or out of range\r\n"),
    ] {
        assert_eq!(server.ask(command), error, "{command}");
    }
    assert_eq!(server.ask("CONFIG SET appendonly no"), "+OK\r\n");
    assert!(server.ask("WAITAOF 1 0 0").starts_with("-ERR WAITAOF cannot be used when numlocal is set"));
}

#[test]
fn what_is_on_the_disk_is_what_was_in_memory() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--enable-debug-command", "yes", "--save", ""]);
    assert_eq!(server.ask("DEBUG POPULATE 3000"), "+OK\r\n");
    assert_eq!(server.ask("SET e 1 PX 100000000"), "+OK\r\n");
    let digest = server.words("DEBUG DIGEST");
    for command in ["DEBUG LOADAOF", "DEBUG RELOAD", "DEBUG RELOAD NOSAVE"] {
        assert_eq!(server.ask(command), "+OK\r\n", "{command}");
        assert_eq!(server.words("DEBUG DIGEST"), digest, "{command}");
    }
    assert!(server.ask("DEBUG RELOAD NOFLUSH").starts_with("-ERR DEBUG RELOAD NOFLUSH and MERGE are refused"));
    assert!(server.ask("DEBUG RELOAD x").starts_with("-ERR DEBUG RELOAD only supports"));
}

#[test]
fn a_shutdown_keeps_everything_with_or_without_a_log() {
    for (words, how) in [
        (&[][..], "SHUTDOWN"),
        (&[][..], "SHUTDOWN NOSAVE"),
        (&["--appendonly", "no"][..], "SHUTDOWN"),
        (&["--appendonly", "no", "--save", ""][..], "SHUTDOWN SAVE"),
    ] {
        let folder = folder();
        {
            let mut server = Server::start(folder.path(), words);
            assert_eq!(server.ask("SET a 1"), "+OK\r\n");
            assert_eq!(server.ask("SHUTDOWN SAVE NOSAVE"), "-ERR syntax error\r\n");
            assert_eq!(server.ask("SHUTDOWN ABORT"), "-ERR No shutdown in progress.\r\n");
            let mut stream = UnixStream::connect(&server.socket).expect("it listens");
            stream.write_all(format!("{how}\r\n").as_bytes()).expect("sent");
            assert!(server.child.wait().expect("it ends").success(), "{how}");
        }
        let server = Server::start(folder.path(), words);
        assert_eq!(server.ask("GET a"), "$1\r\n1\r\n", "{words:?} {how}");
    }
}

#[test]
fn a_running_store_is_not_moved() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--enable-protected-configs", "yes"]);
    let reply = server.ask("CONFIG SET dir /");
    assert!(reply.contains("the store is open in") && reply.contains("only a start can move it"), "{reply}");
    assert_eq!(server.ask(&format!("CONFIG SET dir {}", folder.path().display())), "+OK\r\n");
}

#[test]
fn changed_settings_reach_the_store() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.ask("CONFIG SET appendfsync always"), "+OK\r\n");
    assert_eq!(server.ask("SET a 1"), "+OK\r\n");
    assert_eq!(field(&server, "durable_lsn"), "1", "no reply before it is on the device");
    assert_eq!(server.ask("CONFIG SET appendonly no"), "+OK\r\n");
    assert_eq!(field(&server, "aof_enabled"), "0");
    assert_eq!(server.ask("SET b 2"), "+OK\r\n");
    assert_eq!(server.ask("CONFIG SET appendonly yes"), "+OK\r\n");
    assert_eq!(field(&server, "aof_enabled"), "1");
    assert_eq!(server.ask("SET c 3"), "+OK\r\n");
    drop(server);
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.ask("DBSIZE"), ":3\r\n");
}

#[test]
fn role_and_wait_answer_as_a_master_without_replicas() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.ask("ROLE"), "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    for (command, reply) in [
        ("WAIT 0 0", ":0\r\n"),
        ("WAIT -1 0", ":0\r\n"),
        ("WAIT 1 1", ":0\r\n"),
        ("WAIT x 0", "-ERR value is not an integer or out of range\r\n"),
        ("WAIT 1 -1", "-ERR timeout is negative\r\n"),
        ("WAIT 1 x", "-ERR timeout is not an integer or out of range\r\n"),
        ("EVAL \"return redis.call('WAIT', '1', '0')\" 0", ":0\r\n"),
    ] {
        assert_eq!(server.ask(command), reply, "{command}");
    }
    assert_eq!(server.ask("MULTI\r\nWAIT 1 0\r\nEXEC"), "+OK\r\n+QUEUED\r\n*1\r\n:0\r\n", "nobody is waited for");
    assert!(server.ask("EVAL \"return redis.call('ROLE')\" 0").contains("not allowed from script"));
}
