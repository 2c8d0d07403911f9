//! Commands on streams for the generator. IDs are explicit wherever the time would show: servers' clocks differ.

/// Commands; the words in lower case are filled in by [`word`], those of keys and values by the generator.
pub(super) const TEMPLATES: &[&str] = &[
    "XADD k sid fields",
    "XADD k sid fields",
    "XADD k trimopts sid fields",
    "XADD k sid f v",
    "XLEN k",
    "XRANGE k sbound sbound scountopts",
    "XRANGE k - + scountopts",
    "XREVRANGE k sbound sbound scountopts",
    "XREVRANGE k + - scountopts",
    "XDEL k sids",
    "XTRIM k trimmust",
    "XTRIM k MAXLEN ~ snumber trimlimit",
    "XSETID k sid xsetidopts",
    "XREAD scountopts STREAMS k sread",
    "XREAD scountopts STREAMS k k sread sread",
    "XREAD scountopts BLOCK sblock STREAMS k sread",
    "XGROUP CREATE k g sread MKSTREAM",
    "XGROUP CREATE k g sread groupopts",
    "XGROUP SETID k g sread setidopts",
    "XGROUP DESTROY k g",
    "XGROUP CREATECONSUMER k g c",
    "XGROUP DELCONSUMER k g c",
    "XGROUP HELP",
    "XGROUP junk k g",
    "XREADGROUP GROUP g c scountopts STREAMS k >",
    "XREADGROUP GROUP g c noack STREAMS k >",
    "XREADGROUP GROUP g c scountopts BLOCK sblock noack STREAMS k >",
    "XREADGROUP GROUP g c scountopts noack STREAMS k k sread >",
    "XREADGROUP GROUP g c scountopts STREAMS k sread",
    "XACK k g sids",
    "XPENDING k g",
    "XPENDING k g - + snumber",
    "XPENDING k g sbound sbound snumber c",
    "XPENDING k g IDLE minidle sbound sbound snumber",
    "XCLAIM k g c minidle sids claimopts",
    "XCLAIM k g c minidle sids FORCE claimopts",
    "XAUTOCLAIM k g c minidle sbound autoopts",
    "XINFO STREAM k",
    "XINFO STREAM k FULL",
    "XINFO STREAM k FULL COUNT snumber",
    "XINFO GROUPS k",
    "XINFO CONSUMERS k g",
    "XINFO HELP",
    "OBJECT ENCODING k",
];

const IDS: &[&str] = &[
    "1-1",
    "1-2",
    "1-3",
    "2-1",
    "2-2",
    "3",
    "3-0",
    "3-5",
    "4-0",
    "5-1",
    "7-7",
    "9-9",
    "10-1",
    "100-0",
    "0-1",
    "0-0",
    "0",
    "5-*",
    "1-*",
    "10-*",
    "255-255",
    "256-0",
    "65536-1",
    "1-256",
    "2-18446744073709551615",
    "+3-1",
    "03-01",
    "1000-1000",
];
const ODD_IDS: &[&str] = &[
    "*-1",
    "x",
    "",
    "-1",
    "1-",
    "1-x",
    "-",
    "+",
    "(1-1",
    "1-1-1",
    "18446744073709551616-1",
    "1-18446744073709551616",
    "18446744073709551615-18446744073709551615",
    "$",
    ">",
    " 1-1",
    "1.5",
    "1-1\0x",
    "9223372036854775808-1",
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001-1",
];
const BOUNDS: &[&str] = &[
    "-",
    "+",
    "(1-1",
    "(2-1",
    "1",
    "2",
    "(3",
    "5-1",
    "(9-9",
    "10",
    "(0-0",
    "(-",
    "(+",
    "(",
    "(18446744073709551615-18446744073709551615",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "10",
    "100",
    "-1",
    "-9223372036854775808",
    "9223372036854775807",
    "9223372036854775808",
    "x",
    "",
];
const IDLE: &[&str] = &["0", "0", "0", "3600000", "-1", "9223372036854775807", "x", ""];
const TIMES: &[&str] = &["1", "1000", "0", "-1", "9223372036854775807", "-9223372036854775808", "x"];
const GROUPS: &[&str] = &["g", "g", "h", ""];
const CONSUMERS: &[&str] = &["c", "d", "e", "long-consumer-name-that-does-not-fit-into-anything-small"];
const FIELDS: &[&str] = &["f", "f", "g", "1", "-5", "field", ""];

/// What stands for a word in lower case: one of a list of words, or up to so many of a list of options.
pub(super) enum Fill {
    /// One of these.
    One(&'static [&'static str]),
    /// From so many to so many of the word.
    Many(usize, usize, &'static str),
    /// Up to so many of these options.
    Options(&'static [&'static str], usize),
}

/// How a word of a template is filled in; `None` if it is none of streams'. `odd` asks for words at the limits, and beyond.
pub(super) fn word(word: &str, odd: bool) -> Option<Fill> {
    const COUNT: &[&str] = &["COUNT snumber", ""];
    Some(match word {
        "sid" if odd => Fill::One(ODD_IDS),
        "sid" => Fill::One(IDS),
        "sids" => Fill::Many(1, 5, "sid"),
        "sbound" if odd => Fill::One(ODD_IDS),
        "sbound" => Fill::One(BOUNDS),
        "sread" if odd => Fill::One(ODD_IDS),
        "sread" => Fill::One(&["0", "0-0", "1-1", "2", "5-1", "9-9", "$", "$", "+", ">"]),
        "sblock" => Fill::One(&["1", "1", "1", "-1", "x", "", "1.5"]),
        "snumber" => Fill::One(NUMBERS),
        "f" => Fill::One(FIELDS),
        "fields" => Fill::Many(1, 3, "pair"),
        "pair" => Fill::Options(&["f v"], 1),
        "g" => Fill::One(GROUPS),
        "c" => Fill::One(CONSUMERS),
        "minidle" => Fill::One(IDLE),
        "stime" => Fill::One(TIMES),
        "noack" => Fill::Options(&["NOACK"], 1),
        "scountopts" => Fill::Options(COUNT, 1),
        "trimlimit" => Fill::Options(&["LIMIT snumber"], 1),
        "trimmust" => {
            Fill::Options(&["MAXLEN snumber", "MAXLEN = snumber", "MINID sid", "MINID = sid", "MINID ~ sid"], 2)
        }
        "trimopts" => Fill::Options(
            &[
                "MAXLEN snumber",
                "MAXLEN ~ snumber",
                "MAXLEN = snumber",
                "MINID sid",
                "MINID ~ sid",
                "LIMIT snumber",
                "NOMKSTREAM",
            ],
            2,
        ),
        "xsetidopts" => Fill::Options(&["ENTRIESADDED snumber", "MAXDELETEDID sid"], 2),
        "groupopts" => Fill::Options(&["MKSTREAM", "ENTRIESREAD snumber"], 2),
        "setidopts" => Fill::Options(&["ENTRIESREAD snumber"], 1),
        "claimopts" => Fill::Options(
            &["IDLE minidle", "TIME stime", "RETRYCOUNT snumber", "FORCE", "JUSTID", "LASTID sid", "TIME 1000"],
            3,
        ),
        "autoopts" => Fill::Options(&["COUNT snumber", "JUSTID"], 2),
        _ => return None,
    })
}
