//! A store on a simulated disk, driven step by step by one thread, with the model beside it.
//!
//! What the store has promised is taken at every call to the disk, from the same `Store::holds` that replies wait for: so
//! a promise that is given one call too early is seen.

use crate::history::History;
use crate::meanwhile::Meanwhile;
use crate::workload::Plan;
use firn_engine::command::{Args, NoReply, Session, table};
use firn_engine::disk::chooser::Chooser;
use firn_engine::disk::sim::{Call, CrashRules, DiskState, SimDisk};
use firn_engine::engine::Refused;
use firn_engine::key::HashSeed;
use firn_engine::log::Lsn;
use firn_engine::snapshot::writer::Pace;
use firn_engine::store::{Clock, ManualClock, Options, Store, SyncPolicy};
use firn_engine::value::Shaping;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// Unix time at which every run begins, in ms.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// A state that a crash can meet, and what must be true of the store afterwards.
#[derive(Clone)]
pub(crate) struct Moment {
    /// Number of opens before it.
    pub(crate) life: u32,
    /// The call that had not yet been made.
    pub(crate) call: Call,
    pub(crate) state: DiskState,
    pub(crate) promise: Promise,
    pub(crate) history: History,
    /// Unix time in ms.
    pub(crate) now_ms: u64,
}

/// What a recovered store must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Promise {
    /// At least this LSN when the power fails.
    pub(crate) power: Lsn,
    /// At least this LSN when the process dies.
    pub(crate) kill: Lsn,
    /// At most this LSN: there was nothing newer.
    pub(crate) last: Lsn,
}

/// Whether the log counts (`appendonly`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Logged {
    Yes,
    /// Only what a snapshot holds counts.
    No,
    /// It was turned on, and counts as soon as a snapshot holds all before this LSN.
    From(Lsn),
}

/// What observers share with the world.
pub(crate) struct Ledger {
    pub(crate) store: Weak<Store>,
    clock: Arc<ManualClock>,
    policy: SyncPolicy,
    logged: Logged,
    pub(crate) history: History,
    promise: Promise,
    /// Under `everysec`: which LSN was acknowledged when (monotonic ms).
    acknowledged: Vec<(u64, Lsn)>,
    /// Whether the disk fails at times.
    failing: bool,
}

impl Ledger {
    /// Notes what has been promised by now.
    fn update(&mut self) {
        self.promise.last = self.history.last();
        let Some(store) = self.store.upgrade() else { return };
        let now = self.clock.monotonic_ms();
        let saved = store.snapshot_info().status.saved_lsn;
        self.promise.power = self.promise.power.max(saved);
        self.promise.kill = self.promise.kill.max(saved);
        match self.logged {
            Logged::Yes => {}
            Logged::From(first) if saved + 1 >= first => self.logged = Logged::Yes,
            Logged::No | Logged::From(_) => return,
        }
        if let Some(durable) = store.durable_lsn() {
            self.promise.power = self.promise.power.max(durable);
        }
        let mut acknowledged = self.promise.kill;
        while acknowledged < self.promise.last && store.holds(acknowledged + 1) {
            acknowledged += 1;
        }
        if acknowledged > self.promise.kill {
            self.promise.kill = acknowledged;
            self.acknowledged.push((now, acknowledged));
            if self.policy == SyncPolicy::Always {
                self.promise.power = self.promise.power.max(acknowledged);
            }
        }
        match self.policy {
            // A disk that takes no flush can hold no more than what was flushed before; then replies are held back.
            SyncPolicy::EverySecond if self.failing => {}
            SyncPolicy::EverySecond => {
                // The last second may be lost; while the disk stalls, two.
                let old = self.acknowledged.iter().take_while(|(at, _)| at + 2000 < now).count();
                if let Some((_, lsn)) = self.acknowledged.drain(..old).next_back() {
                    self.promise.power = self.promise.power.max(lsn);
                }
            }
            SyncPolicy::Always | SyncPolicy::Never => {}
        }
    }

    /// From now on another policy's promise is given; what was acknowledged before keeps the old one.
    fn switch(&mut self, policy: SyncPolicy) {
        self.update();
        if self.policy == SyncPolicy::Never {
            // What nobody was to flush so far has its second from now on.
            let now = self.clock.monotonic_ms();
            self.acknowledged.iter_mut().for_each(|(at, _)| *at = now);
        }
        self.policy = policy;
    }
}

/// How stores are opened in these tests: tiny segments, collections that are large from the third or fourth element on, snapshots of
/// them in tiny parts, few databases, no threads.
pub(crate) fn options(policy: SyncPolicy, clock: &Arc<ManualClock>) -> Options {
    Options {
        databases: 3,
        policy,
        segment_len: 4096,
        reserve_len: 1024,
        load_threads: 1,
        threads: false,
        clock: clock.clone(),
        entropy: [7; 40],
        pace: Pace { part_len: 24, ..Pace::default() },
        shaping: Shaping {
            hash_max_listpack_entries: 3,
            list_max_listpack_size: 3,
            list_compress_depth: 1,
            set_max_intset_entries: 3,
            set_max_listpack_entries: 4,
            zset_max_listpack_entries: 3,
            stream_node_max_entries: 2,
            hll_sparse_max_bytes: 40,
            ..Shaping::new(HashSeed([0; 16]))
        },
        ..Options::default()
    }
}

/// Where moments go: those that differ from the one before, as far as `wanted` says.
pub(crate) type Sink = Arc<Mutex<Vec<Moment>>>;

/// A store under test.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) policy: SyncPolicy,
    pub(crate) life: u32,
    /// Commands refused because the log could not take them.
    pub(crate) refusals: u64,
    /// Whether faults are about: a failed open ends them and is tried again, a failed close is a kill.
    pub(crate) tolerant: bool,
    /// Faults met on disks of earlier lives.
    met_before: u64,
    store: Option<Arc<Store>>,
    session: Session,
    ledger: Arc<Mutex<Ledger>>,
    sink: Option<Sink>,
    adjust: fn(&mut Options),
    /// What others do while a flush is under way.
    meanwhile: Option<Arc<Meanwhile>>,
}

impl World {
    /// A new store on an empty disk; with a sink every moment is kept.
    pub(crate) fn new(policy: SyncPolicy, sink: Option<Sink>, adjust: fn(&mut Options)) -> World {
        let clock = Arc::new(ManualClock::new(START_MS));
        let ledger = Ledger {
            store: Weak::new(),
            clock: clock.clone(),
            policy,
            logged: Logged::Yes,
            history: History::new(),
            promise: Promise::default(),
            acknowledged: Vec::new(),
            failing: false,
        };
        World {
            disk: SimDisk::new(),
            clock,
            policy,
            life: 0,
            refusals: 0,
            tolerant: false,
            met_before: 0,
            store: None,
            session: Session::default(),
            ledger: Arc::new(Mutex::new(ledger)),
            sink,
            adjust,
            meanwhile: None,
        }
    }

    /// From the next open on others write, and begin snapshots, while a flush is under way.
    pub(crate) fn work_meanwhile(&mut self, plan: Plan) {
        self.meanwhile = Some(Meanwhile::new(plan, self.ledger.clone()));
    }

    /// The others have gone.
    pub(crate) fn work_alone(&mut self) {
        if self.meanwhile.take().is_some() {
            self.disk.set_faults([]);
        }
    }

    /// Faults that any call has met. A life that follows a kill or a power cut has a disk without faults.
    pub(crate) fn faults_met(&self) -> u64 {
        self.met_before + self.disk.fault_hits()
    }

    /// The open store.
    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    pub(crate) fn history(&self) -> History {
        self.ledger.lock().history.clone()
    }

    /// What has been promised by now.
    pub(crate) fn promise(&self) -> Promise {
        let mut ledger = self.ledger.lock();
        ledger.update();
        ledger.promise
    }

    /// The moment after the last call.
    pub(crate) fn moment(&self) -> Moment {
        let call = Call {
            number: self.disk.calls() + 1,
            kind: firn_engine::disk::sim::CallKind::List,
            name: "(end)".into(),
            offset: 0,
            len: 0,
        };
        let promise = self.promise();
        Moment {
            life: self.life,
            call,
            state: self.disk.state(),
            promise,
            history: self.history(),
            now_ms: self.clock.unix_ms(),
        }
    }

    /// Opens the store that is on the disk. After an `Err` the world is as before.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        let opened = self.try_open();
        if opened.is_err() && self.tolerant && self.disk.fault_hits() > 0 {
            self.disk.set_faults([]);
            return self.try_open().map_err(|text| format!("opened again after a fault: {text}"));
        }
        opened
    }

    fn try_open(&mut self) -> Result<(), String> {
        assert!(self.store.is_none());
        self.ledger.lock().failing = self.tolerant;
        self.life += 1;
        let (ledger, sink, life) = (self.ledger.clone(), self.sink.clone(), self.life);
        // What the last moment kept no longer shows: calls that change the disk, and promises.
        let mut changed = true;
        let mut promised = Promise::default();
        self.disk.observe(move |call, state| {
            let mut ledger = ledger.lock();
            ledger.update();
            if let Some(sink) = &sink {
                if changed || promised != ledger.promise {
                    (changed, promised) = (false, ledger.promise);
                    sink.lock().push(Moment {
                        life,
                        call: call.clone(),
                        state: state.clone(),
                        promise: ledger.promise,
                        history: ledger.history.clone(),
                        now_ms: ledger.clock.unix_ms(),
                    });
                }
                changed |= call.kind.changes();
            }
        });
        if let Some(meanwhile) = &self.meanwhile {
            self.disk.set_faults(meanwhile.faults());
        }
        let mut options = options(self.policy, &self.clock);
        (self.adjust)(&mut options);
        let store = match Store::open(Arc::new(self.disk.clone()), &options) {
            Ok(store) => Arc::new(store),
            Err(error) => return Err(chain(&error)),
        };
        let lsn = store.last_lsn();
        let mut ledger = self.ledger.lock();
        let known = ledger.history.at(lsn).map(|point| point.digest);
        let digest = crate::history::digest(&store.lock());
        if known != Some(digest) {
            return Err(format!("opened at LSN {lsn} with data that were never there"));
        }
        ledger.history = ledger.history.fork(lsn);
        // What is served now may never be taken back.
        ledger.promise = Promise { power: lsn, kill: lsn, last: lsn };
        ledger.acknowledged.clear();
        ledger.logged = Logged::Yes;
        ledger.store = Arc::downgrade(&store);
        drop(ledger);
        self.session = Session::default();
        self.store = Some(store);
        Ok(())
    }

    /// Runs one command, as one record.
    pub(crate) fn run(&mut self, db: usize, words: &[&[u8]]) {
        self.transaction(&[(db, words)]);
    }

    /// Runs commands as one record: all of them survive or none.
    pub(crate) fn transaction(&mut self, commands: &[(usize, &[&[u8]])]) {
        let store = self.store.clone().expect("the store is open");
        let history = self.history();
        self.refusals += u64::from(transaction(&store, &mut self.session, &history, commands));
    }

    fn noted<T>(&self, what: &str, step: impl FnOnce(&Store) -> T) -> T {
        let store = self.store();
        let done = step(store);
        let engine = store.lock();
        let mut ledger = self.ledger.lock();
        ledger.history.note(&engine, what);
        drop(engine);
        ledger.update();
        done
    }

    /// What a connection does after a batch.
    pub(crate) fn commit(&mut self) {
        self.noted("a commit", |store| store.commit());
    }

    /// One round of the log.
    pub(crate) fn step_log(&mut self) -> bool {
        self.noted("a round of the log", |store| store.step_log())
    }

    /// One step of a snapshot.
    pub(crate) fn step_snapshot(&mut self) -> bool {
        self.noted("a step of a snapshot", |store| store.step_snapshot())
    }

    /// Everything that is due, once.
    pub(crate) fn step(&mut self) -> bool {
        self.noted("a step", |store| store.step())
    }

    /// Time passes, and what is due happens.
    pub(crate) fn advance(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let slice = left.min(100);
            self.clock.advance(slice);
            left -= slice;
            for _ in 0..8 {
                if !self.step() {
                    break;
                }
            }
        }
    }

    /// Makes a snapshot, whatever it takes.
    pub(crate) fn step_until_snapshot(&mut self) -> Result<(), String> {
        let ticket = self.store().request_snapshot();
        for _ in 0..1000 {
            let info = self.store().snapshot_info();
            if info.finished >= ticket {
                return info.status.last_error.map_or(Ok(()), |text| Err(format!("a snapshot failed: {text}")));
            }
            self.step();
        }
        Err("a snapshot does not end".to_owned())
    }

    /// Changes `appendfsync`.
    pub(crate) fn set_policy(&mut self, policy: SyncPolicy) {
        self.policy = policy;
        self.ledger.lock().switch(policy);
        self.noted("a change of policy", |store| store.set_policy(policy));
    }

    /// Whether there is a log, that counts or will.
    pub(crate) fn is_logged(&self) -> bool {
        self.ledger.lock().logged != Logged::No
    }

    /// Changes `appendonly`.
    pub(crate) fn set_log(&mut self, on: bool) -> Result<(), String> {
        if self.is_logged() == on {
            return Ok(());
        }
        if on {
            let mut ledger = self.ledger.lock();
            ledger.logged = Logged::From(ledger.history.last() + 1);
        }
        // Commands wait while the log is switched.
        let busy = self.meanwhile.as_ref().map(|meanwhile| meanwhile.pause());
        let switched = self.noted("a switch of the log", |store| store.set_log(on).map_err(|error| chain(&error)));
        drop(busy);
        let mut ledger = self.ledger.lock();
        match (on, &switched) {
            (false, Ok(())) => {
                let last = ledger.history.last();
                // Of a log that did not count yet, nothing counts.
                if ledger.logged == Logged::Yes {
                    (ledger.promise.power, ledger.promise.kill) = (last, last);
                }
                ledger.logged = Logged::No;
            }
            (true, Err(_)) => ledger.logged = Logged::No,
            _ => {}
        }
        switched
    }

    /// Ends the store properly.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.ledger.lock().store = Weak::new();
        let store = self.store.take().expect("the store is open");
        let store = Arc::into_inner(store).expect("nobody else has it");
        let lsn = store.last_lsn();
        let closed = store.close().map_err(|error| chain(&error));
        let mut ledger = self.ledger.lock();
        if closed.is_ok() && ledger.logged == Logged::Yes {
            ledger.promise.power = lsn;
            ledger.promise.kill = lsn;
        }
        drop(ledger);
        if closed.is_err() && self.tolerant { Ok(()) } else { closed }
    }

    /// The process dies. The disk goes on as it reads, without a store.
    pub(crate) fn kill(&mut self) {
        self.forget();
        self.disk = SimDisk::from_state(self.disk.state().kill());
    }

    /// The power fails.
    pub(crate) fn power_cut(&mut self, chooser: &mut Chooser, rules: &CrashRules) {
        self.forget();
        self.disk = SimDisk::from_state(self.disk.state().crash(chooser, rules));
        // What only a kill would have kept is no longer promised.
        let mut ledger = self.ledger.lock();
        ledger.promise.kill = ledger.promise.power;
    }

    /// Lets go of the store without any of its clean-up reaching the disk.
    fn forget(&mut self) {
        let mut ledger = self.ledger.lock();
        ledger.update();
        ledger.store = Weak::new();
        drop(ledger);
        let state = self.disk.state();
        self.met_before += self.disk.fault_hits();
        self.disk.unobserve();
        self.disk.power_off();
        self.store = None;
        self.disk = SimDisk::from_state(state);
    }
}

/// Runs commands as one record and notes what they did. Says whether they were refused because the log takes no writes.
pub(crate) fn transaction(
    store: &Store,
    session: &mut Session,
    history: &History,
    commands: &[(usize, &[&[u8]])],
) -> bool {
    let mut engine = store.lock();
    let mut refused = false;
    let several = commands.len() > 1;
    if several {
        if engine.refused != Refused::Nothing {
            return true;
        }
        engine.begin_transaction();
    }
    for (db, words) in commands {
        let command = table::find(words[0]).unwrap_or_else(|| panic!("no command {}", words[0].escape_ascii()));
        assert!(command.spec.arity.fits(words.len()), "{}", words[0].escape_ascii());
        session.db = *db;
        let mut reply = NoReply::default();
        engine.execute(session, command, &Args::new(words), &mut reply);
        refused |= reply.error.is_some_and(|error| error.starts_with("MISCONF"));
    }
    if several {
        engine.end_transaction(session);
    }
    history.note(&engine, &commands[0].1[0].escape_ascii().to_string());
    refused
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
