//! One runtime thread: a tokio current-thread runtime that serves its share of the connections.
//!
//! 1. A connection never changes its runtime; other threads reach it through [`RuntimeHandle`].
//! 2. Replies that must wait for the log are queued here, in order of their LSNs. The committer task runs behind all connections that
//!    became ready in the same tick: one `Store::commit` serves them all, and their sockets are written without waking their tasks.
//! 3. The store's threads wake a runtime at most once until it has looked.

use super::connection::{self, Connection};
use super::mail::{Parcel, Topics};
use super::stream::Stream;
use crate::client::{Client, ClientInfo};
use crate::execute::Scratch;
use crate::limits::{MAIL_LEN_MAX, POOLED_OUTPUT_LEN, POOLED_OUTPUTS};
use crate::server::Server;
use crate::settings::{Cached, Settings};
use firn_engine::log::Lsn;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// What another thread asks of a runtime.
pub(crate) enum Message {
    /// Serve this client from now on.
    Serve(std::net::TcpStream, Arc<ClientInfo>),
    /// The same, with TLS; the handshake is still to come.
    ServeTls(std::net::TcpStream, Arc<ClientInfo>),
    /// The same over a unix socket.
    ServeUnix(std::os::unix::net::UnixStream, Arc<ClientInfo>),
    /// Close this client.
    Kill(u64),
    /// Have this client's task look at what has changed.
    Wake(u64),
}

/// What other threads hold of a runtime.
#[derive(Default)]
pub(crate) struct RuntimeHandle {
    number: usize,
    signalled: AtomicBool,
    waker: Mutex<Option<Waker>>,
    messages: Mutex<Vec<Message>>,
    mail: Mutex<Parcel>,
    /// Bytes of memory that `mail` takes.
    mail_len: AtomicUsize,
    /// Memory of `mail`; of the mail that is just being handed out, with that by which clients' buffers have grown with it; of that in
    /// clients' buffers that waits for the log.
    mail_rooms: [AtomicUsize; 3],
    /// Memory that is kept for the next mail and the next replies: of parcels, of output buffers, and of the one to which replies are just
    /// being written, as it was before them.
    spare_rooms: [AtomicUsize; 3],
    /// Clients that waited for keys, were served, and have not written their reply.
    served: AtomicUsize,
}

impl std::fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeHandle").finish_non_exhaustive()
    }
}

impl RuntimeHandle {
    /// The handle of runtime `number`.
    pub(crate) fn new(number: usize) -> Self {
        RuntimeHandle { number, ..RuntimeHandle::default() }
    }

    /// The runtime's number: runtimes are counted from 0.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Takes mail for the runtime's connections; `parcel` is empty then.
    pub(crate) fn post(&self, parcel: &mut Parcel) {
        let mut mail = self.mail.lock();
        mail.append(parcel);
        self.mail_len.store(mail.len(), Ordering::Release);
        self.mail_rooms[0].store(mail.room(), Ordering::Relaxed);
        drop(mail);
        self.signal();
    }

    /// Whether there is mail.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        self.mail_len.load(Ordering::Acquire) > 0
    }

    /// Whether so much mail waits that no more should be made.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.mail_len.load(Ordering::Relaxed) > MAIL_LEN_MAX
    }

    /// A client that waited for keys was served; its task has been woken, or is about to be.
    pub(crate) fn add_served(&self) {
        self.served.fetch_add(1, Ordering::AcqRel);
    }

    /// The task of such a client has taken its reply, or has gone.
    pub(crate) fn remove_served(&self) {
        self.served.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether such clients have not written their reply.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        self.served.load(Ordering::Acquire) > 0
    }

    /// Appends all mail to `parcel`.
    pub(crate) fn take_mail(&self, parcel: &mut Parcel) {
        let mut mail = self.mail.lock();
        parcel.append(&mut mail);
        self.mail_len.store(0, Ordering::Release);
        self.mail_rooms[0].store(0, Ordering::Relaxed);
        self.mail_rooms[1].store(parcel.room(), Ordering::Relaxed);
        self.spare_rooms[0].store(mail.room(), Ordering::Relaxed);
    }

    /// What was taken has been handed out, and its memory is kept for the next.
    pub(super) fn end_delivery(&self, parcel: &Parcel) {
        self.mail_rooms[1].store(0, Ordering::Relaxed);
        self.spare_rooms[0].fetch_add(parcel.room(), Ordering::Relaxed);
    }

    /// A client's buffer has grown by what it was handed.
    pub(super) fn add_to_delivery(&self, room: usize) {
        if room > 0 {
            self.mail_rooms[1].fetch_add(room, Ordering::Relaxed);
        }
    }

    /// Mail in a client's buffer that waits for the log takes so much memory now.
    pub(super) fn count_held_mail(&self, before: usize, now: usize) {
        if now != before {
            self.mail_rooms[2].fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// A batch begins to write its replies to a buffer that takes this much memory; 0 ends it.
    #[inline]
    pub(super) fn note_replying(&self, room: usize) {
        self.spare_rooms[2].store(room, Ordering::Relaxed);
    }

    /// Memory of mail on its way to clients' buffers.
    pub(crate) fn mail_room(&self) -> usize {
        self.mail_rooms.iter().map(|room| room.load(Ordering::Relaxed)).sum()
    }

    /// Memory that is empty, kept for the next mail and the next replies.
    pub(crate) fn spare_room(&self) -> usize {
        self.spare_rooms.iter().map(|room| room.load(Ordering::Relaxed)).sum()
    }

    /// Has the committer run in this runtime's next tick.
    pub(crate) fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel)
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake_by_ref();
        }
    }

    /// Asks for something.
    pub(crate) fn send(&self, message: Message) {
        self.messages.lock().push(message);
        self.signal();
    }

    /// Waits for [`RuntimeHandle::signal`].
    async fn signalled(&self) {
        poll_fn(|cx| {
            if self.signalled.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            let mut waker = self.waker.lock();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            // A signal that came before the waker was there.
            if self.signalled.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A runtime, as its own thread sees it.
pub(crate) struct Runtime {
    /// What all threads share.
    pub(crate) server: Arc<Server>,
    /// What others hold of it.
    pub(crate) handle: Arc<RuntimeHandle>,
    /// Memory used again for every batch.
    pub(crate) scratch: RefCell<Scratch>,
    /// The buffer into which connections without a rest of their own read.
    pub(crate) read_buffer: RefCell<Vec<u8>>,
    settings: RefCell<Cached>,
    /// Connections whose replies wait, by LSN.
    queue: RefCell<VecDeque<(Lsn, Rc<Connection>)>>,
    /// The highest LSN whose promise was seen to hold: what was promised once needs no second question.
    pub(crate) held: Cell<Lsn>,
    /// Something was queued since the last commit.
    queued: Cell<bool>,
    connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
    /// Who listens to what.
    pub(super) topics: RefCell<Topics>,
    /// Memory of mail, used again and again.
    pub(super) parcel: Cell<Parcel>,
    /// Memory for those who have got mail.
    pub(super) mailed: Cell<Vec<Rc<Connection>>>,
    /// Connections that begin nothing new before others' mail is handed out.
    paused: RefCell<Vec<Rc<Connection>>>,
    /// Empty output buffers.
    pool: RefCell<Vec<Vec<u8>>>,
}

impl Runtime {
    /// A runtime without connections.
    pub(crate) fn new(server: Arc<Server>, handle: Arc<RuntimeHandle>) -> Rc<Self> {
        let settings = RefCell::new(Cached::new(&server.settings));
        Rc::new(Runtime {
            server,
            handle,
            scratch: RefCell::default(),
            read_buffer: RefCell::default(),
            settings,
            queue: RefCell::default(),
            held: Cell::new(0),
            queued: Cell::new(false),
            connections: RefCell::default(),
            topics: RefCell::default(),
            parcel: Cell::default(),
            mailed: Cell::default(),
            paused: RefCell::default(),
            pool: RefCell::default(),
        })
    }

    /// The current settings.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.borrow_mut().get(&self.server.settings).clone()
    }

    /// An empty output buffer.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        let buffer = self.pool.borrow_mut().pop().unwrap_or_default();
        if buffer.capacity() > 0 {
            self.handle.spare_rooms[1].fetch_sub(buffer.capacity(), Ordering::Relaxed);
        }
        buffer
    }

    /// Takes an empty output buffer back.
    pub(crate) fn give_buffer(&self, buffer: Vec<u8>) {
        let mut pool = self.pool.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= POOLED_OUTPUT_LEN && pool.len() < POOLED_OUTPUTS {
            self.handle.spare_rooms[1].fetch_add(buffer.capacity(), Ordering::Relaxed);
            pool.push(buffer);
        }
    }

    /// Begins to serve a registered client.
    pub(crate) fn serve(self: &Rc<Self>, stream: Stream, info: Arc<ClientInfo>) {
        let client = Client::new(info.clone(), &self.server.acl);
        let connection = Rc::new(Connection::new(stream, info.clone()));
        self.connections.borrow_mut().insert(info.id, connection.clone());
        let runtime = self.clone();
        tokio::task::spawn_local(async move {
            connection::serve(&connection, &runtime, client).await;
            runtime.connections.borrow_mut().remove(&info.id);
            runtime.server.clients.unregister(info.id);
        });
    }

    /// The connection of a client.
    pub(super) fn connection(&self, client: u64) -> Option<Rc<Connection>> {
        self.connections.borrow().get(&client).cloned()
    }

    /// Whether what waits for `promise` may leave.
    #[inline]
    pub(super) fn promised(&self, promise: Lsn) -> bool {
        let held = promise <= self.held.get() || self.server.store.holds(promise);
        if held {
            self.held.set(self.held.get().max(promise));
        }
        held
    }

    /// Has `connection` woken when mail has been handed out, if too much of it waits for any runtime. Says whether it does.
    pub(super) fn pauses(&self, connection: &Rc<Connection>) -> bool {
        let crowded = self.server.runtimes.get().is_some_and(|all| all.iter().any(|handle| handle.is_crowded()));
        if crowded {
            self.paused.borrow_mut().push(connection.clone());
        }
        crowded
    }

    /// Those who paused look again.
    fn resume(&self) {
        for connection in self.paused.take() {
            connection.wake();
        }
    }

    /// Begins to serve a registered client when it has agreed on keys.
    pub(crate) fn serve_tls(self: &Rc<Self>, socket: tokio::net::TcpStream, info: Arc<ClientInfo>) {
        let runtime = self.clone();
        tokio::task::spawn_local(async move {
            match runtime.server.tls.accept(socket).await {
                Ok(stream) => runtime.serve(Stream::Tls(Box::new(stream)), info),
                Err(why) => {
                    crate::log::verbose(format_args!(
                        "Error accepting a client connection: {why} (addr={})",
                        info.addr
                    ));
                    runtime.server.clients.unregister(info.id);
                }
            }
        });
    }

    /// Has the committer release the replies of `connection` when `lsn` holds.
    pub(crate) fn hold(&self, lsn: Lsn, connection: &Rc<Connection>) {
        self.queue.borrow_mut().push_back((lsn, connection.clone()));
        self.queued.set(true);
        self.handle.signal();
    }

    /// Writes the log once for everything queued, and sends the replies whose promise holds. Never ends.
    pub(crate) async fn run_committer(self: Rc<Self>) {
        loop {
            self.handle.signalled().await;
            self.read_messages();
            let crowded = self.handle.is_crowded();
            if !self.deliver() {
                // Behind the tasks of those who come first; they were woken before. Once: there may always be more of them.
                tokio::task::yield_now().await;
                self.deliver_now();
            }
            if crowded {
                // Others may have waited for that.
                self.server.runtimes.get().into_iter().flatten().for_each(|handle| handle.signal());
            }
            self.resume();
            // A suspended script, maybe in this very thread, keeps the engine; when it ends, it signals.
            if self.queued.get() && self.server.has_engine() && self.queued.take() {
                self.server.store.commit();
            }
            self.release();
        }
    }

    fn release(&self) {
        let store = &self.server.store;
        // Nearly always the newest holds, and with it all.
        let newest = self.queue.borrow().back().map(|&(lsn, _)| lsn);
        let Some(newest) = newest else { return };
        let mut held = if store.holds(newest) { newest } else { 0 };
        loop {
            let mut queue = self.queue.borrow_mut();
            let Some(&(lsn, _)) = queue.front() else { break };
            if lsn > held {
                if !store.holds(lsn) {
                    break;
                }
                held = lsn;
            }
            let connection = queue.pop_front().map(|(_, connection)| connection);
            drop(queue);
            self.held.set(self.held.get().max(held));
            if let Some(connection) = connection {
                connection.release(self, held);
            }
        }
    }

    fn read_messages(self: &Rc<Self>) {
        let messages = std::mem::take(&mut *self.handle.messages.lock());
        for message in messages {
            match message {
                Message::Serve(stream, info) => {
                    self.adopt(tokio::net::TcpStream::from_std(stream).map(Stream::Tcp), info);
                }
                Message::ServeTls(stream, info) => match tokio::net::TcpStream::from_std(stream) {
                    Ok(socket) => self.serve_tls(socket, info),
                    Err(error) => self.adopt(Err(error), info),
                },
                Message::ServeUnix(stream, info) => {
                    self.adopt(tokio::net::UnixStream::from_std(stream).map(Stream::Unix), info);
                }
                Message::Kill(id) => {
                    if let Some(connection) = self.connection(id) {
                        connection.end();
                    }
                }
                Message::Wake(id) => {
                    if let Some(connection) = self.connection(id) {
                        connection.wake();
                    }
                }
            }
        }
    }

    fn adopt(self: &Rc<Self>, stream: std::io::Result<Stream>, info: Arc<ClientInfo>) {
        match stream {
            Ok(stream) => self.serve(stream, info),
            Err(error) => {
                crate::log::warning(format_args!("Cannot serve a client: {error}"));
                self.server.clients.unregister(info.id);
            }
        }
    }

    /// Looks after connections `hz` times a second. Never ends.
    pub(crate) async fn run_maintenance(self: Rc<Self>, first: bool) {
        let mut looked_ms = 0;
        loop {
            let settings = self.settings();
            tokio::time::sleep(Duration::from_micros(1_000_000 / u64::from(settings.hz.clamp(1, 500)))).await;
            if self.server.paused_ticks.load(Ordering::Relaxed) {
                continue;
            }
            let now_ms = self.server.clock_ms();
            if first {
                crate::maintenance::tick(&self.server, now_ms);
            }
            if now_ms >= looked_ms + 1000 {
                looked_ms = now_ms;
                let connections: Vec<_> = self.connections.borrow().values().cloned().collect();
                for connection in connections {
                    connection.look_after(&self.server, &settings, now_ms);
                }
            }
        }
    }
}
