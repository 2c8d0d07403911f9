//! Several sets: SINTER, SINTERCARD, SUNION, SDIFF and what stores their results.
//!
//! 1. An intersection walks the smallest set and looks into the others. A union begins with the largest, a difference of a large set and
//!    small ones with the first: a clone of a table costs nothing, and shares with it what does not change.
//! 2. Effects: a store is logged as it came, with its keys, since what it does depends on them alone.

use super::super::typed::Stored;
use super::super::walk::Found;
use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec, counted_keys};
use super::members::write_members;
use crate::engine::{Engine, EventClass};
use crate::key::Key;
use crate::keyspace::Value;
use crate::value::listpack::IntegerText;
use crate::value::{Collection, CollectionView, Set, SetView, Shaping};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

/// What only reads.
const fn reading(name: &'static str, summary: &'static str, complexity: &'static str) -> Spec {
    Spec {
        name,
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::all("RO ACCESS"),
        group: Group::Set,
        summary,
        complexity,
        syntax: "key [key ...]",
        ..Spec::BASE
    }
}

/// What stores.
const fn storing(name: &'static str, summary: &'static str, complexity: &'static str) -> Spec {
    Spec {
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: "OW UPDATE | RO ACCESS" },
        syntax: "destination key [key ...]",
        ..reading(name, summary, complexity)
    }
}

const INTERSECTION_COST: &str = "O(N*M) where N is the size of the smallest set and M the number of sets";
const SUM_COST: &str = "O(N) where N is the number of members of all sets together";

/// `SINTER`.
pub(super) static SINTER: Command = Command {
    spec: reading("SINTER", "Returns the members that all of several sets have.", INTERSECTION_COST),
    run: |call, args, reply| read(call, args, Operation::Intersection, reply),
};

/// `SUNION`.
pub(super) static SUNION: Command = Command {
    spec: reading("SUNION", "Returns the members that any of several sets has.", SUM_COST),
    run: |call, args, reply| read(call, args, Operation::Union, reply),
};

/// `SDIFF`.
pub(super) static SDIFF: Command = Command {
    spec: reading("SDIFF", "Returns the members of the first set that none of the others has.", SUM_COST),
    run: |call, args, reply| read(call, args, Operation::Difference, reply),
};

/// `SINTERSTORE`.
pub(super) static SINTERSTORE: Command = Command {
    spec: storing("SINTERSTORE", "Stores the members that all of several sets have.", INTERSECTION_COST),
    run: |call, args, reply| store(call, args, Operation::Intersection, "SINTERSTORE", "sinterstore", reply),
};

/// `SUNIONSTORE`.
pub(super) static SUNIONSTORE: Command = Command {
    spec: storing("SUNIONSTORE", "Stores the members that any of several sets has.", SUM_COST),
    run: |call, args, reply| store(call, args, Operation::Union, "SUNIONSTORE", "sunionstore", reply),
};

/// `SDIFFSTORE`.
pub(super) static SDIFFSTORE: Command = Command {
    spec: storing("SDIFFSTORE", "Stores the members of the first set that none of the others has.", SUM_COST),
    run: |call, args, reply| store(call, args, Operation::Difference, "SDIFFSTORE", "sdiffstore", reply),
};

/// `SINTERCARD`.
pub(super) static SINTERCARD: Command = Command {
    spec: Spec {
        name: "SINTERCARD",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::Found {
            find: |words, found| counted_keys(words, 1, found),
            legacy: (0, 0, 0),
            access: "RO ACCESS",
        },
        group: Group::Set,
        since: "7.0.0",
        summary: "Returns how many members all of several sets have, counting up to a limit.",
        complexity: INTERSECTION_COST,
        syntax: "numkeys key [key ...] [LIMIT limit]",
        ..Spec::BASE
    },
    run: sintercard,
};

/// The keys' sets as they are found: the types of all are checked.
fn existing<'k>(call: &mut Call<'_>, words: &[&'k [u8]], to_write: bool) -> Result<Vec<Option<Key<'k>>>, CommandError> {
    let seed = call.engine.keyspace.seed();
    let mut keys = Vec::with_capacity(words.len());
    for word in words {
        let key = seed.key(word);
        let found = if to_write { call.write_set(key)? } else { call.read_set(key)? }.is_some();
        if to_write {
            call.looked_up(key, found);
        }
        keys.push(found.then_some(key));
    }
    Ok(keys)
}

/// The sets of keys that [`existing`] has found.
fn views<'e>(engine: &'e Engine, db: usize, keys: &[Option<Key<'_>>]) -> Vec<Option<SetView<'e>>> {
    let view = |key: Key<'_>| match engine.keyspace.db(db).get(key)?.value {
        Value::Collection(CollectionView::Set(view)) => Some(view),
        _ => None,
    };
    keys.iter().map(|key| key.and_then(view)).collect()
}

fn read(call: &mut Call<'_>, args: &Args<'_>, operation: Operation, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let keys = existing(call, &args.words()[1..], false)?;
    let sets = views(call.engine, call.session.db, &keys);
    let shaping = &call.engine.settings.shaping;
    let mut found = Found::default();
    match operation {
        Operation::Intersection => intersect(sets, &mut |member| {
            found.push(member);
            true
        }),
        Operation::Difference if !removes(&sets) => subtract(&sets, &mut |member| found.push(member)),
        Operation::Union | Operation::Difference => {
            write_members(combine(operation, sets, shaping).view(), reply);
            return Ok(());
        }
    }
    found.write_set(reply);
    Ok(())
}

fn store(
    call: &mut Call<'_>,
    args: &Args<'_>,
    operation: Operation,
    name: &'static str,
    event: &'static str,
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let keys = existing(call, &args.words()[2..], true)?;
    let destination = call.key(args, 1);
    call.write(destination);
    let sets = views(call.engine, call.session.db, &keys);
    let result = combine(operation, sets, &call.engine.settings.shaping);
    let len = result.view().len();
    match call.store_collection(destination, Collection::Set(result)) {
        Stored::Nothing => {}
        stored => {
            if stored == Stored::Put {
                call.event(EventClass::Set, event, destination.bytes);
            }
            call.effect_parts(&[name.as_bytes()], &args.words()[1..]);
        }
    }
    reply.integer(len as i64);
    Ok(())
}

fn sintercard(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let count = args.integer(1).ok().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Text("ERR numkeys should be greater than 0".into()))?;
    if count > args.len() - 2 {
        return Err(CommandError::Text("ERR Number of keys can't be greater than number of args".into()));
    }
    let (mut limit, mut at) = (0, 2 + count);
    while at < args.len() {
        if !args.is(at, "LIMIT") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        let number = args.integer(at + 1).ok().and_then(|limit| usize::try_from(limit).ok());
        limit = number.ok_or(CommandError::Text("ERR LIMIT can't be negative".into()))?;
        at += 2;
    }
    let keys = existing(call, &args.words()[2..2 + count], false)?;
    let mut found = 0;
    intersect(views(call.engine, call.session.db, &keys), &mut |_| {
        found += 1;
        found != limit
    });
    reply.integer(found as i64);
    Ok(())
}

/// Gives what all sets have to `found`, until that says no.
fn intersect(sets: Vec<Option<SetView<'_>>>, found: &mut dyn FnMut(&[u8]) -> bool) {
    let Some(mut sets) = sets.into_iter().collect::<Option<Vec<_>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    let mut text = IntegerText::new();
    for member in smallest.iter() {
        let member = member.as_bytes(&mut text);
        if others.iter().all(|set| set.contains(member)) && !found(member) {
            return;
        }
    }
}

/// Gives what only the first set has to `found`.
fn subtract(sets: &[Option<SetView<'_>>], found: &mut dyn FnMut(&[u8])) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let mut others: Vec<_> = others.iter().flatten().collect();
    // The largest is the likeliest to have a member.
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let mut text = IntegerText::new();
    for member in first.iter() {
        let member = member.as_bytes(&mut text);
        if !others.iter().any(|set| set.contains(member)) {
            found(member);
        }
    }
}

/// Whether a difference is had more cheaply by removing all members of the others from a clone of the first than by asking each member of the
/// first of whether another set has it.
fn removes(sets: &[Option<SetView<'_>>]) -> bool {
    let Some((Some(first), others)) = sets.split_first() else { return false };
    let removed: usize = others.iter().flatten().map(|set| set.len()).sum();
    first.is_table() && removed < first.len().saturating_mul(others.len())
}

/// The result as a set of its own.
fn combine(operation: Operation, mut sets: Vec<Option<SetView<'_>>>, shaping: &Shaping) -> Set {
    let mut result = Set::default();
    let mut text = IntegerText::new();
    match operation {
        Operation::Intersection => intersect(sets, &mut |member| {
            result.add(member, shaping);
            true
        }),
        Operation::Difference if removes(&sets) => {
            let mut sets = sets.into_iter().flatten();
            result = sets.next().map_or(Set::default(), SetView::to_owned);
            for member in sets.flat_map(SetView::iter) {
                result.remove(member.as_bytes(&mut text));
            }
            result.compact(shaping);
        }
        Operation::Difference => subtract(&sets, &mut |member| {
            result.add(member, shaping);
        }),
        Operation::Union => {
            // A large one is a table whatever its members are; a small one's form is to follow from the members of the result.
            let small = shaping.set_max_intset_entries.max(shaping.set_max_listpack_entries);
            let len = |set: &Option<SetView<'_>>| set.map_or(0, SetView::len);
            let largest = (0..sets.len()).max_by_key(|index| len(&sets[*index]));
            let base = largest.filter(|index| len(&sets[*index]) > small);
            if let Some(base) = base.and_then(|index| sets[index].take()) {
                result = base.to_owned();
            }
            for member in sets.into_iter().flatten().flat_map(SetView::iter) {
                result.add(member.as_bytes(&mut text), shaping);
            }
        }
    }
    result
}
