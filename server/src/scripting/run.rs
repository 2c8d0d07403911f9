//! One script's run: what it may do, and the commands that it calls.
//!
//! 1. The run owns the client's state and the engine's lock while Lua code runs; the code reaches it through [`with`], one call at a time.
//! 2. All changes of a run go into one record, whatever becomes of the script afterwards, as in Redis: a script that fails does not
//!    undo what it has done.
//! 3. Commands that wait, or that let the engine go, cannot be called.

use super::{Scripting, Words, watch};
use crate::acl::{self, Gate};
use crate::client::Client;
use crate::command::{After, EngineLock, ServerCall};
use crate::dispatch::{self, Plan, Verdict};
use crate::observe::monitor;
use crate::resp::writer::Writer;
use crate::server::Server;
use crate::table::Runner;
use crate::tracking;
use firn_engine::command::{Args, Blocking, Flags, Group, Reply, Session};
use firn_engine::eviction::{OUT_OF_MEMORY, Room};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a script has declared, or what follows from how it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rights {
    /// Commands that write are refused.
    pub(super) read_only: bool,
    /// Memory above the limit does not matter.
    pub(super) allow_oom: bool,
}

/// A script's run.
pub(super) struct Run {
    server: Arc<Server>,
    client: Client,
    lock: EngineLock,
    /// The script's own session: it may select another database without its client noticing.
    session: Session,
    /// The protocol in which commands answer it.
    resp: u8,
    rights: Rights,
    /// Memory was above the limit when it began.
    out_of_memory: bool,
    wrote: bool,
    /// Replies of its commands, one at a time.
    out: Vec<u8>,
    about: Running,
}

/// Shows a command that runs a script to MONITOR before those that the script calls.
pub(super) fn show(call: &mut ServerCall<'_, '_>, words: &[&[u8]]) {
    if call.server.monitors.any() {
        let source = monitor::source(&call.client.info);
        call.server.monitors.show(call.lock, call.client.session.db, &source, words);
    }
}

/// What is known of a script that runs.
#[derive(Clone)]
pub(super) struct Running {
    /// The script's digest, or the function's name.
    pub(super) name: Cow<'static, str>,
    /// The words of its command.
    pub(super) words: Words,
    /// When it began.
    pub(super) began: Instant,
    /// It is a script, not a function.
    pub(super) eval: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Box<Run>>> = const { RefCell::new(None) };
}

/// What runs in this thread.
pub(super) fn describe() -> Option<Running> {
    CURRENT.with_borrow(|run| run.as_ref().map(|run| run.about.clone()))
}

/// Gives the running script's run to `function`; `None` outside of a script.
pub(super) fn with<T>(function: impl FnOnce(&mut Run) -> T) -> Option<T> {
    let mut run = CURRENT.take()?;
    let result = function(&mut run);
    CURRENT.set(Some(run));
    Some(result)
}

/// Keys and arguments within a command's words.
pub(super) struct Places {
    /// Of the keys.
    pub(super) keys: Range<usize>,
    /// Of the arguments.
    pub(super) arguments: Range<usize>,
}

/// Runs `script` as a script with these rights; it reaches the run by [`with`].
pub(super) fn as_script<T>(
    call: &mut ServerCall<'_, '_>,
    rights: Rights,
    about: Running,
    script: impl FnOnce(&Words) -> T,
) -> T {
    let server = call.server.clone();
    let scripting: &'static Scripting = server.scripting;
    let settings = server.settings.get();
    let out_of_memory = !rights.allow_oom && server.make_room(call.lock.get(), 0) == Room::OutOfMemory;
    let limit = (settings.busy_reply_ms > 0).then(|| Duration::from_millis(settings.busy_reply_ms));
    scripting.kill.store(false, Ordering::Relaxed);
    scripting.wrote.store(false, Ordering::Relaxed);
    let engine = call.lock.get();
    let nested = engine.in_transaction();
    if !nested {
        engine.begin_transaction();
    }
    let (eval, name) = (about.eval, about.name.to_string());
    let words = about.words.clone();
    let session = Session {
        db: call.client.session.db,
        client: call.client.session.client,
        blocking: Blocking::Never,
        ordered: true,
        ..Session::default()
    };
    let mut lock = call.lock.take();
    lock.pin(true);
    let client = call.client.take();
    let resp = 2;
    let run = Run { server, client, lock, session, resp, rights, out_of_memory, wrote: false, out: Vec::new(), about };
    CURRENT.set(Some(Box::new(run)));
    watch::begin(watch::Watched::Script { scripting, limit, eval, name });
    let result = script(&words);
    let looked = watch::end();
    let Some(run) = CURRENT.take() else { unreachable!("whoever took the run has put it back") };
    let Run { client, mut lock, session, .. } = *run;
    lock.pin(false);
    *call.lock = lock;
    *call.client = client;
    let engine = call.lock.get();
    let orphans = std::mem::take(&mut *scripting.orphans.lock());
    for waiter in orphans {
        engine.waiting.remove(waiter);
    }
    let promise = &mut call.client.session.promise;
    *promise = (*promise).max(session.promise);
    if !nested {
        engine.end_transaction(&mut call.client.session);
    }
    if looked {
        call.lock.wind_clock();
    }
    result
}

/// Why a script cannot call a command.
pub(super) type Refusal = Cow<'static, str>;

impl Run {
    /// The protocol in which commands answer.
    pub(super) fn resp(&self) -> u8 {
        self.resp
    }

    /// `redis.setresp`.
    pub(super) fn set_resp(&mut self, resp: u8) {
        self.resp = resp;
    }

    /// The reply of the last command, as bytes; to be given back with [`Run::give_back`].
    pub(super) fn take_reply(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Takes the buffer of [`Run::take_reply`] back.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        const KEPT: usize = 1 << 20;
        if buffer.capacity() <= KEPT {
            self.out = buffer;
        }
    }

    /// Calls a command; [`Run::take_reply`] has its reply then.
    ///
    /// # Errors
    /// It cannot be called.
    pub(super) fn command(&mut self, words: &[&[u8]]) -> Result<(), Refusal> {
        watch::spend();
        let mut plan = dispatch::plan(&self.server.commands, words, &self.server.seed);
        if let Err(refusal) = self.may_call(&plan, words) {
            if plan.verdict == Verdict::Run {
                plan.verdict = Verdict::Refused;
            }
            if let Some(stats) = plan.stats(&self.server.commands) {
                stats.rejected.fetch_add(1, Ordering::Relaxed);
            }
            return Err(refusal);
        }
        let server = &self.server;
        if plan.flags.has(Flags::WRITE) && !self.wrote {
            self.wrote = true;
            server.scripting.wrote.store(true, Ordering::Release);
        }
        if server.monitors.any() && !plan.flags.has(Flags::SKIP_MONITOR) && !plan.flags.has(Flags::ADMIN) {
            server.monitors.show(&mut self.lock, self.session.db, "lua", words);
        }
        self.out.clear();
        let mut writer = Writer::new(&mut self.out, self.resp, &server.stats);
        let args = Args::with_position(words, plan.key, plan.position);
        let entry = server.commands.entry(plan.entry);
        // Commands of constant cost are part of the script's own time: looking at the clock takes as long as some of them.
        let began = (!entry.brief).then(Instant::now);
        let refusal = match entry.runner {
            Runner::Data(command) => {
                let engine = self.lock.get();
                engine.execute(&mut self.session, command, &args, &mut writer);
                if self.client.tracking.is_some() {
                    tracking::remember(engine, &self.client, entry.spec, plan.flags, words);
                }
                None
            }
            Runner::Server(command) => {
                std::mem::swap(&mut self.client.session, &mut self.session);
                let mut call = ServerCall { server, client: &mut self.client, lock: &mut self.lock };
                let after = (command.run)(&mut call, &args, &mut writer);
                std::mem::swap(&mut self.client.session, &mut self.session);
                match after {
                    Ok(After::Nothing) => None,
                    Ok(After::Close | After::Await(_) | After::Postpone(_)) => Some(NOT_ALLOWED.into()),
                    Err(error) => {
                        writer.error(&error.to_string());
                        None
                    }
                }
            }
        };
        let failed = writer.errors > 0;
        server.stats.commands_processed.fetch_add(1, Ordering::Relaxed);
        if let Some(stats) = plan.stats(&server.commands) {
            let nanos = began.map_or(0, |began| began.elapsed().as_nanos() as u64);
            watch::spend_nanos(nanos);
            stats.ran(1, nanos, began.is_some() && server.observe.tracking());
            stats.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
            if began.is_some() && server.observe.is_notable(nanos) {
                server.observe.ran(&plan, words, &self.client.info, nanos);
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Counts an error that a command did not write.
    pub(super) fn count_error(&self, line: &[u8]) {
        self.server.stats.count_error(line);
    }

    /// Whether the script may call the command of `plan`.
    fn may_call(&mut self, plan: &Plan, words: &[&[u8]]) -> Result<(), Refusal> {
        match plan.verdict {
            Verdict::Run => {}
            Verdict::Arity => return Err("Wrong number of args calling Redis command from script".into()),
            _ => return Err("Unknown Redis command called from script".into()),
        }
        let flags = plan.flags;
        if !self.is_for_scripts(plan, words) {
            return Err(NOT_ALLOWED.into());
        }
        permits(&self.server, &self.client, plan, words, true)?;
        if self.rights.read_only && (flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)) {
            return Err("Write commands are not allowed from read-only scripts.".into());
        }
        if self.wrote {
            // Nothing but the command itself stops a script in the middle of its changes.
            return Ok(());
        }
        if let Some(why) = self.lock.get().refuses_flags(flags) {
            return Err(format!("-{why}").into());
        }
        if self.out_of_memory && flags.has(Flags::DENYOOM) {
            return Err(Cow::Owned(format!("-{OUT_OF_MEMORY}")));
        }
        Ok(())
    }

    /// Whether any script may call the command of `plan`: it answers at once and does not let the engine go.
    fn is_for_scripts(&self, plan: &Plan, words: &[&[u8]]) -> bool {
        let entry = self.server.commands.entry(plan.entry);
        if plan.flags.has(Flags::NOSCRIPT) {
            return self.server.scripting.allow_denied.load(Ordering::Relaxed)
                && DENIED_KEEP_ENGINE
                    .iter()
                    .any(|(name, sub)| *name == entry.spec.name && words[1].eq_ignore_ascii_case(sub.as_bytes()));
        }
        entry.is_data() || entry.spec.group != Group::Server || KEEP_ENGINE.contains(&entry.spec.name)
    }

    /// `redis.acl_check_cmd`: whether the client may call a command; `None` if there is no such command.
    pub(super) fn may_client_call(&self, words: &[&[u8]]) -> Option<bool> {
        let plan = dispatch::plan(&self.server.commands, words, &self.server.seed);
        match plan.verdict {
            Verdict::Unknown | Verdict::UnknownSubcommand => None,
            _ => Some(permits(&self.server, &self.client, &plan, words, false).is_ok()),
        }
    }
}

/// Commands that administer the server and do not let the engine go: a script may call them.
const KEEP_ENGINE: &[&str] = &["COMMAND", "COMMANDLOG", "INFO", "LASTSAVE", "LOLWUT", "MEMORY", "SLOWLOG", "TIME"];
/// What is denied to scripts, but could be called, and is while DEBUG SET-DISABLE-DENY-SCRIPTS says so.
const DENIED_KEEP_ENGINE: &[(&str, &str)] = &[
    ("CLIENT", "GETNAME"),
    ("CLIENT", "ID"),
    ("CLIENT", "INFO"),
    ("CLIENT", "LIST"),
    ("DEBUG", "DIGEST"),
    ("DEBUG", "DIGEST-VALUE"),
    ("DEBUG", "ERROR"),
    ("DEBUG", "OBJECT"),
    ("DEBUG", "PROTOCOL"),
    ("DEBUG", "SET-ACTIVE-EXPIRE"),
    ("DEBUG", "SLEEP"),
];
const NOT_ALLOWED: &str = "This Redis command is not allowed from script";

/// Whether the user of `client` may call the command of `plan` with these words; `note` has a denial noted in ACL LOG.
///
/// # Errors
/// Why not.
fn permits(server: &Server, client: &Client, plan: &Plan, words: &[&[u8]], note: bool) -> Result<(), Refusal> {
    if client.gate == Gate::Open {
        return Ok(());
    }
    acl::check(server, &client.user, plan, words).map_err(|denied| {
        if note {
            acl::note_denied(server, client, plan, words, denied, acl::Context::Lua);
        }
        let reason = denied.reason(&client.user, acl::command_name(server, plan));
        format!("-NOPERM ACL failure in script: {reason}").into()
    })
}
