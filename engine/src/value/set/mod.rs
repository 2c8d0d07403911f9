//! Sets: members, each once.
//!
//! 1. A set of few integers is a sorted array (`integers`), any other small one a listpack, each large one a table. It only ever
//!    grows from one form into the next (`set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`).
//! 2. An empty packed set has no form yet: its first member decides.
//! 3. Members have ranks, in an order that is the form's own matter: ascending, that of addition, or of positions.

mod integers;
#[cfg(test)]
mod tests;

use super::ahead::Ahead;
use super::listpack::{self, Element, IntegerText, Listpack, Needle};
use super::part::{put_bytes, take_bytes};
use super::table::{self, LoadElement, Table};
use super::{BadValue, Packing, Shaping};
use crate::keyspace::size_class;
use crate::number::parse_integer;
use crate::value::Debris;
use integers::Integers;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// A packed set never grows beyond this, whatever the settings say (Redis' bound of a listpack).
const PACKED_LEN_MAX: usize = 1 << 30;
/// An array of integers never has more, whatever the settings say (as in Redis).
const INTEGERS_MAX: usize = 1 << 30;

/// A set that owns its members.
#[derive(Clone, Debug)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Integers(Vec<u8>),
    Packed(Vec<u8>),
    Table(Box<Table>),
}

/// A set to read, wherever it is kept.
#[derive(Clone, Copy, Debug)]
pub struct SetView<'a> {
    form: FormView<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FormView<'a> {
    Integers(Integers<'a>, &'a [u8]),
    Packed(Listpack<'a>),
    Table(&'a Table),
}

impl Default for Set {
    fn default() -> Self {
        Set { form: Form::Packed(Vec::new()) }
    }
}

impl Set {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        if let Form::Table(table) = self.form {
            table.into_debris(debris);
        }
    }

    /// A packed one.
    #[inline]
    pub fn from_packed(packing: Packing, bytes: Vec<u8>) -> Set {
        let form = if packing == Packing::Integers { Form::Integers(bytes) } else { Form::Packed(bytes) };
        Set { form }
    }

    /// Its packed bytes.
    ///
    /// # Errors
    /// The set, which is a table.
    #[inline]
    pub fn into_packed(self) -> Result<(Packing, Vec<u8>), Set> {
        match self.form {
            Form::Integers(bytes) => Ok((Packing::Integers, bytes)),
            Form::Packed(bytes) => Ok((Packing::Set, bytes)),
            form @ Form::Table(_) => Err(Set { form }),
        }
    }

    /// Whether it is packed.
    #[inline]
    pub fn is_packed(&self) -> bool {
        !matches!(self.form, Form::Table(_))
    }

    /// To read it.
    #[inline]
    pub fn view(&self) -> SetView<'_> {
        let form = match &self.form {
            Form::Integers(bytes) => FormView::Integers(Integers::new(bytes), bytes),
            Form::Packed(bytes) => FormView::Packed(Listpack::new(bytes)),
            Form::Table(table) => FormView::Table(table),
        };
        SetView { form }
    }

    /// Bytes on the heap, by size classes.
    pub fn used_bytes(&self) -> usize {
        match &self.form {
            Form::Integers(bytes) | Form::Packed(bytes) if bytes.capacity() == 0 => 0,
            Form::Integers(bytes) | Form::Packed(bytes) => size_class(bytes.capacity()),
            Form::Table(table) => size_class(size_of::<Table>()) + table.used_bytes(),
        }
    }

    /// Takes its form for so many more members at once: what would pass a limit anyway is a table from the beginning, as in Redis.
    pub fn expect(&mut self, first: &[u8], more: usize, shaping: &Shaping) {
        let max = match &self.form {
            Form::Table(_) => return,
            Form::Packed(bytes) if bytes.is_empty() && parse_integer(first).is_some() => {
                shaping.set_max_intset_entries.max(shaping.set_max_listpack_entries)
            }
            Form::Integers(_) => shaping.set_max_intset_entries,
            Form::Packed(_) => shaping.set_max_listpack_entries,
        };
        if more > max {
            self.make_table(shaping);
        }
    }

    /// Adds a member. Says whether it is new.
    #[inline]
    pub fn add(&mut self, member: &[u8], shaping: &Shaping) -> bool {
        match &mut self.form {
            Form::Table(table) => table.insert_new(table.key(member), &[]),
            Form::Packed(run) if !run.is_empty() => {
                let list = Listpack::new(run);
                if list.find(list.start(), &Needle::new(member), 1).is_some() {
                    return false;
                }
                if list.len() >= shaping.set_max_listpack_entries || !fits(member.len(), run.len(), shaping) {
                    return self.add_to_table(member, shaping);
                }
                listpack::push_back(run, member);
                true
            }
            _ => self.add_to_integers(member, shaping),
        }
    }

    /// [`Set::add`] to a set that is empty or an array of integers.
    fn add_to_integers(&mut self, member: &[u8], shaping: &Shaping) -> bool {
        let empty = self.view().is_empty();
        let limit = shaping.set_max_intset_entries.min(INTEGERS_MAX);
        match (parse_integer(member), &mut self.form) {
            (Some(value), form) if empty && limit > 0 => {
                let mut bytes = Vec::new();
                integers::insert(&mut bytes, value);
                *form = Form::Integers(bytes);
                true
            }
            (Some(value), Form::Integers(bytes)) => {
                let array = Integers::new(bytes);
                if array.find(value).is_ok() {
                    return false;
                }
                if array.len() >= limit {
                    return self.add_to_table(member, shaping);
                }
                integers::insert(bytes, value)
            }
            (_, form) => {
                let array = match form {
                    Form::Integers(bytes) => Integers::new(bytes),
                    _ => Integers::new(&[]),
                };
                let text_len = |place: usize| Element::Integer(array.get(place)).len();
                let longest = array.len().checked_sub(1).map_or(0, |last| text_len(0).max(text_len(last)));
                let few = array.len() < shaping.set_max_listpack_entries;
                if !few || !fits(member.len(), array.len() * 12, shaping) || longest > shaping.set_max_listpack_value {
                    return self.add_to_table(member, shaping);
                }
                let mut run = Vec::new();
                array.iter().for_each(|value| listpack::push_back(&mut run, value));
                listpack::push_back(&mut run, member);
                *form = Form::Packed(run);
                true
            }
        }
    }

    /// Makes a table of it and adds a member.
    #[cold]
    fn add_to_table(&mut self, member: &[u8], shaping: &Shaping) -> bool {
        let table = self.make_table(shaping);
        table.insert_new(table.key(member), &[])
    }

    fn make_table(&mut self, shaping: &Shaping) -> &mut Table {
        if !matches!(self.form, Form::Table(_)) {
            let mut table = Table::new(shaping.seed);
            let mut text = IntegerText::new();
            for member in self.view().iter() {
                let key = table.key(member.as_bytes(&mut text));
                table.insert_new(key, &[]);
            }
            self.form = Form::Table(Box::new(table));
        }
        match &mut self.form {
            Form::Table(table) => table,
            _ => unreachable!("it was made one"),
        }
    }

    /// Removes a member. Says whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Table(table) => table.remove(table.key(member)),
            Form::Packed(run) => {
                let list = Listpack::new(run);
                let Some(at) = list.find(list.start(), &Needle::new(member), 1) else { return false };
                listpack::remove(run, at, 1);
                true
            }
            Form::Integers(bytes) => {
                let found = parse_integer(member).and_then(|value| Integers::new(bytes).find(value).ok());
                found.inspect(|place| integers::remove(bytes, *place)).is_some()
            }
        }
    }

    /// Removes the member with a rank, which must be below the number of members, and gives it to `look` before.
    pub fn take_at<R>(&mut self, rank: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        if let Form::Table(table) = &mut self.form {
            return table.take_at(rank, |element| look(element.member));
        }
        let result = look(self.view().at(rank).as_bytes(&mut IntegerText::new()));
        match &mut self.form {
            Form::Integers(bytes) => integers::remove(bytes, rank),
            Form::Packed(run) => {
                listpack::remove_range(run, rank, 1);
            }
            Form::Table(_) => {}
        }
        result
    }

    /// Gives a set that was made by removing from a larger one the form that adding its members would have given it.
    pub fn compact(&mut self, shaping: &Shaping) {
        let max = shaping.set_max_intset_entries.max(shaping.set_max_listpack_entries);
        if matches!(self.form, Form::Table(_)) && self.view().len() <= max {
            let mut small = Set::default();
            let mut text = IntegerText::new();
            for member in self.view().iter() {
                small.add(member.as_bytes(&mut text), shaping);
            }
            *self = small;
        }
    }

    /// Adds the members of one part of its form in snapshots.
    ///
    /// # Errors
    /// [`BadValue`]; the set is of no use then.
    pub fn decode_part(&mut self, mut part: &[u8], shaping: &Shaping) -> Result<(), BadValue> {
        let mut members = Vec::new();
        while !part.is_empty() {
            members.push(take_bytes(&mut part)?);
        }
        let max = shaping.set_max_intset_entries.max(shaping.set_max_listpack_entries);
        let all_new = if !self.is_packed() || self.view().len() + members.len() > max {
            let table = self.make_table(shaping);
            let element = |member| LoadElement { key: shaping.seed.key(member), payload: &[] };
            let mut batch: Vec<_> = members.into_iter().map(element).collect();
            table.load(&mut batch)
        } else {
            members.into_iter().all(|member| self.add(member, shaping))
        };
        if all_new { Ok(()) } else { Err(BadValue::Twice) }
    }
}

/// Whether a listpack of `run_len` bytes may take a member of so many.
fn fits(member_len: usize, run_len: usize, shaping: &Shaping) -> bool {
    member_len <= shaping.set_max_listpack_value && member_len + run_len < PACKED_LEN_MAX
}

impl<'a> SetView<'a> {
    /// See [`crate::value::ahead`].
    #[inline]
    pub fn ahead(self, member: &[u8]) -> Option<Ahead<'a>> {
        let FormView::Table(table) = self.form else { return None };
        Some(Ahead::new(table.ahead(member), None))
    }

    /// A packed one.
    #[inline]
    pub fn packed(packing: Packing, bytes: &'a [u8]) -> Self {
        let form = match packing {
            Packing::Integers => FormView::Integers(Integers::new(bytes), bytes),
            _ => FormView::Packed(Listpack::new(bytes)),
        };
        SetView { form }
    }

    /// Members.
    #[inline]
    pub fn len(self) -> usize {
        match self.form {
            FormView::Integers(array, _) => array.len(),
            FormView::Packed(list) => list.len(),
            FormView::Table(table) => table.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's name.
    pub fn encoding(self) -> &'static str {
        match self.form {
            FormView::Integers(..) => "intset",
            FormView::Packed(_) => "listpack",
            FormView::Table(_) => "hashtable",
        }
    }

    /// Whether it is a table: a clone shares all with it.
    pub fn is_table(self) -> bool {
        matches!(self.form, FormView::Table(_))
    }

    /// Whether a member is there.
    #[inline]
    pub fn contains(self, member: &[u8]) -> bool {
        match self.form {
            FormView::Integers(array, _) => parse_integer(member).is_some_and(|value| array.find(value).is_ok()),
            FormView::Packed(list) => list.find(list.start(), &Needle::new(member), 1).is_some(),
            FormView::Table(table) => table.contains(table.key(member)),
        }
    }

    /// The member with a rank, which must be below the number of members.
    pub fn at(self, rank: usize) -> Element<'a> {
        match self.form {
            FormView::Integers(array, _) => Element::Integer(array.get(rank)),
            FormView::Packed(list) => list.get(rank).unwrap_or(Element::Bytes(&[])),
            FormView::Table(table) => Element::Bytes(table.at(rank).member),
        }
    }

    /// All members, in order of rank. (A table's are given as bytes, whatever their text is: [`Element::as_bytes`] is what to look at.)
    pub fn iter(self) -> Members<'a> {
        self.iter_from(0)
    }

    /// The members from a rank on.
    fn iter_from(self, rank: usize) -> Members<'a> {
        match self.form {
            FormView::Integers(array, _) => Members::Integers(IntegersFrom { array, place: rank }),
            FormView::Packed(list) => Members::Packed(list.iter_from(list.offset(rank).unwrap_or(list.end()))),
            FormView::Table(table) => Members::Table(table.iter_from(rank)),
        }
    }

    /// Gives `found` about `count` members from `cursor` on (0: the beginning), and says where to go on (0: that was all). A small set is
    /// given at once, whatever the cursor.
    pub fn scan(self, cursor: u64, count: usize, mut found: impl FnMut(&[u8])) -> u64 {
        if let FormView::Table(table) = self.form {
            return table.scan(cursor, count, |element| found(element.member));
        }
        let mut text = IntegerText::new();
        self.iter().for_each(|member| found(member.as_bytes(&mut text)));
        0
    }

    /// Appends its form in snapshots: length and bytes of each member, from the one with rank `from` on, about `budget` bytes. Says
    /// with which to go on.
    pub fn encode(self, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
        let end = out.len().saturating_add(budget);
        let mut text = IntegerText::new();
        for (rank, member) in (from..).zip(self.iter_from(from as usize)) {
            if rank > from && out.len() >= end {
                return Some(rank);
            }
            let bytes = member.as_bytes(&mut text);
            put_bytes(out, bytes);
        }
        None
    }

    /// The sum of its members' hashes.
    pub fn digest(self) -> u128 {
        let mut text = IntegerText::new();
        self.iter().fold(0, |sum: u128, member| {
            let mut hasher = SipHasher13::new();
            hasher.write(member.as_bytes(&mut text));
            sum.wrapping_add(hasher.finish128().as_u128())
        })
    }

    /// A set of its own with the same members; constant time for a table.
    pub fn to_owned(self) -> Set {
        let form = match self.form {
            FormView::Integers(_, bytes) => Form::Integers(bytes.to_vec()),
            FormView::Packed(list) => Form::Packed(list.bytes().to_vec()),
            FormView::Table(table) => Form::Table(Box::new(table.clone())),
        };
        Set { form }
    }
}

/// The members of a set.
pub enum Members<'a> {
    #[doc(hidden)]
    Integers(IntegersFrom<'a>),
    #[doc(hidden)]
    Packed(listpack::Iter<'a>),
    #[doc(hidden)]
    Table(table::Iter<'a>),
}

/// Integers from a place on.
#[doc(hidden)]
pub struct IntegersFrom<'a> {
    array: Integers<'a>,
    place: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            Members::Integers(IntegersFrom { array, place }) => {
                *place += 1;
                (*place <= array.len()).then(|| Element::Integer(array.get(*place - 1)))
            }
            Members::Packed(members) => members.next(),
            Members::Table(elements) => elements.next().map(|element| Element::Bytes(element.member)),
        }
    }
}
