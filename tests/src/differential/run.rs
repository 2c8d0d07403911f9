//! Plays sequences on all targets at once and judges the replies.

use super::compare::{Differences, same};
use super::generate::{Generator, Step, show};
use super::several;
use super::shrink;
use super::target::Target;
use crate::client::{Value, decode_frame};
use std::collections::BTreeMap;
use std::io;

/// A failing sequence must fail again in one of so many further plays: else it was a clock's tick.
const RETRIES: usize = 3;
/// Targets, in order.
const NAMES: [&str; 3] = ["firn", "valkey", "redis"];
/// Steps of one sequence.
const STEPS: usize = 150;

/// Where a sequence went wrong.
#[derive(Clone, Debug)]
struct Failure {
    /// Index of the step; one behind the last for the digest.
    pub step: usize,
    /// What was answered.
    pub replies: Vec<(&'static str, String)>,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Commands compared.
    pub commands: u64,
    /// Whole SCAN walks compared.
    pub walks: u64,
    /// Transactions compared.
    pub transactions: u64,
    /// Sequences played; the data was compared after each.
    pub sequences: u64,
    /// Commands whose replies by Redis and Valkey differ: the newer one's counted.
    pub newer: BTreeMap<String, u64>,
    /// Sequences that failed once and not again.
    pub unrepeated: u64,
    /// The first real difference, shrunk, for people to read.
    pub failure: Option<String>,
}

/// Firn, Valkey and, if there is one, Redis.
pub struct Runner {
    firn: Box<dyn Target>,
    valkey: Box<dyn Target>,
    redis: Option<Box<dyn Target>>,
    /// What differs on purpose.
    pub differences: Differences,
    /// Whether commands are sent that nobody knows.
    pub unknown: bool,
}

impl Runner {
    /// A run against these.
    pub fn new(
        firn: Box<dyn Target>,
        valkey: Box<dyn Target>,
        redis: Option<Box<dyn Target>>,
        differences: Differences,
        unknown: bool,
    ) -> Runner {
        Runner { firn, valkey, redis, differences, unknown }
    }

    /// Plays sequences `seed`, `seed + 1`, ... until `commands` were compared or one fails.
    ///
    /// # Errors
    /// A connection's: a server died, or does not speak RESP.
    pub fn run(&mut self, seed: u64, commands: u64) -> io::Result<Report> {
        let mut report = Report::default();
        for seed in seed.. {
            if report.commands >= commands {
                break;
            }
            let sequence = Generator::new(seed, self.unknown).sequence(STEPS);
            let resp3 = seed % 2 == 1;
            if self.play(&sequence, resp3, &mut report)?.is_none() {
                continue;
            }
            let mut scratch = Report::default();
            let mut again = false;
            for _ in 0..RETRIES {
                again = again || self.play(&sequence, resp3, &mut scratch)?.is_some();
            }
            if !again {
                report.unrepeated += 1;
                continue;
            }
            let smallest = shrink::shrink(sequence, &mut |steps| Ok(self.play(steps, resp3, &mut scratch)?.is_some()))?;
            report.failure = Some(self.describe(seed, &smallest, resp3)?);
            break;
        }
        Ok(report)
    }

    fn describe(&mut self, seed: u64, steps: &[Step], resp3: bool) -> io::Result<String> {
        let failure = self.play(steps, resp3, &mut Report::default())?;
        let mut text =
            format!("sequence {seed}, RESP{}, shrunk to {} steps:\n", if resp3 { 3 } else { 2 }, steps.len());
        for step in steps {
            text += &format!("  > {}\n", step.show());
        }
        match failure {
            None => text += "  (the difference did not show again)\n",
            Some(failure) => {
                let place = match steps.get(failure.step) {
                    Some(step) => step.show(),
                    None => "the data at the end (DEBUG DIGEST)".to_owned(),
                };
                text += &format!("  {place}\n");
                for (name, reply) in failure.replies {
                    text += &format!("    {name:7}{reply}\n");
                }
            }
        }
        Ok(text)
    }

    /// All targets, Firn first, Valkey second.
    fn targets(&mut self) -> Vec<&mut dyn Target> {
        let mut all: Vec<&mut dyn Target> = vec![&mut *self.firn, &mut *self.valkey];
        if let Some(redis) = &mut self.redis {
            all.push(&mut **redis);
        }
        all
    }

    /// Plays one sequence from an empty keyspace; gives the first step with a difference that is not listed.
    fn play(&mut self, steps: &[Step], resp3: bool, report: &mut Report) -> io::Result<Option<Failure>> {
        for target in self.targets() {
            target.begin(resp3)?;
        }
        report.sequences += 1;
        let mut at = 0;
        while at < steps.len() {
            let end = steps[at..].iter().position(|step| !matches!(step, Step::Run(_))).map_or(steps.len(), |n| at + n);
            if let Some(failure) = self.batch(steps, at..end, report)? {
                return Ok(Some(failure));
            }
            let replies = match steps.get(end) {
                Some(Step::Walk(words)) => {
                    report.walks += 1;
                    self.walk(words)?
                }
                Some(Step::Transaction(commands)) => {
                    report.transactions += 1;
                    report.commands += commands.len() as u64 + 2;
                    self.transaction(commands)?
                }
                Some(Step::Move(words)) => {
                    report.commands += 2;
                    self.move_value(words)?
                }
                Some(Step::Run(_)) | None => None,
            };
            if let Some(replies) = replies {
                return Ok(Some(Failure { step: end, replies }));
            }
            at = end + 1;
        }
        let mut digests = Vec::new();
        for target in self.targets() {
            digests.push(target.digest()?);
        }
        if digests[0] == digests[1] {
            return Ok(None);
        }
        Ok(Some(Failure {
            step: steps.len(),
            replies: named(digests.iter().map(|digest| digest.escape_ascii().to_string())),
        }))
    }

    /// Commands in one pipeline.
    fn batch(
        &mut self,
        steps: &[Step],
        range: std::ops::Range<usize>,
        report: &mut Report,
    ) -> io::Result<Option<Failure>> {
        let commands: Vec<_> = steps[range.clone()].iter().map(Step::words).collect();
        for target in self.targets() {
            target.send(&commands)?;
        }
        let mut found = None;
        for (at, words) in range.zip(&commands) {
            let (mut replies, mut events) = (Vec::new(), Vec::new());
            for (name, target) in NAMES.into_iter().zip(self.targets()) {
                let lost = |error| io::Error::other(format!("{name} did not answer {}: {error}", show(words)));
                replies.push(target.receive().map_err(lost)?);
                events.push(target.events().map_err(lost)?);
            }
            report.commands += 1;
            if replies.get(2).is_some_and(|redis| !same(words, redis, &replies[1])) {
                *report.newer.entry(String::from_utf8_lossy(&words[0]).to_uppercase()).or_default() += 1;
            }
            if found.is_none() && !self.differences.accept(words, &replies[1], &replies[0]) {
                let replies = named(replies.iter().map(|reply| reply.escape_ascii().to_string()));
                found = Some(Failure { step: at, replies });
            }
            if found.is_none() && !self.differences.accept_events(words, &events[1], &events[0]) {
                let texts = events.iter().map(|events| format!("events {}", events.escape_ascii()));
                found = Some(Failure { step: at, replies: named(texts) });
            }
        }
        Ok(found)
    }

    /// A transaction on all targets. `Some` if what was heard differs.
    fn transaction(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<Option<Vec<(&'static str, String)>>> {
        let mut heard = Vec::new();
        for target in self.targets() {
            heard.extend(several::run_transaction(target, commands)?);
        }
        let [firn, valkey, ..] = heard.as_slice() else { return Ok(None) };
        let unlike = several::judge_transaction(&mut self.differences, commands, firn, valkey);
        Ok(unlike.map(|(firn, valkey)| named([firn, valkey].into_iter())))
    }

    /// DUMP and RESTORE on all targets. `Some` if what was heard differs.
    fn move_value(&mut self, words: &[Vec<u8>]) -> io::Result<Option<Vec<(&'static str, String)>>> {
        let mut heard = Vec::new();
        for target in self.targets() {
            heard.push(several::move_value(target, words)?);
        }
        if heard[0] == heard[1] {
            return Ok(None);
        }
        let shown = heard.iter().map(|(replies, events)| {
            let replies = replies.iter().map(|reply| reply.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
            format!("{replies} events {}", events.escape_ascii())
        });
        Ok(Some(named(shown)))
    }

    /// Walks all targets from cursor 0 to the end. `Some` if what was found differs, or if Firn returned something twice.
    fn walk(&mut self, words: &[Vec<u8>]) -> io::Result<Option<Vec<(&'static str, String)>>> {
        let mut walks = Vec::new();
        for target in self.targets() {
            walks.push(walk(target, words)?);
        }
        let mut unique = walks.clone();
        unique.iter_mut().for_each(Vec::dedup);
        if walks[0] == unique[1] {
            return Ok(None);
        }
        Ok(Some(named(walks.iter().map(|keys| show(keys)))))
    }
}

fn named(texts: impl Iterator<Item = String>) -> Vec<(&'static str, String)> {
    NAMES.into_iter().zip(texts).collect()
}

/// What a whole walk found, sorted, fields together with their values; an error reply stands for itself.
fn walk(target: &mut dyn Target, words: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
    let mut words = words.to_vec();
    let name = words[0].to_ascii_uppercase();
    let cursor = if name == b"SCAN" { 1 } else { 2 };
    let pairs =
        name == b"ZSCAN" || name == b"HSCAN" && !words.iter().any(|word| word.eq_ignore_ascii_case(b"NOVALUES"));
    let mut found = Vec::new();
    loop {
        target.send(&[words.clone()])?;
        let bytes = target.receive()?;
        target.events()?;
        let Value::Array(parts) = decode_frame(&bytes)? else { return Ok(vec![bytes]) };
        let [Value::Bulk(next), Value::Array(share)] = parts.as_slice() else { return Ok(vec![bytes]) };
        let share: Option<Vec<&[u8]>> = share.iter().map(Value::bytes).collect();
        let Some(share) = share else { return Ok(vec![bytes]) };
        found.extend(share.chunks(if pairs { 2 } else { 1 }).map(|words| words.join(&b" = "[..])));
        if next == b"0" || words.len() <= cursor {
            found.sort();
            return Ok(found);
        }
        words[cursor].clone_from(next);
    }
}
