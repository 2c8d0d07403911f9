//! The command table: every command a client can call, by the name it has here.
//!
//! 1. Commands on data (the engine's) and of the server stand in one table; what follows from a declaration is the same for both.
//! 2. `rename-command` changes only the names in this table. Effects in the log carry the names of the declarations.
//! 3. The table does not change after the start; its counters do.

use crate::acl::catalog::{Catalog, CommandId};
use crate::command::ServerCommand;
use crate::dispatch::Plan;
use crate::observe::histogram::Histogram;
use crate::observe::is_brief;
use firn_engine::command::{Command, Flags, NameIndex, Spec};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What runs a command.
#[derive(Clone, Copy)]
pub(crate) enum Runner {
    /// The engine.
    Data(&'static Command),
    /// The server.
    Server(&'static ServerCommand),
}

/// Counters of a command (INFO commandstats, latencystats).
#[derive(Debug, Default)]
pub(crate) struct CommandStats {
    /// Times it was run.
    pub(crate) calls: AtomicU64,
    /// Time it took altogether, in ns, measured as [`crate::observe::meter`] says.
    pub(crate) nanos: AtomicU64,
    /// The same, how often it took how long; made with the first call.
    histogram: OnceLock<Box<Histogram>>,
    /// Times it was refused before it ran.
    pub(crate) rejected: AtomicU64,
    /// Times it ran and answered an error.
    pub(crate) failed: AtomicU64,
}

impl CommandStats {
    /// Adds `calls` runs that took `nanos` each; `tracking` is whether the histogram is kept.
    #[inline]
    pub(crate) fn ran(&self, calls: u64, nanos: u64, tracking: bool) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        self.nanos.fetch_add(calls * nanos, Ordering::Relaxed);
        if tracking {
            self.histogram.get_or_init(Box::default).add(nanos, calls);
        }
    }

    /// How often it took how long, if it ran.
    pub(crate) fn histogram(&self) -> Option<&Histogram> {
        self.histogram.get().map(|histogram| &**histogram)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        for counter in [&self.calls, &self.nanos, &self.rejected, &self.failed] {
            counter.store(0, Ordering::Relaxed);
        }
        if let Some(histogram) = self.histogram() {
            histogram.reset();
        }
    }
}

/// A command as clients find it.
pub(crate) struct Entry {
    /// The name it is called by, in lower case.
    pub(crate) name: Box<[u8]>,
    /// Its declaration, with its original name.
    pub(crate) spec: &'static Spec,
    /// What runs it.
    pub(crate) runner: Runner,
    /// It has constant cost: in a batch it shares its time with others of the kind.
    pub(crate) brief: bool,
    /// Its own counters (of a container: calls without a known subcommand).
    pub(crate) stats: CommandStats,
    /// Its place in the catalog of users' rules; its subcommands follow.
    acl_id: CommandId,
    /// One for each of `spec.subcommands`.
    pub(crate) subcommand_stats: Box<[CommandStats]>,
}

impl Entry {
    /// A command under its own name, not run yet.
    pub(crate) fn new(spec: &'static Spec, runner: Runner) -> Entry {
        Entry {
            name: spec.name.to_ascii_lowercase().into_bytes().into(),
            spec,
            runner,
            brief: is_brief(spec),
            acl_id: 0,
            stats: CommandStats::default(),
            subcommand_stats: spec.subcommands.iter().map(|_| CommandStats::default()).collect(),
        }
    }

    /// Whether the engine runs it.
    pub(crate) fn is_data(&self) -> bool {
        matches!(self.runner, Runner::Data(_))
    }

    /// Index in `spec.subcommands` of the subcommand called `word`.
    pub(crate) fn subcommand(&self, word: &[u8]) -> Option<usize> {
        self.spec.subcommands.iter().position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(word))
    }
}

/// Why `rename-command` cannot be followed; Redis' texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RenameError {
    /// No command has the old name.
    #[error("No such command in rename-command")]
    Unknown,
    /// Another command has the new name.
    #[error("Target command name already exists")]
    Taken,
}

/// All commands by name.
pub(crate) struct Table {
    entries: Vec<Entry>,
    /// Indexes in `entries`.
    names: NameIndex<u16>,
    /// All commands by their own names, those without a name here as well.
    catalog: Catalog,
}

impl Table {
    /// The table of these commands, after `renames` (old and new name; an empty new name removes).
    pub(crate) fn new(
        data: impl IntoIterator<Item = &'static Command>,
        server: impl IntoIterator<Item = &'static ServerCommand>,
        renames: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Table, RenameError> {
        let data = data.into_iter().map(|command| (&command.spec, Runner::Data(command)));
        let server = server.into_iter().map(|command| (&command.spec, Runner::Server(command)));
        let mut entries: Vec<Entry> = data
            .chain(server)
            .filter(|(spec, _)| !spec.flags.has(Flags::INTERNAL))
            .map(|(spec, runner)| Entry::new(spec, runner))
            .collect();
        let catalog = Catalog::new(entries.iter().map(|entry| entry.spec));
        for entry in &mut entries {
            entry.acl_id = catalog.find(&entry.name).expect("the catalog has every command");
        }
        for (old, new) in renames {
            let at =
                entries.iter().position(|entry| entry.name.eq_ignore_ascii_case(old)).ok_or(RenameError::Unknown)?;
            if new.is_empty() {
                entries.remove(at);
            } else if entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(new)) {
                return Err(RenameError::Taken);
            } else {
                entries[at].name = new.to_ascii_lowercase().into();
            }
        }
        let names = NameIndex::new(entries.iter().enumerate().map(|(at, entry)| (&entry.name[..], at as u16)));
        Ok(Table { entries, names, catalog })
    }

    /// Index of the command called `name`, in any case of letters.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.names.find(name).map(usize::from)
    }

    /// The name behind a number of `ClientInfo::last_command`, as CLIENT LIST shows it.
    pub(crate) fn name_of(&self, number: u32) -> String {
        let Some(entry) = (number & 0xffff).checked_sub(1).map(|at| self.entry(at as usize)) else {
            return "NULL".into();
        };
        let mut name = entry.spec.name.to_ascii_lowercase();
        if let Some(at) = (number >> 16).checked_sub(1) {
            name.push('|');
            name.push_str(&entry.spec.subcommands[at as usize].name.to_ascii_lowercase());
        }
        name
    }

    /// The counters behind a number of `ClientInfo::last_command`.
    pub(crate) fn stats_of(&self, number: u32) -> Option<&CommandStats> {
        let entry = self.entry((number & 0xffff).checked_sub(1)? as usize);
        match (number >> 16).checked_sub(1) {
            None => Some(&entry.stats),
            Some(sub) => entry.subcommand_stats.get(sub as usize),
        }
    }

    /// Entry `at`.
    #[inline]
    pub(crate) fn entry(&self, at: usize) -> &Entry {
        &self.entries[at]
    }

    /// All commands as users' rules name them.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The catalog's id of a planned command.
    pub(crate) fn acl_id(&self, plan: &Plan) -> CommandId {
        self.entry(plan.entry).acl_id + plan.subcommand.map_or(0, |at| at as CommandId + 1)
    }

    /// All of them.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
