//! Replies of commands as Lua values, and Lua values as replies.
//!
//! 1. Which Lua value stands for which reply is Redis' table: a status is `{ok=}`, an error `{err=}`, null `false` (RESP2) or `nil` (RESP3),
//!    a double `{double=}`, a map `{map={}}`, a set `{set={member=true}}`, and so on.
//! 2. Tables of scripts are read without their metamethods: no code runs while a reply is written.
//! 3. A table that contains itself ends in an error at a depth, one that unfolds without end at a length; the script can be ended meanwhile.

use super::lua::{Kind, Raise, Stack};
use super::watch;
use crate::resp::writer::Writer;
use firn_engine::command::Reply;

/// How deep tables may be nested in a reply.
const DEPTH_MAX: usize = 1000;
/// How long a script's reply may be, in bytes.
const REPLY_LEN_MAX: usize = 1 << 30;

/// Pushes the reply at the beginning of `bytes`, which a [`Writer`] wrote; says how long it is.
///
/// # Errors
/// There is no room on the stack.
pub(super) fn push_reply(stack: &mut Stack, bytes: &[u8]) -> Result<usize, Raise> {
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let line = &bytes[1.min(end)..end];
    let behind = (end + 2).min(bytes.len());
    match bytes.first() {
        Some(b':') => stack.push_number(integer(line) as f64),
        Some(b'$') => {
            let Ok(len) = usize::try_from(integer(line)) else {
                stack.push_boolean(false);
                return Ok(behind);
            };
            let text = bytes.get(behind..behind + len).unwrap_or_default();
            stack.push_bytes(text);
            return Ok(behind + len + 2);
        }
        Some(b'+') => push_field(stack, line, c"ok"),
        Some(b'-') => stack.push_error(line, true),
        Some(b'_') => stack.push_nil(),
        Some(b'#') => stack.push_boolean(line == b"t"),
        Some(b',') => {
            stack.new_table(0, 1);
            stack.push_number(double(line));
            stack.raw_set_field(-2, c"double");
        }
        Some(b'(') => push_field(stack, line, c"big_number"),
        Some(b'=') => {
            let len = usize::try_from(integer(line)).unwrap_or(0);
            let text = bytes.get(behind..behind + len).unwrap_or_default();
            stack.new_table(0, 1);
            stack.new_table(0, 2);
            stack.push_bytes(text.get(..3).unwrap_or_default());
            stack.raw_set_field(-2, c"format");
            stack.push_bytes(text.get(4..).unwrap_or_default());
            stack.raw_set_field(-2, c"string");
            stack.raw_set_field(-2, c"verbatim_string");
            return Ok(behind + len + 2);
        }
        Some(b'*' | b'>') => {
            let Ok(count) = usize::try_from(integer(line)) else {
                stack.push_boolean(false);
                return Ok(behind);
            };
            stack.reserve(4)?;
            stack.new_table(count, 0);
            let mut at = behind;
            for index in 1..=count {
                at += push_reply(stack, &bytes[at..])?;
                stack.raw_set_index(-2, index as i32);
            }
            return Ok(at);
        }
        Some(kind @ (b'%' | b'~')) => {
            let count = usize::try_from(integer(line)).unwrap_or(0);
            stack.reserve(5)?;
            stack.new_table(0, 1);
            stack.new_table(0, count);
            let mut at = behind;
            for _ in 0..count {
                at += push_reply(stack, &bytes[at..])?;
                if *kind == b'%' {
                    at += push_reply(stack, &bytes[at..])?;
                } else {
                    stack.push_boolean(true);
                }
                stack.raw_set(-3);
            }
            stack.raw_set_field(-2, if *kind == b'%' { c"map" } else { c"set" });
            return Ok(at);
        }
        Some(b'|') => {
            // What is said about the reply is dropped; the reply follows.
            let count = usize::try_from(integer(line)).unwrap_or(0);
            let mut at = behind;
            for _ in 0..2 * count {
                at += push_reply(stack, &bytes[at..])?;
                stack.pop(1);
            }
            return Ok(at + push_reply(stack, &bytes[at..])?);
        }
        _ => stack.push_nil(),
    }
    Ok(behind)
}

fn push_field(stack: &mut Stack, text: &[u8], name: &std::ffi::CStr) {
    stack.new_table(0, 1);
    stack.push_bytes(text);
    stack.raw_set_field(-2, name);
}

fn integer(digits: &[u8]) -> i64 {
    firn_engine::number::parse_integer(digits).unwrap_or(0)
}

fn double(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Why a reply is not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// It would be too long.
    TooLong,
    /// The script is to end.
    Ended(Raise),
}

/// How a reply is written.
#[derive(Clone, Copy)]
struct Form {
    /// The script's own protocol.
    resp: u8,
    len_max: usize,
}

/// Writes the topmost value, which is popped, as a reply. `resp` is the script's own protocol; `hard` is the limit of its client's output, 0 if
/// there is none.
///
/// # Errors
/// What was written of it is of no use.
pub(super) fn write_reply(stack: &mut Stack, writer: &mut Writer<'_>, resp: u8, hard: u64) -> Result<(), Unwritten> {
    let hard = usize::try_from(hard).ok().filter(|hard| *hard > 0);
    let len_max = hard.map_or(REPLY_LEN_MAX, |hard| hard.min(REPLY_LEN_MAX));
    write(stack, writer, Form { resp, len_max }, 0)
}

fn write(stack: &mut Stack, writer: &mut Writer<'_>, form: Form, depth: usize) -> Result<(), Unwritten> {
    let may =
        if writer.out.len() > form.len_max { Err(Unwritten::TooLong) } else { watch::tick().map_err(Unwritten::Ended) };
    if may.is_err() {
        stack.pop(1);
        return may;
    }
    match stack.kind(-1) {
        Kind::String => writer.bulk(stack.bytes(-1).unwrap_or_default()),
        Kind::Number => writer.integer(truncate(stack.number(-1).unwrap_or(0.0))),
        Kind::Boolean if form.resp == 2 => {
            if stack.boolean(-1) {
                writer.integer(1);
            } else {
                writer.null();
            }
        }
        Kind::Boolean => writer.boolean(stack.boolean(-1)),
        Kind::Table if depth >= DEPTH_MAX || !stack.has_room(6) => writer.error("ERR reached lua stack limit"),
        Kind::Table => return write_table(stack, writer, form, depth),
        _ => writer.null(),
    }
    stack.pop(1);
    Ok(())
}

/// As C converts a double to a 64-bit integer on x86: what does not fit is the smallest one.
fn truncate(number: f64) -> i64 {
    let number = number.trunc();
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

/// The text of field `name` of the topmost table.
fn text_field(stack: &mut Stack, name: &std::ffi::CStr) -> Option<Vec<u8>> {
    stack.raw_get_field(-1, name);
    let text = stack.bytes(-1).map(<[u8]>::to_vec);
    stack.pop(1);
    text
}

fn write_table(stack: &mut Stack, writer: &mut Writer<'_>, form: Form, depth: usize) -> Result<(), Unwritten> {
    if let Some(error) = text_field(stack, c"err") {
        stack.raw_get_field(-1, c"ignore_error_stats_update");
        let counted = stack.boolean(-1);
        stack.pop(2);
        write_error(writer, &error, counted);
        return Ok(());
    }
    if let Some(status) = text_field(stack, c"ok") {
        writer.status_bytes(c_string(&status));
        stack.pop(1);
        return Ok(());
    }
    stack.raw_get_field(-1, c"double");
    let double = if stack.kind(-1) == Kind::Number { stack.number(-1) } else { None };
    stack.pop(1);
    if let Some(double) = double {
        writer.double(double);
        stack.pop(1);
        return Ok(());
    }
    if let Some(digits) = text_field(stack, c"big_number") {
        writer.big_number(&String::from_utf8_lossy(&digits).replace(['\r', '\n'], " "));
        stack.pop(1);
        return Ok(());
    }
    stack.raw_get_field(-1, c"verbatim_string");
    if stack.kind(-1) == Kind::Table
        && let (Some(format), Some(text)) = (text_field(stack, c"format"), text_field(stack, c"string"))
    {
        writer.verbatim_bytes(c_string(&format), &text);
        stack.pop(2);
        return Ok(());
    }
    stack.pop(1);
    for (name, pairs) in [(c"map", true), (c"set", false)] {
        stack.raw_get_field(-1, name);
        if stack.kind(-1) == Kind::Table {
            let result = write_pairs(stack, writer, form, depth, pairs);
            stack.pop(1);
            return result;
        }
        stack.pop(1);
    }
    let mut count = 0;
    loop {
        stack.raw_get_index(-1, count + 1);
        let end = stack.kind(-1) == Kind::Nil;
        stack.pop(1);
        if end {
            break;
        }
        count += 1;
    }
    writer.array(count as usize);
    for index in 1..=count {
        stack.raw_get_index(-1, index);
        let written = write(stack, writer, form, depth + 1);
        if written.is_err() {
            stack.pop(1);
            return written;
        }
    }
    stack.pop(1);
    Ok(())
}

/// Writes the topmost table, which is popped, as a map or a set.
fn write_pairs(
    stack: &mut Stack,
    writer: &mut Writer<'_>,
    form: Form,
    depth: usize,
    pairs: bool,
) -> Result<(), Unwritten> {
    let mut count = 0;
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        count += 1;
    }
    if pairs {
        writer.map(count);
    } else {
        writer.set(count);
    }
    stack.push_nil();
    while stack.next(-2) {
        let mut result = Ok(());
        if pairs {
            stack.push_value(-2);
            result = write(stack, writer, form, depth + 1);
            if result.is_ok() {
                result = write(stack, writer, form, depth + 1);
            } else {
                stack.pop(1);
            }
        } else {
            stack.pop(1);
            stack.push_value(-1);
            result = result.and_then(|()| write(stack, writer, form, depth + 1));
        }
        if result.is_err() {
            stack.pop(2);
            return result;
        }
    }
    stack.pop(1);
    Ok(())
}

/// Writes an error's line, which may have been counted where it arose.
pub(super) fn write_error(writer: &mut Writer<'_>, line: &[u8], counted: bool) {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
    let line = c_string(&line[..end]);
    if counted {
        writer.counted_error_bytes(line);
    } else {
        writer.error_bytes(line);
    }
}

/// Up to the first NUL: Redis reads these texts as C does.
fn c_string(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}
