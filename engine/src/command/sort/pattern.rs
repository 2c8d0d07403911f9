//! What BY and GET name: `#`, `prefix*suffix`, `prefix*suffix->field`.

use crate::command::Call;
use crate::keyspace::Value;
use crate::value::CollectionView;
use crate::value::listpack::IntegerText;

/// A pattern; the first `*` stands for an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// No `*`: the same for all elements, and so nothing to look up.
    Constant,
    /// A key, or a field of the hash there.
    Key { prefix: &'a [u8], suffix: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(word: &'a [u8]) -> Pattern<'a> {
        if word == b"#" {
            return Pattern::Element;
        }
        let Some(star) = word.iter().position(|byte| *byte == b'*') else { return Pattern::Constant };
        let (prefix, behind) = (&word[..star], &word[star + 1..]);
        // An arrow with nothing behind it is a part of the key's name.
        match behind.windows(2).position(|pair| pair == b"->") {
            Some(arrow) if arrow + 2 < behind.len() => {
                Pattern::Key { prefix, suffix: &behind[..arrow], field: Some(&behind[arrow + 2..]) }
            }
            _ => Pattern::Key { prefix, suffix: behind, field: None },
        }
    }

    /// BY: whether all elements weigh the same.
    pub(super) fn is_constant(self) -> bool {
        !matches!(self, Pattern::Key { .. })
    }

    /// Hands on what an element leads to: a string, or the field of a hash. `name` is a buffer. `for_record`: the command will be logged.
    pub(super) fn look_up<R>(
        self,
        call: &mut Call<'_>,
        element: &[u8],
        for_record: bool,
        name: &mut Vec<u8>,
        see: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        let (prefix, suffix, field) = match self {
            Pattern::Element => return see(Some(element)),
            Pattern::Constant => return see(None),
            Pattern::Key { prefix, suffix, field } => (prefix, suffix, field),
        };
        name.clear();
        name.extend_from_slice(prefix);
        name.extend_from_slice(element);
        name.extend_from_slice(suffix);
        let seed = call.engine.keyspace.seed();
        let now_ms = if call.engine.replaying { 0 } else { call.engine.now_ms };
        let key = seed.key(name);
        let entry = if for_record { call.read_for_record(key) } else { call.read(key) };
        match (entry.map(|entry| entry.value), field) {
            (Some(Value::String(bytes)), None) => see(Some(bytes)),
            (Some(Value::Collection(CollectionView::Hash(hash))), Some(field)) => match hash.live(field, now_ms) {
                Some(held) => see(Some(held.value.as_bytes(&mut IntegerText::new()))),
                None => see(None),
            },
            _ => see(None),
        }
    }
}
