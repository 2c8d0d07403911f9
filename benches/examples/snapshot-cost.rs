//! What a snapshot costs, written and loaded, with the server's allocator:
//! `cargo run --release -p firn-benches --example snapshot-cost [keys [value length [folder]]]`.
//!
//! Keys are 16 random bytes, values random. Also prints the longest hold of the engine's lock, which is what other clients
//! would wait for, and what writers that touch random keys meanwhile make of the memory.

#[allow(dead_code)] // The server asks for more than this does.
#[path = "../../server/src/allocator.rs"]
mod allocator;

use firn_engine::disk::Disk;
use firn_engine::disk::real::RealDisk;
use firn_engine::format::{FileHeader, FileKind, StoreId};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::{Deadline, Keyspace};
use firn_engine::snapshot::load::load;
use firn_engine::snapshot::reader::SnapshotReader;
use firn_engine::snapshot::writer::{Pace, SnapshotRun, Step, Written};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

const SEED: HashSeed = HashSeed([9; 16]);

fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn random_bytes(out: &mut [u8], number: u64) {
    for (at, chunk) in out.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&mixed(number * 1000 + at as u64).to_le_bytes()[..chunk.len()]);
    }
}

fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Takes a snapshot with `writes` random overwrites between two steps, as long as they need not wait.
fn take(
    keyspace: &mut Keyspace,
    disk: &Arc<dyn Disk>,
    number: u64,
    keys: u64,
    writes: u64,
) -> (Written, Duration, u64) {
    let header = FileHeader {
        kind: FileKind::Snapshot,
        flags: 0,
        store: StoreId([1; 16]),
        hash_seed: SEED,
        number,
        epoch: 1,
        created_ms: 0,
        durable: 0,
    };
    let pace = Pace::default();
    let mut run = SnapshotRun::begin(keyspace, number, Arc::clone(disk), header, Vec::new(), pace);
    let (mut longest, mut rss, mut written, mut name) = (Duration::ZERO, 0, 0, [0; 16]);
    loop {
        for _ in 0..writes {
            if pace.must_slow_writers(keyspace.captured_bytes(), run.backlog()) {
                break;
            }
            written += 1;
            random_bytes(&mut name, mixed(written) % keys);
            keyspace.db_mut(0).set_string(SEED.key(&name), &[7; 64], Deadline::Clear);
        }
        rss = rss.max(rss_bytes());
        let began = Instant::now();
        run.collect(keyspace, 0);
        longest = longest.max(began.elapsed());
        if let Step::Done(done) = run.write().expect("a healthy disk") {
            if writes > 0 {
                println!("  {written} overwrites went on meanwhile");
            }
            return (done, longest, rss);
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let keys: u64 = args.next().map_or(5_000_000, |text| text.parse().expect("a number of keys"));
    let value_len: usize = args.next().map_or(64, |text| text.parse().expect("a length in bytes"));
    let folder = args.next().unwrap_or_else(|| std::env::temp_dir().join("firn-snapshot-cost").display().to_string());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(Path::new(&folder), true).expect("a folder"));
    for entry in disk.list().expect("a list") {
        disk.remove(&entry.name).expect("removable");
    }
    let mut keyspace = Keyspace::new(SEED, 16);
    let (mut key, mut value) = ([0; 16], vec![0; value_len]);
    for number in 0..keys {
        random_bytes(&mut key, number);
        random_bytes(&mut value, !number >> 12);
        keyspace.db_mut(0).set_string(SEED.key(&key), &value, Deadline::Clear);
    }
    let before = rss_bytes();
    println!("{keys} keys of 16 and {value_len} bytes: {} MB of memory", before / 1_000_000);
    for (number, writes) in [(1, 0), (2, 0), (3, 200)] {
        let began = Instant::now();
        let (written, longest, rss) = take(&mut keyspace, &disk, number, keys, writes);
        println!(
            "written: {:.2} s, {} MB ({} MB raw), longest hold {:.3} ms, memory at most {:+.1} %",
            began.elapsed().as_secs_f64(),
            written.len / 1_000_000,
            written.raw_len / 1_000_000,
            longest.as_secs_f64() * 1000.0,
            (rss as f64 / before as f64 - 1.0) * 100.0,
        );
    }
    drop(keyspace);
    let reader = SnapshotReader::open(&*disk, "snap-00000000000000000001-0000000001.snap", None).expect("whole");
    for threads in [1, 2, 2] {
        let began = Instant::now();
        let loaded =
            load(&reader, 16, threads, &firn_engine::value::Shaping::new(reader.hash_seed()), &|_| {}).expect("whole");
        let took = began.elapsed();
        println!("loaded with {threads} threads: {:.2} s, {} keys", took.as_secs_f64(), loaded.db(0).len());
    }
    let began = Instant::now();
    let verified = reader.verify_all(|_| {}, |_, error| panic!("{error}")).expect("readable");
    println!("verified: {:.2} s, {} blocks", began.elapsed().as_secs_f64(), verified.blocks);
    std::fs::remove_dir_all(&folder).expect("removable");
}
