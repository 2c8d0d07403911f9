//! The shape of replies, not their bytes: RESP2, RESP3, Lua values and plain values are all writers of this trait.

use crate::value::listpack::{Element, IntegerText};

/// Takes one reply, in order. After `array(n)`, `set(n)` and `push(n)` follow n replies, after `map(n)` 2n.
pub trait Reply {
    /// A status such as `OK`. Only fixed texts: no byte of a value ever reaches a simple string.
    fn simple(&mut self, text: &'static str);
    /// An error line with its prefix, without CR or LF.
    fn error(&mut self, text: &str);
    /// An integer.
    fn integer(&mut self, value: i64);
    /// A binary-safe string.
    fn bulk(&mut self, bytes: &[u8]);
    /// An element of a packed run, as a string.
    fn element(&mut self, element: Element<'_>) {
        self.bulk(element.as_bytes(&mut IntegerText::new()));
    }
    /// A missing value: RESP2 `$-1`, RESP3 `_`.
    fn null(&mut self);
    /// A missing array: RESP2 `*-1`, RESP3 `_`.
    fn null_array(&mut self);
    /// `n` replies follow.
    fn array(&mut self, n: usize);
    /// `n` pairs follow: RESP2 an array of 2n.
    fn map(&mut self, n: usize);
    /// `n` distinct replies follow: RESP2 an array.
    fn set(&mut self, n: usize);
    /// `n` replies follow, out of band: RESP2 an array.
    fn push(&mut self, n: usize);
    /// A float: RESP2 a bulk string.
    fn double(&mut self, value: f64);
    /// A float whose text is given, where [`Reply::double`] would print other digits: RESP2 a bulk string.
    fn double_text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }
    /// A truth value: RESP2 an integer 0 or 1.
    fn boolean(&mut self, value: bool);
    /// An integer of any size, in decimal: RESP2 a bulk string.
    fn big_number(&mut self, digits: &str);
    /// A text with a three-letter format (`txt`, `mkd`): RESP2 a bulk string.
    fn verbatim(&mut self, format: &'static str, text: &[u8]);
    /// `n` pairs about the reply that comes after them follow. False: this writer has no place for them, and none may follow.
    fn attribute(&mut self, n: usize) -> bool {
        let _ = n;
        false
    }
    /// Replies that another writer of this very kind and protocol has written already, as its bytes.
    ///
    /// # Panics
    /// Where there is no other writer of the kind.
    fn written(&mut self, bytes: &[u8]) {
        let _ = bytes;
        unreachable!("this writer's replies are not written elsewhere");
    }
    /// [`Reply::written`], of which `errors` are errors that have been counted.
    fn written_errors(&mut self, bytes: &[u8], errors: u32) {
        let _ = errors;
        self.written(bytes);
    }
    /// 2 or 3: a few commands answer in another shape.
    fn protocol(&self) -> u8;

    /// The protocol changes with this very reply (HELLO). Writers that have only one ignore it.
    fn set_protocol(&mut self, protocol: u8) {
        let _ = protocol;
    }

    /// `+OK`.
    fn ok(&mut self) {
        self.simple("OK");
    }
}

/// Throws replies away: replaying the log.
#[derive(Debug, Default)]
pub struct NoReply {
    /// The first error that a command answered; a replay stops at it.
    pub error: Option<String>,
}

impl Reply for NoReply {
    fn simple(&mut self, _: &'static str) {}
    fn error(&mut self, text: &str) {
        self.error.get_or_insert_with(|| text.to_owned());
    }
    fn integer(&mut self, _: i64) {}
    fn bulk(&mut self, _: &[u8]) {}
    fn null(&mut self) {}
    fn null_array(&mut self) {}
    fn array(&mut self, _: usize) {}
    fn map(&mut self, _: usize) {}
    fn set(&mut self, _: usize) {}
    fn push(&mut self, _: usize) {}
    fn double(&mut self, _: f64) {}
    fn boolean(&mut self, _: bool) {}
    fn big_number(&mut self, _: &str) {}
    fn verbatim(&mut self, _: &'static str, _: &[u8]) {}
    fn protocol(&self) -> u8 {
        2
    }
}
