//! A client's socket, TCP (plain or with TLS) or unix: reads and writes that do not block, and their readiness.
//!
//! A read that fills less than the room it was given has emptied the socket; the runtime is told so, which saves the call that
//! would only answer "would block".

use super::tls_stream::TlsStream;
use rustix::net::RecvFlags;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// The socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP with TLS.
    Tls(Box<TlsStream>),
}

impl Stream {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.socket.as_fd(),
        }
    }

    /// The descriptor's number, for display.
    pub(crate) fn number(&self) -> i32 {
        self.fd().as_raw_fd()
    }

    fn try_io<T>(&self, interest: Interest, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Stream::Tcp(stream) => stream.try_io(interest, call),
            Stream::Unix(stream) => stream.try_io(interest, call),
            Stream::Tls(stream) => stream.socket.try_io(interest, call),
        }
    }

    /// Ready when a read would not block.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tls(stream) if stream.has_unread() => Poll::Ready(Ok(())),
            _ => self.poll_arrival(cx),
        }
    }

    /// Ready when the socket has something, whatever was taken from it before.
    pub(crate) fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            Stream::Tls(stream) => stream.socket.poll_read_ready(cx),
        }
    }

    /// Ready when a write would not block.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
            Stream::Tls(stream) => stream.socket.poll_write_ready(cx),
        }
    }

    /// Whether what was written still waits for room in the socket.
    pub(crate) fn is_backed_up(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.is_backed_up())
    }

    /// Sends what was written and still waits.
    ///
    /// # Errors
    /// As [`Stream::write`].
    pub(crate) fn push(&self) -> io::Result<()> {
        match self {
            Stream::Tls(stream) => stream.push(),
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
        }
    }

    /// Appends what has arrived to `buffer`, as far as its capacity goes, which must be above its length. 0 is the end.
    ///
    /// The socket is asked whatever its readiness says: that may have been cleared ([`Stream::clear_ready`]) with requests still to be read.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if let Stream::Tls(stream) = self {
            return stream.read(buffer);
        }
        let room = buffer.capacity() - buffer.len();
        // `recv` passes by what `read` does for files.
        let read = rustix::net::recv(self.fd(), rustix::buffer::spare_capacity(buffer), RecvFlags::empty());
        // What arrives from here on makes it ready again: only this thread asks the kernel for news.
        if read.map_or_else(|errno| errno == rustix::io::Errno::AGAIN, |(n, _)| n > 0 && n < room) {
            self.clear_ready();
        }
        Ok(read?.0)
    }

    /// Writes as much as the socket takes now.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if let Stream::Tls(stream) = self {
            return stream.write(bytes);
        }
        match rustix::net::send(self.fd(), bytes, rustix::net::SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::AGAIN) => self.try_io(Interest::WRITABLE, || Err(ErrorKind::WouldBlock.into())),
            result => Ok(result?),
        }
    }

    /// Forgets that a read would not block, so that [`Stream::poll_read_ready`] waits for what is new.
    pub(crate) fn clear_ready(&self) {
        // The call only says that it would block.
        let _ = self.try_io(Interest::READABLE, || -> io::Result<()> { Err(ErrorKind::WouldBlock.into()) });
    }

    /// Whether the other end has closed, also behind requests that have not been read; of a stream that is ready.
    pub(crate) fn is_closed(&self, cx: &mut Context<'_>) -> bool {
        let ready = match self {
            Stream::Tcp(stream) => pin!(stream.ready(Interest::READABLE)).poll(cx),
            Stream::Tls(stream) => pin!(stream.socket.ready(Interest::READABLE)).poll(cx),
            Stream::Unix(stream) => pin!(stream.ready(Interest::READABLE)).poll(cx),
        };
        if matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed()) {
            return true;
        }
        let mut byte = [0u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(self.fd(), &mut byte[..], flags) {
            Ok((n, _)) => n == 0,
            Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
        }
    }
}
