//! Listpacks as RDB files have them: `u32 length of all | u16 count (65535: count them) | entries | 0xff`, and what all packed runs have in common.

use super::error::BadRdb;
use super::ziplist;
use crate::value::listpack::{self, Element, Listpack};

const HEADER_LEN: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// A kind of packed runs of elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Run {
    Ziplist,
    Listpack,
}

/// A listpack's entries as a run of our own, all of it checked.
pub(super) fn listpack(bytes: &[u8]) -> Result<Vec<u8>, BadRdb> {
    let bad = BadRdb::Listpack;
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(bad)?;
    let (end, entries) = rest.split_last().ok_or(bad)?;
    let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let count = u16::from_le_bytes([header[4], header[5]]);
    if *end != END || len != bytes.len() {
        return Err(bad);
    }
    let run = listpack::from_entries(entries)?;
    if count != COUNT_UNKNOWN && usize::from(count) != Listpack::new(&run).len() {
        return Err(bad);
    }
    Ok(run)
}

/// Hands on every element of a packed run.
pub(super) fn each(
    run: Run,
    bytes: &[u8],
    see: &mut dyn FnMut(Element<'_>) -> Result<(), BadRdb>,
) -> Result<(), BadRdb> {
    match run {
        Run::Ziplist => ziplist::each(bytes, see),
        Run::Listpack => Listpack::new(&listpack(bytes)?).iter().try_for_each(see),
    }
}

/// Appends the listpack of a run of ours.
pub(super) fn put_listpack(out: &mut Vec<u8>, run: Listpack<'_>) {
    let entries = run.entries();
    out.extend_from_slice(&((HEADER_LEN + entries.len() + 1) as u32).to_le_bytes());
    out.extend_from_slice(&u16::try_from(run.len()).unwrap_or(COUNT_UNKNOWN).to_le_bytes());
    out.extend_from_slice(entries);
    out.push(END);
}
