//! LCS: the longest common subsequence of two strings.
//!
//! The table of lengths takes 4 bytes for each pair of positions; more than `proto-max-bulk-len` of it is refused before any
//! memory is taken.

use super::typed::string;
use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};

/// `LCS`.
pub(super) static LCS: Command = Command {
    spec: Spec {
        name: "LCS",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::Range { first: 1, last: 2, step: 1, access: "RO ACCESS" },
        group: Group::String,
        since: "7.0.0",
        summary: "Finds the longest common subsequence of two strings.",
        complexity: "O(N*M) where N and M are the lengths of the strings",
        syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        ..Spec::BASE
    },
    run: lcs,
};

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "IDX") {
                options.idx = true;
            } else if args.is(at, "LEN") {
                options.len = true;
            } else if args.is(at, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
                at += 1;
                options.min_match_len = args.integer(at)?.max(0);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        if options.len && options.idx {
            return Err(CommandError::text("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

fn lcs(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (one, other) = (call.key(args, 1), call.key(args, 2));
    let not_strings = |_| CommandError::Text("ERR The specified keys must contain string values".into());
    // Both keys are looked up (and dead ones deleted) before either value is borrowed.
    call.read(one);
    call.read(other);
    let engine = &*call.engine;
    let db = engine.keyspace.db(call.session.db);
    let value = |key| {
        db.get(key)
            .filter(|entry| !engine.is_dead(entry))
            .map_or(Ok(&[][..]), |entry| string(&entry))
            .map_err(not_strings)
    };
    let (a, b) = (value(one)?, value(other)?);
    let options = Options::parse(args)?;

    let cells = (a.len() as u128 + 1) * (b.len() as u128 + 1);
    if cells * size_of::<u32>() as u128 > call.engine.settings.string_len_max as u128 {
        return Err(CommandError::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    let table = Table::new(a, b);
    let len = table.at(a.len(), b.len());
    if options.len {
        reply.integer(i64::from(len));
        return Ok(());
    }
    let (common, ranges) = table.walk(a, b, options.min_match_len);
    if !options.idx {
        reply.bulk(&common);
        return Ok(());
    }
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(ranges.len());
    for range in &ranges {
        reply.array(if options.with_match_len { 3 } else { 2 });
        for start in [range.a, range.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + range.len - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(range.len as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(i64::from(len));
    Ok(())
}

/// The length of the longest common subsequence of every pair of prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

/// Bytes that both strings have in common without a gap: where they begin, and how many.
struct Range {
    a: usize,
    b: usize,
    len: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Table {
        let width = b.len() + 1;
        let mut cells = vec![0u32; (a.len() + 1) * width];
        for (i, byte) in a.iter().enumerate() {
            let (above, below) = cells.split_at_mut((i + 1) * width);
            let above = &above[i * width..];
            for (j, other) in b.iter().enumerate() {
                below[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(below[j]) };
            }
        }
        Table { cells, width }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// The subsequence, and its ranges of at least `min_len` bytes, last first. Where several subsequences are longest, the
    /// choice is the one that Redis makes.
    fn walk(&self, a: &[u8], b: &[u8], min_len: i64) -> (Vec<u8>, Vec<Range>) {
        let (mut i, mut j) = (a.len(), b.len());
        let mut common = Vec::with_capacity(self.at(i, j) as usize);
        let mut ranges = Vec::new();
        let mut open: Option<Range> = None;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                common.push(a[i]);
                open = Some(Range { a: i, b: j, len: open.map_or(0, |range| range.len) + 1 });
                continue;
            }
            if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
            ranges.extend(open.take());
        }
        ranges.extend(open);
        ranges.retain(|range| range.len as u128 >= min_len as u128);
        common.reverse();
        (common, ranges)
    }
}
