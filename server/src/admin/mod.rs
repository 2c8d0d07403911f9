//! Commands that administer the server: CONFIG, INFO, COMMAND, DEBUG and their like.

mod categories;
mod syntax;

use crate::command::ServerCommand;

/// Their declarations.
pub(crate) static COMMANDS: &[&ServerCommand] = &[];
