//! LATENCY: what the monitor and the histograms know, for programs and for people.

use super::help;
use crate::command::{After, ServerCall, ServerCommand};
use crate::observe::histogram::View;
use crate::observe::latency::Series;
use crate::observe::named_stats;
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

const SUBCOMMAND: Spec = Spec {
    arity: Arity::Exactly(2),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    group: Group::Server,
    since: "2.8.13",
    ..Spec::BASE
};

/// `LATENCY`.
pub(super) static LATENCY: ServerCommand = ServerCommand {
    spec: Spec {
        name: "LATENCY",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "2.8.13",
        summary: "Commands that look at delays.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "DOCTOR",
                summary: "Returns what the delays seem to come from, and what may help.",
                ..SUBCOMMAND
            },
            Spec {
                name: "GRAPH",
                arity: Arity::Exactly(3),
                summary: "Returns a drawing of an event's delays.",
                syntax: "event",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                flags: Flags::LOADING.and(Flags::STALE),
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "HISTOGRAM",
                arity: Arity::AtLeast(2),
                since: "7.0.0",
                summary: "Returns how often commands took how long, cumulatively.",
                complexity: "O(N) where N is the number of commands with latency information being retrieved.",
                syntax: "[command [command ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "HISTORY",
                arity: Arity::Exactly(3),
                summary: "Returns an event's delays with their times.",
                syntax: "event",
                ..SUBCOMMAND
            },
            Spec { name: "LATEST", summary: "Returns the newest delay of every event.", ..SUBCOMMAND },
            Spec {
                name: "RESET",
                arity: Arity::AtLeast(2),
                summary: "Forgets events.",
                syntax: "[event [event ...]]",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: latency,
};

const HELP: &[&str] = &[
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "HELP",
    "    Print this help.",
];

/// Rows of a drawing.
const GRAPH_ROWS: u64 = 8;
/// Octaves of nanoseconds that HISTOGRAM tells apart: from below 1.024 microseconds to below about a second.
const HISTOGRAM_OCTAVES: std::ops::RangeInclusive<u32> = 10..=30;

fn latency(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let monitor = &call.server.observe.latency;
    let no_samples =
        || CommandError::text(format!("ERR No samples available for event '{}'", String::from_utf8_lossy(args.get(2))));
    match LATENCY.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "DOCTOR" => reply.verbatim("txt", diagnosis(call).as_bytes()),
        "GRAPH" => {
            let (event, series) = monitor.get(args.get(2)).ok_or_else(no_samples)?;
            reply.verbatim("txt", graph(event, &series, now_s()).as_bytes());
        }
        "HISTOGRAM" => histogram(call, args, reply),
        "HISTORY" => {
            let samples = monitor.get(args.get(2)).map_or_else(Default::default, |(_, series)| series.samples);
            reply.array(samples.len());
            for sample in samples {
                reply.array(2);
                reply.integer(sample.time_s as i64);
                reply.integer(sample.ms as i64);
            }
        }
        "LATEST" => {
            let events = monitor.all();
            reply.array(events.len());
            for (event, series) in events {
                let last = series.samples.back();
                reply.array(4);
                reply.bulk(event.as_bytes());
                reply.integer(last.map_or(0, |sample| sample.time_s as i64));
                reply.integer(last.map_or(0, |sample| sample.ms as i64));
                reply.integer(series.worst_ms as i64);
            }
        }
        "RESET" => reply.integer(monitor.reset(&args.words()[2..]) as i64),
        "HELP" => help::write(HELP, reply),
        _ => return Err(help::unknown_or_arity("LATENCY", args)),
    }
    Ok(After::Nothing)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn histogram(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) {
    let asked = &args.words()[2..];
    let mut wanted: Vec<(String, View)> = Vec::new();
    for (name, stats) in named_stats(&call.server.commands) {
        let container = name.split('|').next().unwrap_or_default();
        let is_asked = |word: &&[u8]| {
            word.eq_ignore_ascii_case(name.as_bytes()) || word.eq_ignore_ascii_case(container.as_bytes())
        };
        if (asked.is_empty() || asked.iter().any(is_asked))
            && let Some(view) = stats.histogram().map(|histogram| histogram.view()).filter(|view| view.total > 0)
        {
            wanted.push((name, view));
        }
    }
    reply.map(wanted.len());
    for (name, view) in wanted {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(view.total as i64);
        reply.bulk(b"histogram_usec");
        let mut before = 0;
        let mut steps: Vec<(i64, u64)> = Vec::new();
        for octave in HISTOGRAM_OCTAVES {
            let below = view.below(octave);
            if below > before {
                // The last whole microsecond below 2^octave ns.
                steps.push((((1i64 << octave) - 1) / 1000, below));
                before = below;
            }
        }
        reply.map(steps.len());
        for (micros, below) in steps {
            reply.integer(micros);
            reply.integer(below as i64);
        }
    }
}

/// Columns of `#`, the newest at the right, each with its age below.
fn graph(event: &str, series: &Series, now_s: u64) -> String {
    let lengths = || series.samples.iter().map(|sample| sample.ms);
    let (high, low) = (lengths().max().unwrap_or(0), lengths().min().unwrap_or(0));
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.worst_ms);
    text.push_str(&"-".repeat(80));
    text.push('\n');
    let height = |ms: u64| if high == low { 1 } else { 1 + (ms - low) * (GRAPH_ROWS - 1) / (high - low) };
    let ages: Vec<String> = series.samples.iter().map(|sample| age(now_s.saturating_sub(sample.time_s))).collect();
    for row in (1..=GRAPH_ROWS).rev() {
        let line: String = lengths().map(|ms| if height(ms) >= row { '#' } else { ' ' }).collect();
        if !line.trim_end().is_empty() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text.push('\n');
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let line: String = ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What the events seem to come from, and what may help.
fn diagnosis(call: &mut ServerCall<'_, '_>) -> String {
    let observe = &call.server.observe;
    let events = observe.latency.all();
    if events.is_empty() {
        return match observe.delay_ms() {
            None => "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on; 100 is a good \
                     beginning.\n"
                .into(),
            Some(ms) => format!("Nothing took {ms} ms or longer since the monitor was turned on or reset.\n"),
        };
    }
    let mut text = String::from("Delays that were seen:\n\n");
    let now_s = now_s();
    for (number, (event, series)) in events.iter().enumerate() {
        let (mean, deviation) = series.mean_and_deviation();
        let count = series.samples.len() as u64;
        let oldest = series.samples.front().map_or(now_s, |sample| sample.time_s);
        let every = now_s.saturating_sub(oldest).max(1) as f64 / count.max(1) as f64;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}. {event}: {count} seconds with delays (mean {mean} ms, mean deviation {deviation} ms, one every {every:.2} s). The worst \
             ever was {} ms.",
            number + 1,
            series.worst_ms
        );
    }
    text.push_str("\nWhat may help:\n\n");
    if events.contains_key("command") {
        text.push_str(
            "- command: SLOWLOG GET shows which commands took long, and INFO commandstats which do so often. Commands whose cost grows with \
             the data (KEYS, SORT, LRANGE and SMEMBERS of large values, long scripts) hold everybody up: SCAN and ranges do not.\n",
        );
    }
    if events.contains_key("fast-command") {
        text.push_str(
            "- fast-command: commands of constant cost took long, so the process was kept from running: look for other busy processes, a CPU \
             quota, swapping, or a virtual machine whose host is busy; 'redis-cli --intrinsic-latency 100' measures it.\n",
        );
    }
    if events.keys().any(|event| event.starts_with("aof-fsync")) {
        text.push_str(
            "- aof-fsync: the device was slow to flush the log. Use a local disk, keep other writers off it, or relax appendfsync if \
             losing a second's writes with the power is acceptable.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::latency::Sample;

    #[test]
    fn a_drawing_has_a_column_for_each_sample() {
        let series = Series {
            samples: [(100, 10), (161, 24), (170, 17)].map(|(time_s, ms)| Sample { time_s, ms }).into(),
            worst_ms: 99,
        };
        let text = graph("command", &series, 171);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 24 ms, low 10 ms (all time high 99 ms)");
        assert_eq!(&lines[2..], [" #", " #", " #", " #", " ##", " ##", " ##", "###", "", "111", "m0s", " s"]);
    }
}
