//! The table of verdicts, row by row.

use super::*;
use crate::format::{FLAG_UNANCHORED, FileHeader, FileKind, StoreId};
use crate::key::HashSeed;
use crate::log::chain::{chain, needed};
use crate::log::reader::Skipped;

/// A segment of `epoch` with records `first` to `next - 1` that ended with `end`; all below `durable + 1` is durable.
fn segment(first: Lsn, epoch: u64, next: Lsn, durable: Lsn, end: End) -> SegmentFound {
    let header = FileHeader {
        kind: FileKind::Segment,
        flags: 0,
        store: StoreId([1; 16]),
        hash_seed: HashSeed([2; 16]),
        number: first,
        epoch,
        created_ms: 0,
        durable: 0,
    };
    let scan = Scan {
        header: (!matches!(end, End::BadHeader(_))).then_some(header),
        next,
        offset: 1000,
        end,
        durable,
        behind: None,
        skipped: Vec::new(),
        frames: 1,
        len: 2000,
        last_time_ms: 0,
    };
    SegmentFound { name: format!("log-{first}-{epoch}"), first, epoch, scan: Ok(scan) }
}

fn unanchored(mut segment: SegmentFound) -> SegmentFound {
    if let Ok(Scan { header: Some(header), .. }) = &mut segment.scan {
        header.flags = FLAG_UNANCHORED;
    }
    segment
}

fn found(snapshot: Option<Lsn>, segments: Vec<SegmentFound>) -> Found {
    Found { snapshot, durable: snapshot.unwrap_or(0), identity: true, segments, ..Found::default() }
}

const SEALED: End = End::Sealed { stray: None };
const BROKEN: End = End::Broken(BadFrame::Short { have: 3 });
const NO_HEADER: End = End::BadHeader(BadHeader::Short(5));

/// What the plan says, in one line, or why there is none.
fn verdict(found: &Found) -> String {
    match judge(found) {
        Verdict::Open(plan) => {
            let replay: Vec<_> =
                plan.replay.iter().map(|part| format!("{}:{}-{}", part.segment, part.from, part.to)).collect();
            let aside: Vec<_> =
                plan.set_aside.iter().map(|aside| format!("{}@{}", aside.segment, aside.offset)).collect();
            let unanchored = if plan.unanchored { " unanchored" } else { "" };
            format!(
                "open [{}] next {} copy {} aside [{}]{unanchored} {}",
                replay.join(" "),
                plan.next,
                plan.copy_from,
                aside.join(" "),
                plan.warnings.len()
            )
        }
        Verdict::Refuse(refusal) => format!("{:?} at {:?}", refusal.why, refusal.file.unwrap_or_default()),
    }
}

#[test]
fn every_row_of_the_table() {
    let a = || segment(1, 1, 51, 50, SEALED);
    let foreign = BadHeader::OtherStore { found: StoreId([3; 16]), expected: StoreId([1; 16]) };
    let mut rows: Vec<(&str, Found, String)> = Vec::new();
    let mut row = |name, found, expected: &str| rows.push((name, found, expected.to_owned()));
    let damaged = |what: &str, file: &str| format!("Damaged({what:?}) at {file:?}");
    let short = BadFrame::Short { have: 3 }.to_string();
    let no_header = BadHeader::Short(5).to_string();

    row("nothing at all", Found::default(), "open [] next 1 copy 1 aside [] 0");
    row("an identity alone", found(None, vec![]), "Vanished at \"\"");
    row(
        "a snapshot beside which a log was on, alone",
        Found { has_log: true, ..found(Some(50), vec![]) },
        "LogVanished(51) at \"\"",
    );
    row(
        "whole",
        found(None, vec![a(), segment(51, 1, 81, 60, End::Clean)]),
        "open [0:1-50 1:51-80] next 81 copy 61 aside [] 0",
    );
    row(
        "all durable",
        found(None, vec![segment(1, 1, 81, 80, End::Clean)]),
        "open [0:1-80] next 81 copy 81 aside [] 0",
    );
    row(
        "torn, D < E",
        found(None, vec![a(), segment(51, 1, 81, 80, BROKEN)]),
        "open [0:1-50 1:51-80] next 81 copy 81 aside [1@1000] 0",
    );
    row("broken, D >= E", found(None, vec![a(), segment(51, 1, 81, 81, BROKEN)]), &damaged(&short, "log-51-1"));
    row("missing, D >= E", found(None, vec![a(), segment(51, 1, 81, 81, End::Clean)]), "Missing at \"log-51-1\"");
    row(
        "broken, D < E, and a valid segment behind",
        found(None, vec![segment(1, 1, 41, 30, BROKEN), segment(51, 1, 81, 40, End::Clean)]),
        "open [0:1-40] next 41 copy 41 aside [0@1000 1@0] 0",
    );
    row(
        "lost, D < E, and a valid segment behind",
        found(None, vec![segment(1, 1, 41, 30, End::Clean), segment(51, 1, 81, 40, End::Clean)]),
        "open [0:1-40] next 41 copy 41 aside [1@0] 0",
    );
    row(
        "broken, and the segment behind says that it was durable",
        found(None, vec![segment(1, 1, 41, 30, BROKEN), segment(51, 1, 81, 50, End::Clean)]),
        &damaged(&short, "log-1-1"),
    );
    row(
        "only the seal is torn",
        found(None, vec![segment(1, 1, 51, 30, BROKEN), segment(51, 1, 81, 80, End::Clean)]),
        "open [0:1-50 1:51-80] next 81 copy 81 aside [] 0",
    );
    row(
        "a header torn while being made",
        found(None, vec![segment(1, 1, 51, 0, End::Clean), segment(51, 1, 51, 0, NO_HEADER)]),
        "open [0:1-50] next 51 copy 1 aside [1@0] 0",
    );
    row(
        "a header broken behind a sealed segment",
        found(None, vec![a(), segment(51, 1, 51, 0, NO_HEADER)]),
        &damaged(&no_header, "log-51-1"),
    );
    row(
        "a header broken that began an epoch",
        found(None, vec![segment(1, 1, 51, 0, End::Clean), segment(51, 2, 51, 0, NO_HEADER)]),
        &damaged(&no_header, "log-51-2"),
    );
    row(
        "the same, beside a snapshot",
        found(Some(50), vec![segment(1, 1, 51, 50, End::Clean), segment(51, 1, 51, 0, NO_HEADER)]),
        "open [] next 51 copy 51 aside [1@0] 0",
    );
    row(
        "a header broken later",
        found(None, vec![a(), segment(51, 1, 51, 55, NO_HEADER)]),
        &damaged(&no_header, "log-51-1"),
    );
    row(
        "a header broken, with a successor",
        found(None, vec![a(), segment(51, 1, 51, 0, NO_HEADER), segment(81, 1, 90, 50, End::Clean)]),
        &damaged(&no_header, "log-51-1"),
    );
    let lost = || segment(51, 2, 51, 0, NO_HEADER);
    let rescued = |epoch, segments| Found { snapshot_epoch: epoch, ..found(Some(80), segments) };
    row(
        "a header that a failed disk lost, and a snapshot of a later epoch",
        rescued(4, vec![lost()]),
        "open [] next 81 copy 81 aside [0@0] unanchored 1",
    );
    row(
        "the same, behind another",
        rescued(4, vec![segment(20, 1, 20, 0, NO_HEADER), lost()]),
        "open [] next 81 copy 81 aside [1@0] unanchored 2",
    );
    row(
        "the same, behind one that counts",
        rescued(4, vec![segment(1, 1, 51, 50, End::Superseded), lost()]),
        "open [] next 81 copy 81 aside [1@0] unanchored 1",
    );
    let zeros = BadHeader::BadMagic { found: [0; 8], expected: *b"FIRNSEG1" };
    let blank = segment(51, 2, 51, 0, End::BadHeader(zeros));
    row("zeros for a header", rescued(4, vec![blank]), "open [] next 81 copy 81 aside [0@0] unanchored 1");
    let changed = BadHeader::BadCrc { stored: 1, computed: 2 };
    row(
        "a header that was changed, and a snapshot of a later epoch",
        rescued(4, vec![segment(51, 2, 51, 0, End::BadHeader(changed.clone()))]),
        &damaged(&changed.to_string(), "log-51-2"),
    );
    row("the same, and a snapshot of its own epoch", rescued(2, vec![lost()]), &damaged(&no_header, "log-51-2"));
    row(
        "the same, and more was durable than the snapshot has",
        Found { durable: 81, ..rescued(4, vec![lost()]) },
        &damaged(&no_header, "log-51-2"),
    );
    row(
        "the same, and a gap behind it",
        rescued(4, vec![lost(), segment(85, 4, 90, 0, End::Clean)]),
        &damaged(&no_header, "log-51-2"),
    );
    row(
        "an older epoch ends where a newer begins",
        found(None, vec![segment(1, 1, 41, 30, End::Superseded), segment(41, 2, 61, 60, End::Clean)]),
        "open [0:1-40 1:41-60] next 61 copy 61 aside [] 0",
    );
    row("no successor", found(None, vec![a()]), "NoSuccessor(51) at \"log-1-1\"");
    row(
        "no successor, but a later one",
        found(None, vec![a(), segment(81, 1, 90, 40, End::Clean)]),
        "NoSuccessor(51) at \"log-1-1\"",
    );
    row("no beginning", found(None, vec![segment(51, 1, 81, 80, End::Clean)]), "Gap(1, 50) at \"log-51-1\"");
    row(
        "nothing between snapshot and log",
        found(Some(40), vec![segment(51, 1, 81, 80, End::Clean)]),
        "Gap(41, 50) at \"log-51-1\"",
    );
    row(
        "overlap",
        found(None, vec![segment(1, 1, 60, 50, End::Clean), segment(51, 1, 81, 80, End::Clean)]),
        "Overlap(51) at \"log-1-1\"",
    );
    row(
        "another store's",
        found(None, vec![segment(1, 1, 1, 0, End::BadHeader(foreign.clone()))]),
        &format!("Foreign({:?}) at \"log-1-1\"", foreign.to_string()),
    );
    let newer = BadHeader::Newer { found: 2 };
    row(
        "a newer format",
        found(None, vec![segment(1, 1, 1, 0, End::BadHeader(newer.clone()))]),
        &format!("Newer({:?}) at \"log-1-1\"", newer.to_string()),
    );
    let newer = BadFrame::Newer(2);
    row(
        "a newer frame",
        found(None, vec![segment(1, 1, 9, 0, End::Broken(newer.clone()))]),
        &format!("Newer({:?}) at \"log-1-1\"", newer.to_string()),
    );
    let mut unreadable = segment(1, 1, 1, 0, End::Clean);
    unreadable.scan = Err(ReadFailure { offset: 7, source: std::io::Error::other("EIO") });
    row("a read error", found(None, vec![unreadable]), "Disk(\"EIO\") at \"log-1-1\"");

    row(
        "behind a snapshot",
        found(Some(60), vec![segment(51, 1, 81, 70, End::Clean)]),
        "open [0:61-80] next 81 copy 71 aside [] 0",
    );
    row("a snapshot alone", found(Some(60), vec![]), "open [] next 61 copy 61 aside [] unanchored 0");
    row(
        "the log ends before the snapshot",
        found(Some(60), vec![segment(1, 1, 41, 40, BROKEN)]),
        "open [] next 61 copy 61 aside [0@1000] unanchored 0",
    );
    row("the log is gone, and it was durable", Found { durable: 70, ..found(Some(60), vec![]) }, "Gap(61, 70) at \"\"");
    let mut hopped = segment(51, 1, 81, 80, End::Clean);
    let skipped = Skipped { offset: 500, to_offset: 600, lsn: 53, to_lsn: 57, why: BadFrame::BehindSeal };
    hopped.scan.as_mut().unwrap().skipped.push(skipped.clone());
    row("damage that the snapshot covers", found(Some(60), vec![hopped]), "open [0:61-80] next 81 copy 81 aside [] 1");
    let mut hopped = segment(51, 1, 61, 56, End::Clean);
    hopped.scan.as_mut().unwrap().skipped.push(Skipped { lsn: 57, to_lsn: 61, ..skipped.clone() });
    row(
        "damage up to where the snapshot was made: nothing of that can be copied",
        found(Some(60), vec![hopped]),
        "open [] next 61 copy 61 aside [] 1",
    );
    row(
        "a snapshot ahead of what is known durable of the log: what it holds is durable, the log goes on behind it",
        Found { durable: 66, ..found(Some(68), vec![segment(51, 1, 69, 66, End::Clean)]) },
        "open [] next 69 copy 69 aside [] 0",
    );
    row(
        "a snapshot says that all it holds is durable",
        Found { durable: 0, ..found(Some(60), vec![segment(51, 1, 61, 0, End::Clean)]) },
        "open [] next 61 copy 61 aside [] 0",
    );
    row(
        "a broken snapshot, and a log that leads up to it",
        Found { broken_snapshots: vec![70], ..found(Some(60), vec![segment(51, 1, 81, 60, End::Clean)]) },
        "open [0:61-80] next 81 copy 71 aside [] 0",
    );
    row(
        "a broken snapshot, and a log that does not",
        Found { broken_snapshots: vec![90], ..found(Some(60), vec![segment(51, 1, 81, 60, End::Clean)]) },
        "SnapshotBroken(90) at \"log-51-1\"",
    );
    row(
        "a broken snapshot alone",
        Found { broken_snapshots: vec![90], ..found(None, vec![]) },
        "SnapshotBroken(90) at \"\"",
    );

    let on = || unanchored(segment(500, 2, 521, 520, End::Clean));
    row(
        "unanchored, never anchored",
        found(None, vec![segment(1, 1, 301, 300, End::Superseded), on()]),
        "open [0:1-300] next 301 copy 301 aside [1@0] 1",
    );
    row("unanchored, anchored", found(Some(510), vec![on()]), "open [0:511-520] next 521 copy 521 aside [] 0");
    row(
        "unanchored, the anchor broken",
        Found { broken_snapshots: vec![510], ..found(None, vec![segment(1, 1, 301, 300, End::Superseded), on()]) },
        "SnapshotBroken(510) at \"log-500-2\"",
    );

    for (name, found, expected) in rows {
        assert_eq!(verdict(&found), expected, "{name}");
    }
}

#[test]
fn a_refusal_says_file_offset_records_and_the_next_step() {
    let Verdict::Refuse(refusal) = judge(&found(None, vec![segment(1, 1, 81, 81, BROKEN)])) else { panic!() };
    let text = refusal.to_string();
    for part in ["log-1-1, byte 1000", "record 81", "up to 81", "3 bytes into", "firn repair", "firn restore"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_chain_leaves_out_what_newer_epochs_supersede() {
    let names = [(51, 1), (1, 1), (61, 3), (61, 2), (90, 3), (81, 2), (70, 1)];
    let shown: Vec<_> = chain(&names).iter().map(|link| (link.first, link.epoch, link.until)).collect();
    assert_eq!(shown, [(1, 1, 61), (51, 1, 61), (61, 3, Lsn::MAX), (90, 3, Lsn::MAX)]);
    let links = chain(&names);
    assert!(links.iter().all(|link| names[link.index] == (link.first, link.epoch)));
    let from = |snapshot| needed(&links, snapshot).iter().map(|link| link.first).collect::<Vec<_>>();
    assert_eq!(from(None), [1, 51, 61, 90]);
    assert_eq!(from(Some(49)), [1, 51, 61, 90]);
    assert_eq!(from(Some(50)), [51, 61, 90]);
    assert_eq!(from(Some(1000)), [90]);
    assert_eq!(needed(&[], Some(3)), []);
}
