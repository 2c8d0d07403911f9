//! Runs of equal registers.
//!
//! ```text
//! 00nnnnnn           n + 1 registers of 0
//! 01nnnnnn nnnnnnnn  n + 1 registers of 0, high bits first
//! 1vvvvvnn           n + 1 registers of v + 1
//! ```
//! Runs are split, joined and refused exactly where Redis does it: bytes are compared with those of real servers. Redis finds its
//! string's terminator in place of a second byte that is missing at the end: it reads as 0 here. Such a run is not split, though:
//! Redis writes over the terminator then.

use super::{BadHll, HEADER_LEN, REGISTERS};

/// Largest value of a register here.
pub(super) const VALUE_MAX: u8 = 32;
/// Longest run of a value.
const VALUE_RUN_MAX: usize = 4;
/// Longest run of zeros in one byte.
const ZEROS_SHORT_MAX: usize = 64;
/// So many runs, from the one before the change on, are looked at for neighbours to join.
const JOIN_RUNS: usize = 5;

/// Equal registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Run {
    Zeros(usize),
    Value { value: u8, len: usize },
}

impl Run {
    /// The run that begins at `at`, and its bytes, of which the second may lie behind the end; `None` at the end.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Option<(Run, usize)> {
        let byte = *bytes.get(at)?;
        let low = usize::from(byte & 0x3f);
        Some(match byte >> 6 {
            0 => (Run::Zeros(low + 1), 1),
            1 => (Run::Zeros((low << 8 | usize::from(bytes.get(at + 1).copied().unwrap_or(0))) + 1), 2),
            _ => (Run::Value { value: (byte >> 2 & 0x1f) + 1, len: usize::from(byte & 3) + 1 }, 1),
        })
    }

    #[inline]
    fn len(self) -> usize {
        match self {
            Run::Zeros(len) | Run::Value { len, .. } => len,
        }
    }

    /// The run's bytes: the first, and the second if there is one.
    pub(super) fn bytes(self) -> (u8, Option<u8>) {
        match self {
            Run::Zeros(len) if len <= ZEROS_SHORT_MAX => ((len - 1) as u8, None),
            Run::Zeros(len) => {
                let [high, low] = (0x4000 | (len - 1) as u16).to_be_bytes();
                (high, Some(low))
            }
            Run::Value { value, len } => (0x80 | (value - 1) << 2 | (len - 1) as u8, None),
        }
    }
}

/// Walks runs from the first on.
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Runs<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Runs<'a> {
        Runs { bytes, at: 0 }
    }

    /// The next run and its bytes.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(Run, usize)>, BadHll> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let (run, len) = Run::at(self.bytes, self.at).ok_or(BadHll::Corrupted)?;
        self.at += len;
        Ok(Some((run, len)))
    }

    /// Calls `visit` with first register, length and value of each run. All together must make up all registers.
    pub(super) fn for_each(mut self, mut visit: impl FnMut(usize, usize, u8)) -> Result<(), BadHll> {
        let mut first = 0;
        while let Some((run, _)) = self.next()? {
            if first + run.len() > REGISTERS {
                return Err(BadHll::Corrupted);
            }
            match run {
                Run::Zeros(len) => visit(first, len, 0),
                Run::Value { value, len } => visit(first, len, value),
            }
            first += run.len();
        }
        if first == REGISTERS { Ok(()) } else { Err(BadHll::Corrupted) }
    }

    /// The value of one register.
    pub(super) fn value_of(self, register: usize) -> Result<u8, BadHll> {
        let way = find(self.bytes, Found { at: self.at, first: 0 }, register).ok_or(BadHll::Corrupted)?;
        match Run::at(self.bytes, way.found.at) {
            Some((Run::Value { value, .. }, _)) => Ok(value),
            _ => Ok(0),
        }
    }
}

/// A run that was met on the way to a register: its place in the bytes and its first register. Raising registers in increasing
/// order goes on from the one before the last that mattered, in place of the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    at: usize,
    first: usize,
}

impl Found {
    /// The first run.
    pub(super) const START: Found = Found { at: HEADER_LEN, first: 0 };
}

/// Runs that were met, one for each stretch of registers: where many elements are added, the way to a register begins at the nearest.
pub(super) struct Index {
    /// At `n` a run that begins at or before register `n * STRETCH`.
    points: [Option<Found>; REGISTERS / STRETCH + 1],
}

/// See [`Index`].
const STRETCH: usize = 256;
/// Bytes from the run before a change on in which runs may begin elsewhere after it: the changed run's parts and those that were joined.
const CHANGED_LEN: usize = 4 * JOIN_RUNS;

impl Index {
    /// Nothing is known yet.
    pub(super) fn new() -> Index {
        Index { points: [None; REGISTERS / STRETCH + 1] }
    }

    /// [`raise`], from the nearest run that is known. It is the one before the register's own that has to be found.
    pub(super) fn raise(
        &mut self,
        bytes: &mut Vec<u8>,
        register: usize,
        value: u8,
        len_max: usize,
    ) -> Result<Raised, BadHll> {
        let near = self.points[..=register / STRETCH].iter().rev().find_map(|point| *point);
        let way = near.and_then(|near| find(bytes, near, register).filter(|way| way.walked));
        let way = way.or_else(|| find(bytes, Found::START, register)).ok_or(BadHll::Corrupted)?;
        let old_len = bytes.len();
        let raised = raise_at(bytes, &way, register, value, len_max)?;
        let start = way.before_that;
        if raised == Raised::Yes {
            let from = if way.walked { way.before.at } else { HEADER_LEN };
            for point in &mut self.points {
                match point {
                    Some(found) if found.at <= from => {}
                    Some(found) if found.at <= from + CHANGED_LEN => *point = None,
                    Some(found) => found.at = found.at + bytes.len() - old_len,
                    None => {}
                }
            }
        }
        self.points[start.first.div_ceil(STRETCH)] = Some(start);
        Ok(raised)
    }
}

/// What became of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Raised {
    /// It was as high already.
    No,
    Yes,
    /// Nothing was changed: runs cannot hold the value, or would take more than they may.
    NeedsDense,
}

/// The way to a register's run.
struct Way {
    found: Found,
    /// The run before it, if any was walked.
    before: Found,
    /// The one before that; where the walk began if there is none.
    before_that: Found,
    walked: bool,
}

/// Walks from `from` to the run of a register; `None` if there is none. This is where adding to a sparse HyperLogLog spends its time: plain
/// numbers, which are quick without an optimizer too.
fn find(bytes: &[u8], from: Found, register: usize) -> Option<Way> {
    let (mut at, mut first) = (from.at, from.first);
    let (mut before, mut before_that) = (from, from);
    let end = bytes.len();
    while at < end {
        let byte = bytes[at] as usize;
        let (mut step, mut len) = (1, (byte & 0x3f) + 1);
        if byte >= 0x80 {
            len = (byte & 3) + 1;
        } else if byte >= 0x40 {
            let second = if at + 1 < end { bytes[at + 1] as usize } else { 0 };
            (step, len) = (2, ((byte & 0x3f) << 8 | second) + 1);
        }
        if register < first + len {
            let walked = at > from.at;
            return Some(Way { found: Found { at, first }, before, before_that, walked });
        }
        before_that = before;
        before = Found { at, first };
        at += step;
        first += len;
    }
    None
}

/// Raises a register to `value`. `bytes` is the whole HyperLogLog. `from` is where to begin: [`Found::START`], or what an earlier call
/// for a lower register left there.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    from: &mut Found,
    register: usize,
    value: u8,
    len_max: usize,
) -> Result<Raised, BadHll> {
    let way = find(bytes, *from, register).ok_or(BadHll::Corrupted)?;
    *from = way.before_that;
    raise_at(bytes, &way, register, value, len_max)
}

/// [`raise`] once the register's run is found.
fn raise_at(bytes: &mut Vec<u8>, way: &Way, register: usize, value: u8, len_max: usize) -> Result<Raised, BadHll> {
    if value > VALUE_MAX {
        return Ok(Raised::NeedsDense);
    }
    let Found { at, first } = way.found;
    let (run, run_bytes) = Run::at(bytes, at).ok_or(BadHll::Corrupted)?;
    if at + run_bytes > bytes.len() {
        return Err(BadHll::Corrupted);
    }
    if let Run::Value { value: old, .. } = run
        && old >= value
    {
        return Ok(Raised::No);
    }
    // The run is divided into what is in front of the register, the register, and what is behind it.
    let of_length = |len: usize| match run {
        Run::Zeros(_) => Run::Zeros(len),
        Run::Value { value, .. } => Run::Value { value, len },
    };
    let (front, behind) = (register - first, first + run.len() - 1 - register);
    let divided = [
        (front > 0).then(|| of_length(front)),
        Some(Run::Value { value, len: 1 }),
        (behind > 0).then(|| of_length(behind)),
    ];
    let (mut parts, mut len) = ([0; 5], 0);
    for (byte, second) in divided.into_iter().flatten().map(Run::bytes) {
        parts[len] = byte;
        len += 1;
        if let Some(second) = second {
            parts[len] = second;
            len += 1;
        }
    }
    let parts = &parts[..len];
    if parts.len() > run_bytes && bytes.len() + parts.len() - run_bytes > len_max {
        return Ok(Raised::NeedsDense);
    }
    bytes.splice(at..at + run_bytes, parts.iter().copied());
    join(bytes, if way.walked { way.before.at } else { HEADER_LEN });
    Ok(Raised::Yes)
}

/// Joins neighbouring runs of one value, from the run at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_RUNS {
        let Some((run, len)) = Run::at(bytes, at) else { return };
        if let Run::Value { value, len: one } = run
            && let Some((Run::Value { value: same, len: other }, _)) = Run::at(bytes, at + 1)
            && same == value
            && one + other <= VALUE_RUN_MAX
        {
            bytes.remove(at);
            bytes[at] = Run::Value { value, len: one + other }.bytes().0;
        } else {
            at += len;
        }
    }
}
