//! Commands on lists for the generator. Those that wait are given some milliseconds, so that a reply comes in any case.
//!
//! LSET's indexes are small: Valkey cuts them to 32 bits, and then changes another element.

use super::streams::Fill;

/// See `generate`.
pub(super) const TEMPLATES: &[&str] = &[
    "LPUSH k elements",
    "RPUSH k elements",
    "RPUSH k moreelements",
    "LPUSHX k elements",
    "RPUSHX k elements",
    "LPOP k popcount",
    "RPOP k popcount",
    "LRANGE k int int",
    "LRANGE k 0 -1",
    "LLEN k",
    "LINDEX k int",
    "LSET k lindex v",
    "LINSERT k lside v v",
    "LREM k int v",
    "LREM k lindex v",
    "LTRIM k lindex lindex",
    "LPOS k v lposopts",
    "LMOVE k k end end",
    "RPOPLPUSH k k",
    "LMPOP 1 k end lmpopopts",
    "LMPOP 2 k k end lmpopopts",
    "BLPOP keys lwait",
    "BRPOP keys lwait",
    "BLMOVE k k end end lwait",
    "BRPOPLPUSH k k lwait",
    "BLMPOP lwait 2 k k end lmpopopts",
];

const INDEXES: &[&str] = &["0", "1", "2", "3", "5", "-1", "-2", "-3", "-10", "100", "x", "", "01"];
/// Timeouts: none is for ever, or long.
pub(super) const WAITS: &[&str] = &["0.001", "0.001", "1e-3", "0x1p-9", "-1", "x", "", "nan", "-inf", "inf", "1e30"];

/// How a word of a template is filled in; `None` if it is none of lists'.
pub(super) fn word(word: &str) -> Option<Fill> {
    Some(match word {
        "elements" => Fill::Many(1, 4, "v"),
        "moreelements" => Fill::Many(20, 300, "v"),
        "popcount" => Fill::Options(&["lindex", "int"], 1),
        "lindex" => Fill::One(INDEXES),
        "lside" => Fill::One(&["BEFORE", "AFTER", "before", "BESIDE"]),
        "end" => Fill::One(&["LEFT", "RIGHT", "LEFT", "RIGHT", "left", "UP"]),
        "lposopts" => Fill::Options(&["RANK lindex", "COUNT lindex", "MAXLEN lindex", "RANK int", "COUNT int"], 3),
        "lmpopopts" => Fill::Options(&["COUNT lindex", "COUNT int"], 2),
        "lwait" => Fill::One(WAITS),
        _ => return None,
    })
}

/// Makes sure that a command whose words have been spoilt does not wait long; sorted sets' as well.
pub(super) fn tame(words: &mut [Vec<u8>]) {
    const WAITING: [&[u8]; 8] =
        [b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"];
    let waits = WAITING.contains(&&*words[0]);
    let at = if words[0].ends_with(b"MPOP") { 1 } else { words.len() - 1 };
    let long = |word: &[u8]| std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
    if waits && at > 0 && at < words.len() && long(&words[at]).is_some_and(|s| s == 0.0 || (0.002..1e20).contains(&s)) {
        words[at] = b"0.001".to_vec();
    }
}
