//! May this user run this command with these words?
//!
//! A command is allowed if one selector allows all of it: the command, each key for what is done to it, each channel.

use super::catalog::{Access, Catalog, Channels, CommandId, Known};
use super::model::{Selector, User};
use firn_engine::glob;
use std::borrow::Cow;

/// What a user may not do. The order is the one in which the nearest miss of several selectors is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Denied {
    /// The command.
    Command,
    /// The key at this index among the words.
    Key(usize),
    /// The channel at this index.
    Channel(usize),
    /// This option of SORT, which reads keys that it names by a pattern.
    Sort(&'static str),
}

impl Denied {
    /// The error reply; `command` is the full name of what was tried.
    pub(crate) fn reply(self, user: &User, command: &str) -> String {
        match self {
            Denied::Sort(_) => format!("ERR {}", self.reason(user, command)),
            _ => format!("NOPERM {}", self.reason(user, command)),
        }
    }

    /// The error reply without its prefix.
    pub(crate) fn reason(self, user: &User, command: &str) -> Cow<'static, str> {
        match self {
            Denied::Command => {
                format!("User {} has no permissions to run the '{command}' command", user.shown_name()).into()
            }
            Denied::Key(_) => "No permissions to access a key".into(),
            Denied::Channel(_) => "No permissions to access a channel".into(),
            Denied::Sort(option) => {
                format!("{option} option of SORT denied due to insufficient ACL permissions.").into()
            }
        }
    }

    /// What ACL LOG notes as the reason.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Denied::Command => "command",
            Denied::Key(_) | Denied::Sort(_) => "key",
            Denied::Channel(_) => "channel",
        }
    }
}

/// Whether `user` may run the command `id` with `words` (its name, and its subcommand's, among them).
pub(crate) fn check(catalog: &Catalog, user: &User, id: CommandId, words: &[&[u8]]) -> Result<(), Denied> {
    let known = catalog.get(id);
    let mut nearest = Denied::Command;
    for selector in user.all_selectors() {
        match check_selector(known, selector, id, words) {
            Ok(()) => return check_sort(known, user, id, words),
            Err(denied) => nearest = nearest.max(denied),
        }
    }
    Err(nearest)
}

fn check_selector(known: &Known, selector: &Selector, id: CommandId, words: &[&[u8]]) -> Result<(), Denied> {
    if !selector.commands.has(id) && !known.is_open() {
        let argument = words.get(1).map(|word| word.to_ascii_lowercase());
        let allowed = selector.first_arguments.iter().any(|(of, word)| *of == id && Some(word) == argument.as_ref());
        if !allowed {
            return Err(Denied::Command);
        }
    }
    if !selector.all_keys {
        known.try_keys(words, |index, access| allows_key(selector, words[index], access)).map_err(Denied::Key)?;
    }
    if !selector.all_channels {
        let (channels, patterns) = match known.channels {
            Channels::None => return Ok(()),
            Channels::First => (1..words.len().min(2), false),
            Channels::All => (1..words.len(), false),
            Channels::Patterns => (1..words.len(), true),
        };
        for index in channels {
            if !allows_channel(selector, words[index], patterns) {
                return Err(Denied::Channel(index));
            }
        }
    }
    Ok(())
}

/// Whether a selector allows this access to this key.
fn allows_key(selector: &Selector, key: &[u8], access: Access) -> bool {
    selector.all_keys
        || selector.keys.iter().any(|allowed| allowed.access.has(access) && glob::matches(&allowed.pattern, key))
}

/// Whether a selector allows this channel. A pattern of channels is allowed only if that very pattern is: what it matches cannot be
/// told.
fn allows_channel(selector: &Selector, channel: &[u8], is_pattern: bool) -> bool {
    selector.all_channels
        || selector.channels.iter().any(|allowed| match is_pattern {
            true => allowed == channel,
            false => glob::matches(allowed, channel),
        })
}

/// Whether a user may use this channel, or this pattern of channels.
pub(crate) fn check_channel(user: &User, channel: &[u8], is_pattern: bool) -> bool {
    user.all_selectors().any(|selector| allows_channel(selector, channel, is_pattern))
}

/// SORT's BY and GET read keys whose names are made of the elements: only who may read every key may use them.
fn check_sort(known: &Known, user: &User, id: CommandId, words: &[&[u8]]) -> Result<(), Denied> {
    if !matches!(known.name.as_str(), "sort" | "sort_ro") {
        return Ok(());
    }
    let reads_all = |selector: &Selector| {
        selector.all_keys
            || selector.keys.iter().any(|allowed| allowed.access.has(Access::READ) && allowed.pattern == b"*")
    };
    let may = || {
        user.all_selectors().any(|selector| reads_all(selector) && check_selector(known, selector, id, words).is_ok())
    };
    let mut rest = words.get(2..).unwrap_or_default();
    while let [option, more @ ..] = rest {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let takes = match more {
            [_, _, ..] if is("limit") => 2,
            [pattern, ..] if is("by") => {
                if pattern.contains(&b'*') && !may() {
                    return Err(Denied::Sort("BY"));
                }
                1
            }
            [_, ..] if is("get") => {
                if !may() {
                    return Err(Denied::Sort("GET"));
                }
                1
            }
            [_, ..] if is("store") => 1,
            _ => 0,
        };
        rest = &more[takes..];
    }
    Ok(())
}
