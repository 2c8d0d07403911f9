//! Damage at rest: every bit flipped, every length, every sector and page zeroed, stale or swapped, every file missing or replaced by
//! an older copy. Each is detected, or does no harm: never a wrong value, never a promised record lost without a word.

use crate::history::History;
use crate::judge::check;
use crate::workload::{Plan, play, settle};
use crate::world::{START_MS, Sink, World, chain, options};
use crate::{counted, say};
use firn_engine::disk::sim::{DiskState, SimDisk};
use firn_engine::format::{FileName, HEADER_LEN};
use firn_engine::log::Lsn;
use firn_engine::store::{ManualClock, Options, Store, SyncPolicy};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A store at rest, all of it promised.
struct AtRest {
    state: DiskState,
    history: History,
    last: Lsn,
    now_ms: u64,
    /// Earlier contents of its files, oldest first.
    older: BTreeMap<String, Vec<Vec<u8>>>,
    how: Rest,
}

#[derive(Default)]
struct Count {
    tried: AtomicU64,
    refused: AtomicU64,
    harmless: AtomicU64,
    /// Cut back to an earlier moment of the store: no file says that there was more.
    earlier: AtomicU64,
}

/// How the store came to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    /// Closed.
    Closed,
    /// In the middle of its run.
    Open,
    /// Killed, opened again, written to, and then closed: the newest segment is the one that the open began.
    Reopened,
}

fn at_rest(seed: u64, rest: Rest) -> AtRest {
    let sink: Sink = Arc::new(Mutex::new(Vec::new()));
    let mut world = World::new(SyncPolicy::Always, Some(sink.clone()), |_: &mut Options| {});
    world.open().unwrap();
    let plan = Plan { snapshots: 0, opens: 0, steps: 25, ..Plan::mixed(seed) };
    play(&mut world, &plan);
    for part in 0..2 {
        world.step_until_snapshot().unwrap();
        play(&mut world, &Plan { seed: seed + 100 + part, ..plan });
        if part == 0 {
            world.kill();
            world.open().unwrap();
        }
    }
    settle(&mut world);
    if rest == Rest::Reopened {
        world.kill();
        world.open().unwrap();
        play(&mut world, &Plan { seed: seed + 200, steps: 6, ..plan });
        settle(&mut world);
    }
    let closed = rest != Rest::Open;
    let mut older: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for moment in sink.lock().iter() {
        for name in moment.state.names() {
            let bytes = moment.state.bytes(name).unwrap();
            let versions = older.entry(name.to_owned()).or_default();
            if versions.last().is_none_or(|last| last != bytes) {
                versions.push(bytes.to_vec());
            }
        }
    }
    let (history, last) = (world.history(), world.promise().last);
    if closed {
        world.close().unwrap();
    }
    let mut state = world.disk.state().kill();
    // At rest everything is durable; what is not promised is not damaged here either.
    for name in state.names().map(str::to_owned).collect::<Vec<_>>() {
        state.edit(&name, |_| {});
    }
    let now_ms = firn_engine::store::Clock::unix_ms(&*world.clock);
    AtRest { state, history, last, now_ms, older, how: rest }
}

enum Verdict {
    Refused,
    Whole,
    Earlier(Lsn),
}

impl AtRest {
    fn open(&self, state: DiskState) -> (Result<Store, String>, SimDisk) {
        let disk = SimDisk::from_state(state);
        let clock = Arc::new(ManualClock::new(self.now_ms.max(START_MS)));
        let opened = Store::open(Arc::new(disk.clone()), &options(SyncPolicy::Always, &clock));
        (opened.map_err(|error| chain(&error)), disk)
    }

    /// Opens a damaged store. `Err` is a wrong value, or a file that was destroyed by a refusal.
    fn try_damaged(&self, damaged: &DiskState) -> Result<Verdict, String> {
        let (opened, disk) = self.open(damaged.clone());
        let store = match opened {
            Ok(store) => store,
            Err(text) => {
                // What could not be read is still there, byte for byte, perhaps under another name.
                let left = disk.state();
                for name in damaged.names() {
                    let bytes = damaged.bytes(name);
                    if !name.ends_with(".tmp") && !left.names().any(|other| left.bytes(other) == bytes) {
                        return Err(format!("refused ({text}), and {name} is gone or changed"));
                    }
                }
                return Ok(Verdict::Refused);
            }
        };
        let lsn = check(&store, &self.history, 0, self.last)?;
        Ok(if lsn == self.last { Verdict::Whole } else { Verdict::Earlier(lsn) })
    }

    /// Whether losing the end of this file is the same as an earlier moment of the whole store: nothing else was written later.
    fn is_newest_segment(&self, name: &str) -> bool {
        let newest =
            self.state.names().filter(|name| matches!(FileName::parse(name), FileName::Segment { .. })).max_by_key(
                |name| match FileName::parse(name) {
                    FileName::Segment { first, epoch } => (epoch, first),
                    _ => unreachable!(),
                },
            );
        newest == Some(name)
    }

    fn names(&self) -> Vec<String> {
        self.state.names().map(str::to_owned).collect()
    }
}

/// One kind of damage: what it is called, what it does, and whether it can make the store as it was at an earlier moment.
struct Damage {
    what: String,
    state: DiskState,
    may_be_earlier: bool,
}

fn judge(rest: &AtRest, count: &Count, damages: &(dyn Fn(usize) -> Option<Damage> + Sync)) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(damage) = damages(next.fetch_add(1, Relaxed)) {
                    count.tried.fetch_add(1, Relaxed);
                    let what = damage.what;
                    match rest.try_damaged(&damage.state) {
                        Ok(Verdict::Refused) => drop(count.refused.fetch_add(1, Relaxed)),
                        Ok(Verdict::Whole) => drop(count.harmless.fetch_add(1, Relaxed)),
                        Ok(Verdict::Earlier(_)) if damage.may_be_earlier => drop(count.earlier.fetch_add(1, Relaxed)),
                        Ok(Verdict::Earlier(lsn)) => {
                            failures.lock().push(format!(
                                "{what}: records {} to {} lost without a word",
                                lsn + 1,
                                rest.last
                            ));
                        }
                        Err(text) => failures.lock().push(format!("{what}: {text}")),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    assert!(
        failures.is_empty(),
        "{} kinds of damage pass (at rest: {:?}), the first:\n{}",
        failures.len(),
        rest.how,
        failures[..failures.len().min(12)].join("\n")
    );
}

fn report(name: &str, count: &Count) {
    let load = |number: &AtomicU64| number.load(Relaxed);
    counted(load(&count.tried), name);
    say(&format!(
        "{} {name}: {} refused, {} without harm, {} the same as an earlier moment of the whole store",
        load(&count.tried),
        load(&count.refused),
        load(&count.harmless),
        load(&count.earlier)
    ));
}

#[test]
fn every_flipped_bit_of_every_file_is_seen_or_harmless() {
    let count = Count::default();
    for how in [Rest::Closed, Rest::Open] {
        let rest = at_rest(3, how);
        let bits: Vec<(String, usize)> = rest
            .names()
            .into_iter()
            .flat_map(|name| {
                (0..rest.state.bytes(&name).unwrap().len() * 8).map(move |bit| (name.clone(), bit)).collect::<Vec<_>>()
            })
            .collect();
        judge(&rest, &count, &|index| {
            let (name, bit) = bits.get(index)?;
            let mut state = rest.state.clone();
            state.edit(name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            Some(Damage { what: format!("bit {bit} of {name}"), state, may_be_earlier: false })
        });
    }
    report("flipped bits", &count);
}

#[test]
fn every_length_of_every_file_is_seen_or_harmless() {
    let count = Count::default();
    for how in [Rest::Closed, Rest::Open] {
        let rest = at_rest(3, how);
        let cuts: Vec<(String, usize)> = rest
            .names()
            .into_iter()
            .flat_map(|name| {
                (0..rest.state.bytes(&name).unwrap().len()).map(move |len| (name.clone(), len)).collect::<Vec<_>>()
            })
            .collect();
        judge(&rest, &count, &|index| {
            let (name, len) = cuts.get(index)?;
            let mut state = rest.state.clone();
            state.edit(name, |bytes| bytes.truncate(*len));
            Some(Damage {
                what: format!("{name} cut to {len} bytes"),
                state,
                may_be_earlier: *len >= HEADER_LEN && rest.is_newest_segment(name),
            })
        });
    }
    report("cut files", &count);
}

#[test]
fn every_zeroed_swapped_or_stale_sector_is_seen_or_harmless() {
    let count = Count::default();
    for how in [Rest::Closed, Rest::Open] {
        let rest = at_rest(3, how);
        let mut damages = Vec::new();
        for name in rest.names() {
            let bytes = rest.state.bytes(&name).unwrap().to_vec();
            let newest = rest.is_newest_segment(&name);
            let mut add = |what: String, changed: Vec<u8>, may_be_earlier: bool| {
                if changed != bytes {
                    damages.push((format!("{name}: {what}"), name.clone(), changed, may_be_earlier));
                }
            };
            for unit in [512, 4096] {
                let parts = bytes.len().div_ceil(unit);
                let range = |part: usize| part * unit..((part + 1) * unit).min(bytes.len());
                for part in 0..parts {
                    let mut changed = bytes.clone();
                    changed[range(part)].fill(0);
                    add(format!("{unit} bytes zeroed at {}", part * unit), changed, newest);
                    for other in part + 1..parts {
                        let mut changed = bytes.clone();
                        let (one, two) = (range(part), range(other));
                        let len = one.len().min(two.len());
                        changed[one.start..one.start + len].copy_from_slice(&bytes[two.start..two.start + len]);
                        changed[two.start..two.start + len].copy_from_slice(&bytes[one.start..one.start + len]);
                        add(format!("{unit} bytes swapped at {} and {}", part * unit, other * unit), changed, newest);
                    }
                    for (age, older) in rest.older[&name].iter().enumerate() {
                        let mut changed = bytes.clone();
                        let range = range(part);
                        for at in range.clone() {
                            changed[at] = older.get(at).copied().unwrap_or(0);
                        }
                        add(format!("{unit} bytes stale (version {age}) at {}", range.start), changed, newest);
                    }
                }
            }
        }
        judge(&rest, &count, &|index| {
            let (what, name, bytes, may_be_earlier) = damages.get(index)?;
            let mut state = rest.state.clone();
            state.put(name, bytes.clone());
            Some(Damage { what: what.clone(), state, may_be_earlier: *may_be_earlier })
        });
    }
    report("zeroed, swapped and stale sectors and pages", &count);
}

#[test]
fn every_missing_or_older_file_is_seen_or_harmless() {
    let count = Count::default();
    for how in [Rest::Closed, Rest::Open, Rest::Reopened] {
        let rest = at_rest(3, how);
        let mut damages = Vec::new();
        for name in rest.names() {
            let mut state = rest.state.clone();
            state.erase(&name);
            damages.push((format!("{name} is missing"), state, false));
            for (age, older) in rest.older[&name].iter().enumerate() {
                if rest.state.bytes(&name).unwrap() != older {
                    let mut state = rest.state.clone();
                    state.put(&name, older.clone());
                    damages.push((
                        format!("{name} is as it was (version {age})"),
                        state,
                        rest.is_newest_segment(&name),
                    ));
                }
            }
            for other in rest.names() {
                if other != name {
                    let mut state = rest.state.clone();
                    state.put(&name, rest.state.bytes(&other).unwrap().to_vec());
                    damages.push((format!("{name} holds what {other} should"), state, false));
                }
            }
        }
        let mut state = rest.state.clone();
        for name in rest.names().iter().filter(|name| name.ends_with(".seg")) {
            state.erase(name);
        }
        damages.push(("every segment is missing".to_owned(), state, false));
        let damages: Vec<_> = damages;
        judge(&rest, &count, &|index| {
            let (what, state, may_be_earlier) = damages.get(index)?;
            Some(Damage { what: what.clone(), state: state.clone(), may_be_earlier: *may_be_earlier })
        });
    }
    report("missing, older and exchanged files", &count);
}
