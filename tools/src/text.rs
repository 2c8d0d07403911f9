//! How things look to a person: words, times, sizes, colours, progress.

use crate::ToolError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Tells whoever watches something beside the output: on standard error. If nobody can hear it, nothing else changes.
pub(crate) fn tell(what: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Colours, used only if standard output is a terminal and `NO_COLOR` is not set.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// As fits standard output.
    pub(crate) fn for_stdout() -> Style {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Style { colours: wanted && std::io::stdout().is_terminal() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    /// All is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }
    /// Something is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }
    /// Worth a look.
    pub(crate) fn note(self, text: &str) -> String {
        self.paint("33", text)
    }
    /// Less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
    /// A heading or a command's name.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// Bytes of a word that are shown before the rest is only counted.
const WORD_LEN_SHOWN: usize = 120;

/// A word in double quotes as redis-cli prints it: printable ASCII as it is, the rest escaped; long ones cut unless `full`.
pub(crate) fn quoted(word: &[u8], full: bool) -> String {
    let shown = if full || word.len() <= WORD_LEN_SHOWN { word } else { &word[..WORD_LEN_SHOWN] };
    let mut text = String::with_capacity(shown.len() + 2);
    text.push('"');
    for &byte in shown {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    if shown.len() < word.len() {
        text.push_str(&format!("...({} bytes)", word.len()));
    }
    text
}

/// A word as it is if it consists of nothing but letters, digits and harmless signs, else [`quoted`].
pub(crate) fn word(word: &[u8], full: bool) -> String {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+@/%{}".contains(byte);
    match std::str::from_utf8(word) {
        Ok(text) if !word.is_empty() && word.len() <= WORD_LEN_SHOWN && word.iter().all(harmless) => text.to_owned(),
        _ => quoted(word, full),
    }
}

/// The bytes that a word on the command line stands for: in double quotes, with the escapes that [`quoted`] prints, or as it is.
///
/// # Errors
/// [`ToolError::Usage`] if it begins with a quote and is no such word.
pub(crate) fn unquoted(text: &str) -> Result<Vec<u8>, ToolError> {
    let Some(inner) = text.strip_prefix('"') else { return Ok(text.as_bytes().to_vec()) };
    let wrong = || {
        ToolError::Usage(format!(
            "{text}: a key that begins with a double quote must end with one, and have \\xff, \\n, \\\", ... between"
        ))
    };
    let inner = inner.strip_suffix('"').ok_or_else(wrong)?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'"' {
            return Err(wrong());
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().ok_or_else(wrong)? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'x' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
                (digit()? << 4 | digit()?) as u8
            }
            other @ (b'"' | b'\\') => other,
            _ => return Err(wrong()),
        });
    }
    Ok(bytes)
}

/// A length of time in the two units that say most: `2d 3h`, `41s`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Unix ms as a UTC date and time with ms, as RFC 3339 writes it.
pub(crate) fn time(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Days since 0000-03-01 in eras of 400 years (146 097 days); years that begin in March end with the leap day.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// A length in bytes with a unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number with its digits in groups of three.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 entry`, `2 entries`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A bar on standard error for `bytes` of work; nothing if that is no terminal or the work is short.
pub(crate) fn progress(bytes: u64, what: &'static str) -> ProgressBar {
    const WORTH_SHOWING: u64 = 32 * 1024 * 1024;
    if bytes < WORTH_SHOWING || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(what);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000 - 1, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(ms), text);
        }
        assert!(time(u64::MAX).ends_with('Z'), "any number is a time");
    }

    #[test]
    fn words_are_binary_safe_and_long_ones_are_cut() {
        assert_eq!(word(b"user:1", false), "user:1");
        assert_eq!(word(b"", false), "\"\"");
        assert_eq!(word(b"a b", false), "\"a b\"");
        assert_eq!(word(b"\x00\xff\"\\\r\n\t", false), r#""\x00\xff\"\\\r\n\t""#);
        let long = vec![b'x'; 200];
        assert_eq!(word(&long, false), format!("\"{}\"...(200 bytes)", "x".repeat(120)));
        assert_eq!(word(&long, true), format!("\"{}\"", "x".repeat(200)));
    }

    #[test]
    fn quoted_words_are_read_back() {
        for bytes in [&b""[..], b"plain", b"a b", b"\x00\xff\"\\\r\n\t"] {
            assert_eq!(unquoted(&quoted(bytes, true)).unwrap(), bytes);
        }
        assert_eq!(unquoted("as it is \\x").unwrap(), b"as it is \\x");
        for text in ["\"", "\"a", "\"a\"b\"", "\"\\q\"", "\"\\x1\""] {
            assert!(unquoted(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_counts_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1 234 567".into()));
        assert_eq!((counted(1, "key", "keys"), counted(0, "key", "keys")), ("1 key".into(), "0 keys".into()));
    }
}
