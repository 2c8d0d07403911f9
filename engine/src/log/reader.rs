//! Reads a log segment: verified frames in order, where and why they end, and what later frames say is durable.
//!
//! 1. Reading never writes and never decides: what an end means is `recovery::judge`'s business.
//! 2. An error of the disk is a [`ReadFailure`], never damage; damage is never an error of the disk.
//! 3. Memory is bounded by the largest frame that is really there: no length is believed before its header's checksum was
//!    right and the file was seen to be long enough.
//! 4. Behind damage the rest of the file is searched for headers that verify by the seed of their place, because what they
//!    state as durable decides between a torn tail and corruption.
//!
//! ```no_run
//! # use firn_engine::{disk::{Disk, OpenMode}, log::{Lsn, reader::SegmentReader}};
//! # fn show(disk: &dyn Disk, name: &str, first: Lsn, epoch: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let file = disk.open(name, OpenMode::Read)?;
//! let mut reader = SegmentReader::open(&*file, first, epoch, None)?;
//! while let Some(frame) = reader.next_frame()? {
//!     for record in frame.records() {
//!         println!("{} at {}", record?.lsn, frame.offset);
//!     }
//! }
//! println!("{:?}", reader.into_scan().end);
//! # Ok(()) }
//! ```

use super::frame::{BadFrame, FLAG_LZ4, FRAME_HEADER_LEN, FrameHeader, MAGIC};
use super::{BadRecord, Lsn, Record};
use crate::disk::{File, read_full_at};
use crate::format::{BadHeader, FileHeader, FileKind, HEADER_LEN, Seed, StoreId};
use crate::limits::SCAN_CHUNK;
use std::io;

/// The disk could not be read. Not damage.
#[derive(Debug, thiserror::Error)]
#[error("reading at byte {offset} failed")]
pub struct ReadFailure {
    /// Where.
    pub offset: u64,
    /// The disk's answer.
    pub source: io::Error,
}

/// A verified frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// What it says about itself: LSN, time, flags, lengths.
    pub header: FrameHeader,
    /// Its records, decompressed.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Its records in order. Ends with an error if they are not exactly as many as the header says.
    pub fn records(&self) -> Records<'a> {
        Records { rest: self.payload, lsn: self.header.first, left: self.header.count, time_ms: self.header.time_ms }
    }
}

/// Walks the records of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    lsn: Lsn,
    left: u32,
    time_ms: u64,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let stray = !std::mem::take(&mut self.rest).is_empty();
            return stray.then_some(Err(BadRecord));
        }
        let record = Record::take(&mut self.rest, self.lsn, self.time_ms);
        self.lsn += 1;
        self.left -= 1;
        if record.is_err() {
            (self.rest, self.left) = (&[], 0);
        }
        Some(record)
    }
}

/// Why reading a segment ended where it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The file ends behind a frame, or only zeros follow.
    Clean,
    /// A seal; `stray` is the first byte behind it that is not zero (harmless, but not ours).
    Sealed {
        /// Offset of stray bytes.
        stray: Option<u64>,
    },
    /// The LSN was reached from which on a newer epoch counts.
    Superseded,
    /// The segment's header cannot be used; no frame was read.
    BadHeader(BadHeader),
    /// No valid frame where one is expected, and not only zeros.
    Broken(BadFrame),
}

/// Headers that verify behind the place where reading stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Offset of the first.
    pub offset: u64,
    /// Its first LSN.
    pub first: Lsn,
    /// The LSN after the last one's records.
    pub next: Lsn,
    /// How many.
    pub frames: u64,
}

/// A damaged stretch that was passed over because all its records are covered by a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Where it begins.
    pub offset: u64,
    /// Where frames go on.
    pub to_offset: u64,
    /// The LSN expected at `offset`.
    pub lsn: Lsn,
    /// The LSN found at `to_offset`.
    pub to_lsn: Lsn,
    /// What is wrong at `offset`.
    pub why: BadFrame,
}

/// All that reading a segment found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// The segment's header, if it could be read.
    pub header: Option<FileHeader>,
    /// LSN expected where reading stopped.
    pub next: Lsn,
    /// Where reading stopped: the end of the last good frame (behind a seal).
    pub offset: u64,
    /// Why.
    pub end: End,
    /// Highest LSN that the header or any frame, also behind damage, states as durable.
    pub durable: Lsn,
    /// Valid frames behind damage.
    pub behind: Option<Behind>,
    /// Damage that was passed over.
    pub skipped: Vec<Skipped>,
    /// Good data frames.
    pub frames: u64,
    /// Length of the file.
    pub len: u64,
    /// Time of the last good frame, Unix ms; 0 without any.
    pub last_time_ms: u64,
}

/// Reads one segment from its header to its end.
#[derive(Debug)]
pub struct SegmentReader<'a> {
    window: Window<'a>,
    seed: Option<Seed>,
    until: Lsn,
    covered: Lsn,
    scratch: Vec<u8>,
    done: bool,
    scan: Scan,
}

impl<'a> SegmentReader<'a> {
    /// Begins with the header of a segment whose name says `first` and `epoch`. With `store`, one of another store is a bad
    /// header, and frames behind a bad header are still found.
    ///
    /// # Errors
    /// [`ReadFailure`]; a bad header is an [`End`], not an error.
    pub fn open(file: &'a dyn File, first: Lsn, epoch: u64, store: Option<StoreId>) -> Result<Self, ReadFailure> {
        let len = file.len().map_err(|source| ReadFailure { offset: 0, source })?;
        let mut window = Window { file, len, bytes: Vec::new(), at: 0 };
        let header = FileHeader::decode(window.get(0, HEADER_LEN)?, FileKind::Segment)
            .and_then(|header| store.map_or(Ok(header.clone()), |store| header.of_store(store)))
            .and_then(|header| header.named(first, epoch));
        let seed = match &header {
            Ok(header) => Some(header.seed()),
            Err(_) => store.map(|store| Seed::new(store, first, epoch)),
        };
        let mut scan = Scan {
            header: None,
            next: first,
            offset: 0,
            end: End::Clean,
            durable: 0,
            behind: None,
            skipped: Vec::new(),
            frames: 0,
            len,
            last_time_ms: 0,
        };
        let done = header.is_err();
        match header {
            Ok(header) => {
                scan.durable = header.durable;
                scan.offset = HEADER_LEN as u64;
                scan.header = Some(header);
            }
            Err(bad) => scan.end = End::BadHeader(bad),
        }
        let mut reader = SegmentReader { window, seed, until: Lsn::MAX, covered: 0, scratch: Vec::new(), done, scan };
        if done {
            reader.look_behind(HEADER_LEN as u64)?;
        }
        Ok(reader)
    }

    /// Ends before `lsn`, the first that a newer epoch holds. The last frame may reach beyond it.
    #[must_use]
    pub fn until(mut self, lsn: Lsn) -> Self {
        self.until = lsn;
        self
    }

    /// Passes over damage that concerns only records up to `lsn` (a snapshot has them). With [`Lsn::MAX`] over all damage, as a tool
    /// does that shows what is left.
    #[must_use]
    pub fn covered(mut self, lsn: Lsn) -> Self {
        self.covered = lsn;
        self
    }

    /// The next frame (data or marker), verified. `None` at the end; then see [`Self::into_scan`].
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ReadFailure> {
        let Some((offset, header)) = self.advance()? else { return Ok(None) };
        // Verified by `advance`, and still in the window (or in `scratch` if it was compressed).
        let payload = if header.flags & FLAG_LZ4 != 0 {
            &self.scratch[..]
        } else {
            &self.window.get(offset, FRAME_HEADER_LEN + header.stored_len)?[FRAME_HEADER_LEN..]
        };
        Ok(Some(Frame { offset, header, payload }))
    }

    /// Reads on to the end, and says all that was found out.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub fn scan(mut self) -> Result<Scan, ReadFailure> {
        while self.advance()?.is_some() {}
        Ok(self.scan)
    }

    /// What was found out so far; complete once [`Self::next_frame`] gave `None`.
    pub fn into_scan(self) -> Scan {
        self.scan
    }

    /// What reading has found out so far; the end is known once [`SegmentReader::next_frame`] gave `None`.
    pub fn so_far(&self) -> &Scan {
        &self.scan
    }

    /// Looks again at a segment that is still being written: frames that came since are read next.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub fn refresh(&mut self) -> Result<(), ReadFailure> {
        let offset = self.scan.offset;
        self.window.len = self.window.file.len().map_err(|source| ReadFailure { offset, source })?;
        self.window.bytes.clear();
        self.scan.len = self.window.len;
        if matches!(self.scan.end, End::Clean | End::Broken(_)) {
            (self.scan.end, self.scan.behind, self.done) = (End::Clean, None, false);
        }
        Ok(())
    }

    /// Verifies the next frame and passes it; decompresses into `scratch`.
    fn advance(&mut self) -> Result<Option<(u64, FrameHeader)>, ReadFailure> {
        while !self.done {
            let Some(seed) = self.seed.clone() else { break };
            let at = self.scan.offset;
            if self.scan.next >= self.until {
                self.scan.next = self.until;
                self.stop(End::Superseded);
                break;
            }
            match self.examine(&seed, at)? {
                Found::Frame(header) if header.is_seal() => {
                    self.pass(at, &header);
                    let stray = self.window.first_nonzero(self.scan.offset)?;
                    self.stop(End::Sealed { stray });
                }
                Found::Frame(header) => {
                    self.pass(at, &header);
                    return Ok(Some((at, header)));
                }
                Found::Nothing => self.stop(End::Clean),
                Found::Bad(why) => self.broken(&seed, at, why)?,
            }
        }
        Ok(None)
    }

    fn stop(&mut self, end: End) {
        self.scan.end = end;
        self.done = true;
    }

    fn pass(&mut self, at: u64, header: &FrameHeader) {
        self.scan.offset = at + header.frame_len();
        self.scan.next = header.next();
        self.scan.frames += u64::from(header.is_data());
        self.scan.last_time_ms = header.time_ms;
    }

    /// What stands at `at`, where `scan.next` is expected.
    fn examine(&mut self, seed: &Seed, at: u64) -> Result<Found, ReadFailure> {
        let bytes = self.window.get(at, FRAME_HEADER_LEN)?;
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(match self.window.first_nonzero(at)? {
                None => Found::Nothing,
                Some(then_at) => Found::Bad(BadFrame::Hole { then_at }),
            });
        }
        let header = match FrameHeader::decode(bytes, seed, at) {
            Ok(header) => header,
            Err(bad) => return Ok(Found::Bad(bad)),
        };
        self.scan.durable = self.scan.durable.max(header.durable);
        if header.first != self.scan.next {
            return Ok(Found::Bad(BadFrame::OutOfOrder { found: header.first, expected: self.scan.next }));
        }
        let have = self.window.len.saturating_sub(at + FRAME_HEADER_LEN as u64);
        if have < header.stored_len as u64 {
            return Ok(Found::Bad(BadFrame::CutPayload { needs: header.stored_len, have }));
        }
        let frame = self.window.get(at, FRAME_HEADER_LEN + header.stored_len)?;
        let Some(stored) = frame.get(FRAME_HEADER_LEN..).filter(|stored| stored.len() == header.stored_len) else {
            // The file became shorter while it was read.
            return Ok(Found::Bad(BadFrame::CutPayload { needs: header.stored_len, have: frame.len() as u64 }));
        };
        match header.payload(stored, seed, at, &mut self.scratch) {
            Ok(_) => Ok(Found::Frame(header)),
            Err(bad) => Ok(Found::Bad(bad)),
        }
    }

    /// Passes over damage at `at` if a snapshot has what is lost, else stops and looks behind it.
    fn broken(&mut self, seed: &Seed, at: u64, why: BadFrame) -> Result<(), ReadFailure> {
        let lsn = self.scan.next;
        if lsn <= self.covered && !matches!(why, BadFrame::Newer(_)) {
            let limit = self.covered.saturating_add(1);
            let mut from = at + 1;
            while let Some((to_offset, header)) = self.window.find_header(seed, from)? {
                self.scan.next = header.first;
                let usable = (lsn..=limit).contains(&header.first);
                if usable && matches!(self.examine(seed, to_offset)?, Found::Frame(_)) {
                    self.scan.offset = to_offset;
                    self.scan.skipped.push(Skipped { offset: at, to_offset, lsn, to_lsn: header.first, why });
                    return Ok(());
                }
                from = to_offset + 1;
            }
            self.scan.next = lsn;
        }
        self.stop(End::Broken(why));
        self.look_behind(at + 1)
    }

    /// Notes the headers that verify from `from` on, and what they state as durable.
    fn look_behind(&mut self, from: u64) -> Result<(), ReadFailure> {
        let Some(seed) = self.seed.clone() else { return Ok(()) };
        let mut from = from;
        while let Some((offset, header)) = self.window.find_header(&seed, from)? {
            self.scan.durable = self.scan.durable.max(header.durable);
            let behind =
                self.scan.behind.get_or_insert(Behind { offset, first: header.first, next: header.next(), frames: 0 });
            behind.next = behind.next.max(header.next());
            behind.frames += 1;
            // Not beyond its payload: that length may belong to a torn frame over which another was written.
            from = offset + FRAME_HEADER_LEN as u64;
        }
        Ok(())
    }
}

enum Found {
    Frame(FrameHeader),
    Nothing,
    Bad(BadFrame),
}

/// A stretch of the file in memory.
struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    bytes: Vec<u8>,
    /// Offset of `bytes`.
    at: u64,
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Window").field("len", &self.len).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Window<'_> {
    /// `len` bytes at `at`, fewer only where the file ends.
    fn get(&mut self, at: u64, len: usize) -> Result<&[u8], ReadFailure> {
        let bytes = self.load(at, len)?;
        Ok(&bytes[..len.min(bytes.len())])
    }

    /// At least `len` bytes at `at`, fewer only where the file ends, more if they are in memory already.
    fn load(&mut self, at: u64, len: usize) -> Result<&[u8], ReadFailure> {
        let len = usize::try_from(self.len.saturating_sub(at)).map_or(len, |left| len.min(left));
        let inside = at >= self.at && at - self.at <= self.bytes.len() as u64;
        let start = if inside { (at - self.at) as usize } else { self.bytes.len() };
        if self.bytes.len() - start < len || !inside {
            self.bytes.drain(..start);
            self.at = at;
            let have = self.bytes.len();
            let left = self.len.saturating_sub(at);
            let want = usize::try_from(left).map_or(usize::MAX, |left| left.min(len.max(SCAN_CHUNK)));
            self.bytes.resize(want.max(have), 0);
            let offset = at + have as u64;
            match read_full_at(self.file, &mut self.bytes[have..], offset) {
                Ok(read) => self.bytes.truncate(have + read),
                Err(source) => {
                    self.bytes.truncate(have);
                    return Err(ReadFailure { offset, source });
                }
            }
            return Ok(&self.bytes);
        }
        Ok(&self.bytes[start..])
    }

    /// Offset of the first byte from `at` on that is not zero.
    fn first_nonzero(&mut self, mut at: u64) -> Result<Option<u64>, ReadFailure> {
        loop {
            let bytes = self.load(at, 1)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
                return Ok(Some(at + index as u64));
            }
            at += bytes.len() as u64;
        }
    }

    /// The first place from `at` on where a header verifies.
    fn find_header(&mut self, seed: &Seed, mut at: u64) -> Result<Option<(u64, FrameHeader)>, ReadFailure> {
        loop {
            let bytes = self.load(at, FRAME_HEADER_LEN)?;
            let Some(places) = (bytes.len() + 1).checked_sub(FRAME_HEADER_LEN).filter(|&places| places > 0) else {
                return Ok(None);
            };
            let mut index = 0;
            while let Some(step) = bytes[index..places].iter().position(|&byte| byte == MAGIC[0]) {
                index += step;
                if bytes[index..index + 4] == MAGIC[..] {
                    let offset = at + index as u64;
                    if let Ok(header) = FrameHeader::decode(&bytes[index..], seed, offset) {
                        return Ok(Some((offset, header)));
                    }
                }
                index += 1;
            }
            at += places as u64;
        }
    }
}
