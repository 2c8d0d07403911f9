//! The model: what the data were after every record, and what a store has promised so far.
//!
//! 1. One digest per LSN, independent of order, so that judging a recovered state is one comparison.
//! 2. A history only grows. When a crash takes records back, the rest is forked: what was true of the old one stays true for
//!    the moments that were taken from it.

use firn_engine::engine::Engine;
use firn_engine::keyspace::Value;
use firn_engine::log::Lsn;
use firn_engine::value::listpack::IntegerText;
use firn_engine::value::stream::{Id, for_each_pair};
use firn_engine::value::{CollectionView, Kind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Database and key.
type At = (usize, Vec<u8>);

/// Stands for a database where libraries of functions are shown.
const LIBRARIES: usize = usize::MAX;

/// A value and its deadline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    kind: Kind,
    /// A string's bytes; a collection's elements, however it is kept, as [`contents`] writes them.
    bytes: Vec<u8>,
    deadline: Option<u64>,
}

/// All data at one LSN.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Data(pub(crate) BTreeMap<At, Held>);

impl Data {
    /// What an engine holds.
    pub(crate) fn of(engine: &Engine) -> Data {
        let mut data = BTreeMap::new();
        for db in 0..engine.keyspace.databases() {
            engine.keyspace.db(db).scan(0, usize::MAX, &mut |entry| {
                let bytes = match entry.value {
                    Value::String(value) => value.to_vec(),
                    Value::Collection(view) => contents(view),
                };
                let held = Held { kind: entry.value.kind(), bytes, deadline: entry.deadline };
                let old = data.insert((db, entry.key.to_vec()), held);
                assert!(old.is_none(), "a scan showed {:?} twice", entry.key.escape_ascii().to_string());
            });
        }
        for (name, source) in engine.keyspace.libraries.iter() {
            let held = Held { kind: Kind::String, bytes: source.to_vec(), deadline: None };
            data.insert((LIBRARIES, name.to_vec()), held);
        }
        Data(data)
    }

    /// How `found` differs, for people.
    pub(crate) fn difference(&self, found: &Data) -> String {
        let show = |at: &At, entry: Option<&Held>| match entry {
            None => format!("db {} {}: absent", at.0, at.1.escape_ascii()),
            Some(Held { kind, bytes, deadline }) => {
                let shown = &bytes[..bytes.len().min(if *kind == Kind::String { 24 } else { 600 })];
                format!(
                    "db {} {}: {} {} ({} bytes), deadline {deadline:?}",
                    at.0,
                    at.1.escape_ascii(),
                    kind.name(),
                    shown.escape_ascii(),
                    bytes.len()
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

/// A collection's elements in an order that does not depend on how it is kept, as `digest` of the engine must see them: by other
/// means than that digest's.
fn contents(view: CollectionView<'_>) -> Vec<u8> {
    let mut text = IntegerText::new();
    let mut elements: Vec<Vec<u8>> = Vec::new();
    match view {
        CollectionView::List(list) => list.visit(0..list.len(), false, |element| {
            elements.push(element.as_bytes(&mut text).to_vec());
            true
        }),
        CollectionView::Set(set) => {
            elements.extend(set.iter().map(|member| member.as_bytes(&mut text).to_vec()));
            elements.sort_unstable();
        }
        // A packed one does not keep the sign of -0.
        CollectionView::SortedSet(set) => set.each(0, usize::MAX, false, |member, score| {
            elements.push([format!("{} ", score + 0.0).as_bytes(), member].concat());
        }),
        CollectionView::Hash(hash) => {
            elements.extend(hash.fields().map(|field| {
                let deadline = field.deadline.map_or(String::new(), |at| format!(" until {at}"));
                let name = field.name.as_bytes(&mut text).to_vec();
                [&name, &b"="[..], field.value.as_bytes(&mut text), deadline.as_bytes()].concat()
            }));
            elements.sort_unstable();
        }
        CollectionView::Stream(stream) => {
            let counts = (stream.last_id(), stream.max_deleted_id(), stream.entries_added(), stream.len());
            elements.push(format!("{counts:?}").into_bytes());
            for entry in stream.range(Id::MIN, Id::MAX) {
                elements.push(format!("{}-{}", entry.id.ms, entry.id.seq).into_bytes());
                for_each_pair(entry, |field, value| elements.push([field, b"=", value].concat()));
            }
            for group in stream.groups() {
                let counts = (group.last_id(), group.entries_read());
                elements.push([b"group ", group.name(), format!(" {counts:?}").as_bytes()].concat());
                elements.extend(group.consumers().map(|consumer| consumer.name().to_vec()));
                for pending in group.pending_from(Id::MIN) {
                    let counts = (pending.id, pending.delivered_ms, pending.deliveries);
                    let consumer = group.numbered(pending.consumer).name();
                    elements.push([consumer, format!(" {counts:?}").as_bytes()].concat());
                }
            }
        }
    }
    let mut bytes = Vec::new();
    for element in elements {
        bytes.extend_from_slice(format!("{}:", element.len()).as_bytes());
        bytes.extend_from_slice(&element);
    }
    bytes
}

/// A digest of all databases and libraries that does not depend on the order of keys.
pub(crate) fn digest(engine: &Engine) -> u128 {
    let keyspace = &engine.keyspace;
    let each = (0..keyspace.databases()).map(|db| keyspace.db(db).digest().wrapping_mul(2 * db as u128 + 1));
    let libraries = keyspace.libraries.iter().map(|library| {
        let mut hasher = DefaultHasher::new();
        library.hash(&mut hasher);
        u128::from(hasher.finish()) << 40
    });
    each.chain(libraries).fold(0, u128::wrapping_add)
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
