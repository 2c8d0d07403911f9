//! A disk in memory that knows what a power cut would leave of it.
//!
//! 1. Every file has what programs read (`data`) and what is on the device (`durable`); between them lie the writes since the last
//!    sync. Names have a journal of changes that no sync has committed yet. As on ext4, changes of names reach the device in
//!    order, and a sync of a folder, or of a file that is new or has another length, commits all of them.
//! 2. A cut keeps of each file the unsynced writes up to a random point, the next one perhaps torn at a sector, or, if the disk
//!    reorders, any of them; and a random number of uncommitted changes of names.
//! 3. A sync that fails lets go of what it was for: it is read on, but only another write of the same bytes reaches the device.
//!    That is what Linux does.

use crate::rng::Rng;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

/// The root folder's number.
pub(super) const ROOT: u64 = 1;
/// What a device writes whole.
const SECTOR: usize = 512;

/// What the disk does wrong now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// So many syncs of files fail from now on.
    pub(crate) fail_syncs: u32,
    /// So many writes fail from now on.
    pub(crate) fail_writes: u32,
    /// Most bytes of all files together.
    pub(crate) capacity: Option<u64>,
    /// How long a sync takes.
    pub(crate) sync_delay: Option<Duration>,
    /// Two of three writes longer than this are cut to half.
    pub(crate) short_writes: Option<usize>,
    /// How many calls failed, were cut short or met a full disk since the last [`Disk::calm`].
    pub(crate) happened: u64,
}

#[derive(Debug)]
enum Dirty {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct File {
    data: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Dirty>,
    /// How many entries were ever taken from the front of `dirty`.
    taken: u64,
}

impl File {
    /// Takes the entries before the one that is the `until`th ever.
    fn take(&mut self, until: u64) -> Vec<Dirty> {
        let count = until.saturating_sub(self.taken).min(self.dirty.len() as u64);
        self.taken += count;
        self.dirty.drain(..count as usize).collect()
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn replay(bytes: &mut Vec<u8>, dirty: &Dirty) {
    match dirty {
        Dirty::Write { at, bytes: new } => put(bytes, *at, new),
        Dirty::Length(len) => bytes.resize(*len, 0),
    }
}

/// A file or a folder.
#[derive(Debug)]
enum Node {
    File(File),
    Folder { parent: u64 },
}

/// One step of the journal of names: all of it or nothing. `None` removes the name.
type Step = Vec<(u64, OsString, Option<u64>)>;
type Names = BTreeMap<(u64, OsString), u64>;

/// Why a call fails: an errno.
pub(super) type Fail = i32;

/// What `stat` tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) node: u64,
    pub(super) is_folder: bool,
    pub(super) len: u64,
    pub(super) links: u32,
    pub(super) changed: SystemTime,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, (Node, SystemTime)>,
    next: u64,
    names: Names,
    durable_names: Names,
    journal: Vec<Step>,
    opened: BTreeMap<u64, u64>,
    dead: bool,
    rng: Rng,
    pub(crate) faults: Faults,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        let root = (Node::Folder { parent: ROOT }, SystemTime::now());
        Disk {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            names: Names::new(),
            durable_names: Names::new(),
            journal: Vec::new(),
            opened: BTreeMap::new(),
            dead: false,
            rng: Rng(0),
            faults: Faults::default(),
        }
    }

    fn alive(&self) -> Result<(), Fail> {
        if self.dead { Err(libc::EIO) } else { Ok(()) }
    }

    fn file(&mut self, node: u64) -> Result<&mut File, Fail> {
        match self.nodes.get_mut(&node) {
            Some((Node::File(file), _)) => Ok(file),
            Some(_) => Err(libc::EISDIR),
            None => Err(libc::ENOENT),
        }
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        let len = |(node, _): &(Node, SystemTime)| if let Node::File(file) = node { file.data.len() as u64 } else { 0 };
        self.nodes.values().map(len).sum()
    }

    /// No fault from now on.
    pub(crate) fn calm(&mut self) {
        self.faults = Faults::default();
    }

    pub(super) fn stat(&self, node: u64) -> Result<Stat, Fail> {
        self.alive()?;
        let (found, changed) = self.nodes.get(&node).ok_or(libc::ENOENT)?;
        let links = self.names.values().filter(|of| **of == node).count() as u32;
        let (is_folder, len) = match found {
            Node::File(file) => (false, file.data.len() as u64),
            Node::Folder { .. } => (true, 4096),
        };
        Ok(Stat { node, is_folder, len, links: if is_folder { 2 } else { links }, changed: *changed })
    }

    pub(super) fn lookup(&self, folder: u64, name: &OsStr) -> Result<u64, Fail> {
        self.alive()?;
        self.names.get(&(folder, name.to_owned())).copied().ok_or(libc::ENOENT)
    }

    /// The names in a folder.
    pub(super) fn list(&self, folder: u64) -> Result<Vec<(u64, bool, OsString)>, Fail> {
        self.alive()?;
        let parent = match self.nodes.get(&folder) {
            Some((Node::Folder { parent }, _)) => *parent,
            _ => return Err(libc::ENOTDIR),
        };
        let mut all = vec![(folder, true, OsString::from(".")), (parent, true, OsString::from(".."))];
        for ((_, name), node) in self.names.iter().filter(|((of, _), _)| *of == folder) {
            all.push((*node, matches!(self.nodes.get(node), Some((Node::Folder { .. }, _))), name.clone()));
        }
        Ok(all)
    }

    fn step(&mut self, step: Step) {
        for (folder, name, node) in &step {
            apply_name(&mut self.names, *folder, name, *node);
        }
        self.journal.push(step);
    }

    /// Makes a file or a folder.
    pub(super) fn make(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<u64, Fail> {
        self.alive()?;
        if self.lookup(folder, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let node = self.next;
        self.next += 1;
        let made = if is_folder { Node::Folder { parent: folder } } else { Node::File(File::default()) };
        self.nodes.insert(node, (made, SystemTime::now()));
        self.step(vec![(folder, name.to_owned(), Some(node))]);
        Ok(node)
    }

    pub(super) fn link(&mut self, node: u64, folder: u64, name: &OsStr) -> Result<(), Fail> {
        self.file(node)?;
        if self.lookup(folder, name).is_ok() {
            return Err(libc::EEXIST);
        }
        self.alive()?;
        self.step(vec![(folder, name.to_owned(), Some(node))]);
        Ok(())
    }

    /// Removes a file, or an empty folder.
    pub(super) fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<(), Fail> {
        let node = self.lookup(folder, name)?;
        match (self.stat(node)?.is_folder, is_folder) {
            (true, false) => return Err(libc::EISDIR),
            (false, true) => return Err(libc::ENOTDIR),
            _ => {}
        }
        if is_folder && self.names.keys().any(|(of, _)| *of == node) {
            return Err(libc::ENOTEMPTY);
        }
        self.step(vec![(folder, name.to_owned(), None)]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), no_replace: bool) -> Result<(), Fail> {
        let node = self.lookup(from.0, from.1)?;
        if let Ok(other) = self.lookup(to.0, to.1) {
            if no_replace {
                return Err(libc::EEXIST);
            }
            if other == node {
                return Ok(());
            }
            if self.stat(other)?.is_folder && self.names.keys().any(|(of, _)| *of == other) {
                return Err(libc::ENOTEMPTY);
            }
        }
        self.step(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(node))]);
        if let Some((Node::Folder { parent }, _)) = self.nodes.get_mut(&node) {
            *parent = to.0;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, node: u64, at: u64, len: usize) -> Result<&[u8], Fail> {
        self.alive()?;
        let data = &self.file(node)?.data;
        let from = (at as usize).min(data.len());
        Ok(&data[from..data.len().min(from.saturating_add(len))])
    }

    /// Writes; gives how many bytes were taken.
    pub(super) fn write(&mut self, node: u64, at: u64, bytes: &[u8]) -> Result<usize, Fail> {
        self.alive()?;
        if self.faults.fail_writes > 0 {
            self.faults.fail_writes -= 1;
            self.faults.happened += 1;
            return Err(libc::EIO);
        }
        let mut bytes = bytes;
        if self.faults.short_writes.is_some_and(|longer| bytes.len() > longer) && !self.rng.one_in(3) {
            bytes = &bytes[..bytes.len() / 2];
            self.faults.happened += 1;
        }
        if let Some(capacity) = self.faults.capacity {
            let (used, len) = (self.used(), self.file(node)?.data.len() as u64);
            let room = len + capacity.saturating_sub(used);
            let fits = room.saturating_sub(at).min(bytes.len() as u64) as usize;
            if fits < bytes.len() {
                self.faults.happened += 1;
                if fits == 0 {
                    return Err(libc::ENOSPC);
                }
                bytes = &bytes[..fits];
            }
        }
        let file = self.file(node)?;
        put(&mut file.data, at as usize, bytes);
        file.dirty.push(Dirty::Write { at: at as usize, bytes: bytes.to_vec() });
        self.touch(node);
        Ok(bytes.len())
    }

    fn touch(&mut self, node: u64) {
        if let Some((_, changed)) = self.nodes.get_mut(&node) {
            *changed = SystemTime::now();
        }
    }

    pub(super) fn set_len(&mut self, node: u64, len: u64) -> Result<(), Fail> {
        self.alive()?;
        let used = self.used();
        let capacity = self.faults.capacity;
        let file = self.file(node)?;
        let more = len.saturating_sub(file.data.len() as u64);
        if capacity.is_some_and(|capacity| more > 0 && used + more > capacity) {
            self.faults.happened += 1;
            return Err(libc::ENOSPC);
        }
        if file.data.len() as u64 != len {
            file.data.resize(len as usize, 0);
            file.dirty.push(Dirty::Length(len as usize));
            self.touch(node);
        }
        Ok(())
    }

    /// A sync of a file. `data_only`: fdatasync.
    pub(super) fn sync(&mut self, node: u64, data_only: bool) -> Result<(), Fail> {
        self.sync_until(node, data_only, u64::MAX)
    }

    /// For [`Disk::sync_until`]: what a sync that begins now is for.
    pub(super) fn written(&mut self, node: u64) -> u64 {
        self.file(node).map_or(0, |file| file.taken + file.dirty.len() as u64)
    }

    /// The end of a sync that began a while ago: writes that came since then are not its own.
    pub(super) fn sync_until(&mut self, node: u64, data_only: bool, until: u64) -> Result<(), Fail> {
        self.alive()?;
        let failing = self.faults.fail_syncs > 0;
        let known = self.durable_names.values().any(|of| *of == node);
        let file = self.file(node)?;
        let taken = file.take(until);
        if failing && !taken.is_empty() {
            self.faults.fail_syncs -= 1;
            self.faults.happened += 1;
            return Err(libc::EIO);
        }
        let before = file.durable.len();
        taken.iter().for_each(|dirty| replay(&mut file.durable, dirty));
        if !data_only || before != file.durable.len() || !known {
            self.commit();
        }
        Ok(())
    }

    /// A sync of a folder.
    pub(super) fn sync_folder(&mut self) -> Result<(), Fail> {
        self.alive()?;
        self.commit();
        Ok(())
    }

    fn commit(&mut self) {
        for (folder, name, node) in self.journal.drain(..).flatten() {
            apply_name(&mut self.durable_names, folder, &name, node);
        }
        self.drop_unnamed();
    }

    fn drop_unnamed(&mut self) {
        let named: std::collections::BTreeSet<u64> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        let opened = &self.opened;
        self.nodes.retain(|node, _| *node == ROOT || named.contains(node) || opened.contains_key(node));
    }

    pub(super) fn open(&mut self, node: u64) -> Result<(), Fail> {
        self.alive()?;
        *self.opened.entry(node).or_insert(0) += 1;
        Ok(())
    }

    pub(super) fn close(&mut self, node: u64) {
        if let Some(count) = self.opened.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.opened.remove(&node);
            }
        }
    }

    /// The power fails: from now on every call fails, until [`Disk::power_on`].
    pub(crate) fn cut(&mut self, rng: &mut Rng, reordered: bool) {
        self.dead = true;
        for (node, _) in self.nodes.values_mut() {
            let Node::File(file) = node else { continue };
            // Often all or nothing, which random points of long lists hardly are.
            let count = match rng.below(4) {
                0 => 0,
                1 => file.dirty.len(),
                _ => rng.below(file.dirty.len() as u64 + 1) as usize,
            };
            for (at, dirty) in file.dirty.iter().enumerate() {
                let kept = if reordered { rng.one_in(2) } else { at < count };
                let torn = if reordered { rng.one_in(4) } else { at == count };
                match dirty {
                    _ if kept => replay(&mut file.durable, dirty),
                    Dirty::Write { at, bytes } if torn => {
                        // The device writes sectors, wherever in them a write begins.
                        let sectors = (at % SECTOR + bytes.len()) / SECTOR;
                        let whole = rng.below(sectors as u64 + 1) as usize * SECTOR;
                        put(&mut file.durable, *at, &bytes[..whole.saturating_sub(at % SECTOR)]);
                    }
                    _ => {}
                }
            }
        }
        let kept = rng.below(self.journal.len() as u64 + 1) as usize;
        for (folder, name, node) in self.journal.drain(..).take(kept).flatten() {
            apply_name(&mut self.durable_names, folder, &name, node);
        }
    }

    /// What is on the device is what there is.
    pub(crate) fn power_on(&mut self) {
        self.names.clone_from(&self.durable_names);
        self.journal.clear();
        self.opened.clear();
        for (node, _) in self.nodes.values_mut() {
            if let Node::File(file) = node {
                file.data.clone_from(&file.durable);
                file.take(u64::MAX);
            }
        }
        self.dead = false;
        self.calm();
        self.drop_unnamed();
    }

    /// Everything is lost: for a new store.
    pub(crate) fn wipe(&mut self) {
        *self = Disk::new();
    }
}

fn apply_name(names: &mut Names, folder: u64, name: &OsStr, node: Option<u64>) {
    match node {
        Some(node) => names.insert((folder, name.to_owned()), node),
        None => names.remove(&(folder, name.to_owned())),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &mut Disk, name: &str) -> Option<Vec<u8>> {
        let node = disk.lookup(ROOT, OsStr::new(name)).ok()?;
        Some(disk.read(node, 0, 1 << 20).unwrap().to_vec())
    }

    #[test]
    fn a_cut_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = Disk::new();
            let node = disk.make(ROOT, OsStr::new("a"), false).unwrap();
            disk.write(node, 0, b"synced").unwrap();
            disk.sync(node, true).unwrap();
            for at in 0..4 {
                disk.write(node, 6 + at * 2, b"xy").unwrap();
            }
            disk.cut(&mut Rng(seed), false);
            assert_eq!(disk.sync(node, true), Err(libc::EIO));
            disk.power_on();
            let found = read(&mut disk, "a").expect("a synced file has its name");
            assert!(found.starts_with(b"synced") && b"syncedxyxyxyxy".starts_with(found.as_slice()), "{found:?}");
            lengths.insert(found.len());
        }
        assert_eq!(lengths.len(), 5, "every number of unsynced writes is met");
    }

    #[test]
    fn a_slow_sync_is_for_the_writes_before_it_alone() {
        let mut disk = Disk::new();
        let node = disk.make(ROOT, OsStr::new("a"), false).unwrap();
        disk.write(node, 0, b"before").unwrap();
        let first = disk.written(node);
        disk.write(node, 6, b"meanwhile").unwrap();
        let second = disk.written(node);
        disk.write(node, 15, b"later").unwrap();
        disk.sync_until(node, true, first).unwrap();
        let durable = |disk: &mut Disk| disk.file(node).map(|file| file.durable.clone()).unwrap();
        assert_eq!(durable(&mut disk), b"before");
        // The second of two that overlap; then the first one's end again, which has nothing left.
        disk.sync_until(node, true, second).unwrap();
        disk.sync_until(node, true, first).unwrap();
        assert_eq!(durable(&mut disk), b"beforemeanwhile");
        disk.sync(node, true).unwrap();
        assert_eq!(durable(&mut disk), b"beforemeanwhilelater");
    }

    #[test]
    fn what_a_failed_sync_was_for_is_read_until_the_power_fails() {
        let mut disk = Disk::new();
        let node = disk.make(ROOT, OsStr::new("a"), false).unwrap();
        disk.write(node, 0, b"one").unwrap();
        disk.sync(node, false).unwrap();
        disk.write(node, 3, b"two").unwrap();
        disk.faults.fail_syncs = 1;
        assert_eq!(disk.sync(node, true), Err(libc::EIO));
        assert_eq!(disk.sync(node, true), Ok(()));
        assert_eq!(read(&mut disk, "a").unwrap(), b"onetwo");
        disk.cut(&mut Rng(1), false);
        disk.power_on();
        assert_eq!(read(&mut disk, "a").unwrap(), b"one");
    }

    #[test]
    fn a_rename_without_a_sync_of_the_folder_may_be_undone_and_never_half() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..50 {
            let mut disk = Disk::new();
            let node = disk.make(ROOT, OsStr::new("a"), false).unwrap();
            disk.write(node, 0, b"1").unwrap();
            disk.sync(node, false).unwrap();
            disk.rename((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")), false).unwrap();
            disk.cut(&mut Rng(seed), false);
            disk.power_on();
            match (read(&mut disk, "a"), read(&mut disk, "b")) {
                (Some(_), None) => old += 1,
                (None, Some(_)) => new += 1,
                both => panic!("{both:?}"),
            }
        }
        assert!(old > 0 && new > 0);
    }

    #[test]
    fn a_full_disk_takes_what_lies_within_a_file_and_nothing_behind_it() {
        let mut disk = Disk::new();
        let node = disk.make(ROOT, OsStr::new("a"), false).unwrap();
        disk.write(node, 0, &[0; 100]).unwrap();
        disk.faults.capacity = Some(disk.used() + 4);
        assert_eq!(disk.write(node, 50, &[1; 50]), Ok(50));
        assert_eq!(disk.write(node, 100, &[1; 50]), Ok(4));
        assert_eq!(disk.write(node, 104, &[1; 50]), Err(libc::ENOSPC));
        assert_eq!(disk.set_len(node, 200), Err(libc::ENOSPC));
    }
}
