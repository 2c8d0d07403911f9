//! What scripts see: chosen name by name, and read-only.
//!
//! 1. A global is here because Redis' scripts have it. Nothing of Luau's own (buffers, vectors, `table.freeze`, ...) is, and nothing that
//!    reaches outside: no files, no bytecode, no environment of another function, no debugger, no finalizers.
//! 2. Globals, libraries and every metatable that scripts can get hold of are read-only: no script can leave something behind for
//!    another user's script.
//! 3. What takes memory takes the machine's, which is bounded; what makes a text from a number of repetitions does as well.

use super::lua::{Answer, Kind, Raise, Stack};
use super::{api, bits, json, msgpack, run, sort, strings, structs, watch};
use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CStr, CString};

/// How long a source text may be, in bytes: the compiler takes some twenty times as much memory.
pub(super) const SOURCE_LEN_MAX: usize = 16 << 20;

const BASE: &[&CStr] = &[
    c"assert",
    c"coroutine",
    c"error",
    c"getmetatable",
    c"ipairs",
    c"math",
    c"next",
    c"pairs",
    c"rawequal",
    c"rawget",
    c"rawset",
    c"select",
    c"setmetatable",
    c"string",
    c"table",
    c"tonumber",
    c"tostring",
    c"type",
    c"unpack",
    c"xpcall",
];

const LIBRARIES: &[(&CStr, &[&CStr])] = &[
    (c"coroutine", &[c"create", c"resume", c"running", c"status", c"wrap", c"yield"]),
    (c"string", &[c"byte", c"char", c"format", c"len", c"lower", c"rep", c"reverse", c"sub", c"upper"]),
    (c"table", &[c"concat", c"foreach", c"foreachi", c"getn", c"insert", c"maxn", c"remove", c"sort"]),
    (
        c"math",
        &[
            c"abs", c"acos", c"asin", c"atan", c"atan2", c"ceil", c"cos", c"cosh", c"deg", c"exp", c"floor", c"fmod",
            c"frexp", c"huge", c"ldexp", c"log10", c"max", c"min", c"modf", c"pi", c"pow", c"rad", c"sin", c"sinh",
            c"sqrt", c"tan", c"tanh",
        ],
    ),
];

/// Makes the table of globals that scripts see, from the machine's own, and puts it in their place.
///
/// # Errors
/// There is no memory for it.
pub(super) fn install(stack: &mut Stack) -> Result<(), Raise> {
    stack.reserve(20)?;
    stack.push_globals();
    let all = stack.top();
    stack.new_table(0, 64);
    let globals = stack.top();
    for name in BASE {
        stack.raw_get_field(all, name);
        stack.raw_set_field(globals, name);
    }
    for (library, names) in LIBRARIES {
        stack.raw_get_field(all, library);
        stack.new_table(0, names.len() + 4);
        for name in *names {
            stack.raw_get_field(-2, name);
            stack.raw_set_field(-2, name);
        }
        stack.raw_set_field(globals, library);
        stack.pop(1);
    }
    // Lua 5.1's names for what goes by others here, and what has been replaced.
    stack.raw_get_field(globals, c"string");
    strings::install(stack);
    // Strings' methods are those of the chosen library.
    stack.push_bytes(b"");
    if !stack.get_metatable(-1) {
        return Err(Raise::text("strings have no metatable"));
    }
    stack.set_read_only(-1, false);
    stack.push_value(-3);
    stack.raw_set_field(-2, c"__index");
    stack.set_read_only(-1, true);
    stack.pop(3);
    stack.raw_get_field(globals, c"math");
    stack.raw_get_field(-1, c"fmod");
    stack.raw_set_field(-2, c"mod");
    stack.push_function(math_log, c"log");
    stack.raw_set_field(-2, c"log");
    stack.push_function(math_random, c"random");
    stack.raw_set_field(-2, c"random");
    stack.push_function(math_randomseed, c"randomseed");
    stack.raw_set_field(-2, c"randomseed");
    stack.pop(1);
    stack.raw_get_field(globals, c"table");
    stack.push_function(|_: &mut Stack| Err(Raise::text("'setn' is obsolete")), c"setn");
    stack.raw_set_field(-2, c"setn");
    stack.raw_get_field(all, c"table");
    stack.insert(-2);
    let library = stack.top() - 1;
    sort::install(stack, library)?;
    stack.pop(2);
    stack.new_table(0, 1);
    stack.raw_get_field(all, c"os");
    stack.raw_get_field(-1, c"clock");
    stack.raw_set_field(-3, c"clock");
    stack.pop(1);
    stack.raw_set_field(globals, c"os");

    stack.push_function(pcall, c"pcall");
    stack.raw_set_field(globals, c"pcall");
    stack.push_function(load, c"load");
    stack.raw_set_field(globals, c"load");
    stack.push_function(loadstring, c"loadstring");
    stack.raw_set_field(globals, c"loadstring");
    stack.push_function(collectgarbage, c"collectgarbage");
    stack.raw_set_field(globals, c"collectgarbage");
    stack.push_function(gcinfo, c"gcinfo");
    stack.raw_set_field(globals, c"gcinfo");
    stack.push_bytes(b"Lua 5.1");
    stack.raw_set_field(globals, c"_VERSION");
    api::push_api(stack);
    stack.push_value(-1);
    stack.raw_set_field(globals, c"redis");
    stack.raw_set_field(globals, c"server");
    bits::push_library(stack);
    stack.raw_set_field(globals, c"bit");
    structs::push_library(stack);
    stack.raw_set_field(globals, c"struct");
    msgpack::push_library(stack, false);
    stack.raw_set_field(globals, c"cmsgpack");
    msgpack::push_library(stack, true);
    stack.raw_set_field(globals, c"cmsgpack_safe");
    json::push_library(stack);
    stack.raw_set_field(globals, c"cjson");
    stack.push_value(globals);
    stack.raw_set_field(globals, c"_G");

    stack.new_table(0, 2);
    stack.push_function(no_such_global, c"__index");
    stack.raw_set_field(-2, c"__index");
    stack.set_read_only(-1, true);
    stack.set_metatable(globals);
    lock(stack, globals);
    stack.push_value(globals);
    stack.set_globals();
    stack.set_top(all - 1);
    Ok(())
}

/// Makes a table and the tables in it read-only.
fn lock(stack: &mut Stack, table: i32) {
    if stack.is_read_only(table) {
        return;
    }
    stack.set_read_only(table, true);
    stack.push_nil();
    while stack.next(table) {
        if stack.kind(-1) == Kind::Table {
            let inner = stack.top();
            lock(stack, inner);
        }
        stack.pop(1);
    }
}

fn no_such_global(stack: &mut Stack) -> Answer {
    let name = String::from_utf8_lossy(stack.expect_bytes(2)?).into_owned();
    Err(Raise::Text(format!("Script attempted to access nonexistent global variable '{name}'")))
}

/// Sees an error where it happens: what is not a table becomes one, and it says where it was.
pub(super) fn on_error(stack: &mut Stack) -> Answer {
    stack.set_top(1);
    if stack.kind(1) != Kind::Table {
        stack.push_text(1);
        let line = [b"ERR ", &*redis_words(stack.bytes(-1).unwrap_or_default())].concat();
        stack.new_table(0, 3);
        stack.push_bytes(&line);
        stack.raw_set_field(-2, c"err");
        stack.replace(1);
        stack.set_top(1);
    }
    let mut places = (1..=3).map_while(|level| stack.place(level));
    let place = places.find(|place| !place.native && place.source != sort::CHUNK);
    if let Some(place) = place
        && !stack.is_read_only(1)
    {
        stack.push_bytes(place.source.as_bytes());
        stack.raw_set_field(1, c"source");
        stack.push_number(f64::from(place.line));
        stack.raw_set_field(1, c"line");
    }
    Ok(1)
}

/// `bad argument #1 to 'rep' (...)` of Luau's own words for it: text in front of it, the words, and what follows.
fn bad_argument(text: &[u8]) -> Option<Vec<u8>> {
    let find = |words: &'static [u8]| {
        let (at, what) = memchr::memmem::find(text, words).map(|at| (at, &text[at + words.len()..]))?;
        let digits = what.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0 && what[digits..].starts_with(b" to '")).then_some((&text[..at], what))
    };
    if let Some((front, what)) = find(b"invalid argument #") {
        return Some([front, b"bad argument #", what].concat());
    }
    let (front, what) = find(b"missing argument #")?;
    let what = what.strip_suffix(b")").unwrap_or(what);
    Some([front, b"bad argument #", what, b", got no value)"].concat())
}

/// Luau's message in the words of Lua 5.1 and Redis, which clients and tests know.
fn redis_words(text: &[u8]) -> Cow<'_, [u8]> {
    if let Some(words) = bad_argument(text) {
        return words.into();
    }
    let Some(at) = memchr::memmem::find(text, b"attempt to ") else { return text.into() };
    let (front, what) = (&text[..at], &text[at + b"attempt to ".len()..]);
    let Ok(what) = std::str::from_utf8(what) else { return text.into() };
    let words = if what == "modify a readonly table" {
        return [front, b"Attempt to modify a readonly table"].concat().into();
    } else if let Some((kind, _)) = what.strip_prefix("index ").and_then(|rest| rest.split_once(" with ")) {
        format!("index a {kind} value")
    } else if let Some((_, kinds)) = what.strip_prefix("perform arithmetic (").and_then(|rest| rest.split_once(") on "))
    {
        // Of two operands, the one that is no number is at fault.
        let kind = kinds.split(" and ").find(|kind| *kind != "number").unwrap_or(kinds);
        format!("perform arithmetic on a {kind} value")
    } else if let Some((left, right)) = what.strip_prefix("concatenate ").and_then(|rest| rest.split_once(" with ")) {
        let kind = if matches!(left, "string" | "number") { right } else { left };
        format!("concatenate a {kind} value")
    } else if let Some(rest) = what.strip_prefix("compare ") {
        let Some((left, right)) = [" < ", " <= ", " > ", " >= "].iter().find_map(|sign| rest.split_once(sign)) else {
            return text.into();
        };
        if left == right { format!("compare two {left} values") } else { format!("compare {left} with {right}") }
    } else if let Some(kind) = what.strip_prefix("get length of ").filter(|rest| !rest.starts_with("a ")) {
        format!("get length of a {} value", kind.trim_end_matches(" value"))
    } else {
        return text.into();
    };
    [front, b"attempt to ", words.as_bytes()].concat().into()
}

/// `pcall`: an error that is a table with a text `err` is given as that text, as scripts written before Redis 7 expect it.
fn pcall(stack: &mut Stack) -> Answer {
    if stack.top() == 0 {
        return Err(stack.bad_argument(1, "value expected"));
    }
    let arguments = stack.top() - 1;
    if stack.call(arguments, None, 0) {
        stack.reserve(1)?;
        stack.push_boolean(true);
        stack.insert(1);
        return Ok(stack.top() as usize);
    }
    let error = stack.top();
    if stack.kind(error) == Kind::Table {
        stack.raw_get_field(error, c"err");
        if matches!(stack.kind(-1), Kind::String | Kind::Number) {
            stack.replace(error);
        } else {
            stack.pop(1);
        }
    } else if let Some(text) = stack.bytes(error) {
        let text = redis_words(text).into_owned();
        stack.push_bytes(&text);
        stack.replace(error);
    }
    stack.push_boolean(false);
    stack.insert(error);
    Ok(2)
}

/// `load(function or text [, name])`.
fn load(stack: &mut Stack) -> Answer {
    if stack.kind(1) != Kind::Function {
        return loadstring(stack);
    }
    let mut source = Vec::new();
    loop {
        stack.push_value(1);
        if !stack.call(0, Some(1), 0) {
            stack.push_nil();
            stack.insert(-2);
            return Ok(2);
        }
        match stack.bytes(-1) {
            Some(piece) if !piece.is_empty() => source.extend_from_slice(piece),
            None if stack.kind(-1) != Kind::Nil => {
                stack.push_nil();
                stack.push_bytes(b"reader function must return a string");
                return Ok(2);
            }
            _ => break,
        }
        if source.len() > SOURCE_LEN_MAX {
            break;
        }
        stack.pop(1);
    }
    let name = if stack.kind(2) == Kind::Nil { b"=(load)".to_vec() } else { stack.expect_bytes(2)?.to_vec() };
    compile(stack, &source, name)
}

/// `loadstring(text [, name])`.
fn loadstring(stack: &mut Stack) -> Answer {
    let source = stack.expect_bytes(1)?.to_vec();
    let name = if stack.kind(2) == Kind::Nil { source.clone() } else { stack.expect_bytes(2)?.to_vec() };
    compile(stack, &source, name)
}

fn compile(stack: &mut Stack, source: &[u8], mut name: Vec<u8>) -> Answer {
    const NAME_LEN_MAX: usize = 256;
    name.truncate(NAME_LEN_MAX);
    name.retain(|&byte| byte != 0);
    let name = CString::new(name).unwrap_or_default();
    if source.len() > SOURCE_LEN_MAX {
        stack.push_nil();
        stack.push_bytes(b"the text is too long");
        return Ok(2);
    }
    // The compiler takes some three ticks a byte.
    watch::tick_for(3 * source.len() as u32)?;
    if stack.load(source, &name).is_err() {
        stack.push_nil();
        stack.insert(-2);
        return Ok(2);
    }
    Ok(1)
}

/// Has the machine's memory tidied up: work that grows with what there is.
fn collect(stack: &mut Stack) -> Result<(), Raise> {
    stack.collect();
    watch::tick_for_bytes(1024 * stack.memory_kb() as usize)
}

/// `collectgarbage`: scripts may ask how much memory there is, and have it tidied up. How and when is not theirs to say.
fn collectgarbage(stack: &mut Stack) -> Answer {
    let option = if stack.kind(1) == Kind::Nil { b"collect".to_vec() } else { stack.expect_bytes(1)?.to_vec() };
    match &option[..] {
        b"count" => stack.push_number(stack.memory_kb()),
        b"collect" => {
            collect(stack)?;
            stack.push_number(0.0);
        }
        b"step" => {
            collect(stack)?;
            stack.push_boolean(true);
        }
        b"stop" | b"restart" | b"setpause" | b"setstepmul" => stack.push_number(0.0),
        _ => return Err(stack.bad_argument(1, &format!("invalid option '{}'", String::from_utf8_lossy(&option)))),
    }
    Ok(1)
}

fn gcinfo(stack: &mut Stack) -> Answer {
    stack.push_number(stack.memory_kb().trunc());
    Ok(1)
}

/// `math.log(x)`: of one argument, as in Lua 5.1.
fn math_log(stack: &mut Stack) -> Answer {
    let value = stack.expect_number(1)?;
    stack.push_number(value.ln());
    Ok(1)
}

thread_local! {
    /// The state of `math.random`: drand48's 48 bits, as Redis' own generator begins.
    static RANDOM: Cell<u64> = const { Cell::new(0x1234_ABCD_330E) };
}

/// `math.random([m [, n]])`: the sequence follows `math.randomseed` and is the same on every machine.
fn math_random(stack: &mut Stack) -> Answer {
    if run::with(|_| ()).is_none() {
        return Err(api::outside("math", "math.random"));
    }
    let state = RANDOM.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
    RANDOM.set(state);
    let random = (state >> 17) as f64;
    let unit = (random % f64::from(i32::MAX)) / f64::from(i32::MAX);
    let value = match stack.top() {
        0 => unit,
        1 => {
            let high = stack.expect_number(1)?.trunc();
            if high < 1.0 {
                return Err(stack.bad_argument(1, "interval is empty"));
            }
            (unit * high).floor() + 1.0
        }
        2 => {
            let (low, high) = (stack.expect_number(1)?.trunc(), stack.expect_number(2)?.trunc());
            if low > high {
                return Err(stack.bad_argument(2, "interval is empty"));
            }
            (unit * (high - low + 1.0)).floor() + low
        }
        _ => return Err(Raise::text("wrong number of arguments")),
    };
    stack.push_number(value);
    Ok(1)
}

fn math_randomseed(stack: &mut Stack) -> Answer {
    if run::with(|_| ()).is_none() {
        return Err(api::outside("math", "math.randomseed"));
    }
    let seed = stack.expect_number(1)? as i64 as u32;
    RANDOM.set((u64::from(seed) << 16) | 0x330E);
    Ok(0)
}
