//! Scripts: EVAL, FCALL and their like.
//!
//! 1. One Lua machine serves all scripts; it is used only under the engine's lock, as scripts run one at a time. It is made when
//!    the first script comes.
//! 2. A script's changes are one record of the log, of effects: the log never holds a script. Libraries of functions are durable state
//!    of the engine, as text ([`firn_engine::libraries`]); the machine's copies are made from it.
//! 3. A script that passes `busy-reply-threshold` is suspended (`fiber`); others get BUSY until it ends or is killed.
//! 4. What scripts see is chosen function by function (`sandbox`); everything that all scripts share is read-only.
//!
//! | file | subject |
//! | --- | --- |
//! | `lua` | the machine and its stack: all `unsafe` but that of `fiber` |
//! | `sandbox`, `api`, `strings`, `sort`, `patterns`, `json`, `msgpack`, `structs`, `bits` | what scripts see |
//! | `convert` | replies of commands as Lua values, Lua values as replies |
//! | `host` | the machine with its compiled scripts and libraries |
//! | `run` | one script's run, and the commands that it calls |
//! | `watch`, `fiber`, `work` | time, and suspending; work of native code |
//! | `shebang` | the first line `#!lua ...` |
//! | `eval`, `script`, `function`, `library` | the commands |

mod api;
mod bits;
mod convert;
mod eval;
mod fiber;
mod function;
mod host;
mod json;
mod library;
mod lua;
mod msgpack;
mod patterns;
mod run;
mod sandbox;
mod script;
mod shebang;
mod sort;
mod strings;
mod structs;
mod watch;
mod words;
mod work;

pub(crate) use eval::only_reads_known;
pub(crate) use fiber::on_fiber;
pub(crate) use shebang::only_reads;
pub(crate) use words::Words;

use crate::command::ServerCommand;
use crate::server::Server;
use firn_engine::waiting::WaiterId;
use host::Host;
use parking_lot::{Mutex, MutexGuard};
use run::Running;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Declarations of the commands.
pub(crate) static COMMANDS: &[&ServerCommand] = &[
    &eval::EVAL,
    &eval::EVALSHA,
    &eval::EVAL_RO,
    &eval::EVALSHA_RO,
    &script::SCRIPT,
    &function::FUNCTION,
    &function::FCALL,
    &function::FCALL_RO,
];

/// What is answered to others while a script is suspended.
pub(crate) const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// As [`BUSY_SCRIPT`], for a function.
pub(crate) const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

/// What all threads know of scripting. There is one per process, until its end.
#[derive(Default)]
pub(crate) struct Scripting {
    /// The machine, once there was a script. Taken only under the engine's lock.
    host: Mutex<Option<Host>>,
    /// A script is suspended.
    busy: AtomicBool,
    /// That script is to end.
    kill: AtomicBool,
    /// The script that runs, or ran last, has called a command that writes.
    wrote: AtomicBool,
    /// What is suspended.
    running: Mutex<Option<Running>>,
    /// Waiters that went away while nobody could have the engine.
    orphans: Mutex<Vec<WaiterId>>,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS.
    pub(crate) allow_denied: AtomicBool,
    /// The record that last changed a library.
    libraries_lsn: AtomicU64,
    /// `script-memory-limit`, looked at when a machine is made.
    memory_limit: AtomicU64,
    /// For INFO.
    pub(crate) numbers: Numbers,
}

/// Numbers for INFO, as of the last script.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Memory of the machine, in bytes.
    pub(crate) machine_bytes: AtomicU64,
    /// Scripts in the cache.
    pub(crate) scripts: AtomicU64,
    /// Bytes of their texts.
    pub(crate) script_bytes: AtomicU64,
    /// Scripts of EVAL that the cache gave up.
    pub(crate) evicted: AtomicU64,
    /// Functions of all libraries.
    pub(crate) functions: AtomicU64,
    /// Libraries.
    pub(crate) libraries: AtomicU64,
}

impl std::fmt::Debug for Scripting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripting").field("busy", &self.busy).finish_non_exhaustive()
    }
}

impl Scripting {
    /// The machine. The engine must be locked.
    fn host(&'static self) -> MutexGuard<'static, Option<Host>> {
        self.host.lock()
    }

    /// Sets `script-memory-limit`, in bytes, for the next machine.
    pub(crate) fn set_memory_limit(&self, bytes: u64) {
        self.memory_limit.store(bytes, Ordering::Relaxed);
    }

    fn machine_limit(&self) -> usize {
        usize::try_from(self.memory_limit.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Whether a script is suspended: then nobody gets the engine.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// [`Scripting::is_busy`], to be watched while waiting for the engine's lock.
    pub(crate) fn busy_flag(&self) -> &AtomicBool {
        &self.busy
    }

    /// What is answered while a script is suspended.
    pub(crate) fn busy_error(&self) -> &'static str {
        let eval = self.running.lock().as_ref().is_none_or(|running| running.eval);
        if eval { BUSY_SCRIPT } else { BUSY_FUNCTION }
    }

    /// A blocked client went away while a script was suspended.
    pub(crate) fn orphan(&self, waiter: WaiterId) {
        self.orphans.lock().push(waiter);
    }

    fn set_busy(&self, running: Option<Running>) {
        *self.running.lock() = running;
        self.busy.store(true, Ordering::Release);
    }

    fn clear_busy(&self) {
        self.busy.store(false, Ordering::Release);
        *self.running.lock() = None;
    }

    /// SCRIPT KILL (`eval`) and FUNCTION KILL.
    ///
    /// # Errors
    /// The error's line.
    fn kill(&self, eval: bool) -> Result<(), &'static str> {
        let running = self.running.lock();
        let Some(running) = &*running else { return Err("NOTBUSY No scripts in execution right now.") };
        if self.wrote.load(Ordering::Acquire) {
            return Err("UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
                        either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.");
        }
        if running.eval != eval {
            return Err(if running.eval { BUSY_SCRIPT } else { BUSY_FUNCTION });
        }
        self.kill.store(true, Ordering::Release);
        Ok(())
    }
}

/// Compiles all libraries that the store holds, at the start: what does not compile is told now, not when it is called.
pub(crate) fn load_libraries(server: &Server) {
    library::reload(server);
}
