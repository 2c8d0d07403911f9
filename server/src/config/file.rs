//! Reads configuration: files, standard input, options; line by line, what comes later wins.

use super::table::{self, DIRECTIVES, RETIRED};
use super::{Config, Rename, UserLine, os_path, system_text};
use crate::config::command_line::CommandLine;
use firn_engine::words;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files that include files: deeper than this is taken for a circle.
const INCLUDE_DEPTH_MAX: usize = 16;
/// Files that one pattern may include.
const INCLUDE_FILES_MAX: usize = 10_000;

/// A line of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// File name, or what else was read.
    pub(crate) source: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// The line itself, trimmed.
    pub(crate) text: String,
}

/// Why the server does not start. `Display` is what is printed, in the words of redis-server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FatalError {
    /// Where.
    pub(crate) place: Option<Place>,
    /// Why.
    pub(crate) reason: String,
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Firn {}) ***", env!("CARGO_PKG_VERSION"))?;
        if let Some(Place { source, line, text }) = &self.place {
            writeln!(f, "Reading {source}, at line {line}")?;
            writeln!(f, ">>> '{text}'")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for FatalError {}

/// Reads all that the command line names; `stdin` is read only if it says so.
///
/// # Errors
/// The first line that is wrong, and why.
pub(crate) fn load(line: &CommandLine, stdin: &mut dyn Read) -> Result<Config, FatalError> {
    let mut reader = Reader { config: Config::default(), save_set: false, depth: 0 };
    if let Some(file) = &line.file {
        let path = std::path::absolute(os_path(file)).map_err(|error| cannot_open(&os_path(file), &error, None))?;
        let text = std::fs::read(&path).map_err(|error| cannot_open(&path, &error, None))?;
        reader.read(&format!("the configuration file {}", path.display()), &text)?;
        reader.config.file = Some(path);
    }
    if line.stdin {
        let mut text = Vec::new();
        stdin.read_to_end(&mut text).map_err(|error| FatalError {
            place: None,
            reason: format!("can't read the configuration from standard input: {}", system_text(&error)),
        })?;
        reader.read("the configuration from standard input", &text)?;
    }
    reader.read("the command line", &line.options)?;
    let logfile = reader.config.logfile();
    if !logfile.as_os_str().is_empty() {
        std::fs::OpenOptions::new().append(true).create(true).open(&logfile).map_err(|error| FatalError {
            place: None,
            reason: format!("Can't open the log file {}: {}", logfile.display(), system_text(&error)),
        })?;
    }
    Ok(reader.config)
}

fn cannot_open(path: &Path, error: &io::Error, place: Option<Place>) -> FatalError {
    FatalError { place, reason: format!("can't open config file '{}': {}", path.display(), system_text(error)) }
}

struct Reader {
    config: Config,
    /// Whether a `save` line was read: the first replaces the default points, later ones add theirs.
    save_set: bool,
    depth: usize,
}

impl Reader {
    fn read(&mut self, source: &str, text: &[u8]) -> Result<(), FatalError> {
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let place =
                || Place { source: source.to_owned(), line: at + 1, text: String::from_utf8_lossy(line).into_owned() };
            let Some(words) = words::split(line) else {
                let reason = "Unbalanced quotes in configuration line".to_owned();
                return Err(FatalError { place: Some(place()), reason });
            };
            match self.line(&words, &place) {
                Ok(()) => {}
                Err(LineError::Here(reason)) => return Err(FatalError { place: Some(place()), reason }),
                Err(LineError::Included(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn line(&mut self, words: &[Vec<u8>], place: &dyn Fn() -> Place) -> Result<(), LineError> {
        let Some((name, values)) = words.split_first() else { return Ok(()) };
        if let Some(row) = table::find(name) {
            return self.directive(row, values).map_err(LineError::Here);
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match (name.as_str(), values) {
            (name, [_]) if RETIRED.contains(&name) => Ok(()),
            ("include", [path]) => self.include(path, place),
            ("rename-command", [from, to]) => {
                self.config.renames.push(Rename { from: from.clone(), to: to.clone(), place: place() });
                Ok(())
            }
            ("user", [_, ..]) => {
                self.config.users.push(UserLine { words: values.to_vec(), place: place() });
                Ok(())
            }
            ("loadmodule", [_, ..]) => Err(LineError::here("loadmodule: Firn has no modules")),
            ("sentinel", []) => Err(LineError::here("sentinel: Firn is no Sentinel; use redis-sentinel")),
            ("sentinel", _) => Err(LineError::here("sentinel directive while not in sentinel mode")),
            (name, [_, ..]) if name.contains('.') => {
                Err(LineError::Here(format!("{name} configures a module, and Firn has no modules")))
            }
            (name, []) if name.contains('.') => Err(LineError::here("Module config specified without value")),
            _ => Err(LineError::here("Bad directive or wrong number of arguments")),
        }
    }

    fn directive(&mut self, row: usize, values: &[Vec<u8>]) -> Result<(), String> {
        let directive = &DIRECTIVES[row];
        let split;
        let values = match values {
            [one] if directive.kind.many_words() && !one.is_empty() => {
                split = words::split(one).ok_or("Unbalanced quotes in configuration line")?;
                &split
            }
            _ => values,
        };
        if directive.name != "save" {
            return self.config.set(row, values);
        }
        let mut points = if self.save_set { self.config.save_points().to_vec() } else { Vec::new() };
        self.config.set(row, values)?;
        self.save_set = true;
        if values.iter().any(|value| !value.is_empty()) {
            points.extend_from_slice(self.config.save_points());
            self.config.values[row] = super::value::Value::Save(points);
        }
        Ok(())
    }

    fn include(&mut self, pattern: &[u8], place: &dyn Fn() -> Place) -> Result<(), LineError> {
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err(LineError::Here(format!(
                "include: more than {INCLUDE_DEPTH_MAX} files deep; does a file include itself?"
            )));
        }
        let paths = match pattern.iter().any(|byte| b"*?[".contains(byte)) {
            true => expand(pattern).map_err(LineError::Here)?,
            false => vec![os_path(pattern)],
        };
        for path in paths {
            let text =
                std::fs::read(&path).map_err(|error| LineError::Included(cannot_open(&path, &error, Some(place()))))?;
            self.depth += 1;
            let read = self.read(&format!("the configuration file {}", path.display()), &text);
            self.depth -= 1;
            read.map_err(LineError::Included)?;
        }
        Ok(())
    }
}

/// A line that is wrong, or a line of a file that it includes (which knows its own place).
enum LineError {
    Here(String),
    Included(FatalError),
}

impl LineError {
    fn here(reason: impl Into<String>) -> Self {
        LineError::Here(reason.into())
    }
}

/// The files that a pattern names, in order of their names.
fn expand(pattern: &[u8]) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![if pattern.starts_with(b"/") { PathBuf::from("/") } else { PathBuf::new() }];
    let parts: Vec<&[u8]> = pattern.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
    for part in parts {
        let plain = !part.iter().any(|byte| b"*?[".contains(byte));
        let mut next = Vec::new();
        for folder in found {
            if plain {
                let path = folder.join(os_path(part));
                if path.exists() {
                    next.push(path);
                }
                continue;
            }
            next.extend(names_like(&folder, part));
            if next.len() > INCLUDE_FILES_MAX {
                return Err(format!("include: the pattern names more than {INCLUDE_FILES_MAX} files"));
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// The entries of a folder whose name matches; hidden ones only if the pattern begins with a dot.
fn names_like(folder: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(here) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    names
        .filter(|name| {
            let name = name.as_bytes();
            (pattern[0] == b'.' || name[0] != b'.') && firn_engine::glob::matches(pattern, name)
        })
        .map(|name| folder.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn options(text: &str) -> Result<Config, FatalError> {
        let line = CommandLine { options: text.as_bytes().to_vec(), ..CommandLine::default() };
        load(&line, &mut io::empty())
    }

    fn get(config: &Config, name: &str) -> String {
        String::from_utf8_lossy(&config.value(name).text()).into_owned()
    }

    #[track_caller]
    fn bad(text: &str, reason: &str) {
        let error = options(text).expect_err(text);
        assert_eq!(error.reason, reason, "{text}");
        assert!(error.place.is_some(), "{text}: the place is named");
    }

    #[test]
    fn later_lines_win_and_comments_do_not_count() {
        let config = options("port 1\n# port 2\n\n  PORT   3  \r\n").expect("good");
        assert_eq!(config.number("port"), 3);
    }

    #[test]
    fn the_first_save_replaces_the_default_and_later_ones_add() {
        assert_eq!(get(&options("").expect("good"), "save"), "3600 1 300 100 60 10000");
        assert_eq!(get(&options("save 900 1\nsave 100 100").expect("good"), "save"), "900 1 100 100");
        assert_eq!(get(&options("save 900 1\nsave \"\"").expect("good"), "save"), "");
        assert_eq!(get(&options("save \"\"\nsave 5 6").expect("good"), "save"), "5 6");
        assert_eq!(get(&options("save \"900 1 2 3\"").expect("good"), "save"), "900 1 2 3");
    }

    #[test]
    fn every_mistake_has_its_reason() {
        bad("port", "wrong number of arguments");
        bad("port 1 2", "wrong number of arguments");
        bad("port x", "argument couldn't be parsed into an integer");
        bad("nope 1", "Bad directive or wrong number of arguments");
        bad("port \"1", "Unbalanced quotes in configuration line");
        bad("replicaof 127.0.0.1 abc", "Invalid master port");
        bad("replicaof 127.0.0.1 6379", "replicaof 127.0.0.1 6379: there is no replication yet");
        bad("cluster-enabled yes", "cluster-enabled yes: there is no cluster mode");
        bad("loadmodule /x.so", "loadmodule: Firn has no modules");
        bad("redisgears.x 1", "redisgears.x configures a module, and Firn has no modules");
        bad("a.b", "Module config specified without value");
        bad("sentinel monitor a b c d", "sentinel directive while not in sentinel mode");
        bad("dir /no/such/folder", "No such file or directory");
        bad("dir /proc/version", "Not a directory");
        bad("rename-command x", "Bad directive or wrong number of arguments");
        bad("shutdown-on-sigint", "argument(s) must be one of the following: default, save, nosave, now, force");
        let error = options("port 1\nloglevel loud").expect_err("no such level");
        assert_eq!(
            error.to_string().replace(env!("CARGO_PKG_VERSION"), "V"),
            "\n*** FATAL CONFIG FILE ERROR (Firn V) ***\nReading the command line, at line 2\n>>> 'loglevel loud'\n\
             argument(s) must be one of the following: debug, verbose, notice, warning, nothing"
        );
    }

    #[test]
    fn what_turns_a_missing_thing_off_is_accepted() {
        for text in [
            "cluster-enabled no",
            "tls-port 0",
            "replicaof no one",
            "slaveof \"\"",
            "aclfile ''",
            "supervised auto",
            "min-replicas-to-write 0",
            "user default on nopass sanitize-payload ~* &* +@all",
            "list-max-ziplist-entries 5",
        ] {
            options(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn files_stdin_and_options_are_read_in_this_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("firn.conf");
        fs::write(&file, "port 1\ntimeout 1\nhz 1000\nrename-command FLUSHALL \"\"\n").expect("written");
        let path = file.to_str().expect("plain").as_bytes().to_vec();
        let line = CommandLine { file: Some(path), stdin: true, options: b"port 3".to_vec() };
        let config = load(&line, &mut &b"port 2\ntimeout 2"[..]).expect("good");
        assert_eq!((config.number("port"), config.number("timeout"), config.number("hz")), (3, 2, 500));
        assert_eq!(config.file(), Some(file.as_path()));
        assert_eq!((&config.renames()[0].from[..], &config.renames()[0].to[..]), (&b"FLUSHALL"[..], &b""[..]));
        assert_eq!(config.renames()[0].place.line, 4);
    }

    #[test]
    fn includes_take_patterns_and_name_their_own_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("conf.d")).expect("made");
        fs::write(at("conf.d/2.conf"), "port 2").expect("written");
        fs::write(at("conf.d/1.conf"), "port 1\ntimeout 7").expect("written");
        fs::write(at("conf.d/.hidden.conf"), "port 9").expect("written");
        let text = format!(
            "include {}/conf.d/*.conf\ninclude {}/none*.conf",
            folder.path().display(),
            folder.path().display()
        );
        let config = options(&text).expect("good");
        assert_eq!((config.number("port"), config.number("timeout")), (2, 7));

        fs::write(at("bad.conf"), "\nport x").expect("written");
        let error = options(&format!("include {}", at("bad.conf").display())).expect_err("a bad line");
        let place = error.place.expect("a place");
        assert_eq!((place.line, place.text.as_str()), (2, "port x"));
        assert!(place.source.ends_with("bad.conf"));

        fs::write(at("self.conf"), format!("include {}", at("self.conf").display())).expect("written");
        let error = options(&format!("include {}", at("self.conf").display())).expect_err("a circle");
        assert_eq!(error.reason, "include: more than 16 files deep; does a file include itself?");

        let error = options("include /no/such.conf").expect_err("missing");
        assert_eq!(error.reason, "can't open config file '/no/such.conf': No such file or directory");
    }
}
