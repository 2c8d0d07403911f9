//! The report as one page: the table that compares, a timeline of all cycles, and the histories of violations as drawings. The page
//! loads nothing from elsewhere.

use crate::report::{Event, Outcome, Report, Run, Violation, Wrong, counted};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 170.0;
const ROW: f64 = 22.0;
/// Where the bars of a history begin and end, and where its commands stand.
const BARS: (f64, f64) = (44.0, 600.0);
const WORDS: f64 = 620.0;
/// Violations of one kind after one fault that are drawn for each run.
const DRAWN_MAX: usize = 5;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#1d2733}\
h1{font-size:1.6em;margin-bottom:.2em}h2{margin-top:2em;border-bottom:1px solid #d5dde5}h3{margin:1.8em 0 .3em;color:#b3261e}\
table{border-collapse:collapse}td,th{border:1px solid #d5dde5;padding:.3em .7em;text-align:left;vertical-align:top}th{background:#f3f6f9}\
td.by{color:#5b6875;font-size:.85em;max-width:17em}td div,td:first-child{white-space:nowrap}\
svg{width:100%;height:auto;background:#fbfcfd;border:1px solid #d5dde5}svg text{font:11px system-ui,sans-serif;fill:#1d2733}\
svg text.code{font-family:ui-monospace,monospace;font-size:10.5px}svg .dim{fill:#5b6875}\
.held{fill:#2f9e62}.refused{fill:#d99a12}.violation{fill:#d0342c}td .held{color:#1f7a49}td .refused{color:#8a6100}td .violation{color:#b3261e;font-weight:600}\
.good{color:#1f7a49;font-weight:600}.bad{color:#b3261e;font-weight:600}\
pre{background:#f3f6f9;padding:.5em .7em;margin:.4em 0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px}\
.one{border-left:3px solid #e6b8b5;padding-left:.9em;margin:.8em 0}.one p{margin:.4em 0}summary{cursor:pointer;color:#5b6875}\
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1.1em}.key span:first-child,.key br+span{margin-left:0}";

const KEY: &str = "<p class=\"key\"><span style=\"background:#2f9e62\"></span>held<span style=\"background:#d99a12\"></span>refused to start, and \
named the damaged file<span style=\"background:#d0342c\"></span>violation</p>";

const HISTORY_KEY: &str = "<p class=\"key\">The histories of violations: a bar is a command from when it was sent until it was acknowledged; the pink \
band is the fault, or the stop before damage.<br><span style=\"background:#2f9e62\"></span>in the state nearest to what came back<span \
style=\"background:#d0342c\"></span>acknowledged, and not in it<span style=\"background:#9aa7b4\"></span>never acknowledged, and not in it</p>";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Held => "held",
        Outcome::Refused => "refused",
        Outcome::Violation => "violation",
    }
}

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut out =
        String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>firn torture</title><style>");
    out.push_str(STYLE);
    out.push_str("</style><h1>firn torture</h1>");
    let cycles: usize = report.runs.iter().map(|run| run.cycles.len()).sum();
    let bad: usize = report.runs.iter().map(|run| run.violations.len()).sum();
    let class = if bad == 0 { "good" } else { "bad" };
    let _ = write!(
        out,
        "<p>{}, <span class=\"{class}\">{}</span></p>",
        counted(cycles as u64, "cycle"),
        counted(bad as u64, "violation")
    );
    out.push_str(KEY);
    table(&mut out, report);
    if report.runs.iter().flat_map(|run| &run.violations).any(|violation| !violation.events.is_empty()) {
        out.push_str(HISTORY_KEY);
    }
    for (number, run) in report.runs.iter().enumerate() {
        let _ = write!(out, "<h2>{}</h2><pre>{}</pre>", escape(&run.title()), escape(&run.command));
        let sum = |of: fn(&crate::report::Cycle) -> u64| run.cycles.iter().map(of).sum::<u64>();
        let _ = write!(
            out,
            "<p>Seed {}, {} in {:.0} s; {} writes acknowledged, {} of them lost as policy or damage allow; {} killed.</p>",
            run.seed,
            counted(run.cycles.len() as u64, "cycle"),
            run.seconds,
            sum(|cycle| cycle.acknowledged),
            sum(|cycle| cycle.lost),
            counted(sum(|cycle| cycle.start_kills), "start"),
        );
        let silent = run.silent().count() as u64;
        if silent > 0 {
            let _ = write!(out, "<p class=\"bad\">In {} nothing was acknowledged.</p>", counted(silent, "cycle"));
        }
        if let Some(ended) = &run.ended_by {
            let _ = write!(out, "<p class=\"bad\">It was {}.</p>", escape(ended));
        }
        if let Some(faults) = run.not_made() {
            let _ = write!(out, "<p>{}.</p>", escape(&faults).replacen("not made", "Not made", 1));
        }
        timeline(&mut out, number, run);
        violations(&mut out, number, run);
    }
    for run in &report.not_begun {
        let _ = write!(out, "<p class=\"bad\">{}: not begun.</p>", escape(run));
    }
    out.push_str("</html>\n");
    out
}

fn table(out: &mut String, report: &Report) {
    out.push_str("<table><tr><th>fault</th>");
    for run in &report.runs {
        let _ = write!(out, "<th>{}</th>", escape(&run.title()));
    }
    out.push_str("<th>made by</th></tr>");
    for fault in report.faults() {
        let _ = write!(out, "<tr><td>{fault}</td>");
        for run in &report.runs {
            out.push_str("<td>");
            for (outcome, text) in run.parts(fault) {
                let _ = write!(out, "<div class=\"{}\">{}</div>", class(outcome), escape(&text));
            }
            out.push_str("</td>");
        }
        let how = report.runs.iter().find_map(|run| run.mechanisms.get(fault)).map_or("", String::as_str);
        let _ = write!(out, "<td class=\"by\">{}</td></tr>", escape(how));
    }
    out.push_str("</table>");
}

/// One mark a cycle: a row for each kind of fault, time from left to right. That of a violation leads to it.
fn timeline(out: &mut String, number: usize, run: &Run) {
    let mut faults: Vec<&str> = run.cycles.iter().map(|cycle| cycle.fault.as_str()).collect();
    faults.sort_unstable();
    faults.dedup();
    let end = run.cycles.iter().map(|cycle| cycle.at_ms + cycle.took_ms).max().unwrap_or(1).max(1) as f64;
    let height = ROW * faults.len() as f64 + 34.0;
    let x = |ms: u64| LEFT + (WIDTH - LEFT - 24.0) * ms as f64 / end;
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"timeline\">");
    for (at, fault) in faults.iter().enumerate() {
        let y = 6.0 + ROW * at as f64;
        let _ = write!(out, "<text x=\"8\" y=\"{:.1}\">{fault}</text>", y + 12.0);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#e6ebf0\"/>",
            WIDTH - 24.0,
            y + ROW - 3.0,
            y + ROW - 3.0
        );
        for cycle in run.cycles.iter().filter(|cycle| cycle.fault == *fault) {
            let wide = (x(cycle.at_ms + cycle.took_ms) - x(cycle.at_ms) - 0.5).max(2.0);
            let title = format!(
                "cycle {}, seed {}: {} ms, {} of {} writes acknowledged, {} lost as allowed; start {} ms. {}",
                cycle.cycle,
                cycle.seed,
                cycle.took_ms,
                cycle.acknowledged,
                cycle.sent,
                cycle.lost,
                cycle.start_ms,
                cycle.note
            );
            let mark = format!(
                "<rect class=\"{}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.0}\"><title>{}</title></rect>",
                class(cycle.outcome),
                x(cycle.at_ms),
                ROW - 6.0,
                escape(&title)
            );
            let _ = match cycle.outcome {
                Outcome::Violation => write!(out, "<a href=\"#v{number}-{}\">{mark}</a>", cycle.cycle),
                _ => write!(out, "{mark}"),
            };
        }
    }
    for step in 0..=5 {
        let ms = end * f64::from(step) / 5.0;
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{:.1} s</text>",
            x(ms as u64),
            height - 8.0,
            ms / 1000.0
        );
    }
    out.push_str("</svg>");
}

/// By fault and kind: the first one open, others folded.
fn violations(out: &mut String, number: usize, run: &Run) {
    let mut kinds: BTreeMap<(&str, Wrong), Vec<&Violation>> = BTreeMap::new();
    for violation in &run.violations {
        kinds.entry((&violation.fault, violation.wrong)).or_default().push(violation);
    }
    for ((fault, wrong), all) in kinds {
        let times = if all.len() > 1 { format!(" ({} times)", all.len()) } else { String::new() };
        let _ = write!(out, "<h3>{}: {}{times}</h3>", escape(fault), wrong.words());
        let drawn = &all[..all.len().min(DRAWN_MAX)];
        one(out, number, drawn[0]);
        if drawn.len() > 1 {
            let _ = write!(out, "<details><summary>{} more</summary>", all.len() - 1);
            drawn[1..].iter().for_each(|violation| one(out, number, violation));
            if all.len() > drawn.len() {
                let _ = write!(out, "<p>and {} that only --json has</p>", all.len() - drawn.len());
            }
            out.push_str("</details>");
        }
    }
}

fn one(out: &mut String, number: usize, violation: &Violation) {
    // Lines of a server's output are parted so.
    let lines = |text: &str, by: &str| escape(text).replace(" | ", by);
    let _ = write!(
        out,
        "<div class=\"one\" id=\"v{number}-{}\"><p>Cycle {}, seed {}. {}</p>",
        violation.cycle,
        violation.cycle,
        violation.seed,
        lines(&violation.text, "<br>")
    );
    if !violation.events.is_empty() {
        history(out, &violation.events);
    }
    if !violation.said.is_empty() {
        let _ = write!(out, "<p>The server said last:</p><pre>{}</pre>", lines(&violation.said, "\n"));
    }
    let [alone, all] = violation.replay.each_ref().map(|command| escape(command));
    let _ = write!(out, "<p>Replay, the cycle alone, and with all that led to it:</p><pre>{alone}");
    let _ = if all == alone { write!(out, "</pre>") } else { write!(out, "\n{all}</pre>") };
    if let Some(kept) = &violation.kept {
        let _ = write!(out, "<p>Its files: {}</p>", escape(kept));
    }
    out.push_str("</div>");
}

/// A bar a command, from when it was sent to when it was acknowledged; the crash is a band.
fn history(out: &mut String, events: &[Event]) {
    let crash = events[0].crash_us.max(1);
    let first = events.iter().map(|event| event.sent_us).min().unwrap_or(0);
    let last = events.iter().map(|event| event.acknowledged_us.unwrap_or(event.sent_us)).max().unwrap_or(0).max(crash);
    let span = (last - first).max(1) as f64;
    let x = |us: i64| BARS.0 + (BARS.1 - BARS.0) * (us - first) as f64 / span;
    let bottom = ROW * events.len() as f64 + 4.0;
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"history\"><rect x=\"{:.1}\" y=\"0\" width=\"{:.1}\" height=\"{bottom:.0}\" \
         fill=\"#f9d9d6\"/>",
        bottom + 22.0,
        x(0),
        (x(crash) - x(0)).max(2.0),
    );
    for (at, event) in events.iter().enumerate() {
        let y = 4.0 + ROW * at as f64;
        let end = event.acknowledged_us.unwrap_or(last);
        let fill = match (event.there, event.acknowledged_us) {
            (true, _) => "#2f9e62",
            (false, Some(_)) => "#d0342c",
            (false, None) => "#9aa7b4",
        };
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{fill}\"/><text class=\"code\" x=\"{WORDS}\" y=\"{:.1}\">#{} {}</text>",
            x(event.sent_us),
            (x(end) - x(event.sent_us)).max(3.0),
            ROW - 7.0,
            y + 12.0,
            event.number,
            escape(&event.command.chars().take(80).collect::<String>())
        );
    }
    // The beginning, the fault and the end, where there is room for each.
    let mut free = 0.0;
    for us in [0, first, last] {
        let here = x(us);
        if us != 0 && (here - x(0)).abs() < 70.0 || here < free && us == last {
            continue;
        }
        free = here + 70.0;
        let text = if us == 0 { "fault".into() } else { format!("{:+.1} ms", us as f64 / 1000.0) };
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{here:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{text}</text>",
            bottom + 15.0
        );
    }
    out.push_str("</svg>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Cycle;

    #[test]
    fn a_page_draws_every_cycle_and_escapes_what_it_shows() {
        let event = Event {
            client: 1,
            number: 7,
            command: "SET <k> v".into(),
            sent_us: -500,
            acknowledged_us: Some(-20),
            crash_us: 100,
            there: false,
        };
        let mut violation = Violation::new(Wrong::Lost, "client 1 & others".into()).with_events(vec![event]);
        (violation.cycle, violation.fault) = (3, "kill".into());
        let mut second = violation.clone();
        second.cycle = 4;
        let cycles = [3, 4, 5].map(|number| {
            let mut cycle = Cycle::new(number, 1, "kill", 10 * number);
            cycle.outcome = if number < 5 { Outcome::Violation } else { Outcome::Held };
            cycle
        });
        let run = Run {
            server: "s".into(),
            number: None,
            version: "1".into(),
            command: "s --port {port}".into(),
            policy: "always".into(),
            seed: 1,
            mechanisms: BTreeMap::from(["kill", "term"].map(|fault| (fault.into(), "a folder".into()))),
            seconds: 1.0,
            cycles: cycles.to_vec(),
            violations: vec![*violation, *second],
            ended_by: Some("ended by a signal <9>".into()),
            trouble: None,
        };
        let page = page(&Report { runs: vec![run], not_begun: vec!["t <u>, no".into()] });
        assert!(page.contains("SET &lt;k&gt; v") && page.contains("client 1 &amp; others"), "{page}");
        for part in [
            "In 1 cycle nothing was acknowledged",
            "It was ended by a signal &lt;9&gt;.",
            "<h3>kill: acknowledged writes lost (2 times)</h3>",
            "<summary>1 more</summary>",
            "Not made in 3 cycles, so nothing is known of: term.",
            "t &lt;u&gt;, no: not begun.",
            "2 acknowledged writes lost</div>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        for number in [3, 4] {
            assert!(
                page.contains(&format!("<a href=\"#v0-{number}\">")) && page.contains(&format!("id=\"v0-{number}\""))
            );
        }
        assert!(!page.contains("http"), "nothing is loaded from elsewhere");
    }
}
