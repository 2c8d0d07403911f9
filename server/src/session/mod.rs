//! Commands about the connection itself.

pub(crate) mod client;
pub(crate) mod client_filter;
pub(crate) mod client_list;
pub(crate) mod client_memory;
mod connection;
pub(crate) mod pause;
pub(crate) mod transaction;

pub(crate) use connection::REDIS_VERSION;

use crate::command::ServerCommand;

/// Their declarations.
pub(crate) static COMMANDS: &[&ServerCommand] = &[
    &connection::PING,
    &connection::ECHO,
    &connection::QUIT,
    &connection::RESET,
    &connection::AUTH,
    &connection::HELLO,
    &client::CLIENT,
    &transaction::MULTI,
    &transaction::EXEC,
    &transaction::DISCARD,
    &transaction::WATCH,
    &transaction::UNWATCH,
];
