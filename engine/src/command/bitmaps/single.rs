//! One bit: SETBIT, GETBIT.

use super::BitOffset;
use crate::command::ranges::grow;
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;

/// `SETBIT`.
pub(super) static SETBIT: Command = Command {
    spec: Spec {
        name: "SETBIT",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("RW ACCESS UPDATE"),
        group: Group::Bitmap,
        since: "2.2.0",
        summary: "Sets or clears a bit of the string of a key, which grows if need be; returns the bit's old value.",
        syntax: "key offset value",
        ..Spec::BASE
    },
    run: setbit,
};

fn setbit(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let offset = BitOffset::parse(call, args.get(2), None)?;
    let on = match args.get(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(CommandError::Text("ERR bit is not an integer or out of range".into())),
    };
    let key = call.key(args, 1);
    let old_len = call.write_string(key)?.map(<[u8]>::len);
    let (len, mask) = (offset.byte + 1, 0x80u8 >> offset.bit);
    call.check_length(0, len)?;
    let db = call.session.db;
    let old = call.engine.db_now(db).edit_string(key, |value| {
        grow(value, len);
        let byte = &mut value[offset.byte];
        let old = *byte & mask != 0;
        *byte = if on { *byte | mask } else { *byte & !mask };
        old
    });
    let grew = old_len.is_none_or(|old_len| old_len < len);
    if grew || old != on {
        call.changed(key);
        if old_len.is_none() {
            call.event(EventClass::New, "new", key.bytes);
        }
        call.event(EventClass::String, "setbit", key.bytes);
        call.effect(&[b"SETBIT", key.bytes, args.get(2), args.get(3)]);
    }
    reply.integer(i64::from(old));
    Ok(())
}

/// `GETBIT`.
pub(super) static GETBIT: Command = Command {
    spec: Spec {
        name: "GETBIT",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO ACCESS"),
        group: Group::Bitmap,
        since: "2.2.0",
        summary: "Returns a bit of the string of a key; 0 behind its end.",
        syntax: "key offset",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let offset = BitOffset::parse(call, args.get(2), None)?;
        let key = call.key(args, 1);
        let byte = call.read_string(key)?.and_then(|value| value.get(offset.byte)).copied().unwrap_or(0);
        reply.integer(i64::from(byte << offset.bit >> 7));
        Ok(())
    },
};
