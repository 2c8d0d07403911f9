//! From words to a command: lookup, number of words, subcommands, where the first key is; and the error texts when it fails.

use crate::command::After;
use crate::resp::writer::Writer;
use crate::scripting::only_reads;
use crate::table::{CommandStats, Table};
use firn_engine::command::{Flags, Keys, Spec};
use firn_engine::key::HashSeed;

/// How much of an unknown name or of its arguments an error shows, in bytes.
const SHOWN_LEN_MAX: usize = 128;

/// What is to be done with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It can be run.
    Run,
    /// No command has this name.
    Unknown,
    /// The container has no such subcommand.
    UnknownSubcommand,
    /// Wrong number of words.
    Arity,
    /// It could be run, but not by this client or not now; the error was written.
    Refused,
    /// It was queued in a transaction, and counts when it runs there.
    Queued,
}

/// A command that was looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// What to do.
    pub(crate) verdict: Verdict,
    /// Index in the table; 0 if unknown.
    pub(crate) entry: usize,
    /// Index of the subcommand.
    pub(crate) subcommand: Option<usize>,
    /// Flags of the command or subcommand.
    pub(crate) flags: Flags,
    /// Index of the word that is the first key; 0 is none.
    pub(crate) key: usize,
    /// Its position.
    pub(crate) position: u64,
    /// How long it ran, if that was measured for it alone; 0 if not.
    pub(crate) nanos: u64,
}

impl Plan {
    /// Of no command.
    pub(crate) const UNKNOWN: Plan = Plan {
        verdict: Verdict::Unknown,
        entry: 0,
        subcommand: None,
        flags: Flags::NONE,
        key: 0,
        position: 0,
        nanos: 0,
    };

    /// The counters this command adds to; `None` if unknown.
    pub(crate) fn stats<'t>(&self, table: &'t Table) -> Option<&'t CommandStats> {
        let entry = table.entry(self.entry);
        match (self.verdict, self.subcommand) {
            (Verdict::Unknown | Verdict::UnknownSubcommand, _) => None,
            (_, Some(at)) => Some(&entry.subcommand_stats[at]),
            (_, None) => Some(&entry.stats),
        }
    }

    /// The command's original name in lower case, with the subcommand's behind `|`.
    pub(crate) fn full_name(&self, table: &Table) -> String {
        let spec = table.entry(self.entry).spec;
        let mut name = spec.name.to_ascii_lowercase();
        if let Some(at) = self.subcommand {
            name.push('|');
            name.push_str(&spec.subcommands[at].name.to_ascii_lowercase());
        }
        name
    }

    /// As `ClientInfo::last_command` wants it.
    pub(crate) fn command_number(&self) -> u32 {
        match self.verdict {
            Verdict::Unknown | Verdict::UnknownSubcommand => 0,
            _ => (self.entry as u32 + 1) | self.subcommand.map_or(0, |at| (at as u32 + 1) << 16),
        }
    }
}

/// Looks a command up and hashes its first key.
#[inline]
pub(crate) fn plan(table: &Table, words: &[&[u8]], seed: &HashSeed) -> Plan {
    let mut plan = Plan::UNKNOWN;
    let Some(at) = table.find(words[0]) else { return plan };
    let entry = table.entry(at);
    let mut spec: &Spec = entry.spec;
    plan.entry = at;
    if !spec.subcommands.is_empty() && words.len() > 1 {
        let Some(sub) = entry.subcommand(words[1]) else {
            plan.verdict = Verdict::UnknownSubcommand;
            return plan;
        };
        plan.subcommand = Some(sub);
        spec = &spec.subcommands[sub];
    }
    plan.flags = spec.flags;
    if !spec.arity.fits(words.len()) {
        plan.verdict = Verdict::Arity;
        return plan;
    }
    plan.verdict = Verdict::Run;
    if plan.flags.has(Flags::MAY_REPLICATE) && spec.name == "EVAL" && only_reads(words[1]) {
        // CLIENT PAUSE WRITE lets it through.
        plan.flags = plan.flags.without(Flags::MAY_REPLICATE);
    }
    if let Keys::Range { first, .. } = spec.keys
        && usize::from(first) < words.len()
    {
        plan.key = usize::from(first);
        plan.position = seed.position(words[plan.key]);
    }
    plan
}

/// Answers a command that cannot be run.
#[cold]
pub(crate) fn refuse(table: &Table, plan: &Plan, words: &[&[u8]], writer: &mut Writer<'_>) -> After {
    match plan.verdict {
        Verdict::Run | Verdict::Refused | Verdict::Queued => {}
        Verdict::Unknown => {
            // What a web browser sends that was tricked into talking to us: see Redis' securityWarningCommand.
            if words[0].eq_ignore_ascii_case(b"POST") || words[0].eq_ignore_ascii_case(b"Host:") {
                crate::log::warning(format_args!(
                    "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Firn. \
                     This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your \
                     instance. Connection aborted."
                ));
                return After::Close;
            }
            writer.error_bytes(&unknown_command(words));
        }
        Verdict::UnknownSubcommand => {
            let mut line = b"ERR unknown subcommand '".to_vec();
            line.extend_from_slice(shown(words[1], SHOWN_LEN_MAX));
            line.extend_from_slice(b"'. Try ");
            line.extend(c_string(words[0]).to_ascii_uppercase());
            line.extend_from_slice(b" HELP.");
            writer.error_bytes(&line);
        }
        Verdict::Arity => {
            let name = plan.full_name(table);
            writer.error_bytes(format!("ERR wrong number of arguments for '{name}' command").as_bytes());
        }
    }
    After::Nothing
}

fn unknown_command(words: &[&[u8]]) -> Vec<u8> {
    let mut line = b"ERR unknown command '".to_vec();
    line.extend_from_slice(shown(words[0], SHOWN_LEN_MAX));
    line.extend_from_slice(b"', with args beginning with: ");
    let start = line.len();
    for word in &words[1..] {
        let len = line.len() - start;
        if len >= SHOWN_LEN_MAX {
            break;
        }
        line.push(b'\'');
        line.extend_from_slice(shown(word, SHOWN_LEN_MAX - len));
        line.extend_from_slice(b"' ");
    }
    line
}

/// Up to the first NUL, as Redis prints words in errors.
fn c_string(word: &[u8]) -> &[u8] {
    memchr::memchr(0, word).map_or(word, |end| &word[..end])
}

fn shown(word: &[u8], len_max: usize) -> &[u8] {
    let word = c_string(word);
    &word[..word.len().min(len_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_command_is_shown_within_bounds() {
        let show = |words: &[&[u8]]| String::from_utf8(unknown_command(words)).unwrap();
        assert_eq!(show(&[b"foo"]), "ERR unknown command 'foo', with args beginning with: ");
        assert_eq!(show(&[b"foo", b"a", b"b"]), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
        let long = [b'x'; 300];
        let x128 = "x".repeat(128);
        assert_eq!(
            show(&[&long, &long, b"y"]),
            format!("ERR unknown command '{x128}', with args beginning with: '{x128}' ")
        );
        assert_eq!(show(&[b"a\0b", b"c\0d"]), "ERR unknown command 'a', with args beginning with: 'c' ");
    }
}
