//! Passwords: only their SHA-256 is kept, and how far a guess is right does not show.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// SHA-256 of a password.
pub(crate) type Hash = [u8; 32];

/// The hash of a password.
pub(crate) fn hash(password: &[u8]) -> Hash {
    Sha256::digest(password).into()
}

/// A hash as 64 lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hash from 64 lower-case hexadecimal digits.
pub(crate) fn parse_hex(text: &[u8]) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

/// Whether `given` is one of `right`, in a time that depends only on how many there are.
pub(crate) fn is_any(right: &[Hash], given: &Hash) -> bool {
    right.iter().fold(false, |found, right| {
        let difference = right.iter().zip(given).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        found | (difference == 0)
    })
}

/// A random password of so many bits, as hexadecimal digits (ACL GENPASS).
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn generate(bits: usize) -> std::io::Result<String> {
    let digits = bits.div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let mut text = hex(&bytes);
    text.truncate(digits);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sha_256_and_survive_their_text() {
        let text = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        assert_eq!(hex(&hash(b"a")), text);
        assert_eq!(parse_hex(text.as_bytes()), Some(hash(b"a")));
        for bad in [&text[1..], &text.to_uppercase(), &format!("{text}0"), &text.replace('c', "g"), ""] {
            assert_eq!(parse_hex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn any_of_several_passwords_is_right_and_nothing_else() {
        let right = [hash(b"a"), hash(b"b")];
        assert!(is_any(&right, &hash(b"a")) && is_any(&right, &hash(b"b")));
        assert!(!is_any(&right, &hash(b"c")) && !is_any(&[], &hash(b"a")));
        let mut one_bit = hash(b"a");
        one_bit[31] ^= 1;
        assert!(!is_any(&right, &one_bit));
    }

    #[test]
    fn generated_passwords_have_the_asked_for_length_and_differ() {
        for (bits, digits) in [(1, 1), (4, 1), (5, 2), (256, 64), (4096, 1024)] {
            assert_eq!(generate(bits).expect("random").len(), digits);
        }
        assert_ne!(generate(256).expect("random"), generate(256).expect("random"));
    }
}
