//! Libraries of functions: compiled copies of those that the engine holds as text.
//!
//! 1. A library counts as a whole: its body runs, registers functions, and only if all is well it takes the place of an older one.
//! 2. Names of functions are unique over all libraries, in any case of letters.
//! 3. What the engine holds did compile once. If a later release cannot compile it any more, it stays stored and is told in the log; its
//!    functions are not found.

use super::host::{Function, Host, Library};
use super::lua::{Answer, Kind, Raise, Reference, Stack};
use super::sandbox::SOURCE_LEN_MAX;
use super::shebang::ScriptFlags;
use super::watch::{self, Watched};
use crate::log;
use crate::server::Server;
use firn_engine::command::CommandError;
use firn_engine::keyspace::libraries::{BadLibrary, Libraries, Metadata, is_name};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the body of a library has registered.
#[derive(Default)]
struct Registered {
    functions: BTreeMap<Box<[u8]>, Function>,
    /// Bytes of their names and descriptions, which a body of few lines makes as long and as many as it likes.
    text_len: usize,
}

thread_local! {
    /// Of the library whose body runs.
    static REGISTERED: RefCell<Option<Registered>> = const { RefCell::new(None) };
}

/// Whether the body of a library runs.
pub(super) fn is_loading() -> bool {
    REGISTERED.with_borrow(Option::is_some)
}

fn bad(error: &BadLibrary) -> CommandError {
    CommandError::text(format!("ERR {error}"))
}

/// Reads the first line of a library that is to be loaded.
///
/// # Errors
/// As FUNCTION LOAD answers it.
pub(super) fn metadata(source: &[u8]) -> Result<Metadata, CommandError> {
    let metadata = Metadata::of(source).map_err(|error| bad(&error))?;
    if !metadata.engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::text(format!(
            "ERR Engine '{}' not found",
            String::from_utf8_lossy(&metadata.engine)
        )));
    }
    Ok(metadata)
}

/// Compiles a library and runs its body.
///
/// # Errors
/// As FUNCTION LOAD answers it; then nothing is left of it.
pub(super) fn compile(host: &mut Host, source: &[u8]) -> Result<Library, CommandError> {
    let metadata = metadata(source)?;
    let body = host.compile_code(&source[metadata.code..], c"@user_function", |error| {
        format!("ERR Error compiling function: {error}")
    })?;
    REGISTERED.set(Some(Registered::default()));
    watch::begin(Watched::Load);
    let handler = host.handler;
    let ran = host.machine.protected(|stack: &mut Stack| {
        stack.reserve(4)?;
        stack.push_kept(handler);
        stack.push_kept(body);
        let base = stack.top() - 1;
        if stack.call(0, Some(0), base) { Ok(()) } else { Err(Raise::Value) }
    });
    watch::end();
    host.machine.stack().forget(body);
    // What the body has used up, nobody else shall miss.
    host.tidy();
    let library = Library { functions: REGISTERED.take().unwrap_or_default().functions };
    let error = match ran {
        Ok(()) if library.functions.is_empty() => "ERR No functions registered".to_owned(),
        Ok(()) => return Ok(library),
        Err(error) => format!("ERR Error registering functions: {}", error.strip_prefix("ERR ").unwrap_or(&error)),
    };
    forget(host, library);
    Err(CommandError::text(error))
}

/// Gives a library's functions up.
pub(super) fn forget(host: &mut Host, library: Library) {
    for function in library.functions.into_values() {
        host.machine.stack().forget(function.callback);
    }
}

/// Whether `libraries` can take the place of those of the same names, or of all.
///
/// # Errors
/// Two functions would have one name.
pub(super) fn check(host: &Host, libraries: &BTreeMap<Box<[u8]>, Library>, all: bool) -> Result<(), CommandError> {
    let mut names = BTreeSet::new();
    let stay = host.libraries.iter().filter(|(name, _)| !all && !libraries.contains_key(*name));
    for library in stay.map(|(_, library)| library).chain(libraries.values()) {
        for name in library.functions.keys() {
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(CommandError::text(format!(
                    "ERR Function {} already exists",
                    String::from_utf8_lossy(name)
                )));
            }
        }
    }
    Ok(())
}

/// Puts libraries that [`check`] has let pass in the place of those of the same names, or of all.
pub(super) fn install(host: &mut Host, libraries: BTreeMap<Box<[u8]>, Library>, all: bool) {
    if all {
        for (_, old) in std::mem::take(&mut host.libraries) {
            forget(host, old);
        }
    }
    for (name, library) in libraries {
        if let Some(old) = host.libraries.insert(name, library) {
            forget(host, old);
        }
    }
    index(host);
}

/// Takes a library away.
pub(super) fn remove(host: &mut Host, name: &[u8]) {
    if let Some(library) = host.libraries.remove(name) {
        forget(host, library);
        index(host);
        host.tidy();
    }
}

/// Finds functions by their names again.
fn index(host: &mut Host) {
    host.functions.clear();
    for library in host.libraries.values() {
        for (name, function) in &library.functions {
            let text: Arc<str> = String::from_utf8_lossy(name).into();
            host.functions.insert(name.to_ascii_lowercase().into(), (text, function.clone()));
        }
    }
}

/// Compiles all libraries that the engine holds, in place of what is compiled.
pub(super) fn compile_all(host: &mut Host, stored: &Libraries) {
    for (_, old) in std::mem::take(&mut host.libraries) {
        forget(host, old);
    }
    for (name, source) in stored.iter() {
        let compiled = compile(host, source).and_then(|library| {
            let libraries = BTreeMap::from([(name.into(), library)]);
            check(host, &libraries, false)?;
            install(host, libraries, false);
            Ok(())
        });
        if let Err(error) = compiled {
            let name = String::from_utf8_lossy(name);
            log::warning(format_args!("The library {name} stays stored, but its functions cannot be called: {error}"));
        }
    }
    index(host);
}

/// [`compile_all`] when the engine's libraries were replaced, or found at the start.
pub(super) fn reload(server: &Server) {
    let engine = server.store.lock();
    let mut guard = server.scripting.host();
    let stored = engine.keyspace.libraries.clone();
    if guard.is_none() && !stored.is_empty() {
        match Host::new(server.scripting.machine_limit()) {
            Ok(host) => *guard = Some(host),
            Err(error) => log::warning(format_args!("Functions cannot be called: {error}")),
        }
    }
    if let Some(host) = guard.as_mut() {
        compile_all(host, &stored);
        host.publish(server.scripting);
    }
}

/// `redis.register_function`.
pub(super) fn register_function(stack: &mut Stack) -> Answer {
    let count = stack.top();
    if count != 1 && count != 2 {
        return Err(Raise::reply("wrong number of arguments to redis.register_function"));
    }
    if !is_loading() {
        return Err(Raise::reply("redis.register_function can only be called on FUNCTION LOAD command"));
    }
    let (name, function) = if count == 1 { named_arguments(stack)? } else { two_arguments(stack)? };
    let callback = function.callback;
    let registered = REGISTERED.with_borrow_mut(|registered| match registered {
        _ if !is_name(&name) => Err(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
        ),
        Some(registered) if !registered.functions.contains_key(&*name) => {
            registered.text_len += name.len() + function.description.as_ref().map_or(0, |text| text.len());
            if registered.text_len > SOURCE_LEN_MAX {
                return Err("Names and descriptions of the library's functions are too long");
            }
            registered.functions.insert(name.into(), function);
            Ok(())
        }
        _ => Err("Function already exists in the library"),
    });
    if let Err(error) = registered {
        stack.forget(callback);
        return Err(Raise::reply(error));
    }
    Ok(0)
}

fn two_arguments(stack: &mut Stack) -> Result<(Vec<u8>, Function), Raise> {
    let name = match stack.kind(1) {
        Kind::String | Kind::Number => stack.expect_bytes(1)?.to_vec(),
        _ => return Err(Raise::reply("first argument to redis.register_function must be a string")),
    };
    if stack.kind(2) != Kind::Function {
        return Err(Raise::reply("second argument to redis.register_function must be a function"));
    }
    stack.push_value(2);
    let callback = stack.keep();
    Ok((name, Function { callback, description: None, flags: ScriptFlags::default() }))
}

fn named_arguments(stack: &mut Stack) -> Result<(Vec<u8>, Function), Raise> {
    if stack.kind(1) != Kind::Table {
        return Err(Raise::reply(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ));
    }
    let mut callback: Option<Reference> = None;
    let found = read_named(stack, &mut callback);
    match (found, callback) {
        (Ok((Some(name), description, flags)), Some(callback)) => Ok((name, Function { callback, description, flags })),
        (found, callback) => {
            if let Some(callback) = callback {
                stack.forget(callback);
            }
            match found {
                Err(error) => Err(error),
                Ok((None, ..)) => Err(Raise::reply("redis.register_function must get a function name argument")),
                Ok(_) => Err(Raise::reply("redis.register_function must get a callback argument")),
            }
        }
    }
}

type Named = (Option<Vec<u8>>, Option<Box<[u8]>>, ScriptFlags);

fn read_named(stack: &mut Stack, callback: &mut Option<Reference>) -> Result<Named, Raise> {
    let (mut name, mut description, mut flags) = (None, None, ScriptFlags::default());
    stack.push_nil();
    while stack.next(1) {
        let Some(key) = stack.bytes(-2).map(<[u8]>::to_ascii_lowercase) else {
            return Err(Raise::reply("named argument key given to redis.register_function is not a string"));
        };
        let text = stack.bytes(-1).map(<[u8]>::to_vec);
        match &key[..] {
            b"function_name" => {
                let text = text.ok_or_else(|| {
                    Raise::reply("function_name argument given to redis.register_function must be a string")
                })?;
                name = Some(text);
            }
            b"description" => {
                let text = text.ok_or_else(|| {
                    Raise::reply("description argument given to redis.register_function must be a string")
                })?;
                description = Some(text.into());
            }
            b"callback" => {
                if stack.kind(-1) != Kind::Function {
                    return Err(Raise::reply("callback argument given to redis.register_function must be a function"));
                }
                stack.push_value(-1);
                if let Some(old) = callback.replace(stack.keep()) {
                    stack.forget(old);
                }
            }
            b"flags" => {
                if stack.kind(-1) != Kind::Table {
                    return Err(Raise::reply(
                        "flags argument to redis.register_function must be a table representing function flags",
                    ));
                }
                for index in 1.. {
                    stack.raw_get_index(-1, index);
                    let end = stack.kind(-1) == Kind::Nil;
                    let flag = stack.bytes(-1).and_then(ScriptFlags::find);
                    stack.pop(1);
                    if end {
                        break;
                    }
                    flags.add(flag.ok_or_else(|| Raise::reply("unknown flag given"))?);
                }
            }
            _ => return Err(Raise::reply("unknown argument given to redis.register_function")),
        }
        stack.pop(1);
    }
    Ok((name, description, flags))
}
