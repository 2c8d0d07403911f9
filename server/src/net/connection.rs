//! One connection: reads, has batches executed, writes, until one side closes.
//!
//! 1. A turn reads once and executes what is complete; then other connections have theirs.
//! 2. A connection whose replies do not leave (`OUTPUT_PAUSE_LEN`) is not read from, and neither is one that awaits a reply.
//! 3. Bytes that were read and not executed are in `Task::query`, from the first byte of a command on.
//! 4. Replies wait in [`Output`] for their promise; the connection goes on reading meanwhile,
//!    unless a snapshot has fallen behind the writers.

use super::mail::Run;
use super::output::Output;
use super::runtime::Runtime;
use super::stream::Stream;
use crate::acl::Gate;
use crate::client::{Client, ClientInfo, ReplyMode};
use crate::command::{Answer, Pending};
use crate::execute::{self, Next};
use crate::limits::{OUTPUT_PAUSE_LEN, OWN_BUFFER_LEN, OWN_READ_LEN, READ_LEN, UNAUTHENTICATED_OUTPUT_LEN_MAX};
use crate::log;
use crate::observe::command_log::Kind;
use crate::resp::parser::{Bounds, Parser, ProtocolError};
use crate::resp::writer::Writer;
use crate::server::Server;
use crate::session::client_list::listed_output;
use crate::session::client_memory;
use crate::settings::Settings;
use firn_engine::log::Lsn;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What the connection's task and the runtime's committer share.
pub(crate) struct Connection {
    stream: Stream,
    info: Arc<ClientInfo>,
    output: RefCell<Output>,
    waker: RefCell<Option<Waker>>,
    /// It is to be closed at once.
    ended: Cell<bool>,
    /// The task waits for replies to leave, not only for requests.
    wants_room: Cell<bool>,
    /// The socket may hold requests that its readiness does not tell of any more.
    unread: Cell<bool>,
    /// Mail in its output buffer, in bytes, that came before what was promised with it held; 0 when nothing waits for the log any more.
    held_mail: Cell<usize>,
    /// What of the buffer does not count as the client's for that.
    uncounted: Cell<usize>,
    /// It has got mail that [`Connection::send_mail`] has not seen.
    mailed: Cell<bool>,
    /// When the soft output limit was passed, in ms of the server's clock.
    soft_since_ms: Cell<Option<u64>>,
    /// When the peak of its output begins anew, in ms of the server's clock.
    peak_until_ms: Cell<u64>,
}

/// For how long CLIENT LIST's `rbp` keeps a peak, in ms.
const OUTPUT_PEAK_MS: u64 = 5000;

/// What a task was woken for.
enum Event {
    Readable,
    Room,
    Answer(Answer),
    Ended,
}

/// What a turn leads to.
enum Turn {
    /// Wait for more.
    Wait,
    /// The socket or the buffer may hold more: come again after the others.
    Again,
    /// Its mail, and then the rest of the buffer: nobody else's turn comes between, whose requests have arrived later.
    Mail,
    /// Close when all replies have left.
    Finish,
    /// Close now.
    End,
    /// Await a reply.
    Await(Pending),
}

impl Connection {
    /// A connection that has just been accepted.
    pub(crate) fn new(stream: Stream, info: Arc<ClientInfo>) -> Self {
        Connection {
            stream,
            info,
            output: RefCell::default(),
            waker: RefCell::default(),
            ended: Cell::new(false),
            wants_room: Cell::new(false),
            held_mail: Cell::new(0),
            uncounted: Cell::new(0),
            unread: Cell::new(false),
            mailed: Cell::new(false),
            soft_since_ms: Cell::new(None),
            peak_until_ms: Cell::new(0),
        }
    }

    /// Closes it, whatever it waits for.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.info.closing.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Sends the replies that were promised for LSNs up to `held`.
    pub(crate) fn release(&self, runtime: &Runtime, held: Lsn) {
        self.output.borrow_mut().reached(held);
        self.flush(runtime);
        if self.wants_room.get() || self.output.borrow().blocked {
            self.wake();
        }
    }

    /// Appends mail to what leaves. Who had none since [`Connection::send_mail`] is added to `mailed`.
    pub(super) fn take_mail(self: &Rc<Self>, runtime: &Runtime, run: &Run<'_>, mailed: &mut Vec<Rc<Connection>>) {
        if self.ended.get() {
            return;
        }
        let mut output = self.output.borrow_mut();
        let room = output.bytes.capacity();
        if room == 0 {
            output.bytes = runtime.take_buffer();
        }
        let len = output.bytes.len();
        run.write(&mut output.bytes, self.info.protocol.load(Ordering::Relaxed));
        if !run.held {
            self.held_mail.set(self.held_mail.get() + output.bytes.len() - len);
        }
        // It counts as the client's when it turns out that it does not leave at once.
        runtime.handle.add_to_delivery(output.bytes.capacity() - room);
        if run.held {
            output.release_all();
        } else if output.hold(run.promise()) {
            runtime.hold(run.promise(), self);
        }
        if !self.mailed.replace(true) {
            mailed.push(self.clone());
        }
    }

    /// Sends the mail it has got, as far as that may leave, and closes it if too much is left.
    pub(super) fn send_mail(&self, runtime: &Runtime, settings: &Settings) {
        self.mailed.set(false);
        if self.ended.get() {
            return;
        }
        self.flush(runtime);
        self.check_output(&runtime.server, settings);
        if self.output.borrow().blocked {
            self.wake(); // It waits for the socket from now on.
        }
    }

    fn flush(&self, runtime: &Runtime) {
        let mut output = self.output.borrow_mut();
        let info = &self.info;
        if output.len() > info.output_peak.load(Ordering::Relaxed) {
            info.output_peak.store(output.len(), Ordering::Relaxed);
        }
        match output.flush(&self.stream) {
            Ok(0) => {}
            Ok(n) => {
                let stats = &runtime.server.stats;
                stats.net_output_bytes.fetch_add(n as u64, Ordering::Relaxed);
                stats.writes_processed.fetch_add(1, Ordering::Relaxed);
                add(&self.info.bytes_out, n as u64);
            }
            Err(_) => {
                drop(output);
                return self.end();
            }
        }
        if output.len() == 0 {
            runtime.give_buffer(std::mem::take(&mut output.bytes));
        }
        self.info.output_len.store(output.len(), Ordering::Relaxed);
        if self.soft_since_ms.get().is_some() {
            // What has left leaves the soft limit: the time begins anew should it be passed again.
            let soft = runtime.settings().output_limits[self.info.output_class()].soft;
            if (listed_output(output.len()) as u64) < soft {
                self.soft_since_ms.set(None);
            }
        }
        self.count_room(runtime, &output);
        client_memory::account(&runtime.server, &self.info, || runtime.settings().clients_memory_max);
    }

    /// Notes the memory of the output buffer: as the client's, but for mail that may not leave before the log has got further. Another thread
    /// that evicts keys has not written its record then when the mail of it is here: were that counted, the next look would find that
    /// more is to be evicted.
    fn count_room(&self, runtime: &Runtime, output: &Output) {
        let room = output.bytes.capacity();
        if output.blocked || !output.is_holding() {
            self.held_mail.set(0);
        }
        let uncounted = match self.held_mail.get() {
            // Nobody would take it back.
            _ if self.ended.get() => 0,
            held if held > 0 && held >= output.len() => room,
            held => held,
        };
        runtime.handle.count_held_mail(self.uncounted.replace(uncounted), uncounted);
        runtime.server.clients.count_room(&self.info.output_room, room - uncounted);
    }

    /// Closes it if it is idle for too long, or takes too much memory with replies that it does not read.
    pub(crate) fn look_after(&self, server: &Server, settings: &Settings, now_ms: u64) {
        if self.ended.get() {
            return;
        }
        if now_ms >= self.peak_until_ms.get() {
            self.peak_until_ms.set(now_ms + OUTPUT_PEAK_MS);
            self.info.output_peak.store(self.output.borrow().len(), Ordering::Relaxed);
        }
        let idle_ms = now_ms.saturating_sub(self.info.active_ms.load(Ordering::Relaxed));
        let waiting = self.info.waiting.load(Ordering::Relaxed);
        if settings.timeout_s > 0 && idle_ms > settings.timeout_s * 1000 && !waiting {
            log::verbose(format_args!("Closing idle client id={} addr={}", self.info.id, self.info.addr));
            return self.end();
        }
        self.check_output(server, settings);
    }

    /// Closes it if more waits than its limits allow. The clock is asked only above the soft limit, and is always the same: a time between
    /// two of different clocks may be too short.
    fn check_output(&self, server: &Server, settings: &Settings) {
        let limit = &settings.output_limits[self.info.output_class()];
        let len = self.output.borrow().len();
        let over = |len: usize, bound: u64| bound > 0 && len as u64 >= bound;
        let mut close = over(len, limit.hard);
        // The time begins when everybody can see in CLIENT LIST that it does.
        if over(listed_output(len), limit.soft) {
            let now_ms = server.clock_ms();
            let since_ms = self.soft_since_ms.get().unwrap_or(now_ms);
            self.soft_since_ms.set(Some(since_ms));
            close |= now_ms - since_ms > limit.seconds.saturating_mul(1000);
        } else {
            self.soft_since_ms.set(None);
        }
        if close && !self.ended.get() {
            server.stats.output_buffer_closed.fetch_add(1, Ordering::Relaxed);
            log::warning(format_args!(
                "Client id={} addr={} closed for overcoming of output buffer limits: {len} bytes wait.",
                self.info.id, self.info.addr
            ));
            self.end();
        }
    }
}

/// Adds to a counter that only this thread writes.
fn add(counter: &std::sync::atomic::AtomicU64, value: u64) {
    counter.store(counter.load(Ordering::Relaxed) + value, Ordering::Relaxed);
}

/// What belongs to the connection's task alone.
struct Task<'a> {
    connection: &'a Rc<Connection>,
    runtime: &'a Rc<Runtime>,
    client: Client,
    parser: Parser,
    query: Vec<u8>,
    /// `query` may hold complete commands.
    backlog: bool,
    /// When the last batch ended.
    now: Instant,
}

/// Serves the connection until it ends.
pub(crate) async fn serve(connection: &Rc<Connection>, runtime: &Rc<Runtime>, client: Client) {
    let mut task = Task {
        connection,
        runtime,
        client,
        parser: Parser::default(),
        query: Vec::new(),
        backlog: false,
        now: Instant::now(),
    };
    let mut pending: Option<Pending> = None;
    let mut finishing = false;
    loop {
        let turn = match task.wait(&mut pending, finishing).await {
            Event::Ended => break,
            Event::Readable => task.turn(),
            Event::Room if finishing => {
                if connection.output.borrow().is_drained() {
                    break;
                }
                Turn::Wait
            }
            Event::Room => Turn::Again,
            Event::Answer(answer) => {
                pending = None;
                task.answer(answer);
                Turn::Again
            }
        };
        match turn {
            Turn::Wait => {}
            Turn::Mail => {
                if !runtime.deliver() {
                    tokio::task::yield_now().await;
                }
            }
            Turn::Again => tokio::task::yield_now().await,
            Turn::Finish if connection.output.borrow().is_drained() => break,
            Turn::Finish => finishing = true,
            Turn::End => break,
            Turn::Await(future) => {
                connection.info.waiting.store(true, Ordering::Relaxed);
                pending = Some(future);
            }
        }
    }
    connection.ended.set(true);
    if let Some(mut future) = pending {
        // What a script had of the client may have just come back.
        let answer = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(Answer::Returned { client, .. }) = answer {
            task.client = *client;
        }
    }
    task.client.leave(&runtime.server).await;
    connection.info.closing.store(true, Ordering::Relaxed);
    client_memory::forget(&runtime.server, &connection.info);
    // Freed before it counts no more: others may keep the connection for a while (a channel's listeners until mail has been handed out),
    // and what is allocated but counted as nobody's would be taken from the keys.
    drop(task);
    connection.output.take();
    let clients = &runtime.server.clients;
    runtime.handle.count_held_mail(connection.uncounted.replace(0), 0);
    clients.count_room(&connection.info.output_room, 0);
    clients.count_room(&connection.info.query_room, 0);
}

impl Task<'_> {
    /// Waits for what can be gone on with.
    async fn wait(&mut self, pending: &mut Option<Pending>, finishing: bool) -> Event {
        poll_fn(|cx| self.poll(cx, pending, finishing)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, pending: &mut Option<Pending>, finishing: bool) -> Poll<Event> {
        let connection = &**self.connection;
        if self.client.listens() && !finishing {
            self.runtime.server.acl.renew(&mut self.client);
            if connection.info.closing.load(Ordering::Relaxed) {
                connection.end();
            }
        }
        if connection.ended.get() {
            return Poll::Ready(Event::Ended);
        }
        let mut waker = connection.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if connection.output.borrow().blocked {
            while let Poll::Ready(ready) = connection.stream.poll_write_ready(cx) {
                if ready.is_err() {
                    return Poll::Ready(Event::Ended);
                }
                connection.flush(self.runtime);
                if connection.ended.get() {
                    return Poll::Ready(Event::Ended);
                }
                if !connection.output.borrow().blocked {
                    break;
                }
            }
        }
        if let Some(future) = pending {
            if let Poll::Ready(answer) = future.as_mut().poll(cx) {
                return Poll::Ready(Event::Answer(answer));
            }
            return self.poll_hang_up(cx);
        }
        let len = connection.output.borrow().len();
        if finishing {
            connection.wants_room.set(true);
            return if connection.output.borrow().is_drained() {
                Poll::Ready(Event::Room)
            } else {
                self.poll_hang_up(cx)
            };
        }
        let authenticated = self.client.gate != Gate::Closed;
        let pause = len >= if authenticated { OUTPUT_PAUSE_LEN } else { UNAUTHENTICATED_OUTPUT_LEN_MAX };
        if pause && !authenticated && connection.output.borrow().blocked {
            let server = &self.runtime.server;
            server.stats.output_buffer_closed.fetch_add(1, Ordering::Relaxed);
            log::warning(format_args!(
                "Client id={} addr={} closed: {len} bytes of replies wait before it has authenticated.",
                connection.info.id, connection.info.addr
            ));
            connection.end();
            return Poll::Ready(Event::Ended);
        }
        // Its replies are released when there is room again, and that wakes it.
        let crowded = connection.output.borrow().is_holding() && self.runtime.server.store.is_crowded();
        connection.wants_room.set(pause || crowded);
        if pause || crowded || self.runtime.pauses(self.connection) {
            return self.poll_hang_up(cx);
        }
        // A turn with a backlog reads nothing: what is unread stays so.
        if self.backlog || connection.unread.take() {
            return Poll::Ready(Event::Readable);
        }
        match connection.stream.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Event::Readable),
            Poll::Ready(Err(_)) => Poll::Ready(Event::Ended),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Notices that the other end has gone while nothing is read from it.
    fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let connection = &**self.connection;
        loop {
            match connection.stream.poll_arrival(cx) {
                Poll::Ready(Ok(())) if !connection.stream.is_closed(cx) => {
                    // Requests: they are read later. What comes behind them is still to be noticed.
                    connection.stream.clear_ready();
                    connection.unread.set(true);
                }
                Poll::Ready(_) => return Poll::Ready(Event::Ended),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once, executes what is complete, and sends what may leave.
    fn turn(&mut self) -> Turn {
        if self.client.listens() {
            self.runtime.deliver();
        }
        let own = self.query.len() >= OWN_BUFFER_LEN;
        let mut buffer = if own {
            std::mem::take(&mut self.query)
        } else {
            let mut shared = std::mem::take(&mut *self.runtime.read_buffer.borrow_mut());
            shared.clear();
            shared.reserve_exact(OWN_BUFFER_LEN + READ_LEN);
            shared.append(&mut self.query);
            shared
        };
        let turn = self.read_and_execute(&mut buffer, own);
        self.runtime.handle.note_replying(0);
        if own {
            self.query = buffer;
        } else {
            *self.runtime.read_buffer.borrow_mut() = buffer;
        }
        if self.query.is_empty() {
            self.query = Vec::new();
        }
        let info = &self.connection.info;
        self.tell_query(self.query.len(), self.query.capacity());
        client_memory::account(&self.runtime.server, info, || self.runtime.settings().clients_memory_max);
        if info.closing.load(Ordering::Relaxed) && !matches!(turn, Turn::Finish) { Turn::End } else { turn }
    }

    fn read_and_execute(&mut self, buffer: &mut Vec<u8>, own: bool) -> Turn {
        let server = &*self.runtime.server;
        let mut full = false;
        if !std::mem::take(&mut self.backlog) {
            let begun = buffer.len();
            loop {
                let awaited = self.parser.needed(buffer.len());
                if own {
                    // As much again as has arrived, at most what is awaited: never what is merely declared.
                    let needed = awaited.min(buffer.len());
                    if needed > 0 {
                        buffer.reserve_exact(needed);
                    } else {
                        buffer.reserve(OWN_BUFFER_LEN);
                    }
                }
                let room = buffer.capacity() - buffer.len();
                match self.connection.stream.read(buffer) {
                    Ok(0) => return Turn::End,
                    Ok(n) => {
                        full = n == room;
                        // Its readiness may have been cleared before this read, which has not emptied it.
                        self.connection.unread.set(full);
                        server.stats.net_input_bytes.fetch_add(n as u64, Ordering::Relaxed);
                        server.stats.reads_processed.fetch_add(1, Ordering::Relaxed);
                        add(&self.connection.info.bytes_in, n as u64);
                        // The rest of a large word comes at once, as far as it has arrived.
                        if !(own && full && awaited > n && buffer.len() - begun < OWN_READ_LEN) {
                            break;
                        }
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                        if buffer.len() == begun {
                            self.keep(buffer, 0, own);
                            return Turn::Wait;
                        }
                        full = false;
                        self.connection.unread.set(false);
                        break;
                    }
                    Err(_) => return Turn::End,
                }
            }
        }
        // What a command sees of its own client: the shared buffer is its own for so long.
        let info = &self.connection.info;
        info.query_len.store(buffer.len(), Ordering::Relaxed);
        info.query_free.store(buffer.capacity() - buffer.len(), Ordering::Relaxed);
        let settings = self.runtime.settings();
        if own {
            // Before anything is executed: it may be too much for `maxmemory-clients`.
            self.tell_query(buffer.len(), buffer.capacity());
            client_memory::account(server, info, || settings.clients_memory_max);
            if info.closing.load(Ordering::Relaxed) {
                return Turn::End;
            }
        }
        let (done, turn) = self.execute(buffer, &settings);
        self.keep(buffer, done, own);
        if own {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
            self.tell_query(buffer.len(), buffer.capacity());
        } else {
            self.tell_query(self.query.len(), self.query.capacity());
        }
        let now_ms = self.now.duration_since(server.started).as_millis() as u64;
        self.connection.info.active_ms.store(now_ms, Ordering::Relaxed);
        // Before anything is sent: what a limit forbids does not leave in part.
        self.connection.check_output(server, &settings);
        if self.connection.ended.get() {
            return Turn::End;
        }
        self.send();
        if self.query.len().max(if own { buffer.len() } else { 0 }) as u64 > settings.query_buffer_max {
            server.stats.query_buffer_closed.fetch_add(1, Ordering::Relaxed);
            let info = &self.connection.info;
            log::warning(format_args!(
                "Closing client id={} addr={} that reached max query buffer length",
                info.id, info.addr
            ));
            return Turn::End;
        }
        match turn {
            Turn::Wait if full || self.backlog => Turn::Again,
            turn => turn,
        }
    }

    /// Tells how much memory what was read takes: `capacity` of this connection's own, `len` of it used.
    fn tell_query(&self, len: usize, capacity: usize) {
        let info = &self.connection.info;
        let (understood, words) = self.parser.understood();
        info.query_len.store(len.saturating_sub(understood), Ordering::Relaxed);
        info.query_free.store(capacity - len, Ordering::Relaxed);
        info.query_awaited.store(self.parser.needed(len), Ordering::Relaxed);
        info.argv_bytes.store(words.min(len), Ordering::Relaxed);
        self.runtime.server.clients.count_room(&info.query_room, capacity);
    }

    /// Keeps what was not executed for the next turn.
    fn keep(&mut self, buffer: &mut Vec<u8>, done: usize, own: bool) {
        if own {
            buffer.drain(..done);
        } else {
            self.query.extend_from_slice(&buffer[done..]);
        }
    }

    /// Executes all complete commands of `buffer`; how many bytes were done with.
    fn execute(&mut self, buffer: &mut [u8], settings: &Settings) -> (usize, Turn) {
        let scratch = &mut *self.runtime.scratch.borrow_mut();
        let mut output = self.connection.output.borrow_mut();
        if output.bytes.capacity() == 0 {
            output.bytes = self.runtime.take_buffer();
            self.runtime.handle.note_replying(output.bytes.capacity());
        }
        let mut done = 0;
        loop {
            self.runtime.server.acl.renew(&mut self.client);
            let authenticated = self.client.gate != Gate::Closed;
            let bounds = Bounds { bulk_len_max: settings.bulk_len_max, authenticated };
            scratch.batch.clear();
            let rest = &mut buffer[done..];
            let parsed = self.parser.parse(rest, &bounds, &mut scratch.batch);
            if !scratch.batch.requests.is_empty() {
                let out = &mut output.bytes;
                let outcome = execute::execute(&self.runtime.server, settings, &mut self.client, rest, scratch, out);
                self.now = outcome.ended;
                if !execute::is_complete(&scratch.batch.requests, &outcome) {
                    self.parser.reset();
                    done += outcome.end;
                    match outcome.next {
                        Next::Close => return (buffer.len(), Turn::Finish),
                        Next::Await(pending) => {
                            self.backlog = done < buffer.len();
                            return (done, Turn::Await(pending));
                        }
                        Next::Mail => {
                            self.backlog = true;
                            // Where nothing was executed, mail comes faster than it is handed out: others are to have a turn.
                            return (done, if outcome.end > 0 { Turn::Mail } else { Turn::Again });
                        }
                        Next::Continue => {}
                    }
                    let hard = settings.output_limits[self.client.info.output_class()].hard;
                    if output.len() >= OUTPUT_PAUSE_LEN || (hard > 0 && output.len() as u64 >= hard) {
                        self.backlog = true;
                        return (done, Turn::Wait);
                    }
                    continue;
                }
            }
            done += parsed.consumed;
            if let Some(error) = parsed.error {
                self.refuse(error, &mut output.bytes);
                return (buffer.len(), Turn::Finish);
            }
            if !parsed.more {
                return (done, Turn::Wait);
            }
        }
    }

    fn refuse(&self, error: ProtocolError, out: &mut Vec<u8>) {
        log::verbose(format_args!(
            "Protocol error ({error}) from client id={} addr={}",
            self.connection.info.id, self.connection.info.addr
        ));
        let mut writer = Writer::new(out, self.client.protocol, &self.runtime.server.stats);
        writer.error_bytes(format!("ERR Protocol error: {error}").as_bytes());
    }

    /// Writes the reply that was awaited.
    fn answer(&mut self, answer: Answer) {
        let connection = self.connection;
        connection.info.waiting.store(false, Ordering::Relaxed);
        let mut output = connection.output.borrow_mut();
        let start = output.bytes.len();
        match answer {
            Answer::Retry => return,
            Answer::Write(write) => {
                let protocol = self.client.protocol;
                write(&mut Writer::new(&mut output.bytes, protocol, &self.runtime.server.stats));
            }
            Answer::Returned { client, bytes } => {
                output.bytes.extend_from_slice(&bytes);
                self.client = *client;
            }
            Answer::Written { bytes, promise } => {
                output.bytes.extend_from_slice(&bytes);
                self.client.session.promise = self.client.session.promise.max(promise);
            }
        }
        let server = &self.runtime.server;
        if output.bytes.get(start) == Some(&b'-')
            && let Some(stats) = server.commands.stats_of(connection.info.last_command.load(Ordering::Relaxed))
        {
            stats.failed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(parked) = self.client.parked.take() {
            server.observe.log(Kind::Slow).add_shortened(parked.micros, parked.words, &connection.info);
        }
        if !self.client.wants_reply() {
            output.bytes.truncate(start);
        }
        if self.client.reply_mode == ReplyMode::SkipThis {
            self.client.reply_mode = ReplyMode::On;
        }
        drop(output);
        self.send();
    }

    /// Sends what may leave; the rest waits for its promise.
    fn send(&mut self) {
        let mut output = self.connection.output.borrow_mut();
        let promise = self.client.session.promise;
        if self.runtime.promised(promise) {
            if !output.release_all() {
                return;
            }
            drop(output);
            self.connection.flush(self.runtime);
        } else if output.hold(promise) {
            self.runtime.hold(promise, self.connection);
        }
    }
}
