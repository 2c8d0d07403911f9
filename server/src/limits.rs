//! Every bound of the server in one place; what `redis.conf` can change is in `settings.rs`.

/// Longest inline command, and longest line with a length, in bytes (Redis' PROTO_INLINE_MAX_SIZE).
pub(crate) const LINE_LEN_MAX: usize = 64 * 1024;
/// Most words of one command (as Redis since 7.0); what they take is bounded by `client-query-buffer-limit`.
pub(crate) const WORDS_MAX: i64 = i32::MAX as i64;
/// Places of words that are kept for the next batch.
pub(crate) const WORDS_KEPT: usize = 8 * 1024;
/// Most words of one command before AUTH.
pub(crate) const UNAUTHENTICATED_WORDS_MAX: i64 = 10;
/// Longest word before AUTH, in bytes.
pub(crate) const UNAUTHENTICATED_WORD_LEN_MAX: i64 = 16 * 1024;
/// Most commands executed under one hold of the engine's lock.
pub(crate) const BATCH_COMMANDS_MAX: usize = 256;
/// No further command is added to a batch whose requests, or begun in one whose replies, have this many bytes.
pub(crate) const BATCH_LEN_MAX: usize = 1024 * 1024;
/// Size of a runtime's shared read buffer: what is read from a connection in one turn, in bytes.
pub(crate) const READ_LEN: usize = 64 * 1024;
/// Unparsed bytes from which on a connection reads into a buffer of its own.
pub(crate) const OWN_BUFFER_LEN: usize = 16 * 1024;
/// What a connection reads into a buffer of its own in one turn, about, in bytes.
pub(crate) const OWN_READ_LEN: usize = 1024 * 1024;
/// A connection with so many bytes of replies that have not left is not read from. Large, because simple clients send a whole
/// pipeline before they read its first reply; somewhat under a power of two, because a buffer that doubles would else be grown, and
/// copied, once more for the last reply.
pub(crate) const OUTPUT_PAUSE_LEN: usize = 60 * 1024 * 1024;
/// Before AUTH a connection that does not take so many bytes of replies is closed.
pub(crate) const UNAUTHENTICATED_OUTPUT_LEN_MAX: usize = 64 * 1024;
/// Output buffers up to this capacity are kept for the next reply, in bytes.
pub(crate) const POOLED_OUTPUT_LEN: usize = 64 * 1024;
/// Output buffers that a runtime keeps.
pub(crate) const POOLED_OUTPUTS: usize = 256;
/// Connections accepted in a row before those that are there are served.
pub(crate) const ACCEPTS_PER_TURN: usize = 64;
/// Mail that waits for one runtime, in bytes, from which on no connection's commands are begun until it is handed out.
pub(crate) const MAIL_LEN_MAX: usize = 64 * 1024 * 1024;
/// Memory of a runtime's mail that is kept for the next, in bytes.
pub(crate) const MAIL_LEN_KEPT: usize = 1024 * 1024;
