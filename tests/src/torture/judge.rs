//! Compares what a restart shows with what the clients did.

use super::cycle::Crash;
use super::load::History;
use super::model::{self, Change, Entry, KEYS, SHARED_DB, State};
use super::unix_ms;
use crate::client::{Client, Value};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What a policy promises about acknowledged writes after this kind of crash.
#[derive(Clone, Copy, Debug)]
pub enum Contract {
    /// Nothing acknowledged is lost.
    All,
    /// What was acknowledged longer than this before the crash began is there.
    OlderThan(Duration),
    /// Any prefix.
    Prefix,
}

impl Contract {
    /// Whether what was acknowledged (or shown) at `at` must be there.
    pub fn counts(self, at: Instant, crash: &Crash) -> bool {
        match self {
            Contract::All => true,
            Contract::OlderThan(age) => crash.began.saturating_duration_since(at) > age,
            Contract::Prefix => false,
        }
    }
}

/// What a client's database and its part of the shared one hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Its keys.
    pub keys: Vec<Option<Entry>>,
    /// Unix ms before the keys were read, and after.
    pub read: (u64, u64),
    /// Its entries in the shared log.
    pub log: (u64, u64),
    /// Names that no client ever wrote.
    pub invented: Vec<String>,
}

/// Everything, as one connection reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// By client.
    pub clients: Vec<Observed>,
    /// The shared counter.
    pub count: u64,
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads everything back.
pub fn observe(client: &mut Client, clients: usize, cycle: u64) -> io::Result<Picture> {
    client.call(&[b"SELECT", SHARED_DB.to_string().as_bytes()])?;
    let mut logs = vec![(0, 0); clients];
    if let Value::Bulk(log) = client.call(&[b"GET", &model::shared_log(cycle)])? {
        for entry in log.split(|&byte| byte == b';').filter(|entry| !entry.is_empty()) {
            let text = std::str::from_utf8(entry).ok().and_then(|text| text.split_once(':'));
            let parsed = text.and_then(|(of, number)| Some((of.parse::<usize>().ok()?, number.parse::<u64>().ok()?)));
            match parsed {
                Some((of, number)) if of < clients => logs[of] = model::log_digest(logs[of], number),
                _ => return Err(bad(format!("the shared log holds what nobody wrote: {}", entry.escape_ascii()))),
            }
        }
    }
    let count = client.call(&[b"GET", &model::shared_count(cycle)])?.integer().unwrap_or(0) as u64;
    let mut all = Vec::new();
    for (of, &log) in logs.iter().enumerate() {
        client.call(&[b"SELECT", of.to_string().as_bytes()])?;
        let before = unix_ms();
        for key in 0..KEYS {
            client.push(&[b"PEXPIRETIME", &model::name(key)]);
            client.push(&[b"GET", &model::name(key)]);
        }
        client.push(&[b"KEYS", b"*"]);
        client.push(&[b"DBSIZE"]);
        client.flush()?;
        let mut keys = Vec::new();
        for _ in 0..KEYS {
            let deadline = client.read()?.integer().unwrap_or(-1);
            keys.push(match client.read()? {
                Value::Bulk(value) => Some(Entry { value, deadline: u64::try_from(deadline).ok() }),
                Value::Null => None,
                other => return Err(bad(format!("GET answered {other}"))),
            });
        }
        let Value::Array(names) = client.read()? else { return Err(bad("KEYS did not answer with an array".into())) };
        let known: Vec<Vec<u8>> = (0..KEYS).map(model::name).collect();
        let mut seen: Vec<&[u8]> = names.iter().filter_map(Value::bytes).collect();
        seen.sort_unstable();
        let mut invented: Vec<String> = Vec::new();
        for (at, name) in seen.iter().enumerate() {
            if !known.iter().any(|known| known == name) || (at > 0 && seen[at - 1] == *name) {
                invented.push(name.escape_ascii().to_string());
            }
        }
        client.read()?;
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
#[derive(Debug)]
pub struct Verdict {
    /// The shortest and the longest prefix whose state is what was seen.
    pub prefix: (usize, usize),
    /// The state to go on from.
    pub state: State,
    /// How often the shortest and the longest prefix incremented the shared counter in this cycle.
    pub count: (u64, u64),
}

/// Finds the prefixes of one client's history that explain what was seen. `floor`: how many commands must be there; `crash`: for
/// messages.
pub fn explain(
    base: &State,
    client: usize,
    history: &History,
    seen: &Observed,
    floor: usize,
    crash: &Crash,
) -> Result<Verdict, String> {
    if !seen.invented.is_empty() {
        return Err(format!("client {client}: keys that nobody wrote, or listed twice: {}", seen.invented.join(", ")));
    }
    let mut state = base.clone();
    let wrong_at = |state: &State, key: usize| !fits(state.keys[key].as_ref(), seen.keys[key].as_ref(), seen.read);
    let mut wrong: Vec<bool> = (0..KEYS).map(|key| wrong_at(&state, key)).collect();
    let mut wrongs = wrong.iter().filter(|wrong| **wrong).count();
    let mut found: Option<Verdict> = None;
    let mut too_short = None;
    let mut nearest = (usize::MAX, 0, Vec::new());
    for length in 0..=history.sent.len() {
        if length > 0 {
            let sent = &history.sent[length - 1];
            state.apply(&sent.change, client, sent.number);
            for key in State::touched(&sent.change) {
                let now = wrong_at(&state, key);
                wrongs = wrongs + usize::from(now) - usize::from(wrong[key]);
                wrong[key] = now;
            }
        }
        let distance = wrongs + usize::from(state.log != seen.log);
        if distance == 0 && length < floor {
            too_short = Some(length);
        } else if distance == 0 {
            let verdict = found.get_or_insert_with(|| Verdict {
                prefix: (length, length),
                state: state.clone(),
                count: (state.count, state.count),
            });
            verdict.prefix.1 = length;
            verdict.count.1 = state.count;
        } else if distance < nearest.0 {
            let mut keys: Vec<String> = Vec::new();
            for key in (0..KEYS).filter(|&key| wrong[key]) {
                keys.push(format!("key {key}: expected {}, found {}", show(&state.keys[key]), show(&seen.keys[key])));
            }
            if state.log != seen.log {
                keys.push(format!("shared log: expected {} entries, found {}", state.log.0, seen.log.0));
            }
            nearest = (distance, length, keys);
        }
    }
    let (sent, acknowledged) = (history.sent.len(), history.acknowledged());
    found.ok_or_else(|| match too_short {
        Some(length) => format!(
            "client {client}: LOST {} writes: the state after {length} commands came back, at least {floor} were promised \
             ({sent} sent, {acknowledged} acknowledged); lost: {}",
            floor - length,
            times(history, crash, length..floor)
        ),
        None => format!(
            "client {client}: no prefix of its history explains what came back ({sent} sent, {acknowledged} acknowledged, \
             at least {floor} promised); nearest after {} commands: {}",
            nearest.1,
            nearest.2.join("; ")
        ),
    })
}

fn show(entry: &Option<Entry>) -> String {
    match entry {
        None => "nothing".into(),
        Some(entry) => {
            let (head, len) = (&entry.value[..entry.value.len().min(40)], entry.value.len());
            format!("{} bytes \"{}\" until {:?}", len, head.escape_ascii(), entry.deadline)
        }
    }
}

/// How many of a client's commands must be there.
pub fn floor(contract: Contract, history: &History, crash: &Crash) -> usize {
    let counts = |at: Instant| contract.counts(at, crash);
    history.sent.iter().take_while(|sent| sent.acknowledged_at.is_some_and(counts)).count()
}

/// Checks that no write was acknowledged that was sent when the disk was gone: it cannot even have reached the kernel.
pub fn nothing_acknowledged_later(client: usize, history: &History, crash: &Crash) -> Result<(), String> {
    for (at, sent) in history.sent.iter().enumerate() {
        // FLUSHDB of an empty database writes nothing.
        let writes = !matches!(sent.change, Change::Flush);
        if writes && sent.sent_at > crash.ended && sent.acknowledged_at.is_some() {
            return Err(format!(
                "client {client}: LIE: command {} {:?} was sent when the disk was gone, and acknowledged: {}",
                sent.number,
                sent.change,
                times(history, crash, at.saturating_sub(4)..at + 1)
            ));
        }
    }
    Ok(())
}

/// When commands were sent and acknowledged, in microseconds from the beginning of the crash on.
fn times(history: &History, crash: &Crash, which: Range<usize>) -> String {
    let since = |at: Instant| match at.checked_duration_since(crash.began) {
        Some(later) => later.as_micros() as i64,
        None => -((crash.began - at).as_micros() as i64),
    };
    // The newest are those that matter.
    let from = which.start.max(which.end.saturating_sub(8));
    let each: Vec<String> = (from..which.end)
        .map(|at| {
            let sent = &history.sent[at];
            let acknowledged = sent.acknowledged_at.map_or("never".into(), |at| since(at).to_string());
            format!("number {} sent at {}, acknowledged at {acknowledged}", sent.number, since(sent.sent_at))
        })
        .collect();
    let frozen = if crash.frozen { ", server stopped" } else { "" };
    format!("us, crash from 0 to {}{frozen}: {}", since(crash.ended), each.join("; "))
}

/// Checks that all prefixes together are one moment of history, and the shared counter with them.
pub fn one_moment(histories: &[History], verdicts: &[Verdict], count: u64) -> Result<(), String> {
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
                return Err(format!(
                    "client {client}: {earlier} commands were acknowledged before another client sent one that came back, \
                     but only {} of them are there: not a prefix of history",
                    verdict.prefix.1
                ));
            }
        }
    }
    let least: u64 = verdicts.iter().map(|verdict| verdict.count.0).sum();
    let most: u64 = verdicts.iter().map(|verdict| verdict.count.1).sum();
    if count < least || count > most {
        return Err(format!("the shared counter is {count}; the clients' prefixes make {least} to {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::load::Sent;

    /// A crash from 10 to 20 ms, and a history of commands sent and acknowledged at these ms.
    fn history(times: &[(u64, Option<u64>)]) -> (History, Crash) {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let sent = times.iter().enumerate().map(|(number, (sent, acknowledged))| Sent {
            change: Change::SharedCount,
            number: number as u64,
            sent_at: at(*sent),
            acknowledged_at: acknowledged.map(at),
        });
        (History { sent: sent.collect(), ..History::default() }, Crash { began: at(10), ended: at(20), frozen: false })
    }

    #[test]
    fn what_was_acknowledged_before_a_cut_counts_and_after_its_beginning_only_from_a_stopped_server() {
        let (history, crash) = history(&[(1, Some(2)), (3, Some(9)), (9, Some(10)), (9, Some(25)), (9, None)]);
        assert_eq!(floor(Contract::All, &history, &crash), 4);
        assert_eq!(floor(Contract::OlderThan(Duration::ZERO), &history, &crash), 2);
        assert_eq!(floor(Contract::OlderThan(Duration::from_millis(2)), &history, &crash), 1);
        assert_eq!(floor(Contract::Prefix, &history, &crash), 0);
    }

    #[test]
    fn an_acknowledgement_of_what_was_sent_after_a_cut_is_a_lie() {
        let (during, crash) = history(&[(9, Some(25)), (20, Some(26)), (21, None)]);
        assert_eq!(nothing_acknowledged_later(0, &during, &crash), Ok(()));
        let (after, crash) = history(&[(9, Some(25)), (21, Some(22))]);
        let lie = nothing_acknowledged_later(0, &after, &crash).unwrap_err();
        assert!(lie.contains("crash from 0 to 10000") && lie.contains("sent at 11000, acknowledged at 12000"), "{lie}");
    }
}
