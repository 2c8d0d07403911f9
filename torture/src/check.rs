//! What can be wrong with a run before its first cycle: the command lines of the servers, and where reports and files are to go. All of it is looked at before
//! anything is started, so that no mistake costs the results of a long run.

use crate::plan::{Policy, TortureArgs};
use crate::run::Failure;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const PLACEHOLDERS: [&str; 3] = ["port", "dir", "policy"];

/// What a run may begin with.
pub(crate) struct Checked {
    /// Each once, in the order they were given.
    pub(crate) policies: Vec<Policy>,
    pub(crate) page: Option<Page>,
}

/// Looks at everything that is known before the first start.
pub(crate) fn check(arguments: &TortureArgs) -> Result<Checked, Failure> {
    for command in &arguments.server {
        command_line(command).map_err(|why| Failure::Usage(format!("--server '{command}': {why}")))?;
    }
    if let Some(folder) = &arguments.keep {
        std::fs::create_dir_all(folder)
            .and_then(|()| tempfile::tempfile_in(folder).map(drop))
            .map_err(|error| Failure::Usage(format!("--keep {}: {error}", folder.display())))?;
    }
    let page = arguments.html.as_deref().map(Page::open).transpose().map_err(Failure::Usage)?;
    let mut policies: Vec<Policy> = Vec::new();
    for &policy in &arguments.policy {
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    for command in arguments.server.iter().filter(|command| policies.len() > 1 && !command.contains("{policy}")) {
        eprintln!(
            "torture: --server '{command}' has no {{policy}}: it is started alike for each of the policies it is judged by"
        );
    }
    Ok(Checked { policies, page })
}

/// A server's command line.
fn command_line(command: &str) -> Result<(), String> {
    for name in ["port", "dir"] {
        if !command.contains(&format!("{{{name}}}")) {
            return Err(format!("it needs {{port}} and {{dir}}, and {{{name}}} is not there"));
        }
    }
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = command.as_bytes();
    for (at, _) in command.match_indices('{') {
        let rest = &bytes[at + 1..];
        let len = rest.iter().take_while(|&&byte| is_letter(byte)).count();
        let (is_shells, is_closed) = (at > 0 && bytes[at - 1] == b'$', len > 0 && rest.get(len) == Some(&b'}'));
        let name = &command[at + 1..at + 1 + len];
        if is_closed && !is_shells && !PLACEHOLDERS.contains(&name) {
            return Err(format!("{{{name}}} is no placeholder; there are {{port}}, {{dir}} and {{policy}}"));
        }
    }
    let first = command.split_whitespace().next().unwrap_or_default();
    if first.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(is_letter)) {
        return Err(format!("it begins with a variable, and has to begin with a program: use 'env {first} ...'"));
    }
    Ok(())
}

/// The file of `--html`, which is known to take a report. One that was made for it and gets none is removed.
pub(crate) struct Page {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Page {
    fn open(path: &Path) -> Result<Page, String> {
        let is_new = !path.exists();
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("--html {}: {error}", path.display()))?;
        Ok(Page { path: path.into(), file, is_new })
    }

    pub(crate) fn write(mut self, text: &str) -> Result<(), String> {
        let written = self.file.set_len(0).or_else(is_no_file).and_then(|()| self.file.write_all(text.as_bytes()));
        self.is_new = false;
        written.map_err(|error| format!("--html {}: {error}", self.path.display()))
    }
}

/// A device or a pipe has no length.
fn is_no_file(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.is_new {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_says_what_is_wrong_with_it() {
        for (command, why) in [
            ("s --port {port}", "{dir} is not there"),
            ("s --dir {dir}", "{port} is not there"),
            ("s {port} {dir} {polcy}", "{polcy} is no placeholder"),
            ("A_1=x s {port} {dir}", "use 'env A_1=x"),
        ] {
            assert!(command_line(command).unwrap_err().contains(why), "{command}");
        }
        for command in
            ["s {port} {dir} {policy}", "env A=x s {port} {dir} --b=c", "sh -c '{ s ${HOME} {port} {dir}; }'"]
        {
            assert_eq!(command_line(command), Ok(()), "{command}");
        }
    }

    #[test]
    fn a_page_that_gets_no_report_is_removed_and_an_old_one_stays() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("page.html");
        drop(Page::open(&path).unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "old and longer").unwrap();
        drop(Page::open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"old and longer");
        Page::open(&path).unwrap().write("new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(Page::open(&work.path().join("none/page.html")).is_err());
    }
}
