//! Standard input as a file: `-` stands for any kind of dataset, and most readers must be able to go back.
//!
//! What comes is copied once into a file without a name, which the kernel takes away with the process.

use crate::ToolError;
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder in which a process finds its open files.
const OPEN_FILES: &str = "/proc/self/fd";

static SPOOLED: OnceLock<Result<(File, PathBuf), String>> = OnceLock::new();

/// The path under which `path` can be opened: its own, or that of the copy of standard input for `-`.
///
/// # Errors
/// [`ToolError::Unreadable`].
pub(crate) fn input(path: &Path) -> Result<Cow<'_, Path>, ToolError> {
    if path.as_os_str() != "-" {
        return Ok(Cow::Borrowed(path));
    }
    let copied = SPOOLED.get_or_init(|| {
        let copy = || -> io::Result<(File, PathBuf)> {
            let mut file = tempfile::tempfile()?;
            io::copy(&mut io::stdin().lock(), &mut file)?;
            let path = Path::new(OPEN_FILES).join(file.as_raw_fd().to_string());
            Ok((file, path))
        };
        copy().map_err(|error| error.to_string())
    });
    match copied {
        Ok((_, path)) => Ok(Cow::Borrowed(path)),
        Err(error) => Err(ToolError::Unreadable(format!("standard input: {error}"))),
    }
}

/// The name of a file, for people.
pub(crate) fn name(path: &Path) -> String {
    if path.starts_with(OPEN_FILES) {
        return "standard input".to_owned();
    }
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
