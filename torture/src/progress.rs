//! How far a run is, on standard error: a bar on a terminal, elsewhere a line now and then.

use crate::report::counted;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a line comes where no terminal is.
const LINE: Duration = Duration::from_secs(10);

/// The progress of one server under one policy.
pub(crate) struct Progress {
    /// None where standard error is no terminal.
    bar: Option<ProgressBar>,
    title: String,
    cycles: Option<u64>,
    began: Instant,
    told: Instant,
}

impl Progress {
    pub(crate) fn new(title: String, cycles: Option<u64>) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = cycles.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let template = match cycles {
                Some(_) => "{prefix} {bar:24} {pos}/{len} {elapsed}, about {eta} more; {msg}",
                None => "{prefix} {pos} cycles, {elapsed}; {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(title.clone());
            bar
        });
        Progress { bar, title, cycles, began: Instant::now(), told: Instant::now() }
    }

    /// Before a cycle.
    pub(crate) fn tell(&mut self, done: u64, fault: &str, violations: usize) {
        let violations = counted(violations as u64, "violation");
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{fault}, {violations}"));
        } else if self.told.elapsed() >= LINE {
            self.told = Instant::now();
            let of = self.cycles.map_or(String::new(), |cycles| format!(" of {cycles}"));
            let seconds = self.began.elapsed().as_secs();
            eprintln!("torture: {}: {done}{of} cycles, {violations}, {seconds} s", self.title);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
