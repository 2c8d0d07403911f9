//! FUNCTION, as the log has it: libraries loaded and taken away. What clients call is the server's, which compiles them first.

use super::{Arity, Call, Command, CommandError, Flags, Group, Spec};

/// `FUNCTION LOAD REPLACE source`, `FUNCTION DELETE name`, `FUNCTION FLUSH`.
pub(super) static FUNCTION: Command = Command {
    spec: Spec {
        name: "FUNCTION",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::INTERNAL),
        group: Group::Scripting,
        since: "7.0.0",
        summary: "Changes the libraries of functions.",
        syntax: "<LOAD REPLACE source | DELETE name | FLUSH>",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        match args.words()[1..] {
            [load, replace, source]
                if load.eq_ignore_ascii_case(b"LOAD") && replace.eq_ignore_ascii_case(b"REPLACE") =>
            {
                call.engine.admits(args.record_len_max())?;
                let loaded = call.engine.keyspace.libraries.load(source);
                loaded.map_err(|error| CommandError::text(format!("ERR {error}")))?;
                changed(call, &[b"FUNCTION", b"LOAD", b"REPLACE", source]);
            }
            [delete, name] if delete.eq_ignore_ascii_case(b"DELETE") => {
                if call.engine.keyspace.libraries.delete(name) {
                    changed(call, &[b"FUNCTION", b"DELETE", name]);
                }
            }
            [flush] if flush.eq_ignore_ascii_case(b"FLUSH") => {
                if call.engine.keyspace.libraries.flush() {
                    changed(call, &[b"FUNCTION", b"FLUSH"]);
                }
            }
            _ => return Err(CommandError::Syntax),
        }
        reply.ok();
        Ok(())
    },
};

/// Nobody is shown anything before this is durable: changes of libraries are rare, and may show anywhere.
fn changed(call: &mut Call<'_>, words: &[&[u8]]) {
    call.engine.effects.touch_all();
    call.effect(words);
}
