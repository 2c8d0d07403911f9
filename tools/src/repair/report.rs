//! What a repair has made, and what it has not: as text, and as JSON.

use super::patched::{Patch, Shift};
use super::{RepairArgs, Stretch, when};
use crate::dataset::redis::STRAY;
use crate::dataset::{StateInfo, Unnamed};
use crate::filter::Filter;
use crate::folder::{Finding, Severity};
use crate::text::{self, Style};
use crate::{ToolError, json};
use firn_engine::log::Lsn;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// What was made, and what was not, whatever kind of files it was.
pub(super) struct Report<'a> {
    pub(super) args: &'a RepairArgs,
    pub(super) patches: Vec<Patch>,
    /// Where bytes are missing, or too many.
    pub(super) shifts: Vec<(String, Shift)>,
    /// What is wrong with the list of files, which was made again.
    pub(super) made_again: Vec<Finding>,
    /// Tails of which nobody was promised anything.
    pub(super) cut_off: Vec<Finding>,
    pub(super) findings: Vec<Finding>,
    pub(super) lost_keys: BTreeSet<Vec<u8>>,
    /// What else may be lost.
    pub(super) unnamed: Unnamed,
    pub(super) stretches: Vec<Stretch>,
    pub(super) aside: PathBuf,
    pub(super) info: StateInfo,
    pub(super) entries: u64,
    pub(super) covered: Lsn,
    /// The form, if it is another than a store.
    pub(super) other_form: bool,
}

impl<'a> Report<'a> {
    /// Of nothing so far.
    pub(super) fn new(args: &'a RepairArgs) -> Self {
        Report {
            args,
            patches: Vec::new(),
            shifts: Vec::new(),
            made_again: Vec::new(),
            cut_off: Vec::new(),
            unnamed: Unnamed::default(),
            findings: Vec::new(),
            lost_keys: BTreeSet::new(),
            stretches: Vec::new(),
            aside: args.set_aside(),
            info: StateInfo::default(),
            entries: 0,
            covered: 0,
            other_form: false,
        }
    }

    /// Names keys that were lost, if they were to be in the copy: of what database and type they were, damage does not tell.
    pub(super) fn lose(&mut self, keys: impl IntoIterator<Item = Vec<u8>>, filter: &Filter) {
        self.lost_keys.extend(keys.into_iter().filter(|key| filter.wants_name(key)));
    }

    /// Whether a tail is missing: what it held further on nobody knows.
    fn lacks_a_tail(&self) -> bool {
        self.cut_off.iter().any(|finding| !finding.message.ends_with(STRAY))
    }

    /// How many parts could not be read.
    pub(super) fn losses(&self) -> u64 {
        self.findings.iter().filter(|finding| finding.severity != Severity::Note).count() as u64
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let losses = self.losses();
        if self.args.json {
            let findings: Vec<Value> = self
                .findings
                .iter()
                .chain(&self.cut_off)
                .map(|it| {
                    json!({ "file": it.file, "offset": it.offset, "lsn": it.lsn, "message": it.message, "loss": it.severity != Severity::Note })
                })
                .collect();
            let mended: Vec<Value> = self
                .patches
                .iter()
                .map(|it| json!({ "file": it.file, "offset": it.offset, "was": it.was, "byte": it.byte, "part_of": it.what }))
                .collect();
            let facts = json!({
                "output": self.args.output.display().to_string(),
                "lsn": self.info.lsn,
                "entries": self.entries,
                "snapshot_lsn": self.covered,
                "mended": mended,
                "left_out": findings,
                "made_again": self.made_again.iter().map(|it| json!({ "file": it.file, "message": it.message })).collect::<Vec<_>>(),
                "shifted": self.shifts.iter()
                    .map(|(file, it)| json!({ "file": file, "offset": it.at, "missing": it.by.max(0), "added": (-it.by).max(0) }))
                    .collect::<Vec<_>>(),
                "names_complete": self.unnamed.none() && !self.lacks_a_tail(),
                "unnamed_keys": self.unnamed.about,
                "lost_keys": self.lost_keys.iter().map(|key| json::bytes(key)).collect::<Vec<_>>(),
                "set_aside": self.stretches.iter()
                    .map(|it| json!({ "file": it.file, "from": it.from, "to": it.to }))
                    .collect::<Vec<_>>(),
                "set_aside_in": (!self.stretches.is_empty()).then(|| self.aside.display().to_string()),
            });
            writeln!(out, "{facts}")?;
            return Ok(());
        }
        let style = Style::for_stdout();
        let mut headers = BTreeSet::new();
        for patch in &self.patches {
            if patch.what.contains("made again") {
                if headers.insert(&patch.file) {
                    writeln!(out, "{} {}: {}", style.good("mended  "), patch.file, patch.what.trim_end_matches(','))?;
                }
                continue;
            }
            let line = format!(
                "{} at byte {}: {:#04x} was {:#04x} before it was changed ({} fits its checksum again)",
                patch.file, patch.offset, patch.was, patch.byte, patch.what
            );
            writeln!(out, "{} {line}", style.good("mended  "))?;
        }
        for (file, shift) in &self.shifts {
            writeln!(
                out,
                "{} {file}: {shift}; what follows is read all the same (and told as if that were right)",
                style.good("shifted ")
            )?;
        }
        for finding in &self.made_again {
            writeln!(out, "{} {finding}", style.good("list    "))?;
        }
        for finding in &self.cut_off {
            writeln!(out, "{} {finding}", style.note("cut off "))?;
        }
        for finding in &self.findings {
            let label = if finding.severity == Severity::Note { style.note("note    ") } else { style.bad("left out") };
            writeln!(out, "{label} {finding}")?;
        }
        if !self.lost_keys.is_empty() {
            writeln!(out, "Keys that this may have changed or lost:")?;
            for key in self.lost_keys.iter().take(50) {
                writeln!(out, "  {}", text::word(key, true))?;
            }
            if self.lost_keys.len() > 50 {
                writeln!(out, "  and {} more (--json names them)", text::count(self.lost_keys.len() as u64 - 50))?;
            }
        }
        match (self.unnamed.about, self.unnamed.perhaps) {
            (0, false) => {}
            (0, true) => writeln!(
                out,
                "Whether these are all, and read as they were, nothing tells: names may be missing where bytes are."
            )?,
            (about, perhaps) => {
                let (keys, names) =
                    (text::counted(about, "key", "keys"), if about == 1 { "its name" } else { "their names" });
                let more = if perhaps { "; perhaps there are others" } else { "" };
                writeln!(out, "About {keys} more may be lost, and nothing that can be read tells {names}{more}.")?;
            }
        }
        if !self.stretches.is_empty() {
            writeln!(out, "The damaged bytes are in {}.", self.aside.display())?;
        }
        let moment = if self.info.lsn.is_some() { format!(" as of {}", when(&self.info)) } else { String::new() };
        writeln!(
            out,
            "Made {} with {}{moment}{}. {}",
            self.args.output.display(),
            text::counted(self.entries, "key", "keys"),
            if self.other_form { "" } else { ", read back whole" },
            match losses {
                0 if !self.made_again.is_empty() => style.good("Nothing was lost of the files that are there."),
                0 if self.cut_off.is_empty() && self.stretches.is_empty() => style.good("Nothing was lost."),
                0 if self.cut_off.is_empty() => style.good("No key was lost."),
                0 if self.lacks_a_tail() => style.good(
                    "Nothing was lost but a tail that was torn off, or never written; what else was in it, nothing tells.",
                ),
                0 => style.good("Nothing was lost."),
                losses => style.bad(&format!("{} could not be read.", text::counted(losses, "part", "parts"))),
            }
        )?;
        Ok(())
    }
}
