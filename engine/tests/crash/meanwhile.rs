//! What others do while a flush is under way: clients write, a snapshot begins, and during a snapshot's flush the log has its round.
//!
//! The simulated disk calls this from within a sync, whose caller may hold the turn to flush but neither the engine nor the log. What
//! is written then is no part of that sync: a log that believes so loses it.

use crate::workload::{Plan, command_words};
use crate::world::{Ledger, transaction};
use firn_engine::command::Session;
use firn_engine::disk::chooser::Chooser;
use firn_engine::disk::sim::{CallKind, Effect, Fault};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// Others than the world's own client.
pub(crate) struct Meanwhile {
    plan: Plan,
    ledger: Arc<Mutex<Ledger>>,
    /// Taken while they work: nobody works during their own flushes.
    turn: Mutex<(Session, Chooser)>,
}

impl Meanwhile {
    pub(crate) fn new(plan: Plan, ledger: Arc<Mutex<Ledger>>) -> Arc<Meanwhile> {
        let turn = Mutex::new((Session::default(), Chooser::seeded(!plan.seed)));
        Arc::new(Meanwhile { plan, ledger, turn })
    }

    /// Nobody works until this is dropped.
    pub(crate) fn pause(&self) -> MutexGuard<'_, (Session, Chooser)> {
        self.turn.lock()
    }

    /// For a disk: others work during every sync.
    pub(crate) fn faults(self: &Arc<Self>) -> [Fault; 3] {
        let during = |snapshot: bool| {
            let meanwhile = self.clone();
            Fault::from_nth(1, Effect::During(Arc::new(move || meanwhile.work(snapshot))))
        };
        [
            during(true).of(CallKind::Sync).on("snap-"),
            during(false).of(CallKind::Sync),
            during(false).of(CallKind::SyncDir),
        ]
    }

    /// `snapshot`: it is a snapshot's file that is flushed, so nobody has the turn to flush the log.
    fn work(&self, snapshot: bool) {
        let Some(mut turn) = self.turn.try_lock() else { return };
        let (store, history) = {
            let ledger = self.ledger.lock();
            (ledger.store.upgrade(), ledger.history.clone())
        };
        // None while a store is opened or closed.
        let Some(store) = store else { return };
        let (session, chooser) = &mut *turn;
        // The step that flushes may have made a record (of expiry) itself.
        history.note(&store.lock(), "a step that flushes");
        for _ in 0..chooser.choose(3) {
            command_words(&self.plan, chooser, |commands| {
                transaction(&store, session, &history, commands);
            });
            if chooser.choose(3) > 0 {
                store.commit();
            }
        }
        if !store.snapshot_info().running && self.plan.snapshots > 0 && chooser.once_in(20) {
            // Its first step ends the log's segment and looks at the state, and flushes nothing.
            store.request_snapshot();
            store.step_snapshot();
        }
        if snapshot && chooser.once_in(2) {
            store.step_log();
        }
    }
}
