//! Blocked clients: between the engine, which serves them (`firn_engine::waiting`), and their connections' tasks, which sleep.
//!
//! 1. A client is parked under the hold of the engine's lock in which its command found nothing. Whoever takes the waiter out of the
//!    engine (who serves it, its timer, CLIENT UNBLOCK, the end of its connection) does so under that lock, and nobody else can then.
//! 2. A connection that ends while it waits drops [`Blocked`], which takes the waiter out: nothing is given to the dead.
//! 3. Later commands of the client stay in its buffer until then (`After::Await`).
//! 4. Who waits for no key (WAIT, WAITAOF) has a seat, but no waiter in the engine: whoever takes the seat away ends the wait.

use crate::client::{Client, ClientInfo};
use crate::command::{After, Answer};
use crate::net::runtime::RuntimeHandle;
use crate::resp::writer::Writer;
use crate::server::Server;
use firn_engine::command::{Blocking, Command, Reply};
use firn_engine::engine::Engine;
use firn_engine::log::Lsn;
use firn_engine::waiting::{WaiterId, Waiting};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Sleep;

/// When a timer looks again that could not have the engine.
const BUSY_RETRY: Duration = Duration::from_millis(10);

/// How a wait ended.
#[derive(Debug)]
enum End {
    /// With a reply, which waits for a promise.
    Served(Vec<u8>, Lsn),
    /// By CLIENT UNBLOCK, as if its time were up.
    TimedOut,
    /// By CLIENT UNBLOCK ERROR.
    Unblocked,
    /// Its user may not run the command any more; the error reply.
    Denied(String),
}

/// Where the end of a wait is told to the connection's task.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    told: Mutex<(Option<End>, Option<Waker>)>,
}

impl Seat {
    fn tell(&self, end: End) {
        let waker = {
            let mut told = self.told.lock();
            told.0 = Some(end);
            told.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<End> {
        let mut told = self.told.lock();
        match told.0.take() {
            Some(end) => Poll::Ready(end),
            None => {
                if !told.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    told.1 = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

/// What a client waits on: its waiter in the engine if it waits for keys, and the seat.
pub(crate) type Place = (Option<WaiterId>, Arc<Seat>);

/// What the engine holds of a blocked client.
struct Parked {
    server: Arc<Server>,
    seat: Arc<Seat>,
    runtime: Arc<RuntimeHandle>,
    protocol: u8,
    bytes: Vec<u8>,
}

impl Waiting for Parked {
    fn run(&mut self, run: &mut dyn FnMut(&mut dyn Reply)) {
        run(&mut Writer::new(&mut self.bytes, self.protocol, &self.server.stats));
    }

    fn served(self: Box<Self>, promise: Lsn) {
        self.runtime.add_served();
        self.seat.tell(End::Served(self.bytes, promise));
    }
}

/// Parks the client if the command that just ran has asked for it.
pub(crate) fn park(
    server: &Arc<Server>,
    client: &mut Client,
    engine: &mut Engine,
    command: &'static Command,
    words: &[&[u8]],
) -> After {
    let Blocking::Requested(request) = &client.session.blocking else { return After::Nothing };
    let timeout_ms = request.block.timeout_ms;
    let seat = Arc::new(Seat::default());
    let protocol = client.protocol;
    let runtime = client.info.runtime.clone();
    let parked = Parked { server: server.clone(), seat: seat.clone(), runtime, protocol, bytes: Vec::new() };
    let Some(id) = engine.park(&mut client.session, command, words, Box::new(parked)) else { return After::Nothing };
    *client.info.blocked.lock() = Some((Some(id), seat.clone()));
    let timer = timeout_ms.map(|ms| Box::pin(tokio::time::sleep(Duration::from_millis(ms))));
    let info = client.info.clone();
    After::Await(Box::pin(Blocked { server: server.clone(), info, seat, id, timer, ended: false }))
}

/// Ends the wait of a blocked client with an error if `refuses` gives one for the words of its command.
pub(crate) fn review(engine: &mut Engine, info: &ClientInfo, refuses: impl FnOnce(&[&[u8]]) -> Option<String>) {
    let Some((Some(id), seat)) = info.blocked.lock().clone() else { return };
    let Some(words) = engine.waiting.words(id) else { return };
    if let Some(error) = refuses(&words) {
        engine.waiting.remove(id);
        seat.tell(End::Denied(error));
    }
}

/// Has the client wait until `over` is, or CLIENT UNBLOCK ends it; `answer` gives the reply in both cases.
pub(crate) fn wait(
    client: &Client,
    over: impl Future<Output = ()> + 'static,
    answer: impl FnOnce() -> Answer + 'static,
) -> After {
    let (info, seat) = (client.info.clone(), Arc::new(Seat::default()));
    *info.blocked.lock() = Some((None, seat.clone()));
    After::answer(async move {
        let mut over = std::pin::pin!(over);
        let end = std::future::poll_fn(|cx| {
            let end = seat.poll(cx);
            if end.is_ready() || over.as_mut().poll(cx).is_pending() {
                return end;
            }
            let seated = info.blocked.lock().take().is_some();
            // If not, it was unblocked meanwhile, and told so under that lock.
            if seated { Poll::Ready(End::TimedOut) } else { seat.poll(cx) }
        });
        match end.await {
            End::Unblocked => unblocked_with_error(),
            End::TimedOut | End::Served(..) | End::Denied(_) => answer(),
        }
    })
}

fn unblocked_with_error() -> Answer {
    Answer::write(|reply| reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"))
}

/// CLIENT UNBLOCK; says whether the client was blocked.
pub(crate) fn unblock(engine: &mut Engine, info: &ClientInfo, error: bool) -> bool {
    let mut blocked = info.blocked.lock();
    let waits = match &*blocked {
        Some((Some(id), _)) => engine.waiting.remove(*id).is_some(),
        Some((None, _)) => true,
        None => false,
    };
    let Some((_, seat)) = blocked.take_if(|_| waits) else { return false };
    seat.tell(if error { End::Unblocked } else { End::TimedOut });
    true
}

/// The wait of one client.
struct Blocked {
    server: Arc<Server>,
    info: Arc<ClientInfo>,
    seat: Arc<Seat>,
    id: WaiterId,
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Future for Blocked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut end = self.seat.poll(cx);
        let due = end.is_pending() && self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if due && let Some(mut engine) = self.server.lock_unless_busy() {
            self.timer = None;
            let waited = engine.waiting.remove(self.id).is_some();
            drop(engine);
            // If it is not there any more, somebody has served it, and has told so before he let the lock go.
            end = if waited { Poll::Ready(End::TimedOut) } else { self.seat.poll(cx) };
        } else if due {
            // A script keeps the engine: the time is up when it ends.
            let mut later = Box::pin(tokio::time::sleep(BUSY_RETRY));
            let _ = later.as_mut().poll(cx);
            self.timer = Some(later);
        }
        let Poll::Ready(end) = end else { return Poll::Pending };
        self.ended = true;
        *self.info.blocked.lock() = None;
        Poll::Ready(match end {
            End::Served(bytes, promise) => {
                self.info.runtime.remove_served();
                Answer::Written { bytes, promise }
            }
            End::TimedOut => Answer::write(|reply| reply.null_array()),
            End::Unblocked => unblocked_with_error(),
            End::Denied(error) => Answer::write(move |reply| reply.error(&error)),
        })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if !self.ended {
            *self.info.blocked.lock() = None;
            match self.server.lock_unless_busy() {
                Some(mut engine) => drop(engine.waiting.remove(self.id)),
                // Before anybody is served again.
                None => self.server.scripting.orphan(self.id),
            }
            // It may have been served before that.
            if let Some(End::Served(..)) = self.seat.told.lock().0.take() {
                self.info.runtime.remove_served();
            }
        }
    }
}
