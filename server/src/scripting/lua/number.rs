//! Numbers as text, in the digits that Lua 5.1 prints.

use std::ffi::c_char;

/// `%.14g`: how Lua 5.1 turns a number into a string.
const LUA_PRECISION: usize = 14;

/// Appends `value` as C's `%.{precision}g` prints it.
pub(in crate::scripting) fn print_general(value: f64, precision: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
        return;
    }
    if value.trunc() == value
        && value.abs() < 1e14
        && precision >= LUA_PRECISION
        && (value != 0.0 || value.is_sign_positive())
    {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    let text = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |digits: &str| digits.trim_end_matches('0').trim_end_matches('.').len();
    // Writing to a vector does not fail.
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(&mantissa.as_bytes()[..trim(mantissa)]);
        let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    } else {
        let plain = format!("{value:.*}", (precision as i32 - 1 - exponent) as usize);
        let end = if plain.contains('.') { trim(&plain) } else { plain.len() };
        out.extend_from_slice(&plain.as_bytes()[..end]);
    }
}

/// Luau's callers have room for so many bytes (`LUAI_MAXNUM2STR`).
const ROOM: usize = 48;

/// Stands in for Luau's own function of this (mangled C++) name, `char* luai_num2str(char* buf, double n)`, which prints the shortest
/// digits that read back as the same number (17 for a third), where scripts written for Lua 5.1 expect 14: in `..`, `tostring`,
/// `table.concat` and in keys of JSON. The linker takes ours, because it is there when the archive with Luau's file is looked at;
/// for the same reason [`int2str`], which that file also has, is here. A test asserts it. Returns the end of the text, which needs no NUL.
#[unsafe(export_name = "_Z12luai_num2strPcd")]
unsafe extern "C" fn num2str(buf: *mut c_char, n: f64) -> *mut c_char {
    let mut text = Vec::with_capacity(ROOM);
    print_general(n, LUA_PRECISION, &mut text);
    // SAFETY: 14 digits, a point, a sign and an exponent: at most 21 bytes.
    unsafe { put(&text, buf) }
}

/// As [`num2str`], of `char* luai_int2str(char* buf, int64_t l)`, which scripts have no use for.
#[unsafe(export_name = "_Z12luai_int2strPcl")]
unsafe extern "C" fn int2str(buf: *mut c_char, l: i64) -> *mut c_char {
    // SAFETY: at most 20 bytes.
    unsafe { put(itoa::Buffer::new().format(l).as_bytes(), buf) }
}

/// # Safety
/// `text` has at most [`ROOM`] bytes, and `buf` room for so many.
unsafe fn put(text: &[u8], buf: *mut c_char) -> *mut c_char {
    debug_assert!(text.len() < ROOM, "numbers are short");
    // SAFETY: says the caller.
    unsafe {
        buf.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        buf.add(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_format_is_that_of_c() {
        let print = |value: f64, precision| {
            let mut out = Vec::new();
            print_general(value, precision, &mut out);
            String::from_utf8(out).unwrap()
        };
        for (value, fourteen, seventeen) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.0, "1", "1"),
            (-7.0, "-7", "-7"),
            (0.1, "0.1", "0.10000000000000001"),
            (0.1 + 0.2, "0.3", "0.30000000000000004"),
            (1.0 / 3.0, "0.33333333333333", "0.33333333333333331"),
            (1e14, "1e+14", "100000000000000"),
            (123456789012345.0, "1.2345678901234e+14", "123456789012345"),
            (9007199254740993.0, "9.007199254741e+15", "9007199254740992"),
            (1e100, "1e+100", "1e+100"),
            (1e-5, "1e-05", "1.0000000000000001e-05"),
            (0.0001, "0.0001", "0.0001"),
            (123456.789, "123456.789", "123456.789"),
            (f64::MAX, "1.7976931348623e+308", "1.7976931348623157e+308"),
            (5e-324, "4.9406564584125e-324", "4.9406564584124654e-324"),
            (f64::INFINITY, "inf", "inf"),
            (f64::NEG_INFINITY, "-inf", "-inf"),
        ] {
            assert_eq!(print(value, 14), fourteen, "{value:e}");
            assert_eq!(print(value, 17), seventeen, "{value:e}");
        }
    }
}
