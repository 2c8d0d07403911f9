//! SORT, SORT_RO: the elements of a list, set or sorted set in order of themselves or of what other keys hold.
//!
//! `elements` has the elements and their order, `pattern` the keys and fields that BY and GET name.
//!
//! The effect of STORE is the command itself. Replay does the same with it: every key that decides is live or deleted in the record
//! (`Call::read_for_record`), and where a comparison leaves the order open, elements keep that of their list or sorted set; those of a set,
//! whose order is no part of its value, are put in order of their bytes.

mod elements;
mod pattern;
#[cfg(test)]
mod tests;

use self::elements::{Elements, Order};
use self::pattern::Pattern;
use super::typed::Stored;
use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::keyspace::Value;
use crate::log::pending::put_varint;
use crate::value::{Collection, CollectionView, Kind};
use std::ops::Range;

/// The commands of this family.
pub(super) static COMMANDS: &[&Command] = &[&SORT, &SORT_RO];

const COMPLEXITY: &str =
    "O(N+M*log(M)) where N is the number of elements and M the number of those that are returned; O(N) without sorting";

/// `SORT`.
static SORT: Command = Command {
    spec: Spec {
        name: "SORT",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keys: Keys::Found { find: keys, legacy: (1, 1, 1), access: "RO ACCESS | OW UPDATE" },
        group: Group::Generic,
        categories: Categories::DANGEROUS,
        summary: "Returns the elements of a list, a set or a sorted set in order, or stores them as a list.",
        complexity: COMPLEXITY,
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
        ..Spec::BASE
    },
    run: |call, args, reply| sort(call, args, reply, false),
};

/// `SORT_RO`.
static SORT_RO: Command = Command {
    spec: Spec {
        name: "SORT_RO",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::Found { find: |_, found| found.push(1), legacy: (1, 1, 1), access: "RO ACCESS" },
        group: Group::Generic,
        categories: Categories::DANGEROUS,
        since: "7.0.0",
        summary: "Returns the elements of a list, a set or a sorted set in order.",
        complexity: COMPLEXITY,
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
        ..Spec::BASE
    },
    run: |call, args, reply| sort(call, args, reply, true),
};

/// The key, and the one behind the last STORE. Keys that patterns lead to are nobody's to know.
fn keys(words: &[&[u8]], found: &mut Vec<usize>) {
    found.push(1);
    let mut store = None;
    let mut at = 2;
    while at < words.len() {
        let is = |option: &str| words[at].eq_ignore_ascii_case(option.as_bytes());
        at += if is("LIMIT") {
            3
        } else if is("BY") || is("GET") {
            2
        } else if is("STORE") && at + 1 < words.len() {
            store = Some(at + 1);
            2
        } else {
            1
        };
    }
    found.extend(store);
}

/// What the words behind the key ask for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Options<'a> {
    by: Option<Pattern<'a>>,
    get: Vec<Pattern<'a>>,
    /// Index of the destination's word.
    store: Option<usize>,
    descending: bool,
    alpha: bool,
    offset: i64,
    /// Negative: all.
    count: Option<i64>,
}

impl<'a> Options<'a> {
    fn parse(args: &Args<'a>, read_only: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "ASC") {
                options.descending = false;
            } else if args.is(at, "DESC") {
                options.descending = true;
            } else if args.is(at, "ALPHA") {
                options.alpha = true;
            } else if args.is(at, "LIMIT") && left >= 2 {
                options.offset = args.integer(at + 1)?;
                options.count = Some(args.integer(at + 2)?);
                at += 2;
            } else if args.is(at, "STORE") && left >= 1 && !read_only {
                at += 1;
                options.store = Some(at);
            } else if args.is(at, "BY") && left >= 1 {
                at += 1;
                options.by = Some(Pattern::parse(args.get(at)));
            } else if args.is(at, "GET") && left >= 1 {
                at += 1;
                options.get.push(Pattern::parse(args.get(at)));
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The places that LIMIT leaves of `len` elements in order.
    fn range(&self, len: usize) -> Range<usize> {
        let clamp = |number: i64| usize::try_from(number).unwrap_or(0).min(len);
        let start = clamp(self.offset);
        let count = match self.count {
            Some(count) if count >= 0 => clamp(count),
            _ => len,
        };
        start..len.min(start + count)
    }

    /// How elements are compared; `None`: they stay as they are. A set that is stored, or that a script sees (`ordered`), has to have an order.
    fn order(&self, kind: Kind, ordered: bool) -> Option<Order<'a>> {
        let unordered = kind == Kind::Set;
        match self.by {
            Some(by) if by.is_constant() => (unordered && (ordered || self.store.is_some())).then_some(Order {
                by: None,
                alpha: true,
                descending: self.descending,
                unordered,
            }),
            by => Some(Order { by, alpha: self.alpha, descending: self.descending, unordered }),
        }
    }
}

fn sort(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, read_only: bool) -> Result<(), CommandError> {
    let options = Options::parse(args, read_only)?;
    let (for_record, ordered) = (options.store.is_some(), call.session.ordered);
    let key = call.key(args, 1);
    let entry = if for_record { call.read_for_record(key) } else { call.read(key) };
    let view = match entry.map(|entry| entry.value) {
        None => None,
        Some(Value::Collection(
            view @ (CollectionView::List(_) | CollectionView::Set(_) | CollectionView::SortedSet(_)),
        )) => Some(view),
        Some(_) => return Err(CommandError::WrongType),
    };
    let kind = view.map_or(Kind::List, CollectionView::kind);
    let len = view.map_or(0, CollectionView::len);
    let wanted = options.range(len);
    let order = options.order(kind, ordered);
    let mut elements = match view {
        None => Elements::default(),
        // Nothing is compared: only what is wanted is looked at.
        Some(view) if order.is_none() && kind != Kind::Set => {
            let ranks = if options.descending { len - wanted.end..len - wanted.start } else { wanted.clone() };
            let mut elements = Elements::of_ranks(view, ranks);
            if options.descending {
                elements.reverse();
            }
            elements
        }
        Some(view) => Elements::of_ranks(view, 0..len),
    };
    match order {
        Some(order) => elements.sort(call, &order, wanted, for_record)?,
        None if kind == Kind::Set => elements.keep(wanted),
        None => {}
    }
    match options.store {
        Some(at) => {
            let len = store(call, args, at, &options.get, &elements);
            reply.integer(len as i64);
        }
        None => answer(call, &options.get, &elements, reply),
    }
    Ok(())
}

fn answer(call: &mut Call<'_>, get: &[Pattern<'_>], elements: &Elements, reply: &mut dyn Reply) {
    reply.array(elements.len() * get.len().max(1));
    let mut name = Vec::new();
    for element in elements.iter() {
        if get.is_empty() {
            reply.bulk(element);
        }
        for pattern in get {
            pattern.look_up(call, element, false, &mut name, |value| match value {
                Some(bytes) => reply.bulk(bytes),
                None => reply.null(),
            });
        }
    }
}

/// Stores the result as a list; says how long it is.
fn store(call: &mut Call<'_>, args: &Args<'_>, at: usize, get: &[Pattern<'_>], elements: &Elements) -> usize {
    // A list as snapshots hold it: lengths and bytes.
    let mut encoded = Vec::new();
    let mut push = |element: &[u8]| {
        put_varint(&mut encoded, element.len() as u64);
        encoded.extend_from_slice(element);
    };
    let mut name = Vec::new();
    for element in elements.iter() {
        if get.is_empty() {
            push(element);
        }
        for pattern in get {
            pattern.look_up(call, element, true, &mut name, |value| push(value.unwrap_or_default()));
        }
    }
    let len = elements.len() * get.len().max(1);
    let mut list = Collection::new(Kind::List);
    if len > 0 {
        let decoded = list.decode_part(&encoded, &call.engine.settings.shaping);
        debug_assert!(decoded.is_ok(), "elements came out of the keyspace: {decoded:?}");
    }
    let target = call.key(args, at);
    call.write(target);
    match call.store_collection(target, list) {
        Stored::Put => call.event(EventClass::List, "sortstore", target.bytes),
        Stored::Deleted => {}
        Stored::Nothing => return len,
    }
    call.effect_parts(&[b"SORT"], &args.words()[1..]);
    len
}
