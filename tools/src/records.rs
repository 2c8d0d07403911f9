//! `firn inspect --records`: the log as a diary.
//!
//! A record is one line; one with several commands, which apply together, goes on in further lines that begin with `+`.

use crate::check::end_finding;
use crate::dataset::change::touched;
use crate::filter::{Filter, Span};
use crate::folder::{self, Severity};
use crate::inspect::{InspectArgs, severity_outcome};
use crate::target::unreadable;
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json};
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::StoreId;
use firn_engine::log::chain::{Link, chain};
use firn_engine::log::reader::{End, Frame, ReadFailure, Scan, SegmentReader};
use firn_engine::log::{Lsn, Record};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// How long `--follow` waits before it looks again.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

/// Prints records.
struct Diary<'a> {
    args: &'a InspectArgs,
    out: &'a mut dyn Write,
    style: Style,
    filter: Filter,
    span: Span,
    /// Records before this have been printed, or were not asked for.
    from: Lsn,
}

/// Shows the records of one segment.
pub(crate) fn of_segment(
    disk: &dyn Disk,
    name: &str,
    first: Lsn,
    epoch: u64,
    args: &InspectArgs,
    out: &mut dyn Write,
) -> Result<Outcome, ToolError> {
    let mut diary = Diary::new(args, out)?;
    let scan = diary.segment(disk, name, first, epoch, Lsn::MAX, None, args.follow, &mut || Ok(false))?;
    diary.end(name, &scan, scan.durable)
}

/// Shows the records of all segments of a folder that are part of its history, in order.
pub(crate) fn of_folder(disk: &dyn Disk, args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let mut diary = Diary::new(args, out)?;
    let mut outcome = Outcome::Fine;
    // The (epoch, first LSN) of the segment read last.
    let mut read: Option<(u64, Lsn)> = None;
    let mut durable = 0;
    let mut expected: Option<Lsn> = None;
    loop {
        let (links, names, store) = links_of(disk)?;
        let Some(at) = links.iter().position(|link| read.is_none_or(|read| (link.epoch, link.first) > read)) else {
            if !args.follow {
                return Ok(outcome);
            }
            std::thread::sleep(FOLLOW_PAUSE);
            continue;
        };
        let link = links[at];
        read = Some((link.epoch, link.first));
        // All of it lies before what was asked for.
        if links.get(at + 1).is_some_and(|next| next.first <= diary.from) {
            continue;
        }
        if let Some(expected) = expected.filter(|expected| *expected < link.first) {
            let (severity, message) = folder::gap(disk, &folder::survey(disk)?, expected, link.first);
            outcome = outcome.max(severity_outcome(severity));
            diary.say(&message, severity)?;
        }
        let name = &names[link.index];
        let follow = args.follow && at + 1 == links.len();
        let mut newer = || Ok(links_of(disk)?.0.iter().any(|it| (it.epoch, it.first) > (link.epoch, link.first)));
        let scan = diary.segment(disk, name, link.first, link.epoch, link.until, store, follow, &mut newer)?;
        durable = durable.max(scan.durable);
        expected = Some(scan.next);
        outcome = outcome.max(diary.end(name, &scan, durable)?);
    }
}

/// History's segments in order, the names they refer to, and whose they are.
type Links = (Vec<Link>, Vec<String>, Option<StoreId>);

fn links_of(disk: &dyn Disk) -> Result<Links, ToolError> {
    let survey = folder::survey(disk)?;
    let links = chain(&survey.segments.iter().map(|(first, epoch, ..)| (*first, *epoch)).collect::<Vec<_>>());
    let names = survey.segments.into_iter().map(|(_, _, name, _)| name).collect();
    Ok((links, names, survey.identity.map(|identity| identity.store)))
}

impl<'a> Diary<'a> {
    fn new(args: &'a InspectArgs, out: &'a mut dyn Write) -> Result<Self, ToolError> {
        let (filter, span) = (Filter::of_keys(&args.state.keys), Span::new(&args.moments)?);
        let from = args.since_lsn.unwrap_or(0).max(*span.lsns.start());
        Ok(Diary { args, out, style: Style::for_stdout(), filter, span, from })
    }

    fn say(&mut self, message: &str, severity: Severity) -> Result<(), ToolError> {
        if self.args.json {
            let note = if severity == Severity::Note { "note" } else { "error" };
            writeln!(self.out, "{}", json!({ note: message }))?;
        } else {
            let line = if severity == Severity::Note { self.style.note(message) } else { self.style.bad(message) };
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// What the end of a segment means.
    fn end(&mut self, name: &str, scan: &Scan, durable: Lsn) -> Result<Outcome, ToolError> {
        let Some(finding) = end_finding(name, scan, durable) else { return Ok(Outcome::Fine) };
        let at = finding.offset.unwrap_or(0);
        self.say(&format!("{name} at byte {at}: {}", finding.message), finding.severity)?;
        Ok(severity_outcome(finding.severity))
    }

    /// Prints one segment. With `follow` it waits at the end until the segment is sealed or `newer` says that another goes on.
    #[allow(clippy::too_many_arguments)] // Name, numbers and owner of one segment, and how to read it.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        first: Lsn,
        epoch: u64,
        until: Lsn,
        store: Option<StoreId>,
        follow: bool,
        newer: &mut dyn FnMut() -> Result<bool, ToolError>,
    ) -> Result<Scan, ToolError> {
        let failed = |failure: ReadFailure| {
            ToolError::Unreadable(format!("{name} at byte {}: the disk failed: {}", failure.offset, failure.source))
        };
        let file = disk.open(name, OpenMode::Read).map_err(unreadable(name))?;
        let mut reader = SegmentReader::open(&*file, first, epoch, store).map_err(failed)?.until(until);
        if !self.args.json {
            let line = format!("{name}  (epoch {epoch}; byte, LSN, time, database, command)");
            writeln!(self.out, "{}", self.style.dim(&line))?;
        }
        // Whether another segment was seen to go on; then this one is read once more to its end.
        let mut ending = false;
        loop {
            while let Some(frame) = reader.next_frame().map_err(failed)? {
                self.frame(name, &frame, until)?;
            }
            if !follow || ending {
                break;
            }
            self.out.flush()?;
            if matches!(reader.so_far().end, End::Sealed { .. }) || newer()? {
                ending = true;
            } else {
                std::thread::sleep(FOLLOW_PAUSE);
            }
            reader.refresh().map_err(failed)?;
        }
        Ok(reader.into_scan())
    }

    fn frame(&mut self, name: &str, frame: &Frame<'_>, until: Lsn) -> Result<(), ToolError> {
        let header = &frame.header;
        if !header.is_data() {
            let all = self.filter.wants_all_keys() && self.span.wants(Some(header.first), Some(header.time_ms));
            if all && header.first >= self.from {
                self.marker(name, frame)?;
            }
            return Ok(());
        }
        let mut lsn = header.first;
        for record in frame.records() {
            if lsn >= until {
                break;
            }
            match record {
                Ok(record) if lsn >= self.from && self.span.wants(Some(lsn), Some(record.time_ms)) => {
                    self.record(name, frame.offset, &record)?;
                }
                Ok(_) => {}
                Err(bad) => {
                    return Err(ToolError::Damage(format!("{name} at byte {}, LSN {lsn}: {bad}", frame.offset)));
                }
            }
            lsn += 1;
        }
        self.from = self.from.max(lsn);
        Ok(())
    }

    fn marker(&mut self, name: &str, frame: &Frame<'_>) -> Result<(), ToolError> {
        let header = &frame.header;
        if self.args.json {
            let line = json!({
                "file": name,
                "offset": frame.offset,
                "time": text::time(header.time_ms),
                "time_ms": header.time_ms,
                "durable": header.durable,
            });
            writeln!(self.out, "{line}")?;
        } else {
            let time = text::time(header.time_ms);
            let line = format!("{:>9} {:>8}  {time}      durable up to LSN {}", frame.offset, "-", header.durable);
            writeln!(self.out, "{}", self.style.dim(&line))?;
        }
        Ok(())
    }

    fn record(&mut self, name: &str, offset: u64, record: &Record<'_>) -> Result<(), ToolError> {
        let mut commands = record.commands();
        let mut words = Vec::new();
        let mut shown: Vec<Value> = Vec::new();
        let mut first = true;
        loop {
            let next = commands.next(&mut words);
            let next =
                next.map_err(|bad| ToolError::Damage(format!("{name} at byte {offset}, LSN {}: {bad}", record.lsn)))?;
            let Some(db) = next else { break };
            if !self.wanted(db, &words) {
                continue;
            }
            if self.args.json {
                shown
                    .push(json!({ "db": db, "words": words.iter().map(|word| json::bytes(word)).collect::<Vec<_>>() }));
                continue;
            }
            let lead = if first {
                format!("{offset:>9} {:>8}  {}", record.lsn, text::time(record.time_ms))
            } else {
                format!("{:>9} {:>8}  {:<24}", "", "+", "")
            };
            let mut line = format!("{lead} {db:>4}  {}", self.style.strong(&text::word(words[0], true)));
            for word in &words[1..] {
                line.push(' ');
                line.push_str(&text::word(word, self.args.full));
            }
            writeln!(self.out, "{line}")?;
            first = false;
        }
        if !shown.is_empty() {
            let line = json!({
                "file": name,
                "offset": offset,
                "lsn": record.lsn,
                "time": text::time(record.time_ms),
                "time_ms": record.time_ms,
                "commands": shown,
            });
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Whether the filters let a command through: one of its keys passes. A command on no key at all (FLUSHALL) changes every key.
    fn wanted(&self, db: usize, words: &[&[u8]]) -> bool {
        if self.filter.wants_all_keys() {
            return true;
        }
        let mut keys = Vec::new();
        let known = touched(words, &mut keys).is_some();
        self.filter.wants_db(db)
            && (!known || keys.is_empty() || keys.iter().any(|at| self.filter.wants_name(words[*at])))
    }
}
