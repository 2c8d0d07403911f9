//! `redis.*`, which is `server.*` too: what scripts call of the server.

use super::convert;
use super::library;
use super::lua::{Answer, Kind, Raise, Stack};
use super::run::{self, Run};
use super::{watch, work};
use crate::log::{self, Level};
use crate::session::REDIS_VERSION;
use firn_engine::number::print_double;
use sha1::{Digest, Sha1};

/// Commands with at most so many words need no memory for their list.
const WORDS: usize = 24;
/// `REDIS_VERSION` as a number: a byte each for major, minor and patch.
const REDIS_VERSION_NUM: f64 = 0x0007_0204 as f64;

/// Pushes the table.
pub(super) fn push_api(stack: &mut Stack) {
    stack.new_table(0, 32);
    stack.push_function(|stack: &mut Stack| command(stack, true), c"call");
    stack.raw_set_field(-2, c"call");
    stack.push_function(|stack: &mut Stack| command(stack, false), c"pcall");
    stack.raw_set_field(-2, c"pcall");
    stack.push_function(sha1hex, c"sha1hex");
    stack.raw_set_field(-2, c"sha1hex");
    stack.push_function(error_reply, c"error_reply");
    stack.raw_set_field(-2, c"error_reply");
    stack.push_function(status_reply, c"status_reply");
    stack.raw_set_field(-2, c"status_reply");
    stack.push_function(set_resp, c"setresp");
    stack.raw_set_field(-2, c"setresp");
    stack.push_function(set_repl, c"set_repl");
    stack.raw_set_field(-2, c"set_repl");
    stack.push_function(log_line, c"log");
    stack.raw_set_field(-2, c"log");
    stack.push_function(acl_check_cmd, c"acl_check_cmd");
    stack.raw_set_field(-2, c"acl_check_cmd");
    stack.push_function(library::register_function, c"register_function");
    stack.raw_set_field(-2, c"register_function");
    // Scripts are always recorded by their effects.
    stack.push_function(|stack: &mut Stack| boolean(stack, true), c"replicate_commands");
    stack.raw_set_field(-2, c"replicate_commands");
    // There is no debugger: both do what they do in Redis without one.
    stack.push_function(|stack: &mut Stack| boolean(stack, false), c"breakpoint");
    stack.raw_set_field(-2, c"breakpoint");
    stack.push_function(|_: &mut Stack| Ok(0), c"debug");
    stack.raw_set_field(-2, c"debug");
    for (name, value) in [
        (c"LOG_DEBUG", 0.0),
        (c"LOG_VERBOSE", 1.0),
        (c"LOG_NOTICE", 2.0),
        (c"LOG_WARNING", 3.0),
        (c"REPL_NONE", 0.0),
        (c"REPL_AOF", 1.0),
        (c"REPL_SLAVE", 2.0),
        (c"REPL_REPLICA", 2.0),
        (c"REPL_ALL", 3.0),
        (c"REDIS_VERSION_NUM", REDIS_VERSION_NUM),
        (c"SERVER_VERSION_NUM", REDIS_VERSION_NUM),
    ] {
        stack.push_number(value);
        stack.raw_set_field(-2, name);
    }
    for (name, text) in
        [(c"REDIS_VERSION", REDIS_VERSION), (c"SERVER_VERSION", REDIS_VERSION), (c"SERVER_NAME", "firn")]
    {
        stack.push_bytes(text.as_bytes());
        stack.raw_set_field(-2, name);
    }
}

fn boolean(stack: &mut Stack, value: bool) -> Answer {
    stack.push_boolean(value);
    Ok(1)
}

/// The error of what only a running script can call: the body of a library does not even see it, in Redis.
pub(super) fn outside(field: &str, name: &str) -> Raise {
    if library::is_loading() {
        return Raise::Text(format!("Script attempted to access nonexistent global variable '{field}'"));
    }
    Raise::reply(&format!("{name} can only be called inside a script invocation"))
}

/// What can go wrong before a command is called.
enum BadWords {
    None,
    Type,
}

impl BadWords {
    fn text(&self) -> &'static str {
        match self {
            BadWords::None => "Please specify at least one argument for this redis lib call",
            BadWords::Type => "Lua redis lib command arguments must be strings or integers",
        }
    }
}

/// Gives all arguments to `function` as words of a command; numbers are printed as scores are.
fn with_words<T>(stack: &Stack, function: impl FnOnce(&[&[u8]]) -> T) -> Result<T, BadWords> {
    let count = stack.top();
    if count == 0 {
        return Err(BadWords::None);
    }
    let mut digits = Vec::new();
    let mut ends = [0usize; WORDS];
    let mut many = Vec::new();
    let ends: &mut [usize] = if count as usize <= WORDS {
        &mut ends[..count as usize]
    } else {
        many.resize(count as usize, 0);
        &mut many
    };
    for (end, at) in ends.iter_mut().zip(1..) {
        match stack.kind(at) {
            Kind::String => {}
            Kind::Number => {
                // Zero has no sign here.
                print_double(stack.number(at).unwrap_or(0.0) + 0.0, &mut digits);
                *end = digits.len();
            }
            _ => return Err(BadWords::Type),
        }
    }
    let mut start = 0;
    let mut word = |at: i32, end: usize| match stack.bytes(at) {
        Some(bytes) => bytes,
        None => {
            let begin = std::mem::replace(&mut start, end);
            &digits[begin..end]
        }
    };
    if ends.len() <= WORDS {
        let mut words: [&[u8]; WORDS] = [b""; WORDS];
        for (at, &end) in ends.iter().enumerate() {
            words[at] = word(at as i32 + 1, end);
        }
        return Ok(function(&words[..ends.len()]));
    }
    let words: Vec<&[u8]> = ends.iter().zip(1..).map(|(&end, at)| word(at, end)).collect();
    Ok(function(&words))
}

/// `redis.call` (`raise`) and `redis.pcall`.
fn command(stack: &mut Stack, raise: bool) -> Answer {
    let called = run::with(|run: &mut Run| {
        with_words(stack, |words| run.command(words)).map(|result| (result, run.take_reply()))
    });
    let Some(called) = called else {
        return Err(outside("call", "redis.call/pcall"));
    };
    let error = match called {
        Ok((Ok(()), reply)) => {
            stack.set_top(0);
            convert::push_reply(stack, &reply)?;
            let failed = reply.first() == Some(&b'-');
            run::with(|run: &mut Run| run.give_back(reply));
            return if raise && failed { Err(Raise::Value) } else { Ok(1) };
        }
        Ok((Err(refusal), _)) => {
            let line = super::lua::error_line(refusal.as_bytes());
            run::with(|run: &mut Run| run.count_error(&line));
            Raise::CountedReply(line)
        }
        Err(bad) => Raise::reply(bad.text()),
    };
    if raise {
        return Err(error);
    }
    stack.set_top(0);
    match error {
        Raise::CountedReply(line) => stack.push_error(&line, true),
        Raise::Reply(line) => stack.push_error(&line, false),
        Raise::Text(_) | Raise::Value => unreachable!("only tables were made"),
    }
    Ok(1)
}

/// `redis.sha1hex(text)`.
fn sha1hex(stack: &mut Stack) -> Answer {
    if stack.top() != 1 {
        return Err(Raise::reply("wrong number of arguments"));
    }
    let text = stack.expect_bytes(1).unwrap_or_default();
    let digest = Sha1::digest(text);
    watch::tick_for_bytes(text.len())?;
    stack.push_bytes(hex(&digest.into()).as_slice());
    Ok(1)
}

/// A digest as 40 digits.
pub(super) fn hex(digest: &[u8; 20]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[usize::from(if at % 2 == 0 { digest[at / 2] >> 4 } else { digest[at / 2] & 15 })])
}

fn one_text(stack: &Stack) -> bool {
    stack.top() == 1 && stack.kind(1) == Kind::String
}

/// `redis.error_reply(text)`.
fn error_reply(stack: &mut Stack) -> Answer {
    if one_text(stack) {
        let text = stack.bytes(1).unwrap_or_default();
        let text = if text.first() == Some(&b'-') { text.to_vec() } else { [b"-", text].concat() };
        stack.push_error(&super::lua::error_line(&text), false);
    } else {
        stack.push_error(b"ERR wrong number or type of arguments", false);
    }
    Ok(1)
}

/// `redis.status_reply(text)`.
fn status_reply(stack: &mut Stack) -> Answer {
    if one_text(stack) {
        stack.new_table(0, 1);
        stack.push_value(1);
        stack.raw_set_field(-2, c"ok");
    } else {
        stack.push_error(b"ERR wrong number or type of arguments", false);
    }
    Ok(1)
}

/// `redis.setresp(2 or 3)`.
fn set_resp(stack: &mut Stack) -> Answer {
    if stack.top() != 1 {
        return Err(Raise::reply("redis.setresp() requires one argument."));
    }
    let resp = match stack.number(1).map(f64::trunc) {
        Some(2.0) => 2,
        Some(3.0) => 3,
        _ => return Err(Raise::reply("RESP version must be 2 or 3.")),
    };
    run::with(|run: &mut Run| run.set_resp(resp)).ok_or_else(|| outside("setresp", "redis.setresp"))?;
    Ok(0)
}

/// `redis.set_repl(flags)`: the flags are checked. Whatever they say, changes are logged: a change that the log does not hold would be gone
/// after the next start, and what was built on it could not be replayed.
fn set_repl(stack: &mut Stack) -> Answer {
    run::with(|_| ()).ok_or_else(|| outside("set_repl", "redis.set_repl"))?;
    if stack.top() != 1 {
        return Err(Raise::reply("redis.set_repl() requires two arguments."));
    }
    match stack.number(1) {
        Some(flags) if (0.0..4.0).contains(&flags) => Ok(0),
        _ => Err(Raise::reply("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")),
    }
}

/// `redis.log(level, text, ...)`.
fn log_line(stack: &mut Stack) -> Answer {
    if stack.top() < 2 {
        return Err(Raise::reply("redis.log() requires two arguments or more."));
    }
    let Some(level) = stack.number(1) else {
        return Err(Raise::reply("First argument must be a number (log level)."));
    };
    let level = match level.trunc() {
        0.0 => Level::Debug,
        1.0 => Level::Verbose,
        2.0 => Level::Notice,
        3.0 => Level::Warning,
        _ => return Err(Raise::reply("Invalid debug level.")),
    };
    let mut line = Vec::new();
    for at in 2..=stack.top() {
        if !matches!(stack.kind(at), Kind::String | Kind::Number) {
            continue;
        }
        if at > 2 {
            line.push(b' ');
        }
        let len = stack.expect_bytes(at)?.len();
        work::piece(stack, &line, len)?;
        line.extend_from_slice(stack.bytes(at).unwrap_or_default());
    }
    log::write(level, format_args!("{}", String::from_utf8_lossy(&line)));
    Ok(0)
}

/// `redis.acl_check_cmd(word, ...)`: whether the client's user may call that command.
fn acl_check_cmd(stack: &mut Stack) -> Answer {
    let checked = run::with(|run: &mut Run| with_words(stack, |words| run.may_client_call(words)));
    match checked {
        None => Err(outside("acl_check_cmd", "redis.acl_check_cmd")),
        Some(Err(bad)) => Err(Raise::reply(bad.text())),
        Some(Ok(None)) => Err(Raise::reply("Invalid command passed to redis.acl_check_cmd()")),
        Some(Ok(Some(may))) => boolean(stack, may),
    }
}
