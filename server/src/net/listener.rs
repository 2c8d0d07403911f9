//! Listening sockets: made from `bind`, `port`, `tls-port`, `metrics-port` and `unixsocket`, and the acceptor that hands sockets to the
//! runtimes in turn.

use super::runtime::{Message, Runtime, RuntimeHandle};
use super::stream::Stream;
use crate::client::{ClientInfo, Names};
use crate::limits::ACCEPTS_PER_TURN;
use crate::log;
use crate::observe::metrics;
use crate::server::Server;
use crate::settings::Settings;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// An address that must be there.
    #[error("Could not create server TCP listening socket {address}:{port}: {source}")]
    Tcp {
        /// As configured.
        address: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// Addresses are configured, all may be missing, and all are.
    #[error("none of the addresses of `bind` is available")]
    NoAddress,
    /// The unix socket.
    #[error("Opening Unix socket {path}: {source}")]
    Unix {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl ListenError {
    /// The TCP port it is about.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            ListenError::Tcp { port, .. } => Some(*port),
            ListenError::NoAddress | ListenError::Unix { .. } => None,
        }
    }
}

/// Whom a TCP socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Clients.
    Clients,
    /// Clients with TLS.
    Tls,
    /// Whoever wants metrics.
    Metrics,
}

/// A TCP socket that listens.
#[derive(Debug)]
pub(crate) struct Tcp {
    socket: std::net::TcpListener,
    purpose: Purpose,
}

impl Tcp {
    fn try_clone(&self) -> io::Result<Tcp> {
        Ok(Tcp { socket: self.socket.try_clone()?, purpose: self.purpose })
    }
}

/// Sockets that listen, not yet part of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// TCP.
    pub(crate) tcp: Vec<Tcp>,
    /// Unix.
    pub(crate) unix: Option<std::os::unix::net::UnixListener>,
}

/// Listens on all addresses of `settings`.
///
/// # Errors
/// An address that must be there is not, or none is; nothing listens then.
pub(crate) fn listen(settings: &Settings) -> Result<Listeners, ListenError> {
    let mut listeners = Listeners { tcp: listen_tcp(settings, &[])?, unix: None };
    if let Some(path) = &settings.unixsocket {
        let listener = listen_unix(path, settings)
            .map_err(|source| ListenError::Unix { path: path.display().to_string(), source })?;
        listeners.unix = Some(listener);
    }
    Ok(listeners)
}

/// The TCP part of [`listen`]. A socket of `open` that listens on a wanted address already is shared, not bound again.
///
/// # Errors
/// As there.
pub(crate) fn listen_tcp(settings: &Settings, open: &[Tcp]) -> Result<Vec<Tcp>, ListenError> {
    let mut found = Vec::new();
    for (purpose, bind, port) in [
        (Purpose::Clients, &settings.bind, settings.port),
        (Purpose::Tls, &settings.bind, settings.tls_port),
        (Purpose::Metrics, &settings.metrics_bind, settings.metrics_port),
    ] {
        if port != 0 {
            let backlog = i32::try_from(settings.tcp_backlog).unwrap_or(i32::MAX);
            listen_for(purpose, bind, port, backlog, open, &mut found)?;
        }
    }
    Ok(found)
}

fn listen_for(
    purpose: Purpose,
    names: &[String],
    port: u16,
    backlog: i32,
    open: &[Tcp],
    all: &mut Vec<Tcp>,
) -> Result<(), ListenError> {
    let mut found = false;
    for name in names {
        let (optional, host) = match name.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, name.as_str()),
        };
        // An empty name listens nowhere, as in Redis.
        if host.is_empty() {
            continue;
        }
        match bind(host, port, backlog, purpose, open) {
            Ok(socket) => {
                all.push(Tcp { socket, purpose });
                found = true;
            }
            Err(source) => {
                let unavailable = matches!(
                    source.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
                );
                if optional && unavailable {
                    log::debug(format_args!("Not listening on {host}:{port}: {source}"));
                    continue;
                }
                return Err(ListenError::Tcp { address: host.to_owned(), port, source });
            }
        }
    }
    if !found && names.iter().any(|name| !name.is_empty()) {
        return Err(ListenError::NoAddress);
    }
    Ok(())
}

fn bind(host: &str, port: u16, backlog: i32, purpose: Purpose, open: &[Tcp]) -> io::Result<std::net::TcpListener> {
    let address = match host {
        "*" => SocketAddr::from(([0, 0, 0, 0], port)),
        "::*" => SocketAddr::from(([0u16; 8], port)),
        _ => match host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::from((ip, port)),
            Err(_) => (host, port).to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?,
        },
    };
    let same = |open: &&Tcp| open.purpose == purpose && open.socket.local_addr().is_ok_and(|local| local == address);
    if let Some(same) = open.iter().find(same) {
        return same.socket.try_clone();
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn listen_unix(path: &Path, settings: &Settings) -> io::Result<std::os::unix::net::UnixListener> {
    let address = socket2::SockAddr::unix(path)?;
    // Left behind by an earlier run; anything else of that name is not ours to remove, and neither is the way to a server that runs.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        let visitor = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        visitor.set_nonblocking(true)?;
        // A queue that is full (`WouldBlock`) belongs to somebody as well.
        match visitor.connect(&address).map_err(|error| error.kind()) {
            Ok(()) | Err(ErrorKind::WouldBlock) => {
                return Err(io::Error::new(ErrorKind::AddrInUse, "a server listens there"));
            }
            Err(ErrorKind::ConnectionRefused) => std::fs::remove_file(path)?,
            // A socket of another kind, or one that we may not ask: the bind fails because the name is taken.
            Err(_) => {}
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    if settings.unixsocketperm != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(settings.unixsocketperm))?;
    }
    socket.listen(i32::try_from(settings.tcp_backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The sockets that listen now, and the tasks that accept from them. Belongs to the first runtime.
pub(crate) struct Acceptor {
    runtime: Rc<Runtime>,
    handles: Vec<Arc<RuntimeHandle>>,
    next: std::cell::Cell<usize>,
    tcp_tasks: std::cell::RefCell<Vec<tokio::task::JoinHandle<()>>>,
}

/// TCP listeners that CONFIG SET has opened, for the acceptor to take over.
#[derive(Debug, Default)]
pub(crate) struct Rebind {
    waiting: Mutex<Option<Vec<Tcp>>>,
    /// Handles of the sockets that listen now.
    open: Mutex<Vec<Tcp>>,
    notify: tokio::sync::Notify,
}

impl Rebind {
    /// Listens as `settings` say; addresses on which the server listens already stay open all the while.
    ///
    /// # Errors
    /// As [`listen`]; nothing has changed.
    pub(crate) fn listen(&self, settings: &Settings) -> Result<Vec<Tcp>, ListenError> {
        listen_tcp(settings, &self.open.lock())
    }

    /// Nobody is connected to any more: whoever sees a connection end with the process cannot come back to it.
    pub(crate) fn close(&self) {
        for Tcp { socket, .. } in &*self.open.lock() {
            // It ends with the process in any case.
            let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Replaces the TCP listeners: the new ones are open already, the old ones are closed.
    pub(crate) fn replace(&self, listeners: Vec<Tcp>) {
        *self.waiting.lock() = Some(listeners);
        self.notify.notify_one();
    }
}

impl Acceptor {
    /// Accepts from `listeners`, for `handles` in turn; the first is `runtime`'s own.
    ///
    /// # Errors
    /// A listener cannot become part of the runtime.
    pub(crate) fn start(
        runtime: Rc<Runtime>,
        handles: Vec<Arc<RuntimeHandle>>,
        listeners: Listeners,
    ) -> io::Result<Rc<Self>> {
        let acceptor = Rc::new(Acceptor {
            runtime,
            handles,
            next: std::cell::Cell::new(0),
            tcp_tasks: std::cell::RefCell::default(),
        });
        acceptor.listen_tcp(listeners.tcp)?;
        if let Some(listener) = listeners.unix {
            let listener = UnixListener::from_std(listener)?;
            let this = acceptor.clone();
            tokio::task::spawn_local(async move { this.accept_unix(&listener).await });
        }
        Ok(acceptor)
    }

    fn listen_tcp(self: &Rc<Self>, listeners: Vec<Tcp>) -> io::Result<()> {
        for task in self.tcp_tasks.borrow_mut().drain(..) {
            task.abort();
        }
        let open = listeners.iter().map(Tcp::try_clone).collect::<io::Result<Vec<_>>>()?;
        *self.runtime.server.rebind.open.lock() = open;
        for Tcp { socket, purpose } in listeners {
            let listener = TcpListener::from_std(socket)?;
            let this = self.clone();
            let task = tokio::task::spawn_local(async move {
                match purpose {
                    Purpose::Metrics => metrics::http::serve(this.runtime.server.clone(), listener).await,
                    Purpose::Clients => this.accept_tcp(&listener, false).await,
                    Purpose::Tls => this.accept_tcp(&listener, true).await,
                }
            });
            self.tcp_tasks.borrow_mut().push(task);
        }
        Ok(())
    }

    /// Takes over listeners that CONFIG SET opens. Never ends.
    pub(crate) async fn run_rebind(self: Rc<Self>) {
        let server = self.runtime.server.clone();
        loop {
            server.rebind.notify.notified().await;
            let listeners = server.rebind.waiting.lock().take();
            if let Some(listeners) = listeners
                && let Err(error) = self.listen_tcp(listeners)
            {
                log::warning(format_args!("Cannot accept connections on the new addresses: {error}"));
            }
        }
    }

    async fn accept_tcp(&self, listener: &TcpListener, tls: bool) {
        let mut turn = 0;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.welcome_tcp(stream, peer, tls),
                Err(error) => accept_failed(&error).await,
            }
            turn += 1;
            if turn % ACCEPTS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn accept_unix(&self, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let settings = self.runtime.settings();
                    let path =
                        settings.unixsocket.as_ref().map_or(String::new(), |path| format!("{}:0", path.display()));
                    let stream = Stream::Unix(stream);
                    if self.admit(&stream, None, false, &settings) {
                        self.hand_over(stream, path.clone(), path, false);
                    }
                }
                Err(error) => accept_failed(&error).await,
            }
        }
    }

    fn welcome_tcp(&self, stream: tokio::net::TcpStream, peer: SocketAddr, tls: bool) {
        let settings = self.runtime.settings();
        let local = stream.local_addr().map_or(String::new(), |address| address.to_string());
        // Neither option is needed to serve the client.
        let _ = stream.set_nodelay(true);
        if settings.tcp_keepalive_s > 0 {
            let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive(settings.tcp_keepalive_s));
        }
        let stream = Stream::Tcp(stream);
        if self.admit(&stream, Some(peer.ip()), tls, &settings) {
            self.hand_over(stream, peer.to_string(), local, tls);
        }
    }

    /// Whether the client may stay; else it is told why not, unless it would have to be told in TLS.
    fn admit(&self, stream: &Stream, peer: Option<IpAddr>, tls: bool, settings: &Settings) -> bool {
        use std::sync::atomic::Ordering;
        // The client is refused whether it hears why or not.
        let tell = |why: &[u8]| drop((!tls).then(|| stream.write(why)));
        let server = &self.runtime.server;
        if !server.clients.admit(settings.maxclients) {
            server.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            tell(b"-ERR max number of clients reached\r\n");
            return false;
        }
        if settings.protected_mode && server.acl.is_open() && peer.is_some_and(|ip| !ip.to_canonical().is_loopback()) {
            server.clients.dismiss();
            server.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            tell(PROTECTED);
            return false;
        }
        server.stats.connections_received.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Gives an admitted client to the next runtime.
    fn hand_over(&self, stream: Stream, addr: String, laddr: String, tls: bool) {
        let server = &self.runtime.server;
        let at = self.next.get();
        self.next.set((at + 1) % self.handles.len());
        let unix = matches!(stream, Stream::Unix(_));
        let info = Arc::new(client_info(server, &self.handles[at], stream.number(), unix, addr, laddr));
        server.clients.register(&info);
        let message = match stream {
            Stream::Tcp(stream) if tls && at == 0 => return self.runtime.serve_tls(stream, info),
            stream if at == 0 => return self.runtime.serve(stream, info),
            Stream::Tcp(stream) if tls => stream.into_std().map(|stream| Message::ServeTls(stream, info.clone())),
            Stream::Tcp(stream) => stream.into_std().map(|stream| Message::Serve(stream, info.clone())),
            Stream::Unix(stream) => stream.into_std().map(|stream| Message::ServeUnix(stream, info.clone())),
            Stream::Tls(_) => unreachable!("a client is handed over before its handshake"),
        };
        match message {
            Ok(message) => self.handles[at].send(message),
            Err(error) => {
                log::warning(format_args!("Cannot serve a client: {error}"));
                server.clients.unregister(info.id);
            }
        }
    }
}

fn client_info(
    server: &Server,
    runtime: &Arc<RuntimeHandle>,
    fd: i32,
    unix: bool,
    addr: String,
    laddr: String,
) -> ClientInfo {
    let now_ms = server.clock_ms();
    ClientInfo {
        id: server.clients.next_id(),
        addr,
        laddr,
        unix,
        fd,
        runtime: runtime.clone(),
        created_ms: now_ms,
        active_ms: now_ms.into(),
        db: 0.into(),
        protocol: 2.into(),
        last_command: 0.into(),
        query_len: 0.into(),
        query_free: 0.into(),
        query_awaited: 0.into(),
        argv_bytes: 0.into(),
        output_peak: 0.into(),
        prefix_bytes: 0.into(),
        output_len: 0.into(),
        output_room: 0.into(),
        query_room: 0.into(),
        commands: 0.into(),
        bytes_in: 0.into(),
        bytes_out: 0.into(),
        queued: (-1).into(),
        queued_bytes: 0.into(),
        watched: 0.into(),
        redirects: false.into(),
        told_memory: 0.into(),
        channels: 0.into(),
        patterns: 0.into(),
        shard_channels: 0.into(),
        tracking: 0.into(),
        redirect: (-1).into(),
        no_evict: false.into(),
        no_touch: false.into(),
        user: Mutex::new(server.acl.default_user()),
        waiting: false.into(),
        blocked: Mutex::default(),
        monitoring: false.into(),
        closing: false.into(),
        names: Mutex::new(Names::default()),
    }
}

/// First probe after `seconds`, then three more in a third of that each: a dead peer is noticed after about twice the time.
fn keepalive(seconds: u64) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(seconds))
        .with_interval(Duration::from_secs((seconds / 3).max(1)))
        .with_retries(3)
}

/// Waits a moment when the system has no descriptors or memory left: the connection stays in the queue and would be tried at once.
async fn accept_failed(error: &io::Error) {
    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted | ErrorKind::WouldBlock) {
        return;
    }
    log::warning(format_args!("Error accepting a client connection: {error}"));
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// What a client from elsewhere is told in protected mode; Redis' own words, which its clients and users know.
const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set \
for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from \
external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command \
'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, \
however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. \
2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode \
option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the \
'--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above \
things in order for the server to start accepting connections from the outside.\r\n";
