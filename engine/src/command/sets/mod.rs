//! Commands on sets.

mod algebra;
mod members;
mod random;
#[cfg(test)]
mod tests;

use super::Command;

/// The family.
pub(super) static COMMANDS: &[&Command] = &[
    &members::SADD,
    &members::SREM,
    &members::SMEMBERS,
    &members::SISMEMBER,
    &members::SMISMEMBER,
    &members::SCARD,
    &members::SMOVE,
    &members::SSCAN,
    &random::SPOP,
    &random::SRANDMEMBER,
    &algebra::SINTER,
    &algebra::SINTERCARD,
    &algebra::SINTERSTORE,
    &algebra::SUNION,
    &algebra::SUNIONSTORE,
    &algebra::SDIFF,
    &algebra::SDIFFSTORE,
];
