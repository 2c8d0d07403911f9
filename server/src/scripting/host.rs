//! The machine with what was compiled for it: scripts by their digests, functions by their names.
//!
//! 1. Scripts that only EVAL brought are given up again, the one used longest ago first, when there are more than [`EVAL_SCRIPTS_MAX`]: a
//!    client that makes up a new text for every call takes no more memory than that. What SCRIPT LOAD brought stays.
//! 2. Libraries follow the engine's: [`Host::libraries`] is what the engine holds, compiled.

use super::lua::{Machine, Raise, Reference, Stack};
use super::shebang::{self, ScriptFlags};
use super::{Scripting, sandbox};
use firn_engine::command::CommandError;
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Scripts that are kept although nobody has loaded them by SCRIPT LOAD.
const EVAL_SCRIPTS_MAX: usize = 500;

/// A script's SHA-1.
pub(super) type Sha = [u8; 20];

/// A compiled script.
pub(super) struct Script {
    /// Its function.
    pub(super) function: Reference,
    /// Its text.
    pub(super) source: Box<[u8]>,
    /// Flags of its first line; `None` without one.
    pub(super) flags: Option<ScriptFlags>,
    /// SCRIPT LOAD has loaded it.
    loaded: bool,
    /// When it was used, in uses of any.
    used: u64,
}

/// A function of a library.
#[derive(Clone, Debug)]
pub(super) struct Function {
    /// The Lua function.
    pub(super) callback: Reference,
    /// What it says of itself.
    pub(super) description: Option<Box<[u8]>>,
    /// Its flags.
    pub(super) flags: ScriptFlags,
}

/// A library, compiled.
#[derive(Debug, Default)]
pub(super) struct Library {
    /// Its functions.
    pub(super) functions: BTreeMap<Box<[u8]>, Function>,
}

/// The machine and what it holds.
pub(super) struct Host {
    /// The machine.
    pub(super) machine: Machine,
    /// Sees errors where they happen.
    pub(super) handler: Reference,
    scripts: HashMap<Sha, Script>,
    /// Bytes of their texts.
    script_bytes: usize,
    uses: u64,
    /// Libraries by name.
    pub(super) libraries: BTreeMap<Box<[u8]>, Library>,
    /// A function and its name, by that name in small letters.
    pub(super) functions: HashMap<Box<[u8]>, (Arc<str>, Function)>,
}

/// Takes the globals KEYS and ARGV away: no other script sees them, and none that is compiled takes them for constants.
pub(super) fn clear_arguments(stack: &mut Stack) {
    stack.push_globals();
    stack.set_read_only(-1, false);
    for name in [c"KEYS", c"ARGV"] {
        stack.push_nil();
        stack.raw_set_field(-2, name);
    }
    stack.set_read_only(-1, true);
    stack.pop(1);
}

impl Host {
    /// A machine without scripts that takes at most `memory_limit` bytes.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn new(memory_limit: usize) -> Result<Host, CommandError> {
        let mut machine = Machine::new(memory_limit);
        let handler = machine.protected(|stack: &mut Stack| {
            sandbox::install(stack)?;
            stack.push_function(sandbox::on_error, c"on_error");
            Ok(stack.keep())
        });
        let handler = handler.map_err(|error| CommandError::text(format!("ERR no Lua machine: {error}")))?;
        Ok(Host {
            machine,
            handler,
            scripts: HashMap::new(),
            script_bytes: 0,
            uses: 0,
            libraries: BTreeMap::new(),
            functions: HashMap::new(),
        })
    }

    /// The script with this digest, as used now.
    pub(super) fn script(&mut self, sha: &Sha) -> Option<&Script> {
        self.uses += 1;
        let script = self.scripts.get_mut(sha)?;
        script.used = self.uses;
        Some(script)
    }

    /// The text of a script.
    pub(super) fn source(&self, sha: &Sha) -> Option<&[u8]> {
        self.scripts.get(sha).map(|script| &*script.source)
    }

    /// Whether there is a script with this digest.
    pub(super) fn has_script(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// Compiles a script, or finds it; `loaded` is SCRIPT LOAD's.
    ///
    /// # Errors
    /// It does not compile.
    pub(super) fn compile(&mut self, scripting: &Scripting, source: &[u8], loaded: bool) -> Result<Sha, CommandError> {
        let sha: Sha = Sha1::digest(source).into();
        if let Some(script) = self.scripts.get_mut(&sha) {
            script.loaded |= loaded;
            return Ok(sha);
        }
        let shebang = shebang::of_script(source)?;
        let function = self.compile_code(&source[shebang.code..], c"@user_script", |error| {
            format!("ERR Error compiling script (new function): {error}")
        })?;
        self.uses += 1;
        let script = Script { function, source: source.into(), flags: shebang.flags, loaded, used: self.uses };
        self.script_bytes += source.len();
        self.scripts.insert(sha, script);
        if !loaded && self.scripts.values().filter(|script| !script.loaded).count() > EVAL_SCRIPTS_MAX {
            let unloaded = self.scripts.iter().filter(|(_, script)| !script.loaded);
            if let Some(oldest) = unloaded.min_by_key(|(_, script)| script.used).map(|(sha, _)| *sha)
                && let Some(script) = self.scripts.remove(&oldest)
            {
                self.machine.stack().forget(script.function);
                self.script_bytes -= script.source.len();
                scripting.numbers.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.publish(scripting);
        Ok(sha)
    }

    /// Compiles code that was not compiled before.
    ///
    /// # Errors
    /// It does not compile; `word` words the error.
    pub(super) fn compile_code(
        &mut self,
        code: &[u8],
        chunk: &std::ffi::CStr,
        word: impl Fn(String) -> String,
    ) -> Result<Reference, CommandError> {
        if code.len() > sandbox::SOURCE_LEN_MAX {
            return Err(CommandError::text(word(format!("the text is longer than {} bytes", sandbox::SOURCE_LEN_MAX))));
        }
        let compiled = self.machine.protected(|stack: &mut Stack| {
            clear_arguments(stack);
            stack.load(code, chunk)?;
            Ok::<_, Raise>(stack.keep())
        });
        if compiled.is_err() {
            self.tidy();
        }
        compiled.map_err(|error| CommandError::text(word(error)))
    }

    /// Forgets all scripts.
    pub(super) fn flush_scripts(&mut self, scripting: &Scripting) {
        for (_, script) in self.scripts.drain() {
            self.machine.stack().forget(script.function);
        }
        self.script_bytes = 0;
        self.machine.collect();
        self.publish(scripting);
    }

    /// What is to be done now and then between scripts. Luau frees memory while scripts run, in step with what they take; but one that
    /// ran out of it leaves a machine in which the next could not even be compiled.
    pub(super) fn tidy(&mut self) {
        self.machine.stack().set_top(0);
        if self.machine.is_crowded() {
            self.machine.collect();
        }
    }

    /// Tells INFO's numbers.
    pub(super) fn publish(&self, scripting: &Scripting) {
        let numbers = &scripting.numbers;
        let set = |number: &std::sync::atomic::AtomicU64, value: usize| number.store(value as u64, Ordering::Relaxed);
        set(&numbers.machine_bytes, self.machine.used_bytes());
        set(&numbers.scripts, self.scripts.len());
        set(&numbers.script_bytes, self.script_bytes);
        set(&numbers.functions, self.functions.len());
        set(&numbers.libraries, self.libraries.len());
    }
}
