//! Numbers as Redis reads and prints them: the one place for both.
//!
//! 1. Parsing is strict: the whole word or nothing, no leading space, no NUL in the middle.
//! 2. Integers are canonical (`01`, `+1` and `-0` are not integers).
//! 3. Floats follow C's `strtold`: decimal, hexadecimal (`0x1.8p3`), `inf`; doubles Valkey's `strtod`, which knows no hexadecimal. NaN is
//!    never accepted; a word whose value overflows, or is too small to be anything but zero, is not a float.
//! 4. INCRBYFLOAT counts in x87 80-bit extended precision, as Redis' `long double` does on x86-64, on every machine.

mod digits;

use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

/// Longest word that is tried as an extended float (Redis' MAX_LONG_DOUBLE_CHARS, its terminator not counted).
const EXTENDED_LEN_MAX: usize = 5 * 1024 - 1;
/// Longest word that is tried as a double: above any exact decimal form of one.
const DOUBLE_LEN_MAX: usize = 5 * 1024 - 1;

/// Redis' strict integer: an optional minus, no plus, no leading zeros, no spaces, within `i64`.
#[inline]
pub fn parse_integer(word: &[u8]) -> Option<i64> {
    let (negative, digits) = match word {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, word),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut sum: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        sum = sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { (sum <= 1 << 63).then(|| (sum as i64).wrapping_neg()) } else { i64::try_from(sum).ok() }
}

/// A cursor as SCAN takes it in Valkey: a canonical integer that is not negative, or else whatever C's `strtoull` makes of the
/// whole word: white space in front, a sign (a minus wraps around), leading zeros.
pub fn parse_cursor(word: &[u8]) -> Option<u64> {
    if let Some(number) = parse_integer(word) {
        return u64::try_from(number).ok();
    }
    let spaces = word.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match &word[spaces..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// What a float's text is, before its value is worked out.
enum Form<'a> {
    Infinity,
    /// A decimal without its sign.
    Decimal(&'a str),
    /// `0x` and hexadecimal digits without the sign; `exponent` says whether there is a `p`.
    Hexadecimal {
        text: &'a str,
        exponent: bool,
    },
}

/// Checks a word against `strtod`'s grammar: sign and form, or `None` if not all of it is one number. NaN is not.
fn float_form(word: &[u8]) -> Option<(bool, Form<'_>)> {
    let (negative, body) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
        return Some((negative, Form::Infinity));
    }
    let hexadecimal = body.len() > 2 && body[0] == b'0' && body[1] | 0x20 == b'x';
    let mut rest = if hexadecimal { &body[2..] } else { body };
    let is_digit = |byte: &u8| if hexadecimal { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
    let mut digits = 0;
    let mut skip = |rest: &mut &[u8]| {
        let n = rest.iter().take_while(|byte| is_digit(byte)).count();
        *rest = &rest[n..];
        digits += n;
    };
    skip(&mut rest);
    if let [b'.', behind @ ..] = rest {
        rest = behind;
        skip(&mut rest);
    }
    if digits == 0 {
        return None;
    }
    let exponent = !rest.is_empty();
    if exponent {
        let marker = if hexadecimal { b'p' } else { b'e' };
        let [first, power @ ..] = rest else { return None };
        let power = match power {
            [b'-' | b'+', rest @ ..] => rest,
            _ => power,
        };
        if first | 0x20 != marker || power.is_empty() || !power.iter().all(u8::is_ascii_digit) {
            return None;
        }
    }
    let text = std::str::from_utf8(body).ok()?;
    Some((negative, if hexadecimal { Form::Hexadecimal { text, exponent } } else { Form::Decimal(text) }))
}

/// Parses a word into any of the software formats, with `strtold`'s idea of a range error.
fn parse_soft<F: Float>(word: &[u8]) -> Option<F> {
    let (negative, form) = float_form(word)?;
    let parse = |text: &str| F::from_str_r(text, Round::NearestTiesToEven).ok();
    let StatusAnd { status, value } = match form {
        Form::Infinity => return Some(if negative { -F::INFINITY } else { F::INFINITY }),
        Form::Decimal(text) => parse(text)?,
        Form::Hexadecimal { text, exponent: true } => parse(text)?,
        Form::Hexadecimal { text, exponent: false } => parse(&format!("{text}p0"))?,
    };
    let vanished = value.is_zero() && status.intersects(Status::UNDERFLOW | Status::INEXACT);
    if value.is_infinite() || value.is_nan() || vanished {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// An 80-bit extended float: what Redis calls `long double`.
#[derive(Clone, Copy, Debug)]
pub struct Extended(X87DoubleExtended);

impl Extended {
    /// Zero: what a missing key counts as.
    pub const ZERO: Extended = Extended(X87DoubleExtended::ZERO);

    /// As Redis' `getLongDoubleFromObject`: infinities are accepted, NaN is not.
    pub fn parse(word: &[u8]) -> Option<Extended> {
        if word.is_empty() || word.len() > EXTENDED_LEN_MAX {
            return None;
        }
        parse_soft(word).map(Extended)
    }

    /// The sum, or `None` if it is infinite or not a number.
    pub fn checked_add(self, other: Extended) -> Option<Extended> {
        let sum = (self.0 + other.0).value;
        (!sum.is_infinite() && !sum.is_nan()).then_some(Extended(sum))
    }

    /// A thousand times as much, rounded up to an integer (seconds as milliseconds); `None` if that is above `i64`'s limit. What is
    /// below its other limit is the limit.
    pub fn thousandfold(self) -> Option<i64> {
        let product = (self.0 * X87DoubleExtended::from_u128(1000).value).value;
        let StatusAnd { status, value } = product.to_i128_r(64, Round::TowardPositive, &mut false);
        match i64::try_from(value) {
            Ok(value) if !status.intersects(Status::INVALID_OP) => Some(value),
            _ => product.is_negative().then_some(i64::MIN),
        }
    }

    /// The value as `mantissa * 2^exponent`, if it is above zero and not subnormal.
    fn scaled(self) -> (u64, i32) {
        let bits = self.0.to_bits();
        (bits as u64, ((bits >> 64) as i32 & 0x7fff) - 16383 - 63)
    }

    /// As C's `%.17Lf` prints a finite value, with trailing zeros (and a trailing point) removed; never `-0`.
    pub fn print(self, out: &mut Vec<u8>) {
        let bits = self.0.to_bits();
        let mantissa = bits as u64;
        let exponent = (bits >> 64) as i32 & 0x7fff;
        // The value is mantissa * 2^power; exponent 0 (subnormal) scales as exponent 1 does.
        let power = exponent.max(1) - 16383 - 63;
        let start = out.len();
        if self.0.is_negative() {
            out.push(b'-');
        }
        let first = out.len();
        if power >= 0 {
            print_shifted(mantissa, power as usize, out);
        } else {
            print_fraction(mantissa, power.unsigned_abs(), out);
        }
        if out[first..] == *b"0" {
            out.truncate(start);
            out.push(b'0');
        }
    }
}

/// Prints `mantissa * 2^power`, exactly.
fn print_shifted(mantissa: u64, power: usize, out: &mut Vec<u8>) {
    const CHUNK: u128 = 10_000_000_000_000_000_000; // The largest power of ten in 64 bits: 19 digits.
    let mut limbs = vec![0u64; power / 64 + 2];
    let wide = u128::from(mantissa) << (power % 64);
    limbs[power / 64] = wide as u64;
    limbs[power / 64 + 1] = (wide >> 64) as u64;
    let mut chunks = Vec::new();
    while limbs.last().is_some_and(|&limb| limb == 0) {
        limbs.pop();
    }
    while !limbs.is_empty() {
        let mut rest = 0u128;
        for limb in limbs.iter_mut().rev() {
            let value = rest << 64 | u128::from(*limb);
            *limb = (value / CHUNK) as u64;
            rest = value % CHUNK;
        }
        chunks.push(rest as u64);
        while limbs.last().is_some_and(|&limb| limb == 0) {
            limbs.pop();
        }
    }
    let mut chunks = chunks.into_iter().rev();
    out.extend_from_slice(chunks.next().unwrap_or(0).to_string().as_bytes());
    for chunk in chunks {
        out.extend_from_slice(format!("{chunk:019}").as_bytes());
    }
}

/// Prints `mantissa / 2^shift`, `shift` above 0, to 17 places, half to even, without trailing zeros.
fn print_fraction(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    const SCALE: u128 = 100_000_000_000_000_000; // 10^17
    let scaled = u128::from(mantissa) * SCALE; // Below 2^121.
    let rounded = match shift {
        0..=127 => {
            let (whole, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1u128 << (shift - 1));
            whole + u128::from(rest > half || rest == half && whole & 1 == 1)
        }
        _ => 0,
    };
    out.extend_from_slice((rounded / SCALE).to_string().as_bytes());
    let places = format!("{:017}", rounded % SCALE);
    let places = places.trim_end_matches('0');
    if !places.is_empty() {
        out.push(b'.');
        out.extend_from_slice(places.as_bytes());
    }
}

/// As Valkey's `getDoubleFromObject`: decimal or an infinity; NaN and hexadecimal are not accepted.
pub fn parse_double(word: &[u8]) -> Option<f64> {
    if word.is_empty() || word.len() > DOUBLE_LEN_MAX {
        return None;
    }
    // Most words are short whole numbers.
    if word.len() < 16
        && let Some(integer) = parse_integer(word)
    {
        return Some(integer as f64);
    }
    let (value, vanished) = double_of(word)?;
    (!vanished).then_some(value)
}

/// The end of a range of scores as Valkey's `zslParseRange` reads it: up to the first NUL; nothing at all is 0, and what is too large or
/// too small becomes an infinity or 0.
pub fn parse_double_bound(word: &[u8]) -> Option<f64> {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    if word.is_empty() {
        return Some(0.0);
    }
    if word.len() > DOUBLE_LEN_MAX {
        return None;
    }
    double_of(word).map(|(value, _)| value)
}

/// A decimal or an infinity, and whether its value is outside of what a double can hold (it is an infinity or 0 then).
fn double_of(word: &[u8]) -> Option<(f64, bool)> {
    let (negative, form) = float_form(word)?;
    let (value, vanished) = match form {
        Form::Infinity => (f64::INFINITY, false),
        Form::Decimal(text) => {
            let value: f64 = text.parse().ok()?;
            let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
            let is_zero = !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
            (value, value.is_infinite() || (value == 0.0 && !is_zero))
        }
        Form::Hexadecimal { .. } => return None,
    };
    Some((if negative { -value } else { value }, vanished))
}

/// Prints a finite double with up to 17 decimals and never an exponent: coordinates.
pub fn print_double_plain(value: f64, out: &mut Vec<u8>) {
    let double = Double::from_bits(u128::from(value.to_bits()));
    Extended(double.convert(&mut false).value).print(out);
}

/// Prints a double as Redis 7.2 and Valkey do (scores, RESP3 doubles, ...): whole numbers up to 2^62 as integers, else digits that
/// read back as the same value, in plain notation while that is short, else scientific.
pub fn print_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    if value == 0.0 {
        return out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    const WHOLE_MAX: f64 = 4_611_686_018_427_387_904.0; // 2^62
    if value.abs() <= WHOLE_MAX && value.fract() == 0.0 {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    print_digits(value, out);
}

/// [`print_double`] that treats whole numbers as all others: what digests are made of. Finite values only.
pub(crate) fn print_digits(value: f64, out: &mut Vec<u8>) {
    if value == 0.0 || !value.is_finite() {
        return print_double(value, out);
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let found = digits::of(value.abs());
    let (digits, scale) = (found.text(), found.scale);
    let count = digits.len() as i32;
    let exponent = scale + count - 1; // Of scientific notation.
    if scale >= 0 && exponent < count + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
        let whole = count + scale;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + whole.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            out.extend_from_slice(&digits[..whole as usize]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole as usize..]);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(one: &str, other: &str) -> Option<String> {
        let sum = Extended::parse(one.as_bytes())?.checked_add(Extended::parse(other.as_bytes())?)?;
        let mut out = Vec::new();
        sum.print(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        print_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_canonical_integers_parse() {
        for good in [0, 1, -1, 10, i64::MAX, i64::MIN, i64::MIN + 1, 99] {
            assert_eq!(parse_integer(good.to_string().as_bytes()), Some(good));
        }
        let bad = "|-|-0|00|01|+1| 1|1 |1.0|9223372036854775808|-9223372036854775809|99999999999999999999";
        for bad in bad.split('|') {
            assert_eq!(parse_integer(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn cursors_are_read_as_valkey_reads_them() {
        let good = [("18446744073709551615", u64::MAX), ("+01", 1), (" 5", 5), ("\t0", 0), ("-0", 0), ("00", 0)];
        for (word, value) in good.into_iter().chain([("-18446744073709551615", 1)]) {
            assert_eq!(parse_cursor(word.as_bytes()), Some(value), "{word:?}");
        }
        for bad in ["", "+", "-", "-1", "1x", "1 ", " ", "+-1", "0x0", "18446744073709551616"] {
            assert_eq!(parse_cursor(bad.as_bytes()), None, "{bad:?}");
        }
    }

    /// Results as a real Redis on x86-64 gives them.
    #[test]
    fn extended_sums_print_as_redis_does() {
        for (one, other, expected) in [
            ("0", "1.5", "1.5"),
            ("3.0", "1.000000000000000005", "4.00000000000000001"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1.1", "-0.1"),
            ("0", "-0", "0"),
            ("-1e-20", "0", "0"),
            ("5e3", "200", "5200"),
            ("0", "0x10", "16"),
            ("0", "0x1.8p3", "12"),
            ("17179869184", "1.5", "17179869185.5"),
            ("0", "0.000000000000000005", "0"),
            ("0", "0.000000000000000015", "0.00000000000000002"),
            ("0", "0x1p-18", "0.00000381469726562"),
            ("0", "0x3p-18", "0.00001144409179688"),
            ("0", "1e20", "100000000000000000000"),
            ("9007199254740993", "0.5", "9007199254740993.5"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(expected), "{one} + {other}");
        }
        assert_eq!(sum("0", "1e4932").unwrap().len(), 4933);
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1e4932", "1e4932"), None);
    }

    #[test]
    fn seconds_become_whole_milliseconds() {
        for (word, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.001", Some(1)),
            ("0.0001", Some(1)),
            ("0.1", Some(100)),
            ("-0.0001", Some(0)),
            ("-1.5", Some(-1500)),
            ("0x1p-1", Some(500)),
            ("9223372036854775", Some(9_223_372_036_854_775_000)),
            ("9223372036854775.807", Some(i64::MAX)),
            ("9223372036854776", None),
            ("inf", None),
            ("-inf", Some(i64::MIN)),
            ("1e300", None),
        ] {
            assert_eq!(Extended::parse(word.as_bytes()).unwrap().thousandfold(), expected, "{word}");
        }
    }

    #[test]
    fn words_that_are_not_numbers_are_not_floats() {
        let bad =
            "| 1|1 |nan|NaN|-nan|nan(1)|1e|1e+|e5|.|-|+|0x|0x.|0xp1|1.5x|1e5000|-1e5000|1e-5000|0x1p99999|--1|infx|1,5";
        for bad in bad.split('|').map(str::as_bytes).chain([&b"1\0"[..], b"\t1", b"1\n", b"\xff"]) {
            assert!(Extended::parse(bad).is_none(), "{bad:?}");
            assert_eq!(parse_double(bad), None, "{bad:?}");
        }
        for good in ["1.", ".5", "+1", "-.5e-3", "1E5", "inf", "-INFINITY", "0X1P4", "00012", "0e99999", "0x0p-99999"] {
            assert!(Extended::parse(good.as_bytes()).is_some(), "{good:?}");
            assert_eq!(parse_double(good.as_bytes()).is_some(), !good.contains(['x', 'X']), "{good:?}");
        }
        assert!(Extended::parse(&[b'1'; EXTENDED_LEN_MAX + 1]).is_none());
        assert_eq!((parse_double(b"1e400"), parse_double(b"1e-400"), parse_double(b"0x1p4")), (None, None, None));
    }

    #[test]
    fn doubles_print_as_redis_does() {
        for (value, expected) in [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-7, "1e-7"),
            (0.000001, "0.000001"),
            (123456.789, "123456.789"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (9007199254740993.0, "9007199254740992"),
            (1e16, "10000000000000000"),
            (9_223_372_036_854_775_808.0, "9223372036854776000"),
            (4_611_686_018_427_387_904.0, "4611686018427387904"),
            (1.2345e20, "1.2345e+20"),
            (1e20, "1e+20"),
            (56.43753443714591, "56.437534437145906"),
            (8.938152471833297e-07, "8.938152471833296e-7"),
            (3.864257864804017e+255, "3.8642578648040174e+255"),
            (1579801206544343.8, "1579801206544343.7"),
            (719.219049623638, "719.2190496236381"),
            (2.2250738585072014e-308, "2.2250738585072014e-308"),
            (4503599627370496.5, "4503599627370496"),
            (f64::NEG_INFINITY, "-inf"),
            (0.30000000000000004, "0.30000000000000004"),
        ] {
            assert_eq!(double(value), expected);
        }
    }

    proptest! {
        #[test]
        fn a_printed_double_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_double(double(value).as_bytes()).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn a_printed_double_has_at_least_the_fewest_digits_and_at_most_seventeen(bits in 0..f64::INFINITY.to_bits()) {
            let value = f64::from_bits(bits);
            prop_assume!(value > 0.0);
            let fewest = format!("{value:e}").bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
            let count = digits::of(value).text().len();
            // Grisu2 finds the fewest in 99.9 of 100 cases; in the others the digits are right, and as many as Redis prints.
            prop_assert!((fewest..=17).contains(&count), "{count} {fewest}");
        }

        #[test]
        fn no_word_makes_the_float_parsers_panic(word in "[-+]?[0-9a-fA-FxXpP.eEinty]{0,12}") {
            let _ = (Extended::parse(word.as_bytes()), parse_double(word.as_bytes()));
        }

        #[test]
        fn an_extended_integer_prints_as_itself(value: i64) {
            prop_assert_eq!(sum(&value.to_string(), "0"), Some(value.to_string()));
        }
    }
}
