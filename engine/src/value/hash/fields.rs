//! The large form of a hash: a table of fields, and the bounds of their deadlines if any has one.
//!
//! A field's payload in the table is a byte that says whether a deadline follows, the deadline (u64 LE, Unix ms), and the value.

use super::deadlines::Deadlines;
use super::{Field, Held, is_dead};
use crate::key::{HashSeed, Key};
use crate::keyspace::size_class;
use crate::value::Debris;
use crate::value::listpack::Element;
use crate::value::part;
use crate::value::table::{self, ChunkAhead, LoadElement, Table};
use std::sync::Arc;

const IMMORTAL: &[u8] = &[0];
const MORTAL: &[u8] = &[1];

/// Elements of a table that are looked at in one go while dead ones are searched.
const LOOK: usize = 64;
/// When the names of dead fields that are removed at once are so long together, no more are, in bytes: they go into one record.
const DEAD_NAMES_LEN: usize = 1 << 20;

/// Fields in order of position. `clone` takes constant time.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    table: Table,
    /// None: no field has a deadline.
    deadlines: Option<Arc<Deadlines>>,
}

/// What a payload says.
#[inline]
fn parse(payload: &[u8]) -> Held<'_> {
    let (value, deadline) = match payload.split_first() {
        Some((0, value)) => (value, None),
        Some((_, rest)) => match rest.split_first_chunk() {
            Some((deadline, value)) => (value, Some(u64::from_le_bytes(*deadline))),
            None => unreachable!("a deadline takes eight bytes"),
        },
        None => unreachable!("a payload has a first byte"),
    };
    Held { value: Element::Bytes(value), deadline }
}

fn field(element: table::Element<'_>) -> Field<'_> {
    let Held { value, deadline } = parse(element.payload);
    Field { name: Element::Bytes(element.member), value, deadline }
}

impl Fields {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub(super) fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        self.table.into_debris(debris);
    }

    pub(super) fn new(seed: HashSeed) -> Fields {
        Fields { table: Table::new(seed), deadlines: None }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn ahead(&self, name: &[u8]) -> ChunkAhead<'_> {
        self.table.ahead(name)
    }

    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<Held<'_>> {
        self.table.get(self.table.key(name)).map(parse)
    }

    /// Sets a field; says which deadline the one it replaces had.
    #[inline]
    pub(super) fn put(&mut self, name: &[u8], value: &[u8], deadline: Option<u64>) -> Option<Option<u64>> {
        let key = self.table.key(name);
        let old = match &self.deadlines {
            Some(_) => self.table.get(key).and_then(|payload| parse(payload).deadline),
            None => None,
        };
        let new = match deadline {
            Some(at) => self.table.insert(key, &[MORTAL, &at.to_le_bytes(), value]),
            None => self.table.insert(key, &[IMMORTAL, value]),
        };
        self.changed(key, old, deadline);
        (!new).then_some(old)
    }

    /// Adds fields of a snapshot; false if one of them was there, or comes twice.
    pub(super) fn load(&mut self, fields: &[part::Field<'_>]) -> bool {
        let deadlines: Vec<[u8; 8]> = fields.iter().map(|field| field.deadline.unwrap_or(0).to_le_bytes()).collect();
        let payloads: Vec<[&[u8]; 3]> = fields
            .iter()
            .zip(&deadlines)
            .map(|(field, deadline)| match field.deadline {
                Some(_) => [MORTAL, deadline, field.value],
                None => [IMMORTAL, &[], field.value],
            })
            .collect();
        let keys = fields.iter().map(|field| self.table.key(field.name));
        let mut batch: Vec<_> = keys.zip(&payloads).map(|(key, payload)| LoadElement { key, payload }).collect();
        if !self.table.load(&mut batch) {
            return false;
        }
        for field in fields {
            if let Some(deadline) = field.deadline {
                let position = self.table.key(field.name).position;
                self.note(position, None, Some(deadline));
            }
        }
        true
    }

    /// Removes a field; says which deadline it had.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Option<u64>> {
        let key = self.table.key(name);
        let old = self.table.take(key, |payload| parse(payload).deadline)?;
        self.changed(key, old, None);
        Some(old)
    }

    /// A field was set or removed.
    #[inline]
    fn changed(&mut self, key: Key<'_>, old: Option<u64>, new: Option<u64>) {
        if self.deadlines.is_some() || new.is_some() {
            self.note(key.position, old, new);
        }
    }

    fn note(&mut self, position: u64, old: Option<u64>, new: Option<u64>) {
        let fields = self.table.len();
        let shared = self.deadlines.get_or_insert_with(|| Arc::new(Deadlines::new(fields)));
        if old.is_some() || new.is_some() || !shared.suits(fields) {
            let deadlines = Arc::make_mut(shared);
            deadlines.change(position, old, new);
            deadlines.follow(fields);
            if deadlines.mortal() == 0 {
                self.deadlines = None;
            }
        }
    }

    /// No field dies before this; `None` if no field has a deadline.
    #[inline]
    pub(super) fn earliest(&self) -> Option<u64> {
        self.deadlines.as_ref().map(|deadlines| deadlines.earliest())
    }

    /// Fields from number `rank` on.
    pub(super) fn iter_from(&self, rank: usize) -> impl Iterator<Item = Field<'_>> {
        self.table.iter_from(rank).map(field)
    }

    /// Field number `rank`.
    pub(super) fn nth(&self, rank: usize) -> Option<Field<'_>> {
        (rank < self.table.len()).then(|| field(self.table.at(rank)))
    }

    /// About `count` fields from a position on, in order of position; says where to go on, 0 at the end.
    pub(super) fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Field<'_>)) -> u64 {
        self.table.scan(cursor, count, |element| visit(field(element)))
    }

    /// Removes up to `limit` dead fields, fewer if their names are huge, and hands the names to `visit`; says whether there may be more. A
    /// region that was looked at through and through gets a new bound; so a call takes time for the dead, not for the hash.
    pub(super) fn take_dead(&mut self, now_ms: u64, limit: usize, visit: &mut dyn FnMut(&[u8])) -> bool {
        let (mut taken, mut names_len) = (0, 0);
        while let Some(region) = self.deadlines.as_ref().and_then(|deadlines| deadlines.due(now_ms)) {
            if taken >= limit || names_len >= DEAD_NAMES_LEN {
                return true;
            }
            let (first, last) = region.into_inner();
            let (mut dead, mut earliest, mut whole) = (Vec::new(), u64::MAX, true);
            let mut cursor = first;
            while whole && cursor <= last {
                cursor = self.scan(cursor, LOOK, &mut |field| match field.deadline {
                    None => {}
                    deadline if is_dead(deadline, now_ms) => {
                        whole &= taken + dead.len() < limit && names_len < DEAD_NAMES_LEN;
                        if whole {
                            names_len += field.name.len();
                            dead.push(field.name.to_vec());
                        }
                    }
                    // The next region's would make the bound too early: no harm.
                    Some(at) => earliest = earliest.min(at),
                });
                if cursor == 0 {
                    break;
                }
            }
            if let (true, Some(deadlines)) = (whole, &mut self.deadlines) {
                Arc::make_mut(deadlines).restate(first, earliest);
            }
            taken += dead.len();
            for name in dead {
                self.remove(&name);
                visit(&name);
            }
        }
        false
    }

    /// Bytes it takes besides itself.
    pub(super) fn used_bytes(&self) -> usize {
        let deadlines = self
            .deadlines
            .as_ref()
            .map_or(0, |deadlines| size_class(size_of::<Deadlines>() + 16) + deadlines.used_bytes());
        self.table.used_bytes() + deadlines
    }
}
