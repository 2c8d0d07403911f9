//! `oom-score-adj`: how soon the kernel ends the process when memory is short. There are no child processes: only the first of
//! `oom-score-adj-values` is of use.

use crate::config::Config;
use crate::config::value::Value;
use parking_lot::Mutex;

const FILE: &str = "/proc/self/oom_score_adj";

/// The process' score.
#[derive(Debug, Default)]
pub(crate) struct OomScore {
    /// The score before it was touched; `None` while it is as it was.
    before: Mutex<Option<i64>>,
}

impl OomScore {
    /// Has the score that `config` asks for.
    ///
    /// # Errors
    /// The kernel refuses: a process without privileges may only become a likelier victim.
    pub(crate) fn apply(&self, config: &Config) -> Result<(), String> {
        let mut before = self.before.lock();
        let mode = config.choice("oom-score-adj");
        let score = match (mode, *before) {
            ("no", None) => return Ok(()),
            ("no", Some(score)) => score,
            (_, known) => {
                let base = known.map_or_else(read, Ok)?;
                *before = Some(base);
                let Value::OomScores([value, ..]) = config.value("oom-score-adj-values") else {
                    unreachable!("the table says so")
                };
                if mode == "absolute" { *value } else { base + value }
            }
        };
        let score = score.clamp(-1000, 1000);
        std::fs::write(FILE, score.to_string()).map_err(|error| {
            crate::log::warning(format_args!("Unable to write {score} to {FILE}: {error}"));
            "Failed to set current oom_score_adj. Check server logs.".to_owned()
        })?;
        if mode == "no" {
            *before = None;
        }
        Ok(())
    }
}

fn read() -> Result<i64, String> {
    let text = std::fs::read_to_string(FILE).map_err(|error| format!("Unable to read oom_score_adj: {error}"))?;
    text.trim().parse().map_err(|_| format!("{FILE} holds no number"))
}
