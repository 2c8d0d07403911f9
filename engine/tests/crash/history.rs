//! The model: what the data were after every record, and what a store has promised so far.
//!
//! 1. One digest per LSN, independent of order, so that judging a recovered state is one comparison.
//! 2. A history only grows. When a crash takes records back, the rest is forked: what was true of the old one stays true for
//!    the moments that were taken from it.

use firn_engine::engine::Engine;
use firn_engine::keyspace::Value;
use firn_engine::log::Lsn;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Database and key.
type At = (usize, Vec<u8>);
/// Value and deadline.
type Held = (Vec<u8>, Option<u64>);

/// All data at one LSN.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Data(pub(crate) BTreeMap<At, Held>);

impl Data {
    /// What an engine holds.
    pub(crate) fn of(engine: &Engine) -> Data {
        let mut data = BTreeMap::new();
        for db in 0..engine.keyspace.databases() {
            engine.keyspace.db(db).scan(0, usize::MAX, &mut |entry| {
                let Value::String(value) = entry.value else { panic!("only strings are written here") };
                let old = data.insert((db, entry.key.to_vec()), (value.to_vec(), entry.deadline));
                assert!(old.is_none(), "a scan showed {:?} twice", entry.key.escape_ascii().to_string());
            });
        }
        Data(data)
    }

    /// How `found` differs, for people.
    pub(crate) fn difference(&self, found: &Data) -> String {
        let show = |at: &At, entry: Option<&Held>| match entry {
            None => format!("db {} {}: absent", at.0, at.1.escape_ascii()),
            Some((value, deadline)) => {
                let shown = &value[..value.len().min(24)];
                format!(
                    "db {} {}: {} ({} bytes), deadline {deadline:?}",
                    at.0,
                    at.1.escape_ascii(),
                    shown.escape_ascii(),
                    value.len()
                )
            }
        };
        let mut lines = Vec::new();
        let mut keys: Vec<_> = self.0.keys().chain(found.0.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for at in keys {
            let (expected, is) = (self.0.get(at), found.0.get(at));
            if expected != is {
                lines.push(format!("expected {}; found {}", show(at, expected), show(at, is)));
            }
        }
        lines.join("\n    ")
    }
}

/// A digest of all databases that does not depend on the order of keys.
pub(crate) fn digest(engine: &Engine) -> u128 {
    let keyspace = &engine.keyspace;
    let each = (0..keyspace.databases()).map(|db| keyspace.db(db).digest().wrapping_mul(2 * db as u128 + 1));
    each.fold(0, u128::wrapping_add)
}

/// The state after each record, from LSN 0 (nothing) on.
#[derive(Clone, Debug)]
pub(crate) struct History(Arc<Mutex<Vec<Arc<Point>>>>);

/// One LSN of a history.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) digest: u128,
    pub(crate) data: Data,
}

impl History {
    /// Of an empty store.
    pub(crate) fn new() -> History {
        History(Arc::new(Mutex::new(vec![Arc::new(Point { digest: 0, data: Data::default() })])))
    }

    /// The newest LSN.
    pub(crate) fn last(&self) -> Lsn {
        self.0.lock().len() as Lsn - 1
    }

    /// The state at `lsn`, if it was ever reached.
    pub(crate) fn at(&self, lsn: Lsn) -> Option<Arc<Point>> {
        self.0.lock().get(lsn as usize).cloned()
    }

    /// Notes what an engine holds after a step: at most one record more than before, and no change without a record.
    pub(crate) fn note(&self, engine: &Engine, what: &str) {
        let lsn = engine.effects.last();
        let digest = digest(engine);
        let mut points = self.0.lock();
        let last = points.len() as Lsn - 1;
        if lsn == last {
            let known = &points[lsn as usize];
            assert!(
                known.digest == digest,
                "{what} changed data without a record:\n    {}",
                known.data.difference(&Data::of(engine))
            );
        } else {
            assert_eq!(lsn, last + 1, "{what} made more than one record");
            points.push(Arc::new(Point { digest, data: Data::of(engine) }));
        }
    }

    /// A history that goes on behind `lsn`.
    pub(crate) fn fork(&self, lsn: Lsn) -> History {
        History(Arc::new(Mutex::new(self.0.lock()[..=lsn as usize].to_vec())))
    }
}
