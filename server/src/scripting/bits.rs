//! `bit`: operations on 32-bit integers, as LuaJIT's library has them.

use super::lua::{Answer, Kind, Stack};

/// Pushes the library.
pub(super) fn push_library(stack: &mut Stack) {
    stack.new_table(0, 12);
    stack.push_function(|stack: &mut Stack| one(stack, |value| value), c"tobit");
    stack.raw_set_field(-2, c"tobit");
    stack.push_function(|stack: &mut Stack| one(stack, |value| !value), c"bnot");
    stack.raw_set_field(-2, c"bnot");
    stack.push_function(|stack: &mut Stack| one(stack, u32::swap_bytes), c"bswap");
    stack.raw_set_field(-2, c"bswap");
    stack.push_function(|stack: &mut Stack| fold(stack, |a, b| a & b), c"band");
    stack.raw_set_field(-2, c"band");
    stack.push_function(|stack: &mut Stack| fold(stack, |a, b| a | b), c"bor");
    stack.raw_set_field(-2, c"bor");
    stack.push_function(|stack: &mut Stack| fold(stack, |a, b| a ^ b), c"bxor");
    stack.raw_set_field(-2, c"bxor");
    stack.push_function(|stack: &mut Stack| shift(stack, |value, n| value << n), c"lshift");
    stack.raw_set_field(-2, c"lshift");
    stack.push_function(|stack: &mut Stack| shift(stack, |value, n| value >> n), c"rshift");
    stack.raw_set_field(-2, c"rshift");
    stack.push_function(|stack: &mut Stack| shift(stack, |value, n| ((value as i32) >> n) as u32), c"arshift");
    stack.raw_set_field(-2, c"arshift");
    stack.push_function(|stack: &mut Stack| shift(stack, u32::rotate_left), c"rol");
    stack.raw_set_field(-2, c"rol");
    stack.push_function(|stack: &mut Stack| shift(stack, u32::rotate_right), c"ror");
    stack.raw_set_field(-2, c"ror");
    stack.push_function(to_hex, c"tohex");
    stack.raw_set_field(-2, c"tohex");
}

/// The low 32 bits of a number, rounded to an integer as adding 2^52 + 2^51 rounds it.
fn argument(stack: &mut Stack, at: i32) -> Result<u32, super::lua::Raise> {
    const SHIFTER: f64 = 6_755_399_441_055_744.0;
    Ok((stack.expect_number(at)? + SHIFTER).to_bits() as u32)
}

fn give(stack: &mut Stack, value: u32) -> Answer {
    stack.push_number(f64::from(value as i32));
    Ok(1)
}

fn one(stack: &mut Stack, operation: fn(u32) -> u32) -> Answer {
    let value = argument(stack, 1)?;
    give(stack, operation(value))
}

fn fold(stack: &mut Stack, operation: fn(u32, u32) -> u32) -> Answer {
    let mut value = argument(stack, 1)?;
    for at in 2..=stack.top() {
        value = operation(value, argument(stack, at)?);
    }
    give(stack, value)
}

fn shift(stack: &mut Stack, operation: fn(u32, u32) -> u32) -> Answer {
    let value = argument(stack, 1)?;
    let by = argument(stack, 2)? & 31;
    give(stack, operation(value, by))
}

/// `bit.tohex(x [, digits])`: the lowest digits, in upper case if their number is negative.
fn to_hex(stack: &mut Stack) -> Answer {
    let value = argument(stack, 1)?;
    let digits = if stack.top() < 2 || stack.kind(2) == Kind::Nil { 8 } else { argument(stack, 2)? as i32 };
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let count = digits.unsigned_abs().min(8) as usize;
    stack.push_bytes(&text.as_bytes()[8 - count..]);
    Ok(1)
}
