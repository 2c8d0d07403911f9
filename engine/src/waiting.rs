//! Clients that wait for a key: BLPOP and its like, of every type.
//!
//! **A command that may block** looks whether it can be served; if not, its last act is
//! ```text
//! if !call.may_block() { reply.null_array(); return Ok(()) }           // Inside MULTI, scripts, replay: the answer of a timeout.
//! call.block(Block::on(Kind::List, timeout_ms), keys);                  // `keys`: the words. No reply is written.
//! return Ok(())
//! ```
//! `timeout_ms` comes from `command::blocking::timeout_seconds` or `timeout_ms` (`None`: for ever), parsed before anything else. The command is run
//! again, from its own words, when one of the keys has changed and holds a value of that kind; it must then give the reply, or block again
//! (it keeps its place). [`Block::words`] replaces the words it is run again with (XREAD's `$` becomes the ID it stood for); [`Block::when_gone`] has it run
//! again also when the key is deleted or of another type (XREADGROUP). The timeout's reply is the null array for all commands, as in Redis.
//!
//! **A command that changes a key** does nothing for this: `call.changed(key)` ([`Engine::changed`] in another database), which follows
//! every change anyway, marks the key ready if anybody waits for it. That costs one branch if nobody waits for anything.
//!
//! **The shell** lets a session block by `session.blocking = Blocking::Allowed`. After [`Engine::execute`] it looks for
//! `Blocking::Requested`, and hands the client over with [`Engine::park`] under the same hold of the lock, so that nothing is lost between.
//! When the client's time is up, or it has gone, [`Waiters::remove`] gives the waiter back, or nothing: then it has been served.
//!
//! 1. Ready keys are looked at when the command (or transaction) that changed them is over and recorded. Who waits longest for a key is
//!    served first, whatever else he waits for.
//! 2. A served command is a record of its own, behind the record that made it possible. What it changes makes keys ready in turn: they
//!    are queued behind those that are ready already. Each pass over a key looks at those who waited when it began, once each.
//! 3. Nothing here knows a clock or a thread: the same commands in the same order serve the same clients in the same order.

use crate::command::{Args, Blocking, Command, Reply, Session};
use crate::engine::{Engine, Refused};
use crate::key::Key;
use crate::log::Lsn;
use crate::log::pending::Identity;
use crate::value::Kind;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;

/// A waiting client, as the engine sees it.
pub trait Waiting: Send {
    /// Gives `run` a writer for this client's reply. Nothing may be sent yet: a command that blocks again writes nothing and is run
    /// again later.
    fn run(&mut self, run: &mut dyn FnMut(&mut dyn Reply));
    /// The reply has been written; it may leave when `promise` holds.
    fn served(self: Box<Self>, promise: Lsn);
}

/// What a blocked command waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The type of value.
    pub kind: Kind,
    /// Wait at most so long; `None` is for ever. The shell's matter.
    pub timeout_ms: Option<u64>,
    /// Run again also when a key is deleted or holds another type.
    pub when_gone: bool,
    /// The words to run again with, if not the command's own.
    pub words: Option<Vec<Vec<u8>>>,
}

impl Block {
    /// Waits for a value of `kind`.
    pub fn on(kind: Kind, timeout_ms: Option<u64>) -> Block {
        Block { kind, timeout_ms, when_gone: false, words: None }
    }
}

/// A request to block, with its keys: what [`Engine::park`] takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What for.
    pub block: Block,
    keys: Vec<(u64, Box<[u8]>)>,
}

impl Request {
    /// A request that names each key once.
    pub(crate) fn new<'k>(block: Block, keys: impl Iterator<Item = Key<'k>>) -> Request {
        let mut named: Vec<(u64, Box<[u8]>)> = Vec::new();
        let mut seen = BTreeSet::new();
        for key in keys {
            if seen.insert(key.bytes) {
                named.push((key.position, key.bytes.into()));
            }
        }
        Request { block, keys: named }
    }
}

/// A waiter's number: who came first has the lower one. Never used twice.
pub type WaiterId = u64;

/// What was parked.
pub struct Waiter {
    /// The client.
    pub waiting: Box<dyn Waiting>,
    session: Session,
    command: &'static Command,
    words: Vec<Vec<u8>>,
    request: Request,
}

/// Those who wait for one key and kind.
struct Line {
    db: usize,
    key: Box<[u8]>,
    kind: Kind,
    when_gone: bool,
    /// In the order in which they came.
    waiters: BTreeSet<WaiterId>,
    /// It is in the queue of ready ones.
    ready: bool,
}

impl Line {
    fn is(&self, db: usize, key: &[u8], block: &Block) -> bool {
        self.db == db && *self.key == *key && self.kind == block.kind && self.when_gone == block.when_gone
    }
}

/// Names a line: position and the rest.
#[derive(Clone)]
struct LineName {
    position: u64,
    db: usize,
    key: Box<[u8]>,
    kind: Kind,
    when_gone: bool,
}

/// All waiting clients.
#[derive(Default)]
pub struct Waiters {
    last_id: WaiterId,
    by_id: HashMap<WaiterId, Waiter, BuildHasherDefault<Identity>>,
    /// Lines by the position of their key. More than one is rare: other databases, types, equal positions.
    lines: HashMap<u64, Vec<Line>, BuildHasherDefault<Identity>>,
    /// How many lines there are.
    line_count: usize,
    /// How many of them want to know of deletions.
    gone_count: usize,
    ready: VecDeque<LineName>,
    /// A pass is under way: what is run by it does not begin another.
    serving: bool,
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("waiters", &self.by_id.len()).field("lines", &self.line_count).finish()
    }
}

impl Waiters {
    /// How many clients wait.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// For how many keys clients wait, and for how many of those they want to know of deletions (INFO).
    pub fn keys(&self) -> (usize, usize) {
        (self.line_count, self.gone_count)
    }

    /// Whether keys are ready.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Marks the lines of a key that has changed.
    #[cold]
    pub(crate) fn mark(&mut self, db: usize, key: Key<'_>) {
        let Some(lines) = self.lines.get_mut(&key.position) else { return };
        for line in lines.iter_mut().filter(|line| line.db == db && *line.key == *key.bytes && !line.ready) {
            line.ready = true;
            self.ready.push_back(line.name(key.position));
        }
    }

    /// Marks all lines of a database that was replaced as a whole (SWAPDB, FLUSHDB), in the order of who waits longest.
    pub(crate) fn mark_all(&mut self, db: usize) {
        let mut names: Vec<(WaiterId, LineName)> = Vec::new();
        for (&position, lines) in &mut self.lines {
            for line in lines.iter_mut().filter(|line| line.db == db && !line.ready) {
                line.ready = true;
                let first = line.waiters.first().copied().unwrap_or_default();
                names.push((first, line.name(position)));
            }
        }
        names.sort_by(|(first, one), (second, other)| first.cmp(second).then_with(|| one.key.cmp(&other.key)));
        self.ready.extend(names.into_iter().map(|(_, name)| name));
    }

    /// The words that a waiter's command is run with; `None` if it was served (or never there).
    pub fn words(&self, id: WaiterId) -> Option<Vec<&[u8]>> {
        Some(self.by_id.get(&id)?.words.iter().map(Vec::as_slice).collect())
    }

    /// Takes a waiter out of every line; `None` if it was served (or never there).
    pub fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.by_id.remove(&id)?;
        self.leave(id, &waiter);
        Some(waiter)
    }

    fn leave(&mut self, id: WaiterId, waiter: &Waiter) {
        for (position, key) in &waiter.request.keys {
            let Some(lines) = self.lines.get_mut(position) else { continue };
            let is_it = |line: &Line| line.is(waiter.session.db, key, &waiter.request.block);
            let Some(at) = lines.iter().position(is_it) else { continue };
            lines[at].waiters.remove(&id);
            if lines[at].waiters.is_empty() {
                let line = lines.swap_remove(at);
                self.line_count -= 1;
                self.gone_count -= usize::from(line.when_gone);
                if lines.is_empty() {
                    self.lines.remove(position);
                }
            }
        }
    }

    fn join(&mut self, id: WaiterId, waiter: &Waiter) {
        let (db, block) = (waiter.session.db, &waiter.request.block);
        for (position, key) in &waiter.request.keys {
            let lines = self.lines.entry(*position).or_default();
            let at = lines.iter().position(|line| line.is(db, key, block)).unwrap_or_else(|| {
                let (kind, when_gone) = (block.kind, block.when_gone);
                lines.push(Line { db, key: key.clone(), kind, when_gone, waiters: BTreeSet::new(), ready: false });
                self.line_count += 1;
                self.gone_count += usize::from(when_gone);
                lines.len() - 1
            });
            lines[at].waiters.insert(id);
        }
    }

    fn line(&mut self, name: &LineName) -> Option<&mut Line> {
        let lines = self.lines.get_mut(&name.position)?;
        lines.iter_mut().find(|line| {
            line.db == name.db && line.key == name.key && line.kind == name.kind && line.when_gone == name.when_gone
        })
    }

    /// The first of a line whose number is above `after` and not above `last`.
    fn next_in(&mut self, name: &LineName, after: WaiterId, last: WaiterId) -> Option<WaiterId> {
        if after >= last {
            return None;
        }
        self.line(name)?.waiters.range(after + 1..=last).next().copied()
    }
}

impl Line {
    fn name(&self, position: u64) -> LineName {
        LineName { position, db: self.db, key: self.key.clone(), kind: self.kind, when_gone: self.when_gone }
    }
}

impl Engine {
    /// Hands over a client whose session has requested it ([`Blocking::Requested`]): until it is served or removed. `None` if it
    /// has not. `words` are those of `command`.
    pub fn park(
        &mut self,
        session: &mut Session,
        command: &'static Command,
        words: &[&[u8]],
        waiting: Box<dyn Waiting>,
    ) -> Option<WaiterId> {
        let request = match std::mem::replace(&mut session.blocking, Blocking::Allowed) {
            Blocking::Requested(request) => *request,
            other => {
                session.blocking = other;
                return None;
            }
        };
        let mut request = request;
        let words =
            request.block.words.take().unwrap_or_else(|| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
        let session = Session {
            db: session.db,
            no_touch: session.no_touch,
            client: session.client,
            blocking: Blocking::Again,
            ..Session::default()
        };
        let waiter = Waiter { waiting, session, command, words, request };
        let waiters = &mut self.waiting;
        waiters.last_id += 1;
        let id = waiters.last_id;
        waiters.join(id, &waiter);
        waiters.by_id.insert(id, waiter);
        Some(id)
    }

    /// Must follow every change of a key in whatever database: it is in flight, whoever waits for it is looked at, and whoever
    /// watches it is told.
    #[inline]
    pub fn changed(&mut self, db: usize, key: Key<'_>) {
        self.changed_or_reclaimed(db, key, false);
    }

    /// See [`Call::touched`](crate::engine::Call::touched).
    #[inline]
    pub(crate) fn touched(&mut self, db: usize, key: Key<'_>) {
        self.effects.touch(key.position);
        if !self.waiting.is_empty() {
            self.waiting.mark(db, key);
        }
    }

    /// [`Engine::changed`]; `reclaimed` says that the key was dead before.
    #[inline]
    pub(crate) fn changed_or_reclaimed(&mut self, db: usize, key: Key<'_>, reclaimed: bool) {
        self.touched(db, key);
        if !self.watches.is_empty() {
            self.watches.trip(db, key, reclaimed);
        }
        if self.notes_changes {
            self.note_change(key, reclaimed);
        }
    }

    /// [`Engine::changed`] for all keys of a database, but for those who watch them ([`Engine::watches_before_flush`]) or cache them
    /// ([`Engine::note_everything`]).
    pub fn changed_all(&mut self, db: usize) {
        self.effects.touch_all();
        if !self.waiting.is_empty() {
            self.waiting.mark_all(db);
        }
    }

    /// Serves those who wait for keys that have become ready. The record of what made them so must be finished.
    #[cold]
    pub fn serve_waiting(&mut self) {
        // While the log takes no writes they wait on, and the keys stay ready.
        if self.waiting.serving || matches!(self.refused, Refused::Writes(_)) {
            return;
        }
        self.waiting.serving = true;
        while let Some(name) = self.waiting.ready.pop_front() {
            self.serve_line(&name);
        }
        self.waiting.serving = false;
    }

    fn serve_line(&mut self, name: &LineName) {
        let Some(line) = self.waiting.line(name) else { return };
        line.ready = false;
        let Some(&last) = line.waiters.last() else { return };
        let mut after = 0;
        while let Some(id) = self.waiting.next_in(name, after, last) {
            if !name.when_gone && self.kind_of(name) != Some(name.kind) {
                return;
            }
            after = id;
            self.serve(id);
        }
    }

    /// What the key holds now.
    fn kind_of(&self, name: &LineName) -> Option<Kind> {
        let entry = self.keyspace.db(name.db).get(Key { bytes: &name.key, position: name.position })?;
        (!self.is_dead(&entry)).then(|| entry.value.kind())
    }

    /// Runs a waiter's command; it is gone, or waits on.
    fn serve(&mut self, id: WaiterId) {
        let Some(mut waiter) = self.waiting.by_id.remove(&id) else { return };
        let Waiter { waiting, session, command, words, .. } = &mut waiter;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        session.blocking = Blocking::Again;
        waiting.run(&mut |reply| self.execute(session, command, &Args::new(&words), reply));
        if waiter.session.blocking == Blocking::Still {
            self.waiting.by_id.insert(id, waiter);
        } else {
            self.waiting.leave(id, &waiter);
            let promise = waiter.session.promise;
            waiter.waiting.served(promise);
        }
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
