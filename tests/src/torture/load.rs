//! The clients that write while the server is crashed, and what each of them remembers.
//!
//! 1. A command is recorded with the time before it was sent; it is acknowledged at the time its reply was read.
//! 2. A client stops at the first lost connection or error reply. What it had sent by then may or may not have happened.
//! 3. A reply that is not what the client's own history demands is a finding, crash or not.

use super::Rng;
use super::model::{Change, KEYS, REGISTERS, SHARED_DB, State, name, number_of};
use crate::client::{Client, Value};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One command that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What it was.
    pub change: Change,
    /// Its number in the client's life.
    pub number: u64,
    /// Not later than this it had not been sent.
    pub sent_at: Instant,
    /// When its reply was read.
    pub acknowledged_at: Option<Instant>,
}

/// What one client did in one cycle.
#[derive(Debug, Default)]
pub struct History {
    /// In the order they were sent.
    pub sent: Vec<Sent>,
    /// Replies that cannot be right.
    pub findings: Vec<String>,
    /// The first error reply, where errors are a matter of the fault.
    pub error: Option<String>,
}

impl History {
    /// How many commands were acknowledged: always the first ones.
    pub fn acknowledged(&self) -> usize {
        self.sent.iter().take_while(|sent| sent.acknowledged_at.is_some()).count()
    }
}

/// A writer's part in a cycle.
#[derive(Debug)]
pub struct Writer {
    /// Which client, and which database.
    pub client: usize,
    /// Its state before the cycle.
    pub state: State,
    /// Number of its next command.
    pub next: u64,
    /// The cycle, for the names of shared keys.
    pub cycle: u64,
    /// Most commands in one batch.
    pub depth: u64,
    /// Its choices.
    pub rng: Rng,
}

impl Writer {
    /// Writes until the server is gone. `faulty` says that the disk has been taken away: from then on errors are expected.
    pub fn run(mut self, port: u16, faulty: &AtomicBool) -> History {
        let mut history = History::default();
        if let Err(error) = self.write(port, &mut history, faulty)
            && error.kind() == io::ErrorKind::InvalidData
        {
            history.findings.push(format!("client {}: {error}", self.client));
        }
        history
    }

    fn write(&mut self, port: u16, history: &mut History, faulty: &AtomicBool) -> io::Result<()> {
        let mut client = Client::connect(port)?;
        client.call(&[b"SELECT", self.client.to_string().as_bytes()])?;
        loop {
            let first = history.sent.len();
            let mut expected = Vec::new();
            // Not later than the first byte leaves.
            let sent_at = Instant::now();
            for _ in 0..1 + self.rng.below(self.depth) {
                let (change, number) = (self.state.choose(&mut self.rng), self.next);
                self.next += 1;
                let shared = State::is_shared(&change);
                if shared {
                    client.push(&[b"SELECT", SHARED_DB.to_string().as_bytes()]);
                }
                let words = State::command(&change, self.client, number, self.cycle);
                client.push(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
                if shared {
                    client.push(&[b"SELECT", self.client.to_string().as_bytes()]);
                }
                expected.push((self.state.apply(&change, self.client, number), shared));
                history.sent.push(Sent { change, number, sent_at, acknowledged_at: None });
            }
            client.flush()?;
            for (at, (integer, shared)) in expected.into_iter().enumerate() {
                if shared {
                    client.read()?;
                }
                let reply = client.read()?;
                let sent = &mut history.sent[first + at];
                if let Value::Error(text) = &reply {
                    let text = format!("client {}: {:?} answered {}", self.client, sent.change, text.escape_ascii());
                    if faulty.load(Ordering::SeqCst) {
                        history.error = Some(text);
                    } else {
                        history.findings.push(text);
                    }
                    return Ok(());
                }
                if integer.is_some() && reply.integer() != integer {
                    let (number, change) = (sent.number, &sent.change);
                    let text = format!(
                        "client {}: command {number} {change:?} answered {reply}, not {integer:?}",
                        self.client
                    );
                    history.findings.push(text);
                    return Ok(());
                }
                sent.acknowledged_at = Some(Instant::now());
                if shared {
                    client.read()?;
                }
            }
        }
    }
}

/// A command's value was read by another client.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The command's number.
    pub number: u64,
    /// When the reply had been read.
    pub at: Instant,
}

/// Reads what others write until the server is gone; gives, for each client, the growth of the highest command number that
/// it was shown.
pub fn read_others(port: u16, clients: usize, mut rng: Rng) -> Vec<Vec<Seen>> {
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); clients];
    let _ = Client::connect(port).and_then(|mut client| {
        loop {
            let of = rng.below(clients as u64) as usize;
            client.push(&[b"SELECT", of.to_string().as_bytes()]);
            // Keys that are only ever SET: elsewhere SETRANGE and APPEND make digits that are no command's number.
            let set_only = (KEYS - REGISTERS) as u64;
            let keys: Vec<Vec<u8>> = (0..6).map(|_| name(REGISTERS + rng.below(set_only) as usize)).collect();
            for key in &keys {
                client.push(&[b"GET", key]);
            }
            client.flush()?;
            client.read()?;
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
pub fn operate(port: u16, mut rng: Rng) -> u64 {
    let mut begun = 0;
    let _ = Client::connect(port).and_then(|mut client| {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(1 + rng.below(60)));
            let reply = if rng.one_in(2) { client.call(&[b"BGSAVE"])? } else { client.call(&[b"BGREWRITEAOF"])? };
            begun += u64::from(!reply.is_error());
        }
        #[allow(unreachable_code)] // As above.
        Ok::<(), io::Error>(())
    });
    begun
}
