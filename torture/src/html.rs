//! The report as one page: a timeline of all cycles, the table that compares, and the histories of violations as drawings. The page
//! loads nothing from elsewhere.

use crate::report::{Event, Outcome, Report, Run, Violation};
use std::fmt::Write as _;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 170.0;
const ROW: f64 = 22.0;
/// Violations that are drawn for each run.
const DRAWN_MAX: usize = 20;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#1d2733}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #d5dde5}h3{margin:1.4em 0 .3em}\
table{border-collapse:collapse}td,th{border:1px solid #d5dde5;padding:.3em .6em;text-align:left;vertical-align:top}th{background:#f3f6f9}\
svg{max-width:100%;height:auto;background:#fbfcfd;border:1px solid #d5dde5}svg text{font:11px system-ui,sans-serif;fill:#1d2733}\
.held{fill:#2f9e62}.refused{fill:#d99a12}.violation{fill:#d0342c}.bad{color:#d0342c;font-weight:600}.good{color:#2f9e62;font-weight:600}\
code{background:#f3f6f9;padding:.1em .3em;word-break:break-all}.key span{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
    let _ = write!(out, "<p>{cycles} cycles, <span class=\"{class}\">{bad} violations</span></p>");
    out.push_str(
        "<p class=\"key\"><span style=\"background:#2f9e62\"></span>held<span style=\"background:#d99a12\"></span>refused to start, and named the \
         damaged file<span style=\"background:#d0342c\"></span>violation</p>",
    );
    table(&mut out, report);
    for run in &report.runs {
        let _ = write!(out, "<h2>{}</h2><p><code>{}</code></p>", escape(&run.title()), escape(&run.command));
        let sum = |of: fn(&crate::report::Cycle) -> u64| run.cycles.iter().map(of).sum::<u64>();
        let _ = write!(
            out,
            "<p>Seed {}, {:.0} s; {} writes acknowledged, {} of them lost as the policy allows; {} starts killed.</p>",
            run.seed,
            run.seconds,
            sum(|cycle| cycle.acknowledged),
            sum(|cycle| cycle.lost),
            sum(|cycle| cycle.start_kills),
        );
        timeline(&mut out, run);
        for violation in run.violations.iter().take(DRAWN_MAX) {
            drawn(&mut out, violation);
        }
    }
    out.push_str("</html>\n");
    out
}

fn table(out: &mut String, report: &Report) {
    out.push_str("<table><tr><th>fault</th>");
    for run in &report.runs {
        let _ = write!(out, "<th>{}</th>", escape(&run.title()));
    }
    out.push_str("</tr>");
    for fault in report.faults() {
        let how = report.runs.iter().find_map(|run| run.mechanisms.get(fault)).map_or("", String::as_str);
        let _ = write!(out, "<tr><td>{fault}<br><small>{}</small></td>", escape(how));
        for run in &report.runs {
            let bad = run.violations.iter().any(|violation| violation.fault == fault);
            let class = if bad { " class=\"bad\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escape(&run.cell(fault)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

/// One mark a cycle: a row for each kind of fault, time from left to right.
fn timeline(out: &mut String, run: &Run) {
    let mut faults: Vec<&str> = run.cycles.iter().map(|cycle| cycle.fault.as_str()).collect();
    faults.sort_unstable();
    faults.dedup();
    let end = run.cycles.iter().map(|cycle| cycle.at_ms + cycle.took_ms).max().unwrap_or(1).max(1) as f64;
    let height = ROW * faults.len() as f64 + 34.0;
    let x = |ms: u64| LEFT + (WIDTH - LEFT - 12.0) * ms as f64 / end;
    let _ =
        write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"timeline\">");
    for (at, fault) in faults.iter().enumerate() {
        let y = 6.0 + ROW * at as f64;
        let _ = write!(out, "<text x=\"8\" y=\"{:.1}\">{fault}</text>", y + 14.0);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#e6ebf0\"/>",
            WIDTH - 12.0,
            y + ROW - 2.0,
            y + ROW - 2.0
        );
        for cycle in run.cycles.iter().filter(|cycle| cycle.fault == *fault) {
            let class = match cycle.outcome {
                Outcome::Held => "held",
                Outcome::Refused => "refused",
                Outcome::Violation => "violation",
            };
            let wide = (x(cycle.at_ms + cycle.took_ms) - x(cycle.at_ms)).max(2.0);
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
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.0}\"><title>{}</title></rect>",
                x(cycle.at_ms),
                ROW - 6.0,
                escape(&title)
            );
        }
    }
    for step in 0..=5 {
        let ms = end * f64::from(step) / 5.0;
        let _ = write!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{:.1} s</text>",
            x(ms as u64).min(WIDTH - 24.0),
            height - 8.0,
            ms / 1000.0
        );
    }
    out.push_str("</svg>");
}

fn drawn(out: &mut String, violation: &Violation) {
    let _ = write!(
        out,
        "<h3 class=\"bad\">{}: {}</h3><p>Cycle {}, seed {}. {}</p>",
        escape(&violation.fault),
        violation.wrong.words(),
        violation.cycle,
        violation.seed,
        escape(&violation.text)
    );
    if !violation.events.is_empty() {
        history(out, &violation.events);
    }
    if !violation.said.is_empty() {
        let _ = write!(out, "<p>The server said: <code>{}</code></p>", escape(&violation.said));
    }
    let _ = write!(out, "<p>Replay: <code>{}</code></p>", escape(&violation.replay[0]));
}

/// A bar a command, from when it was sent to when it was acknowledged; the crash is the red band.
fn history(out: &mut String, events: &[Event]) {
    let crash = events[0].crash_us.max(1);
    let first = events.iter().map(|event| event.sent_us).min().unwrap_or(0);
    let last = events.iter().map(|event| event.acknowledged_us.unwrap_or(event.sent_us)).max().unwrap_or(0).max(crash);
    let span = (last - first).max(1) as f64;
    let x = |us: i64| 20.0 + 560.0 * (us - first) as f64 / span;
    let height = ROW * events.len() as f64 + 30.0;
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"history\">");
    let _ = write!(
        out,
        "<rect x=\"{:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.0}\" fill=\"#f6c9c6\"/>",
        x(0),
        (x(crash) - x(0)).max(2.0),
        height - 22.0
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
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{fill}\"/><text x=\"600\" y=\"{:.1}\">#{} {}</text>",
            x(event.sent_us),
            (x(end) - x(event.sent_us)).max(3.0),
            ROW - 7.0,
            y + 12.0,
            event.number,
            escape(&event.command.chars().take(80).collect::<String>())
        );
    }
    let _ = write!(
        out,
        "<text x=\"20\" y=\"{:.0}\">{:.1} ms before the crash; green: there, red: acknowledged and not there, grey: never acknowledged</text></svg>",
        height - 8.0,
        -first as f64 / 1000.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Wrong;

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
        let violation = Violation::new(Wrong::Lost, "client 1 & others".into()).with_events(vec![event]);
        let run = Run {
            server: "s".into(),
            version: "1".into(),
            command: "s --port {port}".into(),
            policy: "always".into(),
            seed: 1,
            mechanisms: std::collections::BTreeMap::new(),
            seconds: 1.0,
            cycles: Vec::new(),
            violations: vec![*violation],
        };
        let page = page(&Report { runs: vec![run] });
        assert!(page.contains("SET &lt;k&gt; v") && page.contains("client 1 &amp; others"), "{page}");
        assert!(!page.contains("http"), "nothing is loaded from elsewhere");
    }
}
