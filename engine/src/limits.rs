//! Every bound in one place. A length that comes from outside is compared with one of these before memory is taken.

/// Longest key or string value, in bytes (as `proto-max-bulk-len`'s default).
pub const STRING_LEN_MAX: usize = 512 * 1024 * 1024;
/// Largest payload of one frame, in bytes, before and after compression. One atomic record must fit.
pub const FRAME_PAYLOAD_MAX: usize = 2 * 1024 * 1024 * 1024 - 1;
/// Default length at which a log segment is sealed and the next begun, in bytes.
pub const SEGMENT_LEN_DEFAULT: u64 = 64 * 1024 * 1024;
/// A snapshot block is closed when its raw entries reach this many bytes.
pub const BLOCK_LEN_TARGET: usize = 64 * 1024;
/// Largest raw block that a reader accepts: one entry may hold a value of `STRING_LEN_MAX` and a key of as much.
pub const BLOCK_LEN_MAX: usize = 2 * 1024 * 1024 * 1024 - 1;
/// Databases at most (`databases`).
pub const DATABASES_MAX: usize = 16_384;
