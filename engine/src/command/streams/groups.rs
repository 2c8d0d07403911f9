//! XGROUP: groups and their consumers come and go.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{INVALID_ID, id, shown, subcommand, subcommand_syntax, text};
use crate::engine::EventClass;
use crate::value::stream::Id;
use crate::value::{Shaping, Stream};

const SUBCOMMAND: Spec = Spec {
    flags: Flags::WRITE,
    keys: Keys::Range { first: 2, last: 2, step: 1, access: "RW DELETE" },
    group: Group::Stream,
    since: "5.0.0",
    ..Spec::BASE
};

/// `XGROUP`.
pub(super) static XGROUP: Command = Command {
    spec: Spec {
        name: "XGROUP",
        arity: Arity::AtLeast(2),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Commands that make, change and remove groups of consumers.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "CREATE",
                arity: Arity::AtLeast(5),
                flags: Flags::WRITE.and(Flags::DENYOOM),
                keys: Keys::Range { first: 2, last: 2, step: 1, access: "RW INSERT" },
                summary: "Adds a group to a stream.",
                syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entriesread]",
                ..SUBCOMMAND
            },
            Spec {
                name: "CREATECONSUMER",
                arity: Arity::Exactly(5),
                flags: Flags::WRITE.and(Flags::DENYOOM),
                keys: Keys::Range { first: 2, last: 2, step: 1, access: "RW INSERT" },
                since: "6.2.0",
                summary: "Adds a consumer to a group.",
                syntax: "key group consumer",
                ..SUBCOMMAND
            },
            Spec {
                name: "DELCONSUMER",
                arity: Arity::Exactly(5),
                summary: "Removes a consumer and all that is pending for it.",
                complexity: "O(N) with N being the number of its pending entries",
                syntax: "key group consumer",
                ..SUBCOMMAND
            },
            Spec {
                name: "DESTROY",
                arity: Arity::Exactly(4),
                summary: "Removes a group.",
                complexity: "O(N) with N being the number of its pending entries",
                syntax: "key group",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                keys: Keys::None,
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "SETID",
                arity: Arity::AtLeast(5),
                keys: Keys::Range { first: 2, last: 2, step: 1, access: "RW UPDATE" },
                summary: "Sets the last ID that a group has delivered.",
                syntax: "key group <id | $> [ENTRIESREAD entriesread]",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: xgroup,
};

const HELP: &[&str] = &[
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Print this help.",
];

/// Options of CREATE and SETID.
#[derive(Default)]
struct Options {
    make: bool,
    entries_read: Option<u64>,
}

fn options(args: &Args<'_>, create: bool) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut index = 5;
    while index < args.len() {
        if create && args.is(index, "MKSTREAM") {
            options.make = true;
            index += 1;
        } else if args.is(index, "ENTRIESREAD") && index + 1 < args.len() {
            options.entries_read = match args.integer(index + 1)? {
                -1 => None,
                given => {
                    Some(u64::try_from(given).map_err(|_| text("ERR value for ENTRIESREAD must be positive or -1"))?)
                }
            };
            index += 2;
        } else {
            return Err(subcommand_syntax("XGROUP", args.get(1)));
        }
    }
    Ok(options)
}

fn xgroup(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let name = subcommand(&XGROUP.spec, args)?.name;
    if name == "HELP" {
        reply.array(HELP.len());
        HELP.iter().for_each(|line| reply.simple(line));
        return Ok(());
    }
    let options = match name {
        "CREATE" | "SETID" => options(args, name == "CREATE")?,
        _ => Options::default(),
    };
    let (key, group) = (call.key(args, 2), args.get(3));
    let stream = call.write_stream(key)?;
    if stream.is_none() && !options.make {
        return Err(text(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
             option to create an empty stream automatically.",
        ));
    }
    let there = stream.is_some_and(|stream| stream.group(group).is_some());
    if !there && matches!(name, "SETID" | "CREATECONSUMER" | "DELCONSUMER") {
        let (group, key) = (shown(group), shown(key.bytes));
        return Err(CommandError::text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'")));
    }
    let words_max = if name == "CREATE" { 8 } else { 7 };
    if args.len() > words_max || (name == "SETID" && args.len() == 6) {
        return Err(subcommand_syntax("XGROUP", args.get(1)));
    }
    match name {
        "CREATE" => create(call, args, &options, reply),
        "SETID" => set_id(call, args, &options, reply),
        "DESTROY" => {
            if there {
                call.edit_stream(key, |stream, _| stream.remove_group(group));
                call.touched(key);
                call.event(EventClass::Stream, "xgroup-destroy", key.bytes);
                call.effect(&[b"XGROUP", b"DESTROY", key.bytes, group]);
            }
            reply.integer(i64::from(there));
            Ok(())
        }
        "CREATECONSUMER" => create_consumer(call, args, reply),
        _ => delete_consumer(call, args, reply),
    }
}

fn create(call: &mut Call<'_>, args: &Args<'_>, options: &Options, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, group) = (call.key(args, 2), args.get(3));
    let stream = call.write_stream(key)?;
    let made = stream.is_none();
    let last_id = match args.get(4) {
        b"$" => stream.map_or(Id::MIN, Stream::last_id),
        word => id(word)?,
    };
    if stream.is_some_and(|stream| stream.group(group).is_some()) {
        return Err(text("BUSYGROUP Consumer Group name already exists"));
    }
    call.edit_stream(key, |stream, _| stream.add_group(group, last_id, options.entries_read));
    if made {
        call.changed(key);
    } else {
        call.touched(key);
    }
    call.event(EventClass::Stream, "xgroup-create", key.bytes);
    let mut number = itoa::Buffer::new();
    let make: &[&[u8]] = if made { &[b"MKSTREAM"] } else { &[] };
    let read = options.entries_read.map(|read| number.format(read).as_bytes());
    let read: [&[u8]; 2] = [b"ENTRIESREAD", read.unwrap_or_default()];
    let read = if options.entries_read.is_some() { &read[..] } else { &[] };
    let id = last_id.text();
    let head: [&[u8]; 5] = [b"XGROUP", b"CREATE", key.bytes, group, &id];
    call.effect_parts(&head, &[make, read].concat());
    reply.ok();
    Ok(())
}

fn set_id(call: &mut Call<'_>, args: &Args<'_>, options: &Options, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, group) = (call.key(args, 2), args.get(3));
    let last_id = match args.get(4) {
        b"$" => call.write_stream(key)?.map_or(Id::MIN, Stream::last_id),
        word => Id::parse_bound(word, 0).ok_or(INVALID_ID)?,
    };
    let read = options.entries_read;
    call.edit_stream(key, |stream, _| stream.edit_group(group, |group| group.set_position(last_id, read)));
    call.touched(key);
    call.event(EventClass::Stream, "xgroup-setid", key.bytes);
    call.position_effect(key, group, last_id, read);
    reply.ok();
    Ok(())
}

fn create_consumer(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, group, consumer) = (call.key(args, 2), args.get(3), args.get(4));
    let now_ms = call.engine.now_ms;
    let edit =
        |stream: &mut Stream, _: &Shaping| stream.edit_group(group, |group| group.consumer_or_new(consumer, now_ms).1);
    let created = call.edit_stream(key, edit).result == Some(true);
    if created {
        call.touched(key);
        call.event(EventClass::Stream, "xgroup-createconsumer", key.bytes);
        call.consumer_effect(key, group, consumer);
    }
    reply.integer(i64::from(created));
    Ok(())
}

fn delete_consumer(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, group, consumer) = (call.key(args, 2), args.get(3), args.get(4));
    let edit =
        |stream: &mut Stream, _: &Shaping| stream.edit_group(group, |group| group.remove_consumer(consumer)).flatten();
    let pending = call.edit_stream(key, edit).result;
    if pending.is_some() {
        call.touched(key);
        call.event(EventClass::Stream, "xgroup-delconsumer", key.bytes);
        call.effect(&[b"XGROUP", b"DELCONSUMER", key.bytes, group, consumer]);
    }
    reply.integer(pending.map_or(0, |pending| pending as i64));
    Ok(())
}
