//! Geohashes: a place on the globe as an integer whose bits come from longitude and latitude by turns, so that near places mostly have
//! near integers. The scores of geo sets are those of 26 bits for each.
//!
//! Redis' own numbers: latitudes end at those of the Web Mercator projection.

use std::f64::consts::PI;

/// Longitudes, in degrees.
pub(super) const LONGITUDES: (f64, f64) = (-180.0, 180.0);
/// Latitudes, in degrees: where the Web Mercator projection ends.
pub(super) const LATITUDES: (f64, f64) = (-85.051_128_78, 85.051_128_78);
/// Bits of a score that come from each coordinate.
pub(super) const STEP_MAX: u32 = 26;
/// Mean radius of the earth in meters, as Redis has it.
const EARTH_RADIUS: f64 = 6_372_797.560_856;

/// A place, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Point {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

pub(super) fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// Spreads 32 bits to the even ones of 64.
fn spread(bits: u32) -> u64 {
    [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, EVEN),
    ]
    .into_iter()
    .fold(u64::from(bits), |bits, (shift, mask): (u32, u64)| (bits | bits << shift) & mask)
}

/// Gathers the even bits of 64: the reverse of [`spread`].
fn gather(bits: u64) -> u32 {
    let masks: [(u32, u64); 5] = [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0xffff_ffff),
    ];
    masks.into_iter().fold(bits & EVEN, |bits, (shift, mask)| (bits | bits >> shift) & mask) as u32
}

/// Bits of latitudes.
const EVEN: u64 = 0x5555_5555_5555_5555;
/// Bits of longitudes.
const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A cell of the grid of 2^step by 2^step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) bits: u64,
    pub(super) step: u32,
}

/// The rectangle of a cell, in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Area {
    pub(super) min: Point,
    pub(super) max: Point,
}

impl Cell {
    /// The cell of a place, on a grid over other latitudes than ours if so wished.
    pub(super) fn of(point: Point, step: u32, latitudes: (f64, f64)) -> Cell {
        let scale = (1u64 << step) as f64;
        let part = |value: f64, (min, max): (f64, f64)| ((value - min) / (max - min) * scale) as u32;
        let bits = spread(part(point.latitude, latitudes)) | spread(part(point.longitude, LONGITUDES)) << 1;
        Cell { bits, step }
    }

    /// The cell of a score. Any number may be one: what Redis gets from its conversion on x86-64 holds.
    pub(super) fn of_score(score: f64) -> Cell {
        const TWO_63: f64 = 9_223_372_036_854_775_808.0;
        let bits = match score {
            _ if score < TWO_63 => score as i64 as u64,
            _ if score < 2.0 * TWO_63 => score as u64,
            _ => 0,
        };
        Cell { bits, step: STEP_MAX }
    }

    /// Its rectangle.
    pub(super) fn area(self) -> Area {
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        let scale = (1u64 << self.step) as f64;
        let place = |part: u32, (min, max): (f64, f64)| min + (f64::from(part) / scale) * (max - min);
        let corner = |longitude, latitude| Point {
            longitude: place(longitude, LONGITUDES),
            latitude: place(latitude, LATITUDES),
        };
        Area { min: corner(longitude, latitude), max: corner(longitude.wrapping_add(1), latitude.wrapping_add(1)) }
    }

    /// The middle of its rectangle.
    pub(super) fn point(self) -> Point {
        let Area { min, max } = self.area();
        Point {
            longitude: ((min.longitude + max.longitude) / 2.0).clamp(LONGITUDES.0, LONGITUDES.1),
            latitude: ((min.latitude + max.latitude) / 2.0).clamp(LATITUDES.0, LATITUDES.1),
        }
    }

    /// The cell `east` and `north` cells away (-1, 0 or 1); the grid has no ends.
    pub(super) fn moved(self, east: i64, north: i64) -> Cell {
        let used = u64::MAX >> (64 - 2 * self.step);
        let shift = |bits: u64, mask: u64, by: i64| {
            // The other coordinate's bits are set so that a carry passes them, or clear so that a borrow does.
            let (own, other) = (mask & used, !mask & used);
            match by {
                1 => (bits & mask).wrapping_add(other + 1) & own,
                -1 => (bits & mask | other).wrapping_sub(other + 1) & own,
                _ => bits & mask,
            }
        };
        Cell { bits: shift(self.bits, ODD, east) | shift(self.bits, EVEN, north), step: self.step }
    }

    /// Scores of all places in it: from the first to below the second.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }
}

/// The score of a place.
pub(super) fn score(point: Point) -> f64 {
    Cell::of(point, STEP_MAX, LATITUDES).bits as f64
}

/// The eleven characters of the geohash that others know: latitudes from -90 to 90. The last one is always `0`: 52 bits fill ten.
pub(super) fn text(point: Point) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::of(point, STEP_MAX, (-90.0, 90.0)).bits;
    std::array::from_fn(|at| if at < 10 { ALPHABET[(bits >> (47 - 5 * at)) as usize & 31] } else { b'0' })
}

/// Meters between two latitudes.
pub(super) fn latitude_distance(one: f64, other: f64) -> f64 {
    EARTH_RADIUS * (radians(other) - radians(one)).abs()
}

/// Meters between two places on a great circle, by the haversine formula.
pub(super) fn distance(one: Point, other: Point) -> f64 {
    let v = ((radians(other.longitude) - radians(one.longitude)) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance(one.latitude, other.latitude);
    }
    let (first, second) = (radians(one.latitude), radians(other.latitude));
    let u = ((second - first) / 2.0).sin();
    let a = u * u + first.cos() * second.cos() * v * v;
    2.0 * EARTH_RADIUS * a.sqrt().asin()
}

/// Degrees of an arc of so many meters.
pub(super) fn arc(meters: f64) -> f64 {
    degrees(meters / EARTH_RADIUS)
}

/// Degrees of longitude that so many meters are at a latitude.
pub(super) fn arc_on_parallel(meters: f64, latitude: f64) -> f64 {
    degrees(meters / EARTH_RADIUS / radians(latitude).cos())
}

/// A place as a vector of meters from the middle of the earth.
pub(super) fn vector(point: Point) -> [f64; 3] {
    let (longitude, latitude) = (radians(point.longitude), radians(point.latitude));
    [
        EARTH_RADIUS * latitude.cos() * longitude.cos(),
        EARTH_RADIUS * latitude.cos() * longitude.sin(),
        EARTH_RADIUS * latitude.sin(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As redis-server answers.
    #[test]
    fn scores_and_texts_are_those_of_redis() {
        let palermo = Point { longitude: 13.361389, latitude: 38.115556 };
        assert_eq!(score(palermo), 3_479_099_956_230_698.0);
        let stored = Cell::of_score(score(palermo)).point();
        assert_eq!((stored.longitude, stored.latitude), (13.361389338970184, 38.1155563954963));
        assert_eq!(&text(stored), b"sqc8b49rny0");
    }

    #[test]
    fn cells_wrap_around() {
        let cell = Cell { bits: 0, step: 2 };
        assert_eq!(cell.moved(-1, 0), Cell { bits: 0b1010, step: 2 });
        assert_eq!(cell.moved(0, -1), Cell { bits: 0b0101, step: 2 });
        assert_eq!(cell.moved(-1, -1).moved(1, 1), cell);
        assert_eq!(cell.moved(1, 1), Cell { bits: 0b11, step: 2 });
    }

    proptest! {
        #[test]
        fn bits_that_are_spread_are_gathered(bits: u32) {
            prop_assert_eq!(gather(spread(bits)), bits);
            prop_assert_eq!(spread(bits) & ODD, 0);
        }

        #[test]
        fn a_place_is_in_its_cell(longitude in -180.0..180.0, latitude in -85.05..85.05, step in 1u32..=26) {
            let point = Point { longitude, latitude };
            let cell = Cell::of(point, step, LATITUDES);
            let Area { min, max } = cell.area();
            prop_assert!(min.longitude <= longitude + 1e-9 && longitude <= max.longitude + 1e-9);
            prop_assert!(min.latitude <= latitude + 1e-9 && latitude <= max.latitude + 1e-9);
            let (low, high) = cell.scores();
            prop_assert!((low..high).contains(&score(point)));
            for (east, north) in [(1, 0), (0, 1), (1, -1), (-1, -1)] {
                prop_assert_eq!(cell.moved(east, north).moved(-east, -north), cell);
            }
        }
    }
}
