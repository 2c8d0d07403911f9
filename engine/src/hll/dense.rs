//! Registers of 6 bits each, one behind the other, lowest bits first: four of them in three bytes.

use super::REGISTERS;

/// Bits of a register.
const BITS: usize = 6;
const MASK: u32 = (1 << BITS) - 1;
/// Bytes of all registers.
pub(super) const LEN: usize = REGISTERS * BITS / 8;

/// Where the group of four that holds a register begins, and the register's lowest bit in it.
fn group_of(register: usize) -> (usize, usize) {
    (register / 4 * 3, register % 4 * BITS)
}

fn load(group: &[u8]) -> u32 {
    u32::from_le_bytes([group[0], group[1], group[2], 0])
}

/// One register.
pub(super) fn get(bytes: &[u8], register: usize) -> u8 {
    let (at, shift) = group_of(register);
    (load(&bytes[at..at + 3]) >> shift & MASK) as u8
}

/// Sets one register.
pub(super) fn set(bytes: &mut [u8], register: usize, value: u8) {
    let (at, shift) = group_of(register);
    let group = load(&bytes[at..at + 3]) & !(MASK << shift) | (u32::from(value) & MASK) << shift;
    bytes[at..at + 3].copy_from_slice(&group.to_le_bytes()[..3]);
}

/// All registers in order.
#[inline]
pub(super) fn for_each(bytes: &[u8], mut visit: impl FnMut(usize, u8)) {
    for (number, group) in bytes.chunks_exact(3).enumerate() {
        let group = load(group);
        for place in 0..4 {
            visit(number * 4 + place, (group >> (place * BITS) & MASK) as u8);
        }
    }
}

/// Appends all registers.
pub(super) fn pack(registers: &[u8; REGISTERS], out: &mut Vec<u8>) {
    out.reserve_exact(LEN);
    for four in registers.chunks_exact(4) {
        let group = four.iter().rev().fold(0u32, |group, value| group << BITS | u32::from(*value) & MASK);
        out.extend_from_slice(&group.to_le_bytes()[..3]);
    }
}
