//! Sorted sets: being written.
use super::{BadValue, Shaping};

#[derive(Clone, Debug, Default)]
pub struct SortedSet;
#[derive(Clone, Copy, Debug)]
pub struct SortedSetView<'a>(std::marker::PhantomData<&'a SortedSet>);

impl SortedSet {
    pub fn from_packed(_bytes: Vec<u8>) -> SortedSet {
        unimplemented!()
    }
    pub fn into_packed(self) -> Result<Vec<u8>, SortedSet> {
        unimplemented!()
    }
    pub fn view(&self) -> SortedSetView<'_> {
        unimplemented!()
    }
    pub fn is_packed(&self) -> bool {
        unimplemented!()
    }
    pub fn used_bytes(&self) -> usize {
        unimplemented!()
    }
    pub fn decode_part(&mut self, _part: &[u8], _shaping: &Shaping) -> Result<(), BadValue> {
        unimplemented!()
    }
}
impl<'a> SortedSetView<'a> {
    pub fn packed(_bytes: &'a [u8]) -> Self {
        unimplemented!()
    }
    pub fn len(self) -> usize {
        unimplemented!()
    }
    pub fn encoding(self) -> &'static str {
        unimplemented!()
    }
    pub fn encode(self, _from: u64, _budget: usize, _out: &mut Vec<u8>) -> Option<u64> {
        unimplemented!()
    }
    pub fn digest(self) -> u128 {
        unimplemented!()
    }
    pub fn to_owned(self) -> SortedSet {
        unimplemented!()
    }
}
