//! Hashes: fields with values, each with a deadline of its own if it has one.
//!
//! 1. A small hash is a listpack of field, value, field, value, ... within `hash-max-listpack-entries` and `-value`; none of its fields has
//!    a deadline. Every other is a table, and stays one.
//! 2. A field that is dead at `now_ms` is there until somebody removes it: [`HashView::len`] counts it, as Valkey does, and each look-up
//!    that takes `now_ms` hides it. With 0 for `now_ms`, as in a replay, nothing is dead.
//! 3. No deadline is 0.

mod deadlines;
mod fields;
#[cfg(test)]
mod tests;

use super::ahead::Ahead;
use super::listpack::{self, Element, Listpack, Needle};
use super::part::{self, put_field, take_field};
use super::{BadValue, Shaping};
use crate::key::HashSeed;
use crate::keyspace::size_class;
use crate::value::Debris;
use fields::Fields;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// A packed hash never grows beyond this, whatever the settings say (Redis' bound of a listpack).
const PACKED_LEN_MAX: usize = 1 << 30;

/// A hash that owns its fields.
#[derive(Clone, Debug)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Vec<u8>),
    Table(Box<Fields>),
}

impl Default for Hash {
    fn default() -> Self {
        Hash { form: Form::Packed(Vec::new()) }
    }
}

/// A hash to read, wherever it is kept.
#[derive(Clone, Copy, Debug)]
pub struct HashView<'a> {
    form: FormView<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FormView<'a> {
    Packed(Listpack<'a>),
    Table(&'a Fields),
}

/// A field with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: Element<'a>,
    /// Its value.
    pub value: Element<'a>,
    /// Unix ms at which it is gone.
    pub deadline: Option<u64>,
}

impl Field<'_> {
    /// Whether its deadline has passed.
    #[inline]
    pub fn is_dead(&self, now_ms: u64) -> bool {
        is_dead(self.deadline, now_ms)
    }
}

#[inline]
fn is_dead(deadline: Option<u64>, now_ms: u64) -> bool {
    deadline.is_some_and(|at| at <= now_ms)
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held<'a> {
    /// Its value.
    pub value: Element<'a>,
    /// Unix ms at which it is gone.
    pub deadline: Option<u64>,
}

/// What to do with the deadline of a field that is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// None from now on.
    Unlimited,
    /// As it was, unless it has passed.
    Kept,
    /// Unix ms.
    Until(u64),
}

/// What [`Hash::set`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// No such field: it is new.
    Nothing,
    /// A dead field, whose place the new one has taken.
    Dead,
    /// A live one, whose value was replaced.
    Live,
}

impl Hash {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        if let Form::Table(fields) = self.form {
            fields.into_debris(debris);
        }
    }

    /// A packed one.
    #[inline]
    pub fn from_packed(bytes: Vec<u8>) -> Hash {
        Hash { form: Form::Packed(bytes) }
    }

    /// Its packed bytes.
    ///
    /// # Errors
    /// The hash, which is a table.
    #[inline]
    pub fn into_packed(self) -> Result<Vec<u8>, Hash> {
        match self.form {
            Form::Packed(bytes) => Ok(bytes),
            form @ Form::Table(_) => Err(Hash { form }),
        }
    }

    /// Whether it is packed.
    #[inline]
    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Packed(_))
    }

    /// To read it.
    #[inline]
    pub fn view(&self) -> HashView<'_> {
        match &self.form {
            Form::Packed(bytes) => HashView::packed(bytes),
            Form::Table(fields) => HashView { form: FormView::Table(fields) },
        }
    }

    /// Bytes it takes besides itself.
    pub fn used_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(bytes) => size_class(bytes.capacity()),
            Form::Table(fields) => size_class(size_of::<Fields>()) + fields.used_bytes(),
        }
    }

    /// Makes a table of it.
    #[cold]
    fn unpack(&mut self, seed: &HashSeed) -> &mut Fields {
        if let Form::Packed(bytes) = &self.form {
            let mut fields = Box::new(Fields::new(*seed));
            let (mut name_text, mut value_text) = (listpack::IntegerText::new(), listpack::IntegerText::new());
            for (name, value) in Listpack::new(bytes).pairs() {
                let name = name.as_bytes(&mut name_text);
                fields.put(name, value.as_bytes(&mut value_text), None);
            }
            self.form = Form::Table(fields);
        }
        match &mut self.form {
            Form::Table(fields) => fields,
            Form::Packed(_) => unreachable!("it was made a table above"),
        }
    }

    /// Makes a table of it ahead if `pairs`, names and values by turns, are more than a packed hash may hold.
    #[inline]
    pub fn prepare(&mut self, pairs: &[&[u8]], shaping: &Shaping) {
        let Form::Packed(bytes) = &self.form else { return };
        let mut len = bytes.len();
        let fits = pairs.len() / 2 <= shaping.hash_max_listpack_entries
            && pairs.iter().all(|word| {
                len += word.len();
                word.len() <= shaping.hash_max_listpack_value && len <= PACKED_LEN_MAX
            });
        if !fits {
            self.unpack(&shaping.seed);
        }
    }

    /// Sets a field.
    #[inline]
    pub fn set(&mut self, name: &[u8], value: &[u8], lifetime: Lifetime, now_ms: u64, shaping: &Shaping) -> Found {
        if let Form::Packed(bytes) = &mut self.form {
            let len_max = shaping.hash_max_listpack_value;
            let fits = name.len() <= len_max && value.len() <= len_max && bytes.len() <= PACKED_LEN_MAX;
            if fits && !matches!(lifetime, Lifetime::Until(_)) {
                return self.set_packed(name, value, shaping);
            }
        }
        self.set_in_table(name, value, lifetime, now_ms, shaping)
    }

    #[inline]
    fn set_packed(&mut self, name: &[u8], value: &[u8], shaping: &Shaping) -> Found {
        let Form::Packed(bytes) = &mut self.form else { unreachable!("the caller has looked") };
        let name = Element::from(name);
        if let Some(at) = find(Listpack::new(bytes), name) {
            let at = Listpack::new(bytes).next(at);
            listpack::replace(bytes, at, value);
            return Found::Live;
        }
        listpack::push_back(bytes, name);
        listpack::push_back(bytes, value);
        if Listpack::new(bytes).len() / 2 > shaping.hash_max_listpack_entries {
            self.unpack(&shaping.seed);
        }
        Found::Nothing
    }

    fn set_in_table(&mut self, name: &[u8], value: &[u8], lifetime: Lifetime, now_ms: u64, shaping: &Shaping) -> Found {
        let fields = self.unpack(&shaping.seed);
        let deadline = match lifetime {
            Lifetime::Unlimited => None,
            Lifetime::Until(at) => Some(at.max(1)),
            Lifetime::Kept => {
                let old = fields.get(name).and_then(|held| held.deadline);
                old.filter(|_| !is_dead(old, now_ms))
            }
        };
        match fields.put(name, value, deadline) {
            None => Found::Nothing,
            Some(old) if is_dead(old, now_ms) => Found::Dead,
            Some(_) => Found::Live,
        }
    }

    /// Removes a field that is not dead; says whether there was one.
    pub fn remove(&mut self, name: &[u8], now_ms: u64) -> bool {
        match &mut self.form {
            Form::Packed(bytes) => match find(Listpack::new(bytes), Element::from(name)) {
                Some(at) => listpack::remove(bytes, at, 2) == 2,
                None => false,
            },
            Form::Table(fields) => {
                if fields.earliest().is_some_and(|earliest| earliest <= now_ms)
                    && fields.get(name).is_some_and(|held| is_dead(held.deadline, now_ms))
                {
                    return false;
                }
                fields.remove(name).is_some()
            }
        }
    }

    /// Sets or clears the deadline of a field that is not dead; says whether there was one.
    pub fn set_deadline(&mut self, name: &[u8], deadline: Option<u64>, now_ms: u64, seed: &HashSeed) -> bool {
        let view = self.view();
        let Some(held) = view.live(name, now_ms) else { return false };
        if held.deadline == deadline {
            return true;
        }
        let value = held.value.to_vec();
        self.unpack(seed).put(name, &value, deadline.map(|at| at.max(1)));
        true
    }

    /// Removes up to `limit` fields that are dead, fewer if their names are huge, and hands the names to `visit`; says whether there may be
    /// more. It takes time for the dead fields and their neighbours, not for the hash.
    pub fn take_dead(&mut self, now_ms: u64, limit: usize, visit: &mut dyn FnMut(&[u8])) -> bool {
        match &mut self.form {
            Form::Packed(_) => false,
            Form::Table(fields) => fields.take_dead(now_ms, limit, visit),
        }
    }

    /// Adds the fields of one part of its form in snapshots; parts come in order.
    ///
    /// # Errors
    /// [`BadValue`]; the hash is of no use then.
    pub fn decode_part(&mut self, part: &[u8], shaping: &Shaping) -> Result<(), BadValue> {
        let mut rest = part;
        while let Form::Packed(bytes) = &mut self.form {
            if rest.is_empty() {
                return check_distinct(Listpack::new(bytes), &shaping.seed);
            }
            let mut behind = rest;
            let field = take_field(&mut behind)?;
            let longest = field.name.len().max(field.value.len());
            let full = Listpack::new(bytes).len() / 2 >= shaping.hash_max_listpack_entries;
            let fits = longest <= shaping.hash_max_listpack_value && !full && bytes.len() <= PACKED_LEN_MAX;
            if fits && field.deadline.is_none() {
                listpack::push_back(bytes, field.name);
                listpack::push_back(bytes, field.value);
                rest = behind;
                continue;
            }
            check_distinct(Listpack::new(bytes), &shaping.seed)?;
            self.unpack(&shaping.seed);
        }
        let mut loaded = Vec::new();
        while !rest.is_empty() {
            loaded.push(take_field(&mut rest)?);
        }
        if self.unpack(&shaping.seed).load(&loaded) { Ok(()) } else { Err(BadValue::Twice) }
    }
}

/// Where the field called `name` is in a packed hash.
#[inline]
fn find(run: Listpack<'_>, name: Element<'_>) -> Option<usize> {
    run.find(run.start(), &Needle::new(name), 2)
}

/// Fails if a field is there twice; sorts positions where comparing each with each would take too long.
fn check_distinct(run: Listpack<'_>, seed: &HashSeed) -> Result<(), BadValue> {
    const FEW: usize = 16;
    let names = || run.pairs().map(|(name, _)| name);
    let twice = if run.len() / 2 <= FEW {
        names().enumerate().any(|(index, name)| names().take(index).any(|other| other == name))
    } else {
        let mut text = listpack::IntegerText::new();
        let mut positions: Vec<u64> = names().map(|name| seed.position(name.as_bytes(&mut text))).collect();
        positions.sort_unstable();
        // Equal positions are suspicious, not yet equal names.
        let suspicious = positions.windows(2).any(|pair| pair[0] == pair[1]);
        suspicious && names().enumerate().any(|(index, name)| names().take(index).any(|other| other == name))
    };
    if twice { Err(BadValue::Twice) } else { Ok(()) }
}

impl<'a> HashView<'a> {
    /// See [`crate::value::ahead`].
    #[inline]
    pub fn ahead(self, field: &[u8]) -> Option<Ahead<'a>> {
        let FormView::Table(fields) = self.form else { return None };
        Some(Ahead::new(fields.ahead(field), None))
    }

    /// A packed one.
    #[inline]
    pub fn packed(bytes: &'a [u8]) -> Self {
        HashView { form: FormView::Packed(Listpack::new(bytes)) }
    }

    /// Fields, dead ones included.
    #[inline]
    pub fn len(self) -> usize {
        match self.form {
            FormView::Packed(run) => run.len() / 2,
            FormView::Table(fields) => fields.len(),
        }
    }

    /// Whether there is no field, not even a dead one.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's name of its form.
    pub fn encoding(self) -> &'static str {
        match self.form {
            FormView::Packed(_) => "listpack",
            FormView::Table(_) => "hashtable",
        }
    }

    /// No field dies before this; `None` if no field has a deadline.
    #[inline]
    pub fn earliest(self) -> Option<u64> {
        match self.form {
            FormView::Packed(_) => None,
            FormView::Table(fields) => fields.earliest(),
        }
    }

    /// Whether a field may be dead: if not, nobody needs to look.
    #[inline]
    pub fn may_hold_dead(self, now_ms: u64) -> bool {
        is_dead(self.earliest(), now_ms)
    }

    /// Fields that are not dead.
    pub fn live_len(self, now_ms: u64) -> usize {
        if self.may_hold_dead(now_ms) { self.live_fields(now_ms).count() } else { self.len() }
    }

    /// The field called `name`, unless it is dead.
    #[inline]
    pub fn live(self, name: &[u8], now_ms: u64) -> Option<Held<'a>> {
        match self.form {
            FormView::Packed(run) => {
                let at = find(run, Element::from(name))?;
                Some(Held { value: run.element(run.next(at)), deadline: None })
            }
            FormView::Table(fields) => {
                let held = fields.get(name)?;
                (!is_dead(held.deadline, now_ms)).then_some(held)
            }
        }
    }

    /// All fields, dead ones included: a packed hash's in the order in which they were added, a table's in nearly that of positions.
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        self.fields_from(0)
    }

    fn fields_from(self, number: usize) -> impl Iterator<Item = Field<'a>> {
        let (packed, table) = match self.form {
            FormView::Packed(run) => (Some(pairs(run).skip(number)), None),
            FormView::Table(fields) => (None, Some(fields.iter_from(number))),
        };
        packed.into_iter().flatten().chain(table.into_iter().flatten())
    }

    /// All fields that are not dead.
    pub fn live_fields(self, now_ms: u64) -> impl Iterator<Item = Field<'a>> {
        self.fields().filter(move |field| !field.is_dead(now_ms))
    }

    /// Visits live fields from position `cursor` on, in order of position, about `count` fields, dead ones counted, and never half of
    /// those that share a position; says where to go on, 0 at the end. All of a packed hash is one step.
    pub fn scan(self, cursor: u64, count: usize, now_ms: u64, visit: &mut dyn FnMut(Field<'_>)) -> u64 {
        match self.form {
            FormView::Packed(_) => {
                self.fields().for_each(visit);
                0
            }
            FormView::Table(fields) => fields.scan(cursor, count.max(1), &mut |field| {
                if !field.is_dead(now_ms) {
                    visit(field);
                }
            }),
        }
    }

    /// For fields by number.
    pub fn picker(self) -> Picker<'a> {
        let mut offsets = Vec::new();
        if let FormView::Packed(run) = self.form {
            let mut at = run.start();
            offsets.extend((0..run.len() / 2).map(|_| {
                let field = at;
                at = run.next(run.next(at));
                field
            }));
        }
        Picker { form: self.form, offsets }
    }

    /// Appends its form in snapshots (`FORMAT.md`, "Collections"), from field number `from` on, about `budget` bytes of it; says where
    /// to go on, `None` at the end.
    pub fn encode(self, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
        let end = out.len().saturating_add(budget);
        for (number, field) in (from..).zip(self.fields_from(from as usize)) {
            if number > from && out.len() >= end {
                return Some(number);
            }
            encode_field(&field, out);
        }
        None
    }

    /// A hash of its fields, values and deadlines that depends on nothing else.
    pub fn digest(self) -> u128 {
        let (mut name_text, mut value_text) = (listpack::IntegerText::new(), listpack::IntegerText::new());
        self.fields().fold(0, |sum, field| {
            let mut hasher = SipHasher13::new();
            let name = field.name.as_bytes(&mut name_text);
            hasher.write(&(name.len() as u64).to_le_bytes());
            hasher.write(name);
            hasher.write(&field.deadline.unwrap_or(0).to_le_bytes());
            hasher.write(field.value.as_bytes(&mut value_text));
            sum.wrapping_add(hasher.finish128().as_u128())
        })
    }

    /// A hash that owns the same fields; constant time for a table.
    pub fn to_owned(self) -> Hash {
        match self.form {
            FormView::Packed(run) => Hash::from_packed(run.bytes().to_vec()),
            FormView::Table(fields) => Hash { form: Form::Table(Box::new(fields.clone())) },
        }
    }
}

fn pairs(run: Listpack<'_>) -> impl Iterator<Item = Field<'_>> {
    run.pairs().map(|(name, value)| Field { name, value, deadline: None })
}

/// Appends a field in the form of parts.
pub(crate) fn encode_field(field: &Field<'_>, out: &mut Vec<u8>) {
    let (mut name_text, mut value_text) = (listpack::IntegerText::new(), listpack::IntegerText::new());
    let (name, value) = (field.name.as_bytes(&mut name_text), field.value.as_bytes(&mut value_text));
    put_field(out, part::Field { name, value, deadline: field.deadline });
}

/// Fields by number, in the order of [`HashView::fields`]; each takes constant or logarithmic time.
#[derive(Debug)]
pub struct Picker<'a> {
    form: FormView<'a>,
    /// Where a packed hash's fields are.
    offsets: Vec<usize>,
}

impl<'a> Picker<'a> {
    /// Field number `index`; `None` for one behind the last.
    pub fn nth(&self, index: usize) -> Option<Field<'a>> {
        match self.form {
            FormView::Packed(run) => {
                let at = *self.offsets.get(index)?;
                Some(Field { name: run.element(at), value: run.element(run.next(at)), deadline: None })
            }
            FormView::Table(fields) => fields.nth(index),
        }
    }
}
