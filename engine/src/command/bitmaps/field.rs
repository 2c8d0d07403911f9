//! BITFIELD, BITFIELD_RO: integers of any width up to 64 bits, anywhere in a string.

use super::BitOffset;
use crate::command::ranges::grow;
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::number::parse_integer;

/// `BITFIELD`.
pub(super) static BITFIELD: Command = Command {
    spec: Spec {
        name: "BITFIELD",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("RW ACCESS UPDATE VARIABLE_FLAGS"),
        group: Group::Bitmap,
        since: "3.2.0",
        summary: "Reads and changes integers of any width inside the string of a key.",
        complexity: "O(1) for each subcommand",
        syntax: "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>] ...",
        ..Spec::BASE
    },
    run: |call, args, reply| bitfield(call, args, reply, false),
};

/// `BITFIELD_RO`.
pub(super) static BITFIELD_RO: Command = Command {
    spec: Spec {
        name: "BITFIELD_RO",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO ACCESS"),
        group: Group::Bitmap,
        since: "6.0.0",
        summary: "Reads integers of any width inside the string of a key.",
        complexity: "O(1) for each subcommand",
        syntax: "key [GET encoding offset [GET encoding offset ...]]",
        ..Spec::BASE
    },
    run: |call, args, reply| bitfield(call, args, reply, true),
};

/// `i5`, `u63`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Encoding {
    signed: bool,
    /// 1 to 64; 63 at most without a sign, so that every value is an `i64`.
    width: u32,
}

impl Encoding {
    fn parse(word: &[u8]) -> Option<Encoding> {
        let (signed, digits) = match word {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let most = if signed { 64 } else { 63 };
        let width = parse_integer(digits).filter(|width| (1..=most).contains(width))?;
        Some(Encoding { signed, width: width as u32 })
    }

    fn min(self) -> i64 {
        if self.signed { i64::MIN >> (64 - self.width) } else { 0 }
    }

    fn max(self) -> i64 {
        if self.signed { i64::MAX >> (64 - self.width) } else { i64::MAX >> (63 - self.width) }
    }

    /// The number that SET brings into range. A negative one is the large one of the same bits where there is no sign, and also where
    /// its distance from the maximum is no `i64`: Redis and Valkey compute that distance, and saturate to the maximum then.
    fn to_set(self, number: i64) -> i128 {
        let far_below = self.width < 64 && self.max().checked_sub(number).is_none();
        if !self.signed || far_below { (number as u64).into() } else { number.into() }
    }

    /// The lowest bits of a number as a value of this width.
    fn wrap(self, number: i128) -> i64 {
        let high = (number as i64) << (64 - self.width);
        if self.signed { high >> (64 - self.width) } else { (high as u64 >> (64 - self.width)) as i64 }
    }

    /// Nine bytes hold any field that begins in the first of them.
    fn read(self, bytes: [u8; 9], bit: u32) -> i64 {
        let mut wide = [0; 16];
        wide[..9].copy_from_slice(&bytes);
        let number = u128::from_be_bytes(wide) << bit >> (128 - self.width);
        self.wrap(number as i128)
    }

    fn get(self, value: &[u8], at: BitOffset) -> i64 {
        let mut bytes = [0; 9];
        let from = at.byte.min(value.len());
        let part = &value[from..value.len().min(from + 9)];
        bytes[..part.len()].copy_from_slice(part);
        self.read(bytes, at.bit)
    }

    /// The string must be long enough.
    fn set(self, value: &mut [u8], at: BitOffset, number: i64) {
        let part = &mut value[at.byte..self.end(at)];
        let mut wide = [0; 16];
        wide[..part.len()].copy_from_slice(part);
        let shift = 128 - self.width - at.bit;
        let mask = (u128::MAX >> (128 - self.width)) << shift;
        let bits = u128::from_be_bytes(wide) & !mask | (number as u128) << shift & mask;
        part.copy_from_slice(&bits.to_be_bytes()[..part.len()]);
    }

    /// Bytes that a string needs to hold such a field at `at`.
    fn end(self, at: BitOffset) -> usize {
        at.byte + (at.bit + self.width).div_ceil(8) as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    /// A number brought into range; `None` for one that fails.
    fn bring(self, encoding: Encoding, number: i128) -> Option<i64> {
        let (min, max) = (encoding.min(), encoding.max());
        match i64::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => match self {
                Overflow::Wrap => Some(encoding.wrap(number)),
                Overflow::Saturate => Some(if number < 0 { min } else { max }),
                Overflow::Fail => None,
            },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    action: Action,
    encoding: Encoding,
    at: BitOffset,
}

fn parse(call: &Call<'_>, args: &Args<'_>) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::with_capacity((args.len() - 2) / 3);
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - at - 1;
        if args.is(at, "OVERFLOW") && left >= 1 {
            overflow = match args.get(at + 1) {
                word if word.eq_ignore_ascii_case(b"WRAP") => Overflow::Wrap,
                word if word.eq_ignore_ascii_case(b"SAT") => Overflow::Saturate,
                word if word.eq_ignore_ascii_case(b"FAIL") => Overflow::Fail,
                _ => return Err(CommandError::Text("ERR Invalid OVERFLOW type specified".into())),
            };
            at += 2;
            continue;
        }
        let with_number = if args.is(at, "GET") && left >= 2 {
            None
        } else if args.is(at, "SET") && left >= 3 {
            Some(Action::Set as fn(i64, Overflow) -> Action)
        } else if args.is(at, "INCRBY") && left >= 3 {
            Some(Action::Increment as fn(i64, Overflow) -> Action)
        } else {
            return Err(CommandError::Syntax);
        };
        let encoding = Encoding::parse(args.get(at + 1)).ok_or_else(|| {
            let text =
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
            CommandError::Text(text.into())
        })?;
        let offset = BitOffset::parse(call, args.get(at + 2), Some(encoding.width))?;
        let action = match with_number {
            None => Action::Get,
            Some(action) => action(args.integer(at + 3)?, overflow),
        };
        steps.push(Step { action, encoding, at: offset });
        at += if with_number.is_some() { 4 } else { 3 };
    }
    Ok(steps)
}

fn bitfield(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, read_only: bool) -> Result<(), CommandError> {
    let steps = parse(call, args)?;
    let key = call.key(args, 1);
    // As long as the string must be for what is written.
    let writes = || steps.iter().filter(|step| step.action != Action::Get);
    let Some(len) = writes().map(|step| step.encoding.end(step.at)).max() else {
        let value = call.read_string(key)?.unwrap_or_default();
        reply.array(steps.len());
        steps.iter().for_each(|step| reply.integer(step.encoding.get(value, step.at)));
        return Ok(());
    };
    if read_only {
        return Err(CommandError::Text("ERR BITFIELD_RO only supports the GET subcommand".into()));
    }
    let old_len = call.write_string(key)?.map(<[u8]>::len);
    call.check_length(0, len)?;
    let grew = old_len.is_none_or(|old_len| old_len < len);
    reply.array(steps.len());
    let db = call.session.db;
    let (written, changed) = call.engine.db_now(db).edit_string(key, |value| {
        grow(value, len);
        let (mut written, mut changed) = (false, false);
        for step in &steps {
            let old = step.encoding.get(value, step.at);
            let new = match step.action {
                Action::Get => {
                    reply.integer(old);
                    continue;
                }
                Action::Set(number, overflow) => overflow.bring(step.encoding, step.encoding.to_set(number)),
                Action::Increment(number, overflow) => {
                    overflow.bring(step.encoding, i128::from(old) + i128::from(number))
                }
            };
            let Some(new) = new else {
                reply.null();
                continue;
            };
            step.encoding.set(value, step.at, new);
            written = true;
            changed |= old != new;
            reply.integer(if matches!(step.action, Action::Set(..)) { old } else { new });
        }
        (written, changed)
    });
    if grew || changed {
        call.changed(key);
        if old_len.is_none() {
            call.event(EventClass::New, "new", key.bytes);
        }
        // A string that only grew, because every step failed, is logged but not told of: as Redis does.
        if changed || written {
            call.event(EventClass::String, "setbit", key.bytes);
        }
        call.effect_parts(&[b"BITFIELD"], &args.words()[1..]);
    }
    Ok(())
}
