//! A Lua stack, as functions in Rust use it: arguments in, results out, without pointers.
//!
//! 1. Texts are borrowed from the stack while nothing on it changes.
//! 2. What takes memory may raise an error of the machine, which leaves the function as an exception: see the module above.
//! 3. Functions see the arguments at 1, 2, ...; results are what they pushed last.

use super::machine::Reference;
use mlua_sys as ffi;
use std::ffi::{CStr, c_int};
use std::ptr;

/// What a function in Rust answers: how many of the topmost values are its results, or the error that it raises.
pub(in crate::scripting) type Answer = Result<usize, Raise>;

/// An error that a function raises.
#[derive(Debug)]
pub(in crate::scripting) enum Raise {
    /// A text, in front of which the place in the script is put that called.
    Text(String),
    /// A table whose `err` is this line, as `redis.call` raises it.
    Reply(Vec<u8>),
    /// As [`Raise::Reply`], and the error has been counted already.
    CountedReply(Vec<u8>),
    /// The topmost value.
    Value,
}

impl Raise {
    /// A text.
    pub(in crate::scripting) fn text(text: impl Into<String>) -> Raise {
        Raise::Text(text.into())
    }

    /// An error table; see [`error_line`].
    pub(in crate::scripting) fn reply(text: &str) -> Raise {
        Raise::Reply(error_line(text.as_bytes()))
    }
}

/// An error's line from its text: one that begins with `-` has a prefix of its own, any other gets `ERR`.
pub(in crate::scripting) fn error_line(text: &[u8]) -> Vec<u8> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let text = &text[text.iter().take_while(|byte| is_end(byte)).count()..];
    let text = &text[..text.len() - text.iter().rev().take_while(|byte| is_end(byte)).count()];
    match text.strip_prefix(b"-") {
        Some(line) if line.contains(&b' ') => line.to_vec(),
        Some(line) => [b"ERR ", line].concat(),
        None => [b"ERR ", text].concat(),
    }
}

/// Types of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::scripting) enum Kind {
    /// Also where there is no value.
    Nil,
    /// A truth value.
    Boolean,
    /// A pointer: only `cjson.null` is one.
    Light,
    /// A number.
    Number,
    /// Bytes.
    String,
    /// A table.
    Table,
    /// A function.
    Function,
    /// What scripts cannot make or only pass on: threads, buffers, vectors, userdata.
    Other,
}

/// The stack of the running function.
pub(in crate::scripting) struct Stack {
    state: *mut ffi::lua_State,
}

impl Stack {
    /// The stack of `state`.
    ///
    /// # Safety
    /// The state is alive as long as this is used, by nobody else, and within a protected call wherever an error may be raised.
    pub(super) unsafe fn of(state: *mut ffi::lua_State) -> Stack {
        Stack { state }
    }

    pub(super) fn state(&self) -> *mut ffi::lua_State {
        self.state
    }

    /// Raises an error.
    ///
    /// # Safety
    /// Only in a protected call.
    pub(super) unsafe fn raise(&mut self, raise: Raise) -> ! {
        match raise {
            Raise::Text(text) => {
                // SAFETY: pushes at most three values, for which every function has room.
                unsafe { ffi::luaL_where(self.state, 1) };
                self.push_bytes(text.as_bytes());
                drop(text);
                // SAFETY: two texts are there.
                unsafe { ffi::lua_concat(self.state, 2) };
            }
            Raise::Reply(line) => self.push_error(&line, false),
            Raise::CountedReply(line) => self.push_error(&line, true),
            Raise::Value => {}
        }
        // SAFETY: in a protected call, says the caller.
        unsafe { ffi::lua_error(self.state) }
    }

    /// Pushes an error table.
    pub(in crate::scripting) fn push_error(&mut self, line: &[u8], counted: bool) {
        self.new_table(0, 2);
        self.push_bytes(line);
        self.raw_set_field(-2, c"err");
        if counted {
            self.push_boolean(true);
            self.raw_set_field(-2, c"ignore_error_stats_update");
        }
    }

    /// How many values there are.
    #[inline]
    pub(in crate::scripting) fn top(&self) -> i32 {
        // SAFETY: reads only.
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// Keeps the lowest `top` values.
    #[inline]
    pub(in crate::scripting) fn set_top(&mut self, top: i32) {
        debug_assert!(top >= 0 && top <= self.top(), "values are only dropped");
        // SAFETY: only drops values.
        unsafe { ffi::lua_settop(self.state, top) };
    }

    /// Drops the topmost `n` values.
    #[inline]
    pub(in crate::scripting) fn pop(&mut self, n: i32) {
        let top = self.top();
        self.set_top(top - n);
    }

    /// Makes sure that `n` more values can be pushed.
    ///
    /// # Errors
    /// If the stack would be too deep.
    #[inline]
    pub(in crate::scripting) fn reserve(&mut self, n: usize) -> Result<(), Raise> {
        let n = c_int::try_from(n).unwrap_or(c_int::MAX);
        // SAFETY: grows the stack or answers 0; may raise for want of memory.
        let room = n < 8_000_000 && unsafe { ffi::lua_checkstack(self.state, n) } != 0;
        if room { Ok(()) } else { Err(Raise::text("stack overflow (too many values)")) }
    }

    /// Whether there is room for `n` more values, without raising.
    pub(in crate::scripting) fn has_room(&mut self, n: i32) -> bool {
        // SAFETY: grows the stack or answers 0.
        unsafe { ffi::lua_checkstack(self.state, n) != 0 }
    }

    /// The type of value `at`.
    #[inline]
    pub(in crate::scripting) fn kind(&self, at: i32) -> Kind {
        // SAFETY: reads only; an index without a value is allowed.
        match unsafe { ffi::lua_type(self.state, at) } {
            ffi::LUA_TNONE | ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Kind::Light,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// The name of the type of value `at`, as messages show it.
    pub(in crate::scripting) fn kind_name(&self, at: i32) -> String {
        // SAFETY: reads only; names are static texts.
        let name = unsafe { CStr::from_ptr(ffi::lua_typename(self.state, ffi::lua_type(self.state, at))) };
        name.to_string_lossy().into_owned()
    }

    /// The bytes of a string; `None` for other types.
    #[inline]
    pub(in crate::scripting) fn bytes(&self, at: i32) -> Option<&[u8]> {
        if self.kind(at) != Kind::String {
            return None;
        }
        let mut len = 0;
        // SAFETY: it is a string, which is not converted; it lives while it is on the stack, and values are dropped with `&mut self`.
        unsafe {
            let text = ffi::lua_tolstring(self.state, at, &mut len);
            Some(std::slice::from_raw_parts(text.cast(), len))
        }
    }

    /// The number, or what a string says as a number; `None` for other types.
    #[inline]
    pub(in crate::scripting) fn number(&self, at: i32) -> Option<f64> {
        let mut is_number = 0;
        // SAFETY: reads only.
        let number = unsafe { ffi::lua_tonumberx(self.state, at, &mut is_number) };
        (is_number != 0).then_some(number)
    }

    /// Whether value `at` is neither `nil` nor `false`.
    pub(in crate::scripting) fn boolean(&self, at: i32) -> bool {
        // SAFETY: reads only.
        unsafe { ffi::lua_toboolean(self.state, at) != 0 }
    }

    /// The string argument `at`; a number is turned into one.
    ///
    /// # Errors
    /// As Lua words it.
    pub(in crate::scripting) fn expect_bytes(&mut self, at: i32) -> Result<&[u8], Raise> {
        if self.kind(at) == Kind::Number {
            // SAFETY: a number in its place becomes a string.
            unsafe { ffi::lua_tolstring(self.state, at, ptr::null_mut()) };
        }
        if self.kind(at) == Kind::String {
            return Ok(self.bytes(at).unwrap_or_default());
        }
        Err(self.wrong_type(at, "string"))
    }

    /// The number argument `at`.
    ///
    /// # Errors
    /// As Lua words it.
    pub(in crate::scripting) fn expect_number(&mut self, at: i32) -> Result<f64, Raise> {
        self.number(at).ok_or_else(|| self.wrong_type(at, "number"))
    }

    fn wrong_type(&self, at: i32, wanted: &str) -> Raise {
        let got = if at > self.top() { "no value".to_owned() } else { self.kind_name(at) };
        self.bad_argument(at, &format!("{wanted} expected, got {got}"))
    }

    /// `bad argument #at to 'function' (why)`.
    pub(in crate::scripting) fn bad_argument(&self, at: i32, why: &str) -> Raise {
        let name = self.place(0).and_then(|place| place.name).unwrap_or_else(|| "?".to_owned());
        Raise::text(format!("bad argument #{at} to '{name}' ({why})"))
    }

    /// Pushes `nil`.
    pub(in crate::scripting) fn push_nil(&mut self) {
        // SAFETY: room was reserved or is every function's.
        unsafe { ffi::lua_pushnil(self.state) };
    }

    /// Pushes a truth value.
    pub(in crate::scripting) fn push_boolean(&mut self, value: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushboolean(self.state, c_int::from(value)) };
    }

    /// Pushes a number.
    #[inline]
    pub(in crate::scripting) fn push_number(&mut self, value: f64) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnumber(self.state, value) };
    }

    /// Pushes a string.
    #[inline]
    pub(in crate::scripting) fn push_bytes(&mut self, bytes: &[u8]) {
        // SAFETY: as above; the bytes are copied.
        unsafe { ffi::lua_pushlstring_(self.state, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Pushes a part of string `at`.
    pub(in crate::scripting) fn push_part(&mut self, at: i32, part: std::ops::Range<usize>) {
        let text: *const [u8] = self.bytes(at).and_then(|text| text.get(part)).unwrap_or_default();
        // SAFETY: as above; the string stays where it is while it is on the stack or an upvalue, whatever is collected meanwhile.
        unsafe { ffi::lua_pushlstring_(self.state, text.cast(), text.len()) };
    }

    /// Pushes the null pointer, `cjson.null`.
    pub(in crate::scripting) fn push_null(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushlightuserdata(self.state, ptr::null_mut()) };
    }

    /// Pushes value `at` once more.
    pub(in crate::scripting) fn push_value(&mut self, at: i32) {
        // SAFETY: as above; the caller knows that there is such a value.
        unsafe { ffi::lua_pushvalue(self.state, at) };
    }

    /// Moves the topmost value to `at`.
    pub(in crate::scripting) fn insert(&mut self, at: i32) {
        // SAFETY: there are values at `at` and on top.
        unsafe { ffi::lua_insert(self.state, at) };
    }

    /// Replaces value `at` by the topmost one.
    pub(in crate::scripting) fn replace(&mut self, at: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_replace(self.state, at) };
    }

    /// Pushes an empty table with room for `array` elements and `fields` others.
    pub(in crate::scripting) fn new_table(&mut self, array: usize, fields: usize) {
        // What is declared is believed up to here; a table grows with what comes.
        const BELIEVED: usize = 1 << 16;
        // SAFETY: as above.
        unsafe {
            ffi::lua_createtable(self.state, array.min(BELIEVED) as c_int, fields.min(BELIEVED) as c_int);
        };
    }

    /// `table[index] = topmost`, which is popped. The table is not read-only.
    #[inline]
    pub(in crate::scripting) fn raw_set_index(&mut self, table: i32, index: i32) {
        // SAFETY: the caller knows that there is a table.
        unsafe { ffi::lua_rawseti_(self.state, table, index) };
    }

    /// Pushes `table[index]`.
    pub(in crate::scripting) fn raw_get_index(&mut self, table: i32, index: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawgeti_(self.state, table, index) };
    }

    /// `table.name = topmost`, which is popped. The table is not read-only.
    pub(in crate::scripting) fn raw_set_field(&mut self, table: i32, name: &CStr) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawsetfield(self.state, table, name.as_ptr()) };
    }

    /// Pushes `table.name`.
    pub(in crate::scripting) fn raw_get_field(&mut self, table: i32, name: &CStr) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawgetfield(self.state, table, name.as_ptr()) };
    }

    /// `table[below topmost] = topmost`, both popped. The key is neither nil nor NaN, the table not read-only.
    pub(in crate::scripting) fn raw_set(&mut self, table: i32) {
        // SAFETY: as above; raises what it does not like.
        unsafe { ffi::lua_rawset(self.state, table) };
    }

    /// Pops a key and pushes the next pair of `table`; false (and nothing pushed) at the end. Begins with nil.
    pub(in crate::scripting) fn next(&mut self, table: i32) -> bool {
        // SAFETY: as above; there is a key on top.
        unsafe { ffi::lua_next(self.state, table) != 0 }
    }

    /// Makes a table read-only, or not.
    pub(in crate::scripting) fn set_read_only(&mut self, table: i32, on: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_setreadonly(self.state, table, c_int::from(on)) };
    }

    /// Whether a table is read-only.
    pub(in crate::scripting) fn is_read_only(&self, table: i32) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_getreadonly(self.state, table) != 0 }
    }

    /// Sets the metatable of value `at` to the topmost one, or takes it away if that is nil.
    pub(in crate::scripting) fn set_metatable(&mut self, at: i32) {
        // SAFETY: the topmost value is a table or nil.
        unsafe { ffi::lua_setmetatable(self.state, at) };
    }

    /// Pushes the metatable of value `at`; false (and nothing pushed) if it has none.
    pub(in crate::scripting) fn get_metatable(&mut self, at: i32) -> bool {
        // SAFETY: reads only.
        unsafe { ffi::lua_getmetatable(self.state, at) != 0 }
    }

    /// Pushes the table of globals.
    pub(in crate::scripting) fn push_globals(&mut self) {
        self.push_value(ffi::LUA_GLOBALSINDEX);
    }

    /// Makes the topmost table that of globals; functions loaded from now on see it.
    pub(in crate::scripting) fn set_globals(&mut self) {
        self.replace(ffi::LUA_GLOBALSINDEX);
        // SAFETY: sets a flag: names of functions in this table may be looked up once, when code is loaded.
        unsafe { ffi::lua_setsafeenv(self.state, ffi::LUA_GLOBALSINDEX, 1) };
    }

    /// Keeps the topmost value, which is popped.
    pub(in crate::scripting) fn keep(&mut self) -> Reference {
        // SAFETY: there is a value.
        let reference = unsafe { ffi::lua_ref(self.state, -1) };
        self.pop(1);
        Reference(reference)
    }

    /// Pushes a kept value.
    #[inline]
    pub(in crate::scripting) fn push_kept(&mut self, reference: Reference) {
        // SAFETY: the registry is a table, and the reference is of this machine.
        unsafe { ffi::lua_rawgeti_(self.state, ffi::LUA_REGISTRYINDEX, reference.0) };
    }

    /// Forgets a kept value.
    pub(in crate::scripting) fn forget(&mut self, reference: Reference) {
        // SAFETY: as above.
        unsafe { ffi::lua_unref(self.state, reference.0) };
    }

    /// Frees what is not used any more.
    pub(in crate::scripting) fn collect(&mut self) {
        // SAFETY: finalizers do not exist.
        unsafe { ffi::lua_gc(self.state, ffi::LUA_GCCOLLECT, 0) };
    }

    /// Memory of the machine, in KiB.
    pub(in crate::scripting) fn memory_kb(&self) -> f64 {
        // SAFETY: reads only.
        unsafe {
            let kib = ffi::lua_gc(self.state, ffi::LUA_GCCOUNT, 0);
            f64::from(kib) + f64::from(ffi::lua_gc(self.state, ffi::LUA_GCCOUNTB, 0)) / 1024.0
        }
    }

    /// Calls the function below the topmost `arguments` values, protected; leaves its results, or one error. `handler` is the index of
    /// a function that sees the error where it happens, or 0. Says whether there was no error.
    pub(in crate::scripting) fn call(&mut self, arguments: i32, results: Option<i32>, handler: i32) -> bool {
        // SAFETY: the function and its arguments are there.
        unsafe { ffi::lua_pcall(self.state, arguments, results.unwrap_or(ffi::LUA_MULTRET), handler) == 0 }
    }

    /// Calls the function below the topmost `arguments` values, which become its `results`. An error passes through.
    pub(in crate::scripting) fn invoke(&mut self, arguments: i32, results: i32) {
        // SAFETY: in a protected call, as every function; the function and its arguments are there.
        unsafe { ffi::lua_call(self.state, arguments, results) };
    }

    /// Puts `table[topmost]` in the place of the topmost value, as Lua code would find it: metamethods run, and their errors pass through.
    pub(in crate::scripting) fn get_table(&mut self, table: i32) {
        // SAFETY: as above.
        unsafe { ffi::lua_gettable(self.state, table) };
    }

    /// Pushes value `at` as text, as `tostring` does.
    pub(in crate::scripting) fn push_text(&mut self, at: i32) {
        // SAFETY: pushes one value; may call a metamethod.
        unsafe { ffi::luaL_tolstring(self.state, at, ptr::null_mut()) };
    }

    /// Value `at` for a message: a text, or the `err` of a table.
    pub(in crate::scripting) fn error_text(&mut self, at: i32) -> String {
        let at = if at < 0 { self.top() + 1 + at } else { at };
        match self.kind(at) {
            Kind::String => String::from_utf8_lossy(self.bytes(at).unwrap_or_default()).into_owned(),
            Kind::Table => {
                self.raw_get_field(at, c"err");
                let text = self.bytes(-1).map(|text| String::from_utf8_lossy(text).into_owned());
                self.pop(1);
                text.unwrap_or_else(|| "(an error object without text)".to_owned())
            }
            _ => format!("(an error object of type {})", self.kind_name(at)),
        }
    }

    /// Where in which script the function `level` calls up is; 0 is the running one.
    pub(in crate::scripting) fn place(&self, level: i32) -> Option<Place> {
        // SAFETY: the structure is filled by the machine; texts in it are static or the function's own, and copied at once.
        unsafe {
            let mut debug = std::mem::zeroed::<ffi::lua_Debug>();
            if ffi::lua_getinfo(self.state, level, c"sln".as_ptr(), &mut debug) == 0 {
                return None;
            }
            let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
            Some(Place {
                source: text(debug.source),
                line: debug.currentline,
                native: CStr::from_ptr(debug.what) == c"C",
                name: (!debug.name.is_null()).then(|| text(debug.name)),
            })
        }
    }
}

/// Where a function is.
pub(in crate::scripting) struct Place {
    /// Its chunk, with the `@`.
    pub(in crate::scripting) source: String,
    /// The line that runs.
    pub(in crate::scripting) line: i32,
    /// It is not Lua's.
    pub(in crate::scripting) native: bool,
    /// Its name.
    pub(in crate::scripting) name: Option<String>,
}
