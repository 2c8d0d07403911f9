//! Several sorted sets (or sets, each member of which counts as score 1) taken together: ZUNION, ZINTER, ZDIFF, what they count and what
//! they store.

use super::{BASE, begin_elements, element, numbered_keys, store_result};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec, counted_keys};
use crate::keyspace::Value;
use crate::number::{parse_double, parse_integer};
use crate::value::listpack::IntegerText;
use crate::value::{CollectionView, SetView, SortedSet, SortedSetView};
use std::cmp::Ordering;

/// What is made of the sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How scores of one member are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Infinities that cancel each other make 0, as in Redis.
    fn put(self, one: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(one + other),
            Aggregate::Min => {
                if other < one {
                    other
                } else {
                    one
                }
            }
            Aggregate::Max => {
                if other > one {
                    other
                } else {
                    one
                }
            }
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

const READ: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
    keys: Keys::Found { find: |words, found| counted_keys(words, 1, found), legacy: (0, 0, 0), access: "RO ACCESS" },
    since: "6.2.0",
    ..BASE
};

const STORE: Spec = Spec {
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
    keys: Keys::Found {
        find: |words, found| {
            found.push(1);
            counted_keys(words, 2, found);
        },
        legacy: (1, 1, 1),
        access: "OW UPDATE | RO ACCESS",
    },
    since: "2.0.0",
    ..BASE
};

const UNION_COST: &str =
    "O(N)+O(M*log(M)) where N is the size of all sources together and M the number of elements of the result";
const INTER_COST: &str = "O(N*K)+O(M*log(M)) where N is the size of the smallest of K sources and M that of the result";
const DIFF_COST: &str = "O(N*K)+O(M*log(M)) where N is the size of the first of K sources and M that of the result";

/// `ZUNION`.
pub(super) static ZUNION: Command = Command {
    spec: Spec {
        name: "ZUNION",
        summary: "Returns the union of several sorted sets.",
        complexity: UNION_COST,
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        ..READ
    },
    run: |call, args, reply| read(call, args, Operation::Union, reply),
};

/// `ZINTER`.
pub(super) static ZINTER: Command = Command {
    spec: Spec {
        name: "ZINTER",
        summary: "Returns the intersection of several sorted sets.",
        complexity: INTER_COST,
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        ..READ
    },
    run: |call, args, reply| read(call, args, Operation::Inter, reply),
};

/// `ZDIFF`.
pub(super) static ZDIFF: Command = Command {
    spec: Spec {
        name: "ZDIFF",
        summary: "Returns what the first of several sorted sets has and the others have not.",
        complexity: DIFF_COST,
        syntax: "numkeys key [key ...] [WITHSCORES]",
        ..READ
    },
    run: |call, args, reply| read(call, args, Operation::Diff, reply),
};

/// `ZUNIONSTORE`.
pub(super) static ZUNIONSTORE: Command = Command {
    spec: Spec {
        name: "ZUNIONSTORE",
        summary: "Stores the union of several sorted sets.",
        complexity: UNION_COST,
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        ..STORE
    },
    run: |call, args, reply| store(call, args, Operation::Union, ("zunionstore", b"ZUNIONSTORE"), reply),
};

/// `ZINTERSTORE`.
pub(super) static ZINTERSTORE: Command = Command {
    spec: Spec {
        name: "ZINTERSTORE",
        summary: "Stores the intersection of several sorted sets.",
        complexity: INTER_COST,
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        ..STORE
    },
    run: |call, args, reply| store(call, args, Operation::Inter, ("zinterstore", b"ZINTERSTORE"), reply),
};

/// `ZDIFFSTORE`.
pub(super) static ZDIFFSTORE: Command = Command {
    spec: Spec {
        name: "ZDIFFSTORE",
        since: "6.2.0",
        summary: "Stores what the first of several sorted sets has and the others have not.",
        complexity: DIFF_COST,
        syntax: "destination numkeys key [key ...]",
        ..STORE
    },
    run: |call, args, reply| store(call, args, Operation::Diff, ("zdiffstore", b"ZDIFFSTORE"), reply),
};

/// `ZINTERCARD`.
pub(super) static ZINTERCARD: Command = Command {
    spec: Spec {
        name: "ZINTERCARD",
        since: "7.0.0",
        summary: "Counts the members that several sorted sets have in common, up to a limit.",
        complexity: "O(N*K) where N is the size of the smallest of K sources",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        ..READ
    },
    run: zintercard,
};

/// One of the collections taken together.
#[derive(Clone, Copy)]
enum Source<'a> {
    Missing,
    Set(SetView<'a>),
    Sorted(SortedSetView<'a>),
}

impl Source<'_> {
    fn len(self) -> usize {
        match self {
            Source::Missing => 0,
            Source::Set(set) => set.len(),
            Source::Sorted(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Missing => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Sorted(set) => set.score(member),
        }
    }

    fn each(self, mut each: impl FnMut(&[u8], f64)) {
        match self {
            Source::Missing => {}
            Source::Set(set) => {
                let mut text = IntegerText::new();
                set.iter().for_each(|member| each(member.as_bytes(&mut text), 1.0));
            }
            Source::Sorted(set) => set.each(0, set.len(), false, each),
        }
    }
}

/// Words up to the last source; where they are, and the first word of options.
fn parse_keys(args: &Args<'_>, at: usize, name: &str) -> Result<std::ops::Range<usize>, CommandError> {
    let count = args.integer(at)?;
    if count < 1 {
        return Err(CommandError::text(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    numbered_keys(args, at, count)
}

/// The collections of some keys, all at once; `for_record` if the command's record names them.
///
/// # Errors
/// [`CommandError::WrongType`] if one is neither a sorted set nor a set.
fn sources<'c>(
    call: &'c mut Call<'_>,
    args: &Args<'_>,
    keys: std::ops::Range<usize>,
    for_record: bool,
) -> Result<Vec<Source<'c>>, CommandError> {
    let mut found = Vec::with_capacity(keys.len());
    for index in keys {
        let key = call.key(args, index);
        let entry = if for_record { call.read_for_record(key) } else { call.read(key) };
        match entry.map(|entry| entry.value) {
            None => found.push(None),
            Some(Value::Collection(CollectionView::Set(_) | CollectionView::SortedSet(_))) => found.push(Some(key)),
            Some(_) => return Err(CommandError::WrongType),
        }
    }
    let db = call.engine.keyspace.db(call.session.db);
    let source = |key| match db.get(key).map(|entry| entry.value) {
        Some(Value::Collection(CollectionView::Set(set))) => Source::Set(set),
        Some(Value::Collection(CollectionView::SortedSet(set))) => Source::Sorted(set),
        _ => Source::Missing,
    };
    Ok(found.into_iter().map(|key| key.map_or(Source::Missing, source)).collect())
}

/// Options behind the keys.
struct Options {
    /// One for each source, or none at all: 1.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
}

fn parse_options(
    args: &Args<'_>,
    keys: &std::ops::Range<usize>,
    operation: Operation,
    store: bool,
) -> Result<Options, CommandError> {
    let mut options = Options { weights: Vec::new(), aggregate: Aggregate::Sum, with_scores: false };
    let weighs = operation != Operation::Diff;
    let mut at = keys.end;
    while at < args.len() {
        let left = args.len() - at;
        if weighs && left > keys.len() && args.is(at, "WEIGHTS") {
            let words = &args.words()[at + 1..=at + keys.len()];
            let weight = |word: &&[u8]| parse_double(word).ok_or(CommandError::text("ERR weight value is not a float"));
            options.weights = words.iter().map(weight).collect::<Result<_, _>>()?;
            at += 1 + keys.len();
        } else if weighs && left >= 2 && args.is(at, "AGGREGATE") {
            options.aggregate = match args.get(at + 1) {
                word if word.eq_ignore_ascii_case(b"SUM") => Aggregate::Sum,
                word if word.eq_ignore_ascii_case(b"MIN") => Aggregate::Min,
                word if word.eq_ignore_ascii_case(b"MAX") => Aggregate::Max,
                _ => return Err(CommandError::Syntax),
            };
            at += 2;
        } else if !store && args.is(at, "WITHSCORES") {
            options.with_scores = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(options)
}

/// Members and scores on their way to a result: the members' bytes in one piece.
#[derive(Default)]
struct Elements {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Copy)]
struct Item {
    start: usize,
    len: usize,
    score: f64,
}

impl Elements {
    fn push(&mut self, member: &[u8], score: f64) {
        self.items.push(Item { start: self.bytes.len(), len: member.len(), score });
        self.bytes.extend_from_slice(member);
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], f64)> {
        self.items.iter().map(|item| (&self.bytes[item.start..item.start + item.len], item.score))
    }

    /// Makes one item of all that have the same member, in the order in which they came.
    fn fold(&mut self, aggregate: Aggregate) {
        let Elements { bytes, items } = self;
        let member = |item: &Item| &bytes[item.start..item.start + item.len];
        items.sort_by(|one, other| member(one).cmp(member(other))); // Stable: equal members stay in order.
        items.dedup_by(|later, first| {
            let same = member(later) == member(first);
            if same {
                first.score = aggregate.put(first.score, later.score);
            }
            same
        });
    }

    /// By score, then member.
    fn sort(&mut self) {
        let Elements { bytes, items } = self;
        let member = |item: &Item| &bytes[item.start..item.start + item.len];
        items.sort_unstable_by(|one, other| {
            let scores = one.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal);
            scores.then_with(|| member(one).cmp(member(other)))
        });
    }
}

/// The result, sorted.
fn compute(mut sources: Vec<Source<'_>>, operation: Operation, options: &Options) -> Elements {
    let mut result = Elements::default();
    if operation == Operation::Diff {
        let (first, others) = sources.split_first().expect("there is at least one source");
        first.each(|member, score| {
            if others.iter().all(|other| other.score(member).is_none()) {
                result.push(member, score);
            }
        });
        result.sort();
        return result;
    }
    // The smallest first: that saves look-ups, and it is the order in which scores are added up.
    let weight = |index: usize| options.weights.get(index).copied().unwrap_or(1.0);
    let mut weighed: Vec<_> = sources.drain(..).enumerate().map(|(index, source)| (source, weight(index))).collect();
    weighed.sort_by_key(|(source, _)| source.len());
    if operation == Operation::Union {
        for (source, weight) in weighed {
            source.each(|member, score| result.push(member, number_or_zero(score * weight)));
        }
        result.fold(options.aggregate);
    } else {
        let (&(first, weight), others) = weighed.split_first().expect("there is at least one source");
        first.each(|member, score| {
            let score = others.iter().try_fold(number_or_zero(score * weight), |sum, (other, weight)| {
                Some(options.aggregate.put(sum, other.score(member)? * weight))
            });
            if let Some(score) = score {
                result.push(member, score);
            }
        });
    }
    result.sort();
    result
}

fn read(call: &mut Call<'_>, args: &Args<'_>, operation: Operation, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let name = match operation {
        Operation::Union => "zunion",
        Operation::Inter => "zinter",
        Operation::Diff => "zdiff",
    };
    let keys = parse_keys(args, 1, name)?;
    let sources = sources(call, args, keys.clone(), false)?;
    let options = parse_options(args, &keys, operation, false)?;
    let result = compute(sources, operation, &options);
    begin_elements(result.items.len(), options.with_scores, reply);
    result.iter().for_each(|(member, score)| element(member, score, options.with_scores, reply));
    Ok(())
}

fn store(
    call: &mut Call<'_>,
    args: &Args<'_>,
    operation: Operation,
    (event, name): (&'static str, &'static [u8]),
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let keys = parse_keys(args, 2, event)?;
    let shaping = call.engine.settings.shaping.clone();
    let sources = sources(call, args, keys.clone(), true)?;
    let options = parse_options(args, &keys, operation, true)?;
    let result = compute(sources, operation, &options);
    let mut set = SortedSet::default();
    let longest = result.items.iter().map(|item| item.len).max().unwrap_or(0);
    set.expect(result.items.len(), longest, &shaping);
    result.iter().for_each(|(member, score)| {
        set.set(member, score, &shaping);
    });
    let target = call.key(args, 1);
    if store_result(call, target, set, event) {
        call.effect_parts(&[name], &args.words()[1..]);
    }
    reply.integer(result.items.len() as i64);
    Ok(())
}

fn zintercard(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let keys = parse_keys(args, 1, "zintercard")?;
    let mut sources = sources(call, args, keys.clone(), false)?;
    let (mut at, mut limit) = (keys.end, 0);
    while at < args.len() {
        if !args.is(at, "LIMIT") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        limit = parse_integer(args.get(at + 1))
            .and_then(|limit| usize::try_from(limit).ok())
            .ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
        at += 2;
    }
    let limit = if limit == 0 { usize::MAX } else { limit };
    sources.sort_by_key(|source| source.len());
    let (first, others) = sources.split_first().expect("there is at least one source");
    let mut count = 0;
    first.each(|member, _| {
        count += usize::from(count < limit && others.iter().all(|other| other.score(member).is_some()));
    });
    reply.integer(count as i64);
    Ok(())
}
