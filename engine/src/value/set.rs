//! Sets: being written.
use super::{BadValue, Shaping};

#[derive(Clone, Debug, Default)]
pub struct Set;
#[derive(Clone, Copy, Debug)]
pub struct SetView<'a>(std::marker::PhantomData<&'a Set>);

impl Set {
    pub fn from_packed(_packing: super::Packing, _bytes: Vec<u8>) -> Set {
        unimplemented!()
    }
    pub fn into_packed(self) -> Result<(super::Packing, Vec<u8>), Set> {
        unimplemented!()
    }
    pub fn view(&self) -> SetView<'_> {
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
impl<'a> SetView<'a> {
    pub fn packed(_packing: super::Packing, _bytes: &'a [u8]) -> Self {
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
    pub fn to_owned(self) -> Set {
        unimplemented!()
    }
}
