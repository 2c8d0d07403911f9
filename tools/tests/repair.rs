//! `firn check` and `firn repair` on damaged stores: what is damaged is named, and nothing else is lost.

mod common;

use common::{BEGIN_MS, Numbers, digests, digests_of, files, firn, options, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A store of 1000 keys, each set by a frame of its own; with a snapshot at the end if asked for.
fn thousand(folder: &Path, snapshot: bool) -> BTreeMap<usize, u128> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    for number in 0..1000 {
        let value = format!("value {number} {}", "v".repeat(number % 60));
        run(&store, 0, &[b"SET", format!("key:{number}").as_bytes(), value.as_bytes()]);
        store.commit();
    }
    if snapshot {
        let ticket = store.request_snapshot();
        while store.step() {}
        store.wait_snapshot(ticket).expect("a snapshot");
    }
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for file in files(from, "") {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copied");
    }
}

fn change(file: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(file).expect("readable");
    content[at..at + bytes.len()].iter_mut().zip(bytes).for_each(|(old, new)| *old ^= new);
    fs::write(file, content).expect("writable");
}

fn keys(folder: &Path) -> BTreeSet<String> {
    let lines = firn(&["inspect", shown(folder), "--keys", "--json"]).ended(0).lines();
    lines.iter().map(|line| line["key"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn any_single_changed_byte_is_put_right_and_nothing_is_lost() {
    let at = tempfile::tempdir().expect("a folder");
    let whole = at.path().join("whole");
    let known = thousand(&whole, true);
    let mut numbers = Numbers(3);
    for number in 0..24 {
        let damaged = at.path().join(format!("damaged-{number}"));
        copy(&whole, &damaged);
        let all: Vec<_> = files(&damaged, "").into_iter().filter(|file| !shown(file).ends_with("LOCK")).collect();
        let file = &all[numbers.below(all.len() as u64) as usize];
        let used = match shown(file).ends_with(".seg") {
            // Behind the frames there are only zeros: those are covered by the next test.
            true => fs::read(file).expect("readable").iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64,
            false => fs::metadata(file).expect("there").len(),
        };
        let place = numbers.below(used.max(1)) as usize;
        change(file, place, &[1 + numbers.below(255) as u8]);
        let made = at.path().join(format!("made-{number}"));
        let report = firn(&["repair", shown(&damaged), "-o", shown(&made), "--json"]);
        assert_eq!(report.code, 0, "{} at {place}: {}{}", file.display(), report.out, report.err);
        assert_eq!(digests_of(&made), known, "{} at {place}: {}", file.display(), report.out);
    }
}

#[test]
fn two_garbage_bytes_cost_one_key_which_is_named() {
    let at = tempfile::tempdir().expect("a folder");
    let damaged = at.path().join("damaged");
    thousand(&damaged, false);
    // In the middle of the value of key:500.
    let segment = files(&damaged, ".seg")
        .into_iter()
        .find(|file| fs::read(file).expect("readable").windows(9).any(|window| window == b"value 500"));
    let segment = segment.expect("some segment has it");
    let content = fs::read(&segment).expect("readable");
    let place = content.windows(9).position(|window| window == b"value 500").expect("it is there");
    change(&segment, place, &[0x55, 0, 0, 0, 0x77]);

    let check = firn(&["check", shown(&damaged), "--json"]).ended(1).json();
    let problems = check["problems"].as_array().expect("a list");
    let damages: Vec<_> = problems.iter().filter(|problem| problem["severity"] == "damage").collect();
    assert_eq!(damages.len(), 1, "{check}");
    assert_eq!((damages[0]["lsn"].as_u64(), damages[0]["offset"].is_u64()), (Some(501), true), "{check}");
    assert!(damages[0]["message"].as_str().is_some_and(|text| text.contains("key:500")), "{check}");
    let refused = firn(&["inspect", shown(&damaged), "--keys"]).ended(1);
    assert!(refused.err.contains("damaged"), "{}", refused.err);

    let made = at.path().join("made");
    let report = firn(&["repair", shown(&damaged), "-o", shown(&made), "--json"]).ended(1).json();
    let left = keys(&made);
    assert_eq!(left.len(), 999, "{report}");
    assert!(!left.contains("key:500"));
    assert_eq!(report["lost_keys"], serde_json::json!(["key:500"]));
    let aside = report["set_aside_in"].as_str().expect("a folder");
    assert_eq!(files(Path::new(aside), "").len(), 1);
    let text = firn(&["repair", shown(&damaged), "-o", shown(&at.path().join("again"))]).ended(1).out;
    assert!(
        text.contains("left out") && text.contains("key:500") && text.contains("1 part could not be read"),
        "{text}"
    );
    firn(&["repair", shown(&damaged), "-o", shown(&made)]).ended(2);
}

#[test]
fn zeros_behind_the_end_and_cut_tails_lose_nothing_that_is_there() {
    let at = tempfile::tempdir().expect("a folder");
    let whole = at.path().join("whole");
    let known = thousand(&whole, false);
    let zeros = at.path().join("zeros");
    copy(&whole, &zeros);
    let last = files(&zeros, ".seg").pop().expect("a segment");
    let content = fs::read(&last).expect("readable");
    fs::write(&last, [&content[..], &[0; 4096]].concat()).expect("writable");
    let made = at.path().join("zeros-made");
    firn(&["repair", shown(&zeros), "-o", shown(&made)]).ended(0);
    assert_eq!(digests_of(&made), known);
    let used = content.iter().rposition(|byte| *byte != 0).expect("frames") + 1;
    for (number, cut) in [used - 1, used - 64, used - 65, used - 200, used - 1000, 129, 40].into_iter().enumerate() {
        let damaged = at.path().join(format!("cut-{number}"));
        copy(&whole, &damaged);
        fs::write(damaged.join(last.file_name().expect("a name")), &content[..cut]).expect("writable");
        let made = at.path().join(format!("cut-made-{number}"));
        let report = firn(&["repair", shown(&damaged), "-o", shown(&made), "--json"]);
        assert!(report.code <= 1, "{}{}", report.out, report.err);
        let left = keys(&made);
        // A prefix: every key up to the last one, and no other.
        assert!((0..left.len()).all(|number| left.contains(&format!("key:{number}"))), "cut at {cut}");
        assert!(cut < used - 1000 || left.len() > 980, "cut at {cut}: {}", left.len());
    }
}

#[test]
fn a_block_of_the_only_snapshot_costs_its_keys_alone_and_they_are_named() {
    let at = tempfile::tempdir().expect("a folder");
    let (whole, damaged, made) = (at.path().join("whole"), at.path().join("damaged"), at.path().join("made"));
    // A store that begins with a snapshot: no log leads up to it.
    let first = at.path().join("first");
    thousand(&first, false);
    firn(&["compact", shown(&first), "-o", shown(&whole)]).ended(0);
    copy(&whole, &damaged);
    let snapshot = files(&damaged, ".snap").pop().expect("a snapshot");
    change(&snapshot, 500, &[0x55, 0, 0, 0, 0x77, 0, 0, 1]);
    firn(&["check", shown(&damaged)]).ended(1);
    let report = firn(&["repair", shown(&damaged), "-o", shown(&made), "--json"]).ended(1).json();
    let left = keys(&made).len();
    // All of it is one block or two here.
    assert!(left < 1000 && report["left_out"].as_array().is_some_and(|parts| !parts.is_empty()), "{report}");
    let message = report["left_out"][0]["message"].as_str().expect("a text");
    let lost: usize = message
        .split("; ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(1000);
    assert!(left + lost >= 1000 || left == 0, "{message}");

    // The index and the footer gone: the blocks are found all the same.
    let cut = at.path().join("cut");
    copy(&whole, &cut);
    let snapshot = files(&cut, ".snap").pop().expect("a snapshot");
    let content = fs::read(&snapshot).expect("readable");
    fs::write(&snapshot, &content[..content.len() - 120]).expect("writable");
    let made = at.path().join("cut-made");
    let report = firn(&["repair", shown(&cut), "-o", shown(&made), "--json"]);
    assert_eq!(keys(&made).len(), 1000, "{}{}", report.out, report.err);
}

#[test]
fn a_store_whose_whole_log_is_gone_is_refused_and_can_be_made_of_its_snapshot() {
    let at = tempfile::tempdir().expect("a folder");
    let (whole, damaged, mended) = (at.path().join("whole"), at.path().join("damaged"), at.path().join("mended"));
    let known = thousand(&whole, true);
    copy(&whole, &damaged);
    for segment in files(&damaged, ".seg") {
        fs::remove_file(segment).expect("removed");
    }
    let refused = Store::open_folder(&damaged, &options(&Arc::new(ManualClock::new(BEGIN_MS))));
    let refused = refused.err().expect("old data is not served as if nothing had happened").to_string();
    assert!(refused.contains("everything since record 1001 is missing"), "{refused}");
    let check = firn(&["check", shown(&damaged)]).ended(1);
    assert!(check.out.contains("not one segment"), "{}", check.out);
    firn(&["compact", shown(&damaged), "-o", shown(&at.path().join("x"))]).ended(1);
    let report = firn(&["repair", shown(&damaged), "-o", shown(&mended), "--json"]).ended(1).json();
    assert!(report["left_out"][0]["message"].as_str().expect("text").contains("not one segment"), "{report}");
    assert_eq!(digests_of(&mended), known);
    // What firn makes has no log, and is whole all the same.
    firn(&["check", shown(&mended)]).ended(0);
}

#[test]
fn a_copy_of_a_folder_in_use_is_not_in_use() {
    let at = tempfile::tempdir().expect("a folder");
    let (used, copied) = (at.path().join("used"), at.path().join("copied"));
    let store = Store::open_folder(&used, &options(&Arc::new(ManualClock::new(BEGIN_MS)))).expect("a new store");
    run(&store, 0, &[b"SET", b"a", b"1"]);
    store.commit();
    copy(&used, &copied);
    let process = format!("process {}", std::process::id());
    assert!(firn(&["check", shown(&used)]).out.contains(&process));
    assert!(!firn(&["check", shown(&copied)]).out.contains("process"));
    store.close().expect("a clean end");
}

#[test]
fn bytes_cut_out_of_the_newest_segment_or_a_snapshot_are_damage_for_check_as_for_repair() {
    let at = tempfile::tempdir().expect("a folder");
    let whole = at.path().join("whole");
    thousand(&whole, true);
    thousand(&at.path().join("log"), false);
    for (number, count) in [1, 7, 64, 300].into_iter().enumerate() {
        let damaged = at.path().join(format!("cut-{number}"));
        copy(&at.path().join("log"), &damaged);
        let last = files(&damaged, ".seg").pop().expect("a segment");
        let mut content = fs::read(&last).expect("readable");
        let place = content.windows(7).position(|window| window == b"key:900").expect("it is there");
        content.drain(place..place + count);
        fs::write(&last, content).expect("writable");
        let told = firn(&["check", shown(&damaged)]).ended(1).out;
        assert!(told.contains("missing before byte") && !told.contains("torn tail, promised"), "{told}");
        let made = at.path().join(format!("made-{number}"));
        firn(&["repair", shown(&damaged), "-o", shown(&made)]).ended(1);
        assert!(keys(&made).len() >= 990, "{}", keys(&made).len());
    }
    // Whole blocks and more: what is set aside overlaps.
    let snapshot = files(&whole, ".snap").pop().expect("a snapshot");
    let content = fs::read(&snapshot).expect("readable");
    let file = at.path().join(snapshot.file_name().expect("a name"));
    for number in 0..12 {
        let (mut cut, from) = (content.clone(), 200 + number * (content.len() / 20));
        cut.drain(from..from + 1000);
        fs::write(&file, cut).expect("writable");
        let made = at.path().join(format!("snapshot-{number}"));
        firn(&["check", shown(&file)]).ended(1);
        firn(&["repair", shown(&file), "-o", shown(&made)]).ended(1);
    }
}
