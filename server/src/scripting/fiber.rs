//! Commands that may run for long, on a stack of their own, so that they can be suspended wherever they are.
//!
//! ```text
//! run ─ fiber ─ script ... passes busy-reply-threshold ─ suspend ──────┐
//!  └ After::Await   (the runtime serves others: BUSY)   drive: resume ─┴─ 5 ms ─ suspend ... done: the answer
//! ```
//! 1. A fiber owns what its command works with: the client's state and the engine's lock move into it, and come back with its answer. Nobody
//!    else sees the engine meanwhile: what a script has done so far is neither shown nor logged before it ends.
//! 2. A suspended fiber is driven by a task of its own, in the thread that began it. It runs to its end whether its client waits or not.
//! 3. While one is suspended, [`super::Scripting::is_busy`] is true, and nobody in its thread may wait for the engine's lock.

use super::run;
use crate::client::Client;
use crate::command::{After, Answer, EngineLock, ServerCall};
use crate::resp::writer::Writer;
use crate::server::Server;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use firn_engine::command::{CommandError, Reply};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::Arc;

/// Address space of a fiber's stack, in bytes: what it touches of it takes memory. Luau nests at most 200 calls into native code.
const STACK_LEN: usize = 16 << 20;
/// Stacks that a thread keeps.
const STACKS_KEPT: usize = 4;

type Fiber = Coroutine<(), (), Done, DefaultStack>;

/// What a fiber gives back.
struct Done {
    client: Client,
    lock: EngineLock,
    bytes: Vec<u8>,
    /// How many of the replies are errors.
    errors: u32,
    after: Result<After, CommandError>,
}

thread_local! {
    /// The running fiber's way out; null outside of one.
    static OUT: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
    static STACKS: RefCell<Vec<(DefaultStack, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// Gives others a turn. Does nothing outside of a fiber.
pub(super) fn suspend() {
    let out = OUT.replace(ptr::null());
    if !out.is_null() {
        // SAFETY: the pointer is set while the fiber's function runs, which holds the yielder, and only there: we are on its stack.
        unsafe { (*out).suspend(()) };
        OUT.set(out);
    }
}

/// Runs `body` on a fiber, with a writer of its own; in place if this is one already. `reply` gets what it wrote, now or later.
///
/// # Errors
/// The body's.
pub(crate) fn on_fiber(
    call: &mut ServerCall<'_, '_>,
    reply: &mut dyn Reply,
    body: impl FnOnce(&mut ServerCall<'_, '_>, &mut Writer<'_>) -> Result<After, CommandError> + 'static,
) -> Result<After, CommandError> {
    let (stack, mut bytes) = match STACKS.with_borrow_mut(Vec::pop) {
        Some(kept) => kept,
        None => match DefaultStack::new(STACK_LEN) {
            Ok(stack) => (stack, Vec::new()),
            Err(error) => return Err(CommandError::text(format!("ERR no memory for a stack: {error}"))),
        },
    };
    bytes.clear();
    if !OUT.get().is_null() {
        let mut writer = Writer::new(&mut bytes, call.client.protocol, &call.server.stats);
        let after = body(call, &mut writer);
        let errors = writer.errors;
        give(reply, &bytes, errors);
        keep(stack, bytes);
        return after;
    }
    let server = call.server.clone();
    let mut client = call.client.take();
    let mut lock = call.lock.take();
    let mut fiber: Fiber = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
        OUT.set(yielder);
        let mut writer = Writer::new(&mut bytes, client.protocol, &server.stats);
        let mut call = ServerCall { server: &server, client: &mut client, lock: &mut lock };
        let after = body(&mut call, &mut writer);
        let errors = writer.errors;
        OUT.set(ptr::null());
        Done { client, lock, bytes, errors, after }
    });
    match fiber.resume(()) {
        CoroutineResult::Return(done) => {
            *call.client = done.client;
            *call.lock = done.lock;
            give(reply, &done.bytes, done.errors);
            keep(fiber.into_stack(), done.bytes);
            done.after
        }
        CoroutineResult::Yield(()) => {
            call.server.scripting.set_busy(run::describe());
            let server = call.server.clone();
            let left = server.clone();
            let (tell, told) = tokio::sync::oneshot::channel();
            tokio::task::spawn_local(async move {
                let answer = drive(fiber, server).await;
                // Nobody may wait for it any more; then nothing is sent to the client either.
                if let Err(Answer::Returned { mut client, .. }) = tell.send(answer) {
                    client.leave(&left).await;
                }
            });
            Ok(After::answer(async move {
                match told.await {
                    Ok(answer) => answer,
                    Err(_) => unreachable!("the driver always answers"),
                }
            }))
        }
    }
}

fn give(reply: &mut dyn Reply, bytes: &[u8], errors: u32) {
    if errors > 0 {
        reply.written_errors(bytes, errors);
    } else if !bytes.is_empty() {
        reply.written(bytes);
    }
}

fn keep(stack: DefaultStack, bytes: Vec<u8>) {
    const BYTES_KEPT: usize = 64 << 10;
    STACKS.with_borrow_mut(|stacks| {
        if stacks.len() < STACKS_KEPT {
            stacks.push((stack, if bytes.capacity() <= BYTES_KEPT { bytes } else { Vec::new() }));
        }
    });
}

/// Runs a suspended fiber to its end, a slice at a time.
async fn drive(mut fiber: Fiber, server: Arc<Server>) -> Answer {
    let done = loop {
        tokio::task::yield_now().await;
        if let CoroutineResult::Return(done) = fiber.resume(()) {
            break done;
        }
    };
    keep(fiber.into_stack(), Vec::new());
    let Done { client, lock, mut bytes, errors: _, after } = done;
    drop(lock);
    server.scripting.clear_busy();
    // What was put off because nobody could have the engine.
    server.runtimes.get().into_iter().flatten().for_each(|runtime| runtime.signal());
    let writer = |bytes| Writer::new(bytes, client.protocol, &server.stats);
    match after {
        Ok(After::Await(pending)) => {
            let answer = pending.await;
            answer.give(&mut writer(&mut bytes));
        }
        Ok(After::Nothing | After::Close | After::Postpone(_)) => {}
        Err(error) => writer(&mut bytes).error(&error.to_string()),
    }
    Answer::Returned { client: Box::new(client), bytes }
}
