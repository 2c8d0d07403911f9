//! The network: listeners, runtimes, connections.

pub(crate) mod runtime;
