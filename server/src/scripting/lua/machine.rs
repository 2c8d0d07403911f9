//! A Lua machine: its memory, which is bounded, and what is called from outside of scripts.
//!
//! 1. Memory beyond the limit is refused: the script gets the error "not enough memory", and the machine goes on.
//! 2. Source text becomes bytecode only here, and bytecode comes from nowhere else: a script cannot hand in its own.
//! 3. While code runs, [`Machine`]'s hook is called at every loop and call; what it answers ends the script.

use super::stack::{Answer, Raise, Stack};
use crate::scripting::watch;
use mlua_sys as ffi;
use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};

/// Memory that a machine has taken, and may take, in bytes.
struct Memory {
    used: usize,
    limit: usize,
}

/// A machine without code.
pub(in crate::scripting) struct Machine {
    state: NonNull<ffi::lua_State>,
    memory: NonNull<Memory>,
}

// SAFETY: a Lua state has no ties to the thread that made it; whoever has the machine is the only one to use it.
unsafe impl Send for Machine {}

/// A value that the machine keeps for Rust.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::scripting) struct Reference(pub(super) c_int);

/// Alignment of what Lua allocates.
const ALIGN: usize = 16;

/// The machine's allocator: `old` bytes at `block` become `new` ones.
unsafe extern "C" fn allocate(memory: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: `Machine::new` gave this pointer with this function; the machine is used by one thread at a time.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    let old = if block.is_null() { 0 } else { old };
    // SAFETY: the machine states the size with which a block was allocated; all were allocated here, with the same alignment; sizes are
    // above 0 where they are used, and below `isize::MAX`, since the limit is.
    unsafe {
        let layout = Layout::from_size_align_unchecked(old, ALIGN);
        if new == 0 {
            if old > 0 {
                dealloc(block.cast(), layout);
                memory.used -= old;
            }
            return ptr::null_mut();
        }
        if new > old && new - old > memory.limit.saturating_sub(memory.used) {
            return ptr::null_mut();
        }
        let block: *mut u8 = if old == 0 {
            alloc(Layout::from_size_align_unchecked(new, ALIGN))
        } else {
            realloc(block.cast(), layout, new)
        };
        if !block.is_null() {
            memory.used = memory.used - old + new;
            if new >= watch::LARGE_BLOCK {
                watch::made_block(new);
            }
        }
        block.cast()
    }
}

/// What the machine calls at loops and calls; `collecting` is not negative where an error is not allowed.
unsafe extern "C-unwind" fn hook(state: *mut ffi::lua_State, collecting: c_int) {
    if collecting >= 0 {
        return;
    }
    if let Err(raise) = watch::tick() {
        // SAFETY: called by the machine from within a protected call, at a point where errors are allowed.
        unsafe { Stack::of(state).raise(raise) }
    }
}

impl Machine {
    /// A machine with Luau's whole standard library, which nobody shall see as it is, that takes at most `limit` bytes of memory.
    pub(in crate::scripting) fn new(limit: usize) -> Machine {
        let memory = NonNull::from(Box::leak(Box::new(Memory { used: 0, limit: limit.min(isize::MAX as usize) })));
        // SAFETY: `allocate` behaves as asked for and `memory` lives as long as the machine; libraries are opened on an empty stack.
        let state = unsafe {
            let state = ffi::lua_newstate(allocate, memory.as_ptr().cast());
            let state = NonNull::new(state).expect("the memory limit leaves room for an empty machine");
            ffi::luaL_openlibs(state.as_ptr());
            (*ffi::lua_callbacks(state.as_ptr())).interrupt = Some(hook);
            state
        };
        Machine { state, memory }
    }

    /// Its stack, to be used outside of any call. What raises must be run by [`Machine::protected`].
    pub(in crate::scripting) fn stack(&mut self) -> Stack {
        // SAFETY: the state lives as long as the machine, which is borrowed.
        unsafe { Stack::of(self.state.as_ptr()) }
    }

    /// Bytes of memory in use.
    pub(in crate::scripting) fn used_bytes(&self) -> usize {
        // SAFETY: the machine is borrowed: nobody runs it.
        unsafe { self.memory.as_ref().used }
    }

    /// Whether more than half of the memory it may take is taken, by garbage or not.
    pub(in crate::scripting) fn is_crowded(&self) -> bool {
        // SAFETY: the block lives as long as the machine, whose allocations alone change it, in this thread.
        let memory = unsafe { self.memory.as_ref() };
        memory.used > memory.limit / 2
    }

    /// Frees what is not used any more.
    pub(in crate::scripting) fn collect(&mut self) {
        // SAFETY: called outside of any call.
        unsafe { ffi::lua_gc(self.state.as_ptr(), ffi::LUA_GCCOLLECT, 0) };
    }

    /// Runs `function` where errors may be raised (memory is enough for one), and leaves the stack as it was.
    ///
    /// # Errors
    /// The text of the error.
    pub(in crate::scripting) fn protected<T>(
        &mut self,
        function: impl FnOnce(&mut Stack) -> Result<T, Raise>,
    ) -> Result<T, String> {
        let mut job = Job { function: Some(function), result: None };
        let enter = job.entry();
        let mut stack = self.stack();
        let top = stack.top();
        // SAFETY: the job is alive during the call, and `enter` expects it.
        unsafe { ffi::lua_cpcall(self.state.as_ptr(), enter, (&raw mut job).cast()) };
        let error = if job.result.is_none() { stack.error_text(-1) } else { String::new() };
        stack.set_top(top);
        job.result.ok_or(error)
    }
}

/// A function that is to run in a protected call, and its result.
struct Job<T, F> {
    function: Option<F>,
    result: Option<T>,
}

impl<T, F: FnOnce(&mut Stack) -> Result<T, Raise>> Job<T, F> {
    /// What runs it: a function of the machine whose only argument is a pointer to the job.
    fn entry(&self) -> ffi::lua_CFunction {
        Self::enter
    }

    unsafe extern "C-unwind" fn enter(state: *mut ffi::lua_State) -> c_int {
        // SAFETY: `Machine::protected` passes a pointer to a job of this very type, alive during the call.
        let (job, mut stack) = unsafe {
            let job = ffi::lua_touserdata(state, 1).cast::<Self>();
            (&mut *job, Stack::of(state))
        };
        let Some(function) = job.function.take() else { return 0 };
        match function(&mut stack) {
            Ok(result) => job.result = Some(result),
            // SAFETY: this function runs in a protected call.
            Err(raise) => unsafe { stack.raise(raise) },
        }
        0
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: nobody uses the machine any more, and its memory's account goes after it.
        unsafe {
            ffi::lua_close(self.state.as_ptr());
            drop(Box::from_raw(self.memory.as_ptr()));
        }
    }
}

impl Stack {
    /// Compiles `source` and pushes it as a function; `chunk` begins with `@` and is what errors call it. Globals that exist now are
    /// looked up once and for all; those that do not, at each use.
    ///
    /// # Errors
    /// The compiler's message, as `name:line: text`.
    pub(in crate::scripting) fn load(&mut self, source: &[u8], chunk: &CStr) -> Result<(), Raise> {
        let options = ffi::lua_CompileOptions::default();
        // SAFETY: the options hold no pointers. What the compiler gives for a text that does not compile is bytecode too, whose
        // loading says why.
        let status = unsafe {
            let code = ffi::luau_compile(source, options);
            ffi::luau_load(self.state(), chunk.as_ptr(), code.as_ptr().cast(), code.len(), 0)
        };
        if status == 0 { Ok(()) } else { Err(Raise::Value) }
    }

    /// Pushes `function` as a Lua function; `name` is for messages about it.
    pub(in crate::scripting) fn push_function<F>(&mut self, function: F, name: &'static CStr)
    where
        F: Fn(&mut Stack) -> Answer + Copy + 'static,
    {
        self.push_closure(function, name, 0);
    }

    /// [`Stack::push_function`] with the topmost `upvalues` values, which are popped, as its own ([`Stack::upvalue`]).
    pub(in crate::scripting) fn push_closure<F>(&mut self, function: F, name: &'static CStr, upvalues: c_int)
    where
        F: Fn(&mut Stack) -> Answer + Copy + 'static,
    {
        unsafe extern "C-unwind" fn enter<F: Fn(&mut Stack) -> Answer + Copy + 'static>(
            state: *mut ffi::lua_State,
        ) -> c_int {
            const { assert!(size_of::<F>() == 0, "a function that borrows nothing") };
            // SAFETY: a value of a type without bytes is nothing to read; that there is one was shown by `push_function`'s caller.
            let function = unsafe { NonNull::<F>::dangling().read() };
            // SAFETY: the machine calls with its own state, in a protected call.
            let mut stack = unsafe { Stack::of(state) };
            match function(&mut stack) {
                Ok(results) => results as c_int,
                // SAFETY: as above.
                Err(raise) => unsafe { stack.raise(raise) },
            }
        }
        let _ = function;
        // SAFETY: pushes one value, for which every function has room; the name is static; `upvalues` values are there.
        unsafe { ffi::lua_pushcclosured(self.state(), enter::<F>, name.as_ptr(), upvalues) };
    }

    /// The index of an upvalue of the running function, from 1 on.
    pub(in crate::scripting) const fn upvalue(number: c_int) -> c_int {
        ffi::lua_upvalueindex(number)
    }

    /// Bytes of memory that the machine may still take.
    pub(in crate::scripting) fn memory_left(&self) -> usize {
        let mut memory = ptr::null_mut();
        // SAFETY: `Machine::new` has given `allocate` with a pointer to its account, which lives as long as the machine.
        let Memory { used, limit } = unsafe {
            ffi::lua_getallocf(self.state(), &mut memory);
            &*memory.cast::<Memory>()
        };
        limit.saturating_sub(*used)
    }
}
