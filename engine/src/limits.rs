//! Every bound in one place. A length that comes from outside is compared with one of these before memory is taken.

/// Longest key or string value, in bytes, unless configured otherwise (`proto-max-bulk-len`'s default).
pub const STRING_LEN_MAX: usize = 512 * 1024 * 1024;
/// Largest payload of one frame, in bytes, before and after compression. One atomic record must fit.
pub const FRAME_PAYLOAD_MAX: usize = 2 * 1024 * 1024 * 1024 - 1;
/// Largest record, in bytes. No command (no transaction) may begin whose record could be larger: see
/// [`crate::engine::Engine::admits`]. The difference to a frame is for what else stands in a snapshot's block beside an entry as large.
pub const RECORD_LEN_MAX: usize = FRAME_PAYLOAD_MAX - 1024 * 1024;
/// What `proto-max-bulk-len` can be raised to: a key of half a record and a value of this length fit into a snapshot's block.
pub const STRING_LEN_LIMIT: usize = 1024 * 1024 * 1024;
/// Default length at which a log segment is sealed and the next begun, in bytes.
pub const SEGMENT_LEN_DEFAULT: u64 = 64 * 1024 * 1024;
/// A snapshot block is closed when its raw entries reach this many bytes.
pub const BLOCK_LEN_TARGET: usize = 64 * 1024;
/// Largest raw block that a reader accepts: one entry may hold a value of `STRING_LEN_LIMIT` and a key of half a record.
pub const BLOCK_LEN_MAX: usize = 2 * 1024 * 1024 * 1024 - 1;
/// Databases at most (`databases`).
pub const DATABASES_MAX: usize = 16_384;
/// A group larger than this is written as several frames (each of whole records), so that readers need little memory.
pub const FRAME_PAYLOAD_TARGET: usize = 16 * 1024 * 1024;
/// Frames with smaller payloads are not compressed: the gain would be less than the cost.
pub const FRAME_COMPRESS_MIN: usize = 4 * 1024;
/// LZ4 cannot shrink below this: a longer raw length is refused before memory is taken.
pub const LZ4_RATIO_MAX: usize = 255;
/// Bytes of a segment that are read at a time while looking for frames.
pub const SCAN_CHUNK: usize = 256 * 1024;
/// Written frames that are not yet durable are kept in memory, to be written again after a failed flush; above this many bytes
/// a flush is due at once, whatever the policy.
pub const RETAINED_MAX: usize = 64 * 1024 * 1024;
/// Under `everysec` a flush begins when the oldest unflushed write is this old: a fifth of the second is left for the flush itself.
pub const SYNC_AFTER_MS: u64 = 800;
/// Under `everysec` replies are held back once the oldest unflushed write is this old.
pub const HOLD_BACK_AFTER_MS: u64 = 2000;
/// A durable marker is written this long after the last flush if nothing newer was written.
pub const MARKER_AFTER_MS: u64 = 100;
/// Default length of `reserve.seg`: what deletions may still write on a full disk.
pub const RESERVE_LEN_DEFAULT: u64 = 4 * 1024 * 1024;
/// First and longest pause before a failed write to the log is tried again; it doubles in between.
pub const LOG_RETRY_MS: std::ops::Range<u64> = 100..10_000;
/// Bytes of zeros that are written ahead at a time.
pub const FILL_CHUNK: usize = 256 * 1024;
/// How far ahead of the frames the current segment is kept filled with zeros.
pub const FILL_LEAD: u64 = 8 * 1024 * 1024;
/// Pause between two looks whether a full disk has room again.
pub const LOG_FULL_RETRY_MS: u64 = 1000;
/// Bytes of captured entries that may wait for the disk while a snapshot is written; beyond it writers wait.
pub const CAPTURE_BUFFER_MAX: usize = 8 * 1024 * 1024;
/// What a snapshot serializes in one hold of the engine's lock, in bytes: some tens of microseconds.
pub const CAPTURE_SLICE_LEN: usize = 64 * 1024;
/// A snapshot is written in pieces of about this many bytes.
pub const SNAPSHOT_WRITE_LEN: usize = 256 * 1024;
/// A snapshot is synced whenever so many bytes were written since the last time.
pub const SNAPSHOT_SYNC_LEN: u64 = 32 * 1024 * 1024;
/// Longest node of a stream, and all fields and values of one entry together, in bytes (as Redis' bound of a listpack in a stream).
pub const STREAM_NODE_LEN_MAX: usize = 1 << 30;
/// Random elements, drawn with repetition, of one command (HRANDFIELD, SRANDMEMBER, ZRANDMEMBER with a negative count).
pub const RANDOM_COUNT_MAX: usize = 1 << 24;
