//! The engine: a plain single-writer object. No locks, threads or clocks inside: time, randomness and the disk are
//! passed in, so that a test can replay any run exactly.

use crate::command::{Args, Call, Command, CommandError, Flags, Reply, Session, reclaim_fields};
use crate::eviction::{Memory, MemorySettings};
use crate::key::{HashSeed, Key};
use crate::keyspace::{Db, DeadKeys, Entry, ExpirePass, Keyspace};
use crate::limits::{FRAME_PAYLOAD_TARGET, RECORD_LEN_MAX};
use crate::log::Effects;
use crate::notices::{Change, Receiver};
use crate::prefixes::{PrefixEvents, prefix_events_of};
use crate::value::Shaping;
use crate::waiting::Waiters;
use crate::watching::Watches;

/// Fields of hashes that active expiry reclaims in the time of one key, about.
const FIELDS_PER_KEY: usize = 4;

/// Keyspace, records on their way to the log, and what commands need of settings and time.
#[derive(Debug)]
pub struct Engine {
    /// All data.
    pub keyspace: Keyspace,
    /// Records no commit has taken yet.
    pub effects: Effects,
    /// Unix time in ms, set by the shell before each batch.
    pub now_ms: u64,
    /// Monotonic time in ms, set with it.
    pub monotonic_ms: u64,
    /// Counters for INFO.
    pub stats: Stats,
    /// Settings that commands look at.
    pub settings: Settings,
    /// Changes since the last snapshot (INFO's `rdb_changes_since_last_save`).
    pub dirty: u64,
    /// True while the log is replayed: effects apply as they are, nothing expires by itself, nothing is recorded.
    pub replaying: bool,
    /// State of the engine's own generator (splitmix64), seeded by the shell.
    pub random: u64,
    /// Keyspace events, filled only if `settings.events` asks for their class.
    pub events: Vec<Event>,
    /// Changed keys, filled only if `notes_changes`.
    pub(crate) changes: Vec<Change>,
    /// Whether somebody caches keys and wants to hear of their changes.
    pub notes_changes: bool,
    /// Whom events and changed keys are told.
    pub receiver: Option<Box<dyn Receiver>>,
    /// The receiver has something to send.
    pub outgoing: bool,
    /// The receiver was told something in the transaction under way.
    pub(crate) unsettled: bool,
    /// `Session::client` of the running command.
    pub(crate) actor: u64,
    /// The state of the memory limit.
    pub memory: Memory,
    /// What happened to keys by prefix, by rows of the keyspace's table.
    pub(crate) prefix_events: Vec<PrefixEvents>,
    /// What the shell refuses while the log cannot take writes.
    pub refused: Refused,
    /// The clock jumped while nobody looked: until this monotonic time, dead keys are hidden but not deleted by themselves.
    pub hold_expiry_until_ms: u64,
    /// Clients are paused until this monotonic time: see [`Engine::pause_expiry`].
    paused_until_ms: u64,
    /// Clients that wait for keys.
    pub waiting: Waiters,
    /// Keys that clients watch.
    pub watches: Watches,
    /// Between [`Engine::begin_transaction`] and its end: all effects go into one record.
    in_transaction: bool,
    /// A command of the transaction under way has made a change: nothing but the command itself refuses what follows it.
    in_change: bool,
    /// Keys found dead, reused from slice to slice.
    dead: DeadKeys,
}

/// What commands are refused, and with which words, while the log cannot take writes. Reads always go on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Refused {
    /// Nothing.
    #[default]
    Nothing,
    /// Full disk: what may grow the data (`DENYOOM`); deletions go on.
    Growth(String),
    /// The disk fails: every write.
    Writes(String),
}

/// A keyspace notification (`notify-keyspace-events`), delivered by the server after the batch.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its class.
    pub class: EventClass,
    /// Its name, e.g. `expired`.
    pub name: &'static str,
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
}

/// Classes of keyspace events, with the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum EventClass {
    Generic = b'g',
    String = b'$',
    List = b'l',
    Set = b's',
    Hash = b'h',
    SortedSet = b'z',
    Expired = b'x',
    Evicted = b'e',
    Stream = b't',
    KeyMiss = b'm',
    New = b'n',
    Module = b'd',
}

/// Counters that only grow (until CONFIG RESETSTAT).
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // INFO's names.
pub struct Stats {
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    /// Fields of hashes.
    pub expired_fields: u64,
    pub evicted_keys: u64,
    /// Keys whose large values were freed elsewhere.
    pub lazyfreed_objects: u64,
}

/// Settings that commands look at; CONFIG SET changes them under the engine's lock.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bit set of event classes to report: `1 << (letter - b'$')`; 0 is none.
    pub events: u128,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// `proto-max-bulk-len`: longest string a command may make.
    pub string_len_max: usize,
    /// When collections change their form.
    pub shaping: Shaping,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION: RESTORE takes payloads whose checksum is wrong.
    pub skip_dump_checksum: bool,
    /// The memory limit; changed by [`Engine::set_memory`].
    pub memory: MemorySettings,
}

impl Settings {
    /// The defaults, for a store with this seed.
    pub fn new(seed: HashSeed) -> Settings {
        let string_len_max = crate::limits::STRING_LEN_MAX;
        Settings {
            events: 0,
            active_expire: true,
            string_len_max,
            skip_dump_checksum: false,
            memory: MemorySettings::default(),
            shaping: Shaping::new(seed),
        }
    }

    /// Whether events of `class` are asked for.
    #[inline]
    pub fn wants(&self, class: EventClass) -> bool {
        self.events & (1 << (class as u8 - b'$')) != 0
    }
}

impl Engine {
    /// An engine around a keyspace, whose next record is `effects`'.
    pub fn new(keyspace: Keyspace, effects: Effects, random: u64) -> Self {
        let settings = Settings::new(keyspace.seed());
        Engine {
            keyspace,
            effects,
            now_ms: 0,
            monotonic_ms: 0,
            stats: Stats::default(),
            settings,
            dirty: 0,
            replaying: false,
            random,
            events: Vec::new(),
            changes: Vec::new(),
            notes_changes: false,
            receiver: None,
            outgoing: false,
            unsettled: false,
            actor: 0,
            memory: Memory::default(),
            prefix_events: Vec::new(),
            refused: Refused::Nothing,
            hold_expiry_until_ms: 0,
            paused_until_ms: 0,
            waiting: Waiters::default(),
            watches: Watches::default(),
            in_transaction: false,
            in_change: false,
            dead: DeadKeys::default(),
        }
    }

    /// Runs one command whose arity was checked: all of it happens, as one record, or nothing and an error reply.
    #[inline]
    pub fn execute(&mut self, session: &mut Session, command: &Command, args: &Args<'_>, reply: &mut dyn Reply) {
        if self.refused != Refused::Nothing && self.refuses(command, reply) {
            return;
        }
        if let Err(error) = self.admits(args.record_len_max()) {
            return reply.error(&error.to_string());
        }
        self.actor = session.client;
        let mut call = Call { engine: self, session };
        if let Err(error) = (command.run)(&mut call, args, reply) {
            reply.error(&error.to_string());
        }
        if self.in_transaction {
            self.in_change |= self.effects.has_open() && command.spec.flags.has(Flags::WRITE);
            if self.has_notices() {
                self.report(None);
            }
            return;
        }
        if let Some(lsn) = self.effects.finish() {
            session.promise = lsn;
        }
        if self.has_notices() {
            self.report(Some(session.promise));
        }
        if self.waiting.has_ready() {
            self.serve_waiting();
        }
    }

    /// Whether `len` more bytes surely fit into the running command's record: asked before the first change, since a change that has
    /// been made has to be logged. [`Engine::execute`] asks for the command's own words, so that only a command whose effects
    /// can be longer than these, and whoever makes one record of several commands, has to ask for more. If one did not, the process
    /// ends ([`Effects::push_parts`]): a frame beyond its bound would be refused by the next start, with all that follows it.
    ///
    /// # Errors
    /// [`CommandError::RecordTooLong`].
    #[inline]
    pub fn admits(&self, len: usize) -> Result<(), CommandError> {
        // A record that is replayed did fit.
        if len <= self.effects.room() || self.replaying { Ok(()) } else { Err(CommandError::RecordTooLong) }
    }

    /// Whether a dead key that no argument names may be deleted by the running command: else it stays hidden, for another one.
    #[inline]
    pub(crate) fn may_reclaim(&self, key: &[u8]) -> bool {
        !self.holds_expiry() && key.len() < self.effects.room() / 2
    }

    /// From here on all effects go into one record, until [`Engine::end_transaction`], and nobody who waits is served. The engine must
    /// not be let go in between.
    pub fn begin_transaction(&mut self) {
        debug_assert!(!self.in_transaction, "transactions do not nest");
        self.in_transaction = true;
    }

    /// Whether a transaction has begun and not ended.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Ends the record, and notes its LSN as the session's promise.
    pub fn end_transaction(&mut self, session: &mut Session) {
        (self.in_transaction, self.in_change) = (false, false);
        if let Some(lsn) = self.effects.finish() {
            session.promise = lsn;
        }
        self.settle(session.promise);
        if self.waiting.has_ready() {
            self.serve_waiting();
        }
    }

    /// Why a command, or a transaction whose commands have these flags together, is refused while the log's state is what it is. What has
    /// changed something is not stopped half way: the reserve is there to carry it, and what the reserve cannot carry waits in memory
    /// and keeps its reply waiting.
    pub fn refuses_flags(&self, flags: Flags) -> Option<String> {
        let why = match &self.refused {
            _ if self.in_change => return None,
            Refused::Growth(why) if flags.has(Flags::DENYOOM) => why,
            Refused::Writes(why) if flags.has(Flags::WRITE) => why,
            _ => return None,
        };
        Some(format!("MISCONF Errors writing to the log: {why}"))
    }

    /// Answers an error if the log's state does not allow `command`.
    #[cold]
    fn refuses(&self, command: &Command, reply: &mut dyn Reply) -> bool {
        let Some(why) = self.refuses_flags(command.spec.flags) else { return false };
        reply.error(&why);
        true
    }

    /// Adds a command to the record of the running command. See [`Call::effect`].
    #[inline]
    pub fn effect(&mut self, db: usize, words: &[&[u8]]) {
        self.effect_parts(db, words, &[]);
    }

    /// [`Engine::effect`] of the words of `head`, then those of `tail`.
    #[inline]
    pub fn effect_parts(&mut self, db: usize, head: &[&[u8]], tail: &[&[u8]]) {
        if !self.replaying {
            self.dirty += 1;
            self.effects.push_parts(self.now_ms, db, head, tail);
        }
    }

    /// Has a flushed database freed: by the shell, outside the lock, if it is large ([`Keyspace::pop_dead`]).
    pub fn discard(&mut self, db: Db) {
        self.keyspace.bury_database(db);
    }

    /// The next 64 random bits (splitmix64).
    pub fn random(&mut self) -> u64 {
        splitmix(&mut self.random)
    }

    /// Reports a keyspace event if anyone asked for its class.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, db: usize, key: &[u8]) {
        if self.settings.wants(class) && !self.replaying {
            self.events.push(Event { class, name, db, key: key.into() });
        }
    }

    /// Deletes `key` if its deadline has passed: a record, an event, a count. Says whether it is dead.
    #[inline]
    pub fn expire_if_dead(&mut self, db: usize, key: Key<'_>) -> bool {
        // Most databases of a cache hold deadlines, most counters and queues none: those pay one compare.
        if self.keyspace.db(db).with_deadline() == 0 {
            return false;
        }
        let dead = self.keyspace.db(db).get(key).is_some_and(|entry| self.is_dead(&entry));
        if dead {
            self.reclaim(db, key);
        }
        dead
    }

    /// Whether an entry's deadline has passed. Never during replay: there the record decides.
    #[inline]
    pub fn is_dead(&self, entry: &Entry<'_>) -> bool {
        !self.replaying && entry.deadline.is_some_and(|at| at <= self.now_ms)
    }

    /// A database in which entries that are written or used remember it ([`Entry::access`]). A replay does not know when a key was
    /// used.
    #[inline]
    pub fn db_now(&mut self, db: usize) -> &mut Db {
        let usage = self.usage();
        self.keyspace.db_mut(db).at(usage)
    }

    /// Deletes a dead key: DEL goes to the log, so that a replay needs no clock.
    pub fn reclaim(&mut self, db: usize, key: Key<'_>) {
        self.keyspace.db_mut(db).remove(key);
        self.changed_or_reclaimed(db, key, true);
        self.effect(db, &[b"DEL", key.bytes]);
        self.stats.expired_keys += 1;
        if let Some(row) = self.keyspace.prefix_row(key.bytes) {
            self.prefix_events(row).expired += 1;
        }
        self.event(EventClass::Expired, "expired", db, key.bytes);
    }
}

impl Engine {
    /// One slice of active expiry: deletes about `limit` dead keys and `limit` dead fields, one record for all of them unless their names
    /// are huge. Says whether more may be due.
    pub fn expire_slice(&mut self, limit: usize) -> bool {
        if !self.settings.active_expire || self.holds_expiry() {
            return false;
        }
        let mut dead = std::mem::take(&mut self.dead);
        let pass = self.keyspace.expired(self.now_ms, limit, &mut dead);
        let (mut fields, mut rest) = (limit * FIELDS_PER_KEY, false);
        for (db, key) in dead.iter() {
            let Some(entry) = self.keyspace.db(db).get(key) else { continue };
            if self.is_dead(&entry) {
                self.reclaim(db, key);
            } else {
                // What woke it up is a field.
                let (reclaimed, more) = reclaim_fields(self, db, key, fields);
                fields = fields.saturating_sub(reclaimed);
                if more || fields == 0 {
                    // The next slice goes on here: another whole pass would find no more than this one has.
                    self.keyspace.expire_from(db, key.position);
                    rest = true;
                    break;
                }
            }
            // Nothing holds these deletions together but that one record costs less than many.
            if self.effects.room() < RECORD_LEN_MAX - FRAME_PAYLOAD_TARGET {
                self.finish_deletions();
            }
        }
        self.finish_deletions();
        self.dead = dead;
        if self.waiting.has_ready() {
            self.serve_waiting();
        }
        rest || pass == ExpirePass::More
    }

    /// Ends a record that no client asked for, and tells of it.
    pub(crate) fn finish_deletions(&mut self) {
        self.effects.finish();
        if self.has_notices() {
            let last = self.effects.last();
            self.report(Some(last));
        }
    }

    /// For so long from now on nothing changes by itself: dead keys are hidden, and deleted later; 0 ends it.
    pub fn pause_expiry(&mut self, for_ms: u64) {
        self.paused_until_ms = self.monotonic_ms.saturating_add(for_ms);
    }

    /// Whether clients are paused, and nothing may change by itself (see [`Engine::pause_expiry`]).
    pub fn is_paused(&self) -> bool {
        self.monotonic_ms < self.paused_until_ms
    }

    /// Whether dead keys stay hidden without being deleted: the clock may be wrong, clients are paused, or the log takes no record of
    /// it.
    pub(crate) fn holds_expiry(&self) -> bool {
        self.monotonic_ms < self.hold_expiry_until_ms || self.is_paused() || matches!(self.refused, Refused::Writes(_))
    }
}

/// The next 64 random bits of a generator (splitmix64).
#[inline]
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Call<'_> {
    /// The live entry of `key` for a command that only reads, which counts as use of the key; counts a hit or a miss, deletes a
    /// dead key, and makes the reply wait if the key's newest change is not yet durable.
    #[inline]
    pub fn read(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.find(key, !self.session.no_touch, true)
    }

    /// [`Call::read`] for a command whose record names the key as a source (BITOP, PFMERGE, SORT STORE, ZUNIONSTORE): a dead key is deleted
    /// first even while expiry is held, so that replay finds what the command found.
    pub fn read_for_record(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.engine.expire_if_dead(self.session.db, key);
        self.read(key)
    }

    /// [`Call::read`] that is no use of the key: EXISTS, TYPE, TTL.
    #[inline]
    pub fn peek(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.find(key, false, true)
    }

    /// [`Call::peek`] of which nobody is told either: OBJECT.
    pub fn inspect(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.find(key, false, false)
    }

    /// Counts a hit or a miss, as [`Call::read`] does, of a command that looks a key up with [`Call::write`] though its first purpose is to
    /// read: XACK, SINTERSTORE's sources.
    pub fn looked_up(&mut self, key: Key<'_>, found: bool) {
        if found {
            self.engine.stats.keyspace_hits += 1;
        } else {
            self.engine.stats.keyspace_misses += 1;
            self.event(EventClass::KeyMiss, "keymiss", key.bytes);
        }
    }

    /// [`Call::read`] that counts as use whatever CLIENT NO-TOUCH says: TOUCH.
    #[inline]
    pub fn touch(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.find(key, true, true)
    }

    #[inline]
    fn find(&mut self, key: Key<'_>, touch: bool, notify: bool) -> Option<Entry<'_>> {
        let db = self.session.db;
        let held = self.engine.holds_expiry();
        if !held {
            self.engine.expire_if_dead(db, key);
        }
        if self.engine.effects.in_flight(key.position) {
            self.session.promise = self.engine.effects.last();
        }
        let engine = &mut *self.engine;
        let now_ms = engine.now_ms;
        let row = engine.keyspace.prefix_row(key.bytes);
        let found = if touch {
            let usage = engine.usage();
            engine.keyspace.db_mut(db).at(usage).touch(key)
        } else {
            engine.keyspace.db(db).get(key)
        };
        // While expiry is held, dead keys are still there: hidden.
        let found = found.filter(|entry| !held || entry.deadline.is_none_or(|at| at > now_ms));
        if found.is_some() {
            engine.stats.keyspace_hits += 1;
            if let Some(row) = row {
                prefix_events_of(&mut engine.prefix_events, row).hits += 1;
            }
        } else {
            engine.stats.keyspace_misses += 1;
            if let Some(row) = row {
                prefix_events_of(&mut engine.prefix_events, row).misses += 1;
            }
            // The entry is borrowed, so `Engine::event` cannot be called.
            if notify && engine.settings.wants(EventClass::KeyMiss) && !engine.replaying {
                engine.events.push(Event { class: EventClass::KeyMiss, name: "keymiss", db, key: key.bytes.into() });
            }
        }
        found
    }

    /// The live entry of `key` for a command that may change it; deletes a dead key first.
    #[inline]
    pub fn write(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.write_in(self.session.db, key)
    }

    /// [`Call::write`] in another database.
    pub fn write_in(&mut self, db: usize, key: Key<'_>) -> Option<Entry<'_>> {
        self.engine.expire_if_dead(db, key);
        if self.engine.effects.in_flight(key.position) {
            self.session.promise = self.engine.effects.last();
        }
        self.engine.keyspace.db(db).get(key)
    }

    /// Under `always` makes the reply wait for every change so far: for reads that tell of keys nobody named (SCAN, DBSIZE). Under other
    /// policies nobody's reads wait for another's writes.
    pub fn reads_everything(&mut self) {
        if self.engine.effects.tracks() {
            self.session.promise = self.engine.effects.last();
        }
    }

    /// Must follow every change of a key: it is in flight now, and those who wait for it are looked at (and, later, those who
    /// watch or cache it). In another database: [`Engine::changed`].
    #[inline]
    pub fn changed(&mut self, key: Key<'_>) {
        self.engine.changed(self.session.db, key);
    }

    /// Must follow a change of what a key keeps about its readers (a stream's groups, its counters): as [`Call::changed`], but
    /// those who watch or cache the key's contents are not told.
    #[inline]
    pub(crate) fn touched(&mut self, key: Key<'_>) {
        self.engine.touched(self.session.db, key);
    }

    /// Reports a keyspace event of the selected database.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        let db = self.session.db;
        self.engine.event(class, name, db, key);
    }
}
