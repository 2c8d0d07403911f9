//! Clients: what a connection's own thread keeps of it, and what others may see and do.
//!
//! 1. [`Client`] belongs to the thread that serves the connection. [`ClientInfo`] is shared: CLIENT LIST reads it, its own thread
//!    writes it, once per batch and without a lock but for names.
//! 2. A client is in the registry from its acceptance until its socket is closed. Ids are never used twice.

use crate::acl::{Acl, Gate, User};
use crate::blocking::Place;
use crate::net::runtime::RuntimeHandle;
use crate::observe::command_log::Parked;
use crate::pubsub::subscriptions::Subscriptions;
use crate::server::Server;
use crate::session::transaction::Transaction;
use crate::tracking::{self, Mode};
use firn_engine::command::{Blocking, Session};
use firn_engine::watching::Watching;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// CLIENT REPLY.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ReplyMode {
    /// Replies are sent.
    #[default]
    On,
    /// None are.
    Off,
    /// The next command's is not (set by CLIENT REPLY SKIP, which itself answers nothing).
    SkipNext,
    /// This command's is not; then they are again.
    SkipThis,
}

/// When to look again whether the engine can be had.
const BUSY_RETRY: Duration = Duration::from_millis(10);

/// One connection's state, as commands see and change it.
#[derive(Debug)]
pub(crate) struct Client {
    /// What others see.
    pub(crate) info: Arc<ClientInfo>,
    /// Database, promise, NO-TOUCH.
    pub(crate) session: Session,
    /// 2 or 3.
    pub(crate) protocol: u8,
    /// Its user: the default one before it has logged in. Changed by [`Client::set_user`] only.
    pub(crate) user: Arc<User>,
    /// Whether it has logged in, or came when that was not asked for.
    pub(crate) authenticated: bool,
    /// What its commands have to pass.
    pub(crate) gate: Gate,
    /// The version of the ACLs that `user` and `gate` follow from.
    pub(crate) acl_version: u64,
    /// CLIENT REPLY.
    pub(crate) reply_mode: ReplyMode,
    /// What was queued since MULTI.
    pub(crate) transaction: Option<Box<Transaction>>,
    /// Keys it watches.
    pub(crate) watching: Option<Box<Watching>>,
    /// What it listens to.
    pub(crate) subscriptions: Box<Subscriptions>,
    /// The blocking command it waits in, for the slow log, where that keeps everything.
    pub(crate) parked: Option<Box<Parked>>,
    /// How it tracks keys that it caches.
    pub(crate) tracking: Option<Box<Mode>>,
}

impl Client {
    /// A client that has just connected.
    pub(crate) fn new(info: Arc<ClientInfo>, acl: &Acl) -> Self {
        let user = info.user.lock().clone();
        let mut client = Client {
            user,
            session: Session { blocking: Blocking::Allowed, client: info.id, ..Session::default() },
            protocol: 2,
            authenticated: false,
            gate: Gate::Closed,
            acl_version: 0,
            reply_mode: ReplyMode::On,
            transaction: None,
            watching: None,
            parked: None,
            subscriptions: Box::default(),
            tracking: None,
            info,
        };
        acl.begin(&mut client);
        client
    }

    /// Whether it may get mail: its replies and its mail are then kept in the order in which things happened.
    #[inline]
    pub(crate) fn listens(&self) -> bool {
        self.tracking.is_some() || !self.subscriptions.is_empty()
    }

    /// The client has gone: nothing is sent to it any more.
    pub(crate) async fn leave(&mut self, server: &Server) {
        if self.listens() {
            let mut engine = loop {
                if let Some(engine) = server.lock_unless_busy() {
                    break engine;
                }
                // A script, maybe in this thread, keeps the engine.
                tokio::time::sleep(BUSY_RETRY).await;
            };
            self.subscriptions.leave_all(&mut engine, &self.info);
            tracking::commands::stop(&mut engine, self);
        }
        server.monitors.leave(self.info.id);
    }

    /// Has this user from now on, as others see too.
    pub(crate) fn set_user(&mut self, user: Arc<User>) {
        if !Arc::ptr_eq(&self.user, &user) {
            *self.info.user.lock() = user.clone();
            self.user = user;
        }
    }

    /// This client's state, leaving one that stands in for it until it comes back.
    pub(crate) fn take(&mut self) -> Client {
        let stand_in = Client {
            info: self.info.clone(),
            session: Session { db: self.session.db, client: self.session.client, ..Session::default() },
            protocol: self.protocol,
            user: self.user.clone(),
            authenticated: self.authenticated,
            gate: self.gate,
            acl_version: self.acl_version,
            reply_mode: self.reply_mode,
            transaction: None,
            watching: None,
            subscriptions: Box::default(),
            tracking: None,
            parked: None,
        };
        std::mem::replace(self, stand_in)
    }

    /// Speaks `protocol` (2 or 3) from now on.
    pub(crate) fn set_protocol(&mut self, protocol: u8) {
        self.protocol = protocol;
        self.info.protocol.store(protocol, Ordering::Relaxed);
    }

    /// Whether replies are sent at the moment (CLIENT REPLY).
    pub(crate) fn wants_reply(&self) -> bool {
        self.reply_mode == ReplyMode::On
    }
}

/// Names a client gave itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// CLIENT SETNAME.
    pub(crate) name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub(crate) lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub(crate) lib_ver: Vec<u8>,
}

/// What everybody may know about a client. Numbers are as of its last batch.
#[derive(Debug)]
pub(crate) struct ClientInfo {
    /// Its number.
    pub(crate) id: u64,
    /// The other end, as `ip:port`, or the socket's path with `:0`.
    pub(crate) addr: String,
    /// Our end.
    pub(crate) laddr: String,
    /// Whether it came over a unix socket.
    pub(crate) unix: bool,
    /// The socket's descriptor; only for display.
    pub(crate) fd: i32,
    /// The runtime that serves it.
    pub(crate) runtime: Arc<RuntimeHandle>,
    /// When it connected, in ms of `Server::clock_ms`.
    pub(crate) created_ms: u64,
    /// When it last sent or took something, in ms of `Server::clock_ms`.
    pub(crate) active_ms: AtomicU64,
    /// The selected database.
    pub(crate) db: AtomicU32,
    /// 2 or 3.
    pub(crate) protocol: AtomicU8,
    /// Last command: index in the table plus one in the low 16 bits, subcommand plus one above; 0 is none.
    pub(crate) last_command: AtomicU32,
    /// Bytes that were read and not understood yet, and room beyond them.
    pub(crate) query_len: AtomicUsize,
    /// See `query_len`.
    pub(crate) query_free: AtomicUsize,
    /// Bytes of a large word that are still to come: they count as memory that the client takes, as room is made for them.
    pub(crate) query_awaited: AtomicUsize,
    /// Bytes of the words of a command that is not complete.
    pub(crate) argv_bytes: AtomicUsize,
    /// Bytes of replies that have not left.
    pub(crate) output_len: AtomicUsize,
    /// Memory of the output buffer, as counted in [`Clients::rooms`].
    pub(crate) output_room: AtomicUsize,
    /// The most bytes of replies that waited at once in the last seconds.
    pub(crate) output_peak: AtomicUsize,
    /// Memory of its own query buffer, as counted there.
    pub(crate) query_room: AtomicUsize,
    /// Commands it ran.
    pub(crate) commands: AtomicU64,
    /// Bytes it sent.
    pub(crate) bytes_in: AtomicU64,
    /// Bytes it was sent.
    pub(crate) bytes_out: AtomicU64,
    /// Commands queued since MULTI; -1 outside of a transaction.
    pub(crate) queued: AtomicI32,
    /// Memory of what is queued, in bytes.
    pub(crate) queued_bytes: AtomicUsize,
    /// Keys it watches.
    pub(crate) watched: AtomicU32,
    /// CLIENT CAPA REDIRECT.
    pub(crate) redirects: AtomicBool,
    /// The part of `Clients::memory` that is this client's.
    pub(crate) told_memory: AtomicUsize,
    /// Channels it listens to.
    pub(crate) channels: AtomicU32,
    /// Patterns it listens to.
    pub(crate) patterns: AtomicU32,
    /// Shard channels it listens to.
    pub(crate) shard_channels: AtomicU32,
    /// Whether and how it tracks keys: bits of `tracking::table`.
    pub(crate) tracking: AtomicU8,
    /// Memory of the prefixes that it tracks by.
    pub(crate) prefix_bytes: AtomicUsize,
    /// CLIENT GETREDIR.
    pub(crate) redirect: AtomicI64,
    /// CLIENT NO-EVICT.
    pub(crate) no_evict: AtomicBool,
    /// CLIENT NO-TOUCH.
    pub(crate) no_touch: AtomicBool,
    /// Its user; the default one before it has logged in.
    pub(crate) user: Mutex<Arc<User>>,
    /// A reply is awaited.
    pub(crate) waiting: AtomicBool,
    /// It is blocked.
    pub(crate) blocked: Mutex<Option<Place>>,
    /// It watches all commands (MONITOR).
    pub(crate) monitoring: AtomicBool,
    /// It is about to be closed.
    pub(crate) closing: AtomicBool,
    /// Names it gave itself.
    pub(crate) names: Mutex<Names>,
}

impl ClientInfo {
    /// Whether it listens to channels or patterns, which makes it one of the class `pubsub`.
    pub(crate) fn is_subscriber(&self) -> bool {
        let counts = [&self.channels, &self.patterns, &self.shard_channels];
        counts.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Its class' place in `Settings::output_limits`.
    pub(crate) fn output_class(&self) -> usize {
        // What a client of MONITOR is sent grows as a subscriber's does, and is bounded as that.
        if self.is_subscriber() || self.monitoring.load(Ordering::Relaxed) { 2 } else { 0 }
    }

    /// Notes a batch of `count` commands, the last of which has `number`, with `db` selected after it.
    #[inline]
    pub(crate) fn ran(&self, count: u64, number: u32, db: usize) {
        self.last_command.store(number, Ordering::Relaxed);
        self.db.store(db as u32, Ordering::Relaxed);
        // Only the client's own thread writes: a load and a store do, without a locked instruction.
        self.commands.store(self.commands.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// All connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    connected: AtomicUsize,
    /// Memory of all clients as they told it last, in bytes.
    pub(crate) memory: AtomicU64,
    by_id: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
    /// Bytes of all clients' buffers, so that the memory limit knows of them at once.
    rooms: AtomicUsize,
}

impl Clients {
    /// Bytes of all clients' buffers.
    #[inline]
    pub(crate) fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Notes that a client's buffer takes `now` bytes; `counted` is the client's own note of it.
    #[inline]
    pub(crate) fn count_room(&self, counted: &AtomicUsize, now: usize) {
        let before = counted.load(Ordering::Relaxed);
        if now != before {
            counted.store(now, Ordering::Relaxed);
            self.rooms.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Adds all buffers up anew: clients go away in the midst of things. Where other threads change theirs meanwhile, it is left to the next
    /// time.
    pub(crate) fn recount_rooms(&self) {
        let room = |client: &Arc<ClientInfo>| {
            client.query_room.load(Ordering::Relaxed) + client.output_room.load(Ordering::Relaxed)
        };
        let before = self.rooms.load(Ordering::Relaxed);
        let rooms = self.by_id.lock().values().map(room).sum();
        let _ = self.rooms.compare_exchange(before, rooms, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A number that no client had before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes a place for one more client unless `max` are taken.
    pub(crate) fn admit(&self, max: usize) -> bool {
        self.connected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1)).is_ok()
    }

    /// Gives the place of a client back that was never registered.
    pub(crate) fn dismiss(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are connected.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Makes an admitted client known.
    pub(crate) fn register(&self, info: &Arc<ClientInfo>) {
        self.by_id.lock().insert(info.id, info.clone());
    }

    /// Forgets a registered client and gives its place back.
    pub(crate) fn unregister(&self, id: u64) {
        if let Some(info) = self.by_id.lock().remove(&id) {
            info.closing.store(true, Ordering::Relaxed); // For those who still hold it.
            self.dismiss();
        }
    }

    /// The client with this number.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// All of them, in order of their numbers.
    pub(crate) fn all(&self) -> Vec<Arc<ClientInfo>> {
        self.by_id.lock().values().cloned().collect()
    }
}
