//! A client's socket with TLS on it: the same calls as a plain one, and none of them waits.
//!
//! 1. What the socket does not take of the encrypted bytes stays in the session; [`TlsStream::is_backed_up`] tells, and every further
//!    write sends it first. At most one buffer of rustls (64 KiB) is encrypted ahead.
//! 2. Decrypted bytes may wait in the session although the socket has nothing: [`TlsStream::has_unread`] tells.

use rustls::ServerConnection;
use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use tokio::net::TcpStream;

/// The socket and the session.
#[derive(Debug)]
pub(crate) struct TlsStream {
    /// The socket.
    pub(crate) socket: TcpStream,
    session: RefCell<ServerConnection>,
}

/// The socket as rustls wants it.
struct Raw<'a>(&'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    /// After the handshake.
    pub(crate) fn new(socket: TcpStream, session: ServerConnection) -> Self {
        TlsStream { socket, session: session.into() }
    }

    /// Whether decrypted bytes wait, or the end was announced.
    pub(crate) fn has_unread(&self) -> bool {
        self.session.borrow_mut().reader().fill_buf().is_ok()
    }

    /// Whether encrypted bytes wait for room in the socket.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.session.borrow().wants_write()
    }

    /// Appends what has arrived to `buffer`, as far as its capacity goes. 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has; else the connection is broken.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        let before = buffer.len();
        let end = loop {
            match session.reader().fill_buf() {
                Ok([]) => break Ok(()),
                Ok(part) => {
                    let n = part.len().min(buffer.capacity() - buffer.len());
                    buffer.extend_from_slice(&part[..n]);
                    session.reader().consume(n);
                    if buffer.len() == buffer.capacity() {
                        break Ok(());
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Without a farewell, as many clients go.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break Ok(()),
                Err(error) => break Err(error),
            }
            match session.read_tls(&mut Raw(&self.socket)) {
                Ok(0) => break Ok(()),
                Ok(_) => {
                    if let Err(error) = session.process_new_packets() {
                        // The client is told why, if it takes it.
                        let _ = session.write_tls(&mut Raw(&self.socket));
                        break Err(io::Error::new(ErrorKind::InvalidData, error));
                    }
                }
                Err(error) => break Err(error),
            }
        };
        let n = buffer.len() - before;
        match end {
            Err(error) if n == 0 => Err(error),
            // An error comes again.
            _ => Ok(n),
        }
    }

    /// Takes as much as fits.
    ///
    /// # Errors
    /// `WouldBlock` if nothing does; else the connection is broken.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        self.push_out(session)?;
        let n = session.writer().write(bytes)?;
        match self.push_out(session) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(n),
        }
    }

    /// Sends what waits encrypted.
    ///
    /// # Errors
    /// As [`TlsStream::write`].
    pub(crate) fn push(&self) -> io::Result<()> {
        self.push_out(&mut self.session.borrow_mut())
    }

    fn push_out(&self, session: &mut ServerConnection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut Raw(&self.socket))?;
        }
        Ok(())
    }
}

impl Drop for TlsStream {
    /// Says farewell, so that the client knows that nothing was cut off.
    fn drop(&mut self) {
        self.session.borrow_mut().send_close_notify();
        // It may be gone already.
        let _ = self.push();
    }
}
