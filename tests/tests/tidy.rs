//! House rules as tests: each prints file, line and remedy.
//!
//! They read the files that git knows, so a scratch file breaks nothing; without git they are skipped, loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Longer files are named, so that someone splits them.
const LINES_ADVISED: usize = 700;
/// Longer files fail.
const LINES_MAX: usize = 1000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// Tracked text files with one of these endings (all if none is given), by name relative to the root.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let listed = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        println!("SKIPPED: the house rules look at the files that git knows, and git is not there");
        return Vec::new();
    };
    let names = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let chosen = names.split('\0').filter(|name| !name.is_empty());
    let chosen = chosen.filter(|name| endings.is_empty() || endings.iter().any(|ending| name.ends_with(ending)));
    chosen.filter_map(|name| Some((name.to_string(), std::fs::read_to_string(root().join(name)).ok()?))).collect()
}

fn assert_none(found: &[String], remedy: &str) {
    assert!(found.is_empty(), "{}\n{remedy}", found.join("\n"));
}

#[test]
fn every_source_file_says_first_what_it_is() {
    let found: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| format!("{name}:1"))
        .collect();
    assert_none(&found, "Begin the file with `//!`: what it is, what it promises, what it never does.");
}

#[test]
fn a_file_has_one_subject_and_stays_readable() {
    let mut found = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{name}: {lines} lines"));
        } else if lines > LINES_ADVISED {
            println!("long: {name} has {lines} lines; 200 to 600 read well");
        }
    }
    assert_none(&found, &format!("Split it: no file has more than {LINES_MAX} lines."));
}

#[test]
fn nothing_depends_on_one_persons_machine() {
    // Written in halves, so that this file passes its own test.
    let marks = [["/ho", "me/"].concat(), ["/ro", "ot/"].concat(), ["/wo", "rk/"].concat(), ["/Us", "ers/"].concat()];
    let mut found = Vec::new();
    for (name, text) in files(&[]) {
        for (at, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "Name no folder of one machine; take a parameter or a temporary folder.");
}

#[test]
fn nothing_is_left_for_later_in_silence() {
    let marks =
        [["to", "do!"].concat(), ["unimple", "mented!"].concat(), ["FIX", "ME"].concat(), ["TO", "DO"].concat()];
    let mut found = Vec::new();
    for (name, text) in files(&[".rs", ".py", ".sh", ".tcl"]) {
        for (at, line) in text.lines().enumerate() {
            // Limits of the lints are declared by name; that is no use of the macro.
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "Do it, or answer with a clear error and say so in CHANGELOG.md.");
}

#[test]
fn every_use_of_unsafe_gives_its_reason() {
    let mut found = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let uses = [["unsafe", " {"].concat(), ["unsafe", " impl "].concat()]
                .iter()
                .any(|start| code.contains(start.as_str()));
            let before = &lines[at.saturating_sub(8)..=at];
            if uses && !before.iter().any(|line| line.contains("SAFETY")) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "Say above it, after `SAFETY:`, why the operation is sound.");
}

/// The text between the first pair of backticks of each cell that has one, and the rows of numbers.
fn format_document() -> String {
    std::fs::read_to_string(root().join("engine/FORMAT.md")).expect("engine/FORMAT.md is there")
}

#[test]
fn the_rows_of_every_layout_in_the_format_document_meet() {
    let mut expected: Option<u64> = None;
    let mut rows = 0;
    for (at, line) in format_document().lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let numbers = (
            cells.get(1).and_then(|cell| cell.parse::<u64>().ok()),
            cells.get(2).and_then(|cell| cell.parse::<u64>().ok()),
        );
        if let (Some(offset), Some(size)) = numbers {
            let end = expected.unwrap_or(0);
            assert_eq!(offset, end, "engine/FORMAT.md:{}: the field before it ends at {end}", at + 1);
            expected = Some(offset + size);
            rows += 1;
        } else if !line.starts_with('|')
            && let Some(end) = expected.take()
        {
            assert!(
                end % 64 == 0,
                "engine/FORMAT.md:{}: a header of {end} bytes does not fill whole lines of 64",
                at + 1
            );
        }
    }
    assert!(rows > 20, "only {rows} rows of layouts were found: has the document's shape changed?");
}

#[test]
fn every_magic_and_file_name_of_the_format_document_is_in_the_code() {
    let code: String =
        files(&[".rs"]).into_iter().filter(|(name, _)| name.starts_with("engine/src/")).map(|(_, text)| text).collect();
    if code.is_empty() {
        return; // Without git; said above.
    }
    let document = format_document();
    let quoted: Vec<&str> = document.split('`').skip(1).step_by(2).collect();
    let is_magic = |text: &str| {
        matches!(text.len(), 4 | 8)
            && text.starts_with(['F', 'B'])
            && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let mut wanted: Vec<&str> = quoted.into_iter().filter(|text| is_magic(text)).collect();
    wanted.extend(["\"LOCK\"", "\"STORE\"", "log-", "snap-", ".seg", ".snap", "reserve.seg", ".tmp", "torn", "bad"]);
    let found: Vec<String> =
        wanted.iter().filter(|text| !code.contains(**text)).map(|text| (*text).to_string()).collect();
    assert_none(&found, "engine/FORMAT.md names these, engine/src does not: one of them has changed alone.");
}
