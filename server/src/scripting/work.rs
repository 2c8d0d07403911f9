//! Native code that works for a script: a piece at a time, so that the script can be ended meanwhile, and in the machine's memory, so that what it
//! makes is bounded although it is not yet the machine's.

use super::lua::{Raise, Stack};
use super::watch;

/// Texts are worked through in pieces of so many bytes.
pub(super) const PIECE: usize = 64 << 10;

/// To be called before each piece of work that appends about `more` bytes to `out`.
///
/// # Errors
/// The machine could not hold the text that `out` becomes, or the script is to end.
#[inline]
pub(super) fn piece(stack: &Stack, out: &[u8], more: usize) -> Result<(), Raise> {
    if out.len() + more > stack.memory_left() {
        return Err(Raise::text("not enough memory"));
    }
    watch::tick_for_bytes(more)
}
