//! The protocol: requests in, replies out. No sockets here.

pub(crate) mod inline;
pub(crate) mod parser;
pub(crate) mod writer;
