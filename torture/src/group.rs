//! The processes of a server under test: a process group of their own, which is signalled, waited for and ended as one, so that a wrapper
//! script which starts the server as its child is as good as the server itself.
//!
//! 1. The first process is not reaped before the whole group was killed: until then its number is nobody else's, and a signal to the
//!    group never meets strangers.
//! 2. Orphans of the group come to this process (it is their subreaper), so the end of every member can be waited for.
//! 3. The first process dies with the thread that started it, however that ends (PR_SET_PDEATHSIG): [`Group::spawn`] is called by a
//!    thread that lives as long as the run.
//! 4. Who has left the group (setsid, a daemon) still has the variable [`MARK`] in its environment, or, where it has overwritten that, is a child of
//!    ours that lives in the run's folder or has files open there ([`strays`]).

use rustix::process::{self as sys, Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// A variable in the environment of whatever a run starts; its value is the run's folder.
pub(crate) const MARK: &str = "TORTURE_FOLDER";

/// The group; killed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    pid: Pid,
    /// Once it was killed.
    status: Option<ExitStatus>,
}

impl Group {
    /// Starts the first process.
    pub(crate) fn spawn(command: &mut Command, folder: &Path) -> io::Result<Group> {
        sys::set_child_subreaper(Some(sys::getpid()))?;
        let parent = sys::getpid();
        // A terminal's Ctrl-C ends the driver, which ends the server.
        command.env(MARK, folder).process_group(0);
        // SAFETY: between fork and exec only system calls are made; nothing is allocated, no lock is taken.
        unsafe {
            command.pre_exec(move || {
                sys::set_parent_process_death_signal(Some(Signal::KILL))?;
                // It may have died before that call.
                if sys::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
            });
        }
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        Ok(Group { child, pid, status: None })
    }

    /// How the first process ended, if it has. It stays unreaped.
    pub(crate) fn ended(&self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let found = rustix::io::retry_on_intr(|| sys::waitid(WaitId::Pid(self.pid), options))?;
        Ok(found.map(|found| match (found.exit_status(), found.terminating_signal()) {
            (Some(code), _) => ExitStatus::from_raw(code << 8),
            (_, signal) => ExitStatus::from_raw(signal.unwrap_or(0)),
        }))
    }

    /// A signal to all of them.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        match sys::kill_process_group(self.pid, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// `kill -9` for all of them, and waits for the end of each; gives that of the first.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        let status = self.child.wait()?;
        self.status = Some(status);
        // Its children are ours by now, theirs when they have ended: until there is none.
        while rustix::io::retry_on_intr(|| sys::waitpgid(self.pid, WaitOptions::empty())).is_ok() {}
        Ok(status)
    }

    /// The members that run.
    pub(crate) fn members(&self) -> io::Result<Vec<u32>> {
        let own = self.pid.as_raw_nonzero().get();
        let is_member = |stat: Stat| stat.group == own && !matches!(stat.state, 'Z' | 'X');
        Ok(processes()?.filter(|&pid| stat(pid).is_some_and(is_member)).collect())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn processes() -> io::Result<impl Iterator<Item = u32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The processes that a run has started, also those that have got away from their group.
pub(crate) fn strays(folder: &Path) -> Vec<u32> {
    let mark = format!("{MARK}={}", folder.display());
    let is_marked = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let is_in = |link: PathBuf| std::fs::read_link(link).is_ok_and(|place| place.starts_with(folder));
    let lives_there = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        is_in(format!("/proc/{pid}/cwd").into()) || files.map(|file| file.path()).any(is_in)
    };
    let is_one = |pid: &u32| is_marked(*pid) || (stat(*pid).is_some_and(|stat| stat.is_ours()) && lives_there(*pid));
    processes().map_or(Vec::new(), |all| all.filter(is_one).collect())
}

/// What `/proc` tells of a process.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
}

impl Stat {
    fn is_ours(&self) -> bool {
        self.parent == sys::getpid().as_raw_nonzero().get()
    }
}

/// None if it has ended.
fn stat(pid: u32) -> Option<Stat> {
    // "id (name) state parent group ...": the name may hold anything.
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    Some(Stat {
        state: words.next()?.chars().next()?,
        parent: words.next()?.parse().ok()?,
        group: words.next()?.parse().ok()?,
    })
}

/// `kill -9` for [`strays`]; whether there were any.
pub(crate) fn end_strays(folder: &Path) -> bool {
    let found = strays(folder);
    for pid in &found {
        if let Some(pid) = Pid::from_raw(*pid as i32) {
            let _ = sys::kill_process(pid, Signal::KILL);
        }
    }
    !found.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn started(script: &str, folder: &Path) -> Group {
        let mut command = Command::new("sh");
        Group::spawn(command.args(["-c", script]), folder).unwrap()
    }

    fn until(mut what: impl FnMut() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(20), "it never happened");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_kill_ends_the_children_of_a_wrapper_and_their_children() {
        let work = tempfile::tempdir().unwrap();
        let mut group = started("sh -c 'sleep 1000; true' & sleep 1000; true", work.path());
        until(|| group.members().unwrap().len() >= 4);
        let members = group.members().unwrap();
        group.kill().unwrap();
        for pid in members {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is there");
        }
    }

    #[test]
    fn a_status_can_be_asked_for_again_and_again() {
        let work = tempfile::tempdir().unwrap();
        let mut group = started("exit 7", work.path());
        until(|| group.ended().unwrap().is_some());
        assert_eq!(group.ended().unwrap().unwrap().code(), Some(7));
        assert_eq!(group.kill().unwrap().code(), Some(7));
        assert_eq!(group.ended().unwrap().unwrap().code(), Some(7));
    }

    #[test]
    fn a_daemon_is_found_by_its_environment_or_its_files() {
        for script in ["setsid sleep 1000 & exit 0", "cd \"$TORTURE_FOLDER\" && setsid env -i sleep 1000 & exit 0"] {
            is_found(script);
        }
    }

    fn is_found(script: &str) {
        let work = tempfile::tempdir().unwrap();
        let mut group = started(script, work.path());
        until(|| group.ended().unwrap().is_some() && group.members().unwrap().is_empty());
        group.kill().unwrap();
        until(|| end_strays(work.path()));
        until(|| strays(work.path()).is_empty());
    }
}
