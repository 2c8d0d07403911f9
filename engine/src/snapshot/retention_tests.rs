//! What retention wants, and that removing the rest never leaves less than that.

use super::reader::SnapshotReader;
use super::retention::*;
use super::tests::{header, take};
use crate::disk::chooser::Chooser;
use crate::disk::sim::{CrashRules, DiskState, Effect, Errno, Fault, SimDisk};
use crate::disk::{Disk, OpenMode, write_all_at};
use crate::format::FileName;
use crate::key::HashSeed;
use crate::keyspace::{Deadline, Keyspace};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

fn snapshot(lsn: u64, epoch: u64, created_ms: u64) -> StoredFile {
    StoredFile { name: FileName::Snapshot { lsn, epoch }, len: 10, created_ms }
}

fn segment(first: u64, epoch: u64) -> StoredFile {
    StoredFile { name: FileName::Segment { first, epoch }, len: 100, created_ms: 0 }
}

/// Short names of what a plan removes: `s100` for the snapshot at LSN 100, `l1` for the segment from LSN 1 on, `.2` for epoch 2.
fn removes(files: &[StoredFile], retention: &Retention, now_ms: u64) -> String {
    let short = |(name, _): &(String, u64)| match FileName::parse(name) {
        FileName::Snapshot { lsn, epoch } => format!("s{lsn}.{epoch}"),
        FileName::Segment { first, epoch } => format!("l{first}.{epoch}"),
        other => panic!("{other}"),
    };
    plan(files, retention, now_ms).remove.iter().map(short).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_segment_of_a_newer_epoch_is_not_ended_by_those_it_supersedes() {
    // Epoch 2 took over at 90; records 90 to 150 are in its segment, and 151 onwards in the next.
    let segments = [segment(1, 1), segment(90, 2), segment(100, 1), segment(151, 2)];
    let with = |snapshots: &[StoredFile]| removes(&[&segments[..], snapshots].concat(), &Retention::default(), 0);
    assert_eq!(with(&[snapshot(120, 2, 0), snapshot(140, 2, 0)]), "l100.1 l1.1");
    assert_eq!(with(&[snapshot(150, 2, 0), snapshot(160, 2, 0)]), "l100.1 l1.1 l90.2");
    assert_eq!(with(&[snapshot(95, 2, 0), snapshot(160, 2, 0)]), "l1.1");
}

#[test]
fn the_newest_two_snapshots_and_every_segment_since_the_older_one_are_kept() {
    let segments = [segment(1, 1), segment(50, 1), segment(101, 1), segment(150, 1), segment(220, 1)];
    let with = |snapshots: &[StoredFile]| removes(&[&segments[..], snapshots].concat(), &Retention::default(), 0);
    assert_eq!(with(&[]), "");
    assert_eq!(with(&[snapshot(300, 1, 0)]), "", "the log stands in for the second snapshot");
    assert_eq!(with(&[snapshot(100, 1, 0), snapshot(200, 1, 0)]), "l1.1 l50.1");
    assert_eq!(with(&[snapshot(99, 1, 0), snapshot(200, 1, 0)]), "l1.1", "record 100 is in the second segment");
    assert_eq!(with(&[snapshot(200, 1, 0), snapshot(10, 1, 0), snapshot(100, 1, 0)]), "s10.1 l1.1 l50.1");
    assert_eq!(with(&[snapshot(900, 1, 0), snapshot(901, 1, 0)]), "l1.1 l50.1 l101.1 l150.1", "never the last");
    assert_eq!(with(&[snapshot(200, 1, 0), snapshot(200, 2, 0), snapshot(100, 1, 0)]), "s100.1 l1.1 l50.1 l101.1");
}

#[test]
fn one_snapshot_is_kept_at_least_and_more_if_asked_for() {
    let files = [segment(1, 1), segment(101, 1), snapshot(100, 1, 0), snapshot(200, 1, 0), snapshot(300, 1, 0)];
    let keep = |snapshots| removes(&files, &Retention { snapshots, ..Default::default() }, 0);
    assert_eq!(keep(0), "s100.1 s200.1 l1.1");
    assert_eq!(keep(1), keep(0));
    assert_eq!(keep(3), "l1.1");
    assert_eq!(keep(4), "");
}

#[test]
fn a_segment_begun_again_by_a_later_epoch_is_judged_by_its_own_records() {
    // Epoch 2 took the tail from 60 on over into its own segment; epoch 3 began where epoch 2 had written nothing.
    let files = [segment(1, 1), segment(50, 1), segment(60, 2), segment(80, 2), segment(80, 3)];
    let with =
        |lsn| removes(&[&files[..], &[snapshot(lsn, 3, 0), snapshot(900, 3, 0)]].concat(), &Retention::default(), 0);
    assert_eq!(with(58), "l1.1");
    assert_eq!(with(59), "l1.1 l50.1");
    assert_eq!(with(78), "l1.1 l50.1");
    assert_eq!(with(79), "l80.2 l1.1 l50.1 l60.2", "what is superseded goes before what supersedes it");
}

#[test]
fn time_and_bytes_keep_more() {
    let files = [
        segment(1, 1),
        segment(101, 1),
        segment(201, 1),
        segment(301, 1),
        snapshot(100, 1, 1_000),
        snapshot(200, 1, 2_000),
        snapshot(300, 1, 3_000),
        snapshot(400, 1, 4_000),
    ];
    let by_time = |keep_ms| removes(&files, &Retention { keep_ms: Some(keep_ms), ..Default::default() }, 5_000);
    assert_eq!(by_time(0), "s100.1 s200.1 l1.1 l101.1 l201.1");
    assert_eq!(by_time(2_000), by_time(0), "moment 3000 can be reached from the snapshot begun then");
    assert_eq!(by_time(2_001), "s100.1 l1.1 l101.1");
    assert_eq!(by_time(3_001), "l1.1");
    assert_eq!(by_time(u64::MAX), "l1.1", "the log before the oldest snapshot reaches no moment without another");
    let by_len = |bytes| removes(&files, &Retention { keep_bytes: Some(bytes), ..Default::default() }, 5_000);
    assert_eq!(by_len(229), by_time(0), "two snapshots more would need 30 bytes and two segments");
    assert_eq!(by_len(230), "s100.1 l1.1 l101.1");
    assert_eq!(by_len(340), "l1.1");
    let both = Retention { keep_ms: Some(2_001), keep_bytes: Some(0), ..Default::default() };
    assert_eq!(removes(&files, &both, 5_000), by_time(2_001));
}

#[test]
fn files_that_are_not_live_are_not_retentions_business() {
    let other = |name: FileName| StoredFile { name, len: 1, created_ms: 0 };
    let of = FileName::Snapshot { lsn: 5, epoch: 1 }.to_string();
    let files = [
        other(FileName::Bad { of: of.clone(), epoch: 2 }),
        other(FileName::Torn { of, epoch: 2 }),
        other(FileName::Foreign("dump.rdb".into())),
        other(FileName::Store),
        snapshot(100, 1, 0),
        snapshot(200, 1, 0),
    ];
    assert_eq!(removes(&files, &Retention::default(), 0), "");
}

/// Three snapshots at 100, 200 and 300 and segments from 1, 101, 201 and 301 on.
fn store() -> SimDisk {
    let disk = SimDisk::new();
    let mut keyspace = Keyspace::new(HashSeed([3; 16]), 4);
    for lsn in [100u64, 200, 300] {
        keyspace.db_mut(0).set_string(HashSeed([3; 16]).key(&lsn.to_le_bytes()), b"value", Deadline::Clear);
        take(&mut keyspace, &disk, lsn);
    }
    for first in [1, 101, 201, 301] {
        let file = disk.open(&FileName::Segment { first, epoch: 1 }.to_string(), OpenMode::CreateNew).unwrap();
        write_all_at(&*file, &[7; 100], 0).unwrap();
        file.sync().unwrap();
    }
    disk.sync_dir().unwrap();
    disk
}

fn listed(disk: &SimDisk) -> Vec<StoredFile> {
    let file = |entry: crate::disk::DirEntry| StoredFile {
        name: FileName::parse(&entry.name),
        len: entry.len,
        created_ms: header(1, 1).created_ms,
    };
    disk.list().unwrap().into_iter().map(file).collect()
}

fn removal(disk: &SimDisk, verified: &[(u64, u64)]) -> Removal {
    let plan = plan(&listed(disk), &Retention::default(), 0);
    Removal::new(Arc::new(disk.clone()), plan, &verified.iter().copied().collect::<HashSet<_>>())
}

fn finish(removal: &mut Removal) -> Result<Removed, super::SnapshotError> {
    loop {
        if let Some(removed) = removal.step()? {
            return Ok(removed);
        }
    }
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn removal_verifies_what_it_relies_on_and_removes_the_rest() {
    let disk = store();
    let before = names(&disk);
    let mut run = removal(&disk, &[]);
    let removed = finish(&mut run).unwrap();
    assert_eq!(run.newly_verified(), [(200, 1), (300, 1)]);
    assert_eq!(removed.names.len(), 3);
    let left = names(&disk);
    assert_eq!(left.len(), before.len() - 3);
    assert!(removed.names.iter().all(|name| before.contains(name) && !left.contains(name)));
    assert!(disk.state().is_durable());
    assert_eq!(finish(&mut removal(&disk, &[])).unwrap(), Removed::default(), "nothing is left to do");
}

#[test]
fn nothing_is_removed_while_a_snapshot_that_is_relied_on_is_rotten_or_cannot_be_read() {
    let disk = store();
    let before = names(&disk);
    for lsn in [200, 300] {
        let name = FileName::Snapshot { lsn, epoch: 1 }.to_string();
        let len = disk.state().bytes(&name).unwrap().len();
        for at in (0..len).step_by(31) {
            let disk = SimDisk::from_state(disk.state());
            let file = disk.open(&name, OpenMode::Write).unwrap();
            let byte = disk.state().bytes(&name).unwrap()[at];
            write_all_at(&*file, &[byte ^ 1], at as u64).unwrap();
            let error = finish(&mut removal(&disk, &[])).expect_err("a rotten snapshot");
            assert!(error.is_damage(), "{error}");
            assert_eq!(names(&disk), before);
        }
    }
    let calls = {
        let disk = SimDisk::from_state(disk.state());
        finish(&mut removal(&disk, &[])).unwrap();
        disk.calls()
    };
    for call in 2..=calls {
        // The first call was the listing for the plan.
        let disk = SimDisk::from_state(disk.state());
        let mut run = removal(&disk, &[]);
        disk.set_faults([Fault::nth(call - 1, Effect::Error(Errno::IO))]);
        let error = finish(&mut run).expect_err("a failed call");
        assert!(!error.is_damage(), "{error}");
        assert!(finish(&mut run).is_ok(), "a failed removal is over");
        disk.set_faults([]);
        finish(&mut removal(&disk, &[])).unwrap();
        assert_eq!(names(&disk).len(), before.len() - 3, "call {call}");
    }
}

#[test]
fn a_snapshot_verified_before_is_not_read_again() {
    let disk = store();
    disk.keep_trace();
    finish(&mut removal(&disk, &[(200, 1), (300, 1)])).unwrap();
    assert!(disk.trace().iter().all(|call| !call.name.starts_with("snap-00000000000000000[23]")));
    assert!(!disk.trace().iter().any(|call| call.kind == crate::disk::sim::CallKind::Read));
}

#[test]
fn a_crash_in_a_removal_leaves_snapshots_that_an_unbroken_log_continues() {
    let disk = store();
    let states: Arc<Mutex<Vec<DiskState>>> = Arc::default();
    let seen = states.clone();
    disk.observe(move |_, state| seen.lock().unwrap().push(state.clone()));
    finish(&mut removal(&disk, &[])).unwrap();
    disk.unobserve();
    let rules = CrashRules { small_write_len: 16, scatter: false, garbage: false };
    let states = std::mem::take(&mut *states.lock().unwrap());
    for state in &states {
        let mut chooser = Chooser::odometer();
        loop {
            let crashed = SimDisk::from_state(state.crash(&mut chooser, &rules));
            let (mut snapshots, mut segments) = (Vec::new(), Vec::new());
            for file in listed(&crashed) {
                match file.name {
                    FileName::Snapshot { lsn, .. } => {
                        SnapshotReader::open(&crashed, &file.name.to_string(), None).expect("whole");
                        snapshots.push(lsn);
                    }
                    FileName::Segment { first, .. } => segments.push(first),
                    _ => {}
                }
            }
            assert!([vec![100, 200, 300], vec![200, 300]].contains(&snapshots), "{snapshots:?}");
            assert!(segments.ends_with(&[201, 301]), "{segments:?}");
            assert!([1, 101, 201].ends_with(&segments[..segments.len() - 1]), "{segments:?} has a gap");
            assert!(
                segments[0] <= snapshots[0] + 1,
                "the log {segments:?} does not continue snapshot {}",
                snapshots[0]
            );
            if !chooser.advance() {
                break;
            }
        }
    }
}

#[test]
fn a_long_file_is_cut_down_under_a_temporary_name() {
    let disk = store();
    let name = FileName::Snapshot { lsn: 100, epoch: 1 }.to_string();
    let plan = Plan { remove: vec![(name.clone(), 64 * 1024 * 1024 + 1)], relies_on: vec![(300, 1)] };
    let mut run = Removal::new(Arc::new(disk.clone()), plan, &HashSet::new());
    disk.keep_trace();
    let removed = finish(&mut run).unwrap();
    assert_eq!((removed.names, removed.bytes), (vec![name.clone()], 64 * 1024 * 1024 + 1));
    let calls: Vec<String> = disk.trace().iter().map(|call| format!("{:?} {}", call.kind, call.name)).collect();
    let temporary = format!("{name}.tmp");
    let tail = [
        format!("Rename {name}"),
        "SyncDir ".to_owned(),
        format!("Open {temporary}"),
        format!("SetLen {temporary}"),
        format!("Remove {temporary}"),
        "SyncDir ".to_owned(),
    ];
    assert!(calls.ends_with(&tail), "{calls:?}");
}
