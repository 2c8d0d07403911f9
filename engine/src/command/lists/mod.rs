//! Lists: commands at the ends (`ends`), on elements in between (`inside`), that read (`read`), that move elements between lists or
//! choose one of several (`several`), and their forms that wait (`blocking`).

mod blocking;
mod ends;
mod inside;
mod read;
mod several;
#[cfg(test)]
mod tests;

use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::key::Key;
use crate::number::parse_integer;

/// Every command on lists.
pub(super) static COMMANDS: &[&Command] = &[
    &ends::LPUSH,
    &ends::RPUSH,
    &ends::LPUSHX,
    &ends::RPUSHX,
    &ends::LPOP,
    &ends::RPOP,
    &read::LRANGE,
    &read::LLEN,
    &read::LINDEX,
    &read::LPOS,
    &inside::LSET,
    &inside::LINSERT,
    &inside::LREM,
    &inside::LTRIM,
    &several::LMOVE,
    &several::RPOPLPUSH,
    &several::LMPOP,
    &blocking::BLPOP,
    &blocking::BRPOP,
    &blocking::BLMOVE,
    &blocking::BRPOPLPUSH,
    &blocking::BLMPOP,
];

/// What most commands on lists have in common.
const LIST: Spec = Spec { arity: Arity::Exactly(4), group: Group::List, ..Spec::BASE };

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Left,
    Right,
}

impl End {
    /// `LEFT` or `RIGHT`.
    fn parse(word: &[u8]) -> Result<End, CommandError> {
        if word.eq_ignore_ascii_case(b"left") {
            Ok(End::Left)
        } else if word.eq_ignore_ascii_case(b"right") {
            Ok(End::Right)
        } else {
            Err(CommandError::Syntax)
        }
    }

    fn word(self) -> &'static [u8] {
        if self == End::Left { b"LEFT" } else { b"RIGHT" }
    }

    /// The command and the event of a push and of a pop here.
    fn push_names(self) -> (&'static [u8], &'static str) {
        if self == End::Left { (b"LPUSH", "lpush") } else { (b"RPUSH", "rpush") }
    }

    fn pop_names(self) -> (&'static [u8], &'static str) {
        if self == End::Left { (b"LPOP", "lpop") } else { (b"RPOP", "rpop") }
    }
}

/// A word as a count that may be 0.
fn positive(word: &[u8], error: &'static str) -> Result<usize, CommandError> {
    let number = parse_integer(word).and_then(|number| usize::try_from(number).ok());
    number.ok_or(CommandError::Text(error.into()))
}

/// An integer that is not the lowest, so that it has a negative.
fn negatable(word: &[u8]) -> Result<i64, CommandError> {
    match parse_integer(word).ok_or(CommandError::NotInteger)? {
        i64::MIN => Err(CommandError::Text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807".into(),
        )),
        number => Ok(number),
    }
}

/// Removes up to `count` elements at an end of a list of `len`, in the order in which they leave; says how many.
fn pop(call: &mut Call<'_>, key: Key<'_>, end: End, len: usize, count: usize, reply: &mut dyn Reply) -> usize {
    let count = count.min(len);
    let range = if end == End::Left { 0..count } else { len - count..len };
    let edited = call.edit_list(key, |list, shaping| {
        list.view().visit(range.clone(), end == End::Right, |element| {
            reply.element(element);
            true
        });
        list.remove(range, shaping);
    });
    taken(call, key, end.pop_names().1, edited.removed);
    count
}

/// Marks and reports elements taken from a list that may be gone now.
fn taken(call: &mut Call<'_>, key: Key<'_>, event: &'static str, removed: bool) {
    call.changed(key);
    call.event(EventClass::List, event, key.bytes);
    if removed {
        call.event(EventClass::Generic, "del", key.bytes);
    }
}

/// Records that `count` elements have left an end.
fn pop_effect(call: &mut Call<'_>, key: Key<'_>, end: End, count: usize) {
    let name = end.pop_names().0;
    match count {
        1 => call.effect(&[name, key.bytes]),
        _ => call.effect(&[name, key.bytes, itoa::Buffer::new().format(count).as_bytes()]),
    }
}
