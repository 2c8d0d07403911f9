//! Deliberate bugs, to prove that the crash tests see them. Without the feature `planted-bugs` every question here is answered
//! "no" by the compiler, and nothing can be planted.
//!
//! A bug is planted per thread: the tests that hunt it run beside others that must stay green. A whole server has the one that
//! `FIRN_PLANTED_BUG` names, as [`Bug::name`] has it.

/// A bug that has cost other stores their users' data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bug {
    /// A write is acknowledged before it is written.
    AcknowledgeFirst,
    /// The log's flush is left out.
    SkipSync,
    /// One flush in four is left out.
    SkipOneSync,
    /// What was written while a flush was under way counts as flushed.
    FlushCountsLater,
    /// The folder is not flushed after a change of segment.
    SkipFolderSync,
    /// A failed flush is tried again on the same file, and believed.
    RetrySync,
    /// Recovery applies a record twice.
    ReplayTwice,
    /// Recovery leaves out one record in a thousand.
    DropRecord,
    /// Recovery applies only the first half of a transaction.
    HalfTransaction,
    /// Recovery does not delete what had expired.
    ExpiredKeyBack,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 10] = [
        Bug::AcknowledgeFirst,
        Bug::SkipSync,
        Bug::SkipOneSync,
        Bug::FlushCountsLater,
        Bug::SkipFolderSync,
        Bug::RetrySync,
        Bug::ReplayTwice,
        Bug::DropRecord,
        Bug::HalfTransaction,
        Bug::ExpiredKeyBack,
    ];

    /// Its name in the environment: `acknowledge-first`.
    #[cfg(feature = "planted-bugs")]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

/// The bug that the environment names. A wrong name must not pass for a server without bugs.
#[cfg(feature = "planted-bugs")]
fn of_environment() -> Option<Bug> {
    let named = std::env::var("FIRN_PLANTED_BUG").ok()?;
    let found = Bug::ALL.into_iter().find(|bug| bug.name() == named);
    assert!(found.is_some(), "FIRN_PLANTED_BUG={named} names no bug");
    found
}

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = std::cell::Cell::new(of_environment());
    static RECORDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    static FLUSHES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// From now on this thread has this bug, or none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this thread has this bug.
#[cfg(feature = "planted-bugs")]
#[inline]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether [`Bug::DropRecord`] drops the record that is replayed now: the thousandth, two thousandth, ... of this thread.
#[cfg(feature = "planted-bugs")]
pub(crate) fn drops_record() -> bool {
    RECORDS.set(RECORDS.get() + 1);
    has(Bug::DropRecord) && RECORDS.get().is_multiple_of(1000)
}

/// Whether this flush is left out, by [`Bug::SkipSync`] or as the fourth of this thread by [`Bug::SkipOneSync`].
#[cfg(feature = "planted-bugs")]
pub(crate) fn skips_sync() -> bool {
    FLUSHES.set(FLUSHES.get() + 1);
    has(Bug::SkipSync) || has(Bug::SkipOneSync) && FLUSHES.get().is_multiple_of(4)
}

/// Never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn skips_sync() -> bool {
    false
}

/// Never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn drops_record() -> bool {
    false
}

/// Never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn has(_: Bug) -> bool {
    false
}
