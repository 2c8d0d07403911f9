//! Which keys and which changes a command is about: one set of options for all of them.
//!
//! A key passes if it passes every option that is given. Options about values (`--type`, `--ttl`, `--min-bytes`) say nothing about a change,
//! and options about moments (`--since`, `--until`, `--lsn`) nothing about a key: commands take the groups that have a meaning for them.

use crate::ToolError;
use crate::moment::{self, Moment};
use firn_engine::glob;
use firn_engine::keyspace::{Entry, Value};
use firn_engine::log::Lsn;
use firn_engine::value::Kind;
use std::ops::RangeInclusive;

/// Whether a name matches a glob. Of stars alone every name does, the empty one too, as in KEYS and SCAN, which know that case as well.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    !pattern.is_empty() && pattern.iter().all(|sign| *sign == b'*') || glob::matches(pattern, name)
}

/// Options about keys.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct KeyArgs {
    /// Only these databases, e.g. `--db 0,2`.
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) db: Vec<usize>,
    /// Only keys that match this glob (one of them, if several are given); for changes: that touch such a key.
    #[arg(long = "match", value_name = "GLOB", help_heading = "Filters")]
    pub(crate) patterns: Vec<String>,
    /// No keys that match this glob.
    #[arg(long = "not-match", value_name = "GLOB", help_heading = "Filters")]
    pub(crate) not_patterns: Vec<String>,
}

/// Options about values.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ValueArgs {
    /// Only these types: string, list, set, zset, hash, stream.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', help_heading = "Filters")]
    pub(crate) types: Vec<String>,
    /// Only keys with such a time to live: `none`, `some`, `expired`, `<60` or `>3600` (seconds; also 90s, 15m, 12h, 7d).
    #[arg(long, value_name = "WHICH", help_heading = "Filters")]
    pub(crate) ttl: Option<String>,
    /// Only keys that take at least so much memory, e.g. 10000, 64kB, 1MB.
    #[arg(long, value_name = "SIZE", help_heading = "Filters")]
    pub(crate) min_bytes: Option<String>,
}

/// Options about moments.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct MomentArgs {
    /// Only changes from this time or LSN on: a number is an LSN, else e.g. 2026-11-25T20:00:00Z, "2026-11-25 20:00", @1764100800, 15m (ago).
    #[arg(long, value_name = "TIME|LSN", help_heading = "Filters")]
    pub(crate) since: Option<String>,
    /// Only changes up to this time or LSN.
    #[arg(long, value_name = "TIME|LSN", help_heading = "Filters")]
    pub(crate) until: Option<String>,
    /// Only these LSNs: `5000`, `5000..6000`, `5000..`.
    #[arg(long, value_name = "RANGE", help_heading = "Filters")]
    pub(crate) lsn: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    None,
    Some,
    Expired,
    /// Expires within so many ms (and has not expired).
    Below(u64),
    Above(u64),
}

/// [`KeyArgs`] and [`ValueArgs`], ready to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    dbs: Vec<usize>,
    patterns: Vec<Vec<u8>>,
    not_patterns: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
    ttl: Option<Ttl>,
    min_bytes: u64,
    now_ms: u64,
}

impl Filter {
    /// Of options about keys alone.
    pub(crate) fn of_keys(keys: &KeyArgs) -> Filter {
        let bytes = |texts: &[String]| texts.iter().map(|text| text.clone().into_bytes()).collect();
        Filter {
            dbs: keys.db.clone(),
            patterns: bytes(&keys.patterns),
            not_patterns: bytes(&keys.not_patterns),
            now_ms: moment::now_ms(),
            ..Filter::default()
        }
    }

    /// Of options about keys and values.
    ///
    /// # Errors
    /// [`ToolError::Usage`].
    pub(crate) fn new(keys: &KeyArgs, values: &ValueArgs) -> Result<Filter, ToolError> {
        let mut filter = Filter::of_keys(keys);
        for name in &values.types {
            let kinds = (0..=5).filter_map(Kind::from_number);
            let kind = kinds.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
            filter.kinds.push(kind.ok_or_else(|| {
                ToolError::Usage(format!("--type {name}: not one of string, list, set, zset, hash, stream"))
            })?);
        }
        filter.ttl = values.ttl.as_deref().map(parse_ttl).transpose()?;
        filter.min_bytes = values.min_bytes.as_deref().map_or(Ok(0), |text| parse_size("--min-bytes", text))?;
        Ok(filter)
    }

    /// Whether a key passes, as far as its name tells.
    pub(crate) fn wants_key(&self, db: usize, key: &[u8]) -> bool {
        self.wants_db(db) && self.wants_name(key)
    }

    /// Whether keys of this database may pass.
    pub(crate) fn wants_db(&self, db: usize) -> bool {
        self.dbs.is_empty() || self.dbs.contains(&db)
    }

    /// Whether a key of this name may pass in some database.
    pub(crate) fn wants_name(&self, key: &[u8]) -> bool {
        (self.patterns.is_empty() || self.patterns.iter().any(|pattern| matches(pattern, key)))
            && !self.not_patterns.iter().any(|pattern| matches(pattern, key))
    }

    /// Whether every key passes, whatever its name.
    pub(crate) fn wants_all_keys(&self) -> bool {
        self.dbs.is_empty() && self.patterns.is_empty() && self.not_patterns.is_empty()
    }

    /// Whether an entry passes.
    pub(crate) fn wants(&self, db: usize, entry: &Entry<'_>) -> bool {
        self.wants_key(db, entry.key)
            && (self.kinds.is_empty() || self.kinds.contains(&entry.value.kind()))
            && self.ttl.is_none_or(|ttl| match (ttl, entry.deadline) {
                (Ttl::None, deadline) => deadline.is_none(),
                (_, None) => false,
                (Ttl::Some, Some(_)) => true,
                (Ttl::Expired, Some(at)) => at <= self.now_ms,
                (Ttl::Below(ms), Some(at)) => at > self.now_ms && at - self.now_ms < ms,
                (Ttl::Above(ms), Some(at)) => at.saturating_sub(self.now_ms) > ms,
            })
            && (self.min_bytes == 0 || memory_of(entry) >= self.min_bytes)
    }
}

/// Why a command takes no such option, though it is a filter.
pub(crate) fn why_not(command: &str, option: &str) -> Option<&'static str> {
    const OF_VALUES: [&str; 3] = ["--type", "--ttl", "--min-bytes"];
    const OF_MOMENTS: [&str; 3] = ["--since", "--until", "--lsn"];
    let of_keys = ["--db", "--match", "--not-match"].contains(&option);
    if !of_keys && !OF_VALUES.contains(&option) && !OF_MOMENTS.contains(&option) {
        return None;
    }
    Some(match command {
        "check" => {
            "firn check takes no filters: it verifies every byte, and which key damaged bytes belong to is often what the damage has taken. \
             firn inspect --keys and --records take filters, and firn repair."
        }
        "backup" => {
            "firn backup takes no filters: it copies files as they are. firn compact -o NEW and firn convert take filters."
        }
        "get" => "firn get takes keys by their names. firn inspect --keys and firn convert take filters.",
        _ if OF_MOMENTS.contains(&option) => {
            "--since, --until and --lsn choose changes: firn history and firn inspect --records take them. A state is chosen by --to, where there is one."
        }
        "history" => {
            "--type, --ttl and --min-bytes are about values, and a change has none: firn inspect --keys takes them."
        }
        _ => return None,
    })
}

/// What an entry takes in a server's memory, its slot in the index included, by the size classes of the allocator.
pub(crate) fn memory_of(entry: &Entry<'_>) -> u64 {
    /// Header of a block, deadline, and the share of the index.
    const BESIDE: usize = 8 + 12;
    let apart = match entry.value {
        Value::String(bytes) => firn_engine::keyspace::size_class(entry.key.len() + bytes.len() + BESIDE),
        Value::Collection(view) => {
            firn_engine::keyspace::size_class(entry.key.len() + BESIDE) + view.to_owned().used_bytes()
        }
    };
    apart as u64
}

fn parse_ttl(text: &str) -> Result<Ttl, ToolError> {
    let wrong = || ToolError::Usage(format!("--ttl {text}: give none, some, expired, <SECONDS or >SECONDS"));
    match text {
        "none" => return Ok(Ttl::None),
        "some" | "any" => return Ok(Ttl::Some),
        "expired" => return Ok(Ttl::Expired),
        _ => {}
    }
    if let Some(rest) = text.strip_prefix('<') {
        return moment::parse_span(rest).map(Ttl::Below).ok_or_else(wrong);
    }
    text.strip_prefix('>').and_then(moment::parse_span).map(Ttl::Above).ok_or_else(wrong)
}

/// A number of bytes with an optional unit: kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024.
///
/// # Errors
/// [`ToolError::Usage`], naming `option`.
pub(crate) fn parse_size(option: &str, text: &str) -> Result<u64, ToolError> {
    let wrong = || ToolError::Usage(format!("{option} {text}: give a number of bytes, e.g. 10000, 64kB, 200MB, 1GiB"));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// [`MomentArgs`], ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// LSNs that may pass.
    pub(crate) lsns: RangeInclusive<Lsn>,
    /// Unix ms that may pass.
    pub(crate) times_ms: RangeInclusive<u64>,
}

impl Span {
    /// What the options say.
    ///
    /// # Errors
    /// [`ToolError::Usage`].
    pub(crate) fn new(args: &MomentArgs) -> Result<Span, ToolError> {
        let (mut lsns, mut times) = ((0, Lsn::MAX), (0, u64::MAX));
        match args.since.as_deref().map(moment::parse).transpose()? {
            Some(Moment::Lsn(lsn)) => lsns.0 = lsn,
            Some(Moment::Time(ms)) => times.0 = ms,
            None => {}
        }
        match args.until.as_deref().map(moment::parse).transpose()? {
            Some(Moment::Lsn(lsn)) => lsns.1 = lsn,
            Some(Moment::Time(ms)) => times.1 = ms,
            None => {}
        }
        if let Some(text) = &args.lsn {
            let wrong = || ToolError::Usage(format!("--lsn {text}: give 5000, 5000..6000, 5000.. or ..6000"));
            let number = |text: &str, missing| {
                if text.is_empty() { Ok(missing) } else { text.parse::<Lsn>().map_err(|_| wrong()) }
            };
            let (from, to) = match text.split_once("..") {
                Some((from, to)) => (number(from, 0)?, number(to.trim_start_matches('='), Lsn::MAX)?),
                None => (number(text, 0)?, number(text, 0)?),
            };
            if from > to || text.is_empty() {
                return Err(ToolError::Usage(format!("--lsn {text}: give 5000, 5000..6000, 5000.. or ..6000")));
            }
            lsns = (lsns.0.max(from), lsns.1.min(to));
        }
        if lsns.0 > lsns.1 || times.0 > times.1 {
            return Err(ToolError::Usage(
                "--since, --until and --lsn leave nothing: the beginning comes behind the end".to_owned(),
            ));
        }
        Ok(Span { lsns: lsns.0..=lsns.1, times_ms: times.0..=times.1 })
    }

    /// Whether a change passes; one without LSN or time passes what asks for that.
    pub(crate) fn wants(&self, lsn: Option<Lsn>, time_ms: Option<u64>) -> bool {
        lsn.is_none_or(|lsn| self.lsns.contains(&lsn)) && time_ms.is_none_or(|ms| self.times_ms.contains(&ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ttls_are_read_and_nonsense_is_refused() {
        for (text, bytes) in [("0", 0), ("17", 17), ("64kB", 64_000), ("1MB", 1_000_000), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size("--x", text).unwrap(), bytes);
        }
        for text in ["", "kB", "-1", "1TBx", "99999999999999999999"] {
            assert!(parse_size("--x", text).is_err(), "{text}");
        }
        assert_eq!(parse_ttl("<90").unwrap(), Ttl::Below(90_000));
        assert_eq!(parse_ttl(">2h").unwrap(), Ttl::Above(7_200_000));
        assert!(parse_ttl("soon").is_err());
    }

    #[test]
    fn a_span_is_what_all_of_its_options_allow() {
        let args = MomentArgs { since: Some("5".into()), until: Some("9".into()), lsn: Some("7..".into()) };
        let span = Span::new(&args).unwrap();
        assert_eq!(span.lsns, 7..=9);
        assert!(span.wants(Some(8), None) && !span.wants(Some(6), Some(0)));
        for (since, until, lsn) in [
            (None, None, Some("5..3")),
            (Some("5"), Some("3"), None),
            (None, Some("3"), Some("5..")),
            (Some("1m"), Some("1h"), None),
            (None, None, Some("")),
        ] {
            let args =
                MomentArgs { since: since.map(Into::into), until: until.map(Into::into), lsn: lsn.map(Into::into) };
            assert!(Span::new(&args).is_err(), "{args:?}");
        }
    }
}
