//! MSETEX: several strings with one condition and one deadline.
//!
//! Effects: as of MSET without a deadline, as of SET for each key with one.

use super::strings::{self, Ttl};
use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::number::parse_integer;
use std::ops::Range;

/// `MSETEX`.
pub(super) static MSETEX: Command = Command {
    spec: Spec {
        name: "MSETEX",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keys: Keys::Found { find: find_keys, legacy: (0, 0, 0), access: "OW UPDATE" },
        group: Group::String,
        since: "9.1.0",
        summary: "Stores strings under several keys at once, with one deadline, if all of the keys exist or none.",
        complexity: "O(N) where N is the number of keys",
        syntax: "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                 PXAT unix-time-milliseconds | KEEPTTL]",
        ..Spec::BASE
    },
    run: msetex,
};

const WRONG_COUNT: CommandError =
    CommandError::Text(std::borrow::Cow::Borrowed("ERR invalid numkeys value or out of range"));

/// The indexes of the keys and values.
fn pairs(words: &[&[u8]]) -> Result<Range<usize>, CommandError> {
    let count = words.get(1).and_then(|word| parse_integer(word)).and_then(|count| i32::try_from(count).ok());
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0).ok_or(WRONG_COUNT)?;
    if count > (words.len() - 2) / 2 {
        return Err(CommandError::Syntax);
    }
    Ok(2..2 + 2 * count)
}

fn find_keys(words: &[&[u8]], found: &mut Vec<usize>) {
    if let Ok(pairs) = pairs(words) {
        found.extend(pairs.step_by(2));
    }
}

/// Answers 1 if all were set (or deleted, because the deadline has passed), 0 if the condition does not hold.
fn msetex(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let pairs = pairs(args.words())?;
    let (mut wanted, mut ttl, mut at) = (None, Ttl::Unsaid, pairs.end);
    while at < args.len() {
        if args.is(at, "NX") && wanted != Some(true) {
            wanted = Some(false);
        } else if args.is(at, "XX") && wanted != Some(false) {
            wanted = Some(true);
        } else if args.is(at, "KEEPTTL") && matches!(ttl, Ttl::Unsaid | Ttl::Keep) {
            ttl = Ttl::Keep;
        } else {
            ttl = ttl.option(args, at).ok_or(CommandError::Syntax)?;
            at += 1;
        }
        at += 1;
    }
    let deadline = ttl.deadline(1, call, args, "msetex")?;
    if let Some(wanted) = wanted {
        let holds = pairs.clone().step_by(2).all(|index| {
            let key = call.key(args, index);
            call.write(key).is_some() == wanted
        });
        if !holds {
            reply.integer(0);
            return Ok(());
        }
    }
    if deadline.is_none() && ttl != Ttl::Keep {
        strings::set_pairs(call, args, pairs);
    } else {
        for index in pairs.step_by(2) {
            let (key, value) = (call.key(args, index), args.get(index + 1));
            let existed = call.write(key).is_some();
            match deadline {
                Some(at) => strings::set_with_deadline(call, key, value, at, existed),
                None => strings::set_keeping_deadline(call, key, value, existed),
            }
        }
    }
    reply.integer(1);
    Ok(())
}
