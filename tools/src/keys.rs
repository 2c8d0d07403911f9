//! `firn inspect --keys`: the keys of any dataset's state, one a line.

use crate::dataset::{Damages, Dataset};
use crate::filter::memory_of;
use crate::inspect::InspectArgs;
use crate::moment;
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json};
use firn_engine::command::{encoding, idle_seconds};
use firn_engine::keyspace::{Entry, Value};
use serde_json::json;
use std::io::Write;

struct Lister<'a> {
    args: &'a InspectArgs,
    out: &'a mut dyn Write,
    style: Style,
    now_ms: u64,
}

impl Lister<'_> {
    fn print(&mut self, db: usize, position: u64, entry: &Entry<'_>) -> std::io::Result<()> {
        let expired = entry.deadline.is_some_and(|at| at <= self.now_ms);
        if self.args.json {
            let line = json!({
                "db": db,
                "key": json::bytes(entry.key),
                "type": entry.value.kind().name(),
                "encoding": encoding(entry),
                "value_len": entry.value.string().map(<[u8]>::len),
                "elements": elements(entry.value),
                "memory_bytes": memory_of(entry),
                "expires": entry.deadline.map(text::time),
                "expires_ms": entry.deadline,
                "expired": expired,
                "idle_s": (entry.access != 0).then(|| idle_seconds(entry, self.now_ms)),
                "position": format!("{position:016x}"),
                "value": entry.value.string().filter(|_| self.args.full).map(json::bytes),
            });
            return writeln!(self.out, "{line}");
        }
        let deadline = match entry.deadline {
            Some(at) if expired => self.style.note(&format!("  expired {}", text::time(at))),
            Some(at) => format!("  expires {}", text::time(at)),
            None => String::new(),
        };
        let details = |len: String| {
            let mut details = format!("  {len}, {}, {} in memory", encoding(entry), text::size(memory_of(entry)));
            if entry.access != 0 {
                let idle = idle_seconds(entry, self.now_ms);
                details.push_str(&format!(", idle {}", text::span(idle * 1000)));
            }
            details
        };
        let value = match entry.value {
            Value::String(value) if self.args.full => format!(" = {}", text::quoted(value, true)),
            Value::String(value) => self.style.dim(&details(format!("{} B", value.len()))),
            Value::Collection(view) => {
                self.style.dim(&details(text::counted(view.len() as u64, "element", "elements")))
            }
        };
        let kind = entry.value.kind().name();
        writeln!(self.out, "{db:>3}  {kind:<6}  {}{value}{deadline}", text::word(entry.key, self.args.full))
    }
}

/// How many elements a collection has.
fn elements(value: Value<'_>) -> Option<usize> {
    match value {
        Value::String(_) => None,
        Value::Collection(view) => Some(view.len()),
    }
}

/// Lists the keys; what is damaged is left out, and told at the end.
pub(crate) fn list(args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let dataset = Dataset::open(&args.path)?;
    let choice = args.state.choice()?;
    // A snapshot by itself is shown as far as it can be read; a store's state is all or nothing.
    let damages = if matches!(dataset, Dataset::Snapshot(_) | Dataset::Redis(_)) {
        Damages::lenient()
    } else {
        Damages::strict()
    };
    let mut lister = Lister { args, out, style: Style::for_stdout(), now_ms: moment::now_ms() };
    dataset
        .state(&choice, &damages, &mut |_| Ok(()), &mut |db, position, entry| Ok(lister.print(db, position, entry)?))?;
    let outcome = damages.outcome();
    for finding in damages.take() {
        text::tell(&format_args!("firn: {finding}"));
    }
    Ok(outcome)
}
