//! `struct`: numbers and texts packed into bytes by a format.
//!
//! | letter | what |
//! | --- | --- |
//! | `>` `<` | big, little endian from here on |
//! | `!n` | elements are aligned at most to n from here on |
//! | `x` | a zero byte |
//! | `b` `B` `h` `H` `l` `L` `T` `in` `In` | an integer of 1, 2, 8, 8, n (4) bytes; small letters are signed |
//! | `f` `d` | a float of 4, 8 bytes |
//! | `cn` | n bytes; n = 0 is all, or as many as the number before says |
//! | `s` | bytes up to a zero |

use super::lua::{Answer, Kind, Raise, Stack};
use super::{watch, work};

/// Bytes of the largest integer.
const INTEGER_LEN_MAX: usize = 32;
/// What `!` without a number means: the machine's largest alignment.
const ALIGN_DEFAULT: usize = 8;

/// Pushes the library.
pub(super) fn push_library(stack: &mut Stack) {
    stack.new_table(0, 3);
    stack.push_function(pack, c"pack");
    stack.raw_set_field(-2, c"pack");
    stack.push_function(unpack, c"unpack");
    stack.raw_set_field(-2, c"unpack");
    stack.push_function(size, c"size");
    stack.raw_set_field(-2, c"size");
}

/// A format that is read letter by letter.
struct Format {
    letters: Vec<u8>,
    at: usize,
    big: bool,
    align: usize,
}

/// One letter, its size in bytes.
struct Item {
    letter: u8,
    size: usize,
}

impl Format {
    fn new(letters: &[u8]) -> Format {
        let end = memchr::memchr(0, letters).unwrap_or(letters.len());
        Format { letters: letters[..end].to_vec(), at: 0, big: cfg!(target_endian = "big"), align: 1 }
    }

    /// A number behind a letter.
    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        let digits = self.letters[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let text = String::from_utf8_lossy(&self.letters[self.at..self.at + digits]).into_owned();
        self.at += digits;
        text.parse::<i32>().map(|number| number as usize).map_err(|_| Raise::text("integral size overflow"))
    }

    /// The next letter that stands for something.
    fn next(&mut self, stack: &Stack) -> Result<Option<Item>, Raise> {
        loop {
            let Some(&letter) = self.letters.get(self.at) else { return Ok(None) };
            watch::tick()?;
            self.at += 1;
            let size = match letter {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'l' | b'L' | b'T' | b'd' => 8,
                b'f' => 4,
                b's' => 0,
                b'c' => self.number(1)?,
                b'i' | b'I' => {
                    let size = self.number(4)?;
                    if size > INTEGER_LEN_MAX {
                        let text = format!("integral size {size} is larger than limit of {INTEGER_LEN_MAX}");
                        return Err(Raise::Text(text));
                    }
                    size
                }
                b' ' => continue,
                b'>' => {
                    self.big = true;
                    continue;
                }
                b'<' => {
                    self.big = false;
                    continue;
                }
                b'!' => {
                    let align = self.number(ALIGN_DEFAULT)?;
                    if !align.is_power_of_two() {
                        return Err(Raise::Text(format!("alignment {align} is not a power of 2")));
                    }
                    self.align = align;
                    continue;
                }
                other => {
                    let why = format!("invalid format option '{}'", char::from(other));
                    return Err(stack.bad_argument(1, &why));
                }
            };
            return Ok(Some(Item { letter, size }));
        }
    }

    /// Bytes between `at` and where an item begins.
    fn padding(&self, at: usize, item: &Item) -> usize {
        if item.size == 0 || item.letter == b'c' {
            return 0;
        }
        let align = item.size.min(self.align);
        // As Redis: a size that is not a power of two aligns oddly.
        align.wrapping_sub(at & align.wrapping_sub(1)) & align.wrapping_sub(1)
    }

    /// `size` bytes of `value`, which is extended by zeros.
    fn put_integer(&self, out: &mut Vec<u8>, value: u64, size: usize) {
        let start = out.len();
        out.extend((0..size).map(|at| if at < 8 { (value >> (8 * at)) as u8 } else { 0 }));
        if self.big {
            out[start..].reverse();
        }
    }

    fn take_integer(&self, bytes: &[u8], signed: bool) -> f64 {
        let fold = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        let value = if self.big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) };
        if !signed {
            return value as f64;
        }
        let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
        (((value << unused) as i64) >> unused) as f64
    }
}

fn format_argument(stack: &mut Stack) -> Result<Format, Raise> {
    Ok(Format::new(stack.expect_bytes(1)?))
}

fn pack(stack: &mut Stack) -> Answer {
    let mut format = format_argument(stack)?;
    let mut out = Vec::new();
    let mut argument = 2;
    while let Some(item) = format.next(stack)? {
        let padding = format.padding(out.len(), &item);
        work::piece(stack, &out, padding + item.size)?;
        out.resize(out.len() + padding, 0);
        match item.letter {
            b'x' => out.push(0),
            b'f' => {
                let value = stack.expect_number(argument)? as f32;
                argument += 1;
                format.put_integer(&mut out, u64::from(value.to_bits()), 4);
            }
            b'd' => {
                let value = stack.expect_number(argument)?;
                argument += 1;
                format.put_integer(&mut out, value.to_bits(), 8);
            }
            b'c' | b's' => {
                let len = stack.expect_bytes(argument)?.len();
                let size = if item.size == 0 { len } else { item.size };
                work::piece(stack, &out, size)?;
                let text = stack.bytes(argument).and_then(|text| text.get(..size));
                argument += 1;
                let Some(text) = text else { return Err(stack.bad_argument(argument, "string too short")) };
                out.extend_from_slice(text);
                if item.letter == b's' {
                    out.push(0);
                }
            }
            _ => {
                let number = stack.expect_number(argument)?;
                argument += 1;
                let value = if number < 0.0 { (number as i64) as u64 } else { number as u64 };
                format.put_integer(&mut out, value, item.size);
            }
        }
    }
    stack.push_bytes(&out);
    Ok(1)
}

fn unpack(stack: &mut Stack) -> Answer {
    let mut format = format_argument(stack)?;
    let data = stack.expect_bytes(2)?.to_vec();
    let position = if stack.kind(3) == Kind::Nil { 1.0 } else { stack.expect_number(3)?.trunc() };
    if position < 1.0 {
        return Err(stack.bad_argument(3, "offset must be 1 or greater"));
    }
    let short = |stack: &Stack| stack.bad_argument(2, "data string too short");
    let mut at = position as usize - 1;
    let mut results = 0;
    while let Some(item) = format.next(stack)? {
        at = at.saturating_add(format.padding(at, &item));
        let bytes = at.checked_add(item.size).and_then(|end| data.get(at..end));
        let Some(bytes) = bytes else { return Err(short(stack)) };
        stack.reserve(2)?;
        let mut size = item.size;
        match item.letter {
            b'x' => {}
            b'f' => {
                let bits = format.take_integer(bytes, false) as u32;
                stack.push_number(f64::from(f32::from_bits(bits)));
                results += 1;
            }
            b'd' => {
                let mut bits: [u8; 8] = bytes.try_into().unwrap_or_default();
                if format.big {
                    bits.reverse();
                }
                stack.push_number(f64::from_le_bytes(bits));
                results += 1;
            }
            b'c' if size == 0 => {
                if results == 0 || stack.number(-1).is_none() {
                    return Err(Raise::text("format 'c0' needs a previous size"));
                }
                let wanted = stack.number(-1).unwrap_or(0.0);
                stack.pop(1);
                let text =
                    (wanted >= 0.0).then_some(wanted as usize).and_then(|len| data.get(at..at.checked_add(len)?));
                let Some(text) = text else { return Err(short(stack)) };
                size = text.len();
                stack.push_bytes(text);
            }
            b'c' => {
                stack.push_bytes(bytes);
                results += 1;
            }
            b's' => {
                let Some(len) = memchr::memchr(0, &data[at..]) else {
                    return Err(Raise::text("unfinished string in data"));
                };
                stack.push_bytes(&data[at..at + len]);
                results += 1;
                size = len + 1;
            }
            letter => {
                let value = format.take_integer(bytes, letter.is_ascii_lowercase());
                stack.push_number(value);
                results += 1;
            }
        }
        at += size;
    }
    stack.reserve(1)?;
    stack.push_number(at as f64 + 1.0);
    Ok(results + 1)
}

fn size(stack: &mut Stack) -> Answer {
    let mut format = format_argument(stack)?;
    let mut at = 0;
    while let Some(item) = format.next(stack)? {
        at += format.padding(at, &item);
        match item.letter {
            b's' => return Err(stack.bad_argument(1, "option 's' has no fixed size")),
            b'c' if item.size == 0 => return Err(stack.bad_argument(1, "option 'c0' has no fixed size")),
            _ => at += item.size,
        }
    }
    stack.push_number(at as f64);
    Ok(1)
}
