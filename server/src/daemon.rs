//! Going into the background (`daemonize`), and the file with the process id.

use std::io;
use std::path::Path;

/// Leaves the terminal: the caller's process ends with success, a child without terminal goes on. Must be called
/// before any thread is started.
///
/// # Errors
/// The system has no process left, or no `/dev/null`.
pub(crate) fn daemonize() -> io::Result<()> {
    // SAFETY: there is only this thread (the caller's duty), so that the child owns every lock and all memory as they are.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    rustix::process::setsid()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Writes this process' id to `path`.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_pid(path: &Path) -> io::Result<()> {
    std::fs::write(path, format!("{}\n", std::process::id()))
}

/// Allows for `clients` connections and a few files of our own, if the system lets us. How many clients there is room for.
pub(crate) fn raise_open_files(clients: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Descriptors for listeners, the log, snapshots, the runtimes.
    const OWN_FILES: u64 = 64;
    let wanted = clients as u64 + OWN_FILES;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|&current| current < wanted) else { return clients };
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    // A privileged process may raise the upper limit as well; others get what they are allowed.
    let goals = [(wanted, Some(raised)), (limit.maximum.unwrap_or(wanted).min(wanted), limit.maximum)];
    for (current, maximum) in goals {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).is_ok() {
            return clients.min(current.saturating_sub(OWN_FILES).max(1) as usize);
        }
    }
    clients.min(current.saturating_sub(OWN_FILES).max(1) as usize)
}
