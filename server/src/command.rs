//! Commands of the server: what the engine cannot answer because it knows nothing of connections, configuration, threads.
//!
//! They are declared with the engine's own `Spec` and stand in one table with the commands on data (`table.rs`). They run
//! without the engine's lock, and take it with [`ServerCall::engine`] when they need it; it is then held to the end
//! of the batch. What takes long, or itself needs the lock elsewhere, is answered by [`After::Await`], which holds no lock.

use crate::client::Client;
use crate::server::Server;
use firn_engine::command::{Args, CommandError, Reply, Spec};
use firn_engine::engine::Engine;
use firn_engine::log::Lsn;
use firn_engine::store::{EngineGuard, Store};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A command of the server: its declaration and the function that runs it.
pub(crate) struct ServerCommand {
    /// Name, arity, flags, documentation. Of a container, `run` looks at the second word; that it is a known subcommand with
    /// the right number of words was checked.
    pub(crate) spec: Spec,
    /// What it does. `Err` means nothing was changed and no reply was begun.
    pub(crate) run: Run,
}

/// The body of a command of the server.
pub(crate) type Run = fn(&mut ServerCall<'_, '_>, &Args<'_>, &mut dyn Reply) -> Result<After, CommandError>;

/// What follows a command.
pub(crate) enum After {
    /// The next command.
    Nothing,
    /// The connection is closed when the replies so far have left.
    Close,
    /// No reply was written: the future brings it. Until then this client's next commands wait, other clients' do not. The future is
    /// dropped if the client goes away; work that must go on belongs into a task or thread of its own.
    Await(Pending),
    /// The command has not begun: it is looked at again when the future ends.
    Postpone(Pending),
}

/// A reply that comes later.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Answer>>>;

/// The reply that was awaited.
pub(crate) enum Answer {
    /// None: the command is looked at again.
    Retry,
    /// Still to be written.
    Write(WriteReply),
    /// Already written in the client's protocol, by a command that had the client's state meanwhile.
    Returned {
        /// The state, with the promise that the reply waits for.
        client: Box<Client>,
        /// The reply.
        bytes: Vec<u8>,
    },
    /// Already written in the client's protocol; it may leave when the promise holds.
    Written {
        /// The reply.
        bytes: Vec<u8>,
        /// What it waits for.
        promise: Lsn,
    },
}

impl Answer {
    /// A reply that `write` writes.
    pub(crate) fn write(write: impl FnOnce(&mut dyn Reply) + 'static) -> Answer {
        Answer::Write(Box::new(write))
    }

    /// Gives the reply to somebody who has no use for the promise.
    pub(crate) fn give(self, reply: &mut dyn Reply) {
        match self {
            Answer::Write(write) => write(reply),
            Answer::Returned { bytes, .. } | Answer::Written { bytes, .. } => reply.written(&bytes),
            Answer::Retry => {}
        }
    }
}

/// Writes one reply.
pub(crate) type WriteReply = Box<dyn FnOnce(&mut dyn Reply)>;

impl After {
    /// Awaits `future`, whose output writes the reply.
    pub(crate) fn answer(future: impl Future<Output = Answer> + 'static) -> After {
        After::Await(Box::pin(future))
    }
}

/// One command's run: the server and the client it runs for.
pub(crate) struct ServerCall<'a, 's> {
    /// What all threads share.
    pub(crate) server: &'s Arc<Server>,
    /// The client.
    pub(crate) client: &'a mut Client,
    /// The engine, if this batch has locked it.
    pub(crate) lock: &'a mut EngineLock,
}

impl ServerCall<'_, '_> {
    /// The engine, locked now if it was not; stays locked until the batch ends.
    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.lock.get()
    }

    /// Lets the lock go, for calls that take it themselves.
    pub(crate) fn unlock(&mut self) {
        self.lock.release();
    }
}

/// How often a thread that waits for the engine's lock looks whether a script keeps it.
const BUSY_LOOK: Duration = Duration::from_millis(10);

/// The engine; `None` if `busy` became true while it was waited for, which may stay so for ever.
#[inline]
pub(crate) fn lock_unless(store: &'static Store, busy: &AtomicBool) -> Option<EngineGuard<'static>> {
    let mut guard = store.try_lock_for(Duration::ZERO);
    while guard.is_none() && !busy.load(Ordering::Acquire) {
        guard = store.try_lock_for(BUSY_LOOK);
    }
    guard
}

/// The engine's lock, taken at most once per batch and only if a command needs it. It borrows nothing, so that a script that takes
/// long can be suspended with it (`scripting/fiber.rs`).
pub(crate) struct EngineLock {
    store: &'static Store,
    guard: Option<EngineGuard<'static>>,
    /// It is not let go, whoever asks for it.
    pinned: bool,
}

impl EngineLock {
    /// Not locked yet.
    pub(crate) fn new(store: &'static Store) -> Self {
        EngineLock { store, guard: None, pinned: false }
    }

    /// This lock as it is, leaving one that is not locked.
    pub(crate) fn take(&mut self) -> EngineLock {
        EngineLock { store: self.store, guard: self.guard.take(), pinned: self.pinned }
    }

    /// Locks the engine if it is not; false if `busy` became true meanwhile, which may stay so for ever.
    #[inline]
    pub(crate) fn acquire(&mut self, busy: &AtomicBool) -> bool {
        if self.guard.is_none() {
            self.guard = lock_unless(self.store, busy);
        }
        self.guard.is_some()
    }

    /// The engine, locked now if it was not.
    #[inline]
    pub(crate) fn get(&mut self) -> &mut Engine {
        self.guard.get_or_insert_with(|| self.store.lock())
    }

    /// The engine, if it is locked.
    pub(crate) fn held(&mut self) -> Option<&mut Engine> {
        self.guard.as_deref_mut()
    }

    /// Sets the engine's clocks anew, if it is locked: time has passed.
    pub(crate) fn wind_clock(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.wind_clock();
        }
    }

    /// Lets the lock go.
    pub(crate) fn release(&mut self) {
        debug_assert!(!self.pinned, "no command that lets the engine go is called by a script");
        debug_assert!(
            self.guard.as_deref().is_none_or(|engine| !engine.in_transaction()),
            "nor within a transaction: others would write into its record"
        );
        if !self.pinned {
            self.guard = None;
        }
    }

    /// Whether a script runs, which keeps the lock.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Keeps the lock while a script runs.
    pub(crate) fn pin(&mut self, pinned: bool) {
        self.pinned = pinned;
    }
}
