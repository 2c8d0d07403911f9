//! `firn stats`: what a dataset is made of, in one pass and bounded memory.
//!
//! Prefixes are patterns of keys: words between separators, with numbers and identifiers put together as `*`. Only so many patterns are counted
//! one by one ([`PATTERNS_MAX`]); keys of later ones count as `(others)`.

mod html;
mod sample;

use crate::choice::{StateArgs, when};
use crate::dataset::{Damages, Dataset, StateInfo};
use crate::filter::memory_of;
use crate::moment::now_ms;
use crate::text::{self, Style};
use crate::unfinished::NewFile;
use crate::{Outcome, ToolError, json};
use firn_engine::command::{encoding, idle_seconds};
use firn_engine::keyspace::{Entry, Value as Stored};
use sample::Sample;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io::Write;
use std::path::PathBuf;

/// Patterns that are counted one by one.
const PATTERNS_MAX: usize = 20_000;
/// Words of a pattern.
const DEPTH_MAX: usize = 6;

/// What to look at.
#[derive(clap::Args)]
pub(crate) struct StatsArgs {
    /// A store's folder, a snapshot, files of Redis, JSON Lines, a table; `-` for standard input.
    path: PathBuf,
    /// Also write one page with plots: a single file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How many of the biggest keys and patterns to show.
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// What stands between the words of a key.
    #[arg(long, default_value = ":", value_name = "CHARS")]
    separators: String,
    #[command(flatten)]
    state: StateArgs,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Keys and what they take.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Count {
    pub(super) keys: u64,
    /// In a server's memory.
    pub(super) bytes: u64,
    /// Of collections.
    pub(super) elements: u64,
    /// With a deadline.
    pub(super) mortal: u64,
}

impl Count {
    fn add(&mut self, bytes: u64, elements: u64, mortal: bool) {
        self.keys += 1;
        self.bytes += bytes;
        self.elements += elements;
        self.mortal += u64::from(mortal);
    }

    fn json(&self) -> Value {
        json!({ "keys": self.keys, "memory_bytes": self.bytes, "elements": self.elements, "with_ttl": self.mortal })
    }
}

/// A first word of keys with all that follows it: what it takes, and its parts, the biggest first.
pub(super) type Branch = (String, Count, Vec<(String, Count)>);

/// One of the biggest keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Big {
    pub(super) bytes: u64,
    pub(super) db: usize,
    pub(super) key: Vec<u8>,
    pub(super) kind: &'static str,
    pub(super) elements: Option<u64>,
}

/// Upper bounds of the classes of times to live in seconds, and their names.
pub(super) const TTLS: [(u64, &str); 7] = [
    (60, "under a minute"),
    (3600, "under an hour"),
    (86_400, "under a day"),
    (7 * 86_400, "under a week"),
    (30 * 86_400, "under 30 days"),
    (365 * 86_400, "under a year"),
    (u64::MAX, "longer"),
];

/// All that was counted.
pub(super) struct Stats {
    pub(super) total: Count,
    pub(super) databases: BTreeMap<usize, Count>,
    pub(super) types: BTreeMap<&'static str, Count>,
    pub(super) encodings: BTreeMap<(&'static str, &'static str), Count>,
    pub(super) patterns: HashMap<String, Count>,
    pub(super) others: Count,
    /// By the power of two that the memory of a key is below.
    pub(super) sizes: [Count; 48],
    pub(super) no_ttl: Count,
    pub(super) expired: Count,
    pub(super) ttls: [Count; 7],
    /// Not used for so long: the same classes.
    pub(super) idle: [Count; 7],
    pub(super) unknown_idle: Count,
    pub(super) biggest: BinaryHeap<Reverse<Big>>,
    /// Length of the files.
    pub(super) file_bytes: u64,
    /// What `firn compact` would make of what was chosen, without what has expired: about so many bytes.
    pub(super) compact_bytes: u64,
    /// Some keys were chosen, or a moment, so that the files hold more.
    pub(super) partial: bool,
    sample: Sample,
    top: usize,
    separators: Vec<char>,
    now_ms: u64,
}

impl Stats {
    fn add(&mut self, db: usize, position: u64, entry: &Entry<'_>) {
        let bytes = memory_of(entry);
        let elements = match entry.value {
            Stored::String(_) => None,
            Stored::Collection(view) => Some(view.len() as u64),
        };
        let (kind, mortal) = (entry.value.kind().name(), entry.deadline.is_some());
        let now_ms = self.now_ms;
        let count = |count: &mut Count| count.add(bytes, elements.unwrap_or(0), mortal);
        count(&mut self.total);
        count(self.databases.entry(db).or_default());
        count(self.types.entry(kind).or_default());
        count(self.encodings.entry((kind, encoding(entry))).or_default());
        count(&mut self.sizes[(u64::BITS - bytes.leading_zeros()).min(47) as usize]);
        let class = |seconds: u64| TTLS.iter().position(|(bound, _)| seconds < *bound).unwrap_or(6);
        match entry.deadline {
            None => count(&mut self.no_ttl),
            Some(at) if at <= now_ms => count(&mut self.expired),
            Some(at) => count(&mut self.ttls[class((at - now_ms) / 1000)]),
        }
        match entry.access {
            0 => count(&mut self.unknown_idle),
            _ => count(&mut self.idle[class(idle_seconds(entry, now_ms))]),
        }
        let pattern = pattern(entry.key, &self.separators);
        let room = self.patterns.len() < PATTERNS_MAX;
        match self.patterns.get_mut(&pattern) {
            Some(known) => count(known),
            None if room => count(self.patterns.entry(pattern).or_default()),
            None => count(&mut self.others),
        }
        let smallest = self.biggest.peek().map_or(0, |Reverse(big)| big.bytes);
        if self.biggest.len() < self.top || bytes > smallest {
            self.biggest.push(Reverse(Big { bytes, db, key: entry.key.to_vec(), kind, elements }));
            if self.biggest.len() > self.top {
                self.biggest.pop();
            }
        }
        // Compaction leaves out what has expired.
        if entry.deadline.is_none_or(|at| at > now_ms) {
            self.sample.add(db, position, entry);
        }
    }

    /// The biggest keys, the biggest first.
    pub(super) fn biggest(&self) -> Vec<&Big> {
        let mut biggest: Vec<&Big> = self.biggest.iter().map(|Reverse(big)| big).collect();
        biggest.sort_by(|one, other| other.cmp(one));
        biggest
    }

    /// The patterns that take most, the biggest first.
    pub(super) fn top_patterns(&self) -> Vec<(&str, Count)> {
        let mut patterns: Vec<_> = self.patterns.iter().map(|(pattern, count)| (pattern.as_str(), *count)).collect();
        if self.others.keys > 0 {
            patterns.push(("(others)", self.others));
        }
        patterns.sort_by(|one, other| other.1.bytes.cmp(&one.1.bytes).then(one.0.cmp(other.0)));
        patterns.truncate(self.top);
        patterns
    }

    /// The prefix tree, two words deep at most, that all patterns together make: (first word, second, count), biggest first.
    pub(super) fn tree(&self) -> Vec<Branch> {
        let mut tree: BTreeMap<&str, (Count, BTreeMap<&str, Count>)> = BTreeMap::new();
        let merge = |into: &mut Count, count: &Count| {
            into.keys += count.keys;
            into.bytes += count.bytes;
            into.elements += count.elements;
            into.mortal += count.mortal;
        };
        let others = ("(others)".to_owned(), self.others);
        let known = self.patterns.iter();
        for (pattern, count) in known.chain((self.others.keys > 0).then_some((&others.0, &others.1))) {
            let cut = pattern.find(|c| self.separators.contains(&c));
            let (first, rest) = cut.map_or((&pattern[..], ""), |cut| (&pattern[..cut], &pattern[cut + 1..]));
            let branch = tree.entry(first).or_default();
            merge(&mut branch.0, count);
            merge(branch.1.entry(rest).or_default(), count);
        }
        let mut tree: Vec<_> = tree
            .into_iter()
            .map(|(first, (count, rest))| {
                let mut rest: Vec<_> = rest.into_iter().map(|(rest, count)| (rest.to_owned(), count)).collect();
                rest.sort_by_key(|(_, count)| Reverse(count.bytes));
                (first.to_owned(), count, rest)
            })
            .collect();
        tree.sort_by_key(|(_, count, _)| Reverse(count.bytes));
        tree
    }
}

/// The pattern of a key: `user:4711:cart` is `user:*:cart`.
fn pattern(key: &[u8], separators: &[char]) -> String {
    let text = String::from_utf8_lossy(key);
    let mut pattern = String::new();
    let mut rest = &text[..];
    for depth in 0..DEPTH_MAX {
        let cut = rest.find(|c| separators.contains(&c));
        let word = cut.map_or(rest, |cut| &rest[..cut]);
        pattern.push_str(if depth + 1 == DEPTH_MAX && cut.is_some() || is_identifier(word) { "*" } else { word });
        let Some(cut) = cut else { break };
        if depth + 1 == DEPTH_MAX {
            break;
        }
        let after = rest[cut..].chars().next().map_or(1, char::len_utf8);
        pattern.push_str(&rest[cut..cut + after]);
        rest = &rest[cut + after..];
    }
    pattern
}

/// A pattern as a person reads it: as it is, unless it holds what a terminal would not show.
fn shown(pattern: &str) -> String {
    let plain = !pattern.is_empty() && pattern.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '"');
    if plain { pattern.to_owned() } else { text::quoted(pattern.as_bytes(), false) }
}

/// Whether a word tells things of a kind apart rather than kinds: a number, a hexadecimal or long random-looking word, bytes.
fn is_identifier(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    !word.is_empty()
        && (digits == word.len()
            || (hex && digits > 0)
            || (word.len() >= 12 && digits * 4 >= word.len())
            || word.len() > 48
            || word.contains(char::REPLACEMENT_CHARACTER)
            || word.trim_end_matches(|c: char| c.is_ascii_digit()).len() < word.len() && digits >= 2
            || word.contains('@'))
}

/// Runs it.
pub(crate) fn run(args: &StatsArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let choice = args.state.choice()?;
    // Whether it can be made is known before everything is read.
    let html = args.html.as_deref().map(NewFile::create).transpose()?;
    let dataset = Dataset::open(&args.path)?;
    let mut stats = Stats {
        total: Count::default(),
        databases: BTreeMap::new(),
        types: BTreeMap::new(),
        encodings: BTreeMap::new(),
        patterns: HashMap::new(),
        others: Count::default(),
        sizes: [Count::default(); 48],
        no_ttl: Count::default(),
        expired: Count::default(),
        ttls: Default::default(),
        idle: Default::default(),
        unknown_idle: Count::default(),
        biggest: BinaryHeap::new(),
        file_bytes: dataset.bytes(),
        compact_bytes: 0,
        partial: args.state.is_partial() || choice.to.is_some(),
        sample: Sample::default(),
        top: args.top,
        separators: args.separators.chars().collect(),
        now_ms: now_ms(),
    };
    let damages = Damages::strict();
    let info = dataset.state(&choice, &damages, &mut |_| Ok(()), &mut |db, position, entry| {
        stats.add(db, position, entry);
        Ok(())
    })?;
    stats.compact_bytes = stats.sample.estimate();
    if let Some((new, mut file)) = html {
        let page = html::page(&args.path.display().to_string(), dataset.kind(), &info, &stats);
        file.write_all(page.as_bytes())?;
        new.finish()?;
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &facts(&stats, &info))?;
        writeln!(out)?;
    } else {
        print(&stats, &info, out)?;
        if let Some(path) = &args.html {
            writeln!(out, "\nThe page with plots is {}.", path.display())?;
        }
    }
    Ok(Outcome::Fine)
}

fn facts(stats: &Stats, info: &StateInfo) -> Value {
    let classes = |counts: &[Count; 7]| -> Value {
        counts.iter().zip(TTLS).map(|(count, (bound, name))| {
            json!({ "class": name, "below_s": (bound != u64::MAX).then_some(bound), "count": count.json() })
        }).collect()
    };
    let sizes: Vec<Value> = (0..48)
        .filter(|at| stats.sizes[*at].keys > 0)
        .map(|at| json!({ "below_bytes": 1u64 << at, "count": stats.sizes[at].json() }))
        .collect();
    let biggest: Vec<Value> = stats
        .biggest()
        .iter()
        .map(|big| {
            json!({ "db": big.db, "key": json::bytes(&big.key), "type": big.kind, "elements": big.elements, "memory_bytes": big.bytes })
        })
        .collect();
    json!({
        "lsn": info.lsn,
        "time_ms": info.time_ms,
        "total": stats.total.json(),
        "databases": stats.databases.iter().map(|(db, count)| (db.to_string(), count.json())).collect::<serde_json::Map<_, _>>(),
        "types": stats.types.iter().map(|(kind, count)| ((*kind).to_owned(), count.json())).collect::<serde_json::Map<_, _>>(),
        "encodings": stats.encodings.iter()
            .map(|((kind, encoding), count)| json!({ "type": kind, "encoding": encoding, "count": count.json() }))
            .collect::<Vec<_>>(),
        "patterns": stats.top_patterns().iter()
            .map(|(pattern, count)| json!({ "pattern": pattern, "count": count.json() }))
            .collect::<Vec<_>>(),
        "sizes": sizes,
        "ttl": { "none": stats.no_ttl.json(), "expired": stats.expired.json(), "classes": classes(&stats.ttls) },
        "idle": { "unknown": stats.unknown_idle.json(), "classes": classes(&stats.idle) },
        "biggest": biggest,
        "file_bytes": stats.file_bytes,
        "compact_bytes": stats.compact_bytes,
        "partial": stats.partial,
    })
}

/// A bar of at most 24 characters.
fn bar(part: u64, of: u64) -> String {
    let eighths = if of == 0 { 0 } else { (u128::from(part) * 192 / u128::from(of)) as usize };
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.extend("▏▎▍▌▋▊▉".chars().nth(eighths % 8 - 1));
    }
    bar
}

fn print(stats: &Stats, info: &StateInfo, out: &mut dyn Write) -> Result<(), ToolError> {
    let style = Style::for_stdout();
    let of = stats.total.bytes;
    let row = |out: &mut dyn Write, name: &str, count: &Count| {
        let mean = count.bytes.checked_div(count.keys).unwrap_or(0);
        writeln!(
            out,
            "  {name:<28} {:>13} {:>10} {:>10}  {}",
            text::count(count.keys),
            text::size(count.bytes),
            text::size(mean),
            bar(count.bytes, of)
        )
    };
    let head = |out: &mut dyn Write, name: &str| {
        let line = format!("{name:<30} {:>13} {:>10} {:>10}", "keys", "memory", "a key");
        writeln!(out, "\n{}", style.strong(&line))
    };
    writeln!(
        out,
        "{} as of {}, {} in a server's memory.",
        text::counted(stats.total.keys, "key", "keys"),
        when(info),
        text::size(of)
    )?;
    writeln!(
        out,
        "The files take {}; as a compact store {} would take about {}.",
        text::size(stats.file_bytes),
        if stats.partial { "what was chosen" } else { "they" },
        text::size(stats.compact_bytes)
    )?;
    head(out, "types")?;
    for ((kind, encoding), count) in &stats.encodings {
        row(out, &format!("{kind} ({encoding})"), count)?;
    }
    if stats.databases.len() > 1 {
        head(out, "databases")?;
        for (db, count) in &stats.databases {
            row(out, &db.to_string(), count)?;
        }
    }
    head(out, "patterns")?;
    for (pattern, count) in stats.top_patterns() {
        row(out, &shown(pattern), &count)?;
    }
    head(out, "sizes")?;
    for (at, count) in stats.sizes.iter().enumerate().filter(|(_, count)| count.keys > 0) {
        row(out, &format!("below {}", text::size(1 << at)), count)?;
    }
    head(out, "time to live")?;
    row(out, "none", &stats.no_ttl)?;
    if stats.expired.keys > 0 {
        row(out, "expired, not yet deleted", &stats.expired)?;
    }
    for (count, (_, name)) in stats.ttls.iter().zip(TTLS).filter(|(count, _)| count.keys > 0) {
        row(out, name, count)?;
    }
    if stats.idle.iter().any(|count| count.keys > 0) {
        head(out, "not used for")?;
        for (count, (_, name)) in stats.idle.iter().zip(TTLS).filter(|(count, _)| count.keys > 0) {
            row(out, name, count)?;
        }
    }
    writeln!(out, "\n{}", style.strong("biggest keys"))?;
    for big in stats.biggest() {
        let elements = big
            .elements
            .map_or(String::new(), |elements| format!(", {}", text::counted(elements, "element", "elements")));
        let line =
            format!("  {:>10}  {:>3}  {:<6}  {}", text::size(big.bytes), big.db, big.kind, text::word(&big.key, false));
        writeln!(out, "{line}{}", style.dim(&elements))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_stars_and_kinds_stay() {
        for (key, expected) in [
            ("user:4711:cart", "user:*:cart"),
            ("session:9f86d081884c7d65", "session:*"),
            ("config", "config"),
            ("user:3f2504e0-4f89-11d3-9a0c-0305e82c3301", "user:*"),
            ("counter", "counter"),
            ("", ""),
            ("a:b:c:d:e:f:g:h", "a:b:c:d:e:*"),
            ("shard12:x", "*:x"),
            ("mail:a@b.c", "mail:*"),
        ] {
            assert_eq!(pattern(key.as_bytes(), &[':']), expected, "{key}");
        }
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(1, 1).chars().count(), 24);
        assert_eq!(bar(1, 48), "▌");
    }
}
