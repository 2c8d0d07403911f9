//! The server under test: a command line with `{port}`, `{dir}` and `{policy}`, started, waited for, signalled, killed, and never left
//! behind. Signals go to the whole group of its processes, as a service manager sends them.
//!
//! A server says that it is up by answering PING with PONG; `LOADING` is waited for. What it prints is kept in a file beside its
//! data: there a refused start has to name its cause.

use crate::client::{Client, Value};
use crate::group::{self, Group};
use crate::stall::{LOOK_MAX, Patience};
use crate::stop;
use rustix::process::Signal;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a stopped process may take to leave its calls; a flush of a slow disk is the longest.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the port of a server that has ended may still be taken.
const FREE_PORT_MAX: Duration = Duration::from_secs(2);
/// How long a server that was never up may give an answer to PING that is none.
const WRONG_ANSWER_MAX: Duration = Duration::from_secs(1);
/// From when on a first start that does not end is told of.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How long a start may still take when the run is to end.
const ASKED_MAX: Duration = Duration::from_secs(10);
/// How much of its output is looked at.
const SAID_LEN_MAX: usize = 16 * 1024;

/// A server that makes itself a daemon, or is made one.
pub(crate) const OUT_OF_REACH: &str = "the server puts itself into the background, out of reach (daemonize yes, setsid, a service manager); it has to stay in the foreground";

/// What is needed to start it, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// With its placeholders.
    pub(crate) command: String,
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) policy: &'static str,
    /// The run's folder. Its output goes to the file `log` there.
    pub(crate) work: PathBuf,
    /// How long a start may take.
    pub(crate) start_max: Duration,
    /// How long an answer may take.
    pub(crate) answer_max: Duration,
    /// Whether no start of it has ever ended in a server that answers.
    pub(crate) is_first: bool,
    /// Further variables of its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// A start that did not end in a server that answers.
#[derive(Debug)]
pub(crate) enum NoStart {
    /// The process ended; the rest of what it printed.
    Refused { status: ExitStatus, said: String },
    /// It ran, and did not answer PING with PONG in time; what came instead, last.
    TooLong { answer: String, said: String },
    /// The run is to end.
    Asked,
    /// It could not be made.
    Failed(io::Error),
}

impl From<io::Error> for NoStart {
    fn from(error: io::Error) -> Self {
        NoStart::Failed(error)
    }
}

impl std::fmt::Display for NoStart {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoStart::Refused { status, said } => {
                write!(out, "the start ended ({}): {}", ended(*status), last_lines(said))
            }
            NoStart::TooLong { answer, said } => {
                let said = last_lines(said);
                let printed =
                    if said.is_empty() { "; it printed nothing".into() } else { format!("; it printed: {said}") };
                write!(out, "the start does not end: PING was answered with {answer}{printed}")
            }
            NoStart::Asked => write!(out, "the run was ended by a signal"),
            NoStart::Failed(error) => write!(out, "the start failed: {error}"),
        }
    }
}

/// How a process ended.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "no status".into(),
    }
}

/// The last lines of an output that say something; the frames of a backtrace do not ("66: main", "at main.rs:1").
pub(crate) fn last_lines(said: &str) -> String {
    let is_frame = |line: &&str| {
        line.starts_with("at ") || line.split_once(": ").is_some_and(|(number, _)| number.parse::<u16>().is_ok())
    };
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.filter(|line| !is_frame(line)).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

impl Launch {
    /// Waits until nobody listens on the port: another server there would be taken for this one.
    fn port_is_free(&self) -> io::Result<()> {
        let began = Instant::now();
        while let Err(error) = TcpListener::bind(("127.0.0.1", self.port)) {
            // A child that a killed server had forked may hold its socket for a moment.
            if began.elapsed() > FREE_PORT_MAX {
                let port = self.port;
                let why = if group::end_strays(&self.work) {
                    format!(
                        "{OUT_OF_REACH}: it was still there after kill -9 of what was started, and held port {port}"
                    )
                } else {
                    format!("port {port} is taken by another process (see --port): {error}")
                };
                return Err(io::Error::new(error.kind(), why));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts it without waiting for it.
    pub(crate) fn spawn(&self) -> io::Result<Server> {
        self.port_is_free()?;
        let path = self.work.join("log");
        let log = File::options().create(true).append(true).open(&path)?;
        let log_from = log.metadata()?.len();
        let words = self
            .command
            .replace("{port}", &self.port.to_string())
            .replace("{dir}", &self.folder.display().to_string())
            .replace("{policy}", self.policy);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {words}")])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Server {
            group: Group::spawn(&mut command, &self.work)?,
            port: self.port,
            log: path,
            log_from,
            began: Instant::now(),
            start_max: self.start_max,
            answer_max: self.answer_max,
            is_first: self.is_first,
        })
    }

    /// Starts it and waits until it answers; also how long that took.
    pub(crate) fn start(&self) -> Result<(Server, Duration), NoStart> {
        let mut server = self.spawn()?;
        let took = server.wait_until_up()?;
        Ok((server, took))
    }
}

/// A running server; dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Server {
    group: Group,
    port: u16,
    log: PathBuf,
    log_from: u64,
    began: Instant,
    start_max: Duration,
    answer_max: Duration,
    is_first: bool,
}

impl Server {
    /// The processes that it is made of: the server itself, and wrappers around it.
    pub(crate) fn pids(&self) -> io::Result<Vec<u32>> {
        self.group.members()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<Client> {
        Client::connect_within(self.port, self.answer_max)
    }

    /// Waits until it answers PING with PONG.
    pub(crate) fn wait_until_up(&mut self) -> Result<Duration, NoStart> {
        let (mut patience, mut wrong) = (Patience::new(self.start_max), Patience::new(WRONG_ANSWER_MAX));
        let mut is_told = !self.is_first;
        loop {
            if let Some(status) = self.has_ended() {
                return Err(NoStart::Refused { status, said: self.said() });
            }
            let connection = Client::connect_within(self.port, LOOK_MAX.min(self.start_max));
            let answer = connection.and_then(|mut client| client.call(&[b"PING"]));
            // What a server says that will not be up, however long it is waited for.
            let is_wrong = match &answer {
                Ok(Value::Text(text)) if text == b"PONG" => return Ok(self.began.elapsed()),
                Ok(Value::Error(text)) => !text.starts_with(b"LOADING"),
                Ok(_) => true,
                Err(error) => error.kind() == io::ErrorKind::InvalidData,
            };
            if stop::is_asked() && self.began.elapsed() > ASKED_MAX {
                return Err(NoStart::Asked);
            }
            if !is_wrong {
                wrong = Patience::new(WRONG_ANSWER_MAX);
            }
            if patience.is_over() || (self.is_first && is_wrong && wrong.is_over()) {
                let answer = answer.map_or_else(|error| format!("nothing ({error})"), |answer| answer.to_string());
                return Err(NoStart::TooLong { answer, said: self.said() });
            }
            if !is_told && self.began.elapsed() > QUIET_MAX {
                is_told = true;
                let limit = self.start_max;
                eprintln!(
                    "torture: the first start has not ended after {QUIET_MAX:?}, and may take {limit:?} (--start-limit)"
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`, and waits for the end of all its processes.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.group.kill()
    }

    /// SIGTERM; gives the status, or `None` if it has not ended in this time.
    pub(crate) fn terminate(&self, wait: Duration) -> io::Result<Option<ExitStatus>> {
        self.group.signal(Signal::TERM)?;
        self.wait_for_end(wait)
    }

    /// Waits for the end of all its processes.
    pub(crate) fn wait_for_end(&self, wait: Duration) -> io::Result<Option<ExitStatus>> {
        let mut patience = Patience::new(wait);
        loop {
            if let Some(status) = self.has_ended()
                && self.group.members()?.is_empty()
            {
                return Ok(Some(status));
            }
            if patience.is_over() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops it (SIGSTOP), and waits until every thread of it has left whatever call it was in: a flush that has begun ends
    /// before this returns.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.group.signal(Signal::STOP)?;
        let began = Instant::now();
        // Twice: a thread may have been made while the first look went round.
        let mut looks = 0;
        while looks < 2 {
            looks = if self.all_stopped()? { looks + 1 } else { 0 };
            if looks == 0 && began.elapsed() > STOP_TIME_MAX {
                return Err(io::Error::other(format!("the server's threads do not stop within {STOP_TIME_MAX:?}")));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Lets it go on after [`Server::stop`].
    pub(crate) fn go_on(&self) -> io::Result<()> {
        self.group.signal(Signal::CONT)
    }

    fn all_stopped(&self) -> io::Result<bool> {
        let is_gone = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH));
        for pid in self.pids()? {
            let tasks = match std::fs::read_dir(format!("/proc/{pid}/task")) {
                Ok(tasks) => tasks,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            for task in tasks {
                let stat = match std::fs::read_to_string(task?.path().join("stat")) {
                    Ok(stat) => stat,
                    // The thread ended.
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => return Err(error),
                };
                // "id (name) state ...": the name may hold anything.
                let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
                if state != Some(b'T') {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Its status, if it has ended.
    pub(crate) fn has_ended(&self) -> Option<ExitStatus> {
        self.group.ended().ok().flatten()
    }

    /// What it printed since it was started, at most the end of that.
    pub(crate) fn said(&self) -> String {
        said(&self.log, self.log_from)
    }
}

fn said(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let bytes = &bytes[(from as usize).min(bytes.len())..];
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SAID_LEN_MAX)..]).into_owned()
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_not_started_on_a_port_that_another_has() {
        let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let work = tempfile::tempdir().unwrap();
        let launch = Launch {
            command: "true".into(),
            port: other.local_addr().unwrap().port(),
            folder: work.path().into(),
            policy: "no",
            work: work.path().into(),
            start_max: Duration::from_secs(1),
            answer_max: Duration::from_secs(1),
            is_first: true,
            environment: Vec::new(),
        };
        assert_eq!(launch.spawn().map(drop).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
