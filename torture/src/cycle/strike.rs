//! The faults themselves, as they meet a server under load. What must hold afterwards is not known here.
//!
//! A power cut of ext4 or XFS takes time (1 to 3 ms), and the shutdown call has a window that no real cut has: an fdatasync that passed
//! ext4's first look before the journal was aborted can find no transaction left to wait for, and returns 0 although its
//! bytes are gone (Linux 6.18: seen in 10 of 120 cuts of a program that only writes and flushes). A machine without power
//! acknowledges nothing; here the server still runs and passes that 0 on. So:
//! 1. In half of these cycles the server is stopped (SIGSTOP, until no thread of it is inside a call) before the cut and goes
//!    on after it: the cut falls between two instants of the server, and every acknowledgement counts.
//! 2. In the others the cut meets flushes under way. What was acknowledged before the call began counts; what was
//!    acknowledged later is unsure, but still part of a prefix of history.
//! 3. In both, under `always` and `no`, and with `--writes-first` under everysec: what was sent after the call had ended is never
//!    acknowledged.
//!
//! A cut of the FUSE layer is one instant, so there every acknowledgement counts.

use super::lane::{Lane, Store};
use super::{Stop, unanswered, wrong};
use crate::fault::Fault;
use crate::fuse::{FuseDisk, disk::Faults};
use crate::judge::Crash;
use crate::load::Shared;
use crate::memory;
use crate::report::Wrong;
use crate::rng::Rng;
use crate::server::{Server, ended};
use crate::stall::Patience;
use crate::stop;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a SIGTERM may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long is waited for a disk fault to be met.
const MET_MAX: Duration = Duration::from_secs(8);
/// How long writes may take to resume when the disk has room again.
const RESUME_MAX: Duration = Duration::from_secs(20);
/// How many writes that need room say that they have resumed. What is sent later is not refused any more.
const RESUMED_MIN: u64 = 20;

fn instant(server: &mut Server) -> io::Result<Crash> {
    let began = Instant::now();
    server.kill()?;
    Ok(Crash { began, ended: Instant::now(), sharp: true, refusing: None })
}

/// The fault itself, while clients write; `longest`: how long they may go on under a slow disk. The server is gone afterwards, or about to
/// be killed.
pub(super) fn strike(
    fault: Fault,
    lane: &Lane,
    server: &mut Server,
    shared: &Shared,
    longest: Duration,
    rng: &mut Rng,
    note: &mut String,
) -> Result<Crash, Stop> {
    let expect_errors = || shared.faulty.store(true, Ordering::SeqCst);
    match fault {
        Fault::KillSnapshot | Fault::KillRewrite => {
            let word: &[u8] = if fault == Fault::KillSnapshot { b"BGSAVE" } else { b"BGREWRITEAOF" };
            let reply = server.connect().and_then(|mut client| client.call(&[word]));
            let reply = reply.map_err(|error| unanswered(server, "a snapshot or rewrite is asked for", &error))?;
            if reply.is_error() {
                *note = reply.to_string();
            }
            std::thread::sleep(Duration::from_micros(rng.below(12_000)));
            Ok(instant(server)?)
        }
        Fault::Term | Fault::KillStart => {
            expect_errors();
            let began = Instant::now();
            match server.terminate(STOP_MAX)? {
                Some(_) => Ok(Crash { began, ended: Instant::now(), sharp: true, refusing: None }),
                None => Err(wrong(Wrong::StopDoesNotEnd, format!("it runs on {STOP_MAX:?} after SIGTERM"))),
            }
        }
        Fault::PowerCut | Fault::PowerCutReordered => {
            expect_errors();
            cut(lane.fuse()?, server, rng, fault == Fault::PowerCutReordered)
        }
        Fault::SlowCut => {
            let fuse = lane.fuse()?;
            fuse.disk().faults.sync_delay = Some(Duration::from_millis(100 + rng.below(1900)));
            stop::sleep(longest.min(Duration::from_millis(200 + rng.below(4800))));
            expect_errors();
            let crash = cut(fuse, server, rng, false);
            fuse.disk().calm();
            crash
        }
        Fault::PowerCutExt4 | Fault::PowerCutXfs => {
            let Store::Image(disk) = &lane.store else {
                return Err(io::Error::other("no file system in a file").into());
            };
            expect_errors();
            let frozen = rng.one_in(2);
            if frozen {
                server.stop()?;
            }
            let began = Instant::now();
            disk.cut()?;
            let ended = Instant::now();
            if frozen {
                server.go_on()?;
            }
            std::thread::sleep(Duration::from_millis(rng.below(60)));
            server.kill()?;
            Ok(Crash { began, ended, sharp: frozen, refusing: None })
        }
        Fault::EioFsync | Fault::EioWrite => {
            expect_errors();
            let fuse = lane.fuse()?;
            let one = |disk: &mut Faults| match fault {
                Fault::EioFsync => disk.fail_syncs = 1,
                _ => disk.fail_writes = 1,
            };
            one(&mut fuse.disk().faults);
            met(fuse, server, note);
            std::thread::sleep(Duration::from_millis(100 + rng.below(300)));
            under_fault(fuse, server, note).map(refusing)
        }
        Fault::EioBlock => {
            expect_errors();
            let Store::Block(disk) = &lane.store else { return Err(io::Error::other("no block device").into()) };
            disk.fail(true)?;
            std::thread::sleep(Duration::from_millis(5 + rng.below(400)));
            disk.fail(false)?;
            // It is well again, and nobody tells the server what the kernel has dropped.
            std::thread::sleep(Duration::from_millis(rng.below(300)));
            let status = server.has_ended();
            let crash = instant(server)?;
            if let Some(status) = status {
                *note = format!("the process ended ({})", ended(status));
            }
            Ok(refusing(crash))
        }
        Fault::FullDisk => full_disk(lane, server, shared, rng, note),
        Fault::SlowSync => {
            let fuse = lane.fuse()?;
            fuse.disk().faults.sync_delay = Some(Duration::from_millis(500 + rng.below(2000)));
            std::thread::sleep(Duration::from_millis(200 + rng.below(1800)));
            under_fault(fuse, server, note)
        }
        Fault::ShortWrite => {
            expect_errors();
            let fuse = lane.fuse()?;
            fuse.disk().faults.short_writes = Some(64);
            std::thread::sleep(Duration::from_millis(20 + rng.below(200)));
            under_fault(fuse, server, note).map(refusing)
        }
        Fault::Oom => {
            expect_errors();
            let began = Instant::now();
            memory::exhaust(server)?;
            Ok(Crash { began, ended: Instant::now(), sharp: true, refusing: None })
        }
        _ => Ok(instant(server)?),
    }
}

/// The power fails while the server runs.
fn cut(fuse: &FuseDisk, server: &mut Server, rng: &mut Rng, reordered: bool) -> Result<Crash, Stop> {
    let began = Instant::now();
    fuse.cut(rng, reordered);
    let crash = Crash { began, ended: Instant::now(), sharp: true, refusing: None };
    // It learns of it in its own way; its later acknowledgements are lies.
    std::thread::sleep(Duration::from_millis(rng.below(60)));
    server.kill()?;
    Ok(crash)
}

/// A crash up to which the server may have refused writes.
fn refusing(crash: Crash) -> Crash {
    Crash { refusing: Some(crash.ended), ..crash }
}

/// kill -9 while the disk misbehaves; notes an end of the process that came before.
fn under_fault(fuse: &FuseDisk, server: &mut Server, note: &mut String) -> Result<Crash, Stop> {
    let status = server.has_ended();
    let crash = instant(server)?;
    if let Some(status) = status {
        *note = format!("the process ended ({})", ended(status));
    }
    fuse.disk().calm();
    Ok(crash)
}

/// Waits until a disk fault was met.
fn met(fuse: &FuseDisk, server: &mut Server, note: &mut String) -> bool {
    let mut patience = Patience::new(MET_MAX);
    while fuse.disk().faults.happened == 0 {
        if patience.is_over() || server.has_ended().is_some() {
            *note = "the fault was not met".into();
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// The disk is full for a while: reads go on, writes resume by themselves when there is room again.
fn full_disk(
    lane: &Lane,
    server: &mut Server,
    shared: &Shared,
    rng: &mut Rng,
    note: &mut String,
) -> Result<Crash, Stop> {
    shared.faulty.store(true, Ordering::SeqCst);
    let fuse = lane.fuse()?;
    {
        let mut disk = fuse.disk();
        disk.faults.capacity = Some(disk.used() + rng.below(64 * 1024));
    }
    let was_met = met(fuse, server, note);
    std::thread::sleep(Duration::from_millis(200 + rng.below(400)));
    if let Some(status) = server.has_ended() {
        fuse.disk().calm();
        return Err(wrong(Wrong::Ended, format!("the disk is full, and the process ended ({})", ended(status))));
    }
    if was_met {
        let answer = server.connect().and_then(|mut client| client.call(&[b"GET", b"none"]));
        if !matches!(&answer, Ok(value) if !value.is_error()) {
            fuse.disk().calm();
            return Err(wrong(Wrong::DoesNotRead, format!("the disk is full, and a GET is answered with {answer:?}")));
        }
    }
    fuse.disk().calm();
    shared.over.store(true, Ordering::SeqCst);
    let (began, mut patience) = (Instant::now(), Patience::new(RESUME_MAX));
    while shared.resumed.load(Ordering::SeqCst) < RESUMED_MIN {
        if let Some(status) = server.has_ended() {
            return Err(wrong(
                Wrong::Ended,
                format!("the disk has room again, and the process ended ({})", ended(status)),
            ));
        }
        if patience.is_over() {
            let text = format!("{RESUME_MAX:?} after the disk has room again no write is accepted");
            return Err(wrong(Wrong::DoesNotResume, text));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let resumed = Instant::now();
    *note = format!("writes resumed after {} ms", (resumed - began).as_millis());
    std::thread::sleep(Duration::from_millis(rng.below(100)));
    Ok(Crash { refusing: Some(resumed), ..instant(server)? })
}
