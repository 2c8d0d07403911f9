//! `firn-server`: a durable server that Redis clients, configuration files and tools can use unchanged.

mod admin;
mod allocator;
mod client;
mod command;
mod config;
mod net;
mod server;
mod settings;
mod stats;
mod table;

fn main() {}
