//! What a run leaves on the machine while it goes on, all of it under one folder: files, mounts, and processes that carry the folder's name. It is
//! removed with the folder's owner ([`Work`]); a second signal removes that of all runs at once ([`clean_all`]); and what a run left that was
//! itself killed with SIGKILL the next one tells of ([`tell_stale`]).

use crate::group;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A run's folder is named so; the process's number and a few letters follow.
const PREFIX: &str = "firn-torture-";

static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn folders() -> MutexGuard<'static, Vec<PathBuf>> {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of a run; dropping it removes it and what hangs on it.
#[derive(Debug)]
pub(crate) struct Work(tempfile::TempDir);

impl Work {
    pub(crate) fn create() -> io::Result<Work> {
        let made = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir()?;
        folders().push(made.path().into());
        Ok(Work(made))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let path = self.0.path();
        clean(path);
        folders().retain(|folder| folder != path);
    }
}

/// Ends what runs in a folder's name, and detaches what is mounted under it.
fn clean(folder: &Path) {
    group::end_strays(folder);
    mounts_under(folder).iter().for_each(|mount| detach(mount));
}

/// Removes everything of all runs of this process.
pub(crate) fn clean_all() {
    for folder in &*folders() {
        clean(folder);
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn detach(mount: &Path) {
    let Ok(path) = CString::new(mount.as_os_str().as_bytes()) else { return };
    // SAFETY: the path is a string that ends in 0 and outlives the call.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
}

/// Where something is mounted under a folder, the newest first.
fn mounts_under(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = table.lines().filter_map(|line| Some(PathBuf::from(unescaped(line.split(' ').nth(1)?))));
    let mut found: Vec<PathBuf> = places.filter(|place| place.starts_with(folder)).collect();
    found.reverse();
    found
}

/// A path of the kernel's table of mounts: blanks and the like are `\` and three octal digits there.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// Folders of runs whose process is gone.
fn stale_in(folder: &Path) -> Vec<PathBuf> {
    let is_stale = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
        let pid = name.and_then(|name| name.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(is_stale).collect();
    found.sort();
    found
}

/// Says on standard error what earlier runs left that were killed, and how to remove it.
pub(crate) fn tell_stale() {
    for folder in stale_in(&std::env::temp_dir()) {
        let mut commands: Vec<String> =
            mounts_under(&folder).iter().map(|mount| format!("umount -l {}", mount.display())).collect();
        commands.push(format!("rm -r {}", folder.display()));
        let servers = group::strays(&folder);
        if !servers.is_empty() {
            let pids: Vec<String> = servers.iter().map(u32::to_string).collect();
            commands.insert(0, format!("kill -9 {}", pids.join(" ")));
        }
        eprintln!("torture: an earlier run that was killed has left something; to remove it: {}", commands.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_dead_process_is_stale_and_that_of_a_living_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let dead = home.path().join(format!("{PREFIX}{}-x", u32::MAX));
        for folder in [
            &dead,
            &home.path().join(format!("{PREFIX}{}-x", std::process::id())),
            &home.path().join("firn-torture-kept-1"),
        ] {
            std::fs::create_dir(folder).unwrap();
        }
        assert_eq!(stale_in(home.path()), [dead]);
    }

    #[test]
    fn a_path_in_the_table_of_mounts_is_read_as_it_was() {
        assert_eq!(unescaped(r"/tmp/a\040b\134c"), r"/tmp/a b\c");
        assert_eq!(unescaped(r"/tmp/plain"), "/tmp/plain");
    }

    #[test]
    fn a_run_has_a_folder_that_goes_with_it() {
        let work = Work::create().unwrap();
        let path = work.path().to_owned();
        assert!(folders().contains(&path) && path.exists());
        drop(work);
        assert!(!folders().contains(&path) && !path.exists());
    }
}
