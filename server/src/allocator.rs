//! The allocator of the server: jemalloc built with an 8-byte quantum, and what it says about memory.
//!
//! 1. With that quantum jemalloc has size classes of 8, 16, 24, 32, 40, 48, 56, 64, 80, ... bytes (a 16-byte key with a
//!    16-byte value takes 40, not 48), and promises an alignment of 8 only: every larger alignment is passed explicitly.
//! 2. Sizes are passed back on freeing, so that jemalloc need not look them up.
//! 3. Freed pages go back to the system after a second (`dirty_decay_ms`): index segments change their size class as data
//!    grows, and pages kept for ten seconds, jemalloc's default, would be a tenth of the resident memory. A thread of jemalloc's own
//!    does that: otherwise an unlucky insert would give thousands of pages back first, for milliseconds.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_char, c_int, c_void};
use tikv_jemalloc_sys as jemalloc;

/// jemalloc with every alignment above 8 passed explicitly.
#[derive(Debug)]
pub(crate) struct Allocator;

/// What jemalloc guarantees without being asked: `JEMALLOC_SYS_WITH_LG_QUANTUM = 3` in `.cargo/config.toml`.
const NATURAL_ALIGN: usize = 8;

#[inline]
fn flags(layout: Layout) -> c_int {
    if layout.align() <= NATURAL_ALIGN { 0 } else { jemalloc::MALLOCX_ALIGN(layout.align()) }
}

// SAFETY: mallocx, rallocx and sdallocx are jemalloc's sized interface: blocks do not overlap, live until freed, and have the size
// and the alignment that the flags ask for; none of them unwinds. Callers of GlobalAlloc pass sizes above 0, as mallocx and
// rallocx require, and the layout a block was made with, as sdallocx requires.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a size above 0.
        unsafe { jemalloc::mallocx(layout.size(), flags(layout)).cast() }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a size above 0.
        unsafe { jemalloc::mallocx(layout.size(), flags(layout) | jemalloc::MALLOCX_ZERO).cast() }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that `block` was made with this layout.
        unsafe { jemalloc::sdallocx(block.cast::<c_void>(), layout.size(), flags(layout)) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `block` was made with this layout and that `size` is above 0.
        unsafe { jemalloc::rallocx(block.cast::<c_void>(), size, flags(layout)).cast() }
    }
}

/// jemalloc's settings, read by it before `main`.
#[repr(transparent)]
pub(crate) struct Settings(*const c_char);

// SAFETY: it points to a literal, which nobody writes.
unsafe impl Sync for Settings {}

/// The name under which jemalloc (built with its prefix) looks for settings. Large pages are asked for: a batch's lookups touch lines all
/// over the keyspace, and most of their cost is in translating addresses. (Redis advises against large pages because a write
/// after its fork copies a whole one; Firn does not fork.)
#[unsafe(export_name = "_rjem_malloc_conf")]
pub(crate) static SETTINGS: Settings = Settings(c"dirty_decay_ms:1000,muzzy_decay_ms:0,thp:always".as_ptr());

/// Starts the thread that gives freed pages back. To be called once the process has become what it will be (a fork leaves
/// threads behind). Says whether jemalloc could; without it the threads that free and allocate do that work.
pub(crate) fn start_background_thread() -> bool {
    let mut on = true;
    // SAFETY: this control takes a bool, which is what is passed.
    let result = unsafe {
        jemalloc::mallctl(
            c"background_thread".as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            (&raw mut on).cast(),
            size_of::<bool>(),
        )
    };
    result == 0
}

/// Bytes in blocks handed out and not yet freed, by size class; `None` if jemalloc does not say. Its own figure counts what threads keep
/// for their next blocks as well: hundreds of KB that come and go with what each has just done, and that nobody uses.
pub(crate) fn allocated_bytes() -> Option<u64> {
    refresh();
    // 4096 is MALLCTL_ARENAS_ALL.
    Some(read(c"stats.allocated")?.saturating_sub(read(c"stats.arenas.4096.tcache_bytes")?))
}

/// Bytes in pages that hold such blocks; `None` if jemalloc does not say.
pub(crate) fn active_bytes() -> Option<u64> {
    refresh();
    read(c"stats.active")
}

/// Gives all pages that hold nothing back to the system now (MEMORY PURGE).
pub(crate) fn purge() {
    let name = c"arena.4096.purge"; // 4096 is MALLCTL_ARENAS_ALL.
    // SAFETY: the name ends in 0, and this control takes and gives no data.
    unsafe {
        jemalloc::mallctl(name.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut(), 0);
    }
}

/// Bytes of this process in physical memory; `None` if the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: sysconf only reads a constant of the system.
    let page_len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_len).ok()?)
}

/// Has jemalloc bring its statistics up to date: they are a snapshot of the last "epoch".
fn refresh() {
    let mut epoch: u64 = 1;
    let mut len = size_of::<u64>();
    // SAFETY: `epoch` is a u64 that is read and written within `len` bytes.
    unsafe {
        jemalloc::mallctl(c"epoch".as_ptr(), (&raw mut epoch).cast(), &raw mut len, (&raw mut epoch).cast(), len);
    }
}

fn read(name: &std::ffi::CStr) -> Option<u64> {
    let mut value: usize = 0;
    let mut len = size_of::<usize>();
    // SAFETY: the controls read here give a size_t, which is what `value` and `len` describe.
    let result =
        unsafe { jemalloc::mallctl(name.as_ptr(), (&raw mut value).cast(), &raw mut len, std::ptr::null_mut(), 0) };
    (result == 0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_8_byte_classes_and_alignments_are_kept() {
        for size in [1usize, 8, 36, 40, 100, 2048, 3072, 4096, 5000] {
            for align in [1usize, 8, 16, 64, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is above 0, and the block is freed with its own layout.
                unsafe {
                    let block = Allocator.alloc(layout);
                    assert!(!block.is_null());
                    assert_eq!(block.addr() % align, 0, "{size} bytes aligned to {align}");
                    block.write_bytes(7, size);
                    let block = Allocator.realloc(block, layout, size + 9);
                    assert_eq!((block.addr() % align, block.add(size - 1).read()), (0, 7));
                    Allocator.dealloc(block, Layout::from_size_align(size + 9, align).unwrap());
                }
            }
        }
        // SAFETY: nallocx only computes.
        assert_eq!(unsafe { jemalloc::nallocx(36, 0) }, 40);
    }

    #[test]
    fn statistics_follow_what_is_allocated() {
        let before = allocated_bytes().unwrap();
        // Large, because other tests allocate and free meanwhile.
        let layout = Layout::from_size_align(64 << 20, 8).unwrap();
        // SAFETY: the size is above 0, and the block is freed with its own layout.
        unsafe {
            let block = std::hint::black_box(Allocator.alloc(layout));
            assert!(allocated_bytes().unwrap() >= before + (32 << 20));
            assert!(active_bytes().unwrap() >= 64 << 20);
            Allocator.dealloc(block, layout);
        }
        purge();
        assert!(resident_bytes().unwrap() > 0);
    }
}
