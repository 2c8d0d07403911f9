//! The kernel kills the server for memory: a cgroup of its own, whose limit is drawn just above what it takes.
//!
//! 1. Only the server's process is in the group; the machine has memory enough.
//! 2. What fills the memory lies under keys that are deleted after the next start (`junk:0`, ...).

use crate::client::Client;
use crate::model::SHARED_DB;
use crate::server::Server;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Above what the server takes when the limit is drawn.
const ROOM: u64 = 24 << 20;
/// What is written to fill it, at most.
const JUNK: usize = 512;
const JUNK_LEN: usize = 1 << 20;
const KILL_MAX: Duration = Duration::from_secs(60);

/// The controller's folder, and the file of its limit: cgroup 2, else 1.
fn controller() -> Result<(PathBuf, &'static str), String> {
    let two = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(two.join("cgroup.subtree_control")).unwrap_or_default();
    if controllers.split_whitespace().any(|name| name == "memory") {
        return Ok((two.into(), "memory.max"));
    }
    let one = Path::new("/sys/fs/cgroup/memory");
    if one.join("memory.limit_in_bytes").exists() {
        return Ok((one.into(), "memory.limit_in_bytes"));
    }
    Err("out-of-memory kills need a memory controller of cgroups under /sys/fs/cgroup, and none is there".into())
}

/// Whether a group can be made here.
pub(crate) fn available() -> Result<(), String> {
    let (folder, limit) = controller()?;
    let group = Group::create(&folder).map_err(|error| format!("out-of-memory kills need a cgroup: {error}"))?;
    fs::write(group.0.join(limit), "1000000000").map_err(|error| format!("the limit of a cgroup: {error}"))
}

/// A cgroup; removed when dropped.
struct Group(PathBuf);

impl Group {
    fn create(folder: &Path) -> io::Result<Group> {
        let path = folder.join(format!("firn-torture-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Group(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.map(|pages| pages * 4096).ok_or_else(|| io::Error::other("no memory in statm"))
}

/// Draws the limit and fills the memory until the kernel has killed the server.
pub(crate) fn exhaust(server: &Server) -> io::Result<()> {
    let (folder, limit) = controller().map_err(io::Error::other)?;
    let group = Group::create(&folder)?;
    let mut counted = 0;
    for pid in server.pids()? {
        fs::write(group.0.join("cgroup.procs"), pid.to_string())?;
        // What the process took before it came stays with its old group: only what it takes from now on counts here.
        counted += if limit == "memory.max" { resident(pid)? } else { 0 };
    }
    fs::write(group.0.join(limit), (counted + ROOM).to_string())?;
    let began = Instant::now();
    let filled = server.connect().and_then(|mut client| {
        client.call(&[b"SELECT", SHARED_DB.to_string().as_bytes()])?;
        let mut junk = vec![0; JUNK_LEN];
        let mut rng = crate::rng::Rng(7);
        for at in 0..JUNK {
            // Nothing that a server could pack.
            junk.chunks_mut(8).for_each(|part| part.copy_from_slice(&rng.draw().to_le_bytes()[..part.len()]));
            client.call(&[b"SET", format!("junk:{at}").as_bytes(), &junk])?;
        }
        Ok(())
    });
    drop(filled);
    while server.has_ended().is_none() {
        if began.elapsed() > KILL_MAX {
            return Err(io::Error::other("the kernel did not kill the server for memory"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Deletes what filled the memory.
pub(crate) fn clean(client: &mut Client, databases: bool) -> io::Result<()> {
    if databases {
        client.call(&[b"SELECT", SHARED_DB.to_string().as_bytes()])?;
    }
    for at in 0..JUNK {
        client.push(&[b"DEL", format!("junk:{at}").as_bytes()]);
    }
    client.flush()?;
    for _ in 0..JUNK {
        client.read()?;
    }
    Ok(())
}
