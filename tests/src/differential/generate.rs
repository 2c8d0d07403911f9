//! Random command sequences: weighted, seeded, made to meet: few keys, values at the limits of every type, and now and then
//! a word too many, too few or of the wrong kind.
//!
//! 1. The same seed gives the same sequence.
//! 2. No reply depends on how fast it came: deadlines are in the past or at least a quarter of an hour away, and those that are compared
//!    with each other (GT, LT) are absolute.
//! 3. Nothing makes a server take much memory: offsets are small or above `proto-max-bulk-len`.

use super::families::{FAMILIES, Family};
use super::lists;
use super::several::show_transaction;
use super::streams::{self, Fill};
use std::collections::HashMap;

/// What one step does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A command's words.
    Run(Vec<Vec<u8>>),
    /// SCAN, HSCAN, ... with these words, the cursor 0 among them, again and again to the end: compared as a set.
    Walk(Vec<Vec<u8>>),
    /// These commands between MULTI and EXEC.
    Transaction(Vec<Vec<Vec<u8>>>),
    /// DUMP of the first word, and RESTORE of that under the second; the third is the time to live, the rest are options.
    Move(Vec<Vec<u8>>),
}

impl Step {
    /// The words of its command; of a transaction, none.
    pub fn words(&self) -> Vec<Vec<u8>> {
        match self {
            Step::Run(words) | Step::Walk(words) | Step::Move(words) => words.clone(),
            Step::Transaction(_) => Vec::new(),
        }
    }

    /// As people read it.
    pub fn show(&self) -> String {
        match self {
            Step::Run(words) => show(words),
            Step::Walk(words) => format!("(whole walk) {}", show(words)),
            Step::Transaction(commands) => show_transaction(commands),
            Step::Move(words) => format!("(DUMP and RESTORE) {}", show(words)),
        }
    }
}

/// A command as people read it.
pub fn show(words: &[Vec<u8>]) -> String {
    let word = |word: &Vec<u8>| {
        let text = word.escape_ascii().to_string();
        if text.is_empty() || text.contains([' ', '"', '\'']) { format!("\"{text}\"") } else { text }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Commands; words in lower case are filled in by [`Generator::word`], `...s` by several words.
const TEMPLATES: &[&str] = &[
    "SET k v",
    "SET k v setopts",
    "SET k v IFEQ v",
    "SET k v IFEQ v GET",
    "GET k",
    "GETEX k getexopts",
    "GETDEL k",
    "GETSET k v",
    "MSET pairs",
    "MSETNX pairs",
    "MSETEX 1 k v msetexopts",
    "MSETEX 2 k v k v msetexopts",
    "MSETEX int pairs msetexopts",
    "MGET keys",
    "SETEX k seconds v",
    "PSETEX k ms v",
    "SETNX k v",
    "INCR k",
    "DECR k",
    "INCRBY k int",
    "DECRBY k int",
    "INCRBYFLOAT k float",
    "APPEND k v",
    "STRLEN k",
    "GETRANGE k int int",
    "SUBSTR k int int",
    "SETRANGE k offset v",
    "LCS k k lcsopts",
    "DELIFEQ k v",
    "DEL keys",
    "UNLINK keys",
    "EXISTS keys",
    "TYPE k",
    "TOUCH keys",
    "EXPIRE k seconds nxxx",
    "PEXPIRE k ms nxxx",
    "EXPIREAT k unix expireopts",
    "PEXPIREAT k unixms expireopts",
    "TTL k",
    "PTTL k",
    "EXPIRETIME k",
    "PEXPIRETIME k",
    "PERSIST k",
    "KEYS pattern",
    "SCAN cursor scanopts",
    "WALK SCAN 0 walkopts",
    "RANDOMKEY",
    "RENAME k k",
    "RENAMENX k k",
    "COPY k k copyopts",
    "MOVE k db",
    "SWAPDB db db",
    "DBSIZE",
    "FLUSHDB mode",
    "FLUSHALL mode",
    "OBJECT ENCODING k",
    "OBJECT REFCOUNT k",
    "OBJECT FREQ k",
    "OBJECT HELP",
    "OBJECT junk k",
    "SELECT db",
    "MOVEVALUE k k ttl restoreopts",
    "DUMP k",
    "nosuch junks",
];

/// What only a server knows.
const SERVER_TEMPLATES: &[&str] = &["MULTI", "MULTI", "WATCH keys", "UNWATCH", "ROLE", "WAIT replicas waitms"];
/// Commands of a transaction at most.
const TRANSACTION_MAX: usize = 6;

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"A",
    b"",
    b"\x00\xff",
    b"k\r\n",
    b"{tag}key",
    b"user:1000:profile:settings:with:a:name:of:more:than:sixty:four:bytes",
];
const VALUES: &[&[u8]] = &[
    b"",
    b"x",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"007",
    b"+1",
    b" 1",
    b"1 ",
    b"1.5",
    b"-0",
    b"0.1",
    b"1e3",
    b"1e400",
    b"0x1F",
    b"inf",
    b"-inf",
    b"nan",
    b"hello world",
    b"\x00",
    b"\xff\xfe\r\n",
    b"OK",
    b"nil",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    b"12345678901234567890",
    b"the quick brown fox jumps over the lazy dog and runs away from all the other animals of the forest",
];
const INTS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "5",
    "10",
    "-2",
    "-5",
    "44",
    "45",
    "100",
    "-100",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967296",
    "9223372036854775806",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "99999999999999999999",
    "",
    "a",
    "1.0",
    " 1",
    "01",
    "+1",
    "-",
    "1e3",
];
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "1.5",
    "3.14159265358979323846",
    "1e10",
    "1e17",
    "1e18",
    "1e20",
    "1e-5",
    "1e-17",
    "5e-18",
    "0x1p-18",
    "0x1.8p3",
    "0xff",
    "1e300",
    "-1e300",
    "1e4932",
    "1e5000",
    "1e-5000",
    "inf",
    "-inf",
    "infinity",
    "nan",
    "abc",
    "",
    " 1",
    "1 ",
    "1.",
    ".5",
    "1e",
    "+2.5",
    "-0.0",
    "123456789.987654321",
    "99999999999999999999.99999999999999999",
    "0.000000000000000009",
    "1_000",
    "1,5",
];
const SECONDS: &[&str] = &[
    "1000",
    "5000",
    "100000",
    "2147483648",
    "0",
    "-1",
    "-1000",
    "9223372036854775",
    "9223372036854776",
    "9223372036854775807",
    "a",
    "1.5",
    "",
];
const MS: &[&str] =
    &["1000000", "5000000", "100000000", "0", "-1", "-9223372036854775808", "9223372036854775807", "a", "1.5", ""];
const UNIX: &[&str] = &[
    "4102444800",
    "4102444801",
    "5000000000",
    "9999999999",
    "1",
    "0",
    "-1",
    "1000000000",
    "9223372036854775",
    "9223372036854776",
    "-9223372036854776",
    "-9223372036854775808",
    "9223372036854775807",
    "x",
];
const UNIX_MS: &[&str] = &[
    "4102444800000",
    "4102444800001",
    "4102444800499",
    "4102444800500",
    "5000000000000",
    "9223372036854775807",
    "1",
    "0",
    "-1",
    "-9223372036854775808",
    "9223372036854775808",
    "x",
];
const OFFSETS: &[&str] = &[
    "0",
    "1",
    "5",
    "44",
    "100",
    "1000",
    "-1",
    "536870912",
    "536870913",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "a",
    "",
];
const PATTERNS: &[&str] =
    &["*", "?", "a*", "[a-c]", "[^a]", "*e*", "user:*", "k\\\r\n", "", "**", "\\a", "[", "[a", "{*}*", "nope*", "??*"];
const CURSORS: &[&str] = &["0", "+0", "00", "-1", "", "x", "0x", "18446744073709551616", " 0"];
const JUNK: &[&str] = &[
    "NX",
    "XX",
    "GET",
    "EX",
    "PX",
    "KEEPTTL",
    "PERSIST",
    "EXAT",
    "PXAT",
    "IFEQ",
    "MATCH",
    "COUNT",
    "TYPE",
    "DB",
    "REPLACE",
    "LEN",
    "IDX",
    "WITHMATCHLEN",
    "MINMATCHLEN",
    "ASYNC",
    "SYNC",
    "foo",
    "",
    "100",
    "-1",
    "\r\n",
    "a",
    "\u{fc}",
    "NOVALUES",
    "LIMIT",
];

/// Names that no server knows.
const NO_COMMANDS: &[&str] = &["foo", "", "NOSUCH", "get set", "set\r\n", "\u{fc}", "GETS", "'", "\0"];

/// splitmix64.
#[derive(Clone, Debug)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Makes sequences. Each draws its own weights, so that some dwell on a few commands.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    /// The keys of this sequence: few, so that commands meet.
    keys: Vec<&'static [u8]>,
    /// What was drawn last from each pool of words (by its address): drawn again half of the time, so that values are equal.
    last: HashMap<usize, &'static str>,
    /// Whether commands may be made that no engine knows: their errors are the server's.
    unknown: bool,
    /// The family whose commands this sequence has besides those on strings and keys.
    family: Option<&'static Family>,
}

impl Generator {
    /// The generator of sequence `seed`.
    pub fn new(seed: u64, unknown: bool) -> Generator {
        let mut rng = Rng(seed);
        let keys = (0..=rng.below(8)).map(|_| rng.pick(KEYS)).collect();
        let family = (!rng.one_in(FAMILIES.len() + 2)).then(|| FAMILIES[rng.below(FAMILIES.len())]);
        Generator { rng, keys, last: HashMap::new(), unknown, family }
    }

    /// A sequence of `len` steps.
    pub fn sequence(&mut self, len: usize) -> Vec<Step> {
        let mut bag = Vec::new();
        for template in TEMPLATES.iter().chain(streams::TEMPLATES).chain(lists::TEMPLATES) {
            let rare = ["FLUSH", "SWAPDB", "SELECT", "nosuch", "OBJECT HELP", "XGROUP HELP", "XINFO HELP"]
                .iter()
                .any(|name| template.starts_with(name));
            let weight = if rare { usize::from(self.rng.one_in(2)) } else { [0, 0, 1, 1, 4, 24][self.rng.below(6)] };
            // Beside a family, keys and strings of other types are there now and then.
            let weight = if self.family.is_some() { weight.min(1) } else { weight };
            bag.extend(std::iter::repeat_n(*template, weight));
        }
        if self.unknown {
            let weight = [0, 0, 2, 8][self.rng.below(4)];
            SERVER_TEMPLATES.iter().for_each(|template| bag.extend(std::iter::repeat_n(*template, weight)));
        }
        // Something must write, whatever the weights.
        bag.extend(["SET k v", "MSET pairs", "APPEND k v", "XADD k sid fields", "RPUSH k elements"]);
        if let Some(family) = self.family {
            for template in family.templates {
                let weight = [0, 1, 4, 4, 12, 48][self.rng.below(6)];
                bag.extend(std::iter::repeat_n(*template, weight));
            }
            let share = bag.len() / 4 / family.writers.len() + 1;
            family.writers.iter().for_each(|writer| bag.extend(std::iter::repeat_n(*writer, share)));
        }
        (0..len).map(|_| self.step(&bag)).collect()
    }

    fn step(&mut self, bag: &[&str]) -> Step {
        let template = self.rng.pick(bag);
        if template == "MULTI" {
            let steps = (0..self.rng.below(TRANSACTION_MAX)).map(|_| self.step(bag)).collect::<Vec<_>>();
            let commands = steps.into_iter().filter_map(|step| match step {
                Step::Run(words) => Some(words),
                _ => None,
            });
            return Step::Transaction(commands.collect());
        }
        let mut words = Vec::new();
        for word in template.split(' ') {
            self.word(word, &mut words);
        }
        if words[0] == b"WALK" {
            return Step::Walk(words.split_off(1));
        }
        if words[0] == b"MOVEVALUE" {
            return Step::Move(words.split_off(1));
        }
        // A sorted set that ranges of members are asked of keeps its equal scores; SPOP of some members alone would draw by chance;
        // PFADD of many elements keeps to keys that nothing else writes.
        let settled = ["ZADD lk", "SPOP", "PFADD"].iter().any(|start| template.starts_with(start));
        if self.rng.one_in(12) && !settled {
            self.spoil(&mut words);
            lists::tame(&mut words);
        }
        if self.rng.one_in(8) {
            let at = self.rng.below(words.len());
            if at == 0 || words[at].iter().all(u8::is_ascii_uppercase) {
                words[at] = words[at]
                    .iter()
                    .map(|byte| if self.rng.one_in(2) { byte.to_ascii_lowercase() } else { *byte })
                    .collect();
            }
        }
        Step::Run(words)
    }

    /// A word too few, too many, or of another kind.
    fn spoil(&mut self, words: &mut Vec<Vec<u8>>) {
        let first = 1.min(words.len() - 1);
        let at = first + self.rng.below(words.len() - first);
        // Valkey takes a key called FIELDS for the word, which is what lies where a key was taken away.
        let needed = at == 1 && (words[0] == b"HSETEX" || words[0] == b"HGETEX");
        match self.rng.below(4) {
            0 if at > 0 && !needed => {
                words.remove(at);
            }
            1 => words.push(self.rng.pick(JUNK).into()),
            2 if at > 0 => words[at] = self.rng.pick(JUNK).into(),
            _ => words.insert(at.max(1), self.rng.pick(JUNK).into()),
        }
    }

    fn text(&mut self, from: &'static [&'static str], out: &mut Vec<Vec<u8>>) {
        let fresh = self.rng.pick(from);
        let last = self.last.entry(from.as_ptr() as usize).or_insert(fresh);
        if self.rng.one_in(2) {
            *last = fresh;
        }
        out.push((*last).into());
    }

    /// Fills in a word that the sequence's family knows; says whether it does.
    fn family_word(&mut self, word: &str, out: &mut Vec<Vec<u8>>) -> bool {
        let Some(family) = self.family else { return false };
        if let Some((_, pool)) = family.pools.iter().find(|(name, _)| *name == word) {
            self.text(pool, out);
        } else if let Some((_, most, choices)) = family.options.iter().find(|(name, ..)| *name == word) {
            self.options(choices, *most, out);
        } else if let Some((_, most, words)) = family.repeats.iter().find(|(name, ..)| *name == word) {
            for _ in 0..=self.rng.below(*most) {
                words.split(' ').for_each(|word| self.word(word, out));
            }
        } else {
            return false;
        }
        true
    }

    /// Fills in a word of a template.
    fn word(&mut self, word: &str, out: &mut Vec<Vec<u8>>) {
        if self.family_word(word, out) {
            return;
        }
        match word {
            "k" => out.push(self.rng.pick(&self.keys).into()),
            "v" => out.push(self.rng.pick(VALUES).into()),
            "keys" => (0..=self.rng.below(4)).for_each(|_| self.word("k", out)),
            "pairs" => (0..=self.rng.below(4)).for_each(|_| {
                self.word("k", out);
                self.word("v", out);
            }),
            "int" => self.text(INTS, out),
            "float" => self.text(FLOATS, out),
            "seconds" => self.text(SECONDS, out),
            "ms" => self.text(MS, out),
            "unix" => self.text(UNIX, out),
            "unixms" => self.text(UNIX_MS, out),
            "offset" => self.text(OFFSETS, out),
            "pattern" => self.text(PATTERNS, out),
            "cursor" => self.text(CURSORS, out),
            "db" => self.text(&["0", "1", "2", "15", "0", "1", "16", "-1", "x", "2147483648", ""], out),
            "mode" => self.options(&["ASYNC", "SYNC", "", ""], 1, out),
            "setopts" => self.options(
                &["NX", "XX", "GET", "KEEPTTL", "EX seconds", "PX ms", "EXAT unix", "PXAT unixms", "IFEQ v"],
                3,
                out,
            ),
            // No deadline in the past: Valkey tells of keys as set that are dead at once, where SET of both deletes them.
            "msetexopts" => self.options(
                &["NX", "XX", "KEEPTTL", "EX seconds", "PX ms", "EXAT 4102444800", "PXAT 4102444800000", "GET"],
                3,
                out,
            ),
            "getexopts" => self.options(&["PERSIST", "EX seconds", "PX ms", "EXAT unix", "PXAT unixms"], 1, out),
            "lcsopts" => self.options(&["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN int"], 3, out),
            "nxxx" => self.options(&["NX", "XX"], 1, out),
            "expireopts" => self.options(&["NX", "XX", "GT", "LT"], 2, out),
            "ttl" => self.text(&["0", "0", "1000000", "5000000", "-1", "4102444800000", "x", ""], out),
            "restoreopts" => {
                self.options(&["REPLACE", "REPLACE", "ABSTTL", "IDLETIME int", "FREQ int", "junk"], 2, out);
            }
            "copyopts" => self.options(&["REPLACE", "DB db"], 2, out),
            "walkopts" => self.options(&["MATCH pattern", "COUNT count", "TYPE string", "TYPE list"], 2, out),
            "scanopts" => self.options(&["MATCH pattern", "COUNT int", "TYPE string", "TYPE v"], 2, out),
            "replicas" => self.text(&["0", "1", "2", "-1", "2147483647", "x", ""], out),
            // None at which Redis 7.0's sum overflows: it would wait.
            "waitms" => self.text(&["1", "1", "-1", "x", ""], out),
            "count" => self.text(&["1", "2", "10", "1000", "9223372036854775807"], out),
            "nosuch" if self.unknown => self.text(NO_COMMANDS, out),
            "nosuch" => out.push(b"DBSIZE".into()),
            "junk" => self.text(JUNK, out),
            "junks" => (0..self.rng.below(4)).for_each(|_| self.text(JUNK, out)),
            "string" | "list" => out.push(word.into()),
            "" => {}
            _ => match lists::word(word).or_else(|| streams::word(word, self.rng.one_in(10))) {
                Some(Fill::One(words)) => self.text(words, out),
                Some(Fill::Many(least, most, word)) => {
                    (0..least + self.rng.below(most - least + 1)).for_each(|_| self.word(word, out));
                }
                Some(Fill::Options(options, most)) => self.options(options, most, out),
                None => out.push(word.into()),
            },
        }
    }

    /// Up to `most` of `choices`.
    fn options(&mut self, choices: &[&str], most: usize, out: &mut Vec<Vec<u8>>) {
        for _ in 0..self.rng.below(most + 1) {
            for word in self.rng.pick(choices).split(' ') {
                self.word(word, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_another_another() {
        let sequence = |seed| Generator::new(seed, true).sequence(50);
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn commands_are_shown_so_that_words_can_be_told_apart() {
        assert_eq!(show(&[b"SET".to_vec(), b"".to_vec(), b"a b".to_vec(), b"\x00".to_vec()]), "SET \"\" \"a b\" \\x00");
    }
}
