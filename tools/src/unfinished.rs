//! What a command is making and has not finished: taken away again when it fails, when it panics, and when Ctrl-C or SIGTERM ends it.
//!
//! 1. What is made is registered ([`Unfinished`]) before it is there. Dropped, it is removed; [`Unfinished::keep`] lets it stay.
//! 2. A signal is handled by a thread of its own, which may take locks: it removes what is registered, says so, and ends the process with
//!    128 + the signal's number. It keeps the lock until then, so that nothing is registered or finished meanwhile, and the command itself
//!    can say nothing more ([`settle`]).
//! 3. Only what was registered is removed: files, and folders with the files in them; never what lies deeper.
//! 4. A signal that whoever started the process had it ignore (`nohup`) stays ignored.

use crate::{ToolError, text};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tries to remove a folder into which the command may still be writing.
const TRIES: u32 = 50;

/// How something is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// It is a file.
    File,
    /// It is a folder that was made, flat: the files in it go with it.
    Folder,
    /// It is a folder that was there, empty: the files in it go.
    Content,
}

/// By number, which grows: what was made last goes first.
static MAKING: Mutex<BTreeMap<u64, (PathBuf, Form)>> = Mutex::new(BTreeMap::new());

fn making() -> MutexGuard<'static, BTreeMap<u64, (PathBuf, Form)>> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See above.
#[derive(Debug)]
pub(crate) struct Unfinished(u64);

impl Unfinished {
    /// Something that is about to be made at `path`.
    pub(crate) fn new(path: &Path, form: Form) -> Unfinished {
        let mut making = making();
        let number = making.last_key_value().map_or(0, |(number, _)| number + 1);
        making.insert(number, (path.to_owned(), form));
        Unfinished(number)
    }

    /// Does what finishes it, during which no signal ends the process; if that succeeds it stays.
    ///
    /// # Errors
    /// Those of `finish`.
    pub(crate) fn keep<T, E>(self, finish: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut making = making();
        let finished = finish();
        if finished.is_ok() {
            making.remove(&self.0);
        }
        drop(making);
        finished
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut making = making();
        if let Some((path, form)) = making.remove(&self.0) {
            remove(&path, form);
        }
    }
}

fn remove(path: &Path, form: Form) {
    if form == Form::File {
        let _ = std::fs::remove_file(path);
        return;
    }
    for _ in 0..TRIES {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        if form == Form::Content {
            return;
        }
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            _ => return,
        }
    }
}

/// A new file, which has its name only when it is finished: nothing that is there is overwritten, and half of one does not pass for one.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    at: PathBuf,
    unfinished: Unfinished,
}

impl NewFile {
    /// Begins one.
    ///
    /// # Errors
    /// [`ToolError::Usage`] if something is there.
    pub(crate) fn create(path: &Path) -> Result<(NewFile, File), ToolError> {
        if path.symlink_metadata().is_ok() {
            return Err(not_made(path, &ErrorKind::AlreadyExists.into()));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        let at = path.with_file_name(name);
        // Not before it is known to be ours.
        let (unfinished, file) = create(&at)?;
        Ok((NewFile { path: path.to_owned(), at, unfinished }, file))
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// Something has come there meanwhile, or the disk failed.
    pub(crate) fn finish(self) -> Result<(), ToolError> {
        let NewFile { path, at, unfinished } = self;
        // A link, unlike a new name, replaces nothing that has come there meanwhile. Not every file system has links.
        let name = || match std::fs::hard_link(&at, &path) {
            Ok(()) => std::fs::remove_file(&at),
            Err(_) if path.symlink_metadata().is_err() => std::fs::rename(&at, &path),
            Err(error) => Err(error),
        };
        unfinished.keep(name).map_err(|error| not_made(&path, &error))
    }
}

/// A new file, which stays if it is kept: nothing that is there is overwritten.
///
/// # Errors
/// [`ToolError::Usage`] if something is there.
pub(crate) fn create(path: &Path) -> Result<(Unfinished, File), ToolError> {
    let made = begin(path, Form::File, || File::create_new(path));
    made.map_err(|error| not_made(path, &error))
}

/// A new folder, which stays if it is kept.
///
/// # Errors
/// The disk's; something may be there.
pub(crate) fn create_folder(path: &Path) -> io::Result<Unfinished> {
    begin(path, Form::Folder, || std::fs::create_dir(path)).map(|(unfinished, ())| unfinished)
}

/// Makes something and registers it; no signal comes between the two, and what could not be made is not taken for ours.
///
/// # Errors
/// Those of `make`.
pub(crate) fn begin<T>(path: &Path, form: Form, make: impl FnOnce() -> io::Result<T>) -> io::Result<(Unfinished, T)> {
    let mut making = making();
    let made = make()?;
    let number = making.last_key_value().map_or(0, |(number, _)| number + 1);
    making.insert(number, (path.to_owned(), form));
    Ok((Unfinished(number), made))
}

/// Why something was not made, in words.
pub(crate) fn not_made(path: &Path, error: &io::Error) -> ToolError {
    match error.kind() {
        ErrorKind::AlreadyExists => ToolError::Usage(format!("{} is there: give a new path", path.display())),
        _ => ToolError::Unreadable(format!("{}: {error}", path.display())),
    }
}

/// Signals that the process was started to ignore, as a mask.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// From now on a signal that ends the process takes away what is unfinished first.
pub(crate) fn listen() {
    let ignored = ignored();
    let wanted = [(SIGHUP, "hung up"), (SIGINT, "interrupted"), (SIGTERM, "terminated")];
    let wanted: Vec<_> = wanted.into_iter().filter(|(signal, _)| ignored & (1 << (signal - 1)) == 0).collect();
    let Ok(mut signals) = Signals::new(wanted.iter().map(|(signal, _)| signal)) else { return };
    let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        // To the end: nothing is begun or finished any more.
        let making = making();
        for (path, form) in making.values().rev() {
            remove(path, *form);
        }
        if io::stderr().is_terminal() {
            // Behind the bar, or ^C.
            text::tell(&"");
        }
        let what = wanted.iter().find(|(of, _)| *of == signal).map_or("ended", |(_, what)| what);
        let removed: Vec<String> = making.values().map(|(path, _)| path.display().to_string()).collect();
        if !removed.is_empty() {
            text::tell(&format_args!("firn: {what}; removed what was unfinished: {}", removed.join(", ")));
        }
        std::process::exit(128 + signal);
    });
    // Without the thread nobody would hear the signals.
    if let Err(error) = spawned {
        text::tell(&format_args!("firn: signals: {error}"));
    }
}

/// Waits for the end if a signal has begun it: whatever has failed since has failed because of that.
pub(crate) fn settle() {
    drop(making());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("other"), "x").unwrap();
        assert!(create(&at("other")).is_err() && create_folder(&at("other")).is_err());
        assert!(at("other").exists(), "what could not be made is not ours");
        let (gone, _) = create(&at("gone")).unwrap();
        let (kept, _) = create(&at("kept")).unwrap();
        let made = create_folder(&at("made")).unwrap();
        std::fs::write(at("made/part"), "x").unwrap();
        let (named, _) = NewFile::create(&at("named")).unwrap();
        assert!(!at("named").exists());
        kept.keep(|| Ok::<_, ToolError>(())).unwrap();
        named.finish().unwrap();
        drop((gone, made));
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["kept", "named", "other"]);
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let (new, _) = NewFile::create(&path).unwrap();
        std::fs::write(&path, "theirs").unwrap();
        assert!(matches!(new.finish(), Err(ToolError::Usage(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
