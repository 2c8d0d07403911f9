//! `firn-server`: a durable server that Redis clients, configuration files and tools can use unchanged.

mod acl;
mod admin;
mod allocator;
mod blocking;
mod client;
mod command;
mod config;
mod daemon;
mod dispatch;
mod execute;
mod import;
mod limits;
mod log;
mod maintenance;
mod net;
mod observe;
mod oom_score;
mod pubsub;
mod resp;
mod scripting;
mod server;
mod session;
mod settings;
mod shutdown;
mod signals;
mod start;
mod stats;
mod storage;
mod supervise;
mod table;
mod title;
mod tracking;

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let args: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    // SAFETY: no other thread runs yet, and the command line was just read for the only time.
    unsafe { title::make_room() };
    start::run(&args)
}
