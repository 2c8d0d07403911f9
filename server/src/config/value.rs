//! What a directive may hold: parsing from words, the text that CONFIG GET shows, and the lines CONFIG REWRITE writes.
//!
//! 1. Parsing is pure: words in, a value or the reason out, in Redis' own texts (clients and its test-suite match them).
//! 2. `Value::text` parses back to the same value, and so do `Value::lines`: configuration survives every round trip.

use crate::settings::OutputLimit;
use firn_engine::number::parse_integer;

/// The kind of a directive's value, with its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A decimal integer within bounds.
    Int(i64, i64),
    /// Bytes with an optional unit (k, kb, m, mb, g, gb) within bounds.
    Memory(u64, u64),
    /// Bytes with an optional unit, or `n%`.
    MemoryOrPercent,
    /// An octal number up to a bound.
    Octal(u32),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Several of these words; the first stands for none of the others.
    Choices(&'static [&'static str]),
    /// Any bytes that the check accepts.
    Text(fn(&[u8]) -> Result<(), &'static str>),
    /// Several words, at most so many.
    Words(usize),
    /// Pairs of seconds and changes.
    Save,
    /// `class hard soft seconds`, for the classes normal, replica and pubsub.
    OutputLimits,
    /// Three integers between -2000 and 2000.
    OomScores,
    /// Letters of keyspace event classes.
    Events,
    /// Numbers between 0 and 100.
    Percentiles,
    /// `host port`, or nothing.
    Replica,
}

impl Kind {
    /// Whether the directive takes several words (and one word is split at spaces).
    pub(crate) fn many_words(self) -> bool {
        matches!(
            self,
            Kind::Choices(_)
                | Kind::Words(_)
                | Kind::Save
                | Kind::OutputLimits
                | Kind::OomScores
                | Kind::Percentiles
                | Kind::Replica
        )
    }

    /// How the documentation describes it.
    pub(crate) fn describe(self) -> String {
        match self {
            Kind::Bool => "yes or no".into(),
            Kind::Int(i64::MIN, i64::MAX) => "integer".into(),
            Kind::Int(low, i64::MAX) => format!("integer from {low}"),
            Kind::Int(low, high) => format!("integer from {low} to {high}"),
            Kind::Memory(0, _) => "memory".into(),
            Kind::Memory(low, high) if high < i64::MAX as u64 => format!("memory from {low} to {high}"),
            Kind::Memory(low, _) => format!("memory from {low}"),
            Kind::MemoryOrPercent => "memory or percent".into(),
            Kind::Octal(high) => format!("octal up to {high:o}"),
            Kind::Choice(words) => words.join(", "),
            Kind::Choices(words) => format!("any of {}", words.join(", ")),
            Kind::Text(_) => "text".into(),
            Kind::Words(_) => "words".into(),
            Kind::Save => "pairs of seconds and changes".into(),
            Kind::OutputLimits => "class, hard limit, soft limit, seconds".into(),
            Kind::OomScores => "three integers".into(),
            Kind::Events => "letters of Ag$lshzxeKEtmdn".into(),
            Kind::Percentiles => "numbers from 0 to 100".into(),
            Kind::Replica => "host and port".into(),
        }
    }
}

/// The names of client classes with output limits, in the order CONFIG GET shows them.
const OUTPUT_CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// Letters of event classes in the order they are shown; the first ten are `A`. The position is the bit.
const EVENT_LETTERS: &[u8; 14] = b"g$lshzxetdnKEm";
/// `A`: every class but K, E, m and n.
const EVENTS_ALL: u32 = (1 << 10) - 1;

/// A directive's value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// [`Kind::Bool`].
    Bool(bool),
    /// [`Kind::Int`].
    Int(i64),
    /// [`Kind::Memory`].
    Memory(u64),
    /// [`Kind::MemoryOrPercent`] given as a percentage.
    Percent(u8),
    /// [`Kind::Octal`].
    Octal(u32),
    /// Index of the word of a [`Kind::Choice`].
    Choice(&'static str),
    /// Bits of the words of a [`Kind::Choices`]; the first word has none.
    Choices(u32, &'static [&'static str]),
    /// [`Kind::Text`].
    Text(Vec<u8>),
    /// [`Kind::Words`] and [`Kind::Replica`].
    Words(Vec<Vec<u8>>),
    /// [`Kind::Save`]: seconds and changes.
    Save(Vec<(u64, u64)>),
    /// [`Kind::OutputLimits`]: normal, replica, pubsub.
    OutputLimits([OutputLimit; 3]),
    /// [`Kind::OomScores`].
    OomScores([i64; 3]),
    /// [`Kind::Events`]: bits by `EVENT_LETTERS`.
    Events(u32),
    /// [`Kind::Percentiles`].
    Percentiles(Vec<f64>),
}

/// Parses `words` as `kind`; what a partial setting leaves alone (a class of output limits) is taken from `old`.
pub(crate) fn parse(kind: Kind, words: &[Vec<u8>], old: Option<&Value>) -> Result<Value, String> {
    if !kind.many_words() && words.len() != 1 {
        return Err("wrong number of arguments".into());
    }
    let word = words.first().map_or(&b""[..], Vec::as_slice);
    match kind {
        Kind::Bool => match word.to_ascii_lowercase().as_slice() {
            b"yes" => Ok(Value::Bool(true)),
            b"no" => Ok(Value::Bool(false)),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
        Kind::Int(low, high) => {
            let number = parse_integer(word).ok_or("argument couldn't be parsed into an integer")?;
            within(number, low, high).map(Value::Int)
        }
        Kind::Memory(low, high) => {
            let bytes = parse_memory(word).ok_or("argument must be a memory value")?;
            within(bytes, low, high).map(Value::Memory)
        }
        Kind::MemoryOrPercent => parse_memory_or_percent(word),
        Kind::Octal(high) => {
            let digits = std::str::from_utf8(word).unwrap_or_default();
            match u32::from_str_radix(digits, 8) {
                Ok(number) if number <= high => Ok(Value::Octal(number)),
                Ok(_) => Err(format!("argument must be between 0 and {high:o} inclusive")),
                Err(_) => Err("argument couldn't be parsed as an octal number".into()),
            }
        }
        Kind::Choice(choices) => one_of(choices, word).map(|index| Value::Choice(choices[index])),
        Kind::Choices(choices) => parse_choices(choices, words),
        Kind::Text(check) => {
            check(word)?;
            Ok(Value::Text(word.to_vec()))
        }
        Kind::Words(most) => {
            if words.len() > most {
                return Err(format!("Too many values specified, at most {most}."));
            }
            Ok(Value::Words(if words.len() == 1 && word.is_empty() { Vec::new() } else { words.to_vec() }))
        }
        Kind::Save => parse_save(words).map(Value::Save),
        Kind::OutputLimits => parse_output_limits(words, old),
        Kind::OomScores => parse_oom_scores(words),
        Kind::Events => parse_events(word),
        Kind::Percentiles => parse_percentiles(words),
        Kind::Replica => parse_replica(words),
    }
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(number: T, low: T, high: T) -> Result<T, String> {
    if number < low || number > high {
        return Err(format!("argument must be between {low} and {high} inclusive"));
    }
    Ok(number)
}

/// Bytes with Redis' units: k, m, g are powers of 1000; kb, mb, gb of 1024; any case; `b` or nothing is bytes.
pub(crate) fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unit: u64 = match word[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number: u64 = std::str::from_utf8(&word[..digits]).ok()?.parse().ok()?;
    number.checked_mul(unit)
}

fn parse_memory_or_percent(word: &[u8]) -> Result<Value, String> {
    if let Some(bytes) = parse_memory(word) {
        return within(bytes, 0, i64::MAX as u64).map(Value::Memory);
    }
    let percent = word.strip_suffix(b"%").and_then(parse_integer).filter(|&percent| percent >= 0);
    match percent {
        Some(0) => Ok(Value::Memory(0)),
        Some(percent @ 1..=100) => Ok(Value::Percent(percent as u8)),
        Some(_) => Err("percentage argument must be less or equal to 100".into()),
        None => Err("argument must be a memory or percent value".into()),
    }
}

fn one_of(choices: &[&str], word: &[u8]) -> Result<usize, String> {
    choices
        .iter()
        .position(|choice| choice.as_bytes().eq_ignore_ascii_case(word))
        .ok_or_else(|| format!("argument(s) must be one of the following: {}", choices.join(", ")))
}

fn parse_choices(choices: &'static [&'static str], words: &[Vec<u8>]) -> Result<Value, String> {
    if words.is_empty() {
        return one_of(choices, b"").map(|_| Value::Choices(0, choices));
    }
    let mut bits = 0;
    for word in words {
        bits |= (1u32 << one_of(choices, word)?) & !1;
    }
    // The only directives of this kind are shutdown-on-sigint and shutdown-on-sigterm.
    if bits & 0b110 == 0b110 {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(Value::Choices(bits, choices))
}

fn parse_save(words: &[Vec<u8>]) -> Result<Vec<(u64, u64)>, String> {
    const BAD: &str = "Invalid save parameters";
    if words.len() == 1 && words[0].is_empty() {
        return Ok(Vec::new());
    }
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(BAD.into());
    }
    pairs
        .iter()
        .map(|[seconds, changes]| {
            let seconds = parse_integer(seconds).filter(|&seconds| seconds >= 1).ok_or(BAD)?;
            let changes =
                parse_integer(changes).filter(|changes| (0..=i64::from(i32::MAX)).contains(changes)).ok_or(BAD)?;
            Ok((seconds as u64, changes as u64))
        })
        .collect()
}

fn parse_output_limits(words: &[Vec<u8>], old: Option<&Value>) -> Result<Value, String> {
    const BAD: &str = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let (rows, rest) = words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits = match old {
        Some(Value::OutputLimits(limits)) => *limits,
        _ => Default::default(),
    };
    for [class, hard, soft, seconds] in rows {
        let class = match class.to_ascii_lowercase().as_slice() {
            b"normal" => 0,
            b"slave" | b"replica" => 1,
            b"pubsub" => 2,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let seconds = parse_integer(seconds).and_then(|seconds| u64::try_from(seconds).ok()).ok_or(BAD)?;
        let (hard, soft) = (parse_memory(hard).ok_or(BAD)?, parse_memory(soft).ok_or(BAD)?);
        limits[class] = OutputLimit { hard, soft, seconds };
    }
    Ok(Value::OutputLimits(limits))
}

fn parse_oom_scores(words: &[Vec<u8>]) -> Result<Value, String> {
    let mut scores = [0; 3];
    if words.len() != scores.len() {
        return Err("wrong number of arguments".into());
    }
    for (score, word) in scores.iter_mut().zip(words) {
        *score = parse_integer(word)
            .filter(|score| (-2000..=2000).contains(score))
            .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
    }
    Ok(Value::OomScores(scores))
}

fn parse_events(word: &[u8]) -> Result<Value, String> {
    let mut bits = 0;
    for letter in word {
        bits |= match EVENT_LETTERS.iter().position(|known| known == letter) {
            Some(bit) => 1 << bit,
            None if *letter == b'A' => EVENTS_ALL,
            None => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
        };
    }
    Ok(Value::Events(bits))
}

fn parse_percentiles(words: &[Vec<u8>]) -> Result<Value, String> {
    if words.len() == 1 && words[0].is_empty() {
        return Ok(Value::Percentiles(Vec::new()));
    }
    let mut percentiles = Vec::with_capacity(words.len());
    for word in words {
        let number: f64 = std::str::from_utf8(word)
            .ok()
            .and_then(|word| word.parse().ok())
            .filter(|number: &f64| number.is_finite())
            .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&number) {
            return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
        }
        percentiles.push(number);
    }
    Ok(Value::Percentiles(percentiles))
}

fn parse_replica(words: &[Vec<u8>]) -> Result<Value, String> {
    match words {
        [] => Ok(Value::Words(Vec::new())),
        [word] if word.is_empty() => Ok(Value::Words(Vec::new())),
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => Ok(Value::Words(Vec::new())),
        [_, port] => match parse_integer(port) {
            Some(0..=65535) => Ok(Value::Words(words.to_vec())),
            _ => Err("Invalid master port".into()),
        },
        _ => Err("wrong number of arguments".into()),
    }
}

impl Value {
    /// What CONFIG GET shows.
    pub(crate) fn text(&self) -> Vec<u8> {
        match self {
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
            Value::Int(number) => number.to_string().into_bytes(),
            Value::Memory(bytes) => bytes.to_string().into_bytes(),
            Value::Percent(percent) => format!("{percent}%").into_bytes(),
            Value::Octal(number) => format!("{number:o}").into_bytes(),
            Value::Choice(word) => word.as_bytes().to_vec(),
            Value::Choices(bits, choices) => choices_text(*bits, choices).into_bytes(),
            Value::Text(text) => text.clone(),
            Value::Words(words) => words.join(&b' '),
            Value::Save(points) => join(points.iter().map(|(seconds, changes)| format!("{seconds} {changes}"))),
            Value::OutputLimits(limits) => join(limits.iter().zip(OUTPUT_CLASSES).map(|(limit, class)| {
                let OutputLimit { hard, soft, seconds } = limit;
                format!("{class} {hard} {soft} {seconds}")
            })),
            Value::OomScores(scores) => join(scores.iter().map(i64::to_string)),
            Value::Events(bits) => events_text(*bits),
            Value::Percentiles(percentiles) => join(percentiles.iter().map(f64::to_string)),
        }
    }

    /// The lines of a configuration file that set exactly this value.
    pub(crate) fn lines(&self, name: &str) -> Vec<Vec<u8>> {
        let lines = match self {
            Value::Memory(bytes) => vec![format!("{name} {}", memory_text(*bytes))],
            Value::Save(points) if !points.is_empty() => {
                points.iter().map(|(seconds, changes)| format!("{name} {seconds} {changes}")).collect()
            }
            Value::OutputLimits(limits) => limits
                .iter()
                .zip(["normal", "replica", "pubsub"])
                .map(|(limit, class)| {
                    let (hard, soft) = (memory_text(limit.hard), memory_text(limit.soft));
                    format!("{name} {class} {hard} {soft} {}", limit.seconds)
                })
                .collect(),
            Value::Text(text) => vec![format!("{name} {}", quote(text))],
            Value::Words(words) if !words.is_empty() => {
                let plain = |word: &Vec<u8>| {
                    !word.is_empty() && word.iter().all(|&byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte))
                };
                let words = words.iter().map(|word| match plain(word) {
                    true => String::from_utf8_lossy(word).into_owned(),
                    false => quote(word),
                });
                vec![format!("{name} {}", words.collect::<Vec<_>>().join(" "))]
            }
            other => {
                let text = String::from_utf8_lossy(&other.text()).into_owned();
                vec![format!("{name} {}", if text.is_empty() { "\"\"" } else { &text })]
            }
        };
        lines.into_iter().map(String::into_bytes).collect()
    }
}

fn join(parts: impl Iterator<Item = String>) -> Vec<u8> {
    parts.collect::<Vec<_>>().join(" ").into_bytes()
}

fn choices_text(bits: u32, choices: &[&str]) -> String {
    if bits == 0 {
        return choices[0].into();
    }
    let chosen = choices.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, word)| *word);
    chosen.collect::<Vec<_>>().join(" ")
}

fn events_text(bits: u32) -> Vec<u8> {
    let (mut text, shown) = match bits & EVENTS_ALL {
        EVENTS_ALL => (vec![b'A'], bits & !EVENTS_ALL),
        _ => (Vec::new(), bits),
    };
    text.extend(EVENT_LETTERS.iter().enumerate().filter(|(bit, _)| shown & (1 << bit) != 0).map(|(_, letter)| *letter));
    text
}

/// Bytes in the largest unit that gives a whole number, as a configuration file shows them.
fn memory_text(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// The text in double quotes with every byte that is not printable ASCII escaped; [`firn_engine::words::split`] gives it back.
pub(crate) fn quote(text: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => quoted.extend(['\\', char::from(byte)]),
            b'\n' => quoted.push_str("\\n"),
            b'\r' => quoted.push_str("\\r"),
            b'\t' => quoted.push_str("\\t"),
            0x07 => quoted.push_str("\\a"),
            0x08 => quoted.push_str("\\b"),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[track_caller]
    fn good(kind: Kind, text: &str, shown: &str) {
        let value = parse(kind, &words(text), None).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(String::from_utf8_lossy(&value.text()), shown, "{text:?}");
        let mut again = None;
        for line in value.lines("x") {
            let mut words = firn_engine::words::split(&line).expect("balanced");
            words.remove(0);
            again = match (again.clone(), parse(kind, &words, again.as_ref()).expect("own lines parse")) {
                (Some(Value::Save(mut old)), Value::Save(new)) => {
                    old.extend(new);
                    Some(Value::Save(old))
                }
                (_, new) => Some(new),
            };
        }
        assert_eq!(again, Some(value), "{text:?}: its lines give it back");
    }

    #[track_caller]
    fn bad(kind: Kind, text: &str, reason: &str) {
        assert_eq!(parse(kind, &words(text), None).expect_err(text), reason, "{text:?}");
    }

    #[test]
    fn numbers_keep_their_bounds() {
        good(Kind::Bool, "YES", "yes");
        bad(Kind::Bool, "true", "argument must be 'yes' or 'no'");
        good(Kind::Int(0, 65535), "65535", "65535");
        bad(Kind::Int(0, 65535), "65536", "argument must be between 0 and 65535 inclusive");
        bad(Kind::Int(0, 65535), "-1", "argument must be between 0 and 65535 inclusive");
        for text in ["", "--bla", "1.0", "0x10", "99999999999999999999", "+1"] {
            bad(Kind::Int(0, 65535), text, "argument couldn't be parsed into an integer");
        }
        bad(Kind::Int(0, 65535), "6379 6380", "wrong number of arguments");
        good(Kind::Octal(0o777), "700", "700");
        bad(Kind::Octal(0o777), "1000", "argument must be between 0 and 777 inclusive");
        bad(Kind::Octal(0o777), "9", "argument couldn't be parsed as an octal number");
    }

    #[test]
    fn memory_has_units() {
        for (text, bytes) in [
            ("1", 1),
            ("1b", 1),
            ("2k", 2000),
            ("2KB", 2048),
            ("3m", 3_000_000),
            ("700mb", 734_003_200),
            ("1gb", 1 << 30),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1x", "1.5gb", "1 k", "99999999999999999999", "18446744073709551615gb"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
        }
        good(Kind::Memory(0, u64::MAX), "700mb", "734003200");
        bad(Kind::Memory(0, u64::MAX), "invalid", "argument must be a memory value");
        bad(Kind::Memory(1, 10), "11", "argument must be between 1 and 10 inclusive");
        good(Kind::MemoryOrPercent, "5%", "5%");
        good(Kind::MemoryOrPercent, "1k", "1000");
        good(Kind::MemoryOrPercent, "0%", "0");
        bad(Kind::MemoryOrPercent, "200%", "percentage argument must be less or equal to 100");
        bad(Kind::MemoryOrPercent, "-5%", "argument must be a memory or percent value");
    }

    #[test]
    fn choices_say_what_may_be_chosen() {
        const FSYNC: Kind = Kind::Choice(&["everysec", "always", "no"]);
        good(FSYNC, "Always", "always");
        bad(FSYNC, "sometimes", "argument(s) must be one of the following: everysec, always, no");
        const SHUTDOWN: Kind = Kind::Choices(&["default", "save", "nosave", "now", "force"]);
        good(SHUTDOWN, "nosave force now", "nosave now force");
        good(SHUTDOWN, "default", "default");
        bad(SHUTDOWN, "", "argument(s) must be one of the following: default, save, nosave, now, force");
        bad(SHUTDOWN, "save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously");
    }

    #[test]
    fn lists_are_taken_whole_or_not_at_all() {
        good(Kind::Save, "3600 1 300 100", "3600 1 300 100");
        good(Kind::Save, "", "");
        for text in ["1", "0 1", "1 -1", "a 1", "1 b", "1 2 3", "1 2147483648"] {
            bad(Kind::Save, text, "Invalid save parameters");
        }
        good(Kind::OutputLimits, "replica 256mb 64mb 60", "normal 0 0 0 slave 268435456 67108864 60 pubsub 0 0 0");
        bad(Kind::OutputLimits, "normal 1 2", "Wrong number of arguments in buffer limit configuration.");
        bad(Kind::OutputLimits, "master 1 2 3", "Invalid client class specified in buffer limit configuration.");
        bad(
            Kind::OutputLimits,
            "normal 1 2 -3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        );
        good(Kind::OomScores, "0 200 800", "0 200 800");
        bad(Kind::OomScores, "0 200", "wrong number of arguments");
        bad(Kind::OomScores, "0 200 2001", "Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
        good(Kind::Percentiles, "50 99 99.9", "50 99 99.9");
        good(Kind::Percentiles, "", "");
        bad(Kind::Percentiles, "nan", "Invalid latency-tracking-info-percentiles parameters");
        bad(Kind::Percentiles, "101", "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
        good(Kind::Words(16), "127.0.0.1 -::1", "127.0.0.1 -::1");
        good(Kind::Words(16), "", "");
        bad(Kind::Words(1), "a b", "Too many values specified, at most 1.");
        good(Kind::Replica, "no one", "");
        good(Kind::Replica, "127.0.0.1 6379", "127.0.0.1 6379");
        bad(Kind::Replica, "127.0.0.1 abc", "Invalid master port");
        bad(Kind::Replica, "--127.0.0.1", "wrong number of arguments");
    }

    #[test]
    fn event_letters_are_shown_in_redis_order() {
        good(Kind::Events, "KEA", "AKE");
        good(Kind::Events, "Elgx$", "g$lxE");
        good(Kind::Events, "", "");
        bad(Kind::Events, "q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }

    #[test]
    fn new_is_not_part_of_all_and_is_kept_beside_it() {
        good(Kind::Events, "AnKm", "AnKm");
    }

    #[test]
    fn any_text_survives_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        let line = [b"x ", quote(&all).as_bytes()].concat();
        assert_eq!(firn_engine::words::split(&line), Some(vec![b"x".to_vec(), all]));
    }
}
