//! Which moment of a dataset a command is about, which keys of it, and in how much memory: one set of options for all.

use crate::ToolError;
use crate::dataset::{MEMORY_DEFAULT, StateInfo};
use crate::filter::{self, Filter, KeyArgs, ValueArgs};
use crate::moment::{self, Moment};
use crate::text;
use firn_engine::keyspace::libraries::Libraries;

/// The least that `--memory` gives.
const MEMORY_MIN: u64 = 1 << 16;

/// The options.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct StateArgs {
    /// The state right behind this LSN, or at this time, instead of the newest.
    #[arg(long, value_name = "LSN|TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) values: ValueArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
}

/// `--memory` alone.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct MemoryArgs {
    /// Memory to use, about.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

impl MemoryArgs {
    /// Bytes.
    ///
    /// # Errors
    /// [`ToolError::Usage`].
    pub(crate) fn bytes(&self) -> Result<u64, ToolError> {
        let bytes = self.memory.as_deref().map(|text| filter::parse_size("--memory", text)).transpose()?;
        Ok(bytes.unwrap_or(MEMORY_DEFAULT).max(MEMORY_MIN))
    }
}

/// What the options say.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The moment; the newest without one.
    pub(crate) to: Option<Moment>,
    /// The keys.
    pub(crate) filter: Filter,
    /// Bytes of memory.
    pub(crate) memory: u64,
}

impl Default for Choice {
    fn default() -> Choice {
        Choice { to: None, filter: Filter::default(), memory: MEMORY_DEFAULT }
    }
}

impl StateArgs {
    /// Whether they choose some keys.
    pub(crate) fn is_partial(&self) -> bool {
        let (keys, values) = (&self.keys, &self.values);
        let names = !keys.db.is_empty() || !keys.patterns.is_empty() || !keys.not_patterns.is_empty();
        names || !values.types.is_empty() || values.ttl.is_some() || values.min_bytes.is_some()
    }

    /// What they say.
    ///
    /// # Errors
    /// [`ToolError::Usage`].
    pub(crate) fn choice(&self) -> Result<Choice, ToolError> {
        let filter = Filter::new(&self.keys, &self.values)?;
        Ok(Choice { to: self.to.as_deref().map(moment::parse).transpose()?, filter, memory: self.memory.bytes()? })
    }
}

/// The libraries that belong to what was chosen: all or, with chosen keys, none.
pub(crate) fn libraries(info: &StateInfo, filter: &Filter) -> Libraries {
    if filter.wants_all_keys() { info.libraries.clone() } else { Libraries::default() }
}

/// A state's moment in words.
pub(crate) fn when(info: &StateInfo) -> String {
    match (info.lsn, info.time_ms) {
        (Some(lsn), Some(ms)) if ms > 0 => format!("LSN {lsn} ({})", text::time(ms)),
        (Some(lsn), _) => format!("LSN {lsn}"),
        (None, Some(ms)) => text::time(ms),
        (None, None) => "the end of the file".to_owned(),
    }
}
