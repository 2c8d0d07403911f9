//! BITOP: strings combined bit by bit.

use super::words::{Operation, combine, invert};
use crate::command::typed::string;
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;

/// `BITOP`.
pub(super) static BITOP: Command = Command {
    spec: Spec {
        name: "BITOP",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 2, last: -1, step: 1, access: "OW UPDATE | RO ACCESS" },
        group: Group::Bitmap,
        since: "2.6.0",
        summary: "Stores what several strings are when they are combined bit by bit.",
        complexity: "O(N) where N is the length of all strings together",
        syntax: "<AND | OR | XOR | NOT> destkey key [key ...]",
        ..Spec::BASE
    },
    run: bitop,
};

fn bitop(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    // `None`: NOT.
    let operation = if args.is(1, "AND") {
        Some(Operation::And)
    } else if args.is(1, "OR") {
        Some(Operation::Or)
    } else if args.is(1, "XOR") {
        Some(Operation::Xor)
    } else if args.is(1, "NOT") {
        None
    } else {
        return Err(CommandError::Syntax);
    };
    if operation.is_none() && args.len() != 4 {
        return Err(CommandError::Text("ERR BITOP NOT must be called with a single source key.".into()));
    }
    for index in 3..args.len() {
        let source = call.key(args, index);
        call.read_for_record(source).map(|entry| string(&entry)).transpose()?;
    }
    let db = call.engine.keyspace.db(call.session.db);
    let source = |index: usize| match db.get(call.key(args, index)).map(|entry| string(&entry)) {
        Some(Ok(bytes)) => bytes,
        _ => &[],
    };
    let result = match operation {
        None => invert(source(3)),
        Some(operation) => {
            let sources: Vec<&[u8]> = (3..args.len()).map(source).collect();
            combine(operation, &sources)
        }
    };
    let len = result.len();
    let target = call.key(args, 2);
    if len > 0 {
        let existed = call.write(target).is_some();
        // The old entry goes as a whole: type and deadline. The result then moves in without being copied.
        let db = call.session.db;
        call.engine.keyspace.db_mut(db).remove(target);
        call.engine.db_now(db).edit_string(target, |value| *value = result);
        call.changed(target);
        if !existed {
            call.event(EventClass::New, "new", target.bytes);
        }
        call.event(EventClass::String, "set", target.bytes);
    } else if call.write(target).is_none() || !call.delete(target) {
        reply.integer(0);
        return Ok(());
    }
    call.effect_parts(&[b"BITOP"], &args.words()[1..]);
    reply.integer(len as i64);
    Ok(())
}
