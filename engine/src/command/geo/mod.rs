//! Commands on places: sorted sets whose scores are geohashes.

mod hash;
mod points;
mod search;
mod shape;
#[cfg(test)]
mod tests;

use super::{Command, CommandError, Group, Reply, Spec};
use crate::number::parse_double;
use hash::{LATITUDES, LONGITUDES, Point};

/// The family.
pub(super) static COMMANDS: &[&Command] = &[
    &points::GEOADD,
    &points::GEODIST,
    &points::GEOHASH,
    &points::GEOPOS,
    &search::GEOSEARCH,
    &search::GEOSEARCHSTORE,
    &search::GEORADIUS,
    &search::GEORADIUSBYMEMBER,
    &search::GEORADIUS_RO,
    &search::GEORADIUSBYMEMBER_RO,
];

/// What the declarations of this family share.
const BASE: Spec = Spec { group: Group::Geo, ..Spec::BASE };

/// A longitude and a latitude.
fn parse_point(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let degrees = |word| parse_double(word).ok_or(CommandError::NotFloat);
    let (longitude, latitude) = (degrees(longitude)?, degrees(latitude)?);
    let within = |value: f64, (min, max): (f64, f64)| (min..=max).contains(&value);
    if !within(longitude, LONGITUDES) || !within(latitude, LATITUDES) {
        return Err(CommandError::text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")));
    }
    Ok(Point { longitude, latitude })
}

/// Meters in a unit.
fn parse_unit(word: &[u8]) -> Result<f64, CommandError> {
    [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, meters)| meters)
        .ok_or(CommandError::Text("ERR unsupported unit provided. please use M, KM, FT, MI".into()))
}

/// A distance, with four decimals.
fn write_distance(distance: f64, reply: &mut dyn Reply) {
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    let sign = if scaled < 0 { "-" } else { "" };
    let scaled = scaled.unsigned_abs();
    reply.bulk(format!("{sign}{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes());
}

/// Longitude and latitude, with up to 17 decimals.
fn write_point(point: Point, reply: &mut dyn Reply) {
    reply.array(2);
    let mut text = Vec::with_capacity(24);
    for value in [point.longitude, point.latitude] {
        text.clear();
        crate::number::print_double_plain(value, &mut text);
        reply.double_text(&String::from_utf8_lossy(&text));
    }
}
