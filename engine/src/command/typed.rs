//! How commands reach keys by type: the live string of a key, and storing one with the events that belong to it.

use super::{Call, CommandError};
use crate::engine::EventClass;
use crate::key::Key;
use crate::keyspace::{Deadline, Edited, Entry, Value};
use crate::value::{Collection, CollectionView, HashView, Kind, ListView, SetView, Shaping, SortedSetView, Stream};

/// What [`Call::store_collection`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code)]
pub(super) enum Stored {
    /// The collection is there now.
    Put,
    /// It is empty, and the key was deleted.
    Deleted,
    /// It is empty, and there was no such key.
    Nothing,
}

/// The bytes of a string entry.
///
/// # Errors
/// [`CommandError::WrongType`].
#[inline]
pub(super) fn string<'a>(entry: &Entry<'a>) -> Result<&'a [u8], CommandError> {
    entry.value.string().ok_or(CommandError::WrongType)
}

/// The typed ways to a collection.
macro_rules! collections {
    ($($type:ident $view:ty, $read:ident $write:ident $edit:ident;)*) => {
        impl Call<'_> {
            $(
                /// The live collection of `key`, for a command that only reads; a hit or a miss, a use of the key.
                ///
                /// # Errors
                /// [`CommandError::WrongType`].
                #[inline]
                #[allow(dead_code)] // Not every type has a command for each way.
                pub(super) fn $read(&mut self, key: Key<'_>) -> Result<Option<$view>, CommandError> {
                    match self.read(key).map(|entry| entry.value) {
                        None => Ok(None),
                        Some(Value::Collection(CollectionView::$type(view))) => Ok(Some(view)),
                        Some(_) => Err(CommandError::WrongType),
                    }
                }

                /// The live collection of `key`, for a command that may change it.
                ///
                /// # Errors
                /// [`CommandError::WrongType`].
                #[inline]
                #[allow(dead_code)]
                pub(super) fn $write(&mut self, key: Key<'_>) -> Result<Option<$view>, CommandError> {
                    match self.write(key).map(|entry| entry.value) {
                        None => Ok(None),
                        Some(Value::Collection(CollectionView::$type(view))) => Ok(Some(view)),
                        Some(_) => Err(CommandError::WrongType),
                    }
                }

                /// Changes the collection of `key`, whose type was checked before; creates an empty one first if there is none, removes
                /// the key if nothing is left. Reports a new key; the rest (mark, events, effect) is the command's own matter.
                #[inline]
                #[allow(dead_code)]
                pub(super) fn $edit<T>(
                    &mut self,
                    key: Key<'_>,
                    edit: impl FnOnce(&mut crate::value::$type, &Shaping) -> T,
                ) -> Edited<T> {
                    self.edit_in(self.session.db, key, Kind::$type, |collection, shaping| match collection {
                        Collection::$type(value) => edit(value, shaping),
                        _ => unreachable!("the type was checked"),
                    })
                }
            )*
        }
    };
}

collections! {
    List ListView<'_>, read_list write_list edit_list;
    Set SetView<'_>, read_set write_set edit_set;
    SortedSet SortedSetView<'_>, read_sorted_set write_sorted_set edit_sorted_set;
    Hash HashView<'_>, read_hash write_hash edit_hash;
    Stream &Stream, read_stream write_stream edit_stream;
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

    /// [`Call::edit_list`] and its like for any type and database.
    #[inline]
    pub(super) fn edit_in<T>(
        &mut self,
        db: usize,
        key: Key<'_>,
        kind: Kind,
        edit: impl FnOnce(&mut Collection, &Shaping) -> T,
    ) -> Edited<T> {
        self.engine.db_now(db);
        let engine = &mut *self.engine;
        let shaping = &engine.settings.shaping;
        let edited = engine.keyspace.db_mut(db).edit_collection(key, kind, |collection| edit(collection, shaping));
        if edited.created {
            engine.event(EventClass::New, "new", db, key.bytes);
        }
        edited
    }

    /// Puts a collection in place of whatever the key holds, without a deadline; an empty one deletes the key. `key` must have been
    /// looked at with [`Call::write`] before. Marks and reports what happened to the key, but not the command's own event or effect.
    #[allow(dead_code)]
    pub(super) fn store_collection(&mut self, key: Key<'_>, collection: Collection) -> Stored {
        let db = self.session.db;
        let existed = self.engine.keyspace.db(db).get(key).is_some();
        if collection.is_gone() {
            return if existed && self.delete(key) { Stored::Deleted } else { Stored::Nothing };
        }
        self.engine.db_now(db).put_collection(key, collection, None);
        self.changed(key);
        if !existed {
            self.event(EventClass::New, "new", key.bytes);
        }
        Stored::Put
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
