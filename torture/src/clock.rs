//! Jumps of the wall clock between two starts, by libfaketime in the server's process alone: setting the machine's clock would
//! harm everybody else on it, and Linux' time namespaces leave the wall clock alone.

use crate::rng::Rng;
use std::path::{Path, PathBuf};

/// A jump is at most this long. Deadlines that must hold lie a day ahead.
const JUMP_MAX_MS: u64 = 6 * 3_600_000;
const HOMES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
    "/usr/lib64/faketime",
    "/usr/local/lib/faketime",
];

fn library() -> Option<PathBuf> {
    HOMES.iter().map(|home| Path::new(home).join("libfaketimeMT.so.1")).find(|path| path.exists())
}

/// Whether clocks can jump here.
pub(crate) fn available() -> Result<(), String> {
    library().map(drop).ok_or_else(|| {
        "clock jumps need libfaketime (Debian's package faketime), which is not there; the machine's own clock is not touched".into()
    })
}

/// What a start that failed has printed says that the library cannot live in this server: allocators that ask for the time before it is
/// ready (jemalloc's, of some builds) hang or end there. That is not the server's doing.
pub(crate) fn clashes(said: &str) -> bool {
    said.contains("libfaketime: ") && said.contains("clash with libfaketime")
}

/// A jump in ms, either way.
pub(crate) fn jump(rng: &mut Rng) -> i64 {
    let far = 60_000 + rng.below(JUMP_MAX_MS) as i64;
    if rng.one_in(2) { far } else { -far }
}

/// What a process needs in its environment to live at another time.
pub(crate) fn environment(jump_ms: i64) -> Vec<(String, String)> {
    let Some(library) = library() else { return Vec::new() };
    let seconds =
        format!("{}{}.{:03}", if jump_ms < 0 { '-' } else { '+' }, jump_ms.abs() / 1000, jump_ms.abs() % 1000);
    vec![
        ("LD_PRELOAD".into(), library.display().to_string()),
        ("FAKETIME".into(), seconds),
        // Timers go on as they are: only the wall clock jumps.
        ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_librarys_own_complaint_is_a_clash() {
        let said = "1:M * Ready | libfaketime: Cannot recover from unexpected recursive calls to clock_gettime(). | libfaketime:  Please check whether \
                    any other libraries are in use that clash with libfaketime.";
        assert!(clashes(said));
        assert!(!clashes("1:M # Bad file format reading the append only file"));
    }
}
