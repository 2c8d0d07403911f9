//! Payloads of DUMP and RESTORE: a type byte, the value, the format's version (u16 LE) and a CRC-64 of all before (u64 LE).
//!
//! A payload is written in the oldest version that can hold the value, so that every server since Redis 7.0 takes it: 10, or Valkey's where
//! fields of a hash have deadlines.

use super::VALKEY_VERSION;
use super::encode::{EncodeError, Encoder, Options};
use super::error::{BadRdb, RdbError};
use super::input::{Input, crc64};
use super::reader::Header;
use super::value::{PART_LEN, Value};
use crate::keyspace;
use crate::value::{BadValue, Collection, CollectionView, Kind, Shaping, hash};

/// The version of most payloads.
pub(super) const DUMP_VERSION: u32 = 10;

/// What a payload holds.
#[derive(Debug)]
pub enum Restored {
    /// A string.
    String(Vec<u8>),
    /// A collection.
    Collection(Collection),
}

/// Why a payload is not a value.
#[derive(Debug, thiserror::Error)]
pub enum BadPayload {
    /// Too short, of a version that is not known, or its checksum is wrong.
    #[error("DUMP payload version or checksum are wrong")]
    Envelope,
    /// The value.
    #[error(transparent)]
    Value(#[from] RdbError),
}

/// The version and the value's bytes, if the version is known and, where that is to be verified, the checksum right.
pub(super) fn open(payload: &[u8], verify: bool) -> Option<(Header, &[u8])> {
    let (summed, checksum) = payload.split_last_chunk::<8>()?;
    let (body, version) = summed.split_last_chunk::<2>()?;
    let header = Header::of_version(u32::from(u16::from_le_bytes(*version))).ok()?;
    // 0 says that nobody has computed one, as in a file.
    let checksum = u64::from_le_bytes(*checksum);
    (!verify || checksum == 0 || checksum == crc64(summed)).then_some((header, body))
}

/// Ends a payload: its version and checksum.
pub(super) fn close(mut payload: Vec<u8>, version: u32) -> Vec<u8> {
    payload.extend_from_slice(&(version as u16).to_le_bytes());
    payload.extend_from_slice(&crc64(&payload).to_le_bytes());
    payload
}

/// The value of a payload, all of it validated and built anew. Without `verify` the checksum is not looked at.
///
/// # Errors
/// [`BadPayload`].
pub fn decode(payload: &[u8], verify: bool, shaping: &Shaping) -> Result<Restored, BadPayload> {
    let (header, body) = open(payload, verify).ok_or(BadPayload::Envelope)?;
    let (&encoding, rest) = body.split_first().ok_or(RdbError::bad(0, BadRdb::Cut))?;
    let mut input = Input::small(rest, rest.len(), 0);
    let mut value = Value::begin(encoding, header.dialect, &mut input)?;
    let kind = value.kind;
    let (mut part, mut whole) = (Vec::new(), None);
    let mut continued = true;
    while continued {
        part.clear();
        continued = value.fill(&mut input, &mut part)?;
        if kind != Kind::String {
            let collection = whole.get_or_insert_with(|| Collection::new(kind));
            collection.decode_part(&part, shaping).map_err(|why| RdbError::bad(input.offset() + 1, why))?;
        }
    }
    let bad = |why: BadRdb| RdbError::bad(input.offset() + 1, why);
    let left = rest.len() as u64 - input.offset();
    if left > 0 {
        return Err(bad(BadRdb::Trailing(left as usize)).into());
    }
    match whole {
        None => Ok(Restored::String(part)),
        Some(collection) if collection.is_gone() => Err(bad(BadRdb::Empty).into()),
        Some(collection) if !collection.is_whole() => Err(bad(BadValue::Stream.into()).into()),
        Some(collection) => Ok(Restored::Collection(collection)),
    }
}

/// The payload of a value, without fields of a hash that are dead at `now_ms`.
pub fn encode(value: keyspace::Value<'_>, compress: bool, now_ms: u64) -> Vec<u8> {
    let deadlines = match value {
        keyspace::Value::Collection(CollectionView::Hash(hash)) => {
            hash.earliest().is_some() && hash.live_fields(now_ms).any(|field| field.deadline.is_some())
        }
        _ => false,
    };
    let version = if deadlines { VALKEY_VERSION } else { DUMP_VERSION };
    let options = Options { version, compress, drop_field_deadlines: false };
    let mut encoder = Encoder::new(value.kind(), Some(deadlines), options);
    let encoded = push_all(value, now_ms, &mut encoder).and_then(|()| encoder.finish());
    // Nothing of it can fail: the parts were just made, nothing is written anywhere, the version has what the value needs.
    let encoded = encoded.unwrap_or_else(|error| unreachable!("{error}"));
    let mut payload = vec![encoded.encoding];
    for piece in encoded.pieces {
        let copied = piece.copy_to(&mut |bytes| {
            payload.extend_from_slice(bytes);
            Ok(())
        });
        copied.unwrap_or_else(|error| unreachable!("{error}"));
    }
    close(payload, version)
}

fn push_all(value: keyspace::Value<'_>, now_ms: u64, encoder: &mut Encoder) -> Result<(), EncodeError> {
    let view = match value {
        keyspace::Value::String(bytes) => return encoder.push(bytes, None),
        keyspace::Value::Collection(view) => view,
    };
    let mut part = Vec::new();
    if let CollectionView::Hash(hash) = view
        && hash.may_hold_dead(now_ms)
    {
        for field in hash.live_fields(now_ms) {
            hash::encode_field(&field, &mut part);
            if part.len() >= PART_LEN {
                encoder.push(&part, None)?;
                part.clear();
            }
        }
        return encoder.push(&part, None);
    }
    let mut from = Some(0);
    while let Some(at) = from {
        part.clear();
        from = view.encode(at, PART_LEN, &mut part);
        encoder.push(&part, None)?;
    }
    Ok(())
}
