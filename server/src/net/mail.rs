//! Mail: bytes that any thread hands to connections of any runtime, each with the LSN it must wait for.
//!
//! 1. Who holds the engine's lock puts mail into an [`Outbox`] per runtime; when the lock is let go, each runtime that has any gets all of it
//!    at once ([`RuntimeHandle::post`](super::runtime::RuntimeHandle::post)): one lock and one wake-up a batch, nothing per message.
//! 2. A message to a topic is written once a runtime, however many connections of it listen. Who listens is known to the runtime alone
//!    ([`Topics`]); joining and leaving are mail themselves, so they take effect exactly between the messages before and behind them.
//! 3. A connection gets its mail in the order in which it was put, behind the replies to commands that ran before. Mail leaves when its
//!    promise holds, and no earlier than what stands before it.
//! 4. What waits here is bounded: beyond `MAIL_LEN_MAX` no connection begins new commands. What a connection does not read is bounded
//!    by `client-output-buffer-limit`.

use super::connection::Connection;
use super::runtime::{Runtime, RuntimeHandle};
use crate::limits::MAIL_LEN_KEPT;
use firn_engine::log::Lsn;
use firn_engine::log::pending::Identity;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::sync::Arc;

/// Names a topic; never used twice.
pub(crate) type TopicId = u64;

/// The promise of mail put within a transaction, until it has ended.
const OPEN: Lsn = Lsn::MAX;

/// Whom mail is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum To {
    /// The client with this number.
    Client(u64),
    /// Everybody who has joined it.
    Topic(TopicId),
    /// For the runtime: from here on the client listens to the topic.
    Join(TopicId, u64),
    /// For the runtime: from here on it does not.
    Leave(TopicId, u64),
}

/// How the bytes depend on the protocol of who gets them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Not at all.
    Plain,
    /// They begin with `*`, which becomes `>` for RESP3.
    Push,
    /// The keys of an invalidation, as an array: RESP3 clients get them as `invalidate`, others as a message of the channel
    /// `__redis__:invalidate`.
    Invalidation,
    /// All keys are invalid: no bytes, the null of the protocol.
    InvalidateAll,
}

/// One piece of mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mail {
    to: To,
    shape: Shape,
    promise: Lsn,
    /// Where its bytes end; they begin where those of the mail before end.
    end: usize,
}

/// Mail in order, with its bytes.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    mails: Vec<Mail>,
    bytes: Vec<u8>,
}

impl Parcel {
    /// Bytes of memory that the mail takes; 0 only if there is none.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.mails.len() * size_of::<Mail>()
    }

    /// Memory that it takes, used or not.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() + self.mails.capacity() * size_of::<Mail>()
    }

    /// Appends all of `other`, which is empty then.
    pub(crate) fn append(&mut self, other: &mut Parcel) {
        if self.mails.is_empty() {
            return std::mem::swap(self, other);
        }
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.mails.extend(other.mails.drain(..).map(|mail| Mail { end: mail.end + base, ..mail }));
    }

    fn clear(&mut self) {
        self.mails.clear();
        self.bytes.clear();
        self.bytes.shrink_to(MAIL_LEN_KEPT);
        self.mails.shrink_to(MAIL_LEN_KEPT / size_of::<Mail>());
    }

    /// The mail from `at` on that can be handed out as one: for the same, and either all of it waits for nothing or all for the same.
    fn run(&self, at: usize, holds: impl Fn(Lsn) -> bool) -> Run<'_> {
        let first = &self.mails[at];
        let start = at.checked_sub(1).map_or(0, |before| self.mails[before].end);
        let held = holds(first.promise);
        let mut end = at + 1;
        if matches!(first.shape, Shape::Plain | Shape::Push) {
            let joins = |mail: &&Mail| {
                mail.to == first.to
                    && matches!(mail.shape, Shape::Plain | Shape::Push)
                    && if held { holds(mail.promise) } else { mail.promise == first.promise }
            };
            end += self.mails[end..].iter().take_while(joins).count();
        }
        let mails = &self.mails[at..end];
        Run { mails, start, bytes: &self.bytes[start..mails[mails.len() - 1].end], held }
    }
}

/// Mail that is handed out as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'p> {
    mails: &'p [Mail],
    start: usize,
    bytes: &'p [u8],
    /// Its promise holds.
    pub(crate) held: bool,
}

impl Run<'_> {
    /// What it waits for.
    pub(crate) fn promise(&self) -> Lsn {
        self.mails[0].promise
    }

    /// Appends it for a client that speaks `protocol`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, protocol: u8) {
        match self.mails[0].shape {
            Shape::Plain | Shape::Push => {
                let base = out.len();
                out.extend_from_slice(self.bytes);
                if protocol == 2 {
                    return;
                }
                let mut start = self.start;
                for mail in self.mails {
                    if mail.shape == Shape::Push {
                        out[base + start - self.start] = b'>';
                    }
                    start = mail.end;
                }
            }
            Shape::Invalidation | Shape::InvalidateAll => {
                out.extend_from_slice(if protocol == 2 {
                    b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
                } else {
                    b">2\r\n$10\r\ninvalidate\r\n"
                });
                out.extend_from_slice(match (self.mails[0].shape, protocol) {
                    (Shape::Invalidation, _) => self.bytes,
                    (_, 2) => b"$-1\r\n",
                    _ => b"_\r\n",
                });
            }
        }
    }
}

/// Mail for one runtime, before it goes on its way. Whoever has it holds the engine's lock.
#[derive(Debug)]
pub(crate) struct Outbox {
    runtime: Arc<RuntimeHandle>,
    parcel: Parcel,
    /// The first mail whose promise is not known yet.
    open: Option<usize>,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(runtime: Arc<RuntimeHandle>) -> Self {
        Outbox { runtime, parcel: Parcel::default(), open: None }
    }

    /// Memory of its mail, and what is kept for the next.
    pub(crate) fn rooms(&self) -> (usize, usize) {
        let room = self.parcel.room();
        if self.is_empty() { (0, room) } else { (room, 0) }
    }

    /// Whether it holds no mail.
    pub(crate) fn is_empty(&self) -> bool {
        self.parcel.mails.is_empty()
    }

    /// Puts mail; `write` writes its bytes as RESP2. Without a promise it gets the one of [`Outbox::settle`].
    pub(crate) fn put(&mut self, to: To, shape: Shape, promise: Option<Lsn>, write: impl FnOnce(&mut Vec<u8>)) {
        let Parcel { mails, bytes } = &mut self.parcel;
        write(bytes);
        if promise.is_none() {
            self.open.get_or_insert(mails.len());
        }
        mails.push(Mail { to, shape, promise: promise.unwrap_or(OPEN), end: bytes.len() });
    }

    /// Gives mail without a promise this one.
    pub(crate) fn settle(&mut self, promise: Lsn) {
        let Some(first) = self.open.take() else { return };
        for mail in self.parcel.mails[first..].iter_mut().filter(|mail| mail.promise == OPEN) {
            mail.promise = promise;
        }
    }

    /// Sends everything on its way.
    pub(crate) fn post(&mut self) {
        debug_assert!(self.open.is_none(), "mail of a transaction that has not ended");
        if !self.is_empty() {
            self.runtime.post(&mut self.parcel);
        }
    }
}

/// Which connections of a runtime listen to which topic.
#[derive(Default)]
pub(crate) struct Topics(HashMap<TopicId, Members, BuildHasherDefault<Identity>>);

/// Connections by the number of their client: walked as fast as a vector, and left in constant time.
type Members = IndexMap<u64, Rc<Connection>, BuildHasherDefault<Identity>>;

impl Topics {
    fn join(&mut self, topic: TopicId, client: u64, connection: Rc<Connection>) {
        self.0.entry(topic).or_default().insert(client, connection);
    }

    fn leave(&mut self, topic: TopicId, client: u64) {
        if let Some(members) = self.0.get_mut(&topic) {
            members.swap_remove(&client);
            if members.is_empty() {
                self.0.remove(&topic);
            }
        }
    }
}

impl Runtime {
    /// Hands the mail out that has come, and sends what may leave. No connection's output may be borrowed. Says whether it did: a client
    /// that has waited for a key writes its reply first, and what is told of that key comes behind it.
    pub(crate) fn deliver(self: &Rc<Self>) -> bool {
        if self.handle.has_mail() {
            if self.handle.has_served() {
                return false;
            }
            self.deliver_now();
        }
        true
    }

    /// [`Runtime::deliver`], whoever has not written a reply.
    pub(super) fn deliver_now(self: &Rc<Self>) {
        let mut parcel = self.parcel.take();
        self.handle.take_mail(&mut parcel);
        let mut mailed = self.mailed.take();
        let mut topics = self.topics.borrow_mut();
        let mut at = 0;
        while at < parcel.mails.len() {
            let run = parcel.run(at, |promise| self.promised(promise));
            match run.mails[0].to {
                To::Join(topic, client) => {
                    if let Some(connection) = self.connection(client) {
                        topics.join(topic, client, connection);
                    }
                }
                To::Leave(topic, client) => topics.leave(topic, client),
                To::Client(client) => {
                    if let Some(connection) = self.connection(client) {
                        connection.take_mail(self, &run, &mut mailed);
                    }
                }
                To::Topic(topic) => {
                    for connection in topics.0.get(&topic).into_iter().flat_map(IndexMap::values) {
                        connection.take_mail(self, &run, &mut mailed);
                    }
                }
            }
            at += run.mails.len();
        }
        drop(topics);
        parcel.clear();
        let settings = self.settings();
        for connection in mailed.drain(..) {
            connection.send_mail(self, &settings);
        }
        self.mailed.set(mailed);
        self.handle.end_delivery(&parcel);
        self.parcel.set(parcel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Arc::default())
    }

    fn put(outbox: &mut Outbox, to: To, shape: Shape, promise: Option<Lsn>, bytes: &[u8]) {
        outbox.put(to, shape, promise, |out| out.extend_from_slice(bytes));
    }

    /// All runs: how many mails, and their bytes in both protocols.
    fn runs(parcel: &Parcel, held: Lsn) -> Vec<(usize, String, String)> {
        let (mut at, mut runs) = (0, Vec::new());
        while at < parcel.mails.len() {
            let run = parcel.run(at, |lsn| lsn <= held);
            let text = |protocol| {
                let mut out = b"before ".to_vec();
                run.write(&mut out, protocol);
                out.escape_ascii().to_string().split_off(7)
            };
            runs.push((run.mails.len(), text(2), text(3)));
            at += run.mails.len();
        }
        runs
    }

    #[test]
    fn mail_for_the_same_is_handed_out_as_one_in_both_protocols() {
        let mut outbox = outbox();
        for message in [&b"*1"[..], b"*2"] {
            put(&mut outbox, To::Topic(1), Shape::Push, Some(0), message);
        }
        put(&mut outbox, To::Topic(1), Shape::Plain, Some(0), b"+3");
        put(&mut outbox, To::Topic(2), Shape::Push, Some(0), b"*4");
        put(&mut outbox, To::Client(1), Shape::Invalidation, Some(0), b"*0\r\n");
        put(&mut outbox, To::Client(1), Shape::InvalidateAll, Some(0), b"");
        let own = |n: usize, resp2: &str, resp3: &str| (n, resp2.to_owned(), resp3.to_owned());
        let head2 = r"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
        let head3 = r">2\r\n$10\r\ninvalidate\r\n";
        let expected = [
            own(3, "*1*2+3", ">1>2+3"),
            own(1, "*4", ">4"),
            own(1, &format!(r"{head2}*0\r\n"), &format!(r"{head3}*0\r\n")),
            own(1, &format!(r"{head2}$-1\r\n"), &format!(r"{head3}_\r\n")),
        ];
        assert_eq!(runs(&outbox.parcel, 0), expected);
    }

    #[test]
    fn mail_that_waits_is_not_joined_with_mail_that_does_not() {
        let mut outbox = outbox();
        for (promise, message) in [(3, b"*1"), (5, b"*2"), (7, b"*3"), (7, b"*4"), (8, b"*5")] {
            put(&mut outbox, To::Topic(1), Shape::Push, Some(promise), message);
        }
        let texts: Vec<_> = runs(&outbox.parcel, 5).into_iter().map(|(_, text, _)| text).collect();
        assert_eq!(texts, ["*1*2", "*3*4", "*5"]);
    }

    #[test]
    fn a_transactions_mail_gets_its_promise_when_it_ends() {
        let mut outbox = outbox();
        put(&mut outbox, To::Topic(1), Shape::Push, Some(3), b"*1");
        put(&mut outbox, To::Topic(1), Shape::Push, None, b"*2");
        put(&mut outbox, To::Join(1, 9), Shape::Plain, Some(0), b"");
        put(&mut outbox, To::Topic(1), Shape::Push, None, b"*3");
        outbox.settle(8);
        let promises: Vec<_> = outbox.parcel.mails.iter().map(|mail| mail.promise).collect();
        assert_eq!(promises, [3, 8, 0, 8]);
    }

    #[test]
    fn parcels_join_behind_one_another() {
        let (mut first, mut second, mut all) = (outbox(), outbox(), Parcel::default());
        put(&mut first, To::Topic(1), Shape::Push, Some(0), b"*one");
        put(&mut second, To::Topic(2), Shape::Push, Some(0), b"*two");
        put(&mut second, To::Topic(3), Shape::Push, Some(0), b"*three");
        all.append(&mut first.parcel);
        all.append(&mut second.parcel);
        let texts: Vec<_> = runs(&all, 0).into_iter().map(|(_, text, _)| text).collect();
        assert_eq!(texts, ["*one", "*two", "*three"]);
        assert_eq!((first.parcel.len(), second.parcel.len()), (0, 0));
    }
}
