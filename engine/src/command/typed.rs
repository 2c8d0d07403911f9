//! How commands reach keys by type: the live string of a key, and storing one with the events that belong to it.

use super::{Call, CommandError};
use crate::engine::EventClass;
use crate::key::Key;
use crate::keyspace::{Deadline, Entry, Value};

/// The bytes of a string entry.
///
/// # Errors
/// [`CommandError::WrongType`].
#[inline]
pub(super) fn string<'a>(entry: &Entry<'a>) -> Result<&'a [u8], CommandError> {
    match entry.value {
        Value::String(bytes) => Ok(bytes),
    }
}

impl Call<'_> {
    /// The live string of `key`, for a command that only reads.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub(super) fn read_string(&mut self, key: Key<'_>) -> Result<Option<&[u8]>, CommandError> {
        self.read(key).map(|entry| string(&entry)).transpose()
    }

    /// The live string of `key`, for a command that may change it.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub(super) fn write_string(&mut self, key: Key<'_>) -> Result<Option<&[u8]>, CommandError> {
        self.write(key).map(|entry| string(&entry)).transpose()
    }

    /// Whether a key that is about to be replaced exists, where somebody wants to know: a dead key is to be reported as expired, a
    /// missing one as new. Else there is no look-up, and the answer is yes.
    #[inline]
    pub(super) fn replaces(&mut self, key: Key<'_>) -> bool {
        let nothing_dies = self.engine.keyspace.db(self.session.db).with_deadline() == 0;
        (nothing_dies && !self.engine.settings.wants(EventClass::New)) || self.write(key).is_some()
    }

    /// Sets a string whatever the key held; `existed` says whether it was there. The effect is the command's own matter.
    #[inline]
    pub(super) fn store(&mut self, key: Key<'_>, value: &[u8], deadline: Deadline, existed: bool) {
        self.engine.db_now(self.session.db).set_string(key, value, deadline);
        self.changed(key);
        if !existed {
            self.event(EventClass::New, "new", key.bytes);
        }
    }

    /// Removes a live key: entry, mark and event; the effect is the command's own matter. Says whether it was there.
    pub(super) fn delete(&mut self, key: Key<'_>) -> bool {
        let removed = self.engine.keyspace.db_mut(self.session.db).remove(key);
        if removed {
            self.changed(key);
            self.event(EventClass::Generic, "del", key.bytes);
        }
        removed
    }

    /// Removes a key because a deadline that has passed was asked for: to everybody that looks like an expiry.
    pub(super) fn expire_now(&mut self, key: Key<'_>) {
        self.engine.reclaim(self.session.db, key);
    }

    /// Fails if a string of `old` bytes may not become `added` longer (`proto-max-bulk-len`). Replay believes its records.
    ///
    /// # Errors
    /// [`CommandError::StringTooLong`].
    pub(super) fn check_length(&self, old: usize, added: usize) -> Result<(), CommandError> {
        match old.checked_add(added) {
            Some(len) if len <= self.engine.settings.string_len_max || self.engine.replaying => Ok(()),
            _ => Err(CommandError::StringTooLong),
        }
    }
}
