//! Segment files: how they come into being, are filled ahead of their use, written, and cut.
//!
//! 1. A segment that begins an epoch ([`SegmentBuilder`]) appears under its name only when all that it was begun with is flushed: its
//!    name alone makes older segments end where it begins, so half of it must never be seen.
//! 2. A frame is written behind the last one and nowhere else. No byte that was ever acknowledged is overwritten.
//! 3. Zeros are written ahead only beyond all frames, by whoever may write frames ([`Segment::fill`]) or before there are any
//!    ([`Prepare`]).

use super::Lsn;
use super::frame::{self, FLAG_MARKER, FLAG_SEAL, FRAME_HEADER_LEN};
use crate::disk::{Disk, File, OpenMode, write_all_at};
use crate::format::{FLAG_UNANCHORED, FileHeader, FileKind, FileName, HEADER_LEN, Seed, StoreId};
use crate::key::HashSeed;
use crate::limits::{FILL_CHUNK, FILL_LEAD};
use std::io;
use std::sync::Arc;

/// Name under which the next segment is prepared.
const AHEAD: &str = "log-ahead.tmp";
/// While a segment is prepared it is flushed every so many bytes, so that no flush of the log waits long behind it.
const PREPARE_SYNC: u64 = 4 * 1024 * 1024;

/// What all segments of a store have in common.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The store.
    pub store: StoreId,
    /// Its SipHash key.
    pub hash_seed: HashSeed,
}

/// An open segment and where its frames end.
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
    pub(super) first: Lsn,
    pub(super) epoch: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Zeros were written up to here.
    pub(super) filled: u64,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Segment").field("name", &self.name()).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Segment {
    pub(super) fn name(&self) -> String {
        FileName::Segment { first: self.first, epoch: self.epoch }.to_string()
    }

    /// Stamps a frame for its place behind the last one and writes it, with one call.
    pub(super) fn write(&mut self, frame: &mut [u8], durable: Lsn) -> io::Result<()> {
        frame::stamp(frame, &self.seed, self.end, self.epoch, durable);
        write_all_at(&*self.file, frame, self.end)?;
        self.end += frame.len() as u64;
        self.filled = self.filled.max(self.end);
        Ok(())
    }

    /// Says, behind the last frame, that the log goes on in another segment, in which everything up to `durable` is durable. `next` is
    /// the LSN after the last record here.
    pub(super) fn seal(&mut self, next: Lsn, durable: Lsn, unix_ms: u64) -> io::Result<()> {
        self.write(&mut frame::empty(FLAG_SEAL, next, unix_ms), durable)
    }

    /// Cuts off what a failed write may have left behind the last frame.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.filled = self.end;
        self.file.set_len(self.end)
    }

    /// Writes zeros ahead of the frames, one step; says whether there is more to do.
    pub(super) fn fill(&mut self, len: u64) -> io::Result<bool> {
        let goal = len.min(self.end + FILL_LEAD);
        if self.filled >= goal {
            return Ok(false);
        }
        let step = (goal - self.filled).min(FILL_CHUNK as u64);
        write_all_at(&*self.file, &vec![0; step as usize], self.filled)?;
        self.filled += step;
        Ok(self.filled < goal)
    }

    /// The successor within the same epoch, made of `prepared` if there is one. Neither its content nor its name is durable yet.
    pub(super) fn successor(
        disk: &dyn Disk,
        identity: Identity,
        header: &FileHeader,
        prepared: Option<Prepared>,
        len: u64,
    ) -> io::Result<Segment> {
        debug_assert_eq!(header.store, identity.store);
        let name = FileName::Segment { first: header.number, epoch: header.epoch }.to_string();
        let (from, file, filled) = match prepared {
            Some(prepared) => (AHEAD.to_owned(), prepared.file, prepared.filled),
            None => {
                let from = format!("{name}.tmp");
                let file = create(disk, &from)?;
                // A hint only: what the disk does not have will be missed, and handled, when it is written.
                let _ = file.preallocate(len);
                (from, file, 0)
            }
        };
        write_all_at(&*file, &header.encode(), 0)?;
        // An error that says "full" would be taken for harmless, but the name may be there: then the predecessor must end.
        disk.rename(&from, &name).map_err(|error| io::Error::other(error.to_string()))?;
        let end = HEADER_LEN as u64;
        Ok(Segment {
            file,
            seed: header.seed(),
            first: header.number,
            epoch: header.epoch,
            end,
            filled: filled.max(end),
        })
    }
}

/// Seals a segment of an older epoch at `end`, where its log ended with record `next - 1`, cuts it off behind the seal and flushes it.
/// Only when the newer epoch's first segment, with everything up to `durable`, is durable itself, and what lies behind `end` was
/// kept elsewhere.
///
/// # Errors
/// The disk's. Nothing but the notice that a newer segment is missing depends on this seal.
pub fn seal_ended(
    disk: &dyn Disk,
    header: &FileHeader,
    end: u64,
    next: Lsn,
    durable: Lsn,
    unix_ms: u64,
) -> io::Result<()> {
    let name = FileName::Segment { first: header.number, epoch: header.epoch }.to_string();
    let file = Arc::from(disk.open(&name, OpenMode::Write)?);
    let mut segment =
        Segment { file, seed: header.seed(), first: header.number, epoch: header.epoch, end, filled: end };
    segment.seal(next, durable, unix_ms)?;
    // The zeros ahead of a crash's end would stay until a snapshot replaces the log: a server that crashes again and again, and writes
    // little, would fill a small disk with them.
    segment.cut()?;
    segment.file.sync()
}

/// Makes names durable that were given when `failed_before` syncs of the folder had failed: if one failed since, whoever made it,
/// the name may never reach the device, and no later sync would say so.
pub(super) fn sync_names(disk: &dyn Disk, failed_before: u64) -> io::Result<()> {
    disk.sync_dir()?;
    if disk.failed_dir_syncs() == failed_before {
        return Ok(());
    }
    Err(io::Error::other("a flush of the folder failed before"))
}

/// Creates `name` anew, whatever an earlier attempt left.
fn create(disk: &dyn Disk, name: &str) -> io::Result<Arc<dyn File>> {
    match disk.open(name, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(name)?;
            disk.open(name, OpenMode::CreateNew)
        }
        other => other,
    }
    .map(Arc::from)
}

/// What a new epoch's first segment is.
#[derive(Clone, Copy, Debug)]
pub struct NewEpoch {
    /// The epoch: above every one found in any name or header.
    pub epoch: u64,
    /// LSN of the segment's first record: all frames of older epochs with this LSN or a higher one no longer count.
    pub first: Lsn,
    /// The LSN after the last record that the segment is begun with: `first` if there is none. All before it will be durable once the
    /// segment has its name, and that is what it says.
    pub next: Lsn,
    /// Whether records before `first` were not logged.
    pub unanchored: bool,
    /// Unix ms.
    pub unix_ms: u64,
}

/// Makes the first segment of an epoch, out of sight until it is whole and durable.
///
/// ```no_run
/// # use firn_engine::{disk::Disk, log::{Lsn, segment::{Identity, NewEpoch, SegmentBuilder}}};
/// # fn tail(disk: std::sync::Arc<dyn Disk>, identity: Identity, epoch: NewEpoch, payload: &[u8]) -> std::io::Result<()> {
/// let mut builder = SegmentBuilder::create(disk, identity, epoch)?;
/// builder.push_records(payload, 7, 2, 1_700_000_000_000)?;   // Records 7 and 8, as `Frame::payload` gave them.
/// let ready = builder.finish()?;                             // For `Log::start`.
/// # Ok(()) }
/// ```
pub struct SegmentBuilder {
    disk: Arc<dyn Disk>,
    segment: Segment,
    temporary: String,
    epoch: NewEpoch,
    next: Lsn,
}

impl std::fmt::Debug for SegmentBuilder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SegmentBuilder").field("segment", &self.segment).finish_non_exhaustive()
    }
}

/// A durable first segment of an epoch.
#[derive(Debug)]
pub struct Ready {
    pub(super) segment: Segment,
    pub(super) epoch: NewEpoch,
}

impl SegmentBuilder {
    /// Creates the file under a temporary name.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(disk: Arc<dyn Disk>, identity: Identity, epoch: NewEpoch) -> io::Result<SegmentBuilder> {
        let header = FileHeader {
            kind: FileKind::Segment,
            flags: if epoch.unanchored { FLAG_UNANCHORED } else { 0 },
            store: identity.store,
            hash_seed: identity.hash_seed,
            number: epoch.first,
            epoch: epoch.epoch,
            created_ms: epoch.unix_ms,
            durable: epoch.next - 1,
        };
        let temporary = format!("{}.tmp", FileName::Segment { first: epoch.first, epoch: epoch.epoch });
        let file = create(&*disk, &temporary)?;
        let end = HEADER_LEN as u64;
        let segment = Segment { file, seed: header.seed(), first: epoch.first, epoch: epoch.epoch, end, filled: end };
        let builder = SegmentBuilder { disk, segment, temporary, epoch, next: epoch.first };
        match write_all_at(&*builder.segment.file, &header.encode(), 0) {
            Ok(()) => Ok(builder),
            Err(error) => Err(builder.abandon(error)),
        }
    }

    /// Adds a frame of raw records (`payload`, of which the first is `first`), as a reader gave them.
    ///
    /// # Errors
    /// The disk's; then the builder is of no more use.
    pub fn push_records(&mut self, payload: &[u8], first: Lsn, count: u32, time_ms: u64) -> io::Result<()> {
        let mut bytes = vec![0; FRAME_HEADER_LEN];
        bytes.extend_from_slice(payload);
        let group = super::Group { bytes, first, count, base_ms: time_ms };
        self.push_frame(&mut frame::build(group, &mut frame::Compressor::default()))
    }

    /// Adds a built frame.
    pub(super) fn push_frame(&mut self, frame: &mut [u8]) -> io::Result<()> {
        let (first, count, _) = frame::extent(frame);
        if first != self.next {
            let text = format!("record {first} was to follow record {}", self.next - 1);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.segment.write(frame, self.epoch.next - 1)?;
        self.next += Lsn::from(count);
        Ok(())
    }

    /// Adds a marker, flushes, gives the file its name, and flushes the folder. From then on older epochs end at its first LSN.
    ///
    /// # Errors
    /// The disk's. The name may or may not be there then; either way no acknowledged record depends on it.
    pub fn finish(mut self) -> io::Result<Ready> {
        match self.try_finish() {
            Ok(()) => Ok(Ready { segment: self.segment, epoch: self.epoch }),
            Err(error) => Err(self.abandon(error)),
        }
    }

    fn try_finish(&mut self) -> io::Result<()> {
        if self.next != self.epoch.next {
            let text = format!("the segment ends with record {}, not {}", self.next - 1, self.epoch.next - 1);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.segment.write(&mut frame::empty(FLAG_MARKER, self.next, self.epoch.unix_ms), self.next - 1)?;
        self.segment.file.sync()?;
        let failed_before = self.disk.failed_dir_syncs();
        self.disk.rename(&self.temporary, &self.segment.name())?;
        sync_names(&*self.disk, failed_before)
    }

    /// Removes what there is of the file, as well as that goes: nothing was acknowledged because of it.
    pub(super) fn abandon(self, error: io::Error) -> io::Error {
        if self.disk.remove(&self.temporary).is_err() {
            let _ = self.disk.remove(&self.segment.name());
        }
        error
    }
}

/// The next segment's file, made in the background: filled with zeros if flushes happen often (`always`), else only given its blocks.
/// [`Prepare::step`] is called without any lock until it says that it is done.
pub struct Prepare {
    disk: Arc<dyn Disk>,
    len: u64,
    zeros: bool,
    file: Option<Arc<dyn File>>,
    filled: u64,
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Prepare").field("filled", &self.filled).field("len", &self.len).finish_non_exhaustive()
    }
}

/// A file ready to become a segment.
pub(super) struct Prepared {
    pub(super) file: Arc<dyn File>,
    pub(super) filled: u64,
}

impl Prepare {
    pub(super) fn new(disk: Arc<dyn Disk>, len: u64, zeros: bool) -> Prepare {
        Prepare { disk, len, zeros, file: None, filled: 0 }
    }

    /// One step of bounded length; says whether the file is ready.
    ///
    /// # Errors
    /// The disk's; the file was removed then.
    pub fn step(&mut self) -> io::Result<bool> {
        self.try_step().inspect_err(|_| {
            if self.file.take().is_some() {
                let _ = self.disk.remove(AHEAD);
            }
        })
    }

    fn try_step(&mut self) -> io::Result<bool> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = self.file.insert(create(&*self.disk, AHEAD)?);
                match file.preallocate(self.len) {
                    Err(error) if is_full(&error) => return Err(error),
                    _ => {} // A file system that cannot: blocks come as they are written.
                }
                return Ok(!self.zeros);
            }
        };
        let step = (self.len - self.filled).min(FILL_CHUNK as u64);
        write_all_at(&**file, &vec![0; step as usize], self.filled)?;
        self.filled += step;
        let done = self.filled == self.len;
        if done || self.filled % PREPARE_SYNC < step {
            file.sync()?;
        }
        Ok(done)
    }

    pub(super) fn into_prepared(self) -> Option<Prepared> {
        self.file.map(|file| Prepared { file, filled: self.filled })
    }
}

/// Whether the disk (or a quota) has no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether nothing is wrong with the disk but that this process, or the system, has as many files open as it may.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
