//! The logs of unusual commands: slow ones (SLOWLOG, COMMANDLOG slow), large requests, large replies.
//!
//! 1. An entry is bounded: 32 words of 128 bytes, and the client's name. What a word held beyond that is told as a number.
//! 2. Secrets do not get in: their words are replaced ([`redacted`]), and commands flagged SKIP_SLOWLOG are left out.
//! 3. The newest `max_len` entries are kept. Numbers of entries go on after RESET.

use crate::client::ClientInfo;
use crate::config::table::{DIRECTIVES, Traits};
use crate::table::Table;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most words of an entry; the last then says how many more there were.
const WORDS_MAX: usize = 32;
/// Longest word of an entry, in bytes.
const WORD_LEN_MAX: usize = 128;
/// Longest name of a client in an entry, in bytes.
const NAME_LEN_MAX: usize = 1024;
/// What stands in the place of a secret.
pub(crate) const REDACTED: &[u8] = b"(redacted)";

/// Which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Execution took long; values are microseconds.
    Slow,
    /// The request was long; values are bytes.
    LargeRequest,
    /// The reply was long; values are bytes.
    LargeReply,
}

impl Kind {
    /// By its name in COMMANDLOG.
    pub(crate) fn named(word: &[u8]) -> Option<Kind> {
        match word.to_ascii_lowercase().as_slice() {
            b"slow" => Some(Kind::Slow),
            b"large-request" => Some(Kind::LargeRequest),
            b"large-reply" => Some(Kind::LargeReply),
            _ => None,
        }
    }
}

/// One command.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// Its number in this log.
    pub(crate) id: u64,
    /// When, in seconds since 1970.
    pub(crate) time_s: u64,
    /// Microseconds or bytes.
    pub(crate) value: u64,
    /// Its words, shortened.
    pub(crate) words: Vec<Vec<u8>>,
    /// The client's address.
    pub(crate) addr: String,
    /// The client's name.
    pub(crate) name: Vec<u8>,
}

/// A blocking command that waits: it is logged when it is served.
#[derive(Debug)]
pub(crate) struct Parked {
    /// How long it ran before it waited.
    pub(crate) micros: u64,
    /// Its words, [`shortened`].
    pub(crate) words: Vec<Vec<u8>>,
}

/// The newest entries of one kind.
#[derive(Debug, Default)]
pub(crate) struct CommandLog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    newest_first: VecDeque<Logged>,
    next_id: u64,
    max_len: usize,
}

impl CommandLog {
    /// Keeps at most `max_len` entries from now on.
    pub(crate) fn set_max_len(&self, max_len: usize) {
        let mut entries = self.0.lock();
        entries.max_len = max_len;
        entries.newest_first.truncate(max_len);
    }

    /// Keeps a command.
    pub(crate) fn add(&self, value: u64, words: &[&[u8]], client: &ClientInfo) {
        self.add_shortened(value, shortened(words), client);
    }

    /// Keeps a command whose words are [`shortened`].
    pub(crate) fn add_shortened(&self, value: u64, words: Vec<Vec<u8>>, client: &ClientInfo) {
        let mut entries = self.0.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        if entries.max_len == 0 {
            return;
        }
        let keep = entries.max_len - 1;
        entries.newest_first.truncate(keep);
        let time_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (addr, name) = (client.addr.clone(), beginning(&client.names.lock().name, NAME_LEN_MAX));
        entries.newest_first.push_front(Logged { id, time_s, value, words, addr, name });
    }

    /// The newest `count` entries.
    pub(crate) fn newest(&self, count: usize) -> Vec<Logged> {
        self.0.lock().newest_first.iter().take(count).cloned().collect()
    }

    /// How many there ever were.
    pub(crate) fn logged(&self) -> u64 {
        self.0.lock().next_id
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().newest_first.len()
    }

    /// Forgets them.
    pub(crate) fn reset(&self) {
        self.0.lock().newest_first.clear();
    }
}

/// The words as an entry has them.
pub(crate) fn shortened(words: &[&[u8]]) -> Vec<Vec<u8>> {
    let words = redacted(words);
    let whole = if words.len() > WORDS_MAX { WORDS_MAX - 1 } else { words.len() };
    let mut kept: Vec<Vec<u8>> = words[..whole].iter().map(|word| beginning(word, WORD_LEN_MAX)).collect();
    if whole < words.len() {
        kept.push(format!("... ({} more arguments)", words.len() - whole).into_bytes());
    }
    kept
}

/// At most `len_max` bytes of `text`, and how many more there were.
pub(crate) fn beginning(text: &[u8], len_max: usize) -> Vec<u8> {
    let more = text.len().saturating_sub(len_max);
    let mut kept = text[..text.len() - more].to_vec();
    if more > 0 {
        kept.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
    }
    kept
}

/// A command with another name than it is declared with (`rename-command`): that, in lower case, and the declared one.
type Renamed = (Box<[u8]>, &'static str);

/// All of them.
static RENAMED: OnceLock<Vec<Renamed>> = OnceLock::new();

/// Learns of renamed commands, whose secrets are to be replaced as well. Once, before there are clients.
pub(crate) fn learn_names(table: &Table) {
    let renamed = table.entries().iter().filter(|entry| !entry.name.eq_ignore_ascii_case(entry.spec.name.as_bytes()));
    // A second server in this process would have the same configuration.
    let _ = RENAMED.set(renamed.map(|entry| (entry.name.clone(), entry.spec.name)).collect());
}

/// The name that a command is declared with.
fn declared<'w>(word: &'w [u8], renamed: &[Renamed]) -> &'w [u8] {
    renamed.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map_or(word, |(_, spec)| spec.as_bytes())
}

/// The words of a command with every secret replaced.
pub(crate) fn redacted<'w>(words: &[&'w [u8]]) -> Vec<Cow<'w, [u8]>> {
    redacted_by(words, RENAMED.get().map_or(&[], Vec::as_slice))
}

fn redacted_by<'w>(words: &[&'w [u8]], renamed: &[Renamed]) -> Vec<Cow<'w, [u8]>> {
    let mut shown: Vec<Cow<'w, [u8]>> = words.iter().map(|word| Cow::Borrowed(*word)).collect();
    let name = words.first().map_or(&[][..], |word| declared(word, renamed));
    let is = |at: usize, wanted: &str| {
        let word = if at == 0 { Some(&name) } else { words.get(at) };
        word.is_some_and(|word| word.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let mut hide = |at: usize| {
        if let Some(word) = shown.get_mut(at) {
            *word = Cow::Borrowed(REDACTED);
        }
    };
    if is(0, "AUTH") {
        (1..words.len()).for_each(hide);
    } else if is(0, "HELLO") {
        if let Some(at) = (2..words.len()).find(|&at| is(at, "AUTH")) {
            hide(at + 1);
            hide(at + 2);
        }
    } else if is(0, "ACL") && ["SETUSER", "DELUSER", "GETUSER"].iter().any(|name| is(1, name)) {
        (2..words.len()).for_each(hide);
    } else if is(0, "CONFIG") && is(1, "SET") {
        for at in (2..words.len()).step_by(2) {
            let secret =
                crate::config::table::find(words[at]).is_some_and(|row| DIRECTIVES[row].traits.has(Traits::SECRET));
            if secret {
                hide(at + 1);
            }
        }
    } else if is(0, "MIGRATE") {
        for at in 1..words.len() {
            if is(at, "KEYS") {
                break;
            }
            if is(at, "AUTH") {
                hide(at + 1);
            } else if is(at, "AUTH2") {
                hide(at + 1);
                hide(at + 2);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        assert_eq!(String::from_utf8(redacted(&words).join(&b' ')).unwrap(), expected);
    }

    #[test]
    fn secrets_are_replaced() {
        check("auth me secret", "auth (redacted) (redacted)");
        check("HELLO 3 AUTH me secret SETNAME x", "HELLO 3 AUTH (redacted) (redacted) SETNAME x");
        check("acl setuser a on >p", "acl setuser (redacted) (redacted) (redacted)");
        check("config set port 1 RequirePass p", "config set port 1 RequirePass (redacted)");
        check("migrate h 1 k 0 9 AUTH p", "migrate h 1 k 0 9 AUTH (redacted)");
        check("migrate h 1 k 0 9 AUTH2 u p", "migrate h 1 k 0 9 AUTH2 (redacted) (redacted)");
        check("set auth secret", "set auth secret");
        let renamed: [Renamed; 1] = [(b"hidden"[..].into(), "CONFIG")];
        let words: [&[u8]; 4] = [b"HIDDEN", b"SET", b"requirepass", b"p"];
        assert_eq!(redacted_by(&words, &renamed).join(&b' '), b"HIDDEN SET requirepass (redacted)");
    }

    #[test]
    fn long_commands_are_shortened_and_say_by_how_much() {
        let long = vec![b'x'; 131];
        let mut words: Vec<&[u8]> = vec![b"set", &long];
        let kept = shortened(&words);
        assert_eq!(kept[1], [&long[..128], b"... (3 more bytes)"].concat());
        words.resize(33, b"y");
        let kept = shortened(&words);
        assert_eq!((kept.len(), kept[31].as_slice()), (32, &b"... (2 more arguments)"[..]));
        words.resize(32, b"y");
        assert_eq!(shortened(&words)[31], b"y");
    }
}
