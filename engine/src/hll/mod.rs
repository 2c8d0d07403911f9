//! HyperLogLogs in Redis' own string format, byte for byte: a string made by Redis or Valkey reads here, and the other way around.
//!
//! ```text
//! offset size field
//!  0      4   magic "HYLL"
//!  4      1   encoding: 0 dense, 1 sparse
//!  5      3   0
//!  8      8   cached cardinality, little endian; the highest bit says that it is out of date
//! 16      n   registers: dense 16384 of 6 bits each, lowest bits first; sparse runs of equal registers (`sparse`)
//! ```
//! 1. Nothing here panics on any bytes: a client can set the string to what it likes. [`encoding`] tells what is no HyperLogLog at
//!    all; runs that do not make up all registers are found when they are walked ([`BadHll::Corrupted`]).
//! 2. The same elements in the same order make the same bytes as in Redis, the change from sparse to dense included.

mod dense;
mod estimate;
mod sparse;
#[cfg(test)]
mod tests;

use estimate::{Histogram, place_of};
use sparse::{Found, Index, Run};

/// Registers of a HyperLogLog: 14 bits of an element's hash say which one.
pub const REGISTERS: usize = 1 << 14;
/// Bytes before the registers.
const HEADER_LEN: usize = 16;
/// Length of a dense HyperLogLog.
const DENSE_LEN: usize = HEADER_LEN + dense::LEN;
/// A run takes at most two bytes and stands for at least one register.
const SPARSE_LEN_MAX: usize = HEADER_LEN + 2 * REGISTERS;
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const CACHED_AT: usize = 8;
/// In the last byte of the cached cardinality: it is out of date.
const OUT_OF_DATE: u8 = 0x80;

/// Why a string cannot be used as a HyperLogLog.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHll {
    /// It is another string.
    #[error("WRONGTYPE Key is not a valid HyperLogLog string value.")]
    NotHll,
    /// It looks like one, but its runs do not make up all registers.
    #[error("INVALIDOBJ Corrupted HLL object detected")]
    Corrupted,
}

/// How registers are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// 6 bits each.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

/// All registers, one byte each: the union of several HyperLogLogs is their maximum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }
}

/// What kind of HyperLogLog a string is.
///
/// # Errors
/// [`BadHll::NotHll`].
pub fn encoding(bytes: &[u8]) -> Result<Encoding, BadHll> {
    match bytes {
        [b'H', b'Y', b'L', b'L', SPARSE, ..] if bytes.len() >= HEADER_LEN => Ok(Encoding::Sparse),
        [b'H', b'Y', b'L', b'L', DENSE, ..] if bytes.len() == DENSE_LEN => Ok(Encoding::Dense),
        _ => Err(BadHll::NotHll),
    }
}

/// One without elements.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..4].copy_from_slice(b"HYLL");
    bytes[ENCODING_AT] = SPARSE;
    let (first, second) = Run::Zeros(REGISTERS).bytes();
    bytes.push(first);
    bytes.extend(second);
    bytes
}

/// The cardinality that a HyperLogLog states itself, if it is up to date.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let field: &[u8; 8] = bytes.get(CACHED_AT..)?.first_chunk()?;
    (field[7] & OUT_OF_DATE == 0).then(|| u64::from_le_bytes(*field))
}

/// Writes the cardinality into a HyperLogLog.
pub fn set_cached(bytes: &mut [u8], cardinality: u64) {
    bytes[CACHED_AT..HEADER_LEN].copy_from_slice(&cardinality.to_le_bytes());
}

/// Marks the cardinality that a HyperLogLog states as out of date.
pub fn invalidate(bytes: &mut [u8]) {
    bytes[HEADER_LEN - 1] |= OUT_OF_DATE;
}

fn runs(bytes: &[u8]) -> Result<sparse::Runs<'_>, BadHll> {
    let runs = bytes.get(HEADER_LEN..).filter(|_| bytes.len() <= SPARSE_LEN_MAX).ok_or(BadHll::Corrupted)?;
    Ok(sparse::Runs::new(runs))
}

/// Whether [`add`] would change a HyperLogLog.
///
/// # Errors
/// [`BadHll`].
pub fn raises(bytes: &[u8], element: &[u8]) -> Result<bool, BadHll> {
    let (register, value) = place_of(element);
    match encoding(bytes)? {
        Encoding::Dense => Ok(dense::get(&bytes[HEADER_LEN..], register) < value),
        Encoding::Sparse if value > sparse::VALUE_MAX => Ok(true),
        Encoding::Sparse => Ok(runs(bytes)?.value_of(register)? < value),
    }
}

/// Adds elements; says whether that changed a register, and marks the cardinality as out of date then. A sparse HyperLogLog that
/// would become longer than `sparse_len_max`, or whose registers cannot hold a value, becomes dense.
///
/// # Errors
/// [`BadHll`]; some elements may have been added.
pub fn add<'e>(
    bytes: &mut Vec<u8>,
    elements: impl IntoIterator<Item = &'e [u8]>,
    sparse_len_max: usize,
) -> Result<bool, BadHll> {
    let mut is_sparse = encoding(bytes)? == Encoding::Sparse;
    if is_sparse {
        runs(bytes)?;
    }
    let (mut index, mut changed) = (Index::new(), false);
    for element in elements {
        let (register, value) = place_of(element);
        if is_sparse {
            match index.raise(bytes, register, value, sparse_len_max)? {
                sparse::Raised::No => continue,
                sparse::Raised::Yes => {
                    changed = true;
                    continue;
                }
                sparse::Raised::NeedsDense => {
                    to_dense(bytes)?;
                    is_sparse = false;
                }
            }
        }
        let registers = &mut bytes[HEADER_LEN..];
        if dense::get(registers, register) < value {
            dense::set(registers, register, value);
            changed = true;
        }
    }
    if changed {
        invalidate(bytes);
    }
    Ok(changed)
}

/// Makes a sparse HyperLogLog dense; says whether it was sparse. What it states as its cardinality stays.
///
/// # Errors
/// [`BadHll`]; nothing was changed.
pub fn to_dense(bytes: &mut Vec<u8>) -> Result<bool, BadHll> {
    if encoding(bytes)? == Encoding::Dense {
        return Ok(false);
    }
    let mut registers = Registers::default();
    registers.merge(bytes)?;
    write_dense(bytes, &registers);
    Ok(true)
}

fn write_dense(bytes: &mut Vec<u8>, registers: &Registers) {
    bytes.truncate(HEADER_LEN);
    bytes[ENCODING_AT] = DENSE;
    dense::pack(&registers.0, bytes);
}

/// How many different elements were added, more or less, computed anew.
///
/// # Errors
/// [`BadHll`].
pub fn count(bytes: &[u8]) -> Result<u64, BadHll> {
    let mut histogram = Histogram::default();
    match encoding(bytes)? {
        Encoding::Dense => dense::for_each(&bytes[HEADER_LEN..], |_, value| histogram.add(value, 1)),
        Encoding::Sparse => runs(bytes)?.for_each(|_, len, value| histogram.add(value, len))?,
    }
    Ok(histogram.estimate())
}

/// Sets every register of a HyperLogLog to that of `union`, which no register of its own is above; the result is dense if `dense` says
/// so or if a sparse one will not do. Marks the cardinality as out of date.
///
/// # Errors
/// [`BadHll`]; the bytes are of no use then.
pub fn store_union(bytes: &mut Vec<u8>, union: &Registers, dense: bool, sparse_len_max: usize) -> Result<(), BadHll> {
    let mut needs_dense = dense || encoding(bytes)? == Encoding::Dense;
    if !needs_dense {
        let mut from = Found::START;
        for (register, &value) in union.0.iter().enumerate().filter(|(_, value)| **value > 0) {
            if sparse::raise(bytes, &mut from, register, value, sparse_len_max)? == sparse::Raised::NeedsDense {
                needs_dense = true;
                break;
            }
        }
    }
    if needs_dense {
        write_dense(bytes, union);
    }
    invalidate(bytes);
    Ok(())
}

/// The runs of a sparse HyperLogLog as PFDEBUG DECODE shows them: `z:len`, `Z:len` (a run of two bytes), `v:value,len`.
///
/// # Errors
/// [`BadHll`].
pub fn describe_runs(bytes: &[u8]) -> Result<String, BadHll> {
    let mut texts = Vec::new();
    let mut runs = runs(bytes)?;
    while let Some((run, len)) = runs.next()? {
        texts.push(match run {
            Run::Zeros(zeros) => format!("{}:{zeros}", if len == 1 { 'z' } else { 'Z' }),
            Run::Value { value, len } => format!("v:{value},{len}"),
        });
    }
    Ok(texts.join(" "))
}

impl Registers {
    /// Raises registers to those of another HyperLogLog.
    ///
    /// # Errors
    /// [`BadHll`]; some registers may have been raised.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), BadHll> {
        match encoding(bytes)? {
            Encoding::Dense => {
                dense::for_each(&bytes[HEADER_LEN..], |register, value| {
                    let mine = &mut self.0[register];
                    *mine = value.max(*mine);
                });
                Ok(())
            }
            Encoding::Sparse => runs(bytes)?.for_each(|first, len, value| {
                if value > 0 {
                    self.0[first..first + len].iter_mut().for_each(|mine| *mine = value.max(*mine));
                }
            }),
        }
    }

    /// How many different elements were added, more or less.
    pub fn count(&self) -> u64 {
        let mut histogram = Histogram::default();
        self.0.iter().for_each(|&value| histogram.add(value, 1));
        histogram.estimate()
    }

    /// The registers.
    pub fn values(&self) -> &[u8] {
        &self.0[..]
    }
}
