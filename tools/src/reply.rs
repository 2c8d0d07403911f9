//! Replies as RESP2 or RESP3 into memory, for `firn serve`.

use crate::show::{Resp, Shape};
use firn_engine::command::Reply;
use firn_engine::number::print_double;
use std::io::Write;

/// Writes replies of one request.
pub(crate) struct Writer<'o> {
    /// Where to.
    pub(crate) out: &'o mut Vec<u8>,
    /// 2 or 3.
    pub(crate) protocol: u8,
}

/// Writing into memory cannot fail.
macro_rules! put {
    ($to:expr, $($what:tt)*) => { let _ = write!($to.out, $($what)*); };
}

impl Writer<'_> {
    /// The head of an aggregate, which RESP2 has as an array of `flat` items.
    fn aggregate(&mut self, mark: char, n: usize, flat: usize) {
        if self.protocol == 2 {
            put!(self, "*{flat}\r\n");
        } else {
            put!(self, "{mark}{n}\r\n");
        }
    }
}

impl Reply for Writer<'_> {
    fn simple(&mut self, text: &'static str) {
        put!(self, "+{text}\r\n");
    }
    fn error(&mut self, text: &str) {
        put!(self, "-{}\r\n", text.replace(['\r', '\n'], " "));
    }
    fn integer(&mut self, value: i64) {
        put!(self, ":{value}\r\n");
    }
    fn bulk(&mut self, bytes: &[u8]) {
        let _ = Resp(self.out).bulk(bytes);
    }
    fn null(&mut self) {
        self.out.extend_from_slice(if self.protocol == 2 { b"$-1\r\n" } else { b"_\r\n" });
    }
    fn null_array(&mut self) {
        self.out.extend_from_slice(if self.protocol == 2 { b"*-1\r\n" } else { b"_\r\n" });
    }
    fn array(&mut self, n: usize) {
        put!(self, "*{n}\r\n");
    }
    fn map(&mut self, n: usize) {
        self.aggregate('%', n, n * 2);
    }
    fn set(&mut self, n: usize) {
        self.aggregate('~', n, n);
    }
    fn push(&mut self, n: usize) {
        self.aggregate('>', n, n);
    }
    fn double(&mut self, value: f64) {
        let mut text = Vec::new();
        print_double(value, &mut text);
        if self.protocol == 2 {
            return self.bulk(&text);
        }
        self.out.push(b',');
        self.out.extend_from_slice(&text);
        self.out.extend_from_slice(b"\r\n");
    }
    fn boolean(&mut self, value: bool) {
        match self.protocol {
            2 => self.integer(i64::from(value)),
            _ => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }
    fn big_number(&mut self, digits: &str) {
        if self.protocol == 2 {
            return self.bulk(digits.as_bytes());
        }
        put!(self, "({digits}\r\n");
    }
    fn verbatim(&mut self, kind: &'static str, text: &[u8]) {
        if self.protocol == 2 {
            return self.bulk(text);
        }
        put!(self, "={}\r\n{kind}:", text.len() + kind.len() + 1);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
    fn protocol(&self) -> u8 {
        self.protocol
    }
}
