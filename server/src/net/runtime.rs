//! One runtime thread: a tokio current-thread runtime that serves its share of the connections.

/// What other threads hold of a runtime.
#[derive(Debug, Default)]
pub(crate) struct RuntimeHandle {}
