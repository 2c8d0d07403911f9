//! Streams: being written.
use super::{BadValue, Shaping};

#[derive(Clone, Debug, Default)]
pub struct Stream;
impl Stream {
    pub fn used_bytes(&self) -> usize {
        unimplemented!()
    }
    pub fn decode_part(&mut self, _part: &[u8], _shaping: &Shaping) -> Result<(), BadValue> {
        unimplemented!()
    }
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    pub fn encoding(&self) -> &'static str {
        unimplemented!()
    }
    pub fn encode(&self, _from: u64, _budget: usize, _out: &mut Vec<u8>) -> Option<u64> {
        unimplemented!()
    }
    pub fn digest(&self) -> u128 {
        unimplemented!()
    }
}
