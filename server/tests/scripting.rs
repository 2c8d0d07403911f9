//! Scripts at the real binary: the sandbox against what is known to have broken it elsewhere, bounds, BUSY and KILL, durability.

mod support;

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;
use support::{Connection, PATIENCE, Server};

type Client = Connection<UnixStream>;

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Sends `words` and reads one reply, written as one line: `[1 "a" -ERR x]`.
fn ask(client: &mut Client, words: &[&[u8]]) -> String {
    client.send(&request(words));
    read(client)
}

fn read(client: &mut Client) -> String {
    let line = client.line(b"");
    let count = || line[1..].parse::<i64>().expect("a number");
    match line.as_bytes()[0] {
        b'$' | b'=' if count() >= 0 => {
            let text = client.take(count() as usize + 2);
            text[..text.len() - 2].escape_ascii().to_string()
        }
        b'*' | b'~' | b'%' if count() >= 0 => {
            let count = if line.starts_with('%') { 2 * count() } else { count() };
            let parts: Vec<String> = (0..count).map(|_| read(client)).collect();
            format!("[{}]", parts.join(" "))
        }
        _ => line,
    }
}

fn eval(client: &mut Client, script: &str) -> String {
    ask(client, &[b"EVAL", script.as_bytes(), b"0"])
}

/// Asserts that a script ends with an error that says `what`, and that the server lives.
fn refused(server: &Server, client: &mut Client, script: &str, what: &str) {
    let reply = eval(client, script);
    assert!(reply.starts_with('-') && reply.contains(what), "{script}: {reply}");
    server.is_well();
}

#[test]
fn a_flush_of_no_libraries_in_a_transaction_keeps_nobody_waiting() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"SET a 1\r\nMULTI\r\nFUNCTION FLUSH\r\nEXEC\r\nFUNCTION LIST\r\n");
    let replies: Vec<String> = (0..5).map(|_| read(&mut client)).collect();
    assert_eq!(replies, ["+OK", "+OK", "+QUEUED", "[+OK]", "[]"]);
}

#[test]
fn unpack_of_everything_is_an_error_and_not_the_end_of_the_process() {
    // CVE-2025-46817, and the line that ends a process with stock Lua 5.1.
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(eval(&mut client, "return pcall(unpack,{},0,2147483647) and 1 or 0"), ":0");
    for range in ["0,2147483647", "-2147483648,2147483647", "1,8e9", "-1,2^31-2", "2147483646,2147483647"] {
        let reply = eval(&mut client, &format!("return ({{pcall(unpack,{{}},{range})}})[2]"));
        assert!(reply.contains("too many results") || reply.starts_with("$-1"), "{range}: {reply}");
        server.is_well();
    }
}

#[test]
fn parser_and_lexer_stand_hostile_texts() {
    // CVE-2025-49844 (a text that frees its own name while it is parsed) and -46819 (long brackets), and texts of deep nesting.
    let server = Server::start(&[]);
    let mut client = server.connect();
    let deep = |open: &str, middle: &str, close: &str, n: usize| {
        format!("return {}{middle}{}", open.repeat(n), close.repeat(n))
    };
    for script in [
        format!("return [{}[", "=".repeat(1_000_000)),
        format!("return [{}[x]{}]", "=".repeat(300_000), "=".repeat(300_000)),
        format!("return [{}", "=".repeat(2_000_000)),
        format!("--[{}[", "=".repeat(1_000_000)),
        deep("(", "1", ")", 100_000),
        deep("{", "1", "}", 100_000),
        deep("-", "1", "", 100_000),
        deep("not ", "1", "", 100_000),
        format!("return {}", vec!["1"; 100_000].join("..")),
        format!("return {}", vec!["1"; 100_000].join("^")),
        format!("{}{}", "do ".repeat(100_000), "end ".repeat(100_000)),
        format!("return {}", "function() ".repeat(50_000)),
        format!("local a {}", "if a then else".repeat(50_000)),
        format!("local {}", vec!["a"; 1000].join(",")),
        format!("return '{}", "\\".repeat(1_000_001)),
        "\u{1b}Lua\u{0}\u{1}".to_owned(),
    ] {
        let reply = eval(&mut client, &script);
        assert!(
            reply.starts_with('-') || reply.starts_with(':') || reply.starts_with('x') || reply.starts_with('$'),
            "{reply}"
        );
        server.is_well();
    }
    let names = "local ok = 0 for i = 1, 2000 do local f = loadstring('return ' .. i, ('n' .. i):rep(50)) \
                 collectgarbage() ok = ok + f() - i + 1 end return ok";
    assert_eq!(eval(&mut client, names), ":2000");
    assert_eq!(eval(&mut client, "return loadstring('\\27Lua') == nil and 1 or 0"), ":1", "no bytecode");
    refused(&server, &mut client, "return string.dump(function() end)", "attempt to call");
}

#[test]
fn no_script_leaves_anything_to_another() {
    // CVE-2025-46818: what basic types have in common is read-only.
    let server = Server::start(&[]);
    let mut client = server.connect();
    let readonly = "Attempt to modify a readonly table";
    for script in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "string.len = nil",
        "redis.call = nil",
        "cjson.null = 1",
        "bit.band = nil",
        "getmetatable('').__index = function() end",
        "getmetatable('').__len = function() end",
        "getmetatable(_G).__index = nil",
        "rawset(getmetatable(_G), '__index', nil)",
    ] {
        refused(&server, &mut client, script, readonly);
    }
    refused(&server, &mut client, "setmetatable(_G, nil)", "readonly");
    for name in [
        "getfenv", "setfenv", "newproxy", "debug", "io", "require", "dofile", "loadfile", "print", "module", "buffer",
        "vector",
    ] {
        refused(&server, &mut client, &format!("return {name}"), "nonexistent global variable");
    }
    for value in ["nil", "1", "true", "function() end", "coroutine.create(function() end)", "cjson.null"] {
        assert_eq!(eval(&mut client, &format!("return getmetatable({value}) == nil and 1 or 0")), ":1", "{value}");
    }
    assert_eq!(ask(&mut client, &[b"EVAL", b"return KEYS[1]", b"1", b"secret"]), "secret");
    ask(
        &mut client,
        &[b"FUNCTION", b"LOAD", b"#!lua name=l\nredis.register_function('f', function() return KEYS end)"],
    );
    let reply = ask(&mut client, &[b"FCALL", b"f", b"0"]);
    assert!(reply.contains("nonexistent global variable 'KEYS'"), "{reply}");
    assert_eq!(eval(&mut client, "cjson.encode_max_depth(3) return cjson.encode_max_depth()"), ":3");
    assert_eq!(eval(&mut client, "return cjson.encode_max_depth()"), ":1000", "settings end with their script");
}

#[test]
fn the_collector_cannot_be_turned_against_the_machine() {
    // CVE-2024-46981: no finalizers, no proxies; collecting while everything is in use.
    let server = Server::start(&[]);
    let mut client = server.connect();
    let script = "local t = setmetatable({}, {__gc = function() error('ran') end, __mode = 'kv'}) \
                  for i = 1, 200 do t[i] = {i} t[{}] = t collectgarbage('step') redis.call('PING') end \
                  t = nil collectgarbage() return collectgarbage('count') > 0 and 1";
    assert_eq!(eval(&mut client, script), ":1");
    for round in 0..20 {
        eval(&mut client, &format!("local t = {{}} for i = 1, 1000 do t[i] = ('{round}'):rep(i) end return #t"));
        assert_eq!(ask(&mut client, &[b"SCRIPT", b"FLUSH"]), "+OK");
    }
    server.is_well();
}

#[test]
fn libraries_bound_what_they_make() {
    // CVE-2024-31449 (bit.tohex), CVE-2022-24834 (cjson, cmsgpack lengths), struct sizes.
    let server = Server::start(&["--script-memory-limit", "64mb"]);
    let mut client = server.connect();
    for (script, reply) in [
        ("return bit.tohex(65535, -2147483648)", "0000FFFF"),
        ("return bit.tohex(65535, 2147483647)", "0000ffff"),
        ("return bit.tohex(255, 0)", ""),
        ("return bit.tohex(-1, -3)", "FFF"),
        ("return {pcall(struct.pack, 'I2147483648', 1)}", "[$-1 integral size overflow]"),
        ("return {pcall(struct.unpack, 'c0', 'x')}", "[$-1 format \\'c0\\' needs a previous size]"),
        ("return {pcall(struct.unpack, 'i4', 'xx')}", "[$-1 bad argument #2 to \\'unpack\\' (data string too short)]"),
        ("return {pcall(struct.unpack, '>i33', ('x'):rep(40))}", "[$-1 integral size 33 is larger than limit of 32]"),
        ("return {pcall(cmsgpack.unpack, '\\219\\255\\255\\255\\255x')}", "[$-1 Missing bytes in input.]"),
        ("return {pcall(cmsgpack.unpack, '\\221\\255\\255\\255\\255')}", "[$-1 Missing bytes in input.]"),
        ("return {pcall(cmsgpack.unpack, ('\\145'):rep(100000))}", "[$-1 Too deep nesting in input.]"),
        (
            "return {pcall(cjson.encode, {[1]=1, [1000000000]=1})}",
            "[$-1 Cannot serialise table: excessively sparse array]",
        ),
    ] {
        assert_eq!(eval(&mut client, script), reply, "{script}");
    }
    for script in [
        "local t = {} t[1] = t return cjson.encode(t)",
        "return cjson.decode(('['):rep(100000))",
        "local s = '\"' for i = 1, 30 do s = s .. s end return cjson.encode(s)",
        "return struct.pack('c' .. 2^30, 'x')",
        "return ('x'):rep(2^30)",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "local s = 'x' while true do s = s .. s end",
        "return ('%99999999d'):format(1)",
        // What native code makes is bounded as what Lua has is, however often it repeats it.
        "local t = {} for i = 1, 40 do t = {t, t} end return cjson.encode(t)",
        "return cjson.encode({('\\0'):rep(3e7)})",
        "local t, s = {}, ('x'):rep(1e7) for i = 1, 7000 do t[i] = s end return cjson.encode(t)",
        "local t, s = {}, ('x'):rep(1e7) for i = 1, 7000 do t[i] = s end return cmsgpack.pack(t)",
        "local t, s = {}, ('x'):rep(1e7) for i = 1, 7000 do t[i] = s end return cmsgpack.pack(unpack(t))",
        "local t, s = {}, ('x'):rep(1e7) for i = 1, 7000 do t[i] = s end return struct.pack(('c0'):rep(7000), unpack(t))",
        "local t, s = {}, ('x'):rep(1e7) for i = 1, 7000 do t[i] = s end return redis.log(3, unpack(t))",
        "return string.gsub(('x'):rep(1e7), '.*', ('%0'):rep(1e5))",
        "return string.gsub(('x'):rep(1e7), '(.*)', ('%1'):rep(1e5))",
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.starts_with('-'), "{script}: {reply}");
        server.is_well();
    }
    assert!(server.resident_bytes() < 700 << 20, "bounded: {}", server.resident_bytes());
    let reply = eval(&mut client, "local a = {} a[1] = a return a");
    assert!(reply.contains("reached lua stack limit"), "a list of itself ends: {reply}");
    let deep = "local function f(n) if n > 0 then return pcall(f, n - 1) end end return {f(1e6)}";
    eval(&mut client, deep);
    let sort = "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() return true end) return 1";
    eval(&mut client, sort);
    let recursion = "local function f() return 1 + f() end return f()";
    refused(&server, &mut client, recursion, "stack overflow");
}

#[test]
fn what_a_script_answers_is_no_longer_than_its_clients_output_may_be() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 4mb 0 0"]);
    let mut client = server.connect();
    let before = server.resident_bytes();
    let script = "local t, s = {}, ('x'):rep(1e5) for n = 1, 5000 do t[n] = s end return t";
    assert_eq!(eval(&mut client, script), "-ERR the reply of the script is too long");
    assert!(server.resident_bytes() < before + (50 << 20), "bounded: {}", server.resident_bytes());
    assert_eq!(eval(&mut client, "return {1, 'x'}"), "[:1 x]");
}

#[test]
fn what_a_library_takes_is_bounded_and_comes_back() {
    let server = Server::start(&["--script-memory-limit", "64mb"]);
    let mut client = server.connect();
    let mut load = |body: &str| ask(&mut client, &[b"FUNCTION", b"LOAD", format!("#!lua name=l\n{body}").as_bytes()]);
    // To the last byte, with what is small at the end.
    let fill = "local t, n = {}, 0 local function fill(len) while true do n = n + 1 t = {t, ('x'):rep(len) .. n} end end \
                for _, len in ipairs({1e5, 1e3, 1}) do pcall(fill, len) end";
    // On a busy machine the half second that a body may take is over first.
    let ended = |reply: &str| reply.contains("not enough memory") || reply.contains("timeout");
    let reply = load(&format!("{fill} fill(1)"));
    assert!(ended(&reply), "{reply}");
    assert_eq!(eval(&mut server.connect(), "return 1"), ":1", "what a body that failed has taken is free again");
    let keeps = fill.replace("for _", "redis.register_function('f', function() return t end) for _");
    let reply = load(&keeps);
    assert!(reply == "l" || ended(&reply), "{reply}");
    ask(&mut server.connect(), &[b"FUNCTION", b"DELETE", b"l"]);
    assert_eq!(eval(&mut server.connect(), "return 3"), ":3", "and what a deleted library has kept");
    // A description is not of the machine's memory.
    let described = "local text = ('x'):rep(1e6) for n = 1, 100000 do \
                     redis.register_function{function_name = 'f' .. n, callback = function() end, description = text} end";
    let reply = load(described);
    assert!(reply.contains("are too long") || ended(&reply), "{reply}");
    assert!(server.resident_bytes() < 400 << 20, "bounded: {}", server.resident_bytes());
}

#[test]
fn numbers_print_as_in_lua_51() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (script, reply) in [
        ("return 0.1 + 0.2 .. ''", "0.3"),
        ("return tostring(2^53)", "9.007199254741e+15"),
        ("return table.concat({1 / 3, 1e100, -0.5}, ' ')", "0.33333333333333 1e+100 -0.5"),
        ("return tostring(1e15)", "1e+15"),
        ("return cjson.encode({0.1 + 0.2, 1e15})", "[0.3,1e+15]"),
        ("return redis.call('ECHO', 0.1 + 0.2)", "0.30000000000000004"),
        ("return redis.call('ECHO', 2^53)", "9007199254740992"),
        // As Valkey prints them: digits that read back, and no more.
        ("return redis.call('ECHO', 0.1)", "0.1"),
        ("return redis.call('ECHO', 12345678901234567890)", "12345678901234567000"),
        ("return redis.call('ECHO', 1e20)", "1e+20"),
        ("return redis.call('ECHO', -0)", "0"),
        ("redis.call('ZADD', 'z', 0.1, 'm') return redis.call('ZSCORE', 'z', 'm')", "0.1"),
        ("return {3.99, -3.99, 2^62, 1e300}", "[:3 :-3 :4611686018427387904 :-9223372036854775808]"),
    ] {
        assert_eq!(eval(&mut client, script), reply, "{script}");
    }
}

/// Waits until the server is busy with a script.
fn until_busy(other: &mut Client) {
    let began = Instant::now();
    while !ask(other, &[b"PING"]).starts_with("-BUSY") {
        assert!(began.elapsed() < PATIENCE, "the script is not noticed");
    }
}

#[test]
fn a_script_that_loops_lets_others_end_it() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    assert_eq!(ask(&mut other, &[b"SCRIPT", b"KILL"]), "-NOTBUSY No scripts in execution right now.");
    ask(&mut client, &[b"SET", b"k", b"1"]);
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local t = {1, 2, 3} while true do table.sort(t, function(a, b) local n = 0 while n < 1e9 do n = n + 1 end return a < b end) end",
        "return string.gsub('aaaa', 'a', function() while true do end end)",
        // Patterns that try everything, and items and sets that take long by themselves.
        "return string.find(string.rep('a', 1e6), string.rep('.-', 30) .. 'b')",
        "return string.match(string.rep('a', 1e6), string.rep('a*', 30) .. 'b')",
        "return string.find(string.rep('a', 2e6), '[' .. string.rep('b', 1e6) .. 'a]*c')",
        "return string.gsub(string.rep('(', 4e6), '%b()', '')",
        "for part in string.gmatch(string.rep('x', 3e6), '.-y') do end",
        "local c = coroutine.wrap(function() while true do end end) return c()",
        "return setmetatable({}, {__index = function() while true do end end}).x",
        "while true do redis.call('GET', 'k') end",
        "while true do redis.pcall('NOSUCH') end",
        // Tables that unfold without end, and work that takes long without a loop in Lua.
        "local t = {} for n = 1, 60 do t = {t, t} end return cjson.encode(t)",
        "local t = {} for n = 1, 15 do local u = {} for i = 1, 30 do u[i] = t end t = u end return #cmsgpack.pack(t)",
        "return #string.gsub(string.rep('a', 1e8), 'a', 'b')",
        "return #struct.pack(string.rep('x', 1e8))",
        "return #cjson.decode('[' .. string.rep('1,', 1e7) .. '1]')",
        "local t = {} for n = 1, 60 do t = {t, t} end return t",
    ] {
        client.send(&request(&[b"EVAL", script.as_bytes(), b"0"]));
        until_busy(&mut other);
        assert!(ask(&mut other, &[b"GET", b"k"]).starts_with("-BUSY"), "{script}");
        assert!(ask(&mut other, &[b"FUNCTION", b"KILL"]).starts_with("-BUSY"), "a script is no function");
        assert_eq!(ask(&mut other, &[b"SCRIPT", b"KILL"]), "+OK");
        let reply = read(&mut client);
        assert!(reply.contains("killed by user with SCRIPT KILL"), "{script}: {reply}");
        assert_eq!(ask(&mut other, &[b"GET", b"k"]), "1");
    }
    // In a transaction, the other commands are not touched by it.
    ask(&mut client, &[b"MULTI"]);
    ask(&mut client, &[b"INCR", b"k"]);
    ask(&mut client, &[b"EVAL", b"while true do end", b"0"]);
    ask(&mut client, &[b"INCR", b"k"]);
    client.send(&request(&[b"EXEC"]));
    until_busy(&mut other);
    assert_eq!(ask(&mut other, &[b"MULTI"]), "+OK", "may be called");
    assert!(ask(&mut other, &[b"GET", b"k"]).starts_with("-BUSY"));
    assert!(ask(&mut other, &[b"EXEC"]).starts_with("-EXECABORT"));
    assert_eq!(ask(&mut other, &[b"SCRIPT", b"KILL"]), "+OK");
    let reply = read(&mut client);
    assert!(reply.starts_with("[:2 -ERR Script killed") && reply.ends_with(":3]"), "{reply}");
    // A client that goes away does not end its script, and the server goes on after it.
    let mut gone = server.connect();
    gone.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    until_busy(&mut other);
    drop(gone);
    assert!(ask(&mut other, &[b"GET", b"k"]).starts_with("-BUSY"));
    assert_eq!(ask(&mut other, &[b"SCRIPT", b"KILL"]), "+OK");
    let began = Instant::now();
    while ask(&mut other, &[b"GET", b"k"]) != "3" {
        assert!(began.elapsed() < PATIENCE, "it does not end");
    }
}

#[test]
fn a_loop_of_few_steps_that_take_long_lets_others_end_it() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    for (prepare, step) in [
        ("local s = ('a'):rep(1e8)", "local _ = s:upper()"),
        ("local s = ('a'):rep(1e8)", "redis.sha1hex(s)"),
        ("local t = {} for n = 1, 3e6 do t[n] = {} end", "collectgarbage()"),
    ] {
        let script = format!("{prepare} redis.log(redis.LOG_WARNING, 'begins {step}') while true do {step} end");
        client.send(&request(&[b"EVAL", script.as_bytes(), b"0"]));
        let began = Instant::now();
        while !server.log().contains(&format!("begins {step}")) {
            assert!(began.elapsed() < PATIENCE, "{step}: {}", server.log());
        }
        until_busy(&mut other);
        assert_eq!(ask(&mut other, &[b"SCRIPT", b"KILL"]), "+OK");
        let reply = read(&mut client);
        assert!(reply.contains("killed by user with SCRIPT KILL"), "{step}: {reply}");
    }
}

#[test]
fn functions_are_killed_by_their_own_command_and_shown_meanwhile() {
    let server = Server::start(&["--busy-reply-threshold", "20", "--io-threads", "3"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    let library = b"#!lua name=l\nredis.register_function('loop', function() while true do end end)";
    assert_eq!(ask(&mut client, &[b"FUNCTION", b"LOAD", library]), "l");
    client.send(&request(&[b"FCALL", b"loop", b"1", b"k", b"arg"]));
    until_busy(&mut other);
    assert!(ask(&mut other, &[b"SCRIPT", b"KILL"]).starts_with("-BUSY"));
    let stats = ask(&mut other, &[b"FUNCTION", b"STATS"]);
    assert!(stats.contains("[name loop command [FCALL loop 1 k arg] duration_ms "), "{stats}");
    assert_eq!(ask(&mut other, &[b"FUNCTION", b"KILL"]), "+OK");
    assert!(read(&mut client).contains("killed by user with FUNCTION KILL"));
}

#[test]
fn a_script_that_has_written_is_not_killed_and_leaves_all_or_nothing() {
    let words = ["--busy-reply-threshold", "20", "--appendfsync", "always"];
    let mut server = Server::start(&words);
    assert_eq!(ask(&mut server.connect(), &[b"SET", b"before", b"1"]), "+OK");
    // Again and again: what an end lets through, it does not let through each time.
    for round in 0..8 {
        let (mut client, mut other) = (server.connect(), server.connect());
        let script = b"redis.call('SET', 'half', 1) while true do end";
        client.send(&request(&[b"EVAL", script, b"0"]));
        until_busy(&mut other);
        assert!(ask(&mut other, &[b"SCRIPT", b"KILL"]).starts_with("-UNKILLABLE"));
        assert!(ask(&mut other, &[b"SHUTDOWN"]).starts_with("-BUSY"), "only NOSAVE ends it");
        if round % 2 == 0 {
            other.send(&request(&[b"SHUTDOWN", b"NOSAVE"]));
        } else {
            let process = server.child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &process]).status().expect("it runs").success());
        }
        assert!(server.child.wait().expect("it ends").success());
        server = restart(&server, &words);
        let mut client = server.connect();
        assert_eq!(ask(&mut client, &[b"GET", b"before"]), "1");
        assert_eq!(ask(&mut client, &[b"GET", b"half"]), "$-1", "not in part, round {round}");
    }
}

#[test]
fn a_script_in_one_thread_holds_up_no_other() {
    let server = Server::start(&["--io-threads", "2", "--busy-reply-threshold", "300"]);
    // Connections go to the threads in turn: each runs the script once.
    for mut client in [server.connect(), server.connect()] {
        let mut others = [0; 2].map(|_| server.connect());
        let mut waiting = [0; 2].map(|_| server.connect());
        let mut listening = [0; 2].map(|_| server.connect());
        for other in &mut listening {
            assert!(ask(other, &[b"SUBSCRIBE", b"c"]).starts_with("[subscribe c"));
        }
        for other in &mut waiting {
            other.send(&request(&[b"BLPOP", b"q", b"0.1"]));
        }
        client.send(&request(&[b"EVAL", b"while true do end", b"0"]));
        // While nobody knows yet that it takes long: clients go, their time is up, memory is measured.
        drop(listening);
        for other in &mut others {
            other.send(&request(&[b"CLIENT", b"TRACKINGINFO"]));
        }
        others.iter_mut().for_each(|other| drop(read(other)));
        others.iter_mut().for_each(until_busy);
        [0; 2].map(|_| server.connect()).iter_mut().for_each(until_busy);
        assert_eq!(ask(&mut others[0], &[b"SCRIPT", b"KILL"]), "+OK");
        assert!(read(&mut client).contains("killed by user"));
        // Its time was up, or the script was there before it.
        for reply in waiting.each_mut().map(read) {
            assert!(reply == "*-1" || reply.starts_with("-BUSY"), "{reply}");
        }
        while ask(&mut others[1], &[b"PUBLISH", b"c", b"x"]) != ":0" {}
    }
}

/// A server over the data of one that has ended.
fn restart(old: &Server, words: &[&str]) -> Server {
    let data = old.folder.path().join("firn-data");
    let data = data.to_str().expect("text").to_owned();
    let mut all = vec!["--appenddirname", "firn-data"];
    all.extend(words);
    let new = tempfile::tempdir().expect("a folder");
    let copy = new.path().join("firn-data");
    std::fs::create_dir(&copy).expect("made");
    for entry in std::fs::read_dir(&data).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
    }
    Server::start_in(new, &all)
}

#[test]
fn effects_and_functions_are_there_after_a_kill() {
    let mut server = Server::start(&["--appendfsync", "everysec"]);
    let mut client = server.connect();
    let one = b"#!lua name=one\nredis.register_function('f1', function(keys) return redis.call('GET', keys[1]) end)";
    let two = b"#!lua name=two\nredis.register_function{function_name='f2', callback=function() return 2 end, flags={'no-writes'}}";
    assert_eq!(ask(&mut client, &[b"FUNCTION", b"LOAD", one]), "one");
    assert_eq!(ask(&mut client, &[b"SAVE"]), "+OK");
    assert_eq!(ask(&mut client, &[b"FUNCTION", b"LOAD", two]), "two");
    let script = b"for i = 1, 100 do redis.call('RPUSH', 'l', math.random()) end redis.call('SETEX', 'e', 1000, 'v') \
                   redis.call('SADD', 's', 'a', 'b', 'c') redis.call('SPOP', 's') return redis.call('INCR', 'n')";
    assert_eq!(ask(&mut client, &[b"EVAL", script, b"0"]), ":1");
    assert_eq!(ask(&mut client, &[b"MULTI"]), "+OK");
    ask(&mut client, &[b"EVAL", script, b"0"]);
    ask(
        &mut client,
        &[b"FUNCTION", b"LOAD", b"#!lua name=three\nredis.register_function('f3', function() return 3 end)"],
    );
    assert_eq!(ask(&mut client, &[b"EXEC"]), "[:2 three]");
    let state = |client: &mut Client| {
        let digest = ask(client, &[b"DEBUG", b"DIGEST"]);
        (digest, ask(client, &[b"FUNCTION", b"LIST", b"WITHCODE"]), ask(client, &[b"FUNCTION", b"DUMP"]))
    };
    ask(&mut client, &[b"CONFIG", b"GET", b"x"]);
    let before = state(&mut client);
    assert!(before.1.contains("three") && before.1.contains("one"), "{}", before.1);
    server.child.kill().expect("killed");
    server.child.wait().expect("ended");
    let server = restart(&server, &[]);
    let mut client = server.connect();
    assert_eq!(state(&mut client), before);
    assert_eq!(ask(&mut client, &[b"FCALL_RO", b"f2", b"0"]), ":2");
    assert_eq!(ask(&mut client, &[b"FCALL", b"F1", b"1", b"n"]), "2");
    assert_eq!(ask(&mut client, &[b"FUNCTION", b"DELETE", b"one"]), "+OK");
    let dump = ask(&mut client, &[b"FUNCTION", b"DUMP"]);
    assert!(!dump.contains("f1") && dump.contains("f3"), "{dump}");
}

#[test]
fn flags_hold_and_memory_rules_are_those_of_redis() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let write = b"#!lua flags=no-writes\nreturn redis.call('SET', 'x', 1)";
    assert!(
        ask(&mut client, &[b"EVAL", write, b"0"]).contains("Write commands are not allowed from read-only scripts.")
    );
    assert!(
        ask(&mut client, &[b"EVAL_RO", b"return redis.call('SET', 'x', 1)", b"0"])
            .contains("not allowed from read-only")
    );
    assert!(ask(&mut client, &[b"EVAL_RO", b"#!lua\nreturn 1", b"0"]).contains("with write flag using *_ro command"));
    assert_eq!(ask(&mut client, &[b"CONFIG", b"SET", b"maxmemory", b"1"]), "+OK");
    assert!(eval(&mut client, "return redis.call('SET', 'x', 1)").starts_with("-OOM"));
    assert!(eval(&mut client, "#!lua\nreturn 1").starts_with("-OOM allow-oom flag is not set"));
    assert_eq!(eval(&mut client, "#!lua flags=allow-oom\nreturn redis.call('SET', 'x', 1)"), "+OK");
    assert_eq!(eval(&mut client, "#!lua flags=no-writes\nreturn redis.call('GET', 'x')"), "1");
    let begun = "redis.call('DEL', 'x') return redis.call('SET', 'y', 1)";
    assert_eq!(eval(&mut client, begun), "+OK", "what has begun to write is not stopped");
    for (line, error) in [
        ("#!lua", "Invalid script shebang"),
        ("#!python\n", "Unexpected engine in script shebang: #!python"),
        ("#!lua foo\n", "Unknown lua shebang option: foo"),
        ("#!lua flags=x\n", "Unexpected flag in script shebang: x"),
    ] {
        assert_eq!(eval(&mut client, line), format!("-ERR {error}"));
    }
}

#[test]
fn scripts_may_call_what_answers_at_once_and_keeps_the_engine() {
    let server = Server::start(&["--enable-debug-command", "local"]);
    let mut client = server.connect();
    for (script, part) in [
        ("return redis.call('INFO')", "redis_version:"),
        ("return redis.call('INFO', 'everything')", "durable_lsn:"),
        ("return redis.call('INFO', 'server', 'memory', 'latencystats')", "maxmemory_policy:noeviction"),
        ("return redis.call('LASTSAVE')", ":"),
        ("return redis.call('SLOWLOG', 'LEN')", ":"),
        ("return redis.call('MEMORY', 'USAGE', 'nothing')", "$-1"),
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.contains(part), "{script}: {reply}");
    }
    let refused = [
        "CONFIG', 'GET', 'port",
        "CLIENT', 'LIST",
        "DEBUG', 'RELOAD",
        "FUNCTION', 'LIST",
        "EVAL', '1', '0",
        "SAVE",
        "WATCH', 'k",
    ];
    let call = |name: &str| format!("return redis.call('{name}')");
    for name in refused {
        let reply = eval(&mut client, &call(name));
        assert!(reply.contains("This Redis command is not allowed from script"), "{name}: {reply}");
    }
    assert_eq!(ask(&mut client, &[b"DEBUG", b"SET-DISABLE-DENY-SCRIPTS", b"1"]), "+OK");
    for name in refused {
        let reply = eval(&mut client, &call(name));
        let may = name.starts_with("CLIENT");
        assert_eq!(reply.contains("not allowed from script"), !may, "{name}: {reply}");
    }
    assert_eq!(eval(&mut client, &call("DEBUG', 'PROTOCOL', 'integer")), ":12345");
    assert_eq!(ask(&mut client, &[b"DEBUG", b"SET-DISABLE-DENY-SCRIPTS", b"0"]), "+OK");
    assert!(eval(&mut client, &call("CLIENT', 'LIST")).contains("not allowed from script"));
}

#[test]
fn a_script_sees_sets_in_order_and_the_functions_of_strings_are_those_of_lua_5_1() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    ask(&mut client, &[b"SADD", b"s", b"d", b"a", b"c", b"e", b"b"]);
    let sort = "return redis.call('SORT', 's', 'BY', 'nosort'";
    assert_eq!(eval(&mut client, &format!("{sort})")), "[a b c d e]");
    assert_eq!(eval(&mut client, &format!("{sort}, 'DESC', 'LIMIT', '1', '2')")), "[d c]");
    for (script, reply) in [
        ("return {string.find('hello world', 'o w')}", "[:5 :7]"),
        ("return {('hello'):find('l+', -3)}", "[:3 :4]"),
        ("return {('hello'):find('', 99)}", "[:6 :5]"),
        ("return {('a.b'):find('.', 1, true)}", "[:2 :2]"),
        ("return {('key=val'):match('(%w+)=(%w+)')}", "[key val]"),
        ("return {('hello'):match('()ll()')}", "[:3 :5]"),
        ("return {('abc'):gsub('%w', '%0%0-')}", "[aa-bb-cc- :3]"),
        ("return {('abc'):gsub('', '-')}", "[-a-b-c- :4]"),
        ("return {('hello world'):gsub('o', 'x', 1)}", "[hellx world :1]"),
        ("return {('$name is $age'):gsub('%$(%w+)', {name = 'Lua', age = 5})}", "[Lua is 5 :2]"),
        ("return {('abc'):gsub('%w', function(c) if c == 'b' then return c:upper() end end)}", "[aBc :3]"),
        ("return {('abc'):gsub('^a', 'x')}", "[xbc :1]"),
        ("return {('abc'):gsub('b', '%%')}", "[a%c :1]"),
        ("local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t + 1] = k .. v end return t", "[a1 b2]"),
        ("local n = 0 for _ in ('abc'):gfind('') do n = n + 1 end return n", ":4"),
        ("return {('12345'):find(34)}", "[:3 :4]"),
        ("return {string.gsub(123, 2, 4)}", "[143 :1]"),
        ("return ({pcall(string.gsub, 'a', 'a', function() return {} end)})[2]", "invalid replacement value (a table)"),
        ("return ({pcall(string.gsub, 'a', 'a', function() error('mine', 0) end)})[2]", "mine"),
        ("return ({pcall(string.gsub, 'a', '(', '')})[2]", "unfinished capture"),
        (
            "return ({pcall(string.gsub, 'a', 'a')})[2]",
            "bad argument #3 to \\'gsub\\' (string/function/table expected)",
        ),
        ("return ({pcall(string.gsub, 'a', 'a', '%9')})[2]", "invalid capture index"),
    ] {
        assert_eq!(eval(&mut client, script), reply, "{script}");
    }
    for (script, reply) in [
        (
            "return ({pcall(setmetatable, 1, {})})[2]",
            "bad argument #1 to \\'setmetatable\\' (table expected, got number)",
        ),
        ("return ({pcall(string.rep)})[2]", "bad argument #1 to \\'rep\\' (string expected, got no value)"),
        ("return ({pcall(string.char, 256)})[2]", "bad argument #1 to \\'char\\' (invalid value)"),
    ] {
        assert_eq!(eval(&mut client, script), reply, "{script}");
    }
    // Where it failed is in the script, not in what the server put there.
    let reply = eval(&mut client, "local t = {3, 1, 'a'}\ntable.sort(t)");
    assert!(reply.contains("compare") && reply.ends_with(", on @user_script:2."), "{reply}");
    // What takes the place of matches takes the machine's memory.
    refused(
        &server,
        &mut client,
        "return #string.gsub(string.rep('a', 1e6), 'a', string.rep('b', 1e6))",
        "not enough memory",
    );
}

#[test]
fn scripts_of_eval_are_given_up_and_loaded_ones_stay() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let loaded = ask(&mut client, &[b"SCRIPT", b"LOAD", b"return 'loaded'"]);
    for n in 0..1200 {
        assert_eq!(eval(&mut client, &format!("return {n}")), format!(":{n}"));
    }
    let info = ask(&mut client, &[b"INFO", b"memory"]);
    assert!(info.contains("number_of_cached_scripts:501"), "{info}");
    assert_eq!(ask(&mut client, &[b"EVALSHA", loaded.as_bytes(), b"0"]), "loaded");
    assert_eq!(ask(&mut client, &[b"SCRIPT", b"SHOW", loaded.as_bytes()]), "return \\'loaded\\'");
    assert_eq!(ask(&mut client, &[b"SCRIPT", b"FLUSH"]), "+OK");
    assert_eq!(ask(&mut client, &[b"SCRIPT", b"EXISTS", loaded.as_bytes()]), "[:0]");
    assert_eq!(
        ask(&mut client, &[b"EVALSHA", loaded.as_bytes(), b"0"]),
        "-NOSCRIPT No matching script. Please use EVAL."
    );
}

#[test]
fn a_client_that_waits_and_goes_away_while_a_script_runs_gets_nothing() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let (mut client, mut other, mut waiter) = (server.connect(), server.connect(), server.connect());
    waiter.send(&request(&[b"BLPOP", b"list", b"0"]));
    while !ask(&mut other, &[b"INFO", b"clients"]).contains("blocked_clients:1") {}
    let script =
        b"local n = redis.call('RPUSH', 'list', 'x') while n < 3e7 do n = n + 1 end return redis.call('LLEN', 'list')";
    client.send(&request(&[b"EVAL", script, b"0"]));
    until_busy(&mut other);
    drop(waiter);
    // Time for the server to notice; if it does not, the waiter is served after the script, as if it had gone later.
    for _ in 0..50 {
        ask(&mut other, &[b"PING"]);
    }
    assert_eq!(read(&mut client), ":1");
    server.is_well();
}

/// A small disk for a server's store, in memory; needs root. Dropped after the server, it takes the folder along.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path, options: &str) -> Option<SmallDisk> {
        let store = folder.join("firn-data");
        std::fs::create_dir(&store).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(store).output().ok()?;
        mounted.status.success().then(|| SmallDisk(folder.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.join("firn-data")).status();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn on_a_full_disk_a_script_or_a_transaction_is_refused_before_its_first_change_or_done_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_disk) = SmallDisk::mount(folder.path(), "size=16m") else {
        println!("SKIPPED: a small disk needs root and tmpfs");
        return;
    };
    let server = Server::start_in(folder, &["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    let mut client = server.connect();
    let (mut bits, mut full) = (1_u64, String::new());
    for number in 0..1000 {
        // Nothing that compresses: the log has to become as long as the data.
        let value = std::iter::repeat_with(|| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (bits >> 56) as u8
        });
        let value: Vec<u8> = value.take(64 * 1024).collect();
        full = ask(&mut client, &[b"SET", format!("k{number}").as_bytes(), &value]);
        if full != "+OK" {
            break;
        }
    }
    assert!(full.starts_with("-MISCONF"), "{full}");
    let there = |client: &mut Client, keys: &[&[u8]]| {
        let mut words: Vec<&[u8]> = vec![b"EXISTS"];
        words.extend(keys);
        ask(client, &words)
    };

    // Its first change would grow: nothing happens.
    refused(&server, &mut client, "redis.call('set', 'x', 1) redis.call('del', 'k0')", "MISCONF");
    refused(&server, &mut client, "redis.call('del', 'none') redis.call('set', 'x', 1)", "MISCONF");
    refused(&server, &mut client, "#!lua\nredis.call('del', 'k0') redis.call('set', 'x', 1)", "MISCONF");
    for words in [&[&b"MULTI"[..]][..], &[b"DEL", b"k0"], &[b"SET", b"x", b"1"]] {
        ask(&mut client, words);
    }
    let reply = ask(&mut client, &[b"EXEC"]);
    assert!(reply.starts_with("-EXECABORT") && reply.contains("MISCONF"), "{reply}");
    assert_eq!(there(&mut client, &[b"k0", b"x"]), ":1");

    // Its first change is a deletion: what follows is done as well.
    let script = "redis.call('del', 'k0') redis.call('set', 'x', 1) return redis.call('rpush', 'y', 1, 2)";
    assert_eq!(eval(&mut client, script), ":2");
    assert_eq!(there(&mut client, &[b"k0"]), ":0");
    assert_eq!(there(&mut client, &[b"x", b"y"]), ":2");
    for words in [&[&b"MULTI"[..]][..], &[b"DEL", b"k1"], &[b"EVAL", b"return redis.call('set', 'z', 1)", b"0"]] {
        ask(&mut client, words);
    }
    assert_eq!(ask(&mut client, &[b"EXEC"]), "[:1 +OK]");
    assert_eq!(ask(&mut client, &[b"SET", b"w", b"1"]), full, "the disk is still full");
}

#[test]
fn a_sort_of_a_large_table_is_ended_in_its_midst() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    let script = "local t = {} for n = 1, 2e6 do t[n] = (n * 7919) % 2000003 end \
                  redis.log(redis.LOG_WARNING, 'it sorts') table.sort(t) redis.log(redis.LOG_WARNING, 'it has sorted') return 1";
    client.send(&request(&[b"EVAL", script.as_bytes(), b"0"]));
    let began = Instant::now();
    while !server.log().contains("it sorts") {
        assert!(began.elapsed() < PATIENCE, "{}", server.log());
    }
    assert_eq!(ask(&mut other, &[b"SCRIPT", b"KILL"]), "+OK");
    let reply = read(&mut client);
    assert!(reply.contains("killed by user with SCRIPT KILL"), "{reply}");
    assert!(!server.log().contains("it has sorted"), "{}", server.log());
}

#[test]
fn large_tables_are_sorted_as_small_ones_are() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for count in ["10", "4096", "4097", "100000"] {
        let fill = format!("local t = {{}} for n = 1, {count} do t[n] = (n * 7919) % 100003 end ");
        let is_sorted = "for n = 2, #t do if t[n] < t[n - 1] then return n end end return #t";
        let is_reversed = "for n = 2, #t do if t[n] > t[n - 1] then return n end end return #t";
        assert_eq!(eval(&mut client, &format!("{fill} table.sort(t) {is_sorted}")), format!(":{count}"));
        let descending = format!("{fill} table.sort(t, function(a, b) return a > b end) {is_reversed}");
        assert_eq!(eval(&mut client, &descending), format!(":{count}"));
        let mixed = format!("{fill} t[{count}] = 'x' return table.sort(t)");
        assert!(eval(&mut client, &mixed).contains("attempt to compare"), "{count}");
        let no_function = format!("{fill} return table.sort(t, 5)");
        assert!(eval(&mut client, &no_function).contains("function expected"), "{count}");
    }
}
