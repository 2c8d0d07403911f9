//! `string.find`, `match`, `gmatch`, `gsub`: Lua 5.1's, with patterns that are watched ([`super::patterns`]).

use super::lua::{Answer, Kind, Raise, Stack};
use super::patterns::{self, Captured, Found};
use super::work;

/// Bytes that make a text a pattern.
const SPECIALS: &[u8] = b"^$*+?.([%-";

/// Puts the functions into the table on top, in place of those of the same names.
pub(super) fn install(stack: &mut Stack) {
    stack.push_function(|stack: &mut Stack| search(stack, true), c"find");
    stack.raw_set_field(-2, c"find");
    stack.push_function(|stack: &mut Stack| search(stack, false), c"match");
    stack.raw_set_field(-2, c"match");
    for name in [c"gmatch", c"gfind"] {
        stack.push_function(gmatch, c"gmatch");
        stack.raw_set_field(-2, name);
    }
    stack.push_function(gsub, c"gsub");
    stack.raw_set_field(-2, c"gsub");
}

/// The number argument `at`, or `default` where there is none.
fn number_or(stack: &mut Stack, at: i32, default: f64) -> Result<f64, Raise> {
    if stack.kind(at) == Kind::Nil { Ok(default) } else { Ok(stack.expect_number(at)?.trunc()) }
}

/// Pushes what a capture has caught of the text at `subject`.
fn push_captured(stack: &mut Stack, subject: i32, captured: &Captured) {
    match captured {
        Captured::Part(part) => stack.push_part(subject, part.clone()),
        Captured::Position(at) => stack.push_number(*at as f64),
    }
}

/// Pushes all captures; without any, the whole match if that is `wanted`. Says how many.
fn push_captures(stack: &mut Stack, subject: i32, found: &Found, wanted: bool) -> Result<usize, Raise> {
    let count = if wanted { found.captures.len().max(1) } else { found.captures.len() };
    stack.reserve(count)?;
    for index in 0..count {
        push_captured(stack, subject, &found.capture(index)?);
    }
    Ok(count)
}

/// `string.find(text, pattern [, init [, plain]])`, `string.match(text, pattern [, init])`.
fn search(stack: &mut Stack, is_find: bool) -> Answer {
    let len = stack.expect_bytes(1)?.len();
    stack.expect_bytes(2)?;
    let init = number_or(stack, 3, 1.0)?;
    let init = if init < 0.0 { init + len as f64 + 1.0 } else { init };
    // Beyond the end is the end.
    let from = (init.max(1.0) as usize - 1).min(len);
    let plain = is_find && stack.boolean(4);
    let (subject, pattern) = (stack.bytes(1).unwrap_or_default(), stack.bytes(2).unwrap_or_default());
    if is_find && (plain || !pattern.iter().any(|byte| SPECIALS.contains(byte))) {
        // Linear in both lengths.
        let found = memchr::memmem::find(&subject[from..], pattern).map(|at| (from + at, from + at + pattern.len()));
        return match found {
            Some((start, end)) => {
                stack.push_number((start + 1) as f64);
                stack.push_number(end as f64);
                Ok(2)
            }
            None => nothing(stack),
        };
    }
    let (pattern, anchored) = pattern.strip_prefix(b"^").map_or((pattern, false), |rest| (rest, true));
    match patterns::find(subject, pattern, from, anchored)? {
        None => nothing(stack),
        Some(found) if is_find => {
            stack.push_number((found.whole.start + 1) as f64);
            stack.push_number(found.whole.end as f64);
            Ok(2 + push_captures(stack, 1, &found, false)?)
        }
        Some(found) => push_captures(stack, 1, &found, true),
    }
}

fn nothing(stack: &mut Stack) -> Answer {
    stack.push_nil();
    Ok(1)
}

/// `string.gmatch(text, pattern)`: an iterator, which keeps text, pattern, and where it goes on.
fn gmatch(stack: &mut Stack) -> Answer {
    stack.expect_bytes(1)?;
    stack.expect_bytes(2)?;
    stack.set_top(2);
    stack.push_number(0.0);
    stack.push_closure(gmatch_next, c"gmatch_next", 3);
    Ok(1)
}

fn gmatch_next(stack: &mut Stack) -> Answer {
    let (text, pattern, place) = (Stack::upvalue(1), Stack::upvalue(2), Stack::upvalue(3));
    let from = stack.number(place).unwrap_or(0.0) as usize;
    let subject = stack.bytes(text).unwrap_or_default();
    if from > subject.len() {
        return Ok(0);
    }
    let found = patterns::find(subject, stack.bytes(pattern).unwrap_or_default(), from, false)?;
    let next = match &found {
        None => subject.len() + 1,
        // An empty match is not found again.
        Some(found) => found.whole.end + usize::from(found.whole.is_empty()),
    };
    stack.push_number(next as f64);
    stack.replace(place);
    match found {
        None => Ok(0),
        Some(found) => push_captures(stack, text, &found, true),
    }
}

/// `string.gsub(text, pattern, replacement [, count])`.
fn gsub(stack: &mut Stack) -> Answer {
    let len = stack.expect_bytes(1)?.len();
    let anchored = stack.expect_bytes(2)?.first() == Some(&b'^');
    let kind = stack.kind(3);
    if kind == Kind::Number {
        stack.expect_bytes(3)?;
    } else if !matches!(kind, Kind::String | Kind::Function | Kind::Table) {
        return Err(stack.bad_argument(3, "string/function/table expected"));
    }
    let most = number_or(stack, 4, len as f64 + 1.0)?;
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0.0);
    while count < most {
        let (subject, pattern) = (stack.bytes(1).unwrap_or_default(), stack.bytes(2).unwrap_or_default());
        let Some(found) = patterns::find(subject, &pattern[usize::from(anchored)..], at, anchored)? else { break };
        count += 1.0;
        work::piece(stack, &out, found.whole.start - at)?;
        out.extend_from_slice(&subject[at..found.whole.start]);
        add_value(stack, &found, &mut out)?;
        at = found.whole.end;
        if found.whole.is_empty() {
            let Some(&byte) = stack.bytes(1).unwrap_or_default().get(at) else { break };
            out.push(byte);
            at += 1;
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(&stack.bytes(1).unwrap_or_default()[at..]);
    stack.push_bytes(&out);
    stack.push_number(count);
    Ok(2)
}

/// Appends what takes the place of a match.
fn add_value(stack: &mut Stack, found: &Found, out: &mut Vec<u8>) -> Result<(), Raise> {
    stack.reserve(4)?;
    match stack.kind(3) {
        Kind::Function => {
            stack.push_value(3);
            let arguments = push_captures(stack, 1, found, true)?;
            stack.invoke(arguments as i32, 1);
        }
        Kind::Table => {
            push_captured(stack, 1, &found.capture(0)?);
            stack.get_table(3);
        }
        _ => return add_text(stack, found, out),
    }
    match stack.kind(-1) {
        Kind::Nil => out.extend_from_slice(whole(stack, found)),
        Kind::Boolean if !stack.boolean(-1) => out.extend_from_slice(whole(stack, found)),
        Kind::String | Kind::Number => out.extend_from_slice(stack.expect_bytes(-1)?),
        _ => return Err(Raise::Text(format!("invalid replacement value (a {})", stack.kind_name(-1)))),
    }
    stack.pop(1);
    Ok(())
}

fn whole<'s>(stack: &'s Stack, found: &Found) -> &'s [u8] {
    stack.bytes(1).unwrap_or_default().get(found.whole.clone()).unwrap_or_default()
}

/// Appends the replacement text, with `%0` to `%9` filled in.
fn add_text(stack: &Stack, found: &Found, out: &mut Vec<u8>) -> Result<(), Raise> {
    let (subject, mut rest) = (stack.bytes(1).unwrap_or_default(), stack.bytes(3).unwrap_or_default());
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let escaped = rest.get(at + 1).copied().unwrap_or(0);
        rest = rest.get(at + 2..).unwrap_or_default();
        match escaped {
            b'0' => {
                let whole = whole(stack, found);
                work::piece(stack, out, whole.len())?;
                out.extend_from_slice(whole);
            }
            b'1'..=b'9' => match found.capture(usize::from(escaped - b'1'))? {
                Captured::Part(part) => {
                    work::piece(stack, out, part.len())?;
                    out.extend_from_slice(&subject[part]);
                }
                Captured::Position(place) => out.extend_from_slice(place.to_string().as_bytes()),
            },
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    Ok(())
}
