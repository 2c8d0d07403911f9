//! The server's own log: lines as redis-server writes them, `pid:M date level message`.
//!
//! A line is one write, to standard output or at the end of `logfile`; nothing is buffered. `logfile` and `loglevel` may change at
//! any time. It is process-wide, as is `supervise` and nothing else: a message can come from anywhere.

use parking_lot::Mutex;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// How important a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Level {
    /// For those who look for a defect.
    Debug,
    /// Much, seldom needed.
    Verbose,
    /// What an operator wants to know.
    Notice,
    /// What an operator must know.
    Warning,
    /// Never logged: `loglevel nothing`.
    Nothing,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Messages below `level` are not written.
pub(crate) fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Writes to the end of `path` from now on; to standard output if it is empty.
///
/// # Errors
/// It cannot be opened; nothing has changed.
pub(crate) fn set_file(path: &Path) -> io::Result<()> {
    let file =
        if path.as_os_str().is_empty() { None } else { Some(OpenOptions::new().append(true).create(true).open(path)?) };
    *FILE.lock() = file;
    Ok(())
}

/// Writes a message.
pub(crate) fn write(level: Level, message: Arguments<'_>) {
    if (level as u8) < LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mark = match level {
        Level::Debug => '.',
        Level::Verbose => '-',
        Level::Notice | Level::Nothing => '*',
        Level::Warning => '#',
    };
    let line = format!("{}:M {} {mark} {message}\n", std::process::id(), now());
    // Nobody can be told that the log cannot be written.
    let _ = match &mut *FILE.lock() {
        Some(file) => file.write_all(line.as_bytes()),
        None => io::stdout().lock().write_all(line.as_bytes()),
    };
}

/// [`write()`] at this level.
pub(crate) fn debug(message: Arguments<'_>) {
    write(Level::Debug, message);
}

/// [`write()`] at this level.
pub(crate) fn verbose(message: Arguments<'_>) {
    write(Level::Verbose, message);
}

/// [`write()`] at this level.
pub(crate) fn notice(message: Arguments<'_>) {
    write(Level::Notice, message);
}

/// [`write()`] at this level.
pub(crate) fn warning(message: Arguments<'_>) {
    write(Level::Warning, message);
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Local time as `22 Nov 2026 21:04:05.123`.
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = local_time(since.as_secs() as libc::time_t);
    format!(
        "{:02} {} {} {:02}:{:02}:{:02}.{:03}",
        time.tm_mday,
        MONTHS.get(time.tm_mon as usize).unwrap_or(&"???"),
        time.tm_year + 1900,
        time.tm_hour,
        time.tm_min,
        time.tm_sec,
        since.subsec_millis()
    )
}

fn local_time(seconds: libc::time_t) -> libc::tm {
    // SAFETY: an all-zero tm is a value of the type (numbers and a null pointer).
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values; localtime_r keeps neither.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut time) };
    time
}
