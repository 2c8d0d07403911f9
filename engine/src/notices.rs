//! What the engine tells those who listen: keyspace events and changed keys, to the shell's [`Receiver`].
//!
//! 1. A command's notices are handed over when its record is complete, with the LSN that must hold before anybody may see them; those of
//!    a transaction one command after the other, and their LSN when it ends.
//! 2. The receiver is called under the engine's lock: what it is told is in the order in which things happened. It sends
//!    nothing before [`Receiver::hand_over`], which comes once, when the lock is about to be let go.
//! 3. Without a receiver nothing is told. Without anybody who listens nothing is noted: one branch a command.

use crate::engine::{Engine, Event};
use crate::key::Key;
use crate::log::Lsn;
use std::any::Any;
use std::fmt::Debug;

/// A change that those who cache keys must hear of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A key, and the number of the client whose command changed it (`Session::client`; 0: it died, or was evicted).
    Key(Box<[u8]>, u64),
    /// Whole databases.
    Everything,
}

/// The shell's end.
pub trait Receiver: Any + Send + Debug {
    /// Takes the notices of one command: changed keys first, then events, in order. `promise`: the LSN they wait for; `None`: that
    /// of the transaction under way.
    fn receive(&mut self, changes: &mut Vec<Change>, events: &mut Vec<Event>, promise: Option<Lsn>);
    /// The transaction has ended: what was received in it waits for this LSN.
    fn settle(&mut self, promise: Lsn);
    /// The lock is about to be let go: what was received goes on its way.
    fn hand_over(&mut self);
}

impl Engine {
    /// Whether notices wait to be handed over.
    #[inline]
    pub(crate) fn has_notices(&self) -> bool {
        !self.events.is_empty() || !self.changes.is_empty()
    }

    /// Hands the notices of a command to the receiver.
    #[cold]
    pub(crate) fn report(&mut self, promise: Option<Lsn>) {
        let Some(receiver) = &mut self.receiver else { return };
        receiver.receive(&mut self.changes, &mut self.events, promise);
        self.changes.clear();
        self.events.clear();
        self.outgoing = true;
        self.unsettled |= promise.is_none();
    }

    /// The receiver, to be told something else than notices, and the LSN which that waits for as in [`Receiver::receive`], where
    /// `promise` is the session's.
    pub fn receiver(&mut self, promise: Lsn) -> (Option<&mut dyn Receiver>, Option<Lsn>) {
        self.outgoing = true;
        let promise = if self.in_transaction() {
            self.unsettled = true;
            None
        } else {
            Some(promise)
        };
        (self.receiver.as_deref_mut(), promise)
    }

    /// [`Receiver::settle`], if the transaction that has ended told anything.
    pub(crate) fn settle(&mut self, promise: Lsn) {
        if std::mem::take(&mut self.unsettled)
            && let Some(receiver) = &mut self.receiver
        {
            receiver.settle(promise);
        }
    }

    /// Must precede letting the engine's lock go: see [`Receiver::hand_over`].
    #[inline]
    pub fn hand_over(&mut self) {
        if self.outgoing || self.has_notices() {
            self.hand_over_now();
        }
    }

    #[cold]
    fn hand_over_now(&mut self) {
        if self.has_notices() {
            let last = self.effects.last();
            self.report(Some(last));
        }
        debug_assert!(!self.unsettled, "the lock is let go within a transaction");
        if std::mem::take(&mut self.outgoing)
            && let Some(receiver) = &mut self.receiver
        {
            receiver.hand_over();
        }
    }

    /// Notes a changed key for those who cache it.
    #[cold]
    pub(crate) fn note_change(&mut self, key: Key<'_>, died: bool) {
        if !self.replaying {
            self.changes.push(Change::Key(key.bytes.into(), if died { 0 } else { self.actor }));
        }
    }

    /// Notes that whole databases were flushed: whoever caches keys of any database forgets them, as in Redis, also if they were empty.
    pub(crate) fn note_everything(&mut self) {
        if self.notes_changes && !self.replaying && self.changes.last() != Some(&Change::Everything) {
            self.changes.push(Change::Everything);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;
    use std::sync::Arc;
    use std::sync::Mutex;

    /// Writes down what it is told.
    #[derive(Clone, Debug, Default)]
    struct Diary(Arc<Mutex<Vec<String>>>);

    impl Receiver for Diary {
        fn receive(&mut self, changes: &mut Vec<Change>, events: &mut Vec<Event>, promise: Option<Lsn>) {
            let mut diary = self.0.lock().unwrap();
            for change in changes.drain(..) {
                diary.push(match change {
                    Change::Key(key, by) => format!("{} by {by} at {promise:?}", key.escape_ascii()),
                    Change::Everything => format!("everything at {promise:?}"),
                });
            }
            diary.extend(events.drain(..).map(|event| format!("{} at {promise:?}", event.name)));
        }
        fn settle(&mut self, promise: Lsn) {
            self.0.lock().unwrap().push(format!("settled at {promise}"));
        }
        fn hand_over(&mut self) {
            self.0.lock().unwrap().push("sent".to_owned());
        }
    }

    fn bench() -> (Bench, Diary) {
        let (mut bench, diary) = (Bench::new(), Diary::default());
        bench.engine.receiver = Some(Box::new(diary.clone()));
        bench.engine.settings.events = u128::MAX;
        bench.engine.notes_changes = true;
        bench.session.client = 7;
        (bench, diary)
    }

    impl Diary {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[test]
    fn notices_carry_the_lsn_of_their_record_and_leave_once() {
        let (mut bench, diary) = bench();
        bench.run(&[b"SET", b"a", b"1"]);
        bench.run(&[b"DEL", b"a", b"b"]);
        bench.engine.hand_over();
        bench.engine.hand_over();
        let told = diary.take();
        let expected =
            ["a by 7 at Some(1)", "new at Some(1)", "set at Some(1)", "a by 7 at Some(2)", "del at Some(2)", "sent"];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_transactions_notices_are_settled_when_it_ends() {
        let (mut bench, diary) = bench();
        bench.run(&[b"SET", b"a", b"1"]);
        diary.take();
        bench.engine.begin_transaction();
        bench.run(&[b"INCR", b"a"]);
        bench.run(&[b"FLUSHALL"]);
        bench.engine.end_transaction(&mut bench.session);
        bench.engine.hand_over();
        assert_eq!(diary.take(), ["a by 7 at None", "incrby at None", "everything at None", "settled at 2", "sent"]);
    }

    #[test]
    fn sort_tells_of_all_weights_that_miss_although_one_is_no_number() {
        let (mut bench, diary) = bench();
        bench.run(&[b"RPUSH", b"l", b"1", b"2", b"3"]);
        bench.run(&[b"SET", b"w1", b"no number"]);
        diary.take();
        let reply = bench.run(&[b"SORT", b"l", b"BY", b"w*"]);
        assert!(reply.contains("can't be converted into double"), "{reply}");
        assert_eq!(diary.take(), ["keymiss at Some(2)", "keymiss at Some(2)"]);
    }

    #[test]
    fn a_swap_is_not_told_and_a_flush_is_also_if_nothing_was_there() {
        let (mut bench, diary) = bench();
        bench.run(&[b"SET", b"a", b"1"]);
        bench.engine.hand_over();
        diary.take();
        bench.run(&[b"SWAPDB", b"0", b"1"]);
        bench.engine.hand_over();
        assert_eq!(diary.take(), ["sent"; 0]);
        bench.run(&[b"FLUSHDB"]);
        bench.engine.hand_over();
        assert_eq!(diary.take(), ["everything at Some(2)", "sent"]);
    }

    #[test]
    fn dead_keys_are_told_with_the_record_that_deletes_them() {
        let (mut bench, diary) = bench();
        bench.run(&[b"SET", b"a", b"1", b"PX", b"100"]);
        bench.run(&[b"SET", b"b", b"1", b"PX", b"100"]);
        diary.take();
        bench.engine.now_ms += 200;
        bench.run(&[b"EXISTS", b"a"]);
        bench.engine.expire_slice(100);
        bench.engine.hand_over();
        let told = diary.take();
        assert_eq!(told[0], "a by 0 at Some(3)");
        assert_eq!(told[1], "expired at Some(3)");
        assert_eq!(told[told.len() - 3..], ["b by 0 at Some(4)", "expired at Some(4)", "sent"]);
    }
}
