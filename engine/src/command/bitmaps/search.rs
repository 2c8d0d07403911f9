//! Looking for bits: BITCOUNT, BITPOS.

use super::words::{count_ones, find_byte_other_than};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};

/// `BITCOUNT`.
pub(super) static BITCOUNT: Command = Command {
    spec: Spec {
        name: "BITCOUNT",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        group: Group::Bitmap,
        since: "2.6.0",
        summary: "Counts the bits that are set in the string of a key, or in a range of it.",
        complexity: "O(N) where N is the length of the range",
        syntax: "key [start [end [BYTE | BIT]]]",
        ..Spec::BASE
    },
    run: bitcount,
};

/// The range of a string that a command's words from `start` on ask for: `[start [end [BYTE | BIT]]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    start: i64,
    /// `None`: to the end of the string.
    end: Option<i64>,
    in_bits: bool,
}

impl Asked {
    fn parse(args: &Args<'_>, at: usize) -> Result<Asked, CommandError> {
        if args.len() > at + 3 {
            return Err(CommandError::Syntax);
        }
        let start = if args.len() > at { args.integer(at)? } else { 0 };
        let in_bits = match args.len() > at + 2 {
            false => false,
            true if args.is(at + 2, "BIT") => true,
            true if args.is(at + 2, "BYTE") => false,
            true => return Err(CommandError::Syntax),
        };
        let end = if args.len() > at + 1 { Some(args.integer(at + 1)?) } else { None };
        Ok(Asked { start, end, in_bits })
    }

    /// Whether both ends count from the string's end, and the wrong way around. BITCOUNT counts nothing then, even where the two
    /// would meet at the string's beginning; BITPOS looks there.
    fn is_backward(self) -> bool {
        self.start < 0 && self.end.is_some_and(|end| end < 0 && self.start > end)
    }

    /// The bits meant of a string of `len` bytes, both ends included; `None` if there are none. Negative numbers count from the end.
    fn bits(self, len: usize) -> Option<(u64, u64)> {
        let units = len as i64 * if self.in_bits { 8 } else { 1 };
        let from_end = |index: i64| if index < 0 { index.saturating_add(units).max(0) } else { index };
        let (start, end) = (from_end(self.start), from_end(self.end.unwrap_or(units - 1)).min(units - 1));
        if start > end {
            return None;
        }
        let (start, end) = (start as u64, end as u64);
        Some(if self.in_bits { (start, end) } else { (start * 8, end * 8 + 7) })
    }
}

/// The bits `first..=last` of a string as whole bytes between two that are cut: what lies outside the range reads as `fill`.
struct Cut<'a> {
    first: u8,
    middle: &'a [u8],
    /// `None` if the range lies in one byte.
    last: Option<u8>,
}

impl<'a> Cut<'a> {
    fn new(value: &'a [u8], (first, last): (u64, u64), fill: bool) -> Cut<'a> {
        let (from, to) = ((first >> 3) as usize, (last >> 3) as usize);
        let (head, tail) = (0xffu8 >> (first & 7), !(0x7fu8 >> (last & 7)));
        let cut = |byte: u8, mask: u8| if fill { byte | !mask } else { byte & mask };
        if from == to {
            return Cut { first: cut(value[from], head & tail), middle: &[], last: None };
        }
        Cut { first: cut(value[from], head), middle: &value[from + 1..to], last: Some(cut(value[to], tail)) }
    }

    fn count(&self) -> u64 {
        u64::from(self.first.count_ones() + self.last.map_or(0, u8::count_ones)) + count_ones(self.middle)
    }

    /// The first bit that is `bit`, counted from the beginning of the first byte. What was filled must be the other.
    fn find(&self, bit: bool) -> Option<u64> {
        let other = if bit { 0x00 } else { 0xff };
        let place = |at: usize, byte: u8| at as u64 * 8 + u64::from((byte ^ other).leading_zeros());
        if self.first != other {
            return Some(place(0, self.first));
        }
        if let Some(at) = find_byte_other_than(self.middle, other) {
            return Some(place(at + 1, self.middle[at]));
        }
        self.last.filter(|byte| *byte != other).map(|byte| place(self.middle.len() + 1, byte))
    }
}

fn bitcount(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let asked = Asked::parse(args, 2)?;
    let key = call.key(args, 1);
    let value = call.read_string(key)?.unwrap_or_default();
    let range = asked.bits(value.len()).filter(|_| !asked.is_backward());
    let count = range.map_or(0, |range| Cut::new(value, range, false).count());
    reply.integer(count as i64);
    Ok(())
}

/// `BITPOS`.
pub(super) static BITPOS: Command = Command {
    spec: Spec {
        name: "BITPOS",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        group: Group::Bitmap,
        since: "2.8.7",
        summary: "Finds the first bit that is set, or clear, in the string of a key, or in a range of it.",
        complexity: "O(N) where N is the length of the range",
        syntax: "key bit [start [end [BYTE | BIT]]]",
        ..Spec::BASE
    },
    run: bitpos,
};

fn bitpos(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let bit = match args.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::Text("ERR The bit argument must be 1 or 0.".into())),
    };
    let asked = Asked::parse(args, 3)?;
    let key = call.key(args, 1);
    // A missing key is an endless array of zeros.
    let Some(value) = call.read_string(key)? else {
        reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let place = asked.bits(value.len()).and_then(|range| {
        let found = Cut::new(value, range, !bit).find(bit).map(|at| (range.0 & !7) + at);
        // Without an end, a string is followed by zeros.
        found.or((!bit && asked.end.is_none()).then_some(range.1 + 1))
    });
    reply.integer(place.map_or(-1, |place| place as i64));
    Ok(())
}
