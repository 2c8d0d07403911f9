//! What all containers answer alike: HELP, and an unknown subcommand.

use firn_engine::command::{Args, CommandError, Reply};

/// Writes the lines of a HELP.
pub(crate) fn write(lines: &'static [&'static str], reply: &mut dyn Reply) {
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

/// The error for a second word that `command` does not know.
pub(crate) fn unknown(command: &str, args: &Args<'_>) -> CommandError {
    CommandError::text(format!("ERR unknown subcommand '{}'. Try {command} HELP.", shown(args.get(1))))
}

/// The error for a second word that `command` does not know with so many words.
pub(crate) fn unknown_or_arity(command: &str, args: &Args<'_>) -> CommandError {
    let word = shown(args.get(1));
    CommandError::text(format!("ERR unknown subcommand or wrong number of arguments for '{word}'. Try {command} HELP."))
}

/// A word of a client, cut to what an error may show.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned()
}
