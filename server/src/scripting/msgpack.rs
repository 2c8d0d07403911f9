//! `cmsgpack` and `cmsgpack_safe`: MessagePack.
//!
//! 1. Nothing is taken as a length before so many bytes are there; nesting is bounded both ways.
//! 2. What is packed is bounded and watched value by value ([`work`]): tables may have one another many times.
//! 3. As Redis' library: a table of the keys 1 to n is an array, any other a map; numbers without a fraction are integers; what is nested too
//!    deep, and what has no form, is nil.

use super::lua::{Answer, Kind, Raise, Stack};
use super::{watch, work};

/// Tables are nested at most so deep when packed.
const NESTING_MAX: usize = 16;
/// When unpacked.
const UNPACK_NESTING_MAX: usize = 200;

/// Pushes the library; in the `safe` one, errors are given as `nil, text`.
pub(super) fn push_library(stack: &mut Stack, safe: bool) {
    stack.new_table(0, 8);
    if safe {
        stack.push_function(|stack: &mut Stack| protect(stack, pack), c"pack");
        stack.raw_set_field(-2, c"pack");
        stack.push_function(|stack: &mut Stack| protect(stack, unpack), c"unpack");
        stack.raw_set_field(-2, c"unpack");
        stack.push_function(|stack: &mut Stack| protect(stack, unpack_one), c"unpack_one");
        stack.raw_set_field(-2, c"unpack_one");
        stack.push_function(|stack: &mut Stack| protect(stack, unpack_limit), c"unpack_limit");
        stack.raw_set_field(-2, c"unpack_limit");
    } else {
        stack.push_function(pack, c"pack");
        stack.raw_set_field(-2, c"pack");
        stack.push_function(unpack, c"unpack");
        stack.raw_set_field(-2, c"unpack");
        stack.push_function(unpack_one, c"unpack_one");
        stack.raw_set_field(-2, c"unpack_one");
        stack.push_function(unpack_limit, c"unpack_limit");
        stack.raw_set_field(-2, c"unpack_limit");
    }
    stack.push_bytes(b"cmsgpack");
    stack.raw_set_field(-2, c"_NAME");
    stack.push_bytes(b"lua-cmsgpack 0.4.0");
    stack.raw_set_field(-2, c"_VERSION");
    stack.push_bytes(b"MessagePack C implementation for Lua");
    stack.raw_set_field(-2, c"_DESCRIPTION");
}

fn protect(stack: &mut Stack, function: fn(&mut Stack) -> Answer) -> Answer {
    function(stack).or_else(|raise| {
        let text = match raise {
            Raise::Text(text) => text.into_bytes(),
            Raise::Reply(line) | Raise::CountedReply(line) => line,
            Raise::Value => return Err(Raise::Value),
        };
        stack.push_nil();
        stack.push_bytes(&text);
        Ok(2)
    })
}

fn pack(stack: &mut Stack) -> Answer {
    let count = stack.top();
    if count == 0 {
        return Err(stack.bad_argument(0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for at in 1..=count {
        stack.reserve(1)?;
        stack.push_value(at);
        encode(stack, &mut out, 0)?;
    }
    stack.push_bytes(&out);
    Ok(1)
}

/// Packs the topmost value, which is popped.
fn encode(stack: &mut Stack, out: &mut Vec<u8>, level: usize) -> Result<(), Raise> {
    work::piece(stack, out, 1)?;
    match stack.kind(-1) {
        Kind::String => {
            let text = stack.bytes(-1).unwrap_or_default();
            work::piece(stack, out, text.len())?;
            match text.len() {
                len @ 0..=31 => out.push(0xa0 | len as u8),
                len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
                len @ 0x100..=0xffff => {
                    out.push(0xda);
                    out.extend_from_slice(&(len as u16).to_be_bytes());
                }
                len => {
                    out.push(0xdb);
                    out.extend_from_slice(&(len as u32).to_be_bytes());
                }
            }
            out.extend_from_slice(text);
        }
        Kind::Boolean => out.push(if stack.boolean(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => encode_number(stack.number(-1).unwrap_or(0.0), out),
        Kind::Table if level < NESTING_MAX => {
            stack.reserve(4)?;
            match array_length(stack) {
                Some(len) => {
                    head(out, len, 0x90, 0xdc);
                    for index in 1..=len {
                        stack.raw_get_index(-1, index as i32);
                        encode(stack, out, level + 1)?;
                    }
                }
                None => {
                    let mut len = 0;
                    stack.push_nil();
                    while stack.next(-2) {
                        stack.pop(1);
                        len += 1;
                    }
                    head(out, len, 0x80, 0xde);
                    stack.push_nil();
                    while stack.next(-2) {
                        stack.push_value(-2);
                        encode(stack, out, level + 1)?;
                        encode(stack, out, level + 1)?;
                    }
                }
            }
        }
        _ => out.push(0xc0),
    }
    stack.pop(1);
    Ok(())
}

/// The head of an array or a map.
fn head(out: &mut Vec<u8>, len: usize, short: u8, long: u8) {
    match len {
        0..=15 => out.push(short | len as u8),
        16..=0xffff => {
            out.push(long);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(long + 1);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn encode_number(number: f64, out: &mut Vec<u8>) {
    if number.trunc() != number || !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        let short = number as f32;
        if f64::from(short) == number {
            out.push(0xca);
            out.extend_from_slice(&short.to_bits().to_be_bytes());
        } else {
            out.push(0xcb);
            out.extend_from_slice(&number.to_bits().to_be_bytes());
        }
        return;
    }
    let value = number as i64;
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&(value as u64).to_be_bytes());
        }
        -32..=-1 => out.push(value as i8 as u8),
        -128..=-33 => out.extend_from_slice(&[0xd0, value as i8 as u8]),
        -32768..=-129 => {
            out.push(0xd1);
            out.extend_from_slice(&(value as i16).to_be_bytes());
        }
        -2_147_483_648..=-32769 => {
            out.push(0xd2);
            out.extend_from_slice(&(value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// The length of the topmost table if its keys are 1 to n.
fn array_length(stack: &mut Stack) -> Option<usize> {
    let (mut count, mut highest) = (0usize, 0usize);
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        let number = if stack.kind(-1) == Kind::Number { stack.number(-1).unwrap_or(0.0) } else { 0.0 };
        if number < 1.0 || number.trunc() != number || number > f64::from(i32::MAX) {
            stack.pop(1);
            return None;
        }
        count += 1;
        highest = highest.max(number as usize);
    }
    (count == highest).then_some(count)
}

fn unpack(stack: &mut Stack) -> Answer {
    unpack_full(stack, None, 0.0)
}

fn unpack_one(stack: &mut Stack) -> Answer {
    let offset = optional(stack, 2)?;
    unpack_full(stack, Some(1.0), offset)
}

fn unpack_limit(stack: &mut Stack) -> Answer {
    let limit = stack.expect_number(2)?.trunc();
    let offset = optional(stack, 3)?;
    unpack_full(stack, Some(limit), offset)
}

fn optional(stack: &mut Stack, at: i32) -> Result<f64, Raise> {
    if stack.kind(at) == Kind::Nil { Ok(0.0) } else { Ok(stack.expect_number(at)?.trunc()) }
}

fn unpack_full(stack: &mut Stack, limit: Option<f64>, offset: f64) -> Answer {
    let data = stack.expect_bytes(1)?.to_vec();
    let wanted = limit.unwrap_or(0.0);
    if offset < 0.0 || wanted < 0.0 {
        return Err(Raise::Text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            data.len()
        )));
    }
    if offset > data.len() as f64 {
        return Err(Raise::Text(format!("Start offset {offset} greater than input length {}.", data.len())));
    }
    let all = wanted == 0.0 && offset == 0.0;
    let mut rest = &data[offset as usize..];
    let mut count = 0usize;
    let first = stack.top() + 1;
    while !rest.is_empty() && (all || (count as f64) < wanted) {
        stack.reserve(2)?;
        decode(stack, &mut rest, 0)?;
        count += 1;
    }
    if !all {
        stack.reserve(1)?;
        stack.push_number(if rest.is_empty() { -1.0 } else { (data.len() - rest.len()) as f64 });
        stack.insert(first);
        count += 1;
    }
    Ok(count)
}

fn take<'d>(rest: &mut &'d [u8], len: usize) -> Result<&'d [u8], Raise> {
    let (taken, behind) = rest.split_at_checked(len).ok_or_else(|| Raise::text("Missing bytes in input."))?;
    *rest = behind;
    Ok(taken)
}

/// A big-endian integer of `len` bytes.
fn take_integer(rest: &mut &[u8], len: usize) -> Result<u64, Raise> {
    Ok(take(rest, len)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// Pushes the value at the beginning of `rest`.
fn decode(stack: &mut Stack, rest: &mut &[u8], level: usize) -> Result<(), Raise> {
    watch::tick()?;
    let kind = take(rest, 1)?[0];
    match kind {
        0..=0x7f => stack.push_number(f64::from(kind)),
        0x80..=0x8f => return decode_map(stack, rest, u64::from(kind & 15), level),
        0x90..=0x9f => return decode_array(stack, rest, u64::from(kind & 15), level),
        0xa0..=0xbf => stack.push_bytes(take(rest, usize::from(kind & 31))?),
        0xc0 => stack.push_nil(),
        0xc2 => stack.push_boolean(false),
        0xc3 => stack.push_boolean(true),
        0xca => stack.push_number(f64::from(f32::from_bits(take_integer(rest, 4)? as u32))),
        0xcb => stack.push_number(f64::from_bits(take_integer(rest, 8)?)),
        0xcc..=0xcf => stack.push_number(take_integer(rest, 1 << (kind - 0xcc))? as f64),
        0xd0 => stack.push_number(f64::from(take_integer(rest, 1)? as i8)),
        0xd1 => stack.push_number(f64::from(take_integer(rest, 2)? as i16)),
        0xd2 => stack.push_number(f64::from(take_integer(rest, 4)? as i32)),
        0xd3 => stack.push_number(take_integer(rest, 8)? as i64 as f64),
        0xd9..=0xdb => {
            let len = take_integer(rest, 1 << (kind - 0xd9))?;
            stack.push_bytes(take(rest, len as usize)?);
        }
        0xdc | 0xdd => {
            let len = take_integer(rest, if kind == 0xdc { 2 } else { 4 })?;
            return decode_array(stack, rest, len, level);
        }
        0xde | 0xdf => {
            let len = take_integer(rest, if kind == 0xde { 2 } else { 4 })?;
            return decode_map(stack, rest, len, level);
        }
        0xe0..=0xff => stack.push_number(f64::from(kind as i8)),
        _ => return Err(Raise::text("Bad data format in input.")),
    }
    Ok(())
}

fn descend(stack: &mut Stack, level: usize) -> Result<(), Raise> {
    if level >= UNPACK_NESTING_MAX {
        return Err(Raise::text("Too deep nesting in input."));
    }
    stack.reserve(4)
}

fn decode_array(stack: &mut Stack, rest: &mut &[u8], len: u64, level: usize) -> Result<(), Raise> {
    descend(stack, level)?;
    stack.new_table((len as usize).min(rest.len()), 0);
    for index in 1..=len {
        decode(stack, rest, level + 1)?;
        stack.raw_set_index(-2, index as i32);
    }
    Ok(())
}

fn decode_map(stack: &mut Stack, rest: &mut &[u8], len: u64, level: usize) -> Result<(), Raise> {
    descend(stack, level)?;
    stack.new_table(0, (len as usize).min(rest.len()));
    for _ in 0..len {
        decode(stack, rest, level + 1)?;
        if stack.kind(-1) == Kind::Nil {
            return Err(Raise::text("table index is nil"));
        }
        if stack.number(-1).is_some_and(f64::is_nan) {
            return Err(Raise::text("table index is NaN"));
        }
        decode(stack, rest, level + 1)?;
        stack.raw_set(-3);
    }
    Ok(())
}
