//! The command line, as redis-server takes it: `[FILE | -] [--directive value ...]`.
//!
//! Options become lines of a configuration that is read after the file and standard input, so that they win. A word that begins with
//! `--` names a directive, unless the directive before it has no value yet: then it is that value.

use super::value::quote;
use firn_engine::words;

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// Run a server.
    Run(CommandLine),
    /// `-v`, `--version`.
    Version,
    /// `-h`, `--help`.
    Help,
    /// `--check-config FILE`: says whether the configuration is right, with options as for a run.
    CheckConfig(CommandLine),
    /// `--check-system`.
    CheckSystem,
    /// `--test-memory`: refused, with the reason.
    TestMemory,
}

/// Where the configuration comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct CommandLine {
    /// The configuration file.
    pub(crate) file: Option<Vec<u8>>,
    /// Whether more is read from standard input (`-` as the first or last word).
    pub(crate) stdin: bool,
    /// The options, as lines.
    pub(crate) options: Vec<u8>,
}

/// Reads the words after the program's name.
pub(crate) fn parse(args: &[Vec<u8>]) -> Start {
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => return Start::Version,
        Some(b"-h" | b"--help") => return Start::Help,
        Some(b"--check-system") => return Start::CheckSystem,
        Some(b"--test-memory") => return Start::TestMemory,
        Some(b"--check-config") => return Start::CheckConfig(command_line(&args[1..])),
        _ => {}
    }
    Start::Run(command_line(args))
}

fn command_line(args: &[Vec<u8>]) -> CommandLine {
    let mut line = CommandLine::default();
    let mut args = args;
    if let Some((first, rest)) = args.split_first()
        && !first.starts_with(b"-")
    {
        line.file = Some(first.clone());
        args = rest;
    }
    let first_is_option = line.file.is_none();
    let mut has_value = true;
    for (at, arg) in args.iter().enumerate() {
        let next = args.get(at + 1);
        if arg == b"-" && ((at == 0 && first_is_option) || next.is_none()) {
            line.stdin = true;
        } else if has_value && arg.starts_with(b"--") {
            if !line.options.is_empty() {
                line.options.push(b'\n');
            }
            line.options.extend_from_slice(&arg[2..]);
            line.options.push(b' ');
            // `--port 6380` may be one word.
            has_value = words::split(arg).is_none_or(|words| words.len() != 1);
            if !has_value && arg.eq_ignore_ascii_case(b"--save") {
                // `--save` without a value is `--save ""`, as it was before Redis 7.
                match next {
                    None => line.options.extend_from_slice(b"\"\""),
                    Some(next) if next.starts_with(b"--") => {
                        line.options.extend_from_slice(b"\"\"");
                        has_value = true;
                    }
                    Some(_) => {}
                }
            }
        } else {
            line.options.extend_from_slice(quote(arg).as_bytes());
            line.options.push(b' ');
            has_value = true;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &[&str], file: Option<&str>, stdin: bool, options: &str) {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let Start::Run(line) = parse(&args) else { panic!("{args:?} runs a server") };
        assert_eq!(line.file.as_deref(), file.map(str::as_bytes));
        assert_eq!(line.stdin, stdin);
        let lines: Vec<_> = line.options.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).collect();
        assert_eq!(String::from_utf8_lossy(&lines.join(&b'\n')), options);
    }

    #[test]
    fn options_become_lines() {
        check(&[], None, false, "");
        check(&["x.conf"], Some("x.conf"), false, "");
        check(&["x.conf", "--port", "1", "--bind", "a", "b"], Some("x.conf"), false, "port \"1\"\nbind \"a\" \"b\"");
        check(&["--port 1", "--loglevel verbose"], None, false, "port 1\nloglevel verbose");
        check(&["--maxmemory '700mb'"], None, false, "maxmemory '700mb'");
        check(
            &["x.conf", "loglevel", "verbose", "--port 1"],
            Some("x.conf"),
            false,
            "\"loglevel\" \"verbose\"\nport 1",
        );
        check(&["--port", "--bla", "--loglevel", "x"], None, false, "port \"--bla\"\nloglevel \"x\"");
        check(&["--port", "--loglevel", "verbose"], None, false, "port \"--loglevel\" \"verbose\"");
        check(&["--replicaof", "--a", "--b"], None, false, "replicaof \"--a\"\nb");
        check(&["--a", "with\nnewline"], None, false, "a \"with\\nnewline\"");
    }

    #[test]
    fn save_may_stand_alone() {
        check(&["--save", "--port", "1"], None, false, "save \"\"\nport \"1\"");
        check(&["--port", "1", "--save"], None, false, "port \"1\"\nsave \"\"");
        check(&["--save", "", "--port", "1"], None, false, "save \"\"\nport \"1\"");
        check(&["--a", "--save", "--save", "", "--b", "c"], None, false, "a \"--save\"\nsave \"\"\nb \"c\"");
        check(&["--save", "100", "100"], None, false, "save \"100\" \"100\"");
    }

    #[test]
    fn a_dash_reads_standard_input() {
        check(&["-"], None, true, "");
        check(&["-", "--port", "1"], None, true, "port \"1\"");
        check(&["x.conf", "--port", "1", "-"], Some("x.conf"), true, "port \"1\"");
    }

    #[test]
    fn the_first_word_may_ask_for_something_else() {
        let one = |word: &str| parse(&[word.as_bytes().to_vec()]);
        assert_eq!(one("-v"), Start::Version);
        assert_eq!(one("--version"), Start::Version);
        assert_eq!(one("-h"), Start::Help);
        assert_eq!(one("--help"), Start::Help);
        assert_eq!(one("--check-system"), Start::CheckSystem);
        assert_eq!(one("--test-memory"), Start::TestMemory);
        assert_eq!(one("--check-config"), Start::CheckConfig(CommandLine::default()));
    }
}
