//! How long the disk, or the machine, held a server up: what `everysec` may lose grows by that.
//!
//! 1. A server's threads are looked at every [`LOOK`], in `/proc`. One that is found asleep in the same flush or write at two looks
//!    was in it in between; so the measure is short by up to two looks for each call, never long by more than what lies between.
//! 2. A look that comes late says that the machine had no time for this thread, nor, it is assumed, for the server's.
//! 3. Of a server that may not be looked at nothing is known ([`watch`] gives `None`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A wait with a limit in which only time counts that this process had as well: where a machine, or both processes, were stopped for
/// a while, the server had no time to do what is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    looked: Instant,
}

/// What a single look at [`Patience`] counts for at most; whoever waits looks more often.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(5);

impl Patience {
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience { left: limit, looked: Instant::now() }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        self.left = self.left.saturating_sub((now - self.looked).min(LOOK_MAX));
        self.looked = now;
        self.left.is_zero()
    }
}

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// A look that comes so much later than it should tells of a busy machine.
const LATE: Duration = Duration::from_millis(20);

/// The calls in which a disk holds a thread up.
const CALLS: [libc::c_long; 8] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
];

/// Times in which a server was held up, one after the other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stalls(Vec<(Instant, Instant)>);

impl Stalls {
    fn add(&mut self, from: Instant, to: Instant) {
        match self.0.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(to),
            _ => self.0.push((from, to)),
        }
    }

    /// How much of the time between these two was stalled.
    pub(crate) fn within(&self, from: Instant, to: Instant) -> Duration {
        self.0.iter().map(|&(begin, end)| end.min(to).saturating_duration_since(begin.max(from))).sum()
    }

    /// The moment from which on there was `wanted` time without a stall until `end`.
    pub(crate) fn back(&self, end: Instant, wanted: Duration) -> Instant {
        let (mut at, mut left) = (end, wanted);
        for &(stall_began, stall_ended) in self.0.iter().rev().filter(|stall| stall.0 < end) {
            let free = at.saturating_duration_since(stall_ended);
            if free >= left {
                break;
            }
            left -= free;
            at = at.min(stall_began);
        }
        at.checked_sub(left).unwrap_or(at)
    }
}

/// The threads of some processes that are asleep in one of [`CALLS`], and in which.
fn held_up(pids: &[u32]) -> std::io::Result<HashMap<String, libc::c_long>> {
    let is_gone = |error: &std::io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH));
    let mut found = HashMap::new();
    for pid in pids {
        let tasks = match std::fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(tasks) => tasks,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        for task in tasks {
            let task = task?;
            let call = match std::fs::read_to_string(task.path().join("syscall")) {
                Ok(call) => call,
                // The thread ended.
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            // "75 0x4 ...", or "running".
            let call = call.split_whitespace().next().and_then(|number| number.parse().ok());
            if let Some(call) = call.filter(|call| CALLS.contains(call)) {
                found.insert(task.file_name().to_string_lossy().into_owned(), call);
            }
        }
    }
    Ok(found)
}

/// Looks at a server's processes until `done`, or until they have ended.
pub(crate) fn watch(pids: &[u32], done: &AtomicBool) -> Option<Stalls> {
    let mut stalls = Stalls::default();
    let (mut before, mut before_at) = (held_up(pids).ok()?, Instant::now());
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let at = Instant::now();
        let now = held_up(pids).unwrap_or_default();
        if now.iter().any(|(thread, call)| before.get(thread) == Some(call)) {
            stalls.add(before_at, at);
        } else if at - before_at > LOOK + LATE {
            stalls.add(before_at + LOOK, at);
        }
        (before, before_at) = (now, at);
    }
    Some(stalls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_back_without_the_stalls() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let mut stalls = Stalls::default();
        for (from, to) in [(100, 200), (200, 250), (400, 500), (900, 950)] {
            stalls.add(at(from), at(to));
        }
        assert_eq!(stalls.0.len(), 3);
        assert_eq!(stalls.within(at(150), at(450)), Duration::from_millis(150));
        let back = |end, wanted| stalls.back(at(end), Duration::from_millis(wanted));
        assert_eq!(back(800, 200), at(600));
        assert_eq!(back(800, 350), at(350), "over one stall");
        assert_eq!(back(800, 500), at(50), "over two");
        assert_eq!(back(450, 10), at(390), "from within one");
        assert_eq!(back(300, 20), at(280));
    }

    #[test]
    fn a_long_stop_is_not_taken_for_a_long_wait() {
        let mut patience = Patience::new(3 * LOOK_MAX);
        for is_over in [false, false, true] {
            // A minute passes unseen.
            patience.looked = Instant::now().checked_sub(Duration::from_secs(60)).expect("the machine runs that long");
            assert_eq!(patience.is_over(), is_over);
        }
        assert!(Patience::new(Duration::ZERO).is_over());
    }

    #[test]
    fn a_thread_asleep_in_a_write_is_seen() {
        let (done, mut ends) = (AtomicBool::new(false), [0; 2]);
        // SAFETY: the call writes two descriptors to where it is told.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        std::thread::scope(|scope| {
            let looked = scope.spawn(|| watch(&[std::process::id()], &done));
            // A pipe that nobody reads takes 64 KB, and holds its writer up after that.
            let writer = scope.spawn(move || {
                let bytes = [0_u8; 100_000];
                // SAFETY: the descriptor is open until the reader below has closed its end; the bytes are there.
                unsafe { libc::write(ends[1], bytes.as_ptr().cast(), bytes.len()) }
            });
            std::thread::sleep(Duration::from_millis(300));
            // SAFETY: this end is nobody else's; the writer gets EPIPE, or what it has written.
            unsafe { libc::close(ends[0]) };
            writer.join().expect("it ends");
            done.store(true, Ordering::Relaxed);
            let stalls = looked.join().expect("it ends").expect("a process may look at itself");
            assert!(!stalls.0.is_empty());
        });
        // SAFETY: the writer has ended.
        unsafe { libc::close(ends[1]) };
    }
}
