//! Standard input, and pipes, as files: `-` stands for any kind of dataset, as does `<(zcat dump.rdb.gz)`, and most readers must be able to go back.
//!
//! What comes is copied once into a file without a name, which the kernel takes away with the process.

use crate::ToolError;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folder in which a process finds its open files.
const OPEN_FILES: &str = "/proc/self/fd";

/// What was copied: by the path that was given, the copy, which stays open, or what went wrong.
static SPOOLED: Mutex<Option<HashMap<PathBuf, Result<File, String>>>> = Mutex::new(None);

/// The path under which `path` can be opened: its own, or that of the copy of standard input for `-`, or of a pipe's content.
///
/// # Errors
/// [`ToolError::Unreadable`].
pub(crate) fn input(path: &Path) -> Result<Cow<'_, Path>, ToolError> {
    let is_pipe = || path.metadata().is_ok_and(|it| it.file_type().is_fifo());
    if path.as_os_str() != "-" && !is_pipe() {
        return Ok(Cow::Borrowed(path));
    }
    let copy = |mut source: Box<dyn Read>| -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut source, &mut file)?;
        Ok(file)
    };
    let mut spooled = SPOOLED.lock().unwrap_or_else(PoisonError::into_inner);
    let copied = spooled.get_or_insert_default().entry(path.to_owned()).or_insert_with(|| {
        let made = match path.to_str() {
            Some("-") => copy(Box::new(io::stdin().lock())),
            _ => File::open(path).and_then(|pipe| copy(Box::new(pipe))),
        };
        made.map_err(|error| error.to_string())
    });
    match copied {
        Ok(file) => Ok(Cow::Owned(Path::new(OPEN_FILES).join(file.as_raw_fd().to_string()))),
        Err(error) => Err(ToolError::Unreadable(format!("{}: {error}", name(path)))),
    }
}

/// Whether this is the path of a copy.
pub(crate) fn is_copy(path: &Path) -> bool {
    path.starts_with(OPEN_FILES)
}

/// The name of a file, for people.
pub(crate) fn name(path: &Path) -> String {
    if path.starts_with(OPEN_FILES) || path.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
