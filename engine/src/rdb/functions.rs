//! Payloads of FUNCTION DUMP and RESTORE: libraries' sources as a file has them, then version and checksum as behind a value ([`super::dump`]).
//!
//! Compressed as a file's strings are, and written in the version of Redis 7.0, so that every server that has functions takes them.

use super::dump::{DUMP_VERSION, close, open};
use super::error::RdbError;
use super::input::Input;
use super::length::put_string;
use super::opcode;

/// Why a payload holds no libraries. The texts are part of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum BadLibraries {
    /// Too short, of a version that is not known, or its checksum is wrong.
    #[error("DUMP payload version or checksum are wrong")]
    Envelope,
    /// Something else stands in it.
    #[error("given type is not a function")]
    NotALibrary,
    /// The form of Redis 7.0's release candidates.
    #[error("Pre-release function format not supported")]
    PreRelease,
    /// A source is cut, or its lengths contradict each other.
    #[error("failed loading the given functions payload")]
    Source(#[from] RdbError),
}

/// The payload of libraries with these sources.
pub fn encode<'s>(sources: impl IntoIterator<Item = &'s [u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    for source in sources {
        payload.push(opcode::FUNCTION_2);
        put_string(&mut payload, source, true);
    }
    close(payload, DUMP_VERSION)
}

/// The sources of a payload.
///
/// # Errors
/// [`BadLibraries`].
pub fn decode(payload: &[u8]) -> Result<Vec<Vec<u8>>, BadLibraries> {
    let (_, body) = open(payload, true).ok_or(BadLibraries::Envelope)?;
    let mut input = Input::small(body, body.len(), 0);
    let mut sources = Vec::new();
    while input.has_more()? {
        match input.byte()? {
            opcode::FUNCTION_2 => {}
            opcode::FUNCTION_PRE_GA => return Err(BadLibraries::PreRelease),
            _ => return Err(BadLibraries::NotALibrary),
        }
        let mut source = Vec::new();
        input.string(&mut source)?;
        sources.push(source);
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_and_cut_is_seen() {
        let sources = [b"#!lua name=a\n".to_vec(), vec![b'x'; 70], vec![b'y'; 20_000]];
        let payload = encode(sources.iter().map(|source| &source[..]));
        assert!(payload.len() < 1000, "it is compressed");
        assert_eq!(decode(&payload).expect("good"), sources);
        assert_eq!(decode(&encode([])).expect("good"), Vec::<Vec<u8>>::new());
        let small = encode([&b"#!lua name=a\n"[..]]);
        for bit in 0..small.len() * 8 {
            let mut bad = small.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..small.len() {
            assert!(decode(&small[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn other_things_with_a_good_checksum_are_told_apart() {
        for (body, text) in [
            (&[0, 1, b'v'][..], "given type is not a function"),
            (&[opcode::FUNCTION_PRE_GA, 1, b'x'], "Pre-release function format not supported"),
            (&[opcode::FUNCTION_2, 5, b'x'], "failed loading the given functions payload"),
            (
                &[opcode::FUNCTION_2, 0xc3, 1, 0x80, 0xff, 0xff, 0xff, 0xff, 0],
                "failed loading the given functions payload",
            ),
        ] {
            let payload = close(body.to_vec(), DUMP_VERSION);
            assert_eq!(decode(&payload).expect_err(text).to_string(), text);
        }
    }
}
