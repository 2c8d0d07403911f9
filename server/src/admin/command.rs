//! COMMAND: what there is to call, from the declarations.

use super::categories;
use super::help;
use super::key_specs::{self, Begin, Find, KeySpec};
use super::syntax::{self, Argument, ArgumentKind};
use crate::acl::catalog;
use crate::command::{After, ServerCall, ServerCommand};
use crate::table::{Entry, Table};
use firn_engine::command::{Args, Arity, Categories, CommandError, Flags, Group, Keys, Reply, Spec};
use firn_engine::glob;

const SUBCOMMAND: Spec = Spec {
    flags: Flags::LOADING.and(Flags::STALE),
    group: Group::Server,
    categories: Categories::CONNECTION,
    since: "2.8.13",
    ..Spec::BASE
};

/// `COMMAND`.
pub(super) static COMMAND: ServerCommand = ServerCommand {
    spec: Spec {
        name: "COMMAND",
        arity: Arity::AtLeast(1),
        flags: Flags::LOADING.and(Flags::STALE),
        group: Group::Server,
        categories: Categories::CONNECTION,
        since: "2.8.13",
        summary: "Returns details about all commands.",
        complexity: "O(N) where N is the total number of commands",
        subcommands: &[
            Spec {
                name: "COUNT",
                arity: Arity::Exactly(2),
                summary: "Returns how many commands there are.",
                ..SUBCOMMAND
            },
            Spec {
                name: "DOCS",
                arity: Arity::AtLeast(2),
                since: "7.0.0",
                summary: "Returns what commands do and which arguments they take.",
                complexity: "O(N) where N is the number of commands to look up",
                syntax: "[command-name [command-name ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "GETKEYS",
                arity: Arity::AtLeast(3),
                summary: "Returns the keys of a whole command.",
                complexity: "O(N) where N is the number of arguments to the command",
                syntax: "command [arg [arg ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "GETKEYSANDFLAGS",
                arity: Arity::AtLeast(3),
                since: "7.0.0",
                summary: "Returns the keys of a whole command, and what it does with them.",
                complexity: "O(N) where N is the number of arguments to the command",
                syntax: "command [arg [arg ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                since: "5.0.0",
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "INFO",
                arity: Arity::AtLeast(2),
                summary: "Returns details about commands.",
                complexity: "O(N) where N is the number of commands to look up",
                syntax: "[command-name [command-name ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "LIST",
                arity: Arity::AtLeast(2),
                since: "7.0.0",
                summary: "Returns the names of commands.",
                complexity: "O(N) where N is the total number of commands",
                syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: command,
};

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the total number of commands in this server.",
    "LIST",
    "    Return a list of all commands in this server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full command.",
    "HELP",
    "    Print this help.",
];

/// A command or subcommand as a client names it.
#[derive(Clone, Copy)]
struct Named<'a> {
    entry: &'a Entry,
    sub: Option<&'static Spec>,
}

impl<'a> Named<'a> {
    fn spec(self) -> &'static Spec {
        self.sub.unwrap_or(self.entry.spec)
    }

    /// `config|get`.
    fn full_name(self) -> Vec<u8> {
        let mut name = self.entry.name.to_vec();
        if let Some(sub) = self.sub {
            name.push(b'|');
            name.extend(sub.name.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        name
    }

    fn subcommands(self) -> impl Iterator<Item = Named<'a>> {
        let subs = if self.sub.is_some() { &[][..] } else { self.entry.spec.subcommands };
        subs.iter().map(move |sub| Named { entry: self.entry, sub: Some(sub) })
    }

    fn tips(self) -> &'static [&'static str] {
        let container = self.sub.map(|_| self.entry.spec.name);
        match firn_engine::command::table::tips(container, self.spec().name) {
            [] => tips(container, self.spec().name),
            found => found,
        }
    }
}

/// Tips for cluster clients on the server's own commands.
fn tips(container: Option<&str>, name: &str) -> &'static [&'static str] {
    match (container, name) {
        (None, "INFO") => &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        (None, "PING") => &["request_policy:all_shards", "response_policy:all_succeeded"],
        (None, "TIME" | "LASTSAVE") | (Some("CLIENT"), "LIST" | "INFO") => &["nondeterministic_output"],
        (
            Some("CLUSTER"),
            "BUMPEPOCH"
            | "COUNT-FAILURE-REPORTS"
            | "GETKEYSINSLOT"
            | "INFO"
            | "LINKS"
            | "MYSHARDID"
            | "NODES"
            | "REPLICAS"
            | "SHARDS"
            | "SLAVES"
            | "SLOTS",
        ) => &["nondeterministic_output"],
        (None, "WAIT" | "WAITAOF") => &["request_policy:all_shards", "response_policy:agg_min"],
        (None, "COMMAND") | (Some("COMMAND"), "DOCS" | "INFO" | "LIST") => &["nondeterministic_output_order"],
        (Some("CONFIG"), "SET" | "RESETSTAT" | "REWRITE") | (Some("CLIENT"), "SETNAME" | "SETINFO") => {
            &["request_policy:all_nodes", "response_policy:all_succeeded"]
        }
        (Some("MEMORY"), "DOCTOR" | "MALLOC-STATS" | "STATS") => {
            &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]
        }
        (Some("MEMORY"), "PURGE") => &["request_policy:all_shards", "response_policy:all_succeeded"],
        _ => &[],
    }
}

fn all(table: &Table) -> impl Iterator<Item = Named<'_>> {
    table.entries().iter().map(|entry| Named { entry, sub: None })
}

/// The command called `name`, or `name|subcommand`.
fn find<'a>(table: &'a Table, name: &[u8]) -> Option<Named<'a>> {
    let (container, sub) = match name.iter().position(|&byte| byte == b'|') {
        Some(bar) => (&name[..bar], Some(&name[bar + 1..])),
        None => (name, None),
    };
    let entry = table.entry(table.find(container)?);
    match sub {
        Some(sub) => Some(Named { entry, sub: Some(entry.spec.subcommand(sub)?) }),
        None => Some(Named { entry, sub: None }),
    }
}

fn command(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let table = &call.server.commands;
    let names = args.words().get(2..).unwrap_or_default();
    if args.len() == 1 {
        info(table, &[], reply);
        return Ok(After::Nothing);
    }
    match COMMAND.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "COUNT" => reply.integer(table.entries().len() as i64),
        "INFO" => info(table, names, reply),
        "DOCS" => docs(table, names, reply),
        "LIST" => list(table, names, reply)?,
        "GETKEYS" => keys(table, names, false, reply)?,
        "GETKEYSANDFLAGS" => keys(table, names, true, reply)?,
        "HELP" => help::write(HELP, reply),
        _ => return Err(help::unknown("COMMAND", args)),
    }
    Ok(After::Nothing)
}

fn info(table: &Table, names: &[&[u8]], reply: &mut dyn Reply) {
    if names.is_empty() {
        reply.array(table.entries().len());
        all(table).for_each(|named| write_info(named, reply));
        return;
    }
    reply.array(names.len());
    for name in names {
        match find(table, name) {
            Some(named) => write_info(named, reply),
            None => reply.null(),
        }
    }
}

fn write_info(named: Named<'_>, reply: &mut dyn Reply) {
    let spec = named.spec();
    reply.array(10);
    reply.bulk(&named.full_name());
    reply.integer(spec.arity.as_redis());
    let flags: Vec<_> = Flags::NAMES.iter().filter(|(flag, _)| spec.flags.has(*flag)).map(|(_, name)| *name).collect();
    statuses(&flags, reply);
    let (first, last, step) = match spec.keys {
        Keys::None => (0, 0, 0),
        Keys::Range { first, last, step, .. } => (first, last, step),
        Keys::Found { legacy, .. } => legacy,
    };
    reply.integer(i64::from(first));
    reply.integer(i64::from(last));
    reply.integer(i64::from(step));
    statuses(&categories::of(spec), reply);
    let tips = named.tips();
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    write_key_specs(spec, reply);
    let subcommands: Vec<_> = named.subcommands().collect();
    if named.sub.is_some() || subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(subcommands.len());
        subcommands.into_iter().for_each(|sub| write_info(sub, reply));
    }
}

fn statuses(names: &[&'static str], reply: &mut dyn Reply) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name));
}

fn write_key_specs(spec: &Spec, reply: &mut dyn Reply) {
    let specs = key_specs::of(spec);
    reply.set(specs.len());
    for KeySpec { flags, begin, find } in specs {
        reply.map(3);
        reply.bulk(b"flags");
        statuses(&key_specs::shown_flags(flags), reply);
        reply.bulk(b"begin_search");
        match begin {
            Begin::Index(index) => write_part("index", &[("index", index)], reply),
            Begin::Keyword(keyword, from) => {
                write_part_of("keyword", 2, reply);
                reply.bulk(b"keyword");
                reply.bulk(keyword.as_bytes());
                reply.bulk(b"startfrom");
                reply.integer(from);
            }
            Begin::Unknown => write_part("unknown", &[], reply),
        }
        reply.bulk(b"find_keys");
        match find {
            Find::Range { last, step, limit } => {
                write_part("range", &[("lastkey", last), ("keystep", step), ("limit", limit)], reply);
            }
            Find::Counted { step } => {
                write_part("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", step)], reply);
            }
            Find::Unknown => write_part("unknown", &[], reply),
        }
    }
}

/// Half a key spec: its type, and the beginning of its fields.
fn write_part_of(kind: &str, fields: usize, reply: &mut dyn Reply) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields);
}

fn write_part(kind: &str, fields: &[(&str, i64)], reply: &mut dyn Reply) {
    write_part_of(kind, fields.len(), reply);
    for (field, value) in fields {
        reply.bulk(field.as_bytes());
        reply.integer(*value);
    }
}

/// What is done to key `number` of a command; the last spec is about all keys that follow.
fn access_of(spec: &Spec, words: &[&[u8]], access: &'static str, number: usize) -> Vec<&'static str> {
    let specs = access.split('|').count();
    let own = access.split('|').nth(number.min(specs - 1)).unwrap_or_default();
    key_specs::shown_flags(catalog::varying_flags(spec.name, words).unwrap_or(own))
}

fn docs(table: &Table, names: &[&[u8]], reply: &mut dyn Reply) {
    let found: Vec<_> = if names.is_empty() {
        all(table).collect()
    } else {
        names.iter().filter_map(|name| find(table, name)).collect()
    };
    reply.map(found.len());
    for named in found {
        reply.bulk(&named.full_name());
        write_docs(named, reply);
    }
}

fn write_docs(named: Named<'_>, reply: &mut dyn Reply) {
    let spec = named.spec();
    // A test makes sure that every declaration's syntax parses.
    let arguments = syntax::parse(spec.syntax).unwrap_or_default();
    let subcommands: Vec<_> = named.subcommands().collect();
    reply.map(4 + usize::from(!arguments.is_empty()) + usize::from(!subcommands.is_empty()));
    for (name, text) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        let key_specs = key_specs::of(spec).len();
        write_arguments(&arguments, key_specs, &mut 0, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        for sub in subcommands {
            reply.bulk(&sub.full_name());
            write_docs(sub, reply);
        }
    }
}

/// `keys` counts the keys met so far: with several key specs each key has its own.
fn write_arguments(arguments: &[Argument], key_specs: usize, keys: &mut usize, reply: &mut dyn Reply) {
    reply.array(arguments.len());
    for argument in arguments {
        let nested = matches!(argument.kind, ArgumentKind::OneOf | ArgumentKind::Block);
        let is_key = key_specs > 0 && argument.kind == ArgumentKind::Key;
        let flags: Vec<&'static str> = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect();
        let fields = 3 + usize::from(is_key) + usize::from(argument.token.is_some()) + usize::from(!flags.is_empty());
        reply.map(fields);
        reply.bulk(b"name");
        reply.bulk(argument.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(argument.kind.name().as_bytes());
        if !nested {
            reply.bulk(b"display_text");
            reply.bulk(argument.name.as_bytes());
        }
        if is_key {
            reply.bulk(b"key_spec_index");
            reply.integer((*keys).min(key_specs - 1) as i64);
            *keys += 1;
        }
        if let Some(token) = &argument.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            statuses(&flags, reply);
        }
        if nested {
            reply.bulk(b"arguments");
            write_arguments(&argument.parts, key_specs, keys, reply);
        }
    }
}

fn list(table: &Table, options: &[&[u8]], reply: &mut dyn Reply) -> Result<(), CommandError> {
    let is = |word: &[u8], option: &str| word.eq_ignore_ascii_case(option.as_bytes());
    let holds: Box<dyn Fn(Named<'_>) -> bool> = match options {
        [] => Box::new(|_| true),
        [by, kind, value] if is(by, "FILTERBY") => match *kind {
            kind if is(kind, "MODULE") => Box::new(|_| false),
            kind if is(kind, "ACLCAT") => {
                let wanted = [b"@", *value].concat().to_ascii_lowercase();
                Box::new(move |named| categories::of(named.spec()).iter().any(|category| category.as_bytes() == wanted))
            }
            kind if is(kind, "PATTERN") => {
                let pattern = value.to_vec();
                Box::new(move |named| glob::matches_ignoring_case(&pattern, &named.full_name()))
            }
            _ => return Err(CommandError::Syntax),
        },
        _ => return Err(CommandError::Syntax),
    };
    let both = all(table).flat_map(|named| [named].into_iter().chain(named.subcommands()));
    let names: Vec<_> = both.filter(|named| holds(*named)).map(Named::full_name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn keys(table: &Table, words: &[&[u8]], with_flags: bool, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let mut named = find(table, words[0]).ok_or(CommandError::text("ERR Invalid command specified"))?;
    if !named.entry.spec.subcommands.is_empty()
        && let Some(word) = words.get(1)
    {
        let sub = named.entry.spec.subcommand(word).ok_or(CommandError::text("ERR Invalid command specified"))?;
        named.sub = Some(sub);
    }
    let spec = named.spec();
    if matches!(spec.keys, Keys::None) {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if !spec.arity.fits(words.len()) {
        return Err(CommandError::text("ERR Invalid number of arguments specified for command"));
    }
    let (found, access) = spec.key_indexes(words);
    if found.is_empty() && spec.group == Group::Scripting {
        // A script may do without keys.
        reply.array(0);
        return Ok(());
    }
    if found.is_empty() || found.iter().any(|&index| index >= words.len()) {
        return Err(CommandError::text("ERR Invalid arguments specified for command"));
    }
    reply.array(found.len());
    for (number, index) in found.into_iter().enumerate() {
        if with_flags {
            reply.array(2);
        }
        reply.bulk(words[index]);
        if with_flags {
            statuses(&access_of(spec, words, access, number), reply);
        }
    }
    Ok(())
}

/// Every data command, for tests that walk all declarations.
#[cfg(test)]
fn data_commands() -> &'static [&'static firn_engine::command::Command] {
    firn_engine::command::table::commands()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_spec() -> Vec<&'static Spec> {
        let data = data_commands().iter().map(|command| &command.spec);
        let server = super::super::COMMANDS.iter().map(|command| &command.spec);
        data.chain(server).flat_map(|spec| [spec].into_iter().chain(spec.subcommands)).collect()
    }

    #[test]
    fn every_declaration_has_a_syntax_that_parses_and_says_what_it_does() {
        for spec in every_spec() {
            if let Err(error) = syntax::parse(spec.syntax) {
                panic!("{}: {error}", spec.name);
            }
            assert!(!spec.summary.is_empty() && !spec.complexity.is_empty() && !spec.since.is_empty(), "{}", spec.name);
        }
    }

    #[test]
    fn keys_are_where_the_declaration_says() {
        let spec = |last, step| Spec { keys: Keys::Range { first: 1, last, step, access: "RW" }, ..Spec::BASE };
        let words: [&[u8]; 5] = [b"mset", b"a", b"1", b"b", b"2"];
        assert_eq!(spec(-1, 2).key_indexes(&words).0, [1, 3]);
        assert_eq!(spec(1, 1).key_indexes(&words).0, [1]);
        assert_eq!(spec(-1, 1).key_indexes(&words).0, [1, 2, 3, 4]);
        assert_eq!(spec(-2, 1).key_indexes(&words).0, [1, 2, 3]);
        assert_eq!(Spec::BASE.key_indexes(&words).0, [0usize; 0]);
    }
}
