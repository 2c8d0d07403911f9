//! The clients that write while the server is crashed, and what each of them remembers.
//!
//! 1. A command is recorded with the time before it was sent; it is acknowledged at the time its reply was read.
//! 2. A client stops at the first lost connection. What it had sent by then may or may not have happened.
//! 3. An error reply says that the command did not happen: it leaves the history. While a fault is in force errors are expected
//!    and the client goes on; at any other time one is a finding, and the client stops.
//! 4. A client whose server does not answer in time stops too; that is a finding of its own kind.
//! 5. A reply that is not what the client's own history demands is a finding, crash or not.

use crate::client::{Client, Value, is_hung};
use crate::model::{Change, EXPIRING, SHARED_DB, State, Workload, commands, is_shared, name, number_of};
use crate::rng::Rng;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rest after a refused write.
const BACK_OFF: Duration = Duration::from_millis(5);

/// One command that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) change: Change,
    /// Its number in the client's life.
    pub(crate) number: u64,
    /// Not later than this it had not been sent.
    pub(crate) sent_at: Instant,
    /// When its reply was read.
    pub(crate) acknowledged_at: Option<Instant>,
}

/// What one client did in one cycle.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In the order they were sent, without those that were refused.
    pub(crate) sent: Vec<Sent>,
    /// Replies that cannot be right.
    pub(crate) findings: Vec<String>,
    /// That an answer did not come in time, before any fault.
    pub(crate) hung: Option<String>,
    /// How its connection ended.
    pub(crate) lost: Option<String>,
    /// How many commands were answered with an error while a fault was in force, and the first such error.
    pub(crate) refused: (u64, Option<String>),
    /// The number of its next command.
    pub(crate) next: u64,
}

impl History {
    /// How many commands were acknowledged: always the first ones.
    pub(crate) fn acknowledged(&self) -> usize {
        self.sent.iter().take_while(|sent| sent.acknowledged_at.is_some()).count()
    }
}

/// What driver and clients tell each other during a cycle.
#[derive(Debug)]
pub(crate) struct Shared {
    /// A fault is in force: errors are expected.
    pub(crate) faulty: AtomicBool,
    /// The fault is over: what is sent from now on is to be accepted again.
    pub(crate) over: AtomicBool,
    /// Commands that need room, sent since then and acknowledged, by all clients.
    pub(crate) resumed: AtomicU64,
    /// Some command was acknowledged.
    pub(crate) any: AtomicBool,
    /// All connections, for [`Shared::give_up`]; none once that was called.
    connections: Mutex<Option<Vec<TcpStream>>>,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        let connections = Mutex::new(Some(Vec::new()));
        Shared { faulty: false.into(), over: false.into(), resumed: 0.into(), any: false.into(), connections }
    }

    fn connect(&self, load: &Load) -> io::Result<Client> {
        let mut client = Client::connect_within(load.port, load.answer_max)?;
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.as_mut().ok_or_else(|| io::Error::other("the load is over"))?;
        all.push(client.stream().try_clone()?);
        Ok(client)
    }

    /// Ends all connections, and lets none be made: the clients stop, whatever the server does.
    pub(crate) fn give_up(&self) {
        let all = self.connections.lock().unwrap_or_else(PoisonError::into_inner).take();
        for stream in all.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What is the same for all clients of a run.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) clients: usize,
    pub(crate) workloads: Vec<Workload>,
    /// Whether the server has 16 databases: then each client has its own.
    pub(crate) databases: bool,
    /// How long an answer may take.
    pub(crate) answer_max: Duration,
}

/// A writer's part in a cycle.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Which client, and which database.
    pub(crate) client: usize,
    /// Its state before the cycle.
    pub(crate) base: State,
    /// Number of its next command.
    pub(crate) next: u64,
    /// The cycle, for the names of shared keys.
    pub(crate) cycle: u64,
    /// Most commands in one batch.
    pub(crate) depth: u64,
    /// Its choices.
    pub(crate) rng: Rng,
}

/// A command in flight.
struct InFlight {
    replies: usize,
    /// Which of the replies tells.
    telling: usize,
    expected: Option<i64>,
    refused: bool,
}

fn select(db: usize) -> [Vec<u8>; 2] {
    [b"SELECT".to_vec(), db.to_string().into_bytes()]
}

fn push(client: &mut Client, words: &[Vec<u8>]) {
    client.push(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

impl Writer {
    /// Writes until the server is gone.
    pub(crate) fn run(mut self, load: &Load, shared: &Shared) -> History {
        let mut history = History { next: self.next, ..History::default() };
        if let Err(error) = self.write(load, shared, &mut history) {
            let text = format!("client {}: {error}", self.client);
            if error.kind() == io::ErrorKind::InvalidData {
                history.findings.push(text.clone());
            } else if is_hung(&error) && !shared.faulty.load(Ordering::SeqCst) {
                history.hung = Some(text.clone());
            }
            history.lost = Some(text);
        }
        history.next = self.next;
        history
    }

    fn write(&mut self, load: &Load, shared: &Shared, history: &mut History) -> io::Result<()> {
        let mut client = shared.connect(load)?;
        if load.databases {
            let words = select(self.client);
            client.call(&[&words[0], &words[1]])?;
        }
        let mut state = self.base.clone();
        loop {
            let first = history.sent.len();
            let mut flying = Vec::new();
            let over = shared.over.load(Ordering::SeqCst);
            // Not later than the first byte leaves.
            let sent_at = Instant::now();
            for _ in 0..1 + self.rng.below(self.depth) {
                let change = state.choose(&mut self.rng, &load.workloads, load.databases);
                let number = self.next;
                self.next += 1;
                let (all, telling) = commands(&change, self.client, number, self.cycle, load.databases);
                all.iter().for_each(|words| push(&mut client, words));
                let expected = state.apply(&change, self.client, number);
                // What pops and moves answers with an element, which the state after the crash tells as well.
                let expected = expected.filter(|_| {
                    !matches!(change, Change::Pop { .. } | Change::MoveElement { .. } | Change::AddEntry { .. })
                });
                flying.push(InFlight { replies: all.len(), telling, expected, refused: false });
                history.sent.push(Sent { change, number, sent_at, acknowledged_at: None });
            }
            client.flush()?;
            let outcome = self.read_replies(&mut client, first, &mut flying, shared, history);
            if over {
                let accepted = history.sent[first..].iter().filter(|sent| sent.acknowledged_at.is_some());
                let count = accepted.filter(|sent| needs_room(&sent.change)).count();
                shared.resumed.fetch_add(count as u64, Ordering::SeqCst);
            }
            if flying.iter().any(|flying| flying.refused) {
                let mut at = 0;
                history.sent.retain(|_| {
                    at += 1;
                    at <= first || !flying[at - 1 - first].refused
                });
                state = self.base.clone();
                for sent in &history.sent {
                    state.apply(&sent.change, self.client, sent.number);
                }
                std::thread::sleep(BACK_OFF);
            }
            if !outcome? {
                return Ok(());
            }
        }
    }

    /// Reads the replies of a batch; false: the client must not go on.
    fn read_replies(
        &self,
        client: &mut Client,
        first: usize,
        flying: &mut [InFlight],
        shared: &Shared,
        history: &mut History,
    ) -> io::Result<bool> {
        let mut any_refused = false;
        for (at, flying) in flying.iter_mut().enumerate() {
            let mut told = Value::Null;
            for reply in 0..flying.replies {
                let value = client.read()?;
                if reply == flying.telling {
                    told = value;
                }
            }
            let sent = &mut history.sent[first + at];
            let of = self.client;
            if let Value::Error(text) = &told {
                let text = format!("client {of}: command {} was answered {}", sent.number, text.escape_ascii());
                if !shared.faulty.load(Ordering::SeqCst) {
                    history.findings.push(text);
                    return Ok(false);
                }
                (flying.refused, any_refused) = (true, true);
                history.refused.0 += 1;
                history.refused.1.get_or_insert(text);
                continue;
            }
            if let (Change::Transaction(changes), answer) = (&sent.change, &told) {
                let whole = matches!(answer, Value::Array(items)
                    if items.len() == changes.len() && !items.iter().any(Value::is_error));
                if !whole && !any_refused {
                    history.findings.push(format!("client {of}: transaction {} answered {answer}", sent.number));
                    return Ok(false);
                }
            }
            if flying.expected.is_some() && told.integer() != flying.expected && !any_refused {
                let (number, change, expected) = (sent.number, &sent.change, flying.expected.unwrap_or(0));
                history
                    .findings
                    .push(format!("client {of}: command {number} {change:?} answered {told}, not {expected}"));
                return Ok(false);
            }
            sent.acknowledged_at = Some(Instant::now());
            shared.any.store(true, Ordering::Relaxed);
        }
        Ok(true)
    }
}

/// A command's value was read by another client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The command's number.
    pub(crate) number: u64,
    /// When the reply had been read.
    pub(crate) at: Instant,
}

/// Reads what others write until the server is gone; gives, for each client, the growth of the highest command number that
/// it was shown.
pub(crate) fn read_others(load: &Load, shared: &Shared, mut rng: Rng) -> Vec<Vec<Seen>> {
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); load.clients];
    let _ = shared.connect(load).and_then(|mut client| {
        loop {
            let of = rng.below(load.clients as u64) as usize;
            if load.databases {
                push(&mut client, &select(of));
            }
            // Keys that are only ever SET: elsewhere SETRANGE and APPEND make digits that are no command's number.
            let keys: Vec<Vec<u8>> =
                (0..6).map(|_| name(of, EXPIRING.start + rng.below(EXPIRING.len() as u64) as usize)).collect();
            for key in &keys {
                client.push(&[b"GET", key]);
            }
            client.flush()?;
            if load.databases {
                client.read()?;
            }
            for _ in &keys {
                if let Value::Bulk(value) = client.read()?
                    && let Some(number) = number_of(of, &value)
                    && seen[of].last().is_none_or(|last| last.number < number)
                {
                    seen[of].push(Seen { number, at: Instant::now() });
                }
            }
        }
        #[allow(unreachable_code)] // The loop ends by an error only; this names its type.
        Ok::<(), io::Error>(())
    });
    seen
}

/// Asks for snapshots and compactions at random moments until the server is gone; gives how many were begun.
pub(crate) fn operate(load: &Load, shared: &Shared, mut rng: Rng) -> u64 {
    let mut begun = 0;
    let _ = shared.connect(load).and_then(|mut client| {
        loop {
            std::thread::sleep(Duration::from_millis(1 + rng.below(60)));
            let reply = if rng.one_in(2) { client.call(&[b"BGSAVE"])? } else { client.call(&[b"BGREWRITEAOF"])? };
            begun += u64::from(!reply.is_error());
        }
        #[allow(unreachable_code)] // As above.
        Ok::<(), io::Error>(())
    });
    begun
}

/// Prepares a cycle: whether there are 16 databases, and an end for the keys that all shared in an earlier cycle.
pub(crate) fn prepare(client: &mut Client, before: Option<u64>) -> io::Result<bool> {
    let words = select(SHARED_DB);
    let databases = !client.call(&[&words[0], &words[1]])?.is_error();
    if let Some(cycle) = before {
        client.call(&[b"DEL", &crate::model::shared_log(cycle), &crate::model::shared_count(cycle)])?;
    }
    Ok(databases)
}

/// Whether a change that was acknowledged must have been written: FLUSHDB of an empty database writes nothing, and what found
/// nothing to change neither.
pub(crate) fn surely_writes(change: &Change) -> bool {
    is_shared(change)
        || matches!(
            change,
            // One whose deadline has passed by the time it runs has nothing to write where no key was.
            Change::Set { deadline: None, .. }
                | Change::Append { .. }
                | Change::Number { .. }
                | Change::SetTwo { .. }
                | Change::Push { .. }
        )
}

/// Whether a change that was accepted cannot have been on a full disk: all but what deletes, moves or changes deadlines.
fn needs_room(change: &Change) -> bool {
    match change {
        Change::Transaction(changes) | Change::Script(changes) => changes.iter().any(needs_room),
        Change::Increment { .. }
        | Change::SetRange { .. }
        | Change::AddMember { .. }
        | Change::Score { .. }
        | Change::AddScore { .. }
        | Change::SetField { .. }
        | Change::AddField { .. }
        | Change::AddEntry { .. } => true,
        other => surely_writes(other),
    }
}
