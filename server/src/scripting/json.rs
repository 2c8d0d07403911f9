//! `cjson`: JSON out of Lua values and back.
//!
//! 1. As Redis' library to the byte and the message, but settings that a script changes (`encode_max_depth`, ...) hold until it ends: no
//!    script changes another's results.
//! 2. Nesting is bounded by the settings, and these by [`DEPTH_MAX`]: a deeper text or table is an error, never a deep recursion.
//! 3. A table that has another twice, and that yet another, unfolds to more than any memory holds: what is written is bounded, and
//!    watched value by value ([`work`]).

use super::lua::{Answer, Kind, Raise, Stack, print_general};
use super::{watch, work};
use std::cell::Cell;

/// How deep a script may set `encode_max_depth` and `decode_max_depth`: recursion takes some hundred bytes a level.
const DEPTH_MAX: usize = 1000;

/// What scripts can set.
#[derive(Clone, Copy)]
struct Settings {
    sparse_convert: bool,
    sparse_ratio: usize,
    sparse_safe: usize,
    encode_max_depth: usize,
    decode_max_depth: usize,
    precision: usize,
    keep_buffer: bool,
    /// 0 refuses NaN and infinities, 1 writes them, 2 writes `null`.
    encode_invalid: u8,
    decode_invalid: bool,
}

const DEFAULT: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_max_depth: 1000,
    decode_max_depth: 1000,
    precision: 14,
    keep_buffer: true,
    encode_invalid: 0,
    decode_invalid: true,
};

thread_local! {
    static SETTINGS: Cell<Settings> = const { Cell::new(DEFAULT) };
}

/// A script begins.
pub(super) fn reset() {
    SETTINGS.set(DEFAULT);
}

/// Pushes the library.
pub(super) fn push_library(stack: &mut Stack) {
    stack.new_table(0, 16);
    stack.push_function(encode, c"encode");
    stack.raw_set_field(-2, c"encode");
    stack.push_function(decode, c"decode");
    stack.raw_set_field(-2, c"decode");
    stack.push_function(set_sparse, c"encode_sparse_array");
    stack.raw_set_field(-2, c"encode_sparse_array");
    stack.push_function(
        |stack: &mut Stack| set_integer(stack, 1, DEPTH_MAX, |s| &mut s.encode_max_depth),
        c"encode_max_depth",
    );
    stack.raw_set_field(-2, c"encode_max_depth");
    stack.push_function(
        |stack: &mut Stack| set_integer(stack, 1, DEPTH_MAX, |s| &mut s.decode_max_depth),
        c"decode_max_depth",
    );
    stack.raw_set_field(-2, c"decode_max_depth");
    stack
        .push_function(|stack: &mut Stack| set_integer(stack, 1, 14, |s| &mut s.precision), c"encode_number_precision");
    stack.raw_set_field(-2, c"encode_number_precision");
    stack.push_function(|stack: &mut Stack| set_boolean(stack, |s| &mut s.keep_buffer), c"encode_keep_buffer");
    stack.raw_set_field(-2, c"encode_keep_buffer");
    stack.push_function(set_encode_invalid, c"encode_invalid_numbers");
    stack.raw_set_field(-2, c"encode_invalid_numbers");
    stack.push_function(|stack: &mut Stack| set_boolean(stack, |s| &mut s.decode_invalid), c"decode_invalid_numbers");
    stack.raw_set_field(-2, c"decode_invalid_numbers");
    stack.push_function(
        |stack: &mut Stack| {
            push_library(stack);
            Ok(1)
        },
        c"new",
    );
    stack.raw_set_field(-2, c"new");
    stack.push_null();
    stack.raw_set_field(-2, c"null");
    stack.push_bytes(b"cjson");
    stack.raw_set_field(-2, c"_NAME");
    stack.push_bytes(b"2.1.0");
    stack.raw_set_field(-2, c"_VERSION");
}

/// Sets what is given, within bounds, and pushes what holds then.
fn set_integer(stack: &mut Stack, low: usize, high: usize, field: fn(&mut Settings) -> &mut usize) -> Answer {
    let mut settings = SETTINGS.get();
    if stack.kind(1) != Kind::Nil {
        *field(&mut settings) = integer_argument(stack, 1, low, high)?;
    }
    SETTINGS.set(settings);
    stack.push_number(*field(&mut settings) as f64);
    Ok(1)
}

fn integer_argument(stack: &mut Stack, at: i32, low: usize, high: usize) -> Result<usize, Raise> {
    let value = stack.expect_number(at)?.trunc();
    if value < low as f64 || value > high as f64 {
        return Err(stack.bad_argument(at, &format!("expected integer between {low} and {high}")));
    }
    Ok(value as usize)
}

fn set_boolean(stack: &mut Stack, field: fn(&mut Settings) -> &mut bool) -> Answer {
    let mut settings = SETTINGS.get();
    if stack.kind(1) != Kind::Nil {
        *field(&mut settings) = stack.boolean(1);
    }
    SETTINGS.set(settings);
    stack.push_boolean(*field(&mut settings));
    Ok(1)
}

fn set_encode_invalid(stack: &mut Stack) -> Answer {
    let mut settings = SETTINGS.get();
    match stack.kind(1) {
        Kind::Nil => {}
        Kind::Boolean => settings.encode_invalid = u8::from(stack.boolean(1)),
        _ => match stack.expect_bytes(1)? {
            b"null" => settings.encode_invalid = 2,
            b"on" => settings.encode_invalid = 1,
            b"off" => settings.encode_invalid = 0,
            other => {
                let why = format!("invalid option '{}'", String::from_utf8_lossy(other));
                return Err(stack.bad_argument(1, &why));
            }
        },
    }
    SETTINGS.set(settings);
    match settings.encode_invalid {
        2 => stack.push_bytes(b"null"),
        other => stack.push_boolean(other == 1),
    }
    Ok(1)
}

fn set_sparse(stack: &mut Stack) -> Answer {
    let mut settings = SETTINGS.get();
    if stack.kind(1) != Kind::Nil {
        settings.sparse_convert = stack.boolean(1);
    }
    if stack.kind(2) != Kind::Nil {
        settings.sparse_ratio = integer_argument(stack, 2, 0, i32::MAX as usize)?;
    }
    if stack.kind(3) != Kind::Nil {
        settings.sparse_safe = integer_argument(stack, 3, 0, i32::MAX as usize)?;
    }
    SETTINGS.set(settings);
    stack.push_boolean(settings.sparse_convert);
    stack.push_number(settings.sparse_ratio as f64);
    stack.push_number(settings.sparse_safe as f64);
    Ok(3)
}

fn encode(stack: &mut Stack) -> Answer {
    if stack.top() != 1 {
        return Err(stack.bad_argument(1, "expected 1 argument"));
    }
    let mut out = Vec::new();
    append(stack, &SETTINGS.get(), 0, &mut out)?;
    stack.push_bytes(&out);
    Ok(1)
}

fn cannot(stack: &Stack, at: i32, why: &str) -> Raise {
    Raise::Text(format!("Cannot serialise {}: {why}", stack.kind_name(at)))
}

/// Appends the topmost value, which stays.
fn append(stack: &mut Stack, settings: &Settings, depth: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    work::piece(stack, out, 1)?;
    match stack.kind(-1) {
        Kind::String => append_string(stack, -1, out)?,
        Kind::Number => append_number(stack, -1, settings, out)?,
        Kind::Boolean => out.extend_from_slice(if stack.boolean(-1) { b"true" } else { b"false" }),
        Kind::Nil | Kind::Light => out.extend_from_slice(b"null"),
        Kind::Table => {
            let depth = depth + 1;
            if depth > settings.encode_max_depth || !stack.has_room(4) {
                return Err(Raise::Text(format!("Cannot serialise, excessive nesting ({depth})")));
            }
            match array_length(stack, settings)? {
                Some(len) if len > 0 => {
                    for index in 1..=len {
                        out.push(if index == 1 { b'[' } else { b',' });
                        stack.raw_get_index(-1, index as i32);
                        append(stack, settings, depth, out)?;
                        stack.pop(1);
                    }
                    out.push(b']');
                }
                _ => append_object(stack, settings, depth, out)?,
            }
        }
        Kind::Function | Kind::Other => return Err(cannot(stack, -1, "type not supported")),
    }
    Ok(())
}

/// The highest index of the topmost table if it has no other keys than indexes.
fn array_length(stack: &mut Stack, settings: &Settings) -> Result<Option<usize>, Raise> {
    let (mut highest, mut items) = (0usize, 0usize);
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        let key = if stack.kind(-1) == Kind::Number { stack.number(-1).unwrap_or(0.0) } else { 0.0 };
        if key < 1.0 || key.trunc() != key {
            stack.pop(1);
            return Ok(None);
        }
        highest = highest.max(key as usize);
        items += 1;
    }
    let sparse = settings.sparse_ratio > 0
        && highest > items.saturating_mul(settings.sparse_ratio)
        && highest > settings.sparse_safe;
    if sparse {
        return if settings.sparse_convert { Ok(None) } else { Err(cannot(stack, -1, "excessively sparse array")) };
    }
    if highest > i32::MAX as usize {
        return Err(cannot(stack, -1, "excessively sparse array"));
    }
    Ok(Some(highest))
}

fn append_object(stack: &mut Stack, settings: &Settings, depth: usize, out: &mut Vec<u8>) -> Result<(), Raise> {
    out.push(b'{');
    let mut first = true;
    stack.push_nil();
    while stack.next(-2) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match stack.kind(-2) {
            Kind::Number => {
                out.push(b'"');
                append_number(stack, -2, settings, out)?;
                out.push(b'"');
            }
            Kind::String => append_string(stack, -2, out)?,
            _ => return Err(cannot(stack, -2, "table key must be a number or string")),
        }
        out.push(b':');
        append(stack, settings, depth, out)?;
        stack.pop(1);
    }
    out.push(b'}');
    Ok(())
}

fn append_number(stack: &Stack, at: i32, settings: &Settings, out: &mut Vec<u8>) -> Result<(), Raise> {
    let number = stack.number(at).unwrap_or(0.0);
    if !number.is_finite() {
        match settings.encode_invalid {
            0 => return Err(cannot(stack, at, "must not be NaN or Inf")),
            1 if number.is_nan() => out.extend_from_slice(b"nan"),
            1 => print_general(number, settings.precision, out),
            _ => out.extend_from_slice(b"null"),
        }
        return Ok(());
    }
    print_general(number, settings.precision, out);
    Ok(())
}

fn append_string(stack: &Stack, at: i32, out: &mut Vec<u8>) -> Result<(), Raise> {
    out.push(b'"');
    for piece in stack.bytes(at).unwrap_or_default().chunks(work::PIECE) {
        work::piece(stack, out, piece.len())?;
        out.reserve(piece.len());
        for &byte in piece {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'/' => out.extend_from_slice(b"\\/"),
                8 => out.extend_from_slice(b"\\b"),
                9 => out.extend_from_slice(b"\\t"),
                10 => out.extend_from_slice(b"\\n"),
                12 => out.extend_from_slice(b"\\f"),
                13 => out.extend_from_slice(b"\\r"),
                0..=31 | 127 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => out.push(byte),
            }
        }
    }
    out.push(b'"');
    Ok(())
}

/// A piece of JSON.
#[derive(PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    /// As messages name it.
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

struct Reader<'t> {
    text: &'t [u8],
    /// The next byte.
    at: usize,
    /// Where the last token begins.
    token_at: usize,
    depth: usize,
    settings: Settings,
}

fn decode(stack: &mut Stack) -> Answer {
    if stack.top() != 1 {
        return Err(stack.bad_argument(1, "expected 1 argument"));
    }
    let text = stack.expect_bytes(1)?.to_vec();
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Raise::text("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut reader = Reader { text: &text, at: 0, token_at: 0, depth: 0, settings: SETTINGS.get() };
    let token = reader.next();
    reader.push_value(stack, token)?;
    match reader.next() {
        Token::End => Ok(1),
        other => Err(reader.expected("the end", &other)),
    }
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn expected(&self, what: &str, found: &Token) -> Raise {
        Raise::Text(format!("Expected {what} but found {} at character {}", found.name(), self.token_at + 1))
    }

    fn fail(&mut self, what: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(what)
    }

    fn next(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let byte = self.peek(0);
        let single = match byte {
            b'{' => Some(Token::ObjectBegin),
            b'}' => Some(Token::ObjectEnd),
            b'[' => Some(Token::ArrayBegin),
            b']' => Some(Token::ArrayEnd),
            b',' => Some(Token::Comma),
            b':' => Some(Token::Colon),
            0 => return Token::End,
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return token;
        }
        let rest = &self.text[self.at..];
        match byte {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.settings.decode_invalid && self.is_invalid_number() {
                    return self.fail("invalid number");
                }
                return self.number();
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => {}
            _ => return self.fail("invalid token"),
        }
        for (word, token) in
            [(&b"true"[..], Token::Boolean(true)), (b"false", Token::Boolean(false)), (b"null", Token::Null)]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return token;
            }
        }
        if self.settings.decode_invalid && self.is_invalid_number() {
            self.number()
        } else {
            self.fail("invalid token")
        }
    }

    /// What `strtod` reads and JSON does not have: a plus sign, leading zeros, hexadecimal digits, infinity, NaN.
    fn is_invalid_number(&self) -> bool {
        let rest = &self.text[self.at..];
        if rest.first() == Some(&b'+') {
            return true;
        }
        let rest = rest.strip_prefix(b"-").unwrap_or(rest);
        match rest.first() {
            Some(b'0') => matches!(rest.get(1), Some(b'x' | b'X' | b'0'..=b'9')),
            Some(byte) if *byte <= b'9' => false,
            _ => {
                rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan"))
            }
        }
    }

    fn number(&mut self) -> Token {
        match strtod(&self.text[self.at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => self.fail("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let byte = self.peek(0);
            match byte {
                b'"' => break,
                0 => return self.fail("unexpected end of string"),
                b'\\' => {
                    let escaped = match self.peek(1) {
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        b'u' => match self.unicode() {
                            Some((character, len)) => {
                                text.extend_from_slice(&character);
                                self.at += len;
                                continue;
                            }
                            None => return self.fail("invalid unicode escape code"),
                        },
                        _ => return self.fail("invalid escape code"),
                    };
                    text.push(escaped);
                    self.at += 2;
                }
                _ => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token::String(text)
    }

    /// Four hexadecimal digits, `ahead` bytes on.
    fn hex4(&self, ahead: usize) -> Option<u32> {
        (0..4).try_fold(0, |value, at| Some(value << 4 | char::from(self.peek(ahead + at)).to_digit(16)?))
    }

    /// The character of an escape `\uXXXX`, or of two that are a surrogate pair, in UTF-8, and how long it is.
    fn unicode(&self) -> Option<(Vec<u8>, usize)> {
        let first = self.hex4(2)?;
        let (code, len) = if first & 0xF800 == 0xD800 {
            if first & 0x400 != 0 || self.peek(6) != b'\\' || self.peek(7) != b'u' {
                return None;
            }
            let low = self.hex4(8)?;
            if low & 0xFC00 != 0xDC00 {
                return None;
            }
            (((first & 0x3FF) << 10 | (low & 0x3FF)) + 0x10000, 12)
        } else {
            (first, 6)
        };
        let mut buffer = [0; 4];
        Some((char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes().to_vec(), len))
    }

    fn descend(&mut self, stack: &mut Stack) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth <= self.settings.decode_max_depth && stack.has_room(4) {
            return Ok(());
        }
        Err(Raise::Text(format!("Found too many nested data structures ({}) at character {}", self.depth, self.at)))
    }

    /// Pushes the value that begins with `token`.
    fn push_value(&mut self, stack: &mut Stack, token: Token) -> Result<(), Raise> {
        watch::tick_for_bytes(self.at - self.token_at)?;
        match token {
            Token::String(text) => stack.push_bytes(&text),
            Token::Number(number) => stack.push_number(number),
            Token::Boolean(value) => stack.push_boolean(value),
            Token::Null => stack.push_null(),
            Token::ObjectBegin => return self.push_object(stack),
            Token::ArrayBegin => return self.push_array(stack),
            other => return Err(self.expected("value", &other)),
        }
        Ok(())
    }

    fn push_object(&mut self, stack: &mut Stack) -> Result<(), Raise> {
        self.descend(stack)?;
        stack.new_table(0, 0);
        let mut token = self.next();
        if token == Token::ObjectEnd {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            let Token::String(key) = token else { return Err(self.expected("object key string", &token)) };
            stack.push_bytes(&key);
            let colon = self.next();
            if colon != Token::Colon {
                return Err(self.expected("colon", &colon));
            }
            let value = self.next();
            self.push_value(stack, value)?;
            stack.raw_set(-3);
            match self.next() {
                Token::ObjectEnd => break,
                Token::Comma => token = self.next(),
                other => return Err(self.expected("comma or object end", &other)),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn push_array(&mut self, stack: &mut Stack) -> Result<(), Raise> {
        self.descend(stack)?;
        stack.new_table(0, 0);
        let mut token = self.next();
        if token == Token::ArrayEnd {
            self.depth -= 1;
            return Ok(());
        }
        for index in 1.. {
            self.push_value(stack, token)?;
            stack.raw_set_index(-2, index);
            match self.next() {
                Token::ArrayEnd => break,
                Token::Comma => token = self.next(),
                other => return Err(self.expected("comma or array end", &other)),
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

/// The number at the beginning of `text` and its length, as C's `strtod` reads it.
fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let signed = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let negative = text.first() == Some(&b'-');
    let sign = |value: f64| if negative { -value } else { value };
    let rest = &text[signed..];
    let begins = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    for (word, value) in [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)] {
        if begins(word) {
            return Some((sign(value), signed + word.len()));
        }
    }
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if begins(b"0x") {
        let hex = rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if hex > 0 {
            let fold = |value: f64, byte: &u8| value * 16.0 + f64::from(char::from(*byte).to_digit(16).unwrap_or(0));
            return Some((sign(rest[2..2 + hex].iter().fold(0.0, fold)), signed + 2 + hex));
        }
    }
    let whole = digits(rest);
    let mut len = whole;
    if rest.get(len) == Some(&b'.') {
        let fraction = digits(&rest[len + 1..]);
        if whole + fraction == 0 {
            return None;
        }
        len += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(&rest[len + 1 + signed..]);
        if exponent > 0 {
            len += 1 + signed + exponent;
        }
    }
    let number: f64 = std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?;
    Some((sign(number), signed + len))
}
