//! Lua itself: a machine, its stack as functions see it, and how numbers become text. All `unsafe` of scripting is here and in
//! `fiber`.
//!
//! The machine is Luau: Lua 5.1's language in an implementation built to run hostile code (see ARCHITECTURE.md for the choice). Its C
//! interface is used as it is; errors that it raises are C++ exceptions, which pass through Rust's frames as through C++'s, running
//! destructors on the way, and end in the machine's own protected calls. Nothing that can raise is called outside of one.

mod machine;
mod number;
mod stack;

pub(super) use machine::{Machine, Reference};
pub(super) use number::print_general;
pub(super) use stack::{Answer, Kind, Raise, Stack, error_line};
