//! XACK.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::id;
use crate::value::{Shaping, Stream};

/// `XACK`.
pub(super) static XACK: Command = Command {
    spec: Spec {
        name: "XACK",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW UPDATE"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Ends entries' being pending in a group, and returns how many were.",
        complexity: "O(log(N)) for each ID, with N being the number of pending entries",
        syntax: "key group id [id ...]",
        ..Spec::BASE
    },
    run: xack,
};

fn xack(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, group) = (call.key(args, 1), args.get(2));
    let has_group = call.write_stream(key)?.map(|stream| stream.group(group).is_some());
    call.looked_up(key, has_group.is_some());
    if has_group != Some(true) {
        reply.integer(0);
        return Ok(());
    }
    let ids = args.words()[3..].iter().map(|word| id(word)).collect::<Result<Vec<_>, _>>()?;
    let acknowledge = |stream: &mut Stream, _: &Shaping| {
        stream.edit_group(group, |group| ids.iter().filter(|id| group.acknowledge(**id)).count())
    };
    let acknowledged = call.edit_stream(key, acknowledge).result.unwrap_or(0);
    if acknowledged > 0 {
        call.touched(key);
        call.effect_parts(&[b"XACK"], &args.words()[1..]);
    }
    reply.integer(acknowledged as i64);
    Ok(())
}
