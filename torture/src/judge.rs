//! Compares what a restart shows with what the clients did.

use crate::client::{Client, Value};
use crate::load::{History, Load, Seen, Sent, surely_writes};
use crate::model::{self, Change, Entry, KEYS, Observe, SHARED_DB, State};
use crate::refused::{Batch, IN_FLIGHT_MAX};
use crate::report::{Event, Violation, Wrong};
use crate::rng::unix_ms;
use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

/// What must be there of the acknowledged writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contract {
    /// Nothing acknowledged is lost.
    All,
    /// What was acknowledged longer than this before the crash began is there.
    OlderThan(Duration),
    /// Any prefix.
    Prefix,
}

/// When a crash was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    /// Before it.
    pub(crate) began: Instant,
    /// After it. A kill's end is that of the process.
    pub(crate) ended: Instant,
    /// The disk was gone at once, or the server stopped meanwhile: every acknowledgement counts. Else only those before it began.
    pub(crate) sharp: bool,
    /// Until when writes may have been refused, on a full or failing disk. What was sent before that and has no reply may be missing by
    /// itself (see [`crate::refused`]).
    pub(crate) refusing: Option<Instant>,
}

impl Contract {
    /// Whether what was acknowledged (or shown) at `at` must be there.
    pub(crate) fn counts(self, at: Instant, crash: &Crash) -> bool {
        let age = crash.began.saturating_duration_since(at);
        match self {
            Contract::All => crash.sharp || age > Duration::ZERO,
            Contract::OlderThan(limit) => age > limit,
            Contract::Prefix => false,
        }
    }
}

/// What one client's keys and its part of the shared ones hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Observed {
    pub(crate) keys: Vec<Option<Entry>>,
    /// Unix ms before the keys were read, and after.
    pub(crate) read: (u64, u64),
    /// Its entries in the shared log.
    pub(crate) log: (u64, u64),
    /// Names that no client ever wrote.
    pub(crate) invented: Vec<String>,
}

/// Everything, as one connection reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    pub(crate) clients: Vec<Observed>,
    pub(crate) count: u64,
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads everything back. What is no answer to what was asked is `InvalidData`.
pub(crate) fn observe(client: &mut Client, load: &Load, cycle: u64) -> io::Result<Picture> {
    let clients = load.clients;
    if load.databases {
        client.call(&[b"SELECT", SHARED_DB.to_string().as_bytes()])?;
    }
    let mut logs = vec![(0, 0); clients];
    match client.call(&[b"GET", &model::shared_log(cycle)])? {
        Value::Bulk(log) => {
            for entry in log.split(|&byte| byte == b';').filter(|entry| !entry.is_empty()) {
                let text = std::str::from_utf8(entry).ok().and_then(|text| text.split_once(':'));
                let parsed =
                    text.and_then(|(of, number)| Some((of.parse::<usize>().ok()?, number.parse::<u64>().ok()?)));
                match parsed {
                    Some((of, number)) if of < clients => logs[of] = model::log_digest(logs[of], number),
                    _ => return Err(bad(format!("the shared log holds what nobody wrote: {}", entry.escape_ascii()))),
                }
            }
        }
        Value::Null => {}
        other => return Err(bad(format!("the shared log was answered with {other}"))),
    }
    let count = match client.call(&[b"GET", &model::shared_count(cycle)])? {
        Value::Null => 0,
        other => {
            let count = other.integer().and_then(|count| u64::try_from(count).ok());
            count.ok_or_else(|| bad(format!("the shared counter was answered with {other}")))?
        }
    };
    let own: Vec<BTreeSet<Vec<u8>>> =
        (0..clients).map(|of| (0..KEYS).map(|key| model::name(of, key)).collect()).collect();
    let mut all = Vec::new();
    for (of, &log) in logs.iter().enumerate() {
        if load.databases {
            client.call(&[b"SELECT", of.to_string().as_bytes()])?;
        }
        let before = unix_ms();
        let asked: Vec<Observe> = (0..KEYS).map(|key| Observe::of(of, key)).collect();
        for ask in &asked {
            ask.commands().iter().for_each(|words| client.push(words));
        }
        client.push(&[b"KEYS", b"*"]);
        client.flush()?;
        let mut keys = Vec::new();
        for ask in &asked {
            let deadline = client.read()?;
            let value = client.read()?;
            keys.push(ask.decode(&deadline, value)?);
        }
        let Value::Array(names) = client.read()? else { return Err(bad("KEYS did not answer with an array".into())) };
        let mut seen: Vec<&[u8]> = names.iter().filter_map(Value::bytes).collect();
        seen.sort_unstable();
        let known = |name: &[u8]| {
            let others = !load.databases
                && (own.iter().any(|own| own.contains(name))
                    || name.starts_with(b"log:")
                    || name.starts_with(b"count:"));
            own[of].contains(name) || others
        };
        let mut invented: Vec<String> = Vec::new();
        for (at, name) in seen.iter().enumerate() {
            if !known(name) || (at > 0 && seen[at - 1] == *name) {
                invented.push(name.escape_ascii().to_string());
            }
        }
        all.push(Observed { keys, read: (before, unix_ms()), log, invented });
    }
    Ok(Picture { clients: all, count })
}

/// Whether a key may look like `seen`, when the model holds `held`.
fn fits(held: Option<&Entry>, seen: Option<&Entry>, read: (u64, u64)) -> bool {
    match (held, seen) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(held), None) => held.deadline.is_some_and(|at| at <= read.1),
        // A deadline between the two commands that read one key hides the second answer only.
        (Some(held), Some(seen)) => {
            held.value == seen.value && held.deadline == seen.deadline && held.deadline.is_none_or(|at| at >= read.0)
        }
    }
}

/// The verdict on one client.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The shortest and the longest prefix whose state is what was seen.
    pub(crate) prefix: (usize, usize),
    /// The state to go on from.
    pub(crate) state: State,
    /// The places below the longest prefix' end whose commands were refused.
    pub(crate) refused: Vec<usize>,
    /// How often the client incremented the shared counter in this cycle, at least and at most.
    pub(crate) count: (u64, u64),
}

impl Verdict {
    /// Leaves of a history what is in the state to go on from, and of the shared counter's increments all that may be there.
    pub(crate) fn keep(&self, sent: &mut Vec<Sent>) {
        sent.truncate(self.prefix.1);
        for &at in self.refused.iter().rev() {
            sent.remove(at);
        }
    }
}

/// One client in one cycle, for the judge.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) client: usize,
    /// Its state before the cycle.
    pub(crate) base: &'a State,
    pub(crate) history: &'a History,
    pub(crate) crash: &'a Crash,
    /// How many of its commands must be there.
    pub(crate) floor: usize,
    pub(crate) cycle: u64,
}

impl Case<'_> {
    /// Finds the prefixes of the client's history that explain what was seen.
    pub(crate) fn explain(&self, seen: &Observed) -> Result<Verdict, Box<Violation>> {
        let client = self.client;
        if !seen.invented.is_empty() {
            let names = seen.invented.join(", ");
            return Err(Violation::new(Wrong::Invented, format!("client {client}: keys that nobody wrote: {names}")));
        }
        if let Some(verdict) = self.explain_with_refusals(seen) {
            return Ok(verdict);
        }
        let mut state = self.base.clone();
        let wrong_at = |state: &State, key: usize| !fits(state.keys[key].as_ref(), seen.keys[key].as_ref(), seen.read);
        let mut wrong: Vec<bool> = (0..KEYS).map(|key| wrong_at(&state, key)).collect();
        let mut ever: Vec<bool> = wrong.iter().map(|wrong| !wrong).collect();
        let mut wrongs = wrong.iter().filter(|wrong| **wrong).count();
        let mut found: Option<Verdict> = None;
        let mut too_short = None;
        let mut nearest = (usize::MAX, 0);
        for length in 0..=self.history.sent.len() {
            if length > 0 {
                let sent = &self.history.sent[length - 1];
                state.apply(&sent.change, client, sent.number);
                for key in State::touched(&sent.change) {
                    let now = wrong_at(&state, key);
                    wrongs = wrongs + usize::from(now) - usize::from(wrong[key]);
                    wrong[key] = now;
                    ever[key] |= !now;
                }
            }
            let distance = wrongs + usize::from(state.log != seen.log);
            if distance == 0 && length < self.floor {
                too_short = Some(length);
            } else if distance == 0 {
                let verdict = found.get_or_insert_with(|| Verdict {
                    prefix: (length, length),
                    state: state.clone(),
                    refused: Vec::new(),
                    count: (state.count, state.count),
                });
                verdict.prefix.1 = length;
                verdict.count.1 = state.count;
            } else if distance <= nearest.0 {
                nearest = (distance, length);
            }
        }
        if let Some(verdict) = found {
            return Ok(verdict);
        }
        Err(match too_short {
            Some(length) => self.lost(length),
            None => self.no_prefix(seen, &ever, nearest.1),
        })
    }

    /// Where writes may have been refused: all that was acknowledged, and of the batch in flight what explains what was seen.
    fn explain_with_refusals(&self, seen: &Observed) -> Option<Verdict> {
        let until = self.crash.refusing?;
        let read = self.history.acknowledged();
        let (before, batch) = self.history.sent.split_at(read);
        if batch.len() > IN_FLIGHT_MAX || batch.first()?.sent_at > until {
            return None;
        }
        let mut state = self.base.clone();
        before.iter().for_each(|sent| _ = state.apply(&sent.change, self.client, sent.number));
        let fits = |state: &State, key: usize| fits(state.keys[key].as_ref(), seen.keys[key].as_ref(), seen.read);
        let must = self.floor.checked_sub(read + 1);
        let none = must.is_none() && state.log == seen.log && (0..KEYS).all(|key| fits(&state, key));
        let least = state.count;
        let refused =
            Batch { client: self.client, sent: batch, must, fits: &fits, log: seen.log }.refused(&mut state)?;
        let increments = batch.iter().filter(|sent| sent.change == Change::SharedCount).count() as u64;
        Some(Verdict {
            prefix: (read + usize::from(!none), self.history.sent.len()),
            state,
            refused: refused.into_iter().map(|at| read + at).collect(),
            count: (least, least + increments),
        })
    }

    fn lost(&self, length: usize) -> Box<Violation> {
        let (client, history) = (self.client, self.history);
        let oldest = history.sent[length..self.floor].iter().filter_map(|sent| sent.acknowledged_at).min();
        let age = oldest.map_or(0, |at| self.crash.began.saturating_duration_since(at).as_millis());
        let text = format!(
            "client {client}: {} acknowledged writes are gone: the state after {length} commands came back, {} were promised ({} sent, \
             {} acknowledged); the oldest of them was acknowledged {age} ms before the crash",
            self.floor - length,
            self.floor,
            history.sent.len(),
            history.acknowledged(),
        );
        let from = length.saturating_sub(2);
        let events = (from..self.floor.min(from + 12)).map(|at| self.event(at, at < length)).collect();
        Violation::new(Wrong::Lost, text).with_events(events)
    }

    fn no_prefix(&self, seen: &Observed, ever: &[bool], length: usize) -> Box<Violation> {
        let (client, history) = (self.client, self.history);
        // The nearest state again, and which command made each key wrong.
        let mut state = self.base.clone();
        let wrong_at = |state: &State, key: usize| !fits(state.keys[key].as_ref(), seen.keys[key].as_ref(), seen.read);
        let mut wrong: Vec<bool> = (0..KEYS).map(|key| wrong_at(&state, key)).collect();
        let mut broken: Vec<Option<usize>> = vec![None; KEYS];
        for (at, sent) in history.sent[..length].iter().enumerate() {
            let held: Vec<bool> = state.keys.iter().map(Option::is_some).collect();
            state.apply(&sent.change, client, sent.number);
            for key in State::touched(&sent.change) {
                let now = wrong_at(&state, key);
                // A deletion ends whatever was wrong: what is there in spite of it came back.
                if now && (!wrong[key] || held[key] && state.keys[key].is_none()) {
                    broken[key] = Some(at);
                }
                wrong[key] = now;
            }
        }
        let keys: Vec<usize> = (0..KEYS).filter(|&key| wrong[key]).collect();
        let nearest = describe(client, &state, seen, &keys);
        // What made a wrong key wrong changed other keys as well, and those are right: half of it is there.
        let half = keys.iter().filter_map(|&key| broken[key]).any(|at| {
            let touched = State::touched(&history.sent[at].change);
            touched.iter().any(|key| !keys.contains(key))
        });
        let never = keys.iter().any(|&key| !ever[key]);
        let was_deleted = |key: usize| broken[key].is_some() && state.keys[key].is_none();
        let back = keys.iter().any(|&key| seen.keys[key].is_some() && was_deleted(key));
        let wrong = if half {
            Wrong::Torn
        } else if never {
            Wrong::FalseValue
        } else if back {
            Wrong::CameBack
        } else {
            Wrong::NotAPrefix
        };
        let text = format!(
            "client {client}: no prefix of its history explains what came back ({} sent, {} acknowledged, {} promised); nearest after {length} \
             commands: {nearest}",
            history.sent.len(),
            history.acknowledged(),
            self.floor,
        );
        // The shortest history that shows it: the last changes of the wrong key before that state, and the first ones behind it.
        let touching: Vec<usize> = match keys.first() {
            Some(key) => {
                let touches = |at: &usize| State::touched(&history.sent[*at].change).contains(key);
                (0..history.sent.len()).filter(touches).collect()
            }
            None => (0..history.sent.len()).filter(|&at| model::is_shared(&history.sent[at].change)).collect(),
        };
        let middle = touching.partition_point(|&at| at < length);
        let range = middle.saturating_sub(6)..touching.len().min(middle + 4);
        let events = touching[range].iter().map(|&at| self.event(at, at < length)).collect();
        Violation::new(wrong, text).with_events(events)
    }

    fn event(&self, at: usize, there: bool) -> Event {
        let sent = &self.history.sent[at];
        let since = |at: Instant| match at.checked_duration_since(self.crash.began) {
            Some(later) => later.as_micros() as i64,
            None => -((self.crash.began - at).as_micros() as i64),
        };
        let (commands, _) = model::commands(&sent.change, self.client, sent.number, self.cycle, false);
        let word = |word: &Vec<u8>| {
            let head = &word[..word.len().min(32)];
            let dots = if word.len() > 32 { "..." } else { "" };
            format!("{}{dots}", head.escape_ascii())
        };
        let line = |words: &Vec<Vec<u8>>| words.iter().map(word).collect::<Vec<_>>().join(" ");
        Event {
            client: self.client,
            number: sent.number,
            command: commands.iter().map(line).collect::<Vec<_>>().join("; "),
            sent_us: since(sent.sent_at),
            acknowledged_us: sent.acknowledged_at.map(since),
            crash_us: self.crash.ended.duration_since(self.crash.began).as_micros() as i64,
            there,
        }
    }
}

fn describe(client: usize, state: &State, seen: &Observed, keys: &[usize]) -> String {
    let show = |entry: &Option<Entry>| match entry {
        None => "nothing".into(),
        Some(Entry { value, deadline: None }) => value.show(),
        Some(Entry { value, deadline: Some(at) }) => format!("{} until {at}", value.show()),
    };
    let mut parts: Vec<String> = Vec::new();
    for &key in keys.iter().take(4) {
        let name = model::name(client, key);
        let (expected, found) = (show(&state.keys[key]), show(&seen.keys[key]));
        parts.push(format!("{}: expected {expected}, found {found}", name.escape_ascii()));
    }
    if keys.len() > 4 {
        parts.push(format!("and {} more keys", keys.len() - 4));
    }
    if state.log != seen.log {
        parts.push(format!("shared log: expected {} entries, found {}", state.log.0, seen.log.0));
    }
    parts.join("; ")
}

/// How many of a client's commands must be there.
pub(crate) fn floor(contract: Contract, history: &History, crash: &Crash) -> usize {
    let counts = |at: Instant| contract.counts(at, crash);
    history.sent.iter().take_while(|sent| sent.acknowledged_at.is_some_and(counts)).count()
}

/// How many must be there because another client was shown them.
pub(crate) fn shown(contract: Contract, history: &History, seen: &[Seen], crash: &Crash) -> usize {
    let newest = seen.iter().take_while(|seen| contract.counts(seen.at, crash)).last().map_or(0, |seen| seen.number);
    history.sent.partition_point(|sent| sent.number <= newest)
}

/// Checks that no write was acknowledged that was sent when the disk was gone: it cannot even have reached the kernel.
pub(crate) fn nothing_acknowledged_later(case: &Case<'_>) -> Result<(), Box<Violation>> {
    for (at, sent) in case.history.sent.iter().enumerate() {
        if surely_writes(&sent.change) && sent.sent_at > case.crash.ended && sent.acknowledged_at.is_some() {
            let text = format!(
                "client {}: command {} was sent when the disk was gone, and acknowledged",
                case.client, sent.number
            );
            let events = (at.saturating_sub(4)..at + 1).map(|at| case.event(at, false)).collect();
            return Err(Violation::new(Wrong::Lie, text).with_events(events));
        }
    }
    Ok(())
}

/// Checks that all prefixes together are one moment of history, and the shared counter with them; of the increments in the histories
/// so many may be missing.
pub(crate) fn one_moment(
    histories: &[&History],
    verdicts: &[Verdict],
    count: u64,
    unsure: u64,
) -> Result<(), Box<Violation>> {
    // The newest command that is surely there was sent at this time; whoever was answered before it comes back too.
    let newest = histories
        .iter()
        .zip(verdicts)
        .filter_map(|(history, verdict)| verdict.prefix.0.checked_sub(1).map(|last| history.sent[last].sent_at));
    if let Some(moment) = newest.max() {
        for (client, (history, verdict)) in histories.iter().zip(verdicts).enumerate() {
            let before = |at: Instant| at < moment;
            let earlier = history.sent.iter().take_while(|sent| sent.acknowledged_at.is_some_and(before)).count();
            if earlier > verdict.prefix.1 {
                let text = format!(
                    "client {client}: {earlier} commands were acknowledged before another client sent one that came back, but only {} of them are \
                     there: not one moment of history",
                    verdict.prefix.1
                );
                return Err(Violation::new(Wrong::NotAPrefix, text));
            }
        }
    }
    let least: u64 = verdicts.iter().map(|verdict| verdict.count.0).sum();
    let most: u64 = verdicts.iter().map(|verdict| verdict.count.1).sum();
    if count + unsure < least || count > most {
        let least = least.saturating_sub(unsure);
        let text = format!("the shared counter is {count}; the clients' prefixes make {least} to {most}");
        return Err(Violation::new(Wrong::NotAPrefix, text));
    }
    Ok(())
}

/// Two starts without a write between them show the same, but for what has expired meanwhile.
pub(crate) fn same(first: &Picture, second: &Picture) -> Result<(), Box<Violation>> {
    let differ = |text: String| Err(Violation::new(Wrong::Unstable, text));
    for (client, (one, two)) in first.clients.iter().zip(&second.clients).enumerate() {
        for (key, (was, is)) in one.keys.iter().zip(&two.keys).enumerate() {
            let expired = was.as_ref().is_some_and(|was| was.deadline.is_some_and(|at| at <= two.read.1));
            if was != is && !(is.is_none() && expired) {
                let name = model::name(client, key);
                return differ(format!("{}: another start without writes shows another value", name.escape_ascii()));
            }
        }
        if one.log != two.log {
            return differ(format!("client {client}: another start without writes shows another shared log"));
        }
    }
    if first.count != second.count {
        return differ("another start without writes shows another shared counter".into());
    }
    Ok(())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

/// How old the oldest acknowledged write was that is not there.
pub(crate) fn oldest_lost(history: &History, from: usize, crash: &Crash) -> Option<Duration> {
    let lost = history.sent.get(from..history.acknowledged())?;
    let oldest = lost.iter().filter_map(|sent| sent.acknowledged_at).min()?;
    Some(crash.began.saturating_duration_since(oldest))
}

/// A change that a history of a test consists of.
#[cfg(test)]
pub(crate) fn set(key: usize) -> Change {
    Change::Set { key, len: 0, deadline: None }
}
