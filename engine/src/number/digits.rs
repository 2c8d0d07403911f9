//! Decimal digits of a double by Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with
//! Integers", 2010): always enough to read back the same value, nearly always the fewest.
//!
//! Redis 7.2 and Valkey print scores by this algorithm. One double in about seven hundred gets a last digit, or one digit
//! more, that the exactly shortest form does not have; so the exact algorithms of the standard library will not do here.

use super::Extended;
use std::sync::LazyLock;

/// Most digits that a double needs.
const DIGITS_MAX: usize = 18;

/// `frac * 2^exp`.
#[derive(Clone, Copy)]
struct Scaled {
    frac: u64,
    exp: i32,
}

impl Scaled {
    /// The same value with the top bit set.
    fn normalized(self) -> Scaled {
        let shift = self.frac.leading_zeros();
        Scaled { frac: self.frac << shift, exp: self.exp - shift as i32 }
    }

    /// The upper 64 bits of the product, rounded half up.
    fn times(self, other: Scaled) -> Scaled {
        let product = u128::from(self.frac) * u128::from(other.frac);
        Scaled { frac: ((product + (1 << 63)) >> 64) as u64, exp: self.exp + other.exp + 64 }
    }
}

/// First power of ten in the table, and the distance to the next.
const FIRST: i32 = -348;
const STEP: i32 = 8;
/// How many there are: up to 10^340.
const POWERS: usize = 87;

/// Powers of ten, correctly rounded to 64 bits.
static TENS: LazyLock<[Scaled; POWERS]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let power = FIRST + at as i32 * STEP;
        let (frac, exp) = Extended::parse(format!("1e{power}").as_bytes()).map_or((0, 0), Extended::scaled);
        Scaled { frac, exp }
    })
});

/// A power of ten that brings a number with this binary exponent to between 2^-60 and 2^-32 as a unit, and its decimal exponent.
/// Often two would do: the guess that the search starts at decides, and is part of the printed result.
fn power_for(exp: i32) -> (Scaled, i32) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let guess = -f64::from(exp + POWERS as i32) * LOG10_OF_2;
    let mut at = ((guess as i32 - FIRST) / STEP).clamp(0, POWERS as i32 - 1) as usize;
    loop {
        let unit = exp + TENS[at].exp + 64;
        match unit {
            ..-60 => at += 1,
            -60..=-32 => return (TENS[at], FIRST + at as i32 * STEP),
            _ => at -= 1,
        }
    }
}

/// Digits and the power of ten they count in: the value is `digits * 10^scale`.
pub(super) struct Digits {
    buffer: [u8; DIGITS_MAX],
    len: usize,
    pub(super) scale: i32,
}

impl Digits {
    /// The digits as text; the first is not `0`.
    pub(super) fn text(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    fn push(&mut self, digit: u64) {
        if (digit != 0 || self.len != 0) && self.len < DIGITS_MAX {
            self.buffer[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    /// Lowers the last digit while that brings the number nearer to the value: `rest` is what lies between the digits and the upper
    /// bound, `distance` between the value and the upper bound, `within` how far below that bound is still the same double.
    fn round(&mut self, within: u64, mut rest: u64, unit: u64, distance: u64) {
        while rest < distance
            && within - rest >= unit
            && (rest + unit < distance || distance - rest > rest + unit - distance)
        {
            self.buffer[self.len - 1] -= 1;
            rest += unit;
        }
    }
}

/// The digits of a finite value above zero.
pub(super) fn of(value: f64) -> Digits {
    const HIDDEN: u64 = 1 << 52;
    let bits = value.to_bits();
    let (frac, exp) = match ((bits >> 52) & 0x7ff) as i32 {
        0 => (bits & (HIDDEN - 1), 1 - 1075),
        exp => (bits & (HIDDEN - 1) | HIDDEN, exp - 1075),
    };
    // Half way to the neighbours. The one below a power of two is half as far.
    let upper = Scaled { frac: (frac << 1) + 1, exp: exp - 1 }.normalized();
    let shift = if frac == HIDDEN { 2 } else { 1 };
    let lower = (frac << shift) - 1;
    let lower = Scaled { frac: lower << (exp - shift - upper.exp), exp: upper.exp };
    let (power, decimal) = power_for(upper.exp);
    let value = Scaled { frac, exp }.normalized().times(power);
    let (mut upper, mut lower) = (upper.times(power), lower.times(power));
    upper.frac -= 1; // The products are inexact by up to one unit: stay on the safe side.
    lower.frac += 1;
    generate(value, upper, lower, -decimal)
}

/// Digits of `upper` until what is left lies between the bounds.
fn generate(value: Scaled, upper: Scaled, lower: Scaled, scale: i32) -> Digits {
    let mut digits = Digits { buffer: [0; DIGITS_MAX], len: 0, scale };
    let shift = -upper.exp as u32;
    let one = 1u64 << shift;
    let mut distance = upper.frac - value.frac;
    let mut within = upper.frac - lower.frac;
    let (mut whole, mut part) = (upper.frac >> shift, upper.frac & (one - 1));
    let mut ten = 1_000_000_000u64;
    for left in (0..10).rev() {
        digits.push(whole / ten);
        whole %= ten;
        let rest = (whole << shift) + part;
        if rest <= within {
            digits.scale += left;
            digits.round(within, rest, ten << shift, distance);
            return digits;
        }
        ten /= 10;
    }
    loop {
        part *= 10;
        within *= 10;
        distance = distance.wrapping_mul(10);
        digits.scale -= 1;
        digits.push(part >> shift);
        part &= one - 1;
        if part < within {
            digits.round(within, part, one, distance);
            return digits;
        }
    }
}
