//! Each promise of the simulated disk, by itself.

use super::*;
use crate::disk::{contract, read_full_at, write_all_at};
use std::collections::{BTreeMap, BTreeSet};

fn created(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = disk.open(name, OpenMode::CreateNew).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

fn durable(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = created(disk, name, bytes);
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    file
}

fn contents(state: &DiskState) -> BTreeMap<String, Vec<u8>> {
    state.names().map(|name| (name.to_owned(), state.bytes(name).unwrap().to_vec())).collect()
}

/// Every outcome of a power cut, checking that the bound on their number holds.
fn outcomes(disk: &SimDisk, rules: &CrashRules) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    let state = disk.state();
    let (mut chooser, mut seen, mut runs) = (Chooser::odometer(), BTreeSet::new(), 0);
    loop {
        let crashed = state.crash(&mut chooser, rules);
        assert!(crashed.is_durable());
        seen.insert(contents(&crashed));
        runs += 1;
        if !chooser.advance() {
            break;
        }
    }
    assert!(runs <= state.crash_outcomes(rules), "{runs} outcomes, {} foretold", state.crash_outcomes(rules));
    seen
}

fn files_of(disk: &SimDisk, name: &str, rules: &CrashRules) -> BTreeSet<Option<Vec<u8>>> {
    outcomes(disk, rules).into_iter().map(|mut files| files.remove(name)).collect()
}

fn text(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    let len = read_full_at(&*file, &mut bytes, 0).unwrap();
    assert_eq!(len, bytes.len());
    bytes
}

const RULES: CrashRules = CrashRules { small_write_len: 128, scatter: false, garbage: false };

#[test]
fn it_keeps_the_contract_of_every_disk() {
    contract::check(&|| (Box::new(SimDisk::new()), Box::new(())));
}

#[test]
fn synced_content_under_a_synced_name_survives_every_crash() {
    let disk = SimDisk::new();
    durable(&disk, "a", b"kept");
    assert!(disk.state().is_durable());
    assert_eq!(files_of(&disk, "a", &RULES), [Some(b"kept".to_vec())].into());
}

#[test]
fn an_unsynced_write_is_kept_lost_or_torn_at_every_byte() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"....");
    write_all_at(&*file, b"xyz", 1).unwrap();
    let expected = ["....", ".x..", ".xy.", ".xyz", "..yz", "...z"];
    let expected: BTreeSet<_> = expected.iter().map(|text| Some(text.as_bytes().to_vec())).collect();
    assert_eq!(files_of(&disk, "a", &RULES), expected);
    assert!(!disk.state().is_durable());
}

#[test]
fn a_large_write_is_torn_only_between_sectors() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", &[0; 2048]);
    write_all_at(&*file, &[1; 1300], 100).unwrap();
    let mut expected = BTreeSet::new();
    for (from, to) in [(100, 100), (100, 1400), (100, 512), (100, 1024), (512, 1400), (1024, 1400)] {
        let mut bytes = vec![0; 2048];
        bytes[from..to].fill(1);
        expected.insert(Some(bytes));
    }
    assert_eq!(files_of(&disk, "a", &RULES), expected);
    let scattered = files_of(&disk, "a", &CrashRules { scatter: true, ..RULES });
    assert_eq!(scattered.len(), 8, "three sectors, each on its own");
    assert!(scattered.is_superset(&expected));
}

#[test]
fn later_writes_may_survive_earlier_ones_in_one_file_and_across_files() {
    let disk = SimDisk::new();
    let (a, b) = (durable(&disk, "a", b"--"), durable(&disk, "b", b"-"));
    for (file, at) in [(&a, 0), (&b, 0), (&a, 1)] {
        file.write_at(b"x", at).unwrap();
    }
    let seen = outcomes(&disk, &RULES);
    assert_eq!(seen.len(), 8, "three writes, each kept or not");
    assert!(seen.contains(&BTreeMap::from([("a".into(), b"-x".to_vec()), ("b".into(), b"-".to_vec())])));
}

#[test]
fn a_length_survives_without_its_data_and_data_without_its_length() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"ab");
    file.write_at(b"c", 2).unwrap();
    let expected: BTreeSet<_> = [&b"ab"[..], b"abc", b"ab\0"].iter().map(|bytes| Some(bytes.to_vec())).collect();
    assert_eq!(files_of(&disk, "a", &RULES), expected);
    let garbage = files_of(&disk, "a", &CrashRules { garbage: true, ..RULES });
    assert!(garbage.contains(&Some(b"abZ".to_vec())) && garbage.is_superset(&expected));
    file.sync().unwrap();
    assert_eq!(files_of(&disk, "a", &RULES), [Some(b"abc".to_vec())].into());
}

#[test]
fn an_unsynced_cut_may_leave_the_old_bytes_or_the_old_length() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"abcd");
    file.set_len(1).unwrap();
    file.set_len(3).unwrap();
    let seen = files_of(&disk, "a", &RULES);
    let expected = [&b"a"[..], b"abc", b"abcd", b"a\0\0", b"a\0\0\0"];
    assert_eq!(seen, expected.iter().map(|bytes| Some(bytes.to_vec())).collect());
}

#[test]
fn names_survive_only_by_a_sync_of_the_folder_each_on_its_own() {
    let disk = SimDisk::new();
    durable(&disk, "old", b"o");
    let file = created(&disk, "new", b"n");
    file.sync().unwrap();
    disk.remove("old").unwrap();
    let names: BTreeSet<Vec<String>> =
        outcomes(&disk, &RULES).into_iter().map(|files| files.into_keys().collect()).collect();
    let expected: [&[&str]; 4] = [&["old"], &["new", "old"], &[], &["new"]];
    assert_eq!(names, expected.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect());
    disk.sync_dir().unwrap();
    assert_eq!(outcomes(&disk, &RULES), [BTreeMap::from([("new".to_owned(), b"n".to_vec())])].into());
}

#[test]
fn a_rename_replaces_its_target_wholly_or_not_at_all() {
    let disk = SimDisk::new();
    durable(&disk, "a", b"old");
    let file = created(&disk, "a.tmp", b"new");
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    disk.rename("a.tmp", "a").unwrap();
    let seen = outcomes(&disk, &RULES);
    let before = BTreeMap::from([("a".to_owned(), b"old".to_vec()), ("a.tmp".to_owned(), b"new".to_vec())]);
    let after = BTreeMap::from([("a".to_owned(), b"new".to_vec())]);
    assert_eq!(seen, [before, after].into());
}

#[test]
fn a_rename_may_survive_the_content_it_was_to_publish() {
    let disk = SimDisk::new();
    durable(&disk, "a", b"old");
    created(&disk, "a.tmp", b"n");
    disk.rename("a.tmp", "a").unwrap();
    let seen = files_of(&disk, "a", &RULES);
    assert!(seen.contains(&Some(Vec::new())) && seen.contains(&Some(vec![0])) && seen.contains(&Some(b"n".to_vec())));
}

#[test]
fn after_a_failed_sync_reads_show_what_never_becomes_durable() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"..");
    file.write_at(b"x", 0).unwrap();
    disk.set_faults([Fault::nth(1, Effect::Error(Errno::IO)).of(CallKind::Sync)]);
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    file.write_at(b"y", 1).unwrap();
    file.sync().unwrap();
    assert_eq!(text(&disk, "a"), b"xy", "the page cache shows it");
    assert_eq!(files_of(&disk, "a", &RULES), [Some(b".y".to_vec())].into(), "the device has never seen it");
    assert_eq!(text(&SimDisk::from_state(disk.state().kill()), "a"), b"xy", "a new process is fooled as well");
    file.drop_cache().unwrap();
    assert_eq!(text(&disk, "a"), b".y", "until the cache is dropped");
}

#[test]
fn after_a_failed_sync_the_length_stays_over_zeros() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"");
    file.write_at(b"xy", 0).unwrap();
    disk.set_faults([Fault::nth(1, Effect::Error(Errno::IO)).of(CallKind::Sync)]);
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(files_of(&disk, "a", &RULES), [Some(b"\0\0".to_vec())].into());
}

#[test]
fn a_failed_sync_may_have_done_all_or_some_of_its_work() {
    for seed in 0..64 {
        let disk = SimDisk::new();
        let file = durable(&disk, "a", b"....");
        file.write_at(b"xx", 0).unwrap();
        file.write_at(b"yy", 2).unwrap();
        disk.set_faults([Fault::nth(1, Effect::ErrorPartly(Errno::IO, seed)).of(CallKind::Sync)]);
        file.sync().unwrap_err();
        let state = disk.state().crash(&mut Chooser::odometer(), &RULES);
        let bytes = state.bytes("a").unwrap();
        assert!(bytes.iter().zip(b"xxyy").all(|(&is, &new)| is == b'.' || is == new));
        if seed == 63 {
            disk.set_faults([Fault::nth(1, Effect::ErrorAfter(Errno::IO)).of(CallKind::Sync)]);
            file.write_at(b"zz", 0).unwrap();
            file.sync().unwrap_err();
            assert_eq!(&disk.state().durable_bytes("a").unwrap()[..2], b"zz");
        }
    }
}

#[test]
fn after_a_failed_sync_of_the_folder_its_names_never_become_durable() {
    let disk = SimDisk::new();
    created(&disk, "a", b"").sync().unwrap();
    disk.set_faults([Fault::nth(1, Effect::Error(Errno::IO)).of(CallKind::SyncDir)]);
    disk.sync_dir().unwrap_err();
    created(&disk, "b", b"").sync().unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.state().names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(outcomes(&disk, &RULES), [BTreeMap::from([("b".to_owned(), Vec::new())])].into());
    disk.rename("a", "c").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.state().crash(&mut Chooser::odometer(), &RULES).names().collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn a_killed_process_loses_nothing_that_reads_show() {
    let disk = SimDisk::new();
    let _lock = disk.lock().unwrap();
    created(&disk, "a", b"x");
    let next = SimDisk::from_state(disk.state().kill());
    assert_eq!(text(&next, "a"), b"x");
    let _lock_too = next.lock().unwrap();
    assert!(files_of(&next, "a", &RULES).contains(&None), "a kill makes nothing durable");
}

#[test]
fn faults_hit_the_nth_call_once_or_from_then_on() {
    let disk = SimDisk::new();
    let (a, b) = (durable(&disk, "a", b"...."), durable(&disk, "b", b"...."));
    disk.set_faults([Fault::nth(2, Effect::Error(Errno::NOSPC)).of(CallKind::Write).on("b")]);
    for (file, fails) in [(&a, false), (&b, false), (&a, false), (&b, true), (&b, false)] {
        assert_eq!(file.write_at(b"x", 0).is_err(), fails);
    }
    disk.set_faults([Fault::from_nth(3, Effect::Error(Errno::IO))]);
    assert!(a.len().is_ok() && a.sync().is_ok());
    assert!(a.len().is_err() && a.sync().is_err() && disk.list().is_err() && disk.sync_dir().is_err());
    assert_eq!(disk.fault_hits(), 5);
    disk.set_faults([]);
    assert!(a.sync().is_ok());
}

#[test]
fn short_reads_and_writes_do_only_so_much() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"....");
    disk.set_faults([Fault::from_nth(1, Effect::Short(1))]);
    assert_eq!(file.write_at(b"xyz", 0).unwrap(), 1);
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 1);
    write_all_at(&*file, b"abcd", 0).unwrap();
    assert_eq!(text(&disk, "a"), b"abcd");
}

#[test]
fn a_full_disk_takes_what_fits_and_then_refuses() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", &[0; 100]);
    disk.set_capacity(Some(150));
    assert_eq!(file.write_at(&[1; 100], 90).unwrap(), 60);
    assert_eq!(file.write_at(b"x", 150).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[2; 150], 0).unwrap(), 150, "what is there can be overwritten");
    let other = disk.open("b", OpenMode::CreateNew).unwrap();
    assert_eq!(other.preallocate(1).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.set_len(50).unwrap();
    other.preallocate(100).unwrap();
    assert_eq!(disk.used(), 150);
    file.write_at(b"x", 50).unwrap_err();
    assert_eq!(other.write_at(&[3; 100], 0).unwrap(), 100, "reserved blocks are there when they are needed");
    disk.remove("b").unwrap();
    file.write_at(b"x", 50).unwrap_err();
    drop(other);
    file.write_at(b"x", 50).unwrap();
}

#[test]
fn flipped_misdirected_and_ignored_writes_show_only_after_the_cache() {
    let cases: [(Effect, &[u8]); 3] =
        [(Effect::FlipBit(1), b"b..."), (Effect::Misdirect(2), b"..`."), (Effect::Ignored, b"....")];
    for (effect, on_disk) in cases {
        let disk = SimDisk::new();
        let file = durable(&disk, "a", b"....");
        disk.set_faults([Fault::nth(1, effect).of(CallKind::Write)]);
        file.write_at(b"`", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(text(&disk, "a"), b"`...");
        file.drop_cache().unwrap();
        assert_eq!(text(&disk, "a"), on_disk);
    }
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"`");
    disk.set_faults([Fault::nth(1, Effect::FlipBit(0)).of(CallKind::Read)]);
    let mut byte = [0];
    file.read_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"a");
    file.read_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"`");
}

#[test]
fn a_lying_sync_and_folder_sync_make_nothing_durable() {
    let disk = SimDisk::new();
    disk.set_faults([Fault::from_nth(1, Effect::Ignored).of(CallKind::Sync)]);
    durable(&disk, "a", b"x");
    assert!(files_of(&disk, "a", &RULES).contains(&Some(Vec::new())));
    disk.set_faults([Fault::from_nth(1, Effect::Ignored).of(CallKind::SyncDir)]);
    durable(&disk, "b", b"x");
    assert!(files_of(&disk, "b", &RULES).contains(&None));
}

#[test]
fn the_power_fails_at_a_chosen_call_and_stays_off() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"old");
    disk.set_faults([Fault::nth(2, Effect::PowerOff)]);
    file.write_at(b"new", 0).unwrap();
    file.sync().unwrap_err();
    disk.set_faults([]);
    file.sync().unwrap_err();
    disk.list().unwrap_err();
    assert!(files_of(&disk, "a", &RULES).contains(&Some(b"old".to_vec())));
}

#[test]
fn an_observer_sees_the_state_before_every_call() {
    let disk = SimDisk::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    disk.observe(move |call, state| sink.lock().push((call.to_string(), state.clone())));
    disk.keep_trace();
    let file = durable(&disk, "a", b"xy");
    disk.unobserve();
    file.len().unwrap();
    let seen = seen.lock();
    let calls: Vec<&str> = seen.iter().map(|(call, _)| &call[..]).collect();
    assert_eq!(calls, ["#1 Open a", "#2 Write a 0+2", "#3 Sync a", "#4 SyncDir "]);
    assert_eq!(seen[0].1.names().count(), 0);
    assert_eq!((seen[1].1.bytes("a"), seen[2].1.bytes("a")), (Some(&b""[..]), Some(&b"xy"[..])));
    assert_eq!((seen[3].1.durable_bytes("a"), disk.state().durable_bytes("a")), (None, Some(&b"xy"[..])));
    assert_eq!((disk.calls(), disk.trace().len()), (5, 5));
}

#[test]
fn a_delayed_call_waits_while_others_go_on() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"x");
    let other = disk.clone();
    let hook = Arc::new(move || drop(other.open("b", OpenMode::CreateNew).unwrap()));
    disk.set_faults([Fault::nth(1, Effect::Delay(hook)).of(CallKind::Sync)]);
    file.sync().unwrap();
    assert_eq!(disk.list().unwrap().len(), 2);
}

#[test]
fn what_is_written_during_a_sync_is_not_part_of_it() {
    let disk = SimDisk::new();
    let file = durable(&disk, "a", b"x");
    write_all_at(&*file, b"xy", 0).unwrap();
    let other = disk.clone();
    let hook = Arc::new(move || {
        write_all_at(&*other.open("a", OpenMode::Write).unwrap(), b"z", 2).unwrap();
    });
    disk.set_faults([Fault::nth(1, Effect::During(hook)).of(CallKind::Sync)]);
    file.sync().unwrap();
    assert_eq!((text(&disk, "a"), disk.state().durable_bytes("a").unwrap()), (b"xyz".to_vec(), &b"xy"[..]));
    let torn = [Some(b"xy".to_vec()), Some(b"xyz".to_vec()), Some(b"xy\0".to_vec())];
    assert_eq!(files_of(&disk, "a", &RULES), BTreeSet::from(torn));
    file.sync().unwrap();
    assert_eq!(disk.state().durable_bytes("a").unwrap(), b"xyz");
    // Names as well.
    let other = disk.clone();
    let hook = Arc::new(move || other.rename("b", "c").unwrap());
    created(&disk, "b", b"");
    disk.set_faults([Fault::nth(1, Effect::During(hook)).of(CallKind::SyncDir)]);
    disk.sync_dir().unwrap();
    let state = disk.state();
    assert!(state.durable_bytes("b").is_some() && state.durable_bytes("c").is_none());
    disk.sync_dir().unwrap();
    assert!(disk.state().durable_bytes("c").is_some() && disk.state().durable_bytes("b").is_none());
}

#[test]
fn damage_at_rest_changes_what_is_read_and_what_is_durable() {
    let disk = SimDisk::new();
    durable(&disk, "a", b"ab");
    let mut state = disk.state();
    state.edit("a", |bytes| bytes[0] ^= 1);
    state.put("b", b"planted".to_vec());
    assert_eq!((state.bytes("a"), state.durable_bytes("b")), (Some(&b"`b"[..]), Some(&b"planted"[..])));
    state.erase("a");
    assert_eq!(state.names().collect::<Vec<_>>(), ["b"]);
    assert_eq!(text(&disk, "a"), b"ab", "a state is a copy");
}
