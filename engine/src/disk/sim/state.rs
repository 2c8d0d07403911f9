//! What a simulated disk holds: what is durable, what is only cached, and what a power cut may make of it.
//!
//! 1. `durable` changes only by a successful sync, or by [`DiskState::edit`] (damage at rest).
//! 2. What a failed sync was to write becomes *phantom*: reads show it until the cache is dropped, no later sync writes it. The
//!    length is not phantom: the next sync makes it durable, over zeros (as ext4 does).
//! 3. A clone is cheap: contents are shared until one side writes.

use crate::disk::chooser::Chooser;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A write is torn only where one of these ends (the atomic unit of a device), in bytes; small writes anywhere.
pub const SECTOR_LEN: u64 = 512;

/// How cruel a power cut is.
#[derive(Clone, Copy, Debug)]
pub struct CrashRules {
    /// A write up to this long may be torn at every byte, not only between sectors.
    pub small_write_len: usize,
    /// Also try each sector of a write on its own, not only beginnings and ends. Only for sampling: 2^sectors outcomes.
    pub scatter: bool,
    /// What stands where a length reached the disk and the data did not: zeros, and with `true` also old garbage.
    pub garbage: bool,
}

impl Default for CrashRules {
    fn default() -> Self {
        CrashRules { small_write_len: 128, scatter: false, garbage: false }
    }
}

/// What garbage looks like: no checksum accepts it, and it is not zero.
const GARBAGE: u8 = 0x5a;

/// One folder's worth of files, with all that a power cut needs to know. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DiskState {
    inodes: Vec<Arc<Inode>>,
    names: Arc<Names>,
    durable_names: Arc<Names>,
    name_ops: Vec<NameOp>,
    /// `names` is not `durable_names` plus `name_ops`: a sync of the folder failed.
    names_phantom: bool,
}

pub(super) type Ino = usize;
type Names = BTreeMap<Arc<str>, Ino>;

#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Create(Arc<str>, Ino),
    Rename(Arc<str>, Arc<str>, Ino),
    Remove(Arc<str>),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads show.
    view: Arc<Vec<u8>>,
    /// What is on the device.
    durable: Arc<Vec<u8>>,
    /// What the next sync brings to the device, in order.
    ops: Vec<Op>,
    /// Lengths since the last sync that differ from the durable one; the last is the current one, unless it went back.
    lengths: Vec<usize>,
    /// `view` is not `durable` plus `ops`.
    phantom: bool,
    /// Blocks in use or reserved reach to here.
    allocated: u64,
    handles: u32,
    /// How often it was synced: whether [`Waiting`] still says what waits.
    syncs: u32,
}

/// What waited for a sync when it began.
pub(super) struct Waiting {
    ops: usize,
    len: usize,
    syncs: u32,
}

#[derive(Clone, Debug)]
enum Op {
    Write { offset: usize, bytes: Arc<[u8]> },
    Cut { len: usize },
}

impl DiskState {
    /// Names of the files as a running process sees them, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// A file's bytes as a running process reads them.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.lookup(name).map(|ino| &self.inodes[ino].view[..])
    }

    /// A file's bytes as they are on the device, if its name is durable.
    pub fn durable_bytes(&self, name: &str) -> Option<&[u8]> {
        self.durable_names.get(name).map(|&ino| &self.inodes[ino].durable[..])
    }

    /// Whether nothing would be lost if the power failed now.
    pub fn is_durable(&self) -> bool {
        let clean = |&ino: &Ino| self.inodes[ino].is_clean() && !self.inodes[ino].phantom;
        self.name_ops.is_empty() && !self.names_phantom && self.names.values().all(clean)
    }

    /// Puts a whole file there, durable at once: for tests that arrange or damage a store.
    pub fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let bytes = Arc::new(bytes);
        let inode = Inode { view: bytes.clone(), allocated: bytes.len() as u64, durable: bytes, ..Inode::default() };
        self.inodes.push(Arc::new(inode));
        let ino = self.inodes.len() - 1;
        Arc::make_mut(&mut self.names).insert(name.into(), ino);
        Arc::make_mut(&mut self.durable_names).insert(name.into(), ino);
    }

    /// Changes a file's durable bytes and what reads show: damage at rest.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let ino = self.lookup(name).unwrap_or_else(|| panic!("no file {name}"));
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        change(Arc::make_mut(&mut inode.view));
        inode.durable = inode.view.clone();
        inode.ops.clear();
        inode.lengths.clear();
        inode.phantom = false;
    }

    /// Takes a file away, durably.
    pub fn erase(&mut self, name: &str) {
        Arc::make_mut(&mut self.names).remove(name);
        Arc::make_mut(&mut self.durable_names).remove(name);
    }

    /// The process dies, the kernel lives: everything stays as it reads, nothing more becomes durable by that.
    pub fn kill(&self) -> DiskState {
        let mut state = self.clone();
        for inode in &mut state.inodes {
            if inode.handles != 0 {
                Arc::make_mut(inode).handles = 0;
            }
        }
        state.collect();
        state
    }

    /// The power fails. Each unsynced write, length and name is kept or not, as `chooser` says.
    pub fn crash(&self, chooser: &mut Chooser, rules: &CrashRules) -> DiskState {
        let mut names = self.durable_names.clone();
        for op in &self.name_ops {
            if chooser.choose(2) == 1 {
                op.apply(Arc::make_mut(&mut names));
            }
        }
        let mut inodes: Vec<Arc<Inode>> = Vec::with_capacity(names.len());
        let mut origins: Vec<Ino> = Vec::with_capacity(names.len());
        let mut moved = Names::new();
        for (name, &ino) in names.iter() {
            // Two names may lead to one file: its creation was kept twice over, of its rename only the new name.
            let to = origins.iter().position(|&other| other == ino).unwrap_or_else(|| {
                origins.push(ino);
                inodes.push(self.inodes[ino].crash(chooser, rules));
                inodes.len() - 1
            });
            moved.insert(name.clone(), to);
        }
        let names = Arc::new(moved);
        DiskState { inodes, durable_names: names.clone(), names, name_ops: Vec::new(), names_phantom: false }
    }

    /// How many outcomes [`DiskState::crash`] has at most (saturating): whether to enumerate or to sample.
    pub fn crash_outcomes(&self, rules: &CrashRules) -> u64 {
        let mut reachable: Vec<Ino> = self.durable_names.values().copied().collect();
        reachable.extend(self.name_ops.iter().filter_map(NameOp::ino));
        reachable.sort_unstable();
        reachable.dedup();
        let names = 1u64.checked_shl(self.name_ops.len() as u32).unwrap_or(u64::MAX);
        reachable.into_iter().fold(names, |product, ino| product.saturating_mul(self.inodes[ino].outcomes(rules)))
    }

    pub(super) fn lookup(&self, name: &str) -> Option<Ino> {
        self.names.get(name).copied()
    }

    pub(super) fn create(&mut self, name: &Arc<str>, reaches_disk: bool) -> Ino {
        self.inodes.push(Arc::default());
        let ino = self.inodes.len() - 1;
        self.rename_op(NameOp::Create(name.clone(), ino), reaches_disk);
        ino
    }

    pub(super) fn rename_op(&mut self, op: NameOp, reaches_disk: bool) {
        op.apply(Arc::make_mut(&mut self.names));
        if reaches_disk {
            self.name_ops.push(op);
        } else {
            self.names_phantom = true;
        }
        self.collect();
    }

    pub(super) fn sync_names(&mut self) {
        if self.names_phantom {
            let durable = Arc::make_mut(&mut self.durable_names);
            self.name_ops.drain(..).for_each(|op| op.apply(durable));
        } else {
            self.name_ops.clear();
            self.durable_names = self.names.clone();
        }
        self.collect();
    }

    /// How many changes of names wait for a sync.
    pub(super) fn waiting_names(&self) -> usize {
        self.name_ops.len()
    }

    /// [`DiskState::sync_names`] of the first `count` changes: others came while it was under way.
    pub(super) fn sync_names_before(&mut self, count: usize) {
        if count == self.name_ops.len() {
            return self.sync_names();
        }
        let durable = Arc::make_mut(&mut self.durable_names);
        self.name_ops.drain(..count).for_each(|op| op.apply(durable));
        self.collect();
    }

    /// A sync of the folder failed: what it was to bring to the device never gets there, but for what `chooser` keeps.
    pub(super) fn fail_sync_names(&mut self, mut chooser: Option<Chooser>) {
        for op in std::mem::take(&mut self.name_ops) {
            if chooser.as_mut().is_some_and(|chooser| chooser.choose(2) == 1) {
                op.apply(Arc::make_mut(&mut self.durable_names));
            } else {
                self.names_phantom = true;
            }
        }
    }

    pub(super) fn open_handle(&mut self, ino: Ino) {
        Arc::make_mut(&mut self.inodes[ino]).handles += 1;
    }

    pub(super) fn close_handle(&mut self, ino: Ino) {
        Arc::make_mut(&mut self.inodes[ino]).handles -= 1;
        self.collect();
    }

    pub(super) fn view(&self, ino: Ino) -> &[u8] {
        &self.inodes[ino].view
    }

    /// Bytes of blocks in use.
    pub(super) fn used(&self) -> u64 {
        let named: std::collections::BTreeSet<Ino> = self.names.values().copied().collect();
        let in_use = |ino: &Ino| named.contains(ino) || self.inodes[*ino].handles > 0;
        (0..self.inodes.len()).filter(in_use).map(|ino| self.inodes[ino].allocated).sum()
    }

    pub(super) fn allocated(&self, ino: Ino) -> u64 {
        self.inodes[ino].allocated
    }

    pub(super) fn reserve(&mut self, ino: Ino, len: u64) {
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        inode.allocated = inode.allocated.max(len);
    }

    /// Writes into the cache; the device will get `lands` (offset and bytes), or nothing.
    pub(super) fn write(&mut self, ino: Ino, offset: usize, bytes: &[u8], lands: Option<(usize, Arc<[u8]>)>) {
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        let end = offset + bytes.len();
        let view = Arc::make_mut(&mut inode.view);
        if end > view.len() {
            view.resize(end, 0);
            inode.note_len();
        }
        Arc::make_mut(&mut inode.view)[offset..end].copy_from_slice(bytes);
        inode.allocated = inode.allocated.max(end as u64);
        inode.phantom |= !matches!(&lands, Some((to, what)) if *to == offset && **what == *bytes);
        if let Some((offset, bytes)) = lands {
            inode.ops.push(Op::Write { offset, bytes });
        }
    }

    pub(super) fn set_len(&mut self, ino: Ino, len: usize) {
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        if len < inode.view.len() {
            inode.ops.push(Op::Cut { len });
            inode.allocated = len as u64;
        } else if len == inode.view.len() {
            inode.allocated = len as u64; // As ext4 and XFS: blocks reserved behind the end are given back.
            return;
        }
        Arc::make_mut(&mut inode.view).resize(len, 0);
        inode.note_len();
    }

    pub(super) fn sync(&mut self, ino: Ino) {
        if self.inodes[ino].is_clean() {
            return;
        }
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        if inode.phantom {
            inode.durable = inode.without_phantoms();
        } else {
            inode.durable = inode.view.clone();
        }
        inode.ops.clear();
        inode.lengths.clear();
        inode.syncs += 1;
    }

    /// What waits for a sync of a file now.
    pub(super) fn waiting(&self, ino: Ino) -> Waiting {
        let inode = &self.inodes[ino];
        Waiting { ops: inode.ops.len(), len: inode.view.len(), syncs: inode.syncs }
    }

    /// [`DiskState::sync`] of what waited `before`: other writes came while it was under way.
    pub(super) fn sync_before(&mut self, ino: Ino, before: &Waiting) {
        if self.inodes[ino].syncs != before.syncs {
            return; // A later sync was faster, and had all of it.
        }
        if self.inodes[ino].ops.len() == before.ops && self.inodes[ino].view.len() == before.len {
            return self.sync(ino);
        }
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        let later = inode.ops.split_off(before.ops);
        inode.durable = inode.without_phantoms();
        Arc::make_mut(&mut inode.durable).resize(before.len, 0);
        inode.ops = later;
        // Lengths of before are history; those of since are above, or the newest.
        inode.lengths.retain(|&len| len > before.len);
        inode.note_len();
        inode.syncs += 1;
    }

    /// A sync failed: what it was to write never gets there, but for what `chooser` keeps.
    pub(super) fn fail_sync(&mut self, ino: Ino, chooser: Option<Chooser>) {
        if self.inodes[ino].is_clean() {
            return;
        }
        let inode = Arc::make_mut(&mut self.inodes[ino]);
        if let Some(mut chooser) = chooser {
            inode.durable = inode.keep_some(&mut chooser, &CrashRules::default(), None);
        }
        inode.phantom |= !inode.ops.is_empty();
        inode.ops.clear();
    }

    pub(super) fn drop_cache(&mut self, ino: Ino) {
        if self.inodes[ino].phantom {
            let inode = Arc::make_mut(&mut self.inodes[ino]);
            inode.view = inode.without_phantoms();
            inode.phantom = false;
        }
    }

    /// Frees the content of files that nothing refers to any more.
    fn collect(&mut self) {
        for ino in 0..self.inodes.len() {
            let inode = &self.inodes[ino];
            if inode.handles > 0 || (inode.view.is_empty() && inode.durable.is_empty() && inode.ops.is_empty()) {
                continue;
            }
            let named = self.names.values().chain(self.durable_names.values()).any(|&other| other == ino);
            if !named && !self.name_ops.iter().any(|op| op.ino() == Some(ino)) {
                self.inodes[ino] = Arc::default();
            }
        }
    }
}

impl NameOp {
    fn apply(&self, names: &mut Names) {
        match self {
            NameOp::Create(name, ino) => {
                names.insert(name.clone(), *ino);
            }
            NameOp::Rename(from, to, ino) => {
                names.remove(from);
                names.insert(to.clone(), *ino);
            }
            NameOp::Remove(name) => {
                names.remove(name);
            }
        }
    }

    fn ino(&self) -> Option<Ino> {
        match self {
            NameOp::Create(_, ino) | NameOp::Rename(_, _, ino) => Some(*ino),
            NameOp::Remove(_) => None,
        }
    }
}

impl Inode {
    /// Nothing waits for a sync.
    fn is_clean(&self) -> bool {
        self.ops.is_empty() && self.lengths.is_empty()
    }

    fn note_len(&mut self) {
        let len = self.view.len();
        self.lengths.retain(|&known| known != len);
        if len != self.durable.len() {
            self.lengths.push(len);
        }
    }

    /// Durable bytes plus what waits for a sync: what a read shows when the cache is dropped.
    fn without_phantoms(&self) -> Arc<Vec<u8>> {
        let mut bytes = self.durable.to_vec();
        for op in &self.ops {
            match op {
                Op::Write { offset, bytes: written } => overlay(&mut bytes, *offset, written, 0),
                Op::Cut { len } => bytes.truncate(*len),
            }
        }
        bytes.resize(self.view.len(), 0);
        Arc::new(bytes)
    }

    fn crash(&self, chooser: &mut Chooser, rules: &CrashRules) -> Arc<Inode> {
        let bytes = if self.is_clean() {
            self.durable.clone()
        } else {
            let choice = chooser.choose(self.lengths.len() as u32 + 1) as usize;
            let len = if choice == 0 { self.durable.len() } else { self.lengths[choice - 1] };
            self.keep_some(chooser, rules, Some(len))
        };
        Arc::new(Inode { view: bytes.clone(), allocated: bytes.len() as u64, durable: bytes, ..Inode::default() })
    }

    /// The durable bytes with some of the waiting writes; `None` as length: as long as what was kept asks for.
    fn keep_some(&self, chooser: &mut Chooser, rules: &CrashRules, len: Option<usize>) -> Arc<Vec<u8>> {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let fill = if rules.garbage && longest > self.durable.len() && chooser.choose(2) == 1 { GARBAGE } else { 0 };
        let mut bytes = self.durable.to_vec();
        for op in &self.ops {
            match op {
                Op::Cut { len } => {
                    if chooser.choose(2) == 1 {
                        bytes.truncate(*len);
                    }
                }
                Op::Write { offset, bytes: written } => {
                    let cuts = Cuts::of(*offset, written.len(), rules);
                    match chooser.choose(cuts.kinds(rules)) {
                        0 => {}
                        1 => overlay(&mut bytes, *offset, written, fill),
                        2 => {
                            let choice = chooser.choose(2 * cuts.count as u32) as usize;
                            let cut = cuts.at(choice / 2);
                            if choice.is_multiple_of(2) {
                                overlay(&mut bytes, *offset, &written[..cut], fill);
                            } else {
                                overlay(&mut bytes, *offset + cut, &written[cut..], fill);
                            }
                        }
                        _ => {
                            let mut from = 0;
                            for part in 0..=cuts.count {
                                let to = if part == cuts.count { written.len() } else { cuts.at(part) };
                                if chooser.choose(2) == 1 {
                                    overlay(&mut bytes, *offset + from, &written[from..to], fill);
                                }
                                from = to;
                            }
                        }
                    }
                }
            }
        }
        if let Some(len) = len {
            bytes.resize(len, fill);
        }
        Arc::new(bytes)
    }

    fn outcomes(&self, rules: &CrashRules) -> u64 {
        if self.is_clean() {
            return 1;
        }
        let garbage = if rules.garbage { 2 } else { 1 };
        let lengths = self.lengths.len() as u64 + 1;
        self.ops.iter().fold(garbage * lengths, |product, op| {
            product.saturating_mul(match op {
                Op::Cut { .. } => 2,
                Op::Write { offset, bytes } => {
                    let cuts = Cuts::of(*offset, bytes.len(), rules);
                    let scattered = if cuts.kinds(rules) == 4 { 1u64 << (cuts.count + 1).min(40) } else { 0 };
                    2 + 2 * cuts.count as u64 + scattered
                }
            })
        })
    }
}

/// Where a write may be torn: offsets within it.
struct Cuts {
    first: usize,
    step: usize,
    count: usize,
}

impl Cuts {
    fn of(offset: usize, len: usize, rules: &CrashRules) -> Cuts {
        if len <= rules.small_write_len {
            return Cuts { first: 1, step: 1, count: len.saturating_sub(1) };
        }
        let sector = SECTOR_LEN as usize;
        let first = sector - offset % sector;
        let count = if first < len { (len - first).div_ceil(sector) } else { 0 };
        Cuts { first, step: sector, count }
    }

    fn at(&self, index: usize) -> usize {
        self.first + index * self.step
    }

    /// Lost, whole, torn, scattered: as far as they differ.
    fn kinds(&self, rules: &CrashRules) -> u32 {
        match self.count {
            0 => 2,
            1 => 3,
            _ if rules.scatter && self.step > 1 => 4,
            _ => 3,
        }
    }
}

fn overlay(bytes: &mut Vec<u8>, offset: usize, written: &[u8], fill: u8) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, fill);
    }
    bytes[offset..end].copy_from_slice(written);
}
