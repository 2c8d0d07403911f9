//! Which keys are in frames of a segment that do not verify.
//!
//! What can still be read of a damaged frame is never applied: it only gives names. That these are all is said only if every record between
//! the frames that are right could be read with names that are text.

use super::prefix::decompress;
use crate::ToolError;
use crate::dataset::change::touched;
use crate::target::unreadable;
use firn_engine::disk::{Disk, OpenMode, read_full_at};
use firn_engine::format::{FileName, Seed, StoreId};
use firn_engine::log::Record;
use firn_engine::log::frame::{FLAG_LZ4, FRAME_HEADER_LEN, FrameHeader};
use std::collections::HashSet;
use std::ops::Range;

/// So much of a damaged stretch is looked at.
const WITHIN: u64 = 64 * 1024 * 1024;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Names {
    /// Keys, each once.
    pub(crate) keys: Vec<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
    /// Records that gave them.
    pub(crate) records: u64,
    /// Every record of every frame in the stretch could be read.
    pub(crate) is_whole: bool,
}

/// The keys that the damaged frames in a stretch of a segment seem to name.
pub(crate) fn frames_in(
    disk: &dyn Disk,
    store: Option<StoreId>,
    file: &str,
    stretch: Range<u64>,
) -> Result<Names, ToolError> {
    let (FileName::Segment { first, epoch }, Some(store)) = (FileName::parse(file), store) else {
        return Ok(Names::default());
    };
    let (failed, seed) = (unreadable(file), Seed::new(store, first, epoch));
    let opened = disk.open(file, OpenMode::Read).map_err(&failed)?;
    let len = (stretch.end - stretch.start).min(WITHIN);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = read_full_at(&*opened, &mut bytes, stretch.start).map_err(&failed)?;
    bytes.truncate(read);
    let (mut names, mut at) = (Names { is_whole: true, ..Names::default() }, 0);
    while at < bytes.len() {
        match FrameHeader::decode(&bytes[at..], &seed, stretch.start + at as u64) {
            Ok(header) => {
                let payload = at + FRAME_HEADER_LEN;
                let end = (payload + header.stored_len).min(bytes.len());
                names.add(&bytes[payload.min(end)..end], header);
                at = end.max(payload);
            }
            Err(_) => {
                names.is_whole = false;
                at = match memchr::memmem::find(&bytes[at + 1..], b"FRM1") {
                    Some(next) => at + 1 + next,
                    None => break,
                };
            }
        }
    }
    Ok(names)
}

impl Names {
    /// Takes the keys of a frame whose payload does not verify.
    fn add(&mut self, stored: &[u8], header: FrameHeader) {
        let unpacked;
        let mut payload = if header.flags & FLAG_LZ4 == 0 {
            stored
        } else {
            unpacked = decompress(stored, header.raw_len);
            &unpacked
        };
        for _ in 0..header.count {
            match Record::take(&mut payload, header.first, header.time_ms) {
                Ok(record) => self.add_record(&record),
                Err(_) => {
                    self.is_whole = false;
                    // Its length reaches beyond what is there; its commands may begin all the same, behind that and a number.
                    let body = payload.get(4..).unwrap_or_default();
                    let number = body.iter().take_while(|byte| **byte >= 0x80).count() + 1;
                    let commands = body.get(number..).unwrap_or_default();
                    self.add_record(&Record { lsn: header.first, time_ms: header.time_ms, commands });
                    return;
                }
            }
        }
        self.is_whole &= payload.is_empty();
    }

    fn add_record(&mut self, record: &Record<'_>) {
        let (mut commands, mut words, mut found, mut named) = (record.commands(), Vec::new(), Vec::new(), false);
        loop {
            match commands.next(&mut words) {
                Ok(Some(_)) if touched(&words, &mut found).is_some() => {
                    for at in &found {
                        named = true;
                        self.is_whole &= std::str::from_utf8(words[*at]).is_ok_and(|it| !it.contains(char::is_control));
                        if self.seen.insert(words[*at].to_vec()) {
                            self.keys.push(words[*at].to_vec());
                        }
                    }
                }
                Ok(None) => break,
                _ => {
                    self.is_whole = false;
                    break;
                }
            }
        }
        self.records += u64::from(named);
    }
}
