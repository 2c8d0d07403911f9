//! Users at the real binary: logins, what is refused in the hard cases, files, restarts, and a production configuration.

mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{BINARY, Connection, Server};

type Client = Connection<UnixStream>;

/// Logged in as a user.
fn login(server: &Server, user: &str, password: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(client.line(format!("AUTH {user} {password}\r\n").as_bytes()), "+OK");
    client
}

/// One inline command, one line of reply.
fn say(client: &mut Client, command: &str) -> String {
    client.line(format!("{command}\r\n").as_bytes())
}

/// The words of a reply of one level of nesting or none, until the text of a following ECHO.
fn all(client: &mut Client, command: &str) -> Vec<String> {
    client.send(format!("{command}\r\nECHO the-end\r\n").as_bytes());
    let mut words = Vec::new();
    loop {
        let line = client.line(b"");
        match line.as_bytes().first() {
            Some(b'$' | b'*' | b'%' | b'~') => {}
            _ if line == "the-end" => return words,
            _ => words.push(line),
        }
    }
}

const NO_KEY: &str = "-NOPERM No permissions to access a key";

#[test]
fn what_a_user_may_not_do_is_refused_and_changes_nothing() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    for rules in ["app on >pw ~app:* %R~shared:* +@all -@dangerous +sort -config +config|get", "none on nopass"] {
        assert_eq!(say(&mut admin, &format!("ACL SETUSER {rules}")), "+OK");
    }
    assert_eq!(say(&mut admin, "SET shared:s value"), "+OK");
    assert_eq!(say(&mut admin, "SET other value"), "+OK");
    let mut app = login(&server, "app", "pw");
    for (command, reply) in [("SET app:k v", "+OK"), ("SET app:k v GET", "$1")] {
        assert_eq!(say(&mut app, command), reply, "{command}");
    }
    assert_eq!(app.line(b""), "v");
    for (command, reply) in [
        ("SET shared:s v", NO_KEY),
        ("GET other", NO_KEY),
        ("EXISTS app:k shared:s other", NO_KEY),
        ("COPY shared:s app:copy", ":1"),
        ("COPY app:k shared:s REPLACE", NO_KEY),
        ("RENAME shared:s app:s", NO_KEY),
        ("RENAME app:copy other", NO_KEY),
        ("MSET app:a 1 other 2", NO_KEY),
        ("DEL app:copy", ":1"),
        ("SINTERSTORE app:d shared:s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SINTERSTORE shared:d app:none", NO_KEY),
        ("LPUSH app:l 1 2", ":2"),
        ("SORT app:l BY other* STORE app:x", "-ERR BY option of SORT denied due to insufficient ACL permissions."),
        ("SORT app:l GET other* STORE app:x", "-ERR GET option of SORT denied due to insufficient ACL permissions."),
        ("SORT app:l STORE shared:x", NO_KEY),
        ("SORT app:l STORE app:x", ":2"),
        ("FLUSHALL", "-NOPERM User app has no permissions to run the 'flushall' command"),
        ("CONFIG SET maxmemory 0", "-NOPERM User app has no permissions to run the 'config|set' command"),
        ("CLIENT KILL ID 1", "-NOPERM User app has no permissions to run the 'client|kill' command"),
        ("FOO", "-ERR unknown command 'FOO', with args beginning with: "),
        ("SET app:k", "-ERR wrong number of arguments for 'set' command"),
    ] {
        assert_eq!(say(&mut app, command), reply, "{command}");
    }
    assert_eq!(all(&mut admin, "GET shared:s"), ["value"]);
    assert_eq!(all(&mut admin, "DBSIZE"), [":5"], "app:k app:l app:x shared:s other");
    let mut none = login(&server, "none", "whatever");
    for command in ["GET x", "PING", "ACL WHOAMI", "MULTI", "CLIENT ID"] {
        assert!(say(&mut none, command).starts_with("-NOPERM User none has no permissions to run the '"), "{command}");
    }
    assert_eq!(say(&mut none, "AUTH app pw"), "+OK", "everybody may log in as somebody else");
    assert_eq!(all(&mut none, "ACL WHOAMI"), ["app"]);
}

#[test]
fn a_transaction_is_checked_when_it_is_queued_and_when_it_runs() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    assert_eq!(say(&mut admin, "ACL SETUSER app on nopass ~a* +@all"), "+OK");
    let mut app = login(&server, "app", "x");
    assert_eq!(say(&mut app, "MULTI"), "+OK");
    assert_eq!(say(&mut app, "SET b 1"), NO_KEY);
    assert_eq!(say(&mut app, "EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(say(&mut app, "MULTI"), "+OK");
    assert_eq!(say(&mut app, "SET a1 1"), "+QUEUED");
    assert_eq!(say(&mut app, "INCR a2"), "+QUEUED");
    assert_eq!(say(&mut admin, "ACL SETUSER app resetkeys ~a2"), "+OK");
    assert_eq!(say(&mut app, "EXEC"), "*2");
    assert_eq!(
        app.line(b""),
        "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no \
         longer allowed for the following reason: No permissions to access a key"
    );
    assert_eq!(app.line(b""), ":1");
    assert_eq!(say(&mut admin, "EXISTS a1"), ":0");
    let log = all(&mut admin, "ACL LOG");
    assert_eq!(log.iter().filter(|word| *word == "multi").count(), 2, "{log:?}");
}

#[test]
fn one_batch_sees_its_own_changes_of_users() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"ACL SETUSER u on nopass +get +acl|setuser ~*\r\nAUTH u x\r\nGET k\r\nSET k 1\r\nACL SETUSER u +set\r\nSET k 1\r\n");
    for reply in ["+OK", "+OK", "$-1", "-NOPERM User u has no permissions to run the 'set' command", "+OK", "+OK"] {
        assert_eq!(client.line(b""), reply);
    }
}

#[test]
fn clients_of_deleted_users_and_what_they_listen_to_are_closed() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    assert_eq!(say(&mut admin, "ACL SETUSER a on nopass +@all ~* &news*"), "+OK");
    let (mut one, mut listener, mut other) =
        (login(&server, "a", "x"), login(&server, "a", "x"), login(&server, "a", "x"));
    assert_eq!(say(&mut listener, "SUBSCRIBE secret"), "-NOPERM No permissions to access a channel");
    assert_eq!(say(&mut listener, "PSUBSCRIBE news*"), "*3");
    assert_eq!(say(&mut other, "SUBSCRIBE news1"), "*3");
    assert_eq!(say(&mut one, "PUBLISH secret m"), "-NOPERM No permissions to access a channel");
    assert_eq!(say(&mut admin, "ACL SETUSER a resetchannels &news1"), "+OK");
    listener.until_closed();
    assert_eq!(say(&mut one, "PUBLISH news1 m"), ":1", "who listens to what is still allowed stays");
    assert_eq!(say(&mut one, "ACL DELUSER a nobody"), ":1");
    assert_eq!(one.until_closed(), b"", "the reply leaves before the connection is closed");
    other.until_closed();
    assert_eq!(say(&mut admin, "ACL SETUSER a on nopass"), "+OK");
    assert_eq!(say(&mut admin, "ACL DELUSER default"), "-ERR The 'default' user cannot be removed");
    server.is_well();
}

#[test]
fn a_blocked_command_that_is_not_allowed_any_more_ends() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    assert_eq!(say(&mut admin, "ACL SETUSER a on nopass +@all ~*"), "+OK");
    let (mut one, mut two) = (login(&server, "a", "x"), login(&server, "a", "x"));
    one.send(b"BLPOP list 0\r\n");
    two.send(b"BLPOP other 0\r\n");
    while all(&mut admin, "INFO clients").iter().all(|line| line != "blocked_clients:2") {}
    assert_eq!(say(&mut admin, "ACL SETUSER a resetkeys ~other"), "+OK");
    assert_eq!(one.line(b""), NO_KEY);
    assert_eq!(say(&mut admin, "RPUSH list x"), ":1");
    assert_eq!(say(&mut admin, "RPUSH other x"), ":1");
    assert_eq!(two.line(b""), "*2");
    assert_eq!(say(&mut admin, "LLEN list"), ":1");
}

#[test]
fn requirepass_is_the_default_users_password() {
    let server = Server::start(&["--requirepass", "first"]);
    let mut old = login(&server, "default", "first");
    let mut client = server.connect();
    assert_eq!(say(&mut client, "PING"), "-NOAUTH Authentication required.");
    assert_eq!(say(&mut client, "AUTH second"), "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(say(&mut old, "CONFIG SET requirepass second"), "+OK");
    assert_eq!(say(&mut old, "PING"), "+PONG", "who is in stays in");
    assert_eq!(say(&mut client, "AUTH first"), "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(say(&mut client, "AUTH second"), "+OK");
    assert_eq!(say(&mut old, "ACL SETUSER default off"), "+OK");
    assert_eq!(
        say(&mut server.connect(), "AUTH second"),
        "-WRONGPASS invalid username-password pair or user is disabled."
    );
    assert_eq!(say(&mut old, "ACL SETUSER default on nopass"), "+OK");
    assert_eq!(say(&mut server.connect(), "PING"), "+PONG");
    assert!(say(&mut old, "AUTH x").starts_with("-ERR AUTH <password> called without any password configured"));
    let log = all(&mut old, "ACL LOG");
    assert_eq!(log.iter().filter(|word| *word == "auth").count(), 1, "the same failure is one entry: {log:?}");
    assert!(log.contains(&":3".to_owned()) || log.contains(&":4".to_owned()), "{log:?}");
}

/// A server on a configuration file; dropping it kills it.
struct Running {
    child: std::process::Child,
    socket: std::path::PathBuf,
}

impl Running {
    fn start(file: &str, folder: &Path) -> Running {
        let socket = folder.join("socket");
        let child = Command::new(BINARY)
            .args([file, "--port", "0", "--unixsocket"])
            .arg(&socket)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Running { child, socket }
    }

    fn login(&self, user: &str, password: &str) -> Client {
        let mut client = Connection::when_up(&self.socket);
        assert_eq!(say(&mut client, &format!("AUTH {user} {password}")), "+OK");
        client
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files that outlive the servers that use them.
struct Restarts {
    folder: tempfile::TempDir,
}

impl Restarts {
    fn new(files: &[(&str, &str)]) -> Restarts {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        Restarts { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).expect("read")
    }

    /// A start that fails; what it says.
    fn refused(&self, words: &[&str]) -> String {
        let output = Command::new(BINARY)
            .args(words)
            .args(["--port", "0", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

#[test]
fn an_acl_file_survives_save_load_and_a_restart_and_broken_ones_stop_the_start() {
    let files = Restarts::new(&[("users.acl", "user default on nopass ~* &* +@all\nuser a on >pw ~a* +@all\n")]);
    let path = files.path("users.acl");
    let server = Server::start(&["--aclfile", &path]);
    let mut admin = server.connect();
    let mut a = login(&server, "a", "pw");
    assert_eq!(say(&mut admin, "ACL SETUSER b on >pb (%R~b* +get)"), "+OK");
    assert_eq!(say(&mut admin, "ACL SAVE"), "+OK");
    assert!(!files.read("users.acl").contains("pw"), "passwords are hashes");
    let mut b = login(&server, "b", "pb");
    assert_eq!(say(&mut b, "GET b1"), "$-1");

    // A broken file changes nothing.
    let good = files.read("users.acl");
    fs::write(&path, format!("{good}user c +nope\n")).expect("written");
    let error = say(&mut admin, "ACL LOAD");
    assert!(
        error.contains("users.acl:4: Error in applying operation '+nope': Unknown command or category name in ACL."),
        "{error}"
    );
    assert!(error.ends_with("no change to the previously active ACL rules was performed"), "{error}");
    assert!(all(&mut admin, "ACL USERS").contains(&"b".to_owned()));
    assert!(files.refused(&["--aclfile", &path]).contains("Aborting Redis startup because of ACL errors: "));

    // Who is not in the file any more goes, who is changed stays and is changed.
    fs::write(&path, "user a on >pw ~x* +@all\n").expect("written");
    assert_eq!(say(&mut admin, "ACL LOAD"), "+OK");
    b.until_closed();
    assert_eq!(say(&mut a, "GET a1"), NO_KEY);
    assert_eq!(say(&mut a, "GET x1"), "$-1");
    assert_eq!(all(&mut admin, "ACL USERS"), ["a", "default"]);
    assert_eq!(say(&mut admin, "ACL SAVE"), "+OK");
    drop(server);

    let server = Server::start(&["--aclfile", &path]);
    assert_eq!(say(&mut login(&server, "a", "pw"), "GET a1"), NO_KEY);
    assert_eq!(all(&mut server.connect(), "ACL USERS"), ["a", "default"]);
    drop(server);

    let both = files.refused(&["--aclfile", &path, "--user", "z", "on"]);
    assert!(both.contains("please define either an ACL file or declare users"), "{both}");
    assert!(files.refused(&["--aclfile", "/no/such.acl"]).contains("opening file '/no/such.acl': No such file"));
}

#[test]
fn users_of_the_configuration_survive_config_rewrite_and_a_restart() {
    let files = Restarts::new(&[(
        "firn.conf",
        "# mine\nuser a on >pw ~a* (%R~r* +get) +@all -@admin\nrequirepass secret\nuser gone on nopass\n",
    )]);
    let path = files.path("firn.conf");
    let server = Running::start(&path, files.folder.path());
    let mut admin = server.login("default", "secret");
    let before = all(&mut admin, "ACL LIST");
    assert_eq!(say(&mut admin, "ACL DELUSER gone"), ":1");
    assert_eq!(
        say(&mut admin, "ACL SETUSER new on #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        "+OK"
    );
    assert_eq!(say(&mut admin, "CONFIG REWRITE"), "+OK");
    let text = files.read("firn.conf");
    assert!(text.starts_with("# mine\nuser a on #"), "{text}");
    assert!(!text.contains("gone") && !text.contains(">pw") && text.contains("user new on #ca97"), "{text}");
    assert!(!text.contains("user default"), "requirepass says it all: {text}");
    let after = all(&mut admin, "ACL LIST");
    drop(server);

    let server = Running::start(&path, files.folder.path());
    let mut admin = server.login("default", "secret");
    assert_eq!(all(&mut admin, "ACL LIST"), after);
    assert!(
        before.iter().any(|user| user.contains("user a on #") && user.ends_with("(%R~r* resetchannels -@all +get)")),
        "{before:?}"
    );
    assert_eq!(say(&mut server.login("a", "pw"), "GET r1"), "$-1");
    drop(server);

    for (line, error) in [
        ("user a on +nope", "Error in user declaration '+nope': Unknown command or category name in ACL"),
        ("user a on (+get", "Unmatched parenthesis in acl selector starting at '(+get'."),
        ("user \"a b\" on", "Spaces not allowed in ACL usernames"),
        ("user a on\nuser a off", "Error in user declaration 'a': Duplicate user found."),
    ] {
        fs::write(&path, format!("{line}\n")).expect("written");
        let said = files.refused(&[&path]);
        assert!(said.contains("FATAL CONFIG FILE ERROR") && said.contains(error), "{said}");
    }
}

/// The configuration that a host with many tenants runs.
const PRODUCTION: &str = "\
bind 127.0.0.1
tcp-backlog 511
timeout 300
tcp-keepalive 60
databases 16
loglevel notice
maxmemory 2gb
maxmemory-policy allkeys-lru
save 900 1
save 300 10
save 60 10000
appendonly yes
appendfsync everysec
requirepass \"a long password\"
rename-command FLUSHDB \"\"
rename-command FLUSHALL \"\"
rename-command CONFIG \"b840fc02d524045429941cc15f59e41cb7be6c52\"
";

#[test]
fn a_production_configuration_starts_works_and_restarts_with_its_data() {
    let files = Restarts::new(&[]);
    let data = files.path("data");
    fs::create_dir(&data).expect("a folder");
    let path = files.path("redis.conf");
    fs::write(&path, format!("{PRODUCTION}logfile {}\ndir {data}\n", files.path("redis.log"))).expect("written");
    for round in 1..=3 {
        let mut server = Running::start(&path, files.folder.path());
        let mut client = Connection::when_up(&server.socket);
        assert_eq!(say(&mut client, "GET k"), "-NOAUTH Authentication required.");
        assert_eq!(say(&mut client, "AUTH \"a long password\""), "+OK");
        assert_eq!(say(&mut client, "INCR rounds"), format!(":{round}"));
        for name in ["FLUSHALL", "FLUSHDB"] {
            assert_eq!(say(&mut client, name), format!("-ERR unknown command '{name}', with args beginning with: "));
        }
        assert!(say(&mut client, "CONFIG GET maxmemory").starts_with("-ERR unknown command 'CONFIG'"));
        const CONFIG: &str = "b840fc02d524045429941cc15f59e41cb7be6c52";
        assert_eq!(all(&mut client, &format!("{CONFIG} GET maxmemory")), ["maxmemory", "2147483648"]);
        for line in PRODUCTION.lines().filter(|line| !line.starts_with("rename-command") && !line.starts_with("save")) {
            let (name, value) = line.split_once(' ').expect("a directive");
            let told = if name == "maxmemory" { "2147483648" } else { value.trim_matches('"') };
            assert_eq!(all(&mut client, &format!("{CONFIG} GET {name}")), [name, told]);
        }
        assert_eq!(all(&mut client, &format!("{CONFIG} GET save")), ["save", "900 1 300 10 60 10000"]);
        assert_eq!(
            say(&mut client, "ACL SETUSER ops on nopass +config|get +flushall +echo"),
            "+OK",
            "rules name commands by their own names"
        );
        assert_eq!(say(&mut client, "AUTH ops x"), "+OK");
        assert_eq!(all(&mut client, &format!("{CONFIG} GET timeout")), ["timeout", "300"]);
        assert_eq!(
            say(&mut client, &format!("{CONFIG} SET timeout 1")),
            "-NOPERM User ops has no permissions to run the 'config|set' command"
        );
        assert_eq!(say(&mut client, "FLUSHALL"), "-ERR unknown command 'FLUSHALL', with args beginning with: ");
        assert_eq!(say(&mut client, "AUTH \"a long password\""), "+OK");
        if round == 2 {
            // Not every end is an orderly one.
            server.child.kill().expect("it runs");
            server.child.wait().expect("a child");
            continue;
        }
        client.send(b"SHUTDOWN\r\n");
        assert!(server.child.wait().expect("a child").success());
        let log = files.read("redis.log");
        assert!(log.contains("Ready to accept connections"), "{log}");
        assert_eq!(log.matches("Server initialized").count(), round, "each start is logged: {log}");
    }
}
