//! What happens to files between two runs: flipped bits, zeros, cut ends, swapped blocks and files, files that are gone.
//!
//! Only what lies behind a write can say that the write was flushed. Damage that reaches into the last block of what was written last
//! takes that away together with the write: what is left may be, bit for bit, what a power cut leaves of writes that were never flushed,
//! and a server that cuts them off is right ([`Done::like_torn`]). A single flipped bit hits the write or what says that it was flushed,
//! never both, so it can always be seen.

use crate::judge::Contract;
use crate::plan::Policy;
use crate::rng::Rng;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::fault::Fault;

/// How near the end "near the tail" is.
const TAIL: u64 = 1024;
/// The same for a length whose string then seems to reach behind the end: that can be as far away as the string is long.
const LENGTHS_TAIL: u64 = 64 * 1024;
/// The block of a disk.
const BLOCK: u64 = 512;

/// What was done.
pub(crate) struct Done {
    /// For people.
    pub(crate) what: String,
    /// The names of the files, the damaged one first; a refused start has to mention one of them.
    names: Vec<String>,
    /// What a damaged file is called where it is the only one with its ending: "manifest file".
    kinds: Vec<String>,
    /// Whether a power cut may leave such a file, so that no reader can tell that flushed writes are missing.
    pub(crate) like_torn: bool,
}

impl Done {
    /// What of the acknowledged writes must be there when a server starts on what is left.
    pub(crate) fn contract(&self, fault: Fault, policy: Policy) -> Contract {
        if self.like_torn { Contract::Prefix } else { fault.contract(policy) }
    }

    /// Whether what a server printed tells which file it is about: by name, by what it is if there is but one of these, or by a pattern
    /// (`log-*.seg`), as the name of a missing file may not be known.
    pub(crate) fn is_named_in(&self, said: &str) -> bool {
        let fits = |word: &str| match word.split_once('*') {
            Some((head, tail)) if !head.is_empty() && !tail.is_empty() => {
                self.names.first().is_some_and(|name| name.starts_with(head) && name.ends_with(tail))
            }
            _ => false,
        };
        self.names.iter().any(|name| said.contains(name))
            || self.kinds.iter().any(|kind| said.to_lowercase().contains(kind))
            || said.split(|at: char| at.is_whitespace() || "()[]'\"`,;:".contains(at)).any(fits)
    }
}

/// Copies a folder's files, in place of what is there.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            // Which file is the newest must not change.
            File::options().write(true).open(&target)?.set_modified(entry.metadata()?.modified()?)?;
        }
    }
    Ok(())
}

struct Found {
    path: PathBuf,
    len: u64,
    changed: SystemTime,
}

fn files(folder: &Path, all: &mut Vec<Found>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            files(&entry.path(), all)?;
        } else if metadata.len() > 0 {
            all.push(Found { path: entry.path(), len: metadata.len(), changed: metadata.modified()? });
        }
    }
    Ok(())
}

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

fn name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

/// Where the last byte lies that is not 0: servers write zeros ahead of their data.
fn end_of_data(file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut block = [0; 4096];
    while end > 0 {
        let from = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - from) as usize];
        file.read_exact_at(part, from)?;
        if let Some(at) = part.iter().rposition(|&byte| byte != 0) {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// The bits that make a digit of a length of RESP text (`$`, digits, CR LF) another one, so that the string seems to reach behind the end of
/// the file: what a reader may take for the torn end of a crash. Where there is none of these, those that make the last lengths greater.
fn length_flips(tail: &[u8]) -> Vec<(usize, u8)> {
    let (mut beyond, mut greater) = (Vec::new(), Vec::new());
    for at in (0..tail.len()).filter(|&at| tail[at] == b'$') {
        let digits = tail[at + 1..].iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
        let begin = at + 1 + digits + 2;
        if digits == 0 || tail.get(begin - 2..begin) != Some(b"\r\n") {
            continue;
        }
        for place in at + 1..at + 1 + digits {
            for bit in [8, 4, 2, 1] {
                let digit = tail[place] ^ bit;
                if !digit.is_ascii_digit() || digit < tail[place] {
                    continue;
                }
                let value = |byte: usize| usize::from(if byte == place { digit } else { tail[byte] } - b'0');
                let len = (at + 1..at + 1 + digits).fold(0, |len, byte| len * 10 + value(byte));
                greater.push((place, bit));
                if begin + len > tail.len() {
                    beyond.push((place, bit));
                }
            }
        }
    }
    if beyond.is_empty() { greater.split_off(greater.len().saturating_sub(3)) } else { beyond }
}

/// Damages the files of a folder.
pub(crate) fn apply(fault: Fault, folder: &Path, rng: &mut Rng) -> io::Result<Done> {
    let mut all = Vec::new();
    files(folder, &mut all)?;
    // The order of a folder is not the seed's.
    all.sort_by(|one, two| one.path.cmp(&two.path));
    if all.is_empty() {
        return Err(io::Error::other("the server's folder holds no file: is {dir} in its command line?"));
    }
    // A file is hit as often as it is large.
    let mut at = rng.below(all.iter().map(|found| found.len).sum());
    let hit = all.iter().find(|found| {
        let here = at < found.len;
        at = at.saturating_sub(found.len);
        here
    });
    let hit = hit.unwrap_or(&all[0]);
    // The newest that holds a log: of several written in the same moment the larger one.
    let newest = all.iter().max_by_key(|found| (found.changed, found.len)).unwrap_or(hit);
    // Elsewhere than at the tail it is the newest every other time: many of a server's files may be of no use to its next start.
    let at_tail = matches!(fault, Fault::FlipTail | Fault::ZeroTail | Fault::Truncate);
    let target = if at_tail || rng.one_in(2) { newest } else { hit };
    let shown = name(&target.path);
    let file = File::options().read(true).write(true).open(&target.path)?;
    let end = end_of_data(&file, target.len)?.max(1);
    let mut names = vec![shown.clone()];
    // A file that was written later could say what is missing here.
    let reaches_end = |to: u64| target.path == newest.path && to + BLOCK > end;
    let mut like_torn = false;
    let kind = |path: &Path| {
        let own = ending(path)?;
        let same = all.iter().filter(|found| ending(&found.path).as_ref() == Some(&own));
        (same.count() == 1).then(|| format!("{own} file"))
    };
    let mut kinds: Vec<String> = kind(&target.path).into_iter().collect();
    let flip = |at: u64, bit: u8| -> io::Result<()> {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ bit], at)
    };
    let what = match fault {
        Fault::Flip => {
            let (at, bit) = (rng.below(end), 1 << rng.below(8));
            flip(at, bit)?;
            format!("bit {bit:#x} of byte {at} of {shown} was flipped")
        }
        Fault::FlipTail => {
            let from = end.saturating_sub(LENGTHS_TAIL);
            let mut tail = vec![0; (end - from) as usize];
            file.read_exact_at(&mut tail, from)?;
            let flips = length_flips(&tail);
            if flips.is_empty() {
                let near = end.min(TAIL);
                let (at, bit) = (end - near + rng.below(near), 1 << rng.below(8));
                flip(at, bit)?;
                format!("bit {bit:#x} of byte {at} of {shown}, near its end, was flipped")
            } else {
                // Those in front, mostly: what reaches behind the end from there has more behind it.
                let front = if rng.one_in(4) { flips.len() } else { flips.len().div_ceil(4) };
                let &(at, bit) = rng.one_of(&flips[..front]);
                flip(from + at as u64, bit)?;
                let (was, is) = (char::from(tail[at]), char::from(tail[at] ^ bit));
                format!("the digit {was} of a length near the end of {shown} was flipped to {is}")
            }
        }
        Fault::Zero => {
            let at = rng.below(end) / BLOCK * BLOCK;
            let len = (BLOCK * (1 + rng.below(8))).min(end - at);
            file.write_all_at(&vec![0; len as usize], at)?;
            like_torn = reaches_end(at + len);
            format!("{len} bytes of {shown} from {at} on are zeros")
        }
        Fault::ZeroTail => {
            let len = 1 + rng.below(8192);
            file.write_all_at(&vec![0; len as usize], target.len)?;
            format!("{len} zeros lie behind the end of {shown}")
        }
        Fault::Truncate => {
            let len = 1 + rng.below(end.min(4096));
            file.set_len(end - len)?;
            like_torn = reaches_end(end);
            format!("{shown} lacks the last {len} bytes of its data")
        }
        Fault::Swap if all.len() > 1 && rng.one_in(3) => {
            let others: Vec<&Found> = all.iter().filter(|found| found.path != target.path).collect();
            let other = *rng.one_of(&others);
            names.push(name(&other.path));
            kinds.extend(kind(&other.path));
            let spare = folder.join("swapped");
            fs::rename(&target.path, &spare)?;
            fs::rename(&other.path, &target.path)?;
            fs::rename(&spare, &other.path)?;
            format!("{shown} and {} have changed places", names[1])
        }
        Fault::Swap => {
            let blocks = end / BLOCK;
            if blocks < 2 {
                flip(rng.below(end), 1)?;
                format!("a bit of {shown}, too small for two blocks, was flipped")
            } else {
                let one = rng.below(blocks);
                let two = (one + 1 + rng.below(blocks - 1)) % blocks;
                let (mut first, mut second) = (vec![0; BLOCK as usize], vec![0; BLOCK as usize]);
                file.read_exact_at(&mut first, one * BLOCK)?;
                file.read_exact_at(&mut second, two * BLOCK)?;
                file.write_all_at(&first, two * BLOCK)?;
                file.write_all_at(&second, one * BLOCK)?;
                like_torn = reaches_end((one.max(two) + 1) * BLOCK);
                format!("blocks {one} and {two} of {shown} have changed places")
            }
        }
        Fault::Missing => {
            fs::remove_file(&target.path)?;
            // What is missed is told by where it is missed: in or behind another file.
            names.extend(all.iter().map(|found| name(&found.path)));
            format!("{shown} is missing")
        }
        other => return Err(io::Error::other(format!("{} is no damage", other.name()))),
    };
    Ok(Done { what, names, kinds, like_torn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_length_reaches_behind_the_end_where_one_can() {
        // 20 becomes 60: more than the 37 bytes behind it; 1 and 3 become 9 and 7, which is behind the end only for the last one.
        let tail = b"$20\r\nabcdefghijabcdefghij\r\n$1\r\nx\r\n$3\r\nabc\r\n";
        let shown: Vec<_> = length_flips(tail).iter().map(|&(at, bit)| (at, char::from(tail[at] ^ bit))).collect();
        assert_eq!(shown, [(1, '6'), (35, '7')]);
        // None reaches that far: the last ones, greater.
        let tail = [&b"$1\r\nx\r\n$1\r\n"[..], &[b'x'; 100]].concat();
        assert_eq!(length_flips(&tail), [(8, 8), (8, 4), (8, 2)]);
        assert_eq!(length_flips(b"$\r\n$x\r\n"), []);
    }

    #[test]
    fn damage_is_like_a_torn_end_only_where_the_last_block_of_the_newest_file_is_hit() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("data");
        fs::create_dir_all(&folder).unwrap();
        let bytes =
            |len: u32, salt: u32| (0..len).map(|at| (at.wrapping_mul(salt) >> 24) as u8 | 1).collect::<Vec<u8>>();
        // A young segment: 4736 bytes of data, and zeros ahead of them. The older one is longer, so that both are hit.
        let (young, old) = ([bytes(4736, 0x9e37_79b9), vec![0; 3000]].concat(), bytes(6000, 0x85eb_ca6b));
        let (mut torn, mut told, mut of_old, mut whole_end) = (0, 0, 0, 0);
        for fault in
            [Fault::Flip, Fault::FlipTail, Fault::Zero, Fault::ZeroTail, Fault::Truncate, Fault::Swap, Fault::Missing]
        {
            for seed in 0..if fault == Fault::Zero { 1000 } else { 200 } {
                for (name, content, age) in [("old", &old, 60), ("young", &young, 0)] {
                    let path = folder.join(name);
                    fs::write(&path, content).unwrap();
                    let changed = SystemTime::now() - std::time::Duration::from_secs(age);
                    File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
                }
                let done = apply(fault, &folder, &mut Rng(seed)).unwrap();
                let (young_now, old_now) = (fs::read(folder.join("young")), fs::read(folder.join("old")));
                let last = |was: &[u8], now: &[u8]| (0..was.len()).rev().find(|&at| now.get(at) != Some(&was[at]));
                let reach = young_now.as_ref().ok().and_then(|now| last(&young[..4736], now));
                let both = old_now.as_ref().ok().is_none_or(|now| *now != old);
                let may = matches!(fault, Fault::Zero | Fault::Truncate | Fault::Swap) && !both;
                assert_eq!(done.like_torn, may && reach.is_some_and(|at| at >= 4736 - 512), "{}", done.what);
                let wanted = if done.like_torn { Contract::Prefix } else { Contract::All };
                assert_eq!(done.contract(fault, Policy::Always), wanted);
                torn += u32::from(done.like_torn);
                told += u32::from(may && !done.like_torn);
                of_old +=
                    u32::from(fault == Fault::Zero && both && last(&old, &old_now.unwrap_or_default()) == Some(5999));
                whole_end += u32::from(done.what == "3712 bytes of young from 1024 on are zeros" && done.like_torn);
                let _ = (fs::remove_file(folder.join("young")), fs::remove_file(folder.join("old")));
            }
        }
        assert!(torn > 400 && told > 100 && of_old > 10 && whole_end > 0, "{torn} {told} {of_old} {whole_end}");
    }

    #[test]
    fn a_refused_start_names_a_file_by_its_name_its_kind_or_a_pattern() {
        let done = |name: &str, kind: Option<&str>| Done {
            what: String::new(),
            names: vec![name.into()],
            kinds: kind.map(String::from).into_iter().collect(),
            like_torn: false,
        };
        let segment = done("log-0042-07.seg", None);
        for said in ["log-0042-07.seg is damaged at byte 5", "not one segment of it (log-*.seg) is there"] {
            assert!(segment.is_named_in(said), "{said}");
        }
        for said in
            ["the log is damaged", "no snap-*.snap is there", "log-0042-08.seg is damaged", "give me a *", "*.*"]
        {
            assert!(!segment.is_named_in(said), "{said}");
        }
        let manifest = done("appendonly.aof.manifest", Some("manifest file"));
        assert!(manifest.is_named_in("*** FATAL AOF MANIFEST FILE ERROR ***"));
        assert!(!manifest.is_named_in("Bad file format"));
        // Of several logs none is "the log file".
        let work = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.log", "c.manifest"] {
            fs::write(work.path().join(name), [1; 600]).unwrap();
        }
        for seed in 0..50 {
            let done = apply(Fault::Flip, work.path(), &mut Rng(seed)).unwrap();
            assert_eq!(
                done.kinds.first().map(String::as_str),
                done.what.contains("c.manifest").then_some("manifest file")
            );
        }
    }

    #[test]
    fn every_kind_of_damage_changes_the_folder_and_a_copy_brings_it_back() {
        let work = tempfile::tempdir().unwrap();
        let (folder, backup) = (work.path().join("data"), work.path().join("backup"));
        fs::create_dir_all(folder.join("deep")).unwrap();
        let text: Vec<u8> = (0..300).flat_map(|at| format!("$3\r\n{at:03}\r\n").into_bytes()).collect();
        fs::write(folder.join("deep/log"), &text).unwrap();
        fs::write(folder.join("base"), vec![7; 4000]).unwrap();
        copy(&folder, &backup).unwrap();
        let read = |name: &str| fs::read(folder.join(name)).ok();
        for fault in
            [Fault::Flip, Fault::FlipTail, Fault::Zero, Fault::ZeroTail, Fault::Truncate, Fault::Swap, Fault::Missing]
        {
            for seed in 0..20 {
                let before = (read("base"), read("deep/log"));
                let done = apply(fault, &folder, &mut Rng(seed)).unwrap();
                // Two equal blocks may change places.
                let same = before == (read("base"), read("deep/log"));
                assert!(!same || fault == Fault::Swap, "{}", done.what);
                copy(&backup, &folder).unwrap();
                assert_eq!(before, (read("base"), read("deep/log")));
            }
        }
    }
}
