//! LSET, LINSERT, LREM, LTRIM.

use super::{Args, Arity, Call, Command, CommandError, Flags, Keys, LIST, Reply, Spec, negatable, taken};
use crate::command::index_range::{index_in, index_range};
use crate::engine::EventClass;
use crate::value::listpack::Needle;

/// `LSET`.
pub(super) static LSET: Command = Command {
    spec: Spec {
        name: "LSET",
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("RW UPDATE"),
        summary: "Puts another element in place of one of a list.",
        complexity: "O(log(N)) where N is the number of elements",
        syntax: "key index element",
        ..LIST
    },
    run: lset,
};

fn lset(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let len = call.write_list(key)?.ok_or(CommandError::NoSuchKey)?.len();
    let index = index_in(args.integer(2)?, len).ok_or(CommandError::IndexOutOfRange)?;
    call.edit_list(key, |list, shaping| list.set(index, args.get(3), shaping));
    call.changed(key);
    call.event(EventClass::List, "lset", key.bytes);
    call.effect_parts(&[b"LSET"], &args.words()[1..]);
    reply.ok();
    Ok(())
}

/// `LINSERT`.
pub(super) static LINSERT: Command = Command {
    spec: Spec {
        name: "LINSERT",
        arity: Arity::Exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("RW INSERT"),
        since: "2.2.0",
        summary: "Inserts an element before or after another one of a list.",
        complexity: "O(N) where N is the number of elements in front of the other one",
        syntax: "key <BEFORE | AFTER> pivot element",
        ..LIST
    },
    run: linsert,
};

fn linsert(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let after = args.is(2, "AFTER");
    if !after && !args.is(2, "BEFORE") {
        return Err(CommandError::Syntax);
    }
    let key = call.key(args, 1);
    let Some(list) = call.write_list(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let mut pivot = None;
    list.find(&Needle::new(args.get(3)), 0..list.len(), false, |index| {
        pivot = Some(index);
        false
    });
    let Some(pivot) = pivot else {
        reply.integer(-1);
        return Ok(());
    };
    let index = pivot + usize::from(after);
    let edited = call.edit_list(key, |list, shaping| {
        list.insert(index, args.get(4), shaping);
        list.len()
    });
    call.changed(key);
    call.event(EventClass::List, "linsert", key.bytes);
    call.effect_parts(&[b"LINSERT"], &args.words()[1..]);
    reply.integer(edited.result as i64);
    Ok(())
}

/// `LREM`.
pub(super) static LREM: Command = Command {
    spec: Spec {
        name: "LREM",
        flags: Flags::WRITE,
        keys: Keys::first("RW DELETE"),
        summary: "Removes elements equal to a given one from a list: so many from the front, or the back, or all.",
        complexity: "O(N+M) where N is the number of elements and M that of those removed",
        syntax: "key count element",
        ..LIST
    },
    run: lrem,
};

fn lrem(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let count = negatable(args.get(2))?;
    let limit = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let key = call.key(args, 1);
    let Some(list) = call.write_list(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let mut any = false;
    list.find(&Needle::new(args.get(3)), 0..list.len(), count < 0, |_| {
        any = true;
        false
    });
    let mut removed = 0;
    if any {
        let edited = call.edit_list(key, |list, shaping| list.remove_equal(args.get(3), limit, count < 0, shaping));
        removed = edited.result;
        taken(call, key, "lrem", edited.removed);
        call.effect_parts(&[b"LREM"], &args.words()[1..]);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// `LTRIM`.
pub(super) static LTRIM: Command = Command {
    spec: Spec {
        name: "LTRIM",
        flags: Flags::WRITE,
        keys: Keys::first("RW DELETE"),
        summary: "Removes all elements of a list that are outside a range.",
        complexity: "O(log(N)+M) where N is the number of elements and M that of the chunks removed",
        syntax: "key start stop",
        ..LIST
    },
    run: ltrim,
};

fn ltrim(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (start, stop) = (args.integer(2)?, args.integer(3)?);
    let key = call.key(args, 1);
    let Some(len) = call.write_list(key)?.map(|list| list.len()) else {
        reply.ok();
        return Ok(());
    };
    let kept = index_range(start, stop, len);
    if kept.len() == len {
        call.event(EventClass::List, "ltrim", key.bytes);
    } else {
        let edited = call.edit_list(key, |list, shaping| {
            list.remove(kept.end..len, shaping);
            list.remove(0..kept.start, shaping);
        });
        taken(call, key, "ltrim", edited.removed);
        call.effect_parts(&[b"LTRIM"], &args.words()[1..]);
    }
    reply.ok();
    Ok(())
}
