//! The network: listeners, runtimes, connections.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod mail;
pub(crate) mod output;
pub(crate) mod runtime;
pub(crate) mod stream;
pub(crate) mod tls;
mod tls_stream;
