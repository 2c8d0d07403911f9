//! The command lines that show a violation again, with everything that changes what a run does, and fit for a shell.

use crate::plan::{ANSWER_LIMIT, Policy, START_LIMIT, TortureArgs};
use crate::report::Violation;
use clap::ValueEnum;

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./,:=+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// This program as it was called, which need not be on PATH.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if std::path::Path::new(&called).file_name().is_some_and(|name| name == "firn") { called } else { "firn".into() }
}

/// Its cycle on an empty store, and everything from the first cycle on.
pub(crate) fn lines(
    arguments: &TortureArgs,
    command: &str,
    policy: Policy,
    violation: &Violation,
    seed: u64,
) -> [String; 2] {
    let (clients, policy) = (arguments.clients.to_string(), policy.name());
    let firn = program();
    let mut words: Vec<&str> = vec![&firn, "torture", "--server", command, "--policy", policy, "--clients", &clients];
    let workloads: Vec<_> = arguments.workload.iter().filter_map(ValueEnum::to_possible_value).collect();
    let workloads: Vec<&str> = workloads.iter().map(clap::builder::PossibleValue::get_name).collect();
    let workloads = workloads.join(",");
    if !workloads.is_empty() {
        words.extend(["--workload", &workloads]);
    }
    let numbers = [
        ("--load", arguments.load),
        ("--start-limit", Some(arguments.start_limit).filter(|&limit| limit != START_LIMIT)),
        ("--answer-limit", Some(arguments.answer_limit).filter(|&limit| limit != ANSWER_LIMIT)),
        ("--port", arguments.port.map(u64::from)),
    ];
    let numbers: Vec<(&str, String)> =
        numbers.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))).collect();
    numbers.iter().for_each(|(name, value)| words.extend([name, value.as_str()]));
    if arguments.writes_first {
        words.push("--writes-first");
    }
    let common = words.into_iter().map(quoted).collect::<Vec<_>>().join(" ");
    let faults: Vec<&str> = arguments.faults.iter().flatten().map(|fault| fault.name()).collect();
    [
        format!("{common} --faults {} --cycles 1 --seed {}", violation.fault, violation.seed),
        format!("{common} --faults {} --cycles {} --seed {seed}", faults.join(","), violation.cycle + 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Wrong;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: TortureArgs,
    }

    #[test]
    fn a_shell_gets_back_all_that_changes_a_run() {
        let command = r#"sh -c 'exec "$0" {port}' s --dir {dir} --save """#;
        let given = [
            "torture",
            "--server",
            command,
            "--port",
            "4711",
            "--start-limit",
            "7",
            "--answer-limit",
            "8",
            "--load",
            "300",
            "--workload",
            "lists,zsets",
            "--writes-first",
            "--policy",
            "no",
            "--faults",
            "kill,term",
            "--clients",
            "3",
        ];
        let arguments = Cli::parse_from(given).arguments;
        let mut violation = Violation::new(Wrong::Lost, String::new());
        (violation.cycle, violation.seed, violation.fault) = (4, 14, "term".into());
        let [alone, all] = lines(&arguments, command, Policy::No, &violation, 10);
        let words = |line: &str| {
            let script = format!("set -- {line}; printf '%s\\n' \"$@\"");
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        for (line, cycles, seed, faults) in [(alone, 1, 14, 1), (all, 5, 10, 2)] {
            let again = Cli::parse_from(words(&line)).arguments;
            assert_eq!(again.server, arguments.server, "{line}");
            assert_eq!((again.cycles, again.seed, again.faults.len()), (Some(cycles), Some(seed), faults), "{line}");
            let rest = |of: &TortureArgs| {
                let mut of = of.clone();
                (of.cycles, of.seed, of.faults) = (None, None, Vec::new());
                format!("{of:?}")
            };
            assert_eq!(rest(&again), rest(&arguments), "{line}");
        }
    }
}
