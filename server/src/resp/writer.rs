//! Writes replies into a connection's output buffer, as RESP2 or RESP3.
//!
//! Simple strings and errors never hold CR or LF, whatever they were made of: they would be read as further replies.

use crate::stats::Stats;
use firn_engine::command::Reply;
use firn_engine::number::print_double;

/// The engine's replies as bytes.
pub(crate) struct Writer<'a> {
    /// Where they go.
    pub(crate) out: &'a mut Vec<u8>,
    /// 2 or 3.
    pub(crate) protocol: u8,
    /// Error replies written so far.
    pub(crate) errors: u32,
    stats: &'a Stats,
}

impl<'a> Writer<'a> {
    /// A writer that counts errors in `stats`.
    pub(crate) fn new(out: &'a mut Vec<u8>, protocol: u8, stats: &'a Stats) -> Self {
        Writer { out, protocol, errors: 0, stats }
    }

    /// An error line of any bytes, without the `-`; CR and LF become spaces.
    pub(crate) fn error_bytes(&mut self, line: &[u8]) {
        self.stats.count_error(line);
        self.counted_error_bytes(line);
    }

    /// [`Writer::error_bytes`] of an error that the statistics have counted already.
    pub(crate) fn counted_error_bytes(&mut self, line: &[u8]) {
        self.errors += 1;
        self.line(b'-', line);
    }

    /// A status of any bytes; CR and LF become spaces.
    pub(crate) fn status_bytes(&mut self, line: &[u8]) {
        self.line(b'+', line);
    }

    fn line(&mut self, kind: u8, line: &[u8]) {
        self.out.push(kind);
        if memchr::memchr2(b'\r', b'\n', line).is_none() {
            self.out.extend_from_slice(line);
        } else {
            self.out.extend(line.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// A text with a format of any bytes, of which three count.
    pub(crate) fn verbatim_bytes(&mut self, format: &[u8], text: &[u8]) {
        if self.protocol == 2 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() + 4);
        self.out.extend((0..3).map(|at| match format.get(at) {
            None | Some(b'\r' | b'\n') => b' ',
            Some(byte) => *byte,
        }));
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn header(&mut self, kind: u8, number: usize) {
        put_header(self.out, kind, number);
    }

    fn text(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Writes a type byte, a number, CRLF: the same in both protocols.
#[inline]
pub(crate) fn put_header(out: &mut Vec<u8>, kind: u8, number: usize) {
    if number < 10 {
        out.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
    } else if number < 100 {
        out.extend_from_slice(&[kind, b'0' + (number / 10) as u8, b'0' + (number % 10) as u8, b'\r', b'\n']);
    } else {
        out.push(kind);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes a bulk string: the same in both protocols.
#[inline]
pub(crate) fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 32);
    put_header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

impl Reply for Writer<'_> {
    fn written(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn written_errors(&mut self, bytes: &[u8], errors: u32) {
        self.errors += errors;
        self.written(bytes);
    }

    #[inline]
    fn simple(&mut self, text: &'static str) {
        debug_assert!(!text.contains(['\r', '\n']), "a status is one line");
        self.text(b'+', text.as_bytes());
    }

    fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    #[inline]
    fn integer(&mut self, value: i64) {
        if (0..10).contains(&value) {
            self.header(b':', value as usize);
        } else {
            self.text(b':', itoa::Buffer::new().format(value).as_bytes());
        }
    }

    #[inline]
    fn bulk(&mut self, bytes: &[u8]) {
        put_bulk(self.out, bytes);
    }

    fn null(&mut self) {
        self.out.extend_from_slice(if self.protocol == 2 { b"$-1\r\n" } else { b"_\r\n" });
    }

    fn null_array(&mut self) {
        self.out.extend_from_slice(if self.protocol == 2 { b"*-1\r\n" } else { b"_\r\n" });
    }

    fn array(&mut self, n: usize) {
        self.header(b'*', n);
    }

    fn map(&mut self, n: usize) {
        if self.protocol == 2 { self.header(b'*', 2 * n) } else { self.header(b'%', n) }
    }

    fn set(&mut self, n: usize) {
        self.header(if self.protocol == 2 { b'*' } else { b'~' }, n);
    }

    fn push(&mut self, n: usize) {
        self.header(if self.protocol == 2 { b'*' } else { b'>' }, n);
    }

    fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        print_double(value, &mut text);
        if self.protocol == 2 { self.bulk(&text) } else { self.text(b',', &text) }
    }

    fn double_text(&mut self, text: &str) {
        if self.protocol == 2 { self.bulk(text.as_bytes()) } else { self.text(b',', text.as_bytes()) }
    }

    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.protocol, value) {
            (2, true) => b":1\r\n",
            (2, false) => b":0\r\n",
            (_, true) => b"#t\r\n",
            (_, false) => b"#f\r\n",
        });
    }

    fn big_number(&mut self, digits: &str) {
        if self.protocol == 2 { self.bulk(digits.as_bytes()) } else { self.text(b'(', digits.as_bytes()) }
    }

    fn verbatim(&mut self, format: &'static str, text: &[u8]) {
        debug_assert_eq!(format.len(), 3, "RESP3 wants three letters");
        self.verbatim_bytes(format.as_bytes(), text);
    }

    fn attribute(&mut self, n: usize) -> bool {
        if self.protocol > 2 {
            self.header(b'|', n);
        }
        self.protocol > 2
    }

    fn protocol(&self) -> u8 {
        self.protocol
    }

    fn set_protocol(&mut self, protocol: u8) {
        self.protocol = protocol;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: fn(&mut Writer<'_>), resp2: &[u8], resp3: &[u8]) {
        for (protocol, expected) in [(2, resp2), (3, resp3)] {
            let (mut out, stats) = (Vec::new(), Stats::default());
            write(&mut Writer::new(&mut out, protocol, &stats));
            assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string(), "RESP{protocol}");
        }
    }

    #[test]
    fn every_shape_in_both_protocols() {
        check(|w| w.ok(), b"+OK\r\n", b"+OK\r\n");
        check(|w| w.error("ERR no"), b"-ERR no\r\n", b"-ERR no\r\n");
        check(|w| w.integer(7), b":7\r\n", b":7\r\n");
        check(|w| w.integer(i64::MIN), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n");
        check(|w| w.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n");
        check(|w| w.bulk(&[b'x'; 10]), b"$10\r\nxxxxxxxxxx\r\n", b"$10\r\nxxxxxxxxxx\r\n");
        check(|w| w.array(100), b"*100\r\n", b"*100\r\n");
        check(|w| w.null(), b"$-1\r\n", b"_\r\n");
        check(|w| w.null_array(), b"*-1\r\n", b"_\r\n");
        check(|w| w.map(2), b"*4\r\n", b"%2\r\n");
        check(|w| w.set(2), b"*2\r\n", b"~2\r\n");
        check(|w| w.push(2), b"*2\r\n", b">2\r\n");
        check(|w| assert_eq!(w.attribute(1), w.protocol == 3), b"", b"|1\r\n");
        check(|w| w.boolean(true), b":1\r\n", b"#t\r\n");
        check(|w| w.boolean(false), b":0\r\n", b"#f\r\n");
        check(|w| w.double(1.5), b"$3\r\n1.5\r\n", b",1.5\r\n");
        check(|w| w.double(f64::NEG_INFINITY), b"$4\r\n-inf\r\n", b",-inf\r\n");
        check(|w| w.big_number("12"), b"$2\r\n12\r\n", b"(12\r\n");
        check(|w| w.verbatim("txt", b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n");
    }

    #[test]
    fn no_byte_of_an_error_begins_another_reply() {
        check(|w| w.error_bytes(b"ERR a\r\n+OK\nb"), b"-ERR a  +OK b\r\n", b"-ERR a  +OK b\r\n");
    }
}
