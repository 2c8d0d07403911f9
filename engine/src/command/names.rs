//! Commands by name: a small open-addressing table that finds a name in any case of letters without allocating.
//!
//! 1. At most half of the slots are taken, so that a search ends.
//! 2. A slot keeps two folded words of its name (length, first and last bytes): nearly always one slot is looked at and one
//!    name compared.

/// Names and what they stand for; built at start, and again when commands are renamed.
#[derive(Clone, Debug)]
pub struct NameIndex<T> {
    slots: Box<[Option<Slot<T>>]>,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    folded: (u64, u64),
    name: Box<[u8]>,
    value: T,
}

impl<T: Copy> NameIndex<T> {
    /// An index of names, compared without regard to case; a later one replaces an equal earlier one.
    pub fn new<'n>(names: impl IntoIterator<Item = (&'n [u8], T)>) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        let mut slots: Vec<Option<Slot<T>>> = Vec::new();
        slots.resize_with((names.len() * 4).next_power_of_two(), || None);
        for (name, value) in names {
            let folded = fold(name);
            let mut at = home(folded, slots.len());
            while slots[at].as_ref().is_some_and(|slot| !slot.name.eq_ignore_ascii_case(name)) {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = Some(Slot { folded, name: name.into(), value });
        }
        NameIndex { slots: slots.into() }
    }

    /// What `name` stands for.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<T> {
        let folded = fold(name);
        let mut at = home(folded, self.slots.len());
        while let Some(slot) = &self.slots[at] {
            if slot.folded == folded && slot.name.eq_ignore_ascii_case(name) {
                return Some(slot.value);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }
}

/// First and last bytes and the length, with the bit that tells cases apart cleared everywhere.
#[inline]
fn fold(name: &[u8]) -> (u64, u64) {
    const CASE: u64 = 0xdfdf_dfdf_dfdf_dfdf;
    let len = name.len();
    let (front, back) = if let (Some(front), Some(back)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (u64::from_le_bytes(*front), u64::from_le_bytes(*back))
    } else if let (Some(front), Some(back)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*front)), u64::from(u32::from_le_bytes(*back)))
    } else {
        let pick = |at: usize| u64::from(name.get(at).copied().unwrap_or(0));
        (pick(0) | pick(1) << 8, pick(2))
    };
    (front & CASE, (back & CASE).wrapping_add((len as u64) << 56))
}

#[inline]
fn home(folded: (u64, u64), slots: usize) -> usize {
    let mixed = (folded.0 ^ folded.1.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize & (slots - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is() {
        let names = ["GET", "GETDEL", "SUBSTR", "MGET", "PEXPIRETIME", "INCRBYFLOAT", "LCS", "A", "RENAMED-6a1f", "Z2"];
        let index = NameIndex::new(names.iter().enumerate().map(|(at, name)| (name.as_bytes(), at)));
        for (at, name) in names.iter().enumerate() {
            assert_eq!(index.find(name.as_bytes()), Some(at));
            assert_eq!(index.find(name.to_lowercase().as_bytes()), Some(at));
            assert_eq!(index.find(format!("{name}X").as_bytes()), None);
            assert_eq!(index.find(&name.as_bytes()[..name.len() - 1]), None, "{name}");
        }
        // Folding confuses '2' with 0x12; the comparison must not.
        assert_eq!(index.find(b"Z\x12"), None);
        assert_eq!(index.find(b""), None);
        assert_eq!(NameIndex::<usize>::new([]).find(b"GET"), None);
    }
}
