//! Memory per key and costs of the keyspace with the server's allocator, while it grows:
//! `cargo run --release -p firn-benches --example keyspace-memory [keys [value length]]`.
//!
//! Keys are 16 random bytes. Memory is printed at steps over the last doubling, because all segments grow together and one number
//! would depend on where in the cycle it was taken. Times are the thread's own CPU time, so that other work on the machine counts
//! only through the caches it shares.

#[allow(dead_code, unused_imports)] // The server asks for more than this does, and runs its tests.
#[path = "../../server/src/allocator.rs"]
mod allocator;

use firn_engine::key::{HashSeed, Key};
use firn_engine::keyspace::{CaptureProgress, Deadline, Keyspace, Loader, entry};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

const SEED: HashSeed = HashSeed([9; 16]);

/// CPU time of this thread so far, in ns.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and `time` is written only within its size.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
    key[8..].copy_from_slice(&mixed(!number).to_le_bytes());
    key
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<usize>().expect("a number"));
    let keys = arguments.next().unwrap_or(7_000_000);
    let value = vec![7u8; arguments.next().unwrap_or(16)];
    assert!(allocator::start_background_thread(), "jemalloc has no background thread");
    let before = allocator::resident_bytes().expect("/proc");
    let mut keyspace = Keyspace::new(SEED, 1);
    let (mut started, mut measured) = (cpu_ns(), 0);
    let mut means = (0.0, 0.0, 0);
    println!("     keys   RSS/key  used/key  allocated/key  insert ns");
    for number in 0..keys {
        let bytes = key(number as u64);
        keyspace.db_mut(0).set_string(SEED.key(&bytes), &value, Deadline::Clear);
        let count = number + 1;
        if count.is_multiple_of((keys / 14).max(1)) {
            let insert = (cpu_ns() - started) as f64 / (count - measured) as f64;
            // As after a quiet second: the allocator's decay would give these pages back.
            allocator::purge();
            let resident = (allocator::resident_bytes().expect("/proc") - before) as f64 / count as f64;
            let used = keyspace.used_bytes() as f64 / count as f64;
            let allocated = allocator::allocated_bytes().expect("jemalloc") as f64 / count as f64;
            println!("{count:9} {resident:9.2} {used:9.2} {allocated:14.2} {insert:10.0}");
            if count * 2 >= keys {
                means = (means.0 + resident, means.1 + used, means.2 + 1);
            }
            (started, measured) = (cpu_ns(), count);
        }
    }
    println!(
        "mean over the last doubling: RSS {:.2}, used {:.2} bytes a key",
        means.0 / f64::from(means.2),
        means.1 / f64::from(means.2)
    );
    capture_and_load(&mut keyspace, keys);
    reads(&keyspace, keys);
    writes(&mut keyspace, keys, &value);
}

/// Captures everything as a snapshot would, and loads it again with one loader.
fn capture_and_load(keyspace: &mut Keyspace, keys: usize) {
    let (mut blocks, mut slowest, start) = (Vec::new(), 0, cpu_ns());
    keyspace.begin_capture(1);
    loop {
        let begun = cpu_ns();
        let progress = keyspace.capture_slice(64 * 1024);
        slowest = slowest.max(cpu_ns() - begun);
        blocks.extend(keyspace.drain_captured());
        if progress == CaptureProgress::Done {
            break;
        }
    }
    let each = (cpu_ns() - start) as f64 / keys as f64;
    println!("capture     : {each:5.0} ns a key, slowest slice {:.0} us", slowest as f64 / 1000.0);
    let start = cpu_ns();
    let mut loader = Loader::new(SEED, keys as u64, firn_engine::value::Shaping::new(SEED));
    for block in &blocks {
        let mut rest = block.bytes.as_slice();
        while !rest.is_empty() {
            let entry = entry::take(&mut rest).expect("an entry that was just encoded");
            loader.push(&entry).expect("entries come in order");
        }
    }
    let mut loaded = Keyspace::new(SEED, 1);
    loaded.install(0, vec![loader.finish().expect("all parts are there")]).expect("the database is empty");
    println!("load        : {:5.0} ns a key", (cpu_ns() - start) as f64 / keys as f64);
    assert_eq!(loaded.db(0).len(), keys);
    let used = loaded.used_bytes() as f64 / keys as f64;
    println!("used after loading: {used:.2} bytes a key");
}

/// Reads a million random keys in batches; the median of five runs.
fn reads(keyspace: &Keyspace, keys: usize) {
    for (what, offset) in [("hit", 0), ("miss", keys as u64)] {
        for batch in [1, 16, 100] {
            let mut times: Vec<f64> = (0..5u64)
                .map(|run| {
                    let mut list = Vec::with_capacity(batch);
                    let mut positions = Vec::with_capacity(batch);
                    let mut found = 0usize;
                    let start = cpu_ns();
                    for round in 0..1_000_000 / batch {
                        list.clear();
                        positions.clear();
                        for at in 0..batch {
                            let number = mixed(run << 40 | (round * batch + at) as u64) % keys as u64 + offset;
                            list.push(key(number));
                        }
                        positions.extend(list.iter().map(|key| (0, SEED.position(key))));
                        if batch > 1 {
                            keyspace.prefetch(&positions);
                        }
                        for (bytes, (db, position)) in list.iter().zip(&positions) {
                            let key = Key { bytes, position: *position };
                            found += usize::from(keyspace.db(*db).get(key).is_some());
                        }
                    }
                    let time = (cpu_ns() - start) as f64 / 1e6;
                    assert_eq!(found > 0, offset == 0);
                    time
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("{what:6} batch {batch:3}: {:5.0} ns", times[2]);
        }
    }
}

fn writes(keyspace: &mut Keyspace, keys: usize, value: &[u8]) {
    for (what, count) in [("overwrite", 1_000_000), ("delete", keys)] {
        let start = cpu_ns();
        for at in 0..count {
            let bytes = key(if what == "overwrite" { mixed(at as u64) % keys as u64 } else { at as u64 });
            let key = SEED.key(&bytes);
            if what == "delete" {
                assert!(keyspace.db_mut(0).remove(key));
            } else {
                keyspace.db_mut(0).set_string(key, value, Deadline::Clear);
            }
        }
        println!("{what:9}: {:5.0} ns", (cpu_ns() - start) as f64 / count as f64);
    }
    // Again, with each insert timed by itself; looking at the clock costs more than an insert.
    let mut times: Vec<(u64, usize)> = (0..keys)
        .map(|at| {
            let bytes = key(at as u64);
            let start = cpu_ns();
            keyspace.db_mut(0).set_string(SEED.key(&bytes), value, Deadline::Clear);
            (cpu_ns() - start, at)
        })
        .collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].0 as f64 / 1000.0;
    println!("the slowest, in us, with the number of keys before: {:?}", {
        times.iter().rev().take(8).map(|(time, at)| (time / 1000, *at)).collect::<Vec<_>>()
    });
    println!("slowest inserts: p99.9 {:.1} us, p99.99 {:.1} us, worst {:.1} us", at(0.999), at(0.9999), at(1.0));
}
