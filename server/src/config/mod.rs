//! Configuration directives.

/// All directives and their values.
#[derive(Debug, Default)]
pub(crate) struct Config {}
