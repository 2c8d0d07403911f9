//! What all files of a store share: the 128-byte header, seeded checksums, and the names of files. Layout: `FORMAT.md`.
//!
//! 1. Everything here is a pure function of bytes; nothing touches a disk.
//! 2. A reader that meets a higher format version says so ([`BadHeader::Newer`]) if and only if the checksum is right: a newer
//!    format is not damage, and damage is not a newer format.
//! 3. Printing a [`FileName`] and parsing it again gives the same value, and only names that print the same are parsed.

use crate::key::HashSeed;
use crate::log::Lsn;
use std::fmt;

/// Length of the header of every file, in bytes.
pub const HEADER_LEN: usize = 128;
/// The format version this build writes, and the highest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Flag of a segment: records before its first were not logged, so it counts only beside a snapshot at its first LSN - 1 or later.
pub const FLAG_UNANCHORED: u32 = 1;

/// Drawn once per store, part of every checksum's seed: files of two stores never pass for each other's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Which file a header belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// `STORE`: the identity.
    Store,
    /// A log segment.
    Segment,
    /// A snapshot.
    Snapshot,
}

impl FileKind {
    /// The first eight bytes of such a file.
    pub const fn magic(self) -> &'static [u8; 8] {
        match self {
            FileKind::Store => b"FIRNSTOR",
            FileKind::Segment => b"FIRNSEG1",
            FileKind::Snapshot => b"FIRNSNP1",
        }
    }

    const fn known_flags(self) -> u32 {
        match self {
            FileKind::Segment => FLAG_UNANCHORED,
            FileKind::Store | FileKind::Snapshot => 0,
        }
    }
}

/// The first 128 bytes of an identity, a segment or a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// What the file is.
    pub kind: FileKind,
    /// [`FLAG_UNANCHORED`].
    pub flags: u32,
    /// The store it belongs to.
    pub store: StoreId,
    /// The store's SipHash key.
    pub hash_seed: HashSeed,
    /// Segment: first LSN; snapshot: its LSN; identity: 0.
    pub number: Lsn,
    /// The open that made it.
    pub epoch: u64,
    /// Unix ms.
    pub created_ms: u64,
    /// Highest LSN known durable when this was written.
    pub durable: Lsn,
}

/// Why 128 bytes are not the header that was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadHeader {
    /// The file ends within the header.
    #[error("the file has {0} bytes, its header alone takes {HEADER_LEN}")]
    Short(usize),
    /// Not the first bytes of such a file.
    #[error("it begins with \"{}\" instead of \"{}\"", .found.escape_ascii(), .expected.escape_ascii())]
    BadMagic {
        /// What is there.
        found: [u8; 8],
        /// What should be.
        expected: [u8; 8],
    },
    /// The checksum is wrong.
    #[error("the header's checksum is {computed:08x}, the file says {stored:08x}")]
    BadCrc {
        /// In the file.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// Written by a newer release; not damage.
    #[error("it has format version {found}; this release reads up to {FORMAT_VERSION}, use a newer one")]
    Newer {
        /// The file's.
        found: u32,
    },
    /// Whole, but with a version or flags that no release ever wrote, or bytes that must be zero.
    #[error("the header is whole but says what no release writes: {0}")]
    Unknown(&'static str),
    /// Whole, but of another store.
    #[error("it belongs to store {found}, this is store {expected}")]
    OtherStore {
        /// The file's.
        found: StoreId,
        /// This one.
        expected: StoreId,
    },
    /// Whole, but the file's name says another number or epoch.
    #[error("its header says LSN {number} and epoch {epoch}, its name does not: it was renamed")]
    OtherName {
        /// The header's number.
        number: Lsn,
        /// The header's epoch.
        epoch: u64,
    },
}

impl BadHeader {
    /// Whether it may be that the header was never written: the file ends before it, or zeros are there.
    pub fn is_blank(&self) -> bool {
        matches!(self, BadHeader::Short(_) | BadHeader::BadMagic { found: [0, 0, 0, 0, 0, 0, 0, 0], .. })
    }
}

impl FileHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(self.kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.0);
        bytes[32..48].copy_from_slice(&self.hash_seed.0);
        bytes[48..56].copy_from_slice(&self.number.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.durable.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file of `kind` from its first bytes (more than the header may be given).
    ///
    /// # Errors
    /// [`BadHeader`], everything but [`BadHeader::OtherStore`] and [`BadHeader::OtherName`].
    pub fn decode(bytes: &[u8], kind: FileKind) -> Result<FileHeader, BadHeader> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(BadHeader::Short(bytes.len()))?;
        let found = array_at(header, 0);
        if found != *kind.magic() {
            return Err(BadHeader::BadMagic { found, expected: *kind.magic() });
        }
        let (stored, computed) = (u32_at(header, 124), crc32fast::hash(&header[..124]));
        if stored != computed {
            return Err(BadHeader::BadCrc { stored, computed });
        }
        let (version, flags) = (u32_at(header, 8), u32_at(header, 12));
        if version > FORMAT_VERSION {
            return Err(BadHeader::Newer { found: version });
        }
        if version == 0 {
            return Err(BadHeader::Unknown("format version 0"));
        }
        if flags & !kind.known_flags() != 0 {
            return Err(BadHeader::Unknown("a flag"));
        }
        if header[80..124].iter().any(|&byte| byte != 0) {
            return Err(BadHeader::Unknown("bytes 80 to 123 are not zero"));
        }
        Ok(FileHeader {
            kind,
            flags,
            store: StoreId(array_at(header, 16)),
            hash_seed: HashSeed(array_at(header, 32)),
            number: u64_at(header, 48),
            epoch: u64_at(header, 56),
            created_ms: u64_at(header, 64),
            durable: u64_at(header, 72),
        })
    }

    /// Fails if the file belongs to another store.
    ///
    /// # Errors
    /// [`BadHeader::OtherStore`].
    pub fn of_store(self, expected: StoreId) -> Result<FileHeader, BadHeader> {
        if self.store == expected { Ok(self) } else { Err(BadHeader::OtherStore { found: self.store, expected }) }
    }

    /// Fails if the file's name says another number or epoch than its header.
    ///
    /// # Errors
    /// [`BadHeader::OtherName`].
    pub fn named(self, number: Lsn, epoch: u64) -> Result<FileHeader, BadHeader> {
        if (self.number, self.epoch) == (number, epoch) {
            Ok(self)
        } else {
            Err(BadHeader::OtherName { number: self.number, epoch: self.epoch })
        }
    }

    /// The seed of the checksums inside this file.
    pub fn seed(&self) -> Seed {
        Seed::new(self.store, self.number, self.epoch)
    }

    /// Whether this is a segment whose predecessors were not logged.
    pub fn unanchored(&self) -> bool {
        self.flags & FLAG_UNANCHORED != 0
    }
}

/// Where the CRCs inside a file begin: the state after store id, the file's number (first LSN or snapshot LSN), its epoch, and the
/// offset of what is checked. So stale, displaced, duplicated or embedded bytes never verify.
#[derive(Clone, Debug)]
pub struct Seed(crc32fast::Hasher);

impl Seed {
    /// The seed of one file.
    pub fn new(store: StoreId, number: Lsn, epoch: u64) -> Seed {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&store.0);
        bytes[16..24].copy_from_slice(&number.to_le_bytes());
        bytes[24..].copy_from_slice(&epoch.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes);
        Seed(hasher)
    }

    /// The CRC of `parts`, one after the other, in a structure that begins at `offset` of the file.
    pub fn crc(&self, offset: u64, parts: &[&[u8]]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(&offset.to_le_bytes());
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    }
}

/// The `N` bytes at `at`, which must lie within `bytes`.
#[inline]
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The little-endian `u32` at `at`, which must lie within `bytes`.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The little-endian `u64` at `at`, which must lie within `bytes`.
#[inline]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// What a name in the store's folder means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileName {
    /// `LOCK`.
    Lock,
    /// `STORE`.
    Store,
    /// `log-<first LSN>-<epoch>.seg`.
    Segment {
        /// LSN of its first record.
        first: Lsn,
        /// The open that made it.
        epoch: u64,
    },
    /// `snap-<LSN>-<epoch>.snap`.
    Snapshot {
        /// The LSN whose state it holds.
        lsn: Lsn,
        /// The open that made it.
        epoch: u64,
    },
    /// `reserve.seg`.
    Reserve,
    /// `*.tmp`: being made, or left by a crash; no reader looks at it.
    Temporary(String),
    /// `NAME.torn-<epoch>`: bytes behind a torn tail, set aside.
    Torn {
        /// The segment's name.
        of: String,
        /// The open that set them aside.
        epoch: u64,
    },
    /// `NAME.bad-<epoch>`: a snapshot that did not verify, set aside.
    Bad {
        /// The snapshot's name.
        of: String,
        /// The open that set it aside.
        epoch: u64,
    },
    /// None of ours: left alone.
    Foreign(String),
}

impl FileName {
    /// What `name` means.
    pub fn parse(name: &str) -> FileName {
        Self::parse_ours(name).unwrap_or_else(|| FileName::Foreign(name.to_owned()))
    }

    fn parse_ours(name: &str) -> Option<FileName> {
        match name {
            "LOCK" => return Some(FileName::Lock),
            "STORE" => return Some(FileName::Store),
            "reserve.seg" => return Some(FileName::Reserve),
            _ => {}
        }
        if let Some(middle) = name.strip_prefix("log-").and_then(|rest| rest.strip_suffix(".seg")) {
            let (first, epoch) = numbers(middle)?;
            return Some(FileName::Segment { first, epoch });
        }
        if let Some(middle) = name.strip_prefix("snap-").and_then(|rest| rest.strip_suffix(".snap")) {
            let (lsn, epoch) = numbers(middle)?;
            return Some(FileName::Snapshot { lsn, epoch });
        }
        if let Some(stem) = name.strip_suffix(".tmp") {
            return Some(FileName::Temporary(stem.to_owned()));
        }
        if let Some((of, epoch)) = name.rsplit_once(".torn-") {
            return Some(FileName::Torn { of: of.to_owned(), epoch: digits(epoch, 10)? });
        }
        let (of, epoch) = name.rsplit_once(".bad-")?;
        Some(FileName::Bad { of: of.to_owned(), epoch: digits(epoch, 10)? })
    }

    /// The epoch in the name: every open takes one above all of them.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            FileName::Segment { epoch, .. }
            | FileName::Snapshot { epoch, .. }
            | FileName::Torn { epoch, .. }
            | FileName::Bad { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Lock => out.write_str("LOCK"),
            FileName::Store => out.write_str("STORE"),
            FileName::Segment { first, epoch } => write!(out, "log-{first:020}-{epoch:010}.seg"),
            FileName::Snapshot { lsn, epoch } => write!(out, "snap-{lsn:020}-{epoch:010}.snap"),
            FileName::Reserve => out.write_str("reserve.seg"),
            FileName::Temporary(stem) => write!(out, "{stem}.tmp"),
            FileName::Torn { of, epoch } => write!(out, "{of}.torn-{epoch:010}"),
            FileName::Bad { of, epoch } => write!(out, "{of}.bad-{epoch:010}"),
            FileName::Foreign(name) => out.write_str(name),
        }
    }
}

/// `<20 digits>-<10 digits>`.
fn numbers(middle: &str) -> Option<(u64, u64)> {
    let (number, epoch) = middle.split_once('-')?;
    Some((digits(number, 20)?, digits(epoch, 10)?))
}

/// Exactly as many digits as `{:0width}` prints: padded to `width`, longer only without leading zeros.
fn digits(text: &str, width: usize) -> Option<u64> {
    let plain = text.len() == width || (text.len() > width && !text.starts_with('0'));
    if plain && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> FileHeader {
        FileHeader {
            kind: FileKind::Segment,
            flags: FLAG_UNANCHORED,
            store: StoreId([0xab; 16]),
            hash_seed: HashSeed([0x17; 16]),
            number: 0x0102_0304_0506_0708,
            epoch: 9,
            created_ms: 1_700_000_000_000,
            durable: 77,
        }
    }

    #[test]
    fn golden_header() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..16], b"FIRNSEG1\x01\0\0\0\x01\0\0\0");
        assert_eq!(&bytes[48..56], b"\x08\x07\x06\x05\x04\x03\x02\x01");
        assert_eq!(bytes[80..124], [0; 44]);
        // Computed with zlib's crc32.
        assert_eq!(bytes[124..], [0x73, 0xae, 0x02, 0x84]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_header_is_seen() {
        for kind in [FileKind::Store, FileKind::Segment, FileKind::Snapshot] {
            let flags = if kind == FileKind::Segment { FLAG_UNANCHORED } else { 0 };
            let header = FileHeader { kind, flags, ..sample() };
            let bytes = header.encode();
            assert_eq!(FileHeader::decode(&bytes, kind), Ok(header));
            for bit in 0..HEADER_LEN * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                let error = FileHeader::decode(&bad, kind).expect_err("a flipped bit");
                assert!(matches!(error, BadHeader::BadMagic { .. } | BadHeader::BadCrc { .. }), "bit {bit}: {error}");
            }
            for cut in 0..HEADER_LEN {
                assert_eq!(FileHeader::decode(&bytes[..cut], kind), Err(BadHeader::Short(cut)));
            }
        }
    }

    #[test]
    fn a_newer_format_is_not_damage_and_what_nobody_writes_is_named() {
        let change = |at: usize, value: u8| {
            let mut bytes = sample().encode();
            bytes[at] = value;
            let crc = crc32fast::hash(&bytes[..124]);
            bytes[124..].copy_from_slice(&crc.to_le_bytes());
            FileHeader::decode(&bytes, FileKind::Segment).expect_err("changed")
        };
        assert_eq!(change(8, 2), BadHeader::Newer { found: 2 });
        assert_eq!(change(8, 0), BadHeader::Unknown("format version 0"));
        assert_eq!(change(12, 3), BadHeader::Unknown("a flag"));
        assert_eq!(change(123, 1), BadHeader::Unknown("bytes 80 to 123 are not zero"));
        let other = StoreId([1; 16]);
        assert_eq!(sample().of_store(other), Err(BadHeader::OtherStore { found: sample().store, expected: other }));
        let number = sample().number;
        assert_eq!(sample().named(number, 10), Err(BadHeader::OtherName { number, epoch: 9 }));
        assert_eq!(sample().named(number, 9), Ok(sample()));
    }

    #[test]
    fn a_seed_depends_on_store_number_epoch_and_offset() {
        let crc =
            |store, number, epoch, offset| Seed::new(StoreId([store; 16]), number, epoch).crc(offset, &[b"x", b"yz"]);
        let one = crc(1, 2, 3, 4);
        assert_eq!(one, Seed::new(StoreId([1; 16]), 2, 3).crc(4, &[b"xyz"]));
        for other in [crc(9, 2, 3, 4), crc(1, 9, 3, 4), crc(1, 2, 9, 4), crc(1, 2, 3, 9)] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn names_are_those_of_the_document() {
        let of = "log-00000000000000000007-0000000003.seg";
        assert_eq!(FileName::Segment { first: 7, epoch: 3 }.to_string(), of);
        assert_eq!(FileName::Snapshot { lsn: 7, epoch: 3 }.to_string(), "snap-00000000000000000007-0000000003.snap");
        assert_eq!(FileName::Torn { of: of.into(), epoch: 4 }.to_string(), format!("{of}.torn-0000000004"));
        assert_eq!(FileName::parse("log-next.tmp"), FileName::Temporary("log-next".into()));
        for foreign in ["log-7-3.seg", "log-+0000000000000000007-0000000003.seg", "dump.rdb", "a.bad-x", "a.torn-1", ""]
        {
            assert_eq!(FileName::parse(foreign), FileName::Foreign(foreign.into()));
        }
    }

    proptest! {
        #[test]
        fn a_name_comes_back_as_it_was_printed(number: u64, epoch: u64, kind in 0..4) {
            let of = FileName::Segment { first: number, epoch }.to_string();
            let name = match kind {
                0 => FileName::Segment { first: number, epoch },
                1 => FileName::Snapshot { lsn: number, epoch },
                2 => FileName::Torn { of, epoch },
                _ => FileName::Bad { of, epoch },
            };
            prop_assert_eq!(FileName::parse(&name.to_string()), name);
        }

        #[test]
        fn any_text_prints_as_it_was_parsed(text in "(log|snap)-[0-9]{18,22}-[0-9]{8,12}[.](seg|snap)([.](torn|bad)-[0-9]{9,11})?|.*") {
            prop_assert_eq!(FileName::parse(&text).to_string(), text);
        }
    }
}
