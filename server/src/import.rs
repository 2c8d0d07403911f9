//! Which files of Redis or Valkey a first start imports: what Redis would load, and never nothing where there is data.
//!
//! | `appendonly` | taken, the first that is there |
//! | --- | --- |
//! | yes | a folder with a manifest (`appenddirname`, or `appendonlydir`), the file `appendfilename`, the file `dbfilename` |
//! | no | the file `dbfilename`, a folder with a manifest, the file `appendfilename` |
//!
//! Redis itself would start empty in the last case of each row. What is not taken is named in the log. Files are only read.

use firn_engine::aof::manifest::{Manifest, Part};
use firn_engine::import::{Import, ImportError, Importer};
use firn_engine::recovery::survey::redis_file;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Redis' default for `appenddirname`.
const REDIS_FOLDER: &str = "appendonlydir";

/// Where to look, and what counts first. The folder is the working folder.
pub(crate) struct RedisFiles {
    /// `dir`, for messages.
    pub(crate) dir: String,
    /// `dbfilename`.
    pub(crate) dump: PathBuf,
    /// `appendfilename`.
    pub(crate) log: PathBuf,
    /// `appenddirname`: the store's own folder, which may be Redis' as well.
    pub(crate) folder: PathBuf,
    /// `appendonly`.
    pub(crate) prefer_log: bool,
    /// `aof-load-truncated`.
    pub(crate) truncated: bool,
}

/// Something to import.
enum Found {
    Dump(PathBuf),
    Log(PathBuf),
    /// Of a folder: its manifest.
    Parts(PathBuf),
}

impl Found {
    fn path(&self) -> &Path {
        match self {
            Found::Dump(path) | Found::Log(path) | Found::Parts(path) => path,
        }
    }
}

impl RedisFiles {
    /// All that is there, what counts first in front.
    fn look(&self) -> Result<Vec<Found>, ImportError> {
        let there = |path: &Path| match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => Ok(false),
            Err(error) => Err(ImportError::io("looking for", &path.display().to_string())(error)),
        };
        let mut parts = None;
        for folder in [self.folder.as_path(), Path::new(REDIS_FOLDER)] {
            let mut name = self.log.clone().into_os_string();
            name.push(".manifest");
            let manifest = folder.join(name);
            if parts.is_none() && there(&manifest)? {
                parts = Some(Found::Parts(manifest));
            }
        }
        let log = there(&self.log)?.then(|| Found::Log(self.log.clone()));
        let dump = (!self.dump.as_os_str().is_empty() && there(&self.dump)?).then(|| Found::Dump(self.dump.clone()));
        let order = if self.prefer_log { [parts, log, dump] } else { [dump, parts, log] };
        Ok(order.into_iter().flatten().collect())
    }

    /// Files under other names than the configured ones are not guessed at, nor taken for nothing.
    fn refuse_others(&self) -> Result<(), ImportError> {
        for folder in [Path::new("."), &self.folder] {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(ImportError::io("listing", &folder.display().to_string())(error)),
            };
            for entry in entries {
                let name = entry.map_err(ImportError::io("listing", &folder.display().to_string()))?.file_name();
                let name = name.to_string_lossy();
                // An empty folder of that name is nothing.
                let empty = name == REDIS_FOLDER
                    && fs::read_dir(folder.join(&*name)).is_ok_and(|mut entries| entries.next().is_none());
                // The store's own folder may have Redis' name: what is in it is looked at next.
                let own = folder == Path::new(".") && Path::new(&*name) == self.folder;
                if redis_file([&*name]).is_some() && !empty && !own {
                    let why = format!(
                        "it looks like a file of Redis or Valkey, but has not the name that the configuration gives it: the server does \
                         not start empty beside it. Set dbfilename ({}), appendfilename ({}) or appenddirname to import it, or move it away",
                        self.dump.display(),
                        self.log.display()
                    );
                    let file = Path::new(&self.dir).join(folder).join(&*name).display().to_string();
                    return Err(ImportError::Files { file, why });
                }
            }
        }
        Ok(())
    }

    fn import_parts(&self, path: &Path, importer: &mut Importer<'_>) -> Result<(), ImportError> {
        let shown = path.display().to_string();
        let bytes = fs::read(path).map_err(ImportError::io("reading", &shown))?;
        let manifest = Manifest::parse(&bytes).map_err(|why| ImportError::Files {
            file: shown.clone(),
            why: format!("{why}; nothing was changed: mend it by hand, or copy it from a backup"),
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let files: Vec<_> = manifest.to_read().collect();
        if files.is_empty() {
            let why = "it names no file to read; nothing was changed: move it away to start with an empty store".into();
            return Err(ImportError::Files { file: shown, why });
        }
        for (at, file) in files.iter().enumerate() {
            let path = folder.join(&file.name);
            let last = at + 1 == files.len();
            let (source, len) = match open(&path) {
                Ok(opened) => opened,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let why =
                        format!("{shown} names it, and it is not there; nothing was changed: find it in a backup");
                    return Err(ImportError::Files { file: path.display().to_string(), why });
                }
                Err(error) => return Err(ImportError::io("opening", &path.display().to_string())(error)),
            };
            debug_assert!(file.part != Part::History, "history is not read");
            importer.aof(&path.display().to_string(), source, len, last && self.truncated)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

impl Import for RedisFiles {
    fn run(&self, importer: &mut Importer<'_>) -> Result<Option<String>, ImportError> {
        let found = self.look()?;
        let Some((first, rest)) = found.split_first() else {
            self.refuse_others()?;
            return Ok(None);
        };
        let path = first.path();
        let shown = path.display().to_string();
        match first {
            Found::Dump(_) => {
                let (source, len) = open(path).map_err(ImportError::io("opening", &shown))?;
                importer.rdb(&shown, source, len)?;
            }
            Found::Log(_) => {
                let (source, len) = open(path).map_err(ImportError::io("opening", &shown))?;
                importer.aof(&shown, source, len, self.truncated)?;
            }
            Found::Parts(_) => self.import_parts(path, importer)?,
        }
        let setting = if self.prefer_log { "yes" } else { "no" };
        if matches!(first, Found::Dump(_)) == self.prefer_log {
            importer.warn(format!(
                "with appendonly {setting} Redis would not have looked at {shown} and have started empty: it was taken because there is \
                 nothing else"
            ));
        }
        for other in rest {
            importer.warn(format!(
                "{} was NOT imported: with appendonly {setting}, {shown} counts",
                other.path().display()
            ));
        }
        Ok(Some(Path::new(&self.dir).join(path).display().to_string()))
    }
}
