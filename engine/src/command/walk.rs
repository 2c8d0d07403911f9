//! What all walks with a cursor share: SCAN over keys, SSCAN, HSCAN and ZSCAN over the elements of one key. Their options, patterns,
//! and what they found, until its number is known.

use super::error::excerpt;
use super::{Args, CommandError, Reply};
use crate::glob;
use crate::number::parse_cursor;
use crate::value::Kind;

/// How many keys or elements a walk looks at unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;
/// Type names that SCAN's TYPE accepts.
const TYPES: [Kind; 6] = [Kind::String, Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash, Kind::Stream];

/// What is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Walk {
    /// SCAN.
    Keys,
    /// SSCAN.
    Set,
    /// HSCAN, which knows NOVALUES.
    Hash,
    /// ZSCAN, which knows NOSCORES.
    SortedSet,
}

/// A pattern whose commonest form needs no matching.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pattern<'a> {
    /// `None`: everything matches.
    pattern: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    pub(super) fn new(pattern: &'a [u8]) -> Self {
        Pattern { pattern: (pattern != b"*").then_some(pattern) }
    }

    #[inline]
    pub(super) fn fits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// The words behind the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalkOptions<'a> {
    /// MATCH.
    pub(super) pattern: Pattern<'a>,
    /// COUNT, above 0: about how many to look at.
    pub(super) count: usize,
    /// SCAN's TYPE.
    pub(super) kind: Option<Kind>,
    /// NOVALUES or NOSCORES: fields and members alone.
    pub(super) names_only: bool,
}

/// The cursor at `index`. An element walk reads it before it looks at the key.
///
/// # Errors
/// `ERR invalid cursor`.
pub(super) fn cursor(args: &Args<'_>, index: usize) -> Result<u64, CommandError> {
    parse_cursor(args.get(index)).ok_or(CommandError::Text("ERR invalid cursor".into()))
}

impl<'a> WalkOptions<'a> {
    /// Reads the options from word `at` on. An element walk does so only if the key exists.
    ///
    /// # Errors
    /// Syntax, a count that is no integer or not above 0, a type that does not exist, an option of another walk.
    pub(super) fn parse(args: &Args<'a>, mut at: usize, walk: Walk) -> Result<Self, CommandError> {
        let mut options =
            WalkOptions { pattern: Pattern::default(), count: COUNT_DEFAULT, kind: None, names_only: false };
        while at < args.len() {
            let more = at + 1 < args.len();
            if args.is(at, "COUNT") && more {
                let count = args.integer(at + 1)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
            } else if args.is(at, "MATCH") && more {
                options.pattern = Pattern::new(args.get(at + 1));
            } else if args.is(at, "TYPE") && more && walk == Walk::Keys {
                options.kind = Some(kind_named(args.get(at + 1))?);
            } else if args.is(at, "NOVALUES") || args.is(at, "NOSCORES") {
                let (option, only, name) = match args.is(at, "NOVALUES") {
                    true => ("NOVALUES", Walk::Hash, "HSCAN"),
                    false => ("NOSCORES", Walk::SortedSet, "ZSCAN"),
                };
                if walk != only {
                    return Err(CommandError::text(format!("ERR {option} option can only be used in {name}")));
                }
                options.names_only = true;
                at += 1;
                continue;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }
}

fn kind_named(name: &[u8]) -> Result<Kind, CommandError> {
    let kind = TYPES.into_iter().find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()));
    kind.ok_or_else(|| CommandError::text(format!("ERR unknown type name '{}'", excerpt(name))))
}

/// Byte strings that were found, until their number is known: one buffer for all of them.
#[derive(Debug, Default)]
pub(super) struct Found {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Found {
    #[inline]
    pub(super) fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Answers them as an array.
    pub(super) fn write(&self, reply: &mut dyn Reply) {
        reply.array(self.len());
        self.iter().for_each(|item| reply.bulk(item));
    }

    /// Answers them as a set.
    pub(super) fn write_set(&self, reply: &mut dyn Reply) {
        reply.set(self.len());
        self.iter().for_each(|item| reply.bulk(item));
    }

    /// Answers the cursor to go on from (0: the walk is over), and what was found.
    pub(super) fn write_walk(&self, next: u64, reply: &mut dyn Reply) {
        reply.array(2);
        reply.bulk(itoa::Buffer::new().format(next).as_bytes());
        self.write(reply);
    }
}
