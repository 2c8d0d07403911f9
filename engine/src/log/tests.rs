//! The log as a whole, on the simulated disk: whatever crashes or fails, what is recovered is an exact prefix of history that
//! holds everything that was promised, and nothing is refused.

use super::segment::{Identity, NewEpoch, SegmentBuilder};
use super::*;
use crate::disk::chooser::Chooser;
use crate::disk::sim::{CallKind, CrashRules, DiskState, Effect, Errno, Fault, SimDisk};
use crate::disk::{Disk, OpenMode};
use crate::format::{FileName, HEADER_LEN, StoreId};
use crate::key::HashSeed;
use crate::limits::LOG_RETRY_MS;
use crate::log::chain::{chain, needed};
use crate::log::reader::{End, SegmentReader};
use crate::recovery::judge::{Found, Plan, SegmentFound, Verdict, Why, judge};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const IDENTITY: Identity = Identity { store: StoreId([9; 16]), hash_seed: HashSeed([3; 16]) };

fn options(policy: SyncPolicy) -> LogOptions {
    LogOptions { policy, segment_len: 1024, reserve_len: 1024, compress: true }
}

/// Names of segments, with first LSN and epoch.
fn segments(disk: &SimDisk) -> Vec<(Lsn, u64, String)> {
    let names = disk.list().unwrap().into_iter().map(|entry| entry.name);
    names
        .filter_map(|name| match FileName::parse(&name) {
            FileName::Segment { first, epoch } => Some((first, epoch, name)),
            _ => None,
        })
        .collect()
}

/// Reads and judges what is on the disk.
fn look(disk: &SimDisk) -> (Vec<SegmentFound>, Verdict) {
    let names = segments(disk);
    let links = chain(&names.iter().map(|(first, epoch, _)| (*first, *epoch)).collect::<Vec<_>>());
    let found: Vec<_> = needed(&links, None)
        .iter()
        .map(|link| {
            let name = names[link.index].2.clone();
            let file = disk.open(&name, OpenMode::Read).unwrap();
            file.drop_cache().unwrap();
            let scan = SegmentReader::open(&*file, link.first, link.epoch, Some(IDENTITY.store))
                .and_then(|reader| reader.until(link.until).scan());
            SegmentFound { name, first: link.first, epoch: link.epoch, scan }
        })
        .collect();
    let found = Found { segments: found, identity: true, ..Found::default() };
    let verdict = judge(&found);
    (found.segments, verdict)
}

/// Every record of the plan, checked to be the one that was written under its LSN; those from `from` on are handed to `copy`.
fn replay(disk: &SimDisk, found: &[SegmentFound], plan: &Plan, mut copy: impl FnMut(Record<'_>)) -> Lsn {
    let mut next = 1;
    for part in &plan.replay {
        let segment = &found[part.segment];
        let file = disk.open(&segment.name, OpenMode::Read).unwrap();
        let mut reader = SegmentReader::open(&*file, segment.first, segment.epoch, Some(IDENTITY.store)).unwrap();
        while let Some(frame) = reader.next_frame().unwrap() {
            for record in frame.records() {
                let record = record.unwrap();
                if !(part.from..=part.to).contains(&record.lsn) {
                    continue;
                }
                assert_eq!(record.lsn, next, "no gap, nothing twice");
                let mut words = Vec::new();
                record.commands().next(&mut words).unwrap();
                assert_eq!(words[..2], [b"SET", record.lsn.to_string().as_bytes()], "the record that was written");
                copy(record);
                next += 1;
            }
        }
    }
    assert_eq!(next, plan.next);
    next - 1
}

fn remake(records: &mut Effects, record: Record<'_>) {
    let (mut commands, mut words) = (record.commands(), Vec::new());
    while let Some(db) = commands.next(&mut words).unwrap() {
        records.push(record.time_ms, db, &words);
    }
    records.finish();
}

/// Opens what is on the disk, as a store would; gives the LSN of the state and the log.
fn open(disk: &SimDisk, policy: SyncPolicy, now: Now) -> (Lsn, Log) {
    for entry in disk.list().unwrap() {
        if let FileName::Temporary(_) = FileName::parse(&entry.name) {
            disk.remove(&entry.name).unwrap();
        }
    }
    let epoch = 1 + segments(disk).iter().map(|(_, epoch, _)| *epoch).max().unwrap_or(0);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let fresh = segments(disk).is_empty();
    let (found, verdict) =
        if fresh { (Vec::new(), Verdict::Open(Plan { next: 1, copy_from: 1, ..Plan::default() })) } else { look(disk) };
    let plan = match verdict {
        Verdict::Open(plan) => plan,
        Verdict::Refuse(refusal) => panic!("refused without need: {refusal}"),
    };
    let mut tail = Effects::new(plan.copy_from);
    let last = replay(disk, &found, &plan, |record| {
        if record.lsn >= plan.copy_from {
            remake(&mut tail, record);
        }
    });
    let new =
        NewEpoch { epoch, first: plan.copy_from, next: plan.next, unanchored: plan.unanchored, unix_ms: now.unix_ms };
    let mut builder = SegmentBuilder::create(Arc::clone(&shared), IDENTITY, new).unwrap();
    if let Some(group) = tail.take(Vec::new()) {
        builder.push_records(group.payload(), group.first, group.count, group.base_ms).unwrap();
    }
    (last, Log::start(shared, IDENTITY, options(policy), builder.finish().unwrap(), now).unwrap())
}

/// A store that does nothing but log, driven by picks.
struct Driver {
    log: Log,
    effects: Effects,
    now: Now,
    spare: Vec<u8>,
}

impl Driver {
    fn new(disk: &SimDisk, policy: SyncPolicy) -> Driver {
        let now = Now { mono_ms: 5, unix_ms: 1_000_005 };
        let (last, log) = open(disk, policy, now);
        Driver { log, effects: Effects::new(last + 1), now, spare: Vec::new() }
    }

    fn wait(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
    }

    /// Adds records that name their own LSN, and writes them as one group.
    fn write(&mut self, records: u32, len: usize) {
        for _ in 0..records {
            let lsn = (self.effects.last() + 1).to_string();
            let mut noise = Chooser::seeded(self.effects.last());
            let value: Vec<u8> = (0..len).map(|_| noise.choose(256) as u8).collect();
            self.effects.push(self.now.unix_ms, 0, &[b"SET", lsn.as_bytes(), &value]);
            self.effects.finish();
        }
        if let Some(group) = self.effects.take(std::mem::take(&mut self.spare)) {
            self.spare = self.log.write(group, self.now);
        }
    }

    fn sync(&mut self) {
        if let Some(ticket) = self.log.begin_sync(self.now) {
            let done = ticket.run();
            self.log.finish_sync(done, self.now);
        }
    }

    fn rescue(&mut self) {
        if let Some(rescue) = self.log.begin_rescue(self.now) {
            let done = rescue.run();
            self.log.finish_rescue(done, self.now);
        }
    }

    /// What the threads of a store would do now.
    fn due(&mut self) {
        if self.log.sync_due(self.now) {
            self.sync();
        }
        self.rescue();
        self.log.tick(self.now);
    }

    /// One random step.
    fn step(&mut self, chooser: &mut Chooser) {
        match chooser.choose(12) {
            0..=3 => self.write(1 + chooser.choose(3), [0, 10, 40, 300, 2000][chooser.choose(5) as usize]),
            4..=5 => self.due(),
            6 => {
                // Groups are written while the flush runs, or between its end and the news of it.
                if let Some(ticket) = self.log.begin_sync(self.now) {
                    self.write(1, 30);
                    let done = ticket.run();
                    self.write(1, 200);
                    self.log.finish_sync(done, self.now);
                }
            }
            7 => {
                if let Some(rescue) = self.log.begin_rescue(self.now) {
                    self.write(1, 30);
                    let done = rescue.run();
                    self.write(1, 30);
                    self.log.finish_rescue(done, self.now);
                }
            }
            8 => self.wait([1, 50, 900, 2500][chooser.choose(4) as usize]),
            9 => {
                if let Some(mut prepare) = self.log.prepare() {
                    while matches!(prepare.step(), Ok(false)) {}
                    self.log.finish_prepare(prepare);
                }
            }
            10 => {
                self.log.fill_ahead();
            }
            _ => self.log.end_segment(self.now),
        }
    }
}

/// The disk after a crash holds what was promised, opens, and opens again to the same state.
fn check_crash(state: &DiskState, chooser: &mut Chooser, rules: &CrashRules, durable: Lsn, written: Lsn) {
    let disk = SimDisk::from_state(state.crash(chooser, rules));
    let (last, log) = open(&disk, SyncPolicy::Always, Now::default());
    assert!(last >= durable, "records {} to {durable} were durable", last + 1);
    assert!(last <= written, "nothing is recovered that was not written");
    drop(log);
    let again = SimDisk::from_state(disk.state().crash(chooser, rules));
    assert_eq!(open(&again, SyncPolicy::Never, Now::default()).0, last, "opening twice gives the same state");
}

/// Runs steps with faults, and lets the power fail before every call that matters.
fn torture(seed: u64, steps: u32, faults: impl IntoIterator<Item = Fault>, capacity: Option<u64>) -> u64 {
    let disk = SimDisk::new();
    let policies = [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never];
    let mut driver = Driver::new(&disk, policies[(seed % 3) as usize]);
    disk.set_faults(faults);
    disk.set_capacity(capacity);
    let states = Arc::new(AtomicU64::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let (progress, counted, newest) = (driver.log.progress(), Arc::clone(&states), Arc::clone(&last));
    let mut crashes = Chooser::seeded(seed ^ 0xc4a5);
    disk.observe(move |call, state| {
        if call.kind.changes() {
            let rules =
                CrashRules { scatter: crashes.once_in(2), garbage: crashes.once_in(2), ..CrashRules::default() };
            check_crash(state, &mut crashes, &rules, progress.durable(), newest.load(Ordering::Relaxed));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut chooser = Chooser::seeded(seed);
    for _ in 0..steps {
        // Every record of the coming step may be on the device before the step ends.
        last.store(driver.effects.last() + 6, Ordering::Relaxed);
        driver.step(&mut chooser);
        let killed = SimDisk::from_state(disk.state().kill());
        if matches!(driver.log.state(), LogState::Running) && disk.fault_hits() == 0 {
            let recovered = open(&killed, SyncPolicy::Always, Now::default()).0;
            assert!(recovered >= driver.log.progress().written(), "written to the kernel survives the process");
        }
    }
    disk.unobserve();
    disk.set_faults([]);
    disk.set_capacity(None);
    // The fault has ended: everything becomes durable by itself.
    for _ in 0..40 {
        driver.wait(1000);
        driver.due();
        driver.sync();
    }
    assert_eq!((driver.log.state(), driver.log.progress().accepts()), (LogState::Running, Accepts::All));
    driver.write(1, 10);
    driver.sync();
    let all = driver.effects.last();
    assert_eq!(driver.log.progress().durable(), all);
    assert_eq!(driver.log.retained_bytes(), 0);
    check_crash(&disk.state(), &mut Chooser::seeded(seed), &CrashRules::default(), all, all);
    driver.log.close(driver.now).unwrap();
    check_crash(&disk.state(), &mut Chooser::seeded(seed), &CrashRules::default(), all, all);
    states.load(Ordering::Relaxed)
}

#[test]
fn power_cuts_at_every_call_keep_what_is_durable() {
    let states: u64 = (0..60).map(|seed| torture(seed, 60, [], None)).sum();
    assert!(states > 2000, "{states} crash states");
}

#[test]
fn one_failed_call_at_any_point_and_a_power_cut_later_lose_nothing() {
    for seed in 0..150u64 {
        let mut chooser = Chooser::seeded(seed ^ 0xfa17);
        let errno = if chooser.once_in(2) { Errno::IO } else { Errno::NOSPC };
        let effect = match chooser.choose(4) {
            0 => Effect::Error(errno),
            1 => Effect::ErrorAfter(errno),
            2 => Effect::ErrorPartly(errno, seed),
            _ => Effect::Short(1 + chooser.choose(40) as usize),
        };
        torture(seed, 50, [Fault::nth(1 + u64::from(chooser.choose(60)), effect)], None);
    }
}

#[test]
fn failing_flushes_writes_and_folders_lose_nothing() {
    for seed in 0..90u64 {
        let kind =
            [CallKind::Sync, CallKind::SyncDir, CallKind::Write, CallKind::Rename, CallKind::Open][(seed % 5) as usize];
        let from = 1 + seed / 5;
        let faults = (0..4).map(|step| Fault::nth(from + 3 * step, Effect::ErrorPartly(Errno::IO, seed)).of(kind));
        torture(seed, 50, faults, None);
    }
}

#[test]
fn a_disk_that_fills_up_keeps_all_and_goes_on_when_there_is_room() {
    for seed in 0..60u64 {
        torture(seed, 50, [], Some(3000 + 400 * (seed % 12)));
    }
}

#[test]
fn one_group_is_one_write_and_one_flush() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Always);
    while driver.log.fill_ahead() {}
    driver.write(1, 10);
    driver.sync();
    disk.keep_trace();
    driver.write(3, 10);
    driver.sync();
    let kinds: Vec<_> = disk.trace().iter().map(|call| call.kind).collect();
    assert_eq!(kinds, [CallKind::Write, CallKind::Sync]);
    let len = disk.state().bytes(&driver.log.current().0).unwrap().len();
    driver.write(1, 10);
    assert_eq!(disk.state().bytes(&driver.log.current().0).unwrap().len(), len, "the length was there before");
}

#[test]
fn a_marker_follows_the_last_flush_and_makes_every_flipped_bit_visible() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Always);
    driver.write(2, 10);
    driver.write(1, 10);
    driver.sync();
    let before = driver.log.current().2;
    driver.wait(99);
    driver.due();
    assert_eq!(driver.log.current().2, before, "not yet");
    driver.wait(1);
    assert_eq!(driver.log.next_due(), Some(driver.now.mono_ms));
    driver.due();
    driver.due();
    let (name, _, end) = driver.log.current();
    assert_eq!(end, before + 64);
    driver.wait(10_000);
    driver.due();
    assert_eq!((driver.log.current().2, driver.log.next_due()), (end, None), "one is enough");
    for bit in 0..end * 8 {
        let flipped = SimDisk::from_state(disk.state());
        flipped.change(|state| state.edit(&name, |bytes| bytes[bit as usize / 8] ^= 1 << (bit % 8)));
        match look(&flipped).1 {
            Verdict::Refuse(refusal) => assert_eq!(refusal.durable, 3, "bit {bit}: {refusal}"),
            Verdict::Open(plan) => {
                assert!(bit / 8 >= before, "bit {bit} of a record went unseen");
                assert_eq!(plan.next, 4);
            }
        }
    }
    for cut in 0..end {
        let shorter = SimDisk::from_state(disk.state());
        shorter.change(|state| state.edit(&name, |bytes| bytes.truncate(cut as usize)));
        if let Verdict::Open(plan) = look(&shorter).1 {
            // Only when nothing that is left says what was durable: the beginning of a store, before any frame says so.
            assert!(plan.next == 4 || cut <= before, "cut at {cut}");
        }
    }
}

#[test]
fn a_failed_flush_moves_everything_to_a_new_epoch_and_the_old_file_gets_a_seal_at_most() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Always);
    driver.write(1, 10);
    driver.sync();
    let (old, _, _) = driver.log.current();
    driver.write(2, 10);
    disk.set_faults([Fault::nth(1, Effect::Error(Errno::IO)).of(CallKind::Sync)]);
    disk.keep_trace();
    driver.sync();
    assert_eq!((driver.log.progress().durable(), driver.log.state()), (1, LogState::Running), "replies are held back");
    driver.write(1, 10);
    driver.rescue();
    assert_eq!((driver.log.progress().durable(), driver.log.current().1), (4, 2));
    driver.write(1, 10);
    driver.sync();
    assert_eq!(driver.log.progress().durable(), 5);
    let touched: Vec<_> =
        disk.trace().into_iter().filter(|call| call.name.starts_with(&*old)).map(|call| call.kind).collect();
    assert_eq!(touched, [CallKind::Sync, CallKind::Write], "the failed flush, and a seal that nobody flushes");
    let without = SimDisk::from_state(disk.state());
    without.change(|state| state.erase(&driver.log.current().0));
    let Verdict::Refuse(refusal) = look(&without).1 else { panic!("the new epoch's file was not missed") };
    // What the failed flush lost is a hole before the seal, and the seal says that there were records.
    assert!(refusal.file == Some(old) && matches!(refusal.why, Why::Damaged(_)) && refusal.durable == 4, "{refusal}");
    check_crash(&disk.state(), &mut Chooser::odometer(), &CrashRules::default(), 5, 5);
}

#[test]
fn while_the_disk_fails_writes_are_refused_and_tried_again_with_back_off() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    let progress = driver.log.progress();
    driver.write(1, 10);
    assert!(progress.holds(1, || driver.now.mono_ms));
    disk.set_faults([Fault::from_nth(1, Effect::Error(Errno::IO))]);
    driver.wait(800);
    driver.due();
    assert!(matches!(driver.log.state(), LogState::Failed { since_ms: 805, .. }), "{:?}", driver.log.state());
    assert_eq!(progress.accepts(), Accepts::Nothing);
    assert!(progress.holds(1, || 1000) && !progress.holds(1, || 2005), "held back once two seconds old");
    let calls = |driver: &mut Driver| {
        let before = disk.calls();
        driver.due();
        disk.calls() - before
    };
    assert_eq!(calls(&mut driver), 0, "not before the pause is over");
    assert_eq!(driver.log.next_due(), Some(905));
    driver.wait(100);
    assert!(calls(&mut driver) > 0);
    assert_eq!(driver.log.next_due(), Some(905 + 200));
    driver.wait(200);
    disk.set_faults([]);
    driver.due();
    assert_eq!((driver.log.state(), progress.accepts(), progress.durable()), (LogState::Running, Accepts::All, 1));
}

#[test]
fn on_a_full_disk_the_reserve_lets_deletions_go_on() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    let progress = driver.log.progress();
    assert!(disk.state().bytes("reserve.seg").is_some_and(|bytes| bytes.len() == 1024));
    disk.set_capacity(Some(disk.used()));
    driver.write(1, 3000);
    assert_eq!((progress.accepts(), disk.state().bytes("reserve.seg")), (Accepts::Nothing, None));
    driver.write(1, 10);
    assert_eq!(progress.written(), 0, "too long even for the reserve, and nothing goes before it");
    disk.set_capacity(Some(disk.used() + 3600));
    driver.wait(1000);
    driver.due();
    assert_eq!(progress.written(), 2);
    driver.write(1, 10);
    assert_eq!((progress.written(), progress.accepts()), (3, Accepts::Deletions));
    disk.set_capacity(None);
    driver.wait(1000);
    driver.due();
    assert_eq!((driver.log.state(), progress.accepts()), (LogState::Running, Accepts::All));
    assert!(disk.state().bytes("reserve.seg").is_some());
}

#[test]
fn a_segment_is_sealed_behind_its_successor_and_a_huge_frame_gets_its_own() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    for len in [500, 500, 5000, 10] {
        driver.write(1, len);
        assert!(
            driver.log.sync_due(driver.now) == (driver.log.current().1 > 1),
            "a change of segment is finished soon"
        );
        driver.sync();
    }
    let (found, verdict) = look(&disk);
    let ends: Vec<_> =
        found.iter().map(|segment| (segment.first, segment.scan.as_ref().unwrap().end.clone())).collect();
    let sealed = End::Sealed { stray: None };
    assert_eq!(ends[..ends.len() - 1], [(1, sealed.clone()), (2, sealed.clone()), (3, sealed)]);
    assert!(matches!(verdict, Verdict::Open(plan) if plan.next == 5));
    // Any segment but the last taken away is missed.
    for segment in &found {
        let without = SimDisk::from_state(disk.state());
        without.change(|state| state.erase(&segment.name));
        let Verdict::Refuse(refusal) = look(&without).1 else { panic!("{} was not missed", segment.name) };
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn a_reader_passes_over_damage_that_a_snapshot_covers() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    for _ in 0..5 {
        driver.write(1, 10);
    }
    let (name, ..) = driver.log.current();
    disk.change(|state| state.edit(&name, |bytes| bytes[HEADER_LEN + 64 + 200] ^= 1));
    let file = disk.open(&name, OpenMode::Read).unwrap();
    let scan = |covered| {
        let reader = SegmentReader::open(&*file, 1, 1, None).unwrap();
        reader.covered(covered).scan().unwrap()
    };
    let lost = scan(Lsn::MAX).skipped[0].lsn;
    assert!(lost > 1);
    assert_eq!((scan(0).next, scan(lost - 1).next), (lost, lost));
    assert!(scan(0).behind.is_some_and(|behind| behind.first == lost + 1 && behind.next == 6));
    let passed = scan(lost);
    assert_eq!((passed.next, passed.end, passed.skipped.len()), (6, End::Clean, 1));
}

#[test]
fn a_reader_that_follows_sees_what_comes() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Always);
    while driver.log.fill_ahead() {}
    let (name, ..) = driver.log.current();
    let file = disk.open(&name, OpenMode::Read).unwrap();
    let mut reader = SegmentReader::open(&*file, 1, 1, None).unwrap();
    for expected in 1..=3 {
        driver.write(1, 10);
        reader.refresh().unwrap();
        let mut lsns = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            lsns.extend(frame.records().map(|record| record.unwrap().lsn));
        }
        assert_eq!(lsns, [expected]);
    }
}

#[test]
fn a_read_error_is_the_disk_s_and_no_damage() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    driver.write(3, 10);
    disk.set_faults([Fault::from_nth(1, Effect::Error(Errno::IO)).of(CallKind::Read)]);
    let Verdict::Refuse(refusal) = look(&disk).1 else { panic!() };
    assert!(refusal.to_string().contains("the disk could not be read"), "{refusal}");
}

#[test]
fn huge_groups_are_split_between_records() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    driver.write(5, crate::limits::FRAME_PAYLOAD_TARGET * 2 / 5);
    driver.sync();
    assert_eq!(driver.log.stats().frames, 3);
    assert_eq!(open(&disk, SyncPolicy::Always, Now::default()).0, 5);
}

#[test]
fn a_folder_s_failed_sync_is_noticed_whoever_made_it() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Always);
    driver.write(1, 500);
    driver.sync();
    driver.write(1, 500);
    assert_eq!(driver.log.current().1, 2, "a new segment, whose name is not durable yet");
    disk.set_faults([Fault::nth(1, Effect::Error(Errno::IO)).of(CallKind::SyncDir)]);
    assert!(disk.sync_dir().is_err(), "somebody else's, and with it the segment's name is given up");
    driver.sync();
    assert_eq!(driver.log.progress().durable(), 1);
    driver.rescue();
    assert_eq!(driver.log.progress().durable(), 2);
    check_crash(&disk.state(), &mut Chooser::odometer(), &CrashRules::default(), 2, 2);
}

#[test]
fn no_bit_of_what_a_new_epoch_begins_with_flips_unseen() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Never);
    driver.write(2, 10);
    let disk = SimDisk::from_state(disk.state().kill());
    let (last, log) = open(&disk, SyncPolicy::Never, Now::default());
    let (name, first, end) = log.current();
    assert_eq!((last, first), (2, 1), "nothing said that they were durable: they were copied");
    for bit in 0..end * 8 {
        let flipped = SimDisk::from_state(disk.state());
        flipped.change(|state| state.edit(&name, |bytes| bytes[bit as usize / 8] ^= 1 << (bit % 8)));
        match look(&flipped).1 {
            Verdict::Refuse(refusal) => assert_eq!(refusal.durable, 2, "bit {bit}: {refusal}"),
            // Of the marker at the end nothing depends.
            Verdict::Open(plan) => assert!(plan.next == 3 && bit / 8 >= end - 64, "bit {bit} went unseen"),
        }
    }
}

#[test]
fn a_lost_frame_is_damage_if_it_was_durable_and_a_torn_tail_if_not() {
    for synced in [true, false] {
        let disk = SimDisk::new();
        let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
        driver.write(1, 10);
        let from = driver.log.current().2 as usize;
        driver.write(1, 10);
        let to = driver.log.current().2 as usize;
        if synced {
            driver.sync();
        }
        driver.write(1, 10);
        let (name, ..) = driver.log.current();
        disk.change(|state| state.edit(&name, |bytes| bytes[from..to].fill(0)));
        match look(&disk).1 {
            Verdict::Refuse(refusal) => {
                assert!(synced, "{refusal}");
                assert_eq!((refusal.lsn, refusal.durable, refusal.offset), (2, 2, Some(from as u64)));
            }
            Verdict::Open(plan) => {
                assert!(!synced);
                assert_eq!((plan.next, plan.set_aside.len(), plan.set_aside[0].offset), (2, 1, from as u64));
            }
        }
    }
}

#[test]
fn a_next_segment_that_cannot_be_prepared_is_not_tried_again_and_again() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::Always);
    driver.write(1, 500);
    let mut prepare = driver.log.prepare().unwrap();
    assert!(!prepare.step().unwrap(), "the file is there, its zeros are not");
    prepare.step().unwrap();
    driver.log.finish_prepare(prepare);
    assert!(driver.log.prepare().is_none(), "one is ready");
    driver.write(1, 500);
    driver.sync();
    assert_eq!(driver.log.current().1, 2);
    disk.set_faults([Fault::nth(1, Effect::Error(Errno::NOSPC)).of(CallKind::Preallocate)]);
    let mut prepare = driver.log.prepare().unwrap();
    prepare.step().unwrap_err();
    driver.log.finish_prepare(prepare);
    assert!(driver.log.prepare().is_none());
    assert!(!disk.state().names().any(|name| name.ends_with(".tmp")), "its room is given back");
    driver.write(1, 500);
    driver.sync();
    assert_eq!(driver.log.current().1, 3, "made when it is needed");
    assert!(driver.log.prepare().is_some(), "and the next one is tried again");
}

#[test]
fn what_is_written_during_a_flush_is_due_in_its_turn() {
    let disk = SimDisk::new();
    let mut driver = Driver::new(&disk, SyncPolicy::EverySecond);
    driver.write(1, 10);
    driver.wait(800);
    let ticket = driver.log.begin_sync(driver.now).unwrap();
    driver.wait(10);
    driver.write(1, 10);
    driver.wait(5);
    assert_eq!(driver.log.progress().oldest_unflushed_ms(), Some(5), "until the flush has succeeded");
    let done = ticket.run();
    driver.log.finish_sync(done, driver.now);
    assert_eq!((driver.log.progress().durable(), driver.log.progress().oldest_unflushed_ms()), (1, Some(815)));
    assert_eq!(driver.log.next_due(), Some(815 + 800));
}

#[test]
fn a_segment_grows_beyond_its_length_while_no_more_files_may_be_opened() {
    for errno in [Errno::MFILE, Errno::NFILE] {
        let disk = SimDisk::new();
        let mut driver = Driver::new(&disk, SyncPolicy::Always);
        disk.set_faults([Fault::from_nth(1, Effect::Error(errno)).of(CallKind::Open)]);
        for lsn in 1..=8 {
            driver.write(1, 500);
            driver.sync();
            assert_eq!((driver.log.progress().accepts(), driver.log.progress().durable()), (Accepts::All, lsn));
        }
        assert_eq!(driver.log.current().1, 1, "there is no other");
        disk.set_faults([]);
        driver.wait(LOG_RETRY_MS.end);
        driver.write(1, 500);
        driver.sync();
        assert_eq!(driver.log.current().1, 9, "as soon as there may be one");
        let (found, verdict) = look(&disk);
        let Verdict::Open(plan) = verdict else { panic!("refused") };
        assert_eq!(replay(&disk, &found, &plan, |_| ()), 9);
    }
}
