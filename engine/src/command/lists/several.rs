//! LMOVE, RPOPLPUSH, LMPOP; what their waiting forms have in common with them.

use super::{
    Args, Arity, Call, Command, CommandError, End, Flags, Keys, LIST, Reply, Spec, pop, pop_effect, positive, taken,
};
use crate::command::counted_keys;
use crate::engine::EventClass;
use std::ops::Range;

/// Keys of the commands that move an element.
pub(super) const MOVE: Spec = Spec {
    arity: Arity::Exactly(5),
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: Keys::Range { first: 1, last: 2, step: 1, access: "RW ACCESS DELETE | RW INSERT" },
    since: "6.2.0",
    ..LIST
};

/// `LMOVE`.
pub(super) static LMOVE: Command = Command {
    spec: Spec {
        name: "LMOVE",
        summary: "Takes an element from an end of a list and adds it at an end of another, or the same.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        ..MOVE
    },
    run: |call, args, reply| {
        let ends = (End::parse(args.get(3))?, End::parse(args.get(4))?);
        if !move_element(call, args, ends, Record::Lmove, reply)? {
            reply.null();
        }
        Ok(())
    },
};

/// `RPOPLPUSH`.
pub(super) static RPOPLPUSH: Command = Command {
    spec: Spec {
        name: "RPOPLPUSH",
        arity: Arity::Exactly(3),
        since: "1.2.0",
        summary: "Takes the last element of a list and adds it at the front of another; LMOVE's older form.",
        syntax: "source destination",
        ..MOVE
    },
    run: |call, args, reply| {
        if !move_element(call, args, (End::Right, End::Left), Record::Rpoplpush, reply)? {
            reply.null();
        }
        Ok(())
    },
};

/// Which command tells of a moved element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record {
    Lmove,
    Rpoplpush,
}

/// Moves an element from list `args[1]` to list `args[2]` and replies with it; false if there is none, and then nothing was replied.
pub(super) fn move_element(
    call: &mut Call<'_>,
    args: &Args<'_>,
    (from, to): (End, End),
    record: Record,
    reply: &mut dyn Reply,
) -> Result<bool, CommandError> {
    let (source, destination) = (call.key(args, 1), call.key(args, 2));
    let Some(len) = call.write_list(source)?.map(|list| list.len()) else { return Ok(false) };
    let index = if from == End::Left { 0 } else { len - 1 };
    let (push_event, pop_event) = (to.push_names().1, from.pop_names().1);
    if source.bytes == destination.bytes {
        call.edit_list(source, |list, shaping| {
            let element = list.view().get(index, |element| element.to_vec()).unwrap_or_default();
            list.remove(index..index + 1, shaping);
            list.push(to == End::Left, std::iter::once(&*element), shaping);
            reply.bulk(&element);
        });
        call.event(EventClass::List, push_event, destination.bytes);
        taken(call, source, pop_event, false);
    } else {
        call.write_list(destination)?;
        let edited = call.edit_list(source, |list, shaping| {
            let element = list.view().get(index, |element| element.to_vec()).unwrap_or_default();
            list.remove(index..index + 1, shaping);
            element
        });
        let element = edited.result;
        call.edit_list(destination, |list, shaping| list.push(to == End::Left, std::iter::once(&*element), shaping));
        call.changed(destination);
        call.event(EventClass::List, push_event, destination.bytes);
        taken(call, source, pop_event, edited.removed);
        reply.bulk(&element);
    }
    match record {
        Record::Lmove => call.effect(&[b"LMOVE", source.bytes, destination.bytes, from.word(), to.word()]),
        Record::Rpoplpush => call.effect(&[b"RPOPLPUSH", source.bytes, destination.bytes]),
    }
    Ok(true)
}

/// `LMPOP`.
pub(super) static LMPOP: Command = Command {
    spec: Spec {
        name: "LMPOP",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS),
        keys: Keys::Found {
            find: |words, found| counted_keys(words, 1, found),
            legacy: (0, 0, 0),
            access: "RW ACCESS DELETE",
        },
        since: "7.0.0",
        summary: "Removes and returns elements at an end of the first of several lists that exists.",
        complexity: "O(N+M) where N is the number of keys and M that of the elements returned",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ..LIST
    },
    run: |call, args, reply| {
        let several = Several::parse(args, 1)?;
        if !several.pop(call, args, reply)? {
            reply.null_array();
        }
        Ok(())
    },
};

/// `numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`.
pub(super) struct Several {
    /// Words that are keys.
    pub(super) keys: Range<usize>,
    end: End,
    count: usize,
}

impl Several {
    /// Parses from word `at` on.
    pub(super) fn parse(args: &Args<'_>, at: usize) -> Result<Several, CommandError> {
        let above_zero = |word, error| {
            positive(word, error).and_then(|n| (n > 0).then_some(n).ok_or(CommandError::Text(error.into())))
        };
        let count = above_zero(args.get(at), "ERR numkeys should be greater than 0")?;
        let behind = count.checked_add(at + 1).filter(|behind| *behind < args.len()).ok_or(CommandError::Syntax)?;
        let end = End::parse(args.get(behind))?;
        let mut elements = None;
        let mut option = behind + 1;
        while option < args.len() {
            if elements.is_some() || !args.is(option, "COUNT") || option + 1 >= args.len() {
                return Err(CommandError::Syntax);
            }
            elements = Some(above_zero(args.get(option + 1), "ERR count should be greater than 0")?);
            option += 2;
        }
        Ok(Several { keys: at + 1..behind, end, count: elements.unwrap_or(1) })
    }

    /// Takes elements from the first list there is; false if there is none, and then nothing was replied.
    pub(super) fn pop(
        &self,
        call: &mut Call<'_>,
        args: &Args<'_>,
        reply: &mut dyn Reply,
    ) -> Result<bool, CommandError> {
        for index in self.keys.clone() {
            let key = call.key(args, index);
            if let Some(len) = call.write_list(key)?.map(|list| list.len()) {
                reply.array(2);
                reply.bulk(key.bytes);
                reply.array(self.count.min(len));
                let count = pop(call, key, self.end, len, self.count, reply);
                pop_effect(call, key, self.end, count);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
