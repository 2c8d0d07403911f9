//! A store on the simulated disk and the real one: open, write, crash, snapshot, reopen.

use firn_engine::command::{NoReply, Session};
use firn_engine::disk::Disk;
use firn_engine::disk::sim::SimDisk;
use firn_engine::snapshot::writer::Pace;
use firn_engine::store::{ManualClock, Options, Store, SyncPolicy};
use std::sync::Arc;

fn options(clock: &Arc<ManualClock>) -> Options {
    Options {
        threads: false,
        clock: Arc::clone(clock) as _,
        segment_len: 4096,
        reserve_len: 0,
        load_threads: 1,
        entropy: [7; 40],
        ..Options::default()
    }
}

fn run(store: &Store, words: &[&str]) -> u64 {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let mut session = Session::default();
    let mut reply = NoReply::default();
    let command = firn_engine::command::table::find(words[0]).expect("a command");
    store.lock().execute(&mut session, command, &firn_engine::command::Args::new(&words), &mut reply);
    assert_eq!(reply.error, None, "{words:?}");
    session.promise
}

fn digest(store: &Store) -> Vec<u128> {
    let engine = store.lock();
    (0..engine.keyspace.databases()).map(|db| engine.keyspace.db(db).digest()).collect()
}

#[test]
fn what_was_acknowledged_is_there_after_a_clean_end_a_snapshot_and_many_segments() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let mut digests = Vec::new();
    for round in 0..4 {
        let store = Store::open(Arc::clone(&disk), &options(&clock)).unwrap_or_else(|error| panic!("{round}: {error}"));
        assert_eq!(store.report().created, round == 0);
        if round > 0 {
            assert_eq!(digest(&store), digests, "round {round}: {:?}", store.report());
        }
        for number in 0..300 {
            let promise = run(&store, &["SET", &format!("key:{round}:{number}"), &"v".repeat(number)]);
            store.commit();
            assert!(store.holds(promise), "everysec: written is enough");
            clock.advance(5);
            store.step_log();
        }
        run(&store, &["DEL", &format!("key:{round}:17")]);
        run(&store, &["PEXPIREAT", &format!("key:{round}:18"), "1900000000000"]);
        if round % 2 == 1 {
            let ticket = store.request_snapshot();
            run(&store, &["SET", "after the request", "in the snapshot"]);
            assert_eq!(store.wait_snapshot(ticket), Ok(()));
            run(&store, &["INCR", "after the snapshot"]);
        }
        digests = digest(&store);
        store.close().expect("a clean end");
    }
}

#[test]
fn always_holds_only_after_a_flush() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let store = Store::open(disk, &Options { policy: SyncPolicy::Always, ..options(&clock) }).expect("opens");
    let promise = run(&store, &["SET", "k", "v"]);
    store.commit();
    assert!(!store.holds(promise));
    let other = run(&store, &["GET", "other"]);
    assert!(store.holds(other), "another key's read waits for nothing");
    assert_eq!(run(&store, &["GET", "k"]), promise, "a read of a key in flight waits for it");
    store.step_log();
    assert!(store.holds(promise));
    assert_eq!(run(&store, &["GET", "k"]), 0);
}

#[test]
fn reload_reads_what_the_next_start_would() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let store = Store::open(Arc::new(SimDisk::new()), &options(&clock)).expect("opens");
    for number in 0..100 {
        run(&store, &["SET", &format!("k{number}"), "v"]);
    }
    let before = digest(&store);
    assert_eq!(store.reload(), Ok(100));
    assert_eq!(digest(&store), before);
    assert_eq!(store.wait_snapshot(store.request_snapshot()), Ok(()));
    run(&store, &["DEL", "k1"]);
    assert_eq!(store.reload(), Ok(99));
}

#[test]
fn the_log_can_be_turned_off_and_on() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let store = Store::open(Arc::clone(&disk), &options(&clock)).expect("opens");
    run(&store, &["SET", "a", "1"]);
    store.set_log(false).expect("off");
    run(&store, &["SET", "b", "2"]);
    store.set_log(true).expect("on");
    run(&store, &["SET", "c", "3"]);
    while store.step() {}
    let before = digest(&store);
    store.close().expect("a clean end");
    let store = Store::open(disk, &options(&clock)).expect("opens again");
    assert_eq!(digest(&store), before);
}

#[test]
fn a_full_disk_does_not_keep_a_store_from_being_opened_and_keys_deleted() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let sim = SimDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let options = Options { policy: SyncPolicy::Always, reserve_len: 16 * 1024, ..options(&clock) };
    let store = Store::open(Arc::clone(&disk), &options).expect("opens");
    for number in 0..100 {
        run(&store, &["SET", &format!("key:{number}"), &"v".repeat(100)]);
        store.commit();
        store.step_log();
    }
    let digests = digest(&store);
    drop(store); // Without a clean end.
    sim.set_capacity(Some(sim.used()));
    let store = Store::open(Arc::clone(&disk), &options).expect("opens on a full disk");
    assert_eq!(digest(&store), digests);
    let promise = run(&store, &["DEL", "key:1"]);
    store.commit();
    store.step_log();
    assert!(store.holds(promise), "there is room for a deletion");
}

#[test]
fn crashes_leave_no_zeros_behind_that_pile_up() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let sim = SimDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let options = Options { segment_len: 1 << 20, ..options(&clock) };
    let mut used = Vec::new();
    for number in 0..10 {
        let store = Store::open(Arc::clone(&disk), &options).expect("opens");
        used.push(sim.used());
        run(&store, &["SET", &format!("key:{number}"), "value"]);
        store.commit();
        while store.step() {}
        drop(store); // Without a clean end.
    }
    assert!(used[0] >= 1 << 20, "the newest segment is made whole at once: {used:?}");
    assert!(used[9] < used[0] + (1 << 16), "the others are as long as their data: {used:?}");
}

/// Runs a command that may be refused; says whether it was.
fn is_refused(store: &Store, words: &[&str]) -> bool {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let mut reply = NoReply::default();
    let command = firn_engine::command::table::find(words[0]).expect("a command");
    let args = firn_engine::command::Args::new(&words);
    store.lock().execute(&mut Session::default(), command, &args, &mut reply);
    store.commit();
    store.step_log();
    reply.error.is_some()
}

#[test]
fn a_full_disk_is_compacted_by_itself_and_writes_resume() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let sim = SimDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    // In the second round all is in one segment, as it is in small stores.
    let mut options = Options { policy: SyncPolicy::Always, reserve_len: 64 * 1024, ..options(&clock) };
    for round in 0..4 {
        options.segment_len = if round % 2 == 0 { 4096 } else { 1 << 24 };
        let store = Store::open(Arc::clone(&disk), &options).expect("opens");
        sim.set_capacity(Some(512 * 1024));
        let set = |number: usize| is_refused(&store, &["SET", &format!("{round}:{number}"), &"v".repeat(100)]);
        let full = (0..100_000).find(|number| set(*number)).expect("the disk gets full");
        assert!(full > 500, "{full} keys");
        let names: Vec<String> = (0..full - 10).map(|number| format!("{round}:{number}")).collect();
        for names in names.chunks(100) {
            let words: Vec<&str> = std::iter::once("DEL").chain(names.iter().map(String::as_str)).collect();
            assert!(!is_refused(&store, &words), "deletions go on");
        }
        let resumed = (0..2000).any(|_| {
            clock.advance(100);
            for _ in 0..20 {
                store.step();
            }
            !set(full)
        });
        assert!(resumed, "writes resume by themselves: {:?}", store.status());
        let digests = digest(&store);
        store.close().expect("closes");
        assert_eq!(digest(&Store::open(Arc::clone(&disk), &options).expect("opens again")), digests);
    }
}

#[test]
fn writers_that_outran_a_snapshot_wait_until_half_of_what_piled_up_is_written() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let pace = Pace { slice_len: 1024, buffer_max: 1 << 20, write_len: 2048, sync_len: 1 << 20, ..Pace::default() };
    let options = Options { pace, segment_len: 1 << 24, ..options(&clock) };
    let store = Store::open(Arc::new(SimDisk::new()), &options).expect("opens");
    let set = |number: usize| {
        let digits =
            (0..6).map(|at| format!("{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * at)));
        run(&store, &["SET", &format!("key:{number}"), &digits.collect::<String>()])
    };
    for number in 0..40_000 {
        set(number);
    }
    let ticket = store.request_snapshot();
    assert!(store.step_snapshot());
    let (mut written, mut rounds) = (0, 0);
    while store.snapshot_info().finished < ticket {
        let mut promise = 0;
        while !store.is_crowded() && written < 40_000 {
            promise = set(written * 1009 % 40_000);
            written += 1;
        }
        store.commit();
        if store.is_crowded() {
            rounds += 1;
            assert!(!store.holds(promise), "written, but too much waits for the disk");
            let mut steps = 0;
            while store.is_crowded() {
                assert!(store.step_snapshot());
                steps += 1;
            }
            assert!(steps >= 4, "blocks of 64 KB: {steps} are not half of the buffer");
            assert!(store.holds(promise));
        }
        store.step_snapshot();
    }
    assert!(rounds > 1, "{written} writes crowded the store {rounds} times");
    assert_eq!(store.wait_snapshot(ticket), Ok(()));
}

#[test]
fn crashes_do_not_eat_the_disk() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let sim = SimDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let options = Options { policy: SyncPolicy::Always, segment_len: 1 << 20, ..options(&clock) };
    for round in 0..20 {
        let store = Store::open(Arc::clone(&disk), &options).expect("opens");
        run(&store, &["SET", "round", &round.to_string()]);
        store.commit();
        store.step_log();
        store.step_log();
        drop(store); // Without a clean end, again and again.
    }
    assert!(sim.used() < 4 << 20, "{} bytes after 20 crashes with a few records", sim.used());
}
