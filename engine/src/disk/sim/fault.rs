//! Faults of a simulated disk: which call fails, and how.

use rustix::io::Errno;
use std::fmt;
use std::sync::Arc;

/// The kinds of calls a disk gets, in the order of the traits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // Named as the methods.
pub enum CallKind {
    Open,
    Rename,
    Remove,
    List,
    SyncDir,
    Lock,
    Write,
    Read,
    Len,
    SetLen,
    Preallocate,
    Sync,
    DropCache,
}

impl CallKind {
    /// All kinds.
    pub const ALL: [CallKind; 13] = [
        CallKind::Open,
        CallKind::Rename,
        CallKind::Remove,
        CallKind::List,
        CallKind::SyncDir,
        CallKind::Lock,
        CallKind::Write,
        CallKind::Read,
        CallKind::Len,
        CallKind::SetLen,
        CallKind::Preallocate,
        CallKind::Sync,
        CallKind::DropCache,
    ];

    /// Whether a call of this kind changes what a crash may do, so that crashing before and after it differ.
    pub fn changes(self) -> bool {
        !matches!(self, CallKind::List | CallKind::Lock | CallKind::Read | CallKind::Len)
    }
}

/// One call, for observers, traces and messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Its number on this disk, from 1.
    pub number: u64,
    /// What it does.
    pub kind: CallKind,
    /// The file's name; for a rename the old one; empty for calls on the folder.
    pub name: Arc<str>,
    /// Offset, for reads and writes.
    pub offset: u64,
    /// Length in bytes, for all that have one.
    pub len: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?} {}", self.number, self.kind, self.name)?;
        match self.kind {
            CallKind::Write | CallKind::Read => write!(f, " {}+{}", self.offset, self.len),
            CallKind::SetLen | CallKind::Preallocate => write!(f, " {}", self.len),
            _ => Ok(()),
        }
    }
}

/// Which calls go wrong, counted from when the fault is set, and how.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: Option<CallKind>,
    prefix: String,
    first: u64,
    last: u64,
    effect: Effect,
    seen: u64,
}

/// What goes wrong. Where an effect has no meaning for a call (a short sync), the call is as usual.
#[derive(Clone)]
pub enum Effect {
    /// The call fails and does nothing. A failed sync turns what it was to write into phantoms.
    Error(Errno),
    /// The call does all its work and says that it failed.
    ErrorAfter(Errno),
    /// A sync brings some of its writes to the device, as this seed says, and fails.
    ErrorPartly(Errno, u64),
    /// A read or write of more than this many bytes does only so many.
    Short(usize),
    /// The call waits until this returns: a stalled disk, or a clock that goes on.
    Delay(Arc<dyn Fn() + Send + Sync>),
    /// A sync takes its time: this runs while it is under way, and what is written meanwhile is not part of it, as the cruellest
    /// device does it. (Of [`Effect::Delay`]'s writes it brings all to the device.)
    During(Arc<dyn Fn() + Send + Sync>),
    /// The bit with this number (modulo the length) is flipped: in what a read returns, or in what a write brings to the
    /// device, though reads from the cache show it right.
    FlipBit(u64),
    /// A write lands at this offset of its file on the device; the cache shows it where it belongs.
    Misdirect(u64),
    /// The call says that it succeeded, and the device never hears of it.
    Ignored,
    /// The power fails before the call: it and all later ones fail, the state stays for [`super::DiskState::crash`].
    PowerOff,
}

impl Fault {
    /// The `n`-th call (from 1, of any kind) goes wrong.
    pub fn nth(n: u64, effect: Effect) -> Self {
        Fault { kind: None, prefix: String::new(), first: n, last: n, effect, seen: 0 }
    }

    /// All calls from the `n`-th on go wrong.
    pub fn from_nth(n: u64, effect: Effect) -> Self {
        Fault { last: u64::MAX, ..Fault::nth(n, effect) }
    }

    /// Only calls of this kind count.
    #[must_use]
    pub fn of(self, kind: CallKind) -> Self {
        Fault { kind: Some(kind), ..self }
    }

    /// Only calls on files whose name (when opened) begins so count.
    #[must_use]
    pub fn on(self, prefix: &str) -> Self {
        Fault { prefix: prefix.to_owned(), ..self }
    }

    /// The effect, if it hits this call.
    pub(super) fn meets(&mut self, call: &Call) -> Option<&Effect> {
        if self.kind.is_some_and(|kind| kind != call.kind) || !call.name.starts_with(&self.prefix) {
            return None;
        }
        self.seen += 1;
        (self.first..=self.last).contains(&self.seen).then_some(&self.effect)
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Error(errno) => write!(f, "Error({errno:?})"),
            Effect::ErrorAfter(errno) => write!(f, "ErrorAfter({errno:?})"),
            Effect::ErrorPartly(errno, seed) => write!(f, "ErrorPartly({errno:?}, {seed})"),
            Effect::Short(len) => write!(f, "Short({len})"),
            Effect::Delay(_) => f.write_str("Delay"),
            Effect::During(_) => f.write_str("During"),
            Effect::FlipBit(bit) => write!(f, "FlipBit({bit})"),
            Effect::Misdirect(to) => write!(f, "Misdirect({to})"),
            Effect::Ignored => f.write_str("Ignored"),
            Effect::PowerOff => f.write_str("PowerOff"),
        }
    }
}
