//! `firn history`: every change of a key, with its size before and after.

use crate::dataset::change::{Change, touched};
use crate::dataset::firn::SnapshotBase;
use crate::dataset::keys::{self, Wanted};
use crate::dataset::state::Small;
use crate::dataset::{Base, Damages, Dataset, Tail, VisitChange};
use crate::filter::{self, Filter, KeyArgs, MomentArgs, Span};
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json};
use firn_engine::keyspace::Value as Stored;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Whose history.
#[derive(clap::Args)]
pub(crate) struct HistoryArgs {
    /// A store's folder, a segment, an append-only file or folder; `-` for standard input.
    path: PathBuf,
    /// A key (exactly this one, as redis-cli writes it); without one, all keys that the filters let through.
    key: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    moments: MomentArgs,
    /// Show long words whole instead of their beginning.
    #[arg(long)]
    full: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What a key was at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Size {
    kind: &'static str,
    elements: Option<usize>,
    bytes: u64,
}

/// Runs it.
pub(crate) fn run(args: &HistoryArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let filter = Filter::of_keys(&args.keys);
    let span = Span::new(&args.moments)?;
    let name = args.key.as_deref().map(text::unquoted).transpose()?;
    if name.is_none() && filter.wants_all_keys() {
        return Err(ToolError::Usage(
            "say whose history: a key, or --match GLOB (all changes: firn inspect --records)".to_owned(),
        ));
    }
    if name.is_some() && !(args.keys.patterns.is_empty() && args.keys.not_patterns.is_empty()) {
        return Err(ToolError::Usage("give a key, or --match and --not-match: not both".to_owned()));
    }
    let names: Vec<Vec<u8>> = name.into_iter().collect();
    let matches = |key: &[u8]| filter.wants_name(key);
    let wanted = if names.is_empty() { Wanted::Matching(&matches) } else { Wanted::Names(&names) };
    let damages = Damages::lenient();
    let mut printer = Printer {
        args,
        filter: &filter,
        span,
        wanted: &wanted,
        out,
        style: Style::for_stdout(),
        before: Vec::new(),
        shown: 0,
    };
    match Dataset::open(&args.path)? {
        Dataset::Store(store) => {
            let (base, tail) = store.oldest(&damages)?;
            keys::replay(&base, &tail, &wanted, &damages, &mut |after, change, small| {
                printer.change(after, change, Some(small))
            })?;
        }
        Dataset::Redis(files) if files.is_rdb_alone() => {
            return Err(ToolError::Usage(
                "an RDB file holds the keys of one moment and no history: firn get shows a key, firn diff compares it with another file, and \
                 firn history takes a store's folder or an append-only file or folder"
                    .to_owned(),
            ));
        }
        Dataset::Redis(files) => {
            let (base, tail) = (files.base(&damages), files.tail(None, &damages));
            keys::replay(&base, &tail, &wanted, &damages, &mut |after, change, small| {
                printer.change(after, change, Some(small))
            })?;
        }
        Dataset::Segment(segment) => {
            let base = SnapshotBase::none();
            let tail = Whole(&|visit| segment.visit(&damages, visit));
            // What was there before the segment is not known, so sizes are not.
            let _ = base.seed();
            let mut found = Vec::new();
            tail.visit(&mut |change| {
                if touched(change.words, &mut found).is_some()
                    && (found.is_empty() || found.iter().any(|at| wanted.has(change.words[*at])))
                {
                    printer.change(true, change, None)?;
                }
                Ok(())
            })?;
        }
        Dataset::Snapshot(_) | Dataset::Lines(_) => {
            return Err(ToolError::Usage(
                "it holds a state and no history: give the store's folder or a segment".to_owned(),
            ));
        }
    }
    let (shown, json) = (printer.shown, args.json);
    if shown == 0 && !json {
        writeln!(out, "No change of such a key is in the log that is left.")?;
    }
    let outcome = damages.outcome();
    for finding in damages.take() {
        text::tell(&format_args!("firn: {finding}"));
    }
    Ok(outcome)
}

/// A tail made of a closure.
struct Whole<'a>(&'a dyn Fn(&mut VisitChange<'_>) -> Result<(), ToolError>);

impl Tail for Whole<'_> {
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        (self.0)(visit)
    }
}

struct Printer<'a> {
    args: &'a HistoryArgs,
    filter: &'a Filter,
    span: Span,
    wanted: &'a Wanted<'a>,
    out: &'a mut dyn Write,
    style: Style,
    /// Sizes of the change's keys before it.
    before: Vec<(Vec<u8>, Option<Size>)>,
    shown: u64,
}

impl Printer<'_> {
    /// The wanted keys that a change is about; for one of whole databases those that were there before.
    fn keys(&self, change: &Change<'_>, small: Option<&Small>) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        if touched(change.words, &mut found).is_none() {
            return Vec::new();
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for at in &found {
            let key = change.words[*at];
            if self.wanted.has(key) && !keys.iter().any(|it| it == key) {
                keys.push(key.to_vec());
            }
        }
        if let (true, Some(small)) = (found.is_empty(), small) {
            let name = change.words[0];
            let all = !name.eq_ignore_ascii_case(b"FLUSHDB");
            for db in 0..small.engine.keyspace.databases() {
                if all || db == change.db {
                    small.engine.keyspace.db(db).for_each(&mut |entry| {
                        if self.wanted.has(entry.key)
                            && self.filter.wants_db(db)
                            && !keys.iter().any(|it| it == entry.key)
                        {
                            keys.push(entry.key.to_vec());
                        }
                    });
                }
            }
        }
        keys
    }

    fn change(&mut self, after: bool, change: &Change<'_>, small: Option<&Small>) -> Result<(), ToolError> {
        if !after {
            let keys = self.keys(change, small);
            self.before = keys.into_iter().map(|key| (key.clone(), size(small, change.db, &key))).collect();
            return Ok(());
        }
        let before = if small.is_some() {
            std::mem::take(&mut self.before)
        } else {
            self.keys(change, None).into_iter().map(|key| (key, None)).collect()
        };
        let whole = change.words.len() == 1 || before.is_empty();
        if !self.span.wants(change.lsn, change.time_ms) || (!self.filter.wants_db(change.db) && !whole) {
            return Ok(());
        }
        for (key, was) in before {
            self.print(change, &key, small.map(|small| (was, size(Some(small), change.db, &key))))?;
        }
        Ok(())
    }

    fn print(
        &mut self,
        change: &Change<'_>,
        key: &[u8],
        sizes: Option<(Option<Size>, Option<Size>)>,
    ) -> Result<(), ToolError> {
        self.shown += 1;
        if self.args.json {
            let of = |size: Option<Size>| {
                size.map_or(
                    Value::Null,
                    |size| json!({ "type": size.kind, "elements": size.elements, "bytes": size.bytes }),
                )
            };
            let line = json!({
                "file": change.file,
                "offset": change.offset,
                "lsn": change.lsn,
                "time": change.time_ms.map(text::time),
                "time_ms": change.time_ms,
                "db": change.db,
                "key": json::bytes(key),
                "words": change.words.iter().map(|word| json::bytes(word)).collect::<Vec<_>>(),
                "before": sizes.map_or(Value::Null, |(before, _)| of(before)),
                "after": sizes.map_or(Value::Null, |(_, after)| of(after)),
            });
            writeln!(self.out, "{line}")?;
            return Ok(());
        }
        let mut line = format!(
            "{:>8}  {}  {:>3}  {}",
            change.lsn.map_or("-".to_owned(), |lsn| lsn.to_string()),
            change.time_ms.map_or(String::new(), text::time),
            change.db,
            self.style.strong(&text::word(change.words[0], true))
        );
        for word in &change.words[1..] {
            line.push(' ');
            line.push_str(&text::word(word, self.args.full));
        }
        if change.words.len() == 1 {
            line.push_str(&format!("  ({})", text::word(key, self.args.full)));
        }
        if let Some((before, after)) = sizes {
            line.push_str("  ");
            line.push_str(&self.style.dim(&step(before, after)));
        }
        writeln!(self.out, "{line}")?;
        Ok(())
    }
}

fn size(small: Option<&Small>, db: usize, key: &[u8]) -> Option<Size> {
    let keyspace = &small?.engine.keyspace;
    let entry = keyspace.db(db).get(keyspace.seed().key(key))?;
    let (elements, bytes) = match entry.value {
        Stored::String(bytes) => (None, bytes.len() as u64),
        Stored::Collection(view) => (Some(view.len()), filter::memory_of(&entry)),
    };
    Some(Size { kind: entry.value.kind().name(), elements, bytes })
}

/// `nothing -> 12 B`, `3 -> 4 elements, 112 B`.
fn step(before: Option<Size>, after: Option<Size>) -> String {
    let one = |size: Size| match size.elements {
        Some(elements) => format!(
            "{} of {}, {}",
            size.kind,
            text::counted(elements as u64, "element", "elements"),
            text::size(size.bytes)
        ),
        None => text::size(size.bytes),
    };
    match (before, after) {
        (None, None) => "nothing there".to_owned(),
        (None, Some(after)) => format!("new: {}", one(after)),
        (Some(before), None) => format!("gone: {}", one(before)),
        (Some(before), Some(after)) if before == after => format!("still {}", one(after)),
        (Some(before), Some(after)) => format!("{} -> {}", one(before), one(after)),
    }
}
