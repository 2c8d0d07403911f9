//! A connection's output buffer: replies in order, each with the promise it waits for.
//!
//! 1. Replies leave in the order they were written.
//! 2. A reply leaves only when it was released: at once, or when the log has reached the promise of its mark.
//! 3. Marks are in order of their LSNs as well as of their places.

use super::stream::Stream;
use firn_engine::log::Lsn;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// What is sent in one call of the system at most.
const WRITE_LEN_MAX: usize = 1024 * 1024;

/// Replies on their way.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Replies; `bytes[..sent]` have left.
    pub(crate) bytes: Vec<u8>,
    sent: usize,
    /// `bytes[..released]` may leave.
    released: usize,
    /// What has been taken off the front of `bytes` since the connection began: marks count from there.
    base: u64,
    /// Replies up to the place may leave once the LSN is promised.
    marks: VecDeque<(Lsn, u64)>,
    /// The socket takes nothing more at the moment; with TLS it may be that bytes which have left here wait before it.
    pub(crate) blocked: bool,
}

impl Output {
    /// Bytes that have not left.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether everything has left, to the last byte.
    pub(crate) fn is_drained(&self) -> bool {
        self.len() == 0 && !self.blocked
    }

    /// Whether replies wait for a promise.
    pub(crate) fn is_holding(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Releases everything, unless earlier replies wait: then these wait with them. True if everything is released.
    pub(crate) fn release_all(&mut self) -> bool {
        let end = self.base + self.bytes.len() as u64;
        match self.marks.back_mut() {
            Some(mark) => mark.1 = end,
            None => self.released = self.bytes.len(),
        }
        self.marks.is_empty()
    }

    /// Everything not yet marked waits for `lsn`. True if that is a new mark, which must be queued.
    pub(crate) fn hold(&mut self, lsn: Lsn) -> bool {
        let end = self.base + self.bytes.len() as u64;
        match self.marks.back_mut() {
            Some(mark) if mark.0 >= lsn => {
                mark.1 = end;
                false
            }
            _ => {
                self.marks.push_back((lsn, end));
                true
            }
        }
    }

    /// Releases what waits for LSNs up to `held`.
    pub(crate) fn reached(&mut self, held: Lsn) {
        while let Some(&(lsn, end)) = self.marks.front()
            && lsn <= held
        {
            self.released = (end - self.base) as usize;
            self.marks.pop_front();
        }
    }

    /// Sends what is released. How many bytes left; with `blocked` set if more would have.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn flush(&mut self, stream: &Stream) -> io::Result<usize> {
        let before = self.sent;
        if self.blocked {
            match stream.push() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(0),
                result => result?,
            }
        }
        while self.sent < self.released {
            let end = self.released.min(self.sent + WRITE_LEN_MAX);
            match stream.write(&self.bytes[self.sent..end]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let left = self.sent - before;
        if self.sent == self.released {
            self.blocked = stream.is_backed_up();
        }
        let all = self.sent == self.bytes.len();
        if all || (self.sent >= WRITE_LEN_MAX && self.sent > self.bytes.len() / 2) {
            self.take_off(self.sent);
        }
        Ok(left)
    }

    fn take_off(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.base += len as u64;
        self.sent -= len;
        self.released -= len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A connected pair: ours, and the other end.
    fn pair() -> (tokio::runtime::Runtime, Stream, std::os::unix::net::UnixStream) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = runtime.block_on(async { Stream::Unix(tokio::net::UnixStream::from_std(ours).unwrap()) });
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        (runtime, stream, theirs)
    }

    #[test]
    fn replies_leave_when_their_promise_holds_and_in_order() {
        let (runtime, stream, mut theirs) = pair();
        let _guard = runtime.enter();
        let mut output = Output::default();
        output.bytes.extend_from_slice(b"a");
        assert!(output.hold(5));
        output.bytes.extend_from_slice(b"b"); // A read that needs no promise, behind the write.
        assert!(!output.release_all());
        output.bytes.extend_from_slice(b"c");
        assert!(output.hold(7));
        output.bytes.extend_from_slice(b"d");
        assert!(!output.hold(6), "an LSN below the newest mark's needs no mark of its own");
        assert_eq!(output.flush(&stream).unwrap(), 0);
        output.reached(6);
        assert_eq!(output.flush(&stream).unwrap(), 2);
        assert_eq!(output.len(), 2);
        output.reached(7);
        assert_eq!(output.flush(&stream).unwrap(), 2);
        assert_eq!(output.len(), 0);
        output.bytes.extend_from_slice(b"e");
        assert!(output.release_all());
        assert_eq!(output.flush(&stream).unwrap(), 1);
        let mut got = [0; 5];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"abcde");
    }

    #[test]
    fn a_reader_that_stops_blocks_us_and_loses_nothing() {
        let (runtime, stream, mut theirs) = pair();
        let _guard = runtime.enter();
        let sent: Vec<u8> = (0..8_000_000u32).map(|n| (n / 7) as u8).collect();
        let mut output = Output { bytes: sent.clone(), ..Output::default() };
        output.release_all();
        let (mut got, mut part) = (Vec::new(), vec![0; 300_000]);
        output.flush(&stream).unwrap();
        assert!(output.blocked);
        while got.len() < sent.len() {
            let n = theirs.read(&mut part).unwrap();
            got.extend_from_slice(&part[..n]);
            output.flush(&stream).unwrap();
        }
        assert!(!output.blocked && output.len() == 0 && got == sent);
    }
}
