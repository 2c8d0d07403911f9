//! The latency monitor: the worst delay of each second, by kind of event, for what took at least `latency-monitor-threshold`.
//!
//! Events: `command` and `fast-command` (by the command's flag), `aof-fsync-always` and `aof-fsync` (flushes of the log).

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

/// Samples kept of an event.
const SAMPLES_MAX: usize = 160;

/// The worst delay of one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    /// The second, since 1970.
    pub(crate) time_s: u64,
    /// The delay in ms.
    pub(crate) ms: u64,
}

/// What is known of one kind of event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// The oldest first.
    pub(crate) samples: VecDeque<Sample>,
    /// The worst ever, in ms.
    pub(crate) worst_ms: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.worst_ms = self.worst_ms.max(sample.ms);
        if let Some(last) = self.samples.back_mut()
            && last.time_s == sample.time_s
        {
            last.ms = last.ms.max(sample.ms);
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Mean of the samples, and mean distance from it, in ms.
    pub(crate) fn mean_and_deviation(&self) -> (u64, u64) {
        let count = self.samples.len().max(1) as u64;
        let mean = self.samples.iter().map(|sample| sample.ms).sum::<u64>() / count;
        let distance = self.samples.iter().map(|sample| sample.ms.abs_diff(mean)).sum::<u64>() / count;
        (mean, distance)
    }
}

/// All events.
#[derive(Debug, Default)]
pub(crate) struct Monitor(Mutex<BTreeMap<&'static str, Series>>);

impl Monitor {
    /// Notes a delay of `ms`.
    pub(crate) fn add(&self, event: &'static str, ms: u64) {
        let time_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.0.lock().entry(event).or_default().add(Sample { time_s, ms });
    }

    /// All events by name.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, Series> {
        self.0.lock().clone()
    }

    /// One event.
    pub(crate) fn get(&self, event: &[u8]) -> Option<(&'static str, Series)> {
        let events = self.0.lock();
        let found = events.iter().find(|(name, _)| name.as_bytes() == event)?;
        Some((found.0, found.1.clone()))
    }

    /// Forgets these events, or all if none is named; says how many there were.
    pub(crate) fn reset(&self, events: &[&[u8]]) -> usize {
        let mut all = self.0.lock();
        let before = all.len();
        all.retain(|name, _| {
            !events.is_empty() && !events.iter().any(|event| event.eq_ignore_ascii_case(name.as_bytes()))
        });
        before - all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_oldest_go_first() {
        let mut series = Series::default();
        for (time_s, ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            series.add(Sample { time_s, ms });
        }
        assert_eq!(series.samples, [Sample { time_s: 1, ms: 9 }, Sample { time_s: 2, ms: 3 }]);
        assert_eq!((series.worst_ms, series.mean_and_deviation()), (9, (6, 3)));
        for time_s in 3..1000 {
            series.add(Sample { time_s, ms: 1 });
        }
        assert_eq!((series.samples.len(), series.samples[0].time_s), (SAMPLES_MAX, 1000 - SAMPLES_MAX as u64));
        assert_eq!(series.worst_ms, 9);
    }

    #[test]
    fn reset_takes_names_or_all() {
        let monitor = Monitor::default();
        for event in ["command", "fast-command", "aof-fsync"] {
            monitor.add(event, 1);
        }
        assert_eq!(monitor.reset(&[b"nope"]), 0);
        assert_eq!(monitor.reset(&[b"COMMAND"]), 1);
        assert_eq!(monitor.reset(&[]), 2);
        assert!(monitor.get(b"command").is_none());
    }
}
