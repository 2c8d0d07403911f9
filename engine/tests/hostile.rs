//! Every reader of files and payloads on corpora that were changed at random: no panic, no hang, and memory bounded by the length of what
//! is read. An allocator that counts measures it.

use firn_engine::aof::manifest::Manifest;
use firn_engine::aof::write::CommandWriter;
use firn_engine::aof::{Command, CommandReader, Groups};
use firn_engine::command::{NoReply, Session};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::FileName;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry::{self, Assembly};
use firn_engine::log::reader::SegmentReader;
use firn_engine::rdb::{Event, Reader, Usage, Writer, dump, writer};
use firn_engine::snapshot::reader::SnapshotReader;
use firn_engine::store::{ManualClock, Options, Store, SyncPolicy};
use firn_engine::value::Shaping;
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Memory of a reader at most: this, and so much for each byte of what is read (LZF and LZ4 make hundreds of one).
const MEMORY_FIXED: usize = 6 << 20;
const MEMORY_PER_BYTE: usize = 300;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what each thread has taken.
struct Counting;

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    let _ = IN_USE.try_with(|in_use| {
        in_use.set(in_use.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(in_use.get())));
    });
}

// SAFETY: everything is handed on to the system's allocator as it is; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `read` on something of `len` bytes, and looks at the memory that it took at most.
fn bounded<T>(len: usize, read: impl FnOnce() -> T) -> T {
    let before = IN_USE.get();
    PEAK.set(before);
    let made = read();
    let taken = usize::try_from(PEAK.get() - before).unwrap_or(0);
    assert!(taken <= MEMORY_FIXED + MEMORY_PER_BYTE * len, "{taken} bytes of memory for {len}");
    made
}

struct Corpus {
    rdb: Vec<Vec<u8>>,
    aof: Vec<u8>,
    payloads: Vec<Vec<u8>>,
    /// Names and bytes.
    segments: Vec<(String, Vec<u8>)>,
    snapshots: Vec<(String, Vec<u8>)>,
}

static CORPUS: LazyLock<Corpus> = LazyLock::new(Corpus::make);

/// Commands for every type, small and large.
fn commands() -> Vec<Vec<Vec<u8>>> {
    let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut commands: Vec<_> = [
        "SET plain value",
        "SET number 12345",
        "SET mortal v PXAT 9000000000000",
        "HSET fields a 1 b 2",
        "ZADD scores 1 a 2.5 b inf c",
        "HPEXPIREAT fields 9000000000000 FIELDS 1 a",
        "XADD stream 1-1 f v g w",
        "XADD stream 2-1 f v",
        "XGROUP CREATE stream group 0",
        "XCLAIM stream group me 0 1-1 TIME 1600000000000 RETRYCOUNT 2 FORCE JUSTID",
        "PFADD hll a b c",
        "SADD ints 1 2 3 70000",
        "RENAME plain other",
    ]
    .into_iter()
    .map(words)
    .collect();
    commands.push(vec![b"SET".to_vec(), b"long".to_vec(), b"compressible ".repeat(300)]);
    for n in 0..200 {
        commands.push(words(&format!("RPUSH list element{n}")));
        commands.push(words(&format!("SADD set member{n}")));
        commands.push(words(&format!("HSET hash field{n} value{n}")));
        commands.push(words(&format!("ZADD zset {n} member{n}")));
    }
    commands
}

impl Corpus {
    fn make() -> Corpus {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let options = Options {
            policy: SyncPolicy::Never,
            clock: clock as _,
            segment_len: 16 * 1024,
            reserve_len: 0,
            threads: false,
            ..Options::default()
        };
        let store = Store::open_folder(folder.path(), &options).unwrap();
        let mut aof = CommandWriter::new(Vec::new());
        for words in commands() {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut reply = NoReply::default();
            store.run(&mut Session::default(), &words, &mut reply);
            assert_eq!(reply.error, None, "{words:?}");
            aof.command(0, &words).unwrap();
            store.commit();
        }
        aof.transaction([(0, &[&b"INCR"[..], b"n"][..]), (3, &[b"DEL", b"n"])]).unwrap();
        let ticket = store.request_snapshot();
        while store.step() {}
        store.wait_snapshot(ticket).unwrap();
        store.close().unwrap();

        let disk = RealDisk::open(folder.path(), false).unwrap();
        let read = |name: &str| (name.to_owned(), std::fs::read(folder.path().join(name)).unwrap());
        let (mut segments, mut snapshots) = (Vec::new(), Vec::new());
        for file in disk.list().unwrap() {
            match FileName::parse(&file.name) {
                FileName::Segment { .. } => segments.push(read(&file.name)),
                FileName::Snapshot { .. } => snapshots.push(read(&file.name)),
                _ => {}
            }
        }
        // Zeros that were written ahead say nothing.
        for (_, bytes) in &mut segments {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used + 64);
        }
        let reader = SnapshotReader::open(&disk, &snapshots[0].0, None).unwrap();
        let (mut rdb, mut payloads) = (Vec::new(), Vec::new());
        for version in [9, 10, 11, 12, 80] {
            let options = writer::Options { drop_field_deadlines: true, ..writer::Options::new(version).unwrap() };
            let mut writer = Writer::new(Vec::new(), options).unwrap();
            let mut entries = reader.entries(0, 1..=u64::MAX);
            while let Some((_, entry)) = entries.next().unwrap() {
                if version == 9 {
                    payloads.push(dump::encode(entry.value, true, 0));
                }
                let (mut bytes, mut from) = (Vec::new(), Some(0));
                while let Some(at) = from {
                    bytes.clear();
                    from = entry::encode_part(&entry, at, 4096, &mut bytes);
                    let stored = entry::take(&mut &bytes[..]).unwrap();
                    writer.entry(0, &stored, Usage::Unknown).unwrap();
                }
            }
            rdb.push(writer.finish().unwrap());
        }
        Corpus { rdb, aof: aof.finish().unwrap(), payloads, segments, snapshots }
    }
}

/// Reads an RDB file to its end, getting behind values that are wrong.
fn read_rdb(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let (mut assembly, shaping) = (Assembly::default(), Shaping::new(HashSeed([1; 16])));
    for _ in 0..bytes.len() + 2 {
        let is_content = match reader.next_event() {
            Ok(None) => return,
            Ok(Some(Event::Entry(part))) => {
                if !part.stored.continues {
                    assembly = Assembly::default();
                }
                let _ = assembly.push(&part.stored, &shaping);
                continue;
            }
            Ok(Some(_)) => continue,
            Err(error) => error.is_content(),
        };
        if !is_content || reader.skip_value().is_err() {
            return;
        }
    }
    panic!("more events than bytes");
}

/// Reads commands and transactions to the end.
fn read_aof(bytes: &[u8]) {
    let (mut groups, mut group) = (Groups::new(CommandReader::new(bytes, 0)), Vec::new());
    let mut commands = 0;
    while matches!(groups.take(&mut group), Ok(true)) {
        commands += group.len();
        assert!(commands <= bytes.len());
    }
    // Behind damage, within a transaction or not.
    for inside in [false, true] {
        let at = bytes.len() / 2;
        let mut groups = Groups::behind_damage(CommandReader::new(&bytes[at..], at as u64), inside);
        while matches!(groups.take(&mut group), Ok(true)) {}
    }
    let _ = CommandReader::probe(bytes, 0).take(&mut Command::default());
}

fn read_segment(folder: &Path, name: &str) {
    let disk = RealDisk::open(folder, false).unwrap();
    let FileName::Segment { first, epoch } = FileName::parse(name) else { panic!("{name}") };
    let file = disk.open(name, OpenMode::Read).unwrap();
    let Ok(mut reader) = SegmentReader::open(&*file, first, epoch, None) else { return };
    while let Ok(Some(frame)) = reader.next_frame() {
        let mut words = Vec::new();
        for record in frame.records().flatten() {
            let mut commands = record.commands();
            while let Ok(Some(_)) = commands.next(&mut words) {}
        }
    }
    let _ = reader.into_scan();
}

fn read_snapshot(folder: &Path, name: &str) {
    let disk = RealDisk::open(folder, false).unwrap();
    let Ok(reader) = SnapshotReader::open(&disk, name, None) else { return };
    let _ = reader.verify_all(|_| {}, |_, _| {});
    for db in reader.databases() {
        let mut entries = reader.entries(db, 1..=u64::MAX);
        while let Ok(Some(_)) = entries.next() {}
    }
}

/// One change: where, how, and what.
type Edit = (prop::sample::Index, u8, u8, prop::sample::Index);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0u8..7, any::<u8>(), any::<prop::sample::Index>()), 1..10)
}

fn changed(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, how, byte, other) in edits {
        if bytes.is_empty() {
            return bytes;
        }
        let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
        match how {
            0 => bytes[at] = *byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.insert(at, *byte),
            3 => drop(bytes.drain(at..(at + usize::from(*byte) % 16).min(bytes.len()))),
            4 => bytes.truncate(at + 1),
            // What stands elsewhere, again: lengths and heads where they do not belong.
            5 => {
                let piece = bytes[other..(other + usize::from(*byte)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes[at..].iter_mut().take(usize::from(*byte) % 9).for_each(|byte| *byte = 0xff),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rdb_files(which in 0usize..5, edits in edits()) {
        let bytes = changed(&CORPUS.rdb[which], &edits);
        bounded(bytes.len(), || read_rdb(&bytes));
    }

    #[test]
    fn append_only_files_and_manifests(edits in edits()) {
        let bytes = changed(&CORPUS.aof, &edits);
        bounded(bytes.len(), || read_aof(&bytes));
        let manifest = changed(b"file a.1.base.rdb seq 1 type b\nfile \"a b.incr.aof\" seq 1 type i\nfile c seq 9 type h\n", &edits);
        if let Ok(manifest) = bounded(manifest.len(), || Manifest::parse(&manifest)) {
            for file in manifest.to_read() {
                prop_assert!(!file.name.contains('/') && file.name != "..");
            }
        }
    }

    #[test]
    fn payloads_of_dump(which in any::<prop::sample::Index>(), edits in edits()) {
        let bytes = changed(&CORPUS.payloads[which.index(CORPUS.payloads.len())], &edits);
        let _ = bounded(bytes.len(), || dump::decode(&bytes, false, &Shaping::new(HashSeed([1; 16]))));
    }

    #[test]
    fn segments(which in any::<prop::sample::Index>(), edits in edits()) {
        let (name, bytes) = &CORPUS.segments[which.index(CORPUS.segments.len())];
        let (bytes, folder) = (changed(bytes, &edits), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join(name), &bytes).unwrap();
        bounded(bytes.len(), || read_segment(folder.path(), name));
    }

    #[test]
    fn snapshots(which in any::<prop::sample::Index>(), edits in edits()) {
        let (name, bytes) = &CORPUS.snapshots[which.index(CORPUS.snapshots.len())];
        let (bytes, folder) = (changed(bytes, &edits), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join(name), &bytes).unwrap();
        bounded(bytes.len(), || read_snapshot(folder.path(), name));
    }
}

#[test]
fn the_corpora_are_whole_before_they_are_changed() {
    assert!(CORPUS.segments.len() > 1 && CORPUS.snapshots.len() == 1 && CORPUS.payloads.len() > 10);
    for bytes in &CORPUS.rdb {
        let mut reader = Reader::new(&bytes[..]).unwrap();
        while reader.next_event().unwrap().is_some() {}
    }
    for payload in &CORPUS.payloads {
        dump::decode(payload, true, &Shaping::new(HashSeed([1; 16]))).unwrap();
    }
}
