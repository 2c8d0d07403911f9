//! Moments of a store's history as a person writes them: an LSN or a time.

use crate::ToolError;
use firn_engine::log::Lsn;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// Right behind this record.
    Lsn(Lsn),
    /// Right behind the last record before which no record is later than this, Unix ms.
    Time(u64),
}

/// Now, Unix ms.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Digits are an LSN; `@1764100800.5` Unix seconds; `2026-11-25T20:00:00.123Z` and shorter forms a UTC time; `15m` so long ago.
///
/// # Errors
/// [`ToolError::Usage`].
pub(crate) fn parse(text: &str) -> Result<Moment, ToolError> {
    let wrong = || {
        ToolError::Usage(format!(
            "{text:?} is no moment: give an LSN (digits), a UTC time such as 2026-11-25T20:00:00Z or \"2026-11-25 20:00\", \
             @UNIX-SECONDS, or how long ago, such as 90s, 15m, 12h, 7d"
        ))
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Moment::Lsn).map_err(|_| wrong());
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
        return if (0.0..1e15).contains(&seconds) { Ok(Moment::Time((seconds * 1000.0) as u64)) } else { Err(wrong()) };
    }
    if let Some(ago) = text.strip_suffix(|c: char| "smhd".contains(c)).and(parse_span(text)) {
        return Ok(Moment::Time(now_ms().saturating_sub(ago)));
    }
    parse_time(text).map(Moment::Time).ok_or_else(wrong)
}

/// A length of time in ms: `90`, `90s`, `15m`, `12h`, `7d`.
pub(crate) fn parse_span(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1000),
        b'm' => (&text[..text.len() - 1], 60_000),
        b'h' => (&text[..text.len() - 1], 3_600_000),
        b'd' => (&text[..text.len() - 1], 86_400_000),
        _ => (text, 1000),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A UTC date with an optional time, as RFC 3339 has them, in Unix ms. Offsets other than `Z` are taken too.
fn parse_time(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        let part = text.get(range)?;
        if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') || !(1970..=9999).contains(&year) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > days_of_month {
        return None;
    }
    // Days since 1970-01-01, with years that begin in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let mut ms = days * 86_400_000;
    let mut rest = &text[10..];
    if rest.is_empty() {
        return Some(ms);
    }
    rest = rest.strip_prefix('T').or_else(|| rest.strip_prefix(' '))?;
    let part = |rest: &str, at: usize| rest.get(at..at + 2).and_then(|two| two.parse::<u64>().ok());
    let (hour, minute) = (part(rest, 0)?, part(rest, 3)?);
    if rest.as_bytes().get(2) != Some(&b':') || hour > 23 || minute > 59 {
        return None;
    }
    ms += hour * 3_600_000 + minute * 60_000;
    rest = &rest[5..];
    if let Some(after) = rest.strip_prefix(':') {
        let second = part(after, 0).filter(|second| *second < 60)?;
        ms += second * 1000;
        rest = &after[2..];
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let fraction: f64 = format!("0.{}", after.get(..digits)?).parse().ok()?;
            ms += (fraction * 1000.0 + 1e-6) as u64;
            rest = &after[digits..];
        }
    }
    match rest {
        "" | "Z" => Some(ms),
        _ => {
            let (sign, offset) = rest.split_at_checked(1)?;
            let (hours, minutes) = (part(offset, 0)?, offset.strip_prefix(&offset[..2])?.trim_start_matches(':'));
            let offset = hours * 3_600_000 + minutes.parse::<u64>().ok()? * 60_000;
            match sign {
                "+" => ms.checked_sub(offset),
                "-" => ms.checked_add(offset),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn printed_times_are_read_back() {
        for ms in [0, 1, 951_782_399_999, 951_782_400_000, 1_709_164_800_000, 1_735_689_599_001, 4_107_542_400_000] {
            assert_eq!(parse(&text::time(ms)).unwrap(), Moment::Time(ms), "{}", text::time(ms));
        }
        assert_eq!(parse("2024-02-29").unwrap(), Moment::Time(1_709_164_800_000));
        assert_eq!(parse("2024-02-29 01:30").unwrap(), Moment::Time(1_709_164_800_000 + 5_400_000));
        assert_eq!(parse("2024-02-29T01:30:00+01:30").unwrap(), Moment::Time(1_709_164_800_000));
        assert_eq!(parse("@1709164800.25").unwrap(), Moment::Time(1_709_164_800_250));
        assert_eq!(parse("4711").unwrap(), Moment::Lsn(4711));
        let Moment::Time(ago) = parse("15m").unwrap() else { panic!("a time") };
        assert!((890_000..=910_000).contains(&(now_ms() - ago)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "x",
            "2024-13-01",
            "2023-02-29",
            "2024-02-29T24:00",
            "2024-02-29T1:3",
            "@-5",
            "@nan",
            "12q",
            "2024-02-29T10:00X",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
