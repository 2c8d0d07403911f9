//! The title that `ps` and `/proc/PID/cmdline` show: `proc-title-template`, written over the words of the command line.
//!
//! The kernel shows the memory in which it has put the command line, with the environment behind it. [`make_room`], which runs before
//! there is any other thread and before anything has kept a pointer there, has the C library move the environment away; from then on
//! only [`show`] uses that memory, one caller at a time.

use crate::config::Config;
use parking_lot::Mutex;
use std::ops::Range;

/// The memory for the title, and what the command line called the program.
#[derive(Debug)]
struct Room {
    place: Range<usize>,
    program: String,
}

static ROOM: Mutex<Option<Room>> = Mutex::new(None);

/// Makes room for a title. Call it once, first of all.
///
/// # Safety
/// No other thread runs, and nobody reads the command line or holds pointers to the environment after it.
pub(crate) unsafe fn make_room() {
    let Some(place) = place() else { return };
    let program = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    for (name, value) in std::env::vars_os() {
        // SAFETY: no other thread runs (the caller's promise). What is set anew is copied, out of the memory we are about to use.
        unsafe { std::env::set_var(name, value) };
    }
    *ROOM.lock() = Some(Room { place, program });
}

/// Where the kernel has put command line and environment.
fn place() -> Option<Range<usize>> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything. See proc(5): arg_start, arg_end, env_start and env_end
    // are the fields 48 to 51.
    let fields: Vec<usize> =
        stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45).map_while(|field| field.parse().ok()).collect();
    let [args_start, args_end, env_start, env_end, ..] = fields[..] else { return None };
    let sound = args_start != 0 && args_start < args_end && args_end == env_start && env_start <= env_end;
    sound.then_some(args_start..env_end)
}

/// Shows the title that `config` asks for, if it asks for one.
pub(crate) fn show(config: &Config) {
    if !config.bool("set-proc-title") {
        return;
    }
    let room = ROOM.lock();
    let Some(Room { place, program }) = &*room else { return };
    let mut title = text(config, program).into_bytes();
    title.retain(|byte| *byte != 0);
    title.truncate(place.len() - 1);
    title.resize(place.len(), 0);
    // SAFETY: the kernel mapped `place` for this process, readable and writable, for as long as it lives. Since `make_room` nobody else
    // uses it: the environment was copied out of it, the command line was read. `ROOM` is locked: there is one writer.
    unsafe { std::ptr::copy_nonoverlapping(title.as_ptr(), place.start as *mut u8, title.len()) };
}

/// The title as the template has it.
fn text(config: &Config, program: &str) -> String {
    let socket = String::from_utf8_lossy(config.bytes("unixsocket")).into_owned();
    let port = config.number("port");
    let addr = match config.words("bind").first().map(String::as_str) {
        _ if port == 0 => socket.clone(),
        None | Some("*" | "0.0.0.0" | "::") => format!("*:{port}"),
        Some(addr) => format!("{}:{port}", addr.trim_start_matches('-')),
    };
    let file = config.file().map(|file| file.display().to_string()).unwrap_or_default();
    let mut text = String::from_utf8_lossy(config.bytes("proc-title-template")).into_owned();
    for (name, value) in [
        ("title", program),
        ("listen-addr", &addr),
        ("server-mode", ""),
        ("port", &port.to_string()),
        ("tls-port", &config.number("tls-port").to_string()),
        ("unixsocket", &socket),
        ("config-file", &file),
        ("pid", &std::process::id().to_string()),
    ] {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_names_what_there_is() {
        let title =
            |pairs: &[(&[u8], &[u8])]| text(&Config::default().changed(pairs, true).expect("good").0, "firn-server");
        assert_eq!(title(&[]), "firn-server 127.0.0.1:6379");
        assert_eq!(title(&[(b"bind", b"*")]), "firn-server *:6379");
        assert_eq!(
            title(&[(b"proc-title-template", b"a {port} {tls-port} {title} {listen-addr} {unixsocket}")]),
            "a 6379 0 firn-server 127.0.0.1:6379"
        );
    }

    #[test]
    fn the_place_of_the_command_line_is_known() {
        assert!(place().is_some_and(|place| place.len() > 10));
    }
}
