//! What one client's keys hold after each of its commands.
//!
//! A client is alone in its database, so its state after command `n` is exact. Two keys of the shared database are
//! written by all: a log (APPEND) and a counter (INCR); of those the model keeps the client's own part.
//!
//! Keys `0..REGISTERS` take every command; keys with deadlines soon to pass (`REGISTERS..KEYS`) are only ever SET, so
//! that no command's outcome depends on the moment it ran.

use super::{Rng, mix, unix_ms};

/// Keys that hold values without, or with far, deadlines.
pub const REGISTERS: usize = 16;
/// All keys of a client.
pub const KEYS: usize = 24;
/// The database of what all clients write.
pub const SHARED_DB: usize = 15;
/// Longest value made by APPEND before the key starts anew.
const APPENDED_LEN_MAX: usize = 2048;
/// Far enough away to never pass during a run: a day, in ms.
const FAR_MS: u64 = 86_400_000;

/// A key's value and deadline (Unix ms).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its value.
    pub value: Vec<u8>,
    /// When it ends.
    pub deadline: Option<u64>,
}

/// All that one client has written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// Its keys.
    pub keys: Vec<Option<Entry>>,
    /// How many entries of the shared log are its own, and a digest of them in order.
    pub log: (u64, u64),
    /// How often it incremented the shared counter.
    pub count: u64,
}

/// A key's name.
pub fn name(key: usize) -> Vec<u8> {
    format!("k:{key}").into_bytes()
}

/// The digest of a shared log's entries so far with one more.
pub fn log_digest(before: (u64, u64), number: u64) -> (u64, u64) {
    (before.0 + 1, mix(before.1 ^ number))
}

/// One command; its values follow from the client and the command's number.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The variants' lines name their fields.
pub enum Change {
    /// SET key value [PXAT deadline].
    Set { key: usize, len: usize, deadline: Option<u64> },
    /// APPEND key value.
    Append { key: usize },
    /// INCRBY key 1..; only where the value is an integer.
    Increment { key: usize, by: i64 },
    /// SET key number, the start of a counter.
    Number { key: usize },
    /// DEL key.
    Delete { key: usize },
    /// MSET of two keys: both or none.
    SetTwo { keys: [usize; 2] },
    /// RENAME: both keys change or none.
    Rename { from: usize, to: usize },
    /// SETRANGE key offset value.
    SetRange { key: usize, offset: usize },
    /// PEXPIREAT key deadline.
    ExpireAt { key: usize, deadline: u64 },
    /// PERSIST key.
    Persist { key: usize },
    /// COPY from to REPLACE.
    Copy { from: usize, to: usize },
    /// FLUSHDB: the client's database is empty.
    Flush,
    /// APPEND of an entry to the shared log.
    SharedLog,
    /// INCR of the shared counter.
    SharedCount,
}

/// The value that command `number` of `client` writes: readable, unique, of a given length at least.
pub fn value(client: usize, number: u64, len: usize) -> Vec<u8> {
    let mut value = format!("{client}:{number}:").into_bytes();
    let mut bits = mix(number ^ (client as u64) << 56);
    while value.len() < len {
        // Half of it compresses, half does not.
        bits = mix(bits);
        value.extend_from_slice(if bits & 1 == 0 { b"firnfirn" } else { &b"0123456789abcdef"[..] });
        value.extend_from_slice(&bits.to_le_bytes());
    }
    value
}

/// The command number at the head of a [`value`], for what a reader has seen.
pub fn number_of(client: usize, value: &[u8]) -> Option<u64> {
    let text = value.strip_prefix(format!("{client}:").as_bytes())?;
    let end = text.iter().position(|&byte| byte == b':')?;
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

impl State {
    /// Nothing written.
    pub fn new() -> State {
        State { keys: vec![None; KEYS], ..State::default() }
    }

    /// A change that is possible now.
    pub fn choose(&self, rng: &mut Rng) -> Change {
        let key = rng.below(REGISTERS as u64) as usize;
        let other = (key + 1 + rng.below(REGISTERS as u64 - 1) as usize) % REGISTERS;
        let held = self.keys[key].as_ref();
        let integer = held.and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse::<i64>().ok());
        let len = match rng.below(64) {
            0 => 20_000,
            1..=3 => 1_500,
            4..=15 => 120,
            _ => 0,
        };
        match rng.below(40) {
            0..=7 => Change::Set { key, len, deadline: None },
            8..=9 => Change::Set { key, len, deadline: Some(unix_ms() + FAR_MS + rng.below(FAR_MS)) },
            10..=13 => {
                let key = REGISTERS + rng.below((KEYS - REGISTERS) as u64) as usize;
                let deadline = if rng.one_in(4) { None } else { Some(unix_ms() + 2 + rng.below(500)) };
                Change::Set { key, len: 0, deadline }
            }
            14..=17 => match held {
                Some(entry) if entry.value.len() > APPENDED_LEN_MAX => Change::Set { key, len: 0, deadline: None },
                _ => Change::Append { key },
            },
            18..=23 if integer.is_some() => Change::Increment { key, by: 1 + rng.below(1000) as i64 },
            18..=23 => Change::Number { key },
            24..=26 if held.is_some() => Change::Delete { key },
            27..=29 => Change::SetTwo { keys: [key, other] },
            30 if held.is_some() => Change::Rename { from: key, to: other },
            31 if held.is_some() => Change::SetRange { key, offset: rng.below(600) as usize },
            32 if held.is_some() => Change::ExpireAt { key, deadline: unix_ms() + FAR_MS + rng.below(FAR_MS) },
            33 if held.is_some_and(|entry| entry.deadline.is_some()) => Change::Persist { key },
            34 if held.is_some() => Change::Copy { from: key, to: other },
            35 if rng.one_in(20) => Change::Flush,
            36..=37 => Change::SharedLog,
            _ => Change::SharedCount,
        }
    }

    /// The change as a command.
    pub fn command(change: &Change, client: usize, number: u64, cycle: u64) -> Vec<Vec<u8>> {
        let text = |value: u64| value.to_string().into_bytes();
        let words: Vec<Vec<u8>> = match change {
            Change::Set { key, len, deadline: None } => vec![b"SET".into(), name(*key), value(client, number, *len)],
            Change::Set { key, len, deadline: Some(at) } => {
                vec![b"SET".into(), name(*key), value(client, number, *len), b"PXAT".into(), text(*at)]
            }
            Change::Append { key } => vec![b"APPEND".into(), name(*key), value(client, number, 0)],
            Change::Increment { key, by } => vec![b"INCRBY".into(), name(*key), text(*by as u64)],
            Change::Number { key } => vec![b"SET".into(), name(*key), text(number)],
            Change::Delete { key } => vec![b"DEL".into(), name(*key)],
            Change::SetTwo { keys: [one, two] } => {
                let value = value(client, number, 0);
                vec![b"MSET".into(), name(*one), value.clone(), name(*two), value]
            }
            Change::Rename { from, to } => vec![b"RENAME".into(), name(*from), name(*to)],
            Change::SetRange { key, offset } => {
                vec![b"SETRANGE".into(), name(*key), text(*offset as u64), value(client, number, 0)]
            }
            Change::ExpireAt { key, deadline } => vec![b"PEXPIREAT".into(), name(*key), text(*deadline)],
            Change::Persist { key } => vec![b"PERSIST".into(), name(*key)],
            Change::Copy { from, to } => vec![b"COPY".into(), name(*from), name(*to), b"REPLACE".into()],
            Change::Flush => vec![b"FLUSHDB".into()],
            Change::SharedLog => {
                vec![b"APPEND".into(), shared_log(cycle), format!("{client}:{number};").into_bytes()]
            }
            Change::SharedCount => vec![b"INCR".into(), shared_count(cycle)],
        };
        words
    }

    /// Whether the change goes to the shared database.
    pub fn is_shared(change: &Change) -> bool {
        matches!(change, Change::SharedLog | Change::SharedCount)
    }

    /// Applies a change; gives the integer it answers with, where the client alone determines that.
    pub fn apply(&mut self, change: &Change, client: usize, number: u64) -> Option<i64> {
        let fresh = |len| value(client, number, len);
        match change {
            Change::Set { key, len, deadline } => {
                self.keys[*key] = Some(Entry { value: fresh(*len), deadline: *deadline });
            }
            Change::Number { key } => {
                self.keys[*key] = Some(Entry { value: number.to_string().into_bytes(), deadline: None });
            }
            Change::Append { key } => {
                let entry = self.keys[*key].get_or_insert(Entry { value: Vec::new(), deadline: None });
                entry.value.extend_from_slice(&fresh(0));
                return Some(entry.value.len() as i64);
            }
            Change::Increment { key, by } => {
                let entry = self.keys[*key].as_mut()?;
                let sum = std::str::from_utf8(&entry.value).ok()?.parse::<i64>().ok()? + by;
                entry.value = sum.to_string().into_bytes();
                return Some(sum);
            }
            Change::Delete { key } => {
                self.keys[*key] = None;
                return Some(1);
            }
            Change::SetTwo { keys } => {
                for key in keys {
                    self.keys[*key] = Some(Entry { value: fresh(0), deadline: None });
                }
            }
            Change::Rename { from, to } => self.keys[*to] = self.keys[*from].take(),
            Change::SetRange { key, offset } => {
                let (entry, value) = (self.keys[*key].as_mut()?, fresh(0));
                entry.value.resize(entry.value.len().max(offset + value.len()), 0);
                entry.value[*offset..offset + value.len()].copy_from_slice(&value);
                return Some(entry.value.len() as i64);
            }
            Change::ExpireAt { key, deadline } => {
                self.keys[*key].as_mut()?.deadline = Some(*deadline);
                return Some(1);
            }
            Change::Persist { key } => {
                self.keys[*key].as_mut()?.deadline = None;
                return Some(1);
            }
            Change::Copy { from, to } => {
                self.keys[*to] = self.keys[*from].clone();
                return Some(1);
            }
            Change::Flush => self.keys.fill(None),
            Change::SharedLog => self.log = log_digest(self.log, number),
            Change::SharedCount => self.count += 1,
        }
        None
    }

    /// The keys that a change may change; none for the shared ones.
    pub fn touched(change: &Change) -> Vec<usize> {
        match change {
            Change::Set { key, .. }
            | Change::Append { key }
            | Change::Increment { key, .. }
            | Change::Number { key }
            | Change::Delete { key }
            | Change::SetRange { key, .. }
            | Change::ExpireAt { key, .. }
            | Change::Persist { key } => vec![*key],
            Change::SetTwo { keys } => keys.to_vec(),
            Change::Rename { from, to } => vec![*from, *to],
            Change::Copy { to, .. } => vec![*to],
            Change::Flush => (0..KEYS).collect(),
            Change::SharedLog | Change::SharedCount => Vec::new(),
        }
    }
}

/// The shared log of a cycle.
pub fn shared_log(cycle: u64) -> Vec<u8> {
    format!("log:{cycle}").into_bytes()
}

/// The shared counter of a cycle.
pub fn shared_count(cycle: u64) -> Vec<u8> {
    format!("count:{cycle}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chosen_change_touches_only_what_it_says() {
        let (mut rng, mut state) = (Rng(7), State::new());
        for number in 1..20_000 {
            let change = state.choose(&mut rng);
            let before = state.clone();
            state.apply(&change, 3, number);
            let touched = State::touched(&change);
            for key in 0..KEYS {
                assert!(touched.contains(&key) || before.keys[key] == state.keys[key], "{change:?} changed key {key}");
            }
        }
    }

    #[test]
    fn a_value_tells_its_number() {
        assert_eq!(number_of(4, &value(4, 99, 300)), Some(99));
        assert_eq!(number_of(5, &value(4, 99, 300)), None);
    }
}
