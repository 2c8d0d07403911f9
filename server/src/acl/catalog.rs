//! Every command and subcommand as rules of users name them: by its own name, whatever `rename-command` calls it.
//!
//! Ids are places in this list; a container is followed by its subcommands. They mean nothing outside of this process.

use crate::admin::categories;
use firn_engine::command::{Flags, Keys, Spec};
use std::collections::HashMap;

/// Place of a command or subcommand in the [`Catalog`].
pub(crate) type CommandId = u16;

/// What is done to a key, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Access(u8);

impl Access {
    /// Neither data read nor changed: whether the key exists, what type it has.
    pub(crate) const NONE: Access = Access(0);
    /// Its data is read.
    pub(crate) const READ: Access = Access(1);
    /// It is changed.
    pub(crate) const WRITE: Access = Access(2);
    /// Both.
    pub(crate) const BOTH: Access = Access(3);

    /// Both together.
    #[must_use]
    pub(crate) const fn and(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// Whether all of `other` is in this.
    pub(crate) const fn has(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    /// What one key spec's flags (`RW ACCESS UPDATE`) say. `RO` and its like do not count: a command that only asks whether a key
    /// is there touches no data.
    fn of(flags: &str) -> Access {
        flags.split_ascii_whitespace().fold(Access::NONE, |access, flag| match flag {
            "ACCESS" => access.and(Access::READ),
            "INSERT" | "UPDATE" | "DELETE" => access.and(Access::WRITE),
            _ => access,
        })
    }
}

/// Which words of a command are channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Channels {
    /// None.
    None,
    /// The first after the name.
    First,
    /// All after the name.
    All,
    /// All after the name, and they are patterns.
    Patterns,
}

/// A command whose access depends on its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Varies {
    No,
    Set,
    Bitfield,
}

/// A command or subcommand.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its name in lower case; `config|get` for a subcommand.
    pub(crate) name: String,
    /// Its declaration.
    pub(crate) spec: &'static Spec,
    /// The command it is a subcommand of.
    pub(crate) container: Option<CommandId>,
    /// Bits in the order of [`categories::ALL`].
    categories: u32,
    /// What it does to the keys of each key spec; the last one counts for all keys that follow.
    access: Box<[Access]>,
    has_keys: bool,
    varies: Varies,
    /// Its channels.
    pub(crate) channels: Channels,
}

impl Known {
    fn new(spec: &'static Spec, container: Option<(CommandId, &'static Spec)>) -> Known {
        let mut name = spec.name.to_ascii_lowercase();
        if let Some((_, container)) = container {
            name = format!("{}|{name}", container.name.to_ascii_lowercase());
        }
        let flags = match spec.keys {
            Keys::None => "",
            Keys::Range { access, .. } | Keys::Found { access, .. } => access,
        };
        Known {
            spec,
            container: container.map(|(id, _)| id),
            categories: categories::bits(spec),
            access: flags.split('|').map(Access::of).collect(),
            // Shard channels have a place among the cluster's slots as keys have, and so stand in key specs.
            has_keys: !flags.is_empty() && !flags.contains("NOT_KEY"),
            varies: match name.as_str() {
                "set" => Varies::Set,
                "bitfield" => Varies::Bitfield,
                _ => Varies::No,
            },
            channels: match name.as_str() {
                "publish" | "spublish" => Channels::First,
                "subscribe" | "ssubscribe" => Channels::All,
                "psubscribe" => Channels::Patterns,
                _ => Channels::None,
            },
            name,
        }
    }

    /// Whether clients may run it whoever they are.
    pub(crate) fn is_open(&self) -> bool {
        self.spec.flags.has(Flags::NO_AUTH)
    }

    /// Calls `allowed` with the index of each key among `words` and what is done to it, until it says no: that index is the error.
    pub(crate) fn try_keys(
        &self,
        words: &[&[u8]],
        mut allowed: impl FnMut(usize, Access) -> bool,
    ) -> Result<(), usize> {
        let mut number = 0;
        let mut one = |index: usize| {
            let access = match self.varies {
                Varies::No => self.access.get(number).or(self.access.last()).copied().unwrap_or(Access::BOTH),
                Varies::Set => set_access(words),
                Varies::Bitfield => bitfield_access(words),
            };
            number += 1;
            // An index behind the words: the command will say what is wrong with them.
            if index >= words.len() || allowed(index, access) { Ok(()) } else { Err(index) }
        };
        match self.spec.keys {
            _ if !self.has_keys => Ok(()),
            Keys::None => Ok(()),
            Keys::Range { .. } => self.spec.key_range(words.len()).try_for_each(&mut one),
            Keys::Found { find, .. } => {
                let mut found = Vec::new();
                find(words, &mut found);
                found.into_iter().try_for_each(&mut one)
            }
        }
    }
}

/// The key-spec flags of a command whose access its words decide.
pub(crate) fn varying_flags(name: &str, words: &[&[u8]]) -> Option<&'static str> {
    let access = match name {
        "SET" => set_access(words),
        "BITFIELD" => bitfield_access(words),
        _ => return None,
    };
    Some(match access {
        Access::READ => "RO ACCESS",
        Access::WRITE => "OW UPDATE",
        _ => "RW ACCESS UPDATE",
    })
}

/// SET reads the old value only with GET.
fn set_access(words: &[&[u8]]) -> Access {
    let reads = words.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get"));
    if reads { Access::BOTH } else { Access::WRITE }
}

/// BITFIELD changes nothing if all it does is GET.
fn bitfield_access(words: &[&[u8]]) -> Access {
    let mut rest = words.get(2..).unwrap_or_default();
    while let Some((word, more)) = rest.split_first() {
        let takes = match *word {
            word if word.eq_ignore_ascii_case(b"get") => 2,
            word if word.eq_ignore_ascii_case(b"overflow") => 1,
            _ => return Access::BOTH,
        };
        rest = more.get(takes..).unwrap_or_default();
    }
    Access::READ
}

/// All commands by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    commands: Vec<Known>,
    by_name: HashMap<String, CommandId>,
}

impl Catalog {
    /// The catalog of these declarations (of commands, not subcommands).
    pub(crate) fn new(specs: impl Iterator<Item = &'static Spec>) -> Catalog {
        let mut catalog = Catalog::default();
        for spec in specs {
            let id = catalog.add(Known::new(spec, None));
            for sub in spec.subcommands {
                catalog.add(Known::new(sub, Some((id, spec))));
            }
        }
        catalog
    }

    fn add(&mut self, known: Known) -> CommandId {
        let id = self.commands.len() as CommandId;
        self.by_name.insert(known.name.clone(), id);
        self.commands.push(known);
        id
    }

    /// The command called `name` (`config`, `config|get`), in any case of letters.
    pub(crate) fn find(&self, name: &[u8]) -> Option<CommandId> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(&name).copied()
    }

    /// The command with this id.
    pub(crate) fn get(&self, id: CommandId) -> &Known {
        &self.commands[usize::from(id)]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    /// A command and its subcommands.
    pub(crate) fn with_subcommands(&self, id: CommandId) -> std::ops::Range<CommandId> {
        let subs = if self.get(id).container.is_none() { self.get(id).spec.subcommands.len() } else { 0 };
        id..id + 1 + subs as CommandId
    }

    /// All commands of a category, named without its `@`; `None` if there is no such category.
    pub(crate) fn category(&self, name: &[u8]) -> Option<impl Iterator<Item = CommandId>> {
        let bit = categories::ALL.iter().position(|category| category.as_bytes()[1..].eq_ignore_ascii_case(name))?;
        let ids = 0..self.commands.len() as CommandId;
        Some(ids.filter(move |&id| self.get(id).categories & (1 << bit) != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_follows_from_the_words_where_they_decide() {
        let words = |text: &'static str| text.split(' ').map(str::as_bytes).collect::<Vec<_>>();
        assert_eq!(set_access(&words("set k get")), Access::WRITE, "the value is no option");
        assert_eq!(set_access(&words("set k v ex 1")), Access::WRITE);
        assert_eq!(set_access(&words("set k v ex 1 GET")), Access::BOTH);
        assert_eq!(bitfield_access(&words("bitfield k")), Access::READ);
        assert_eq!(bitfield_access(&words("bitfield k get u8 0 GET u8 1")), Access::READ);
        assert_eq!(bitfield_access(&words("bitfield k overflow sat get u8 1")), Access::READ);
        assert_eq!(bitfield_access(&words("bitfield k get u8 0 set u8 0 1")), Access::BOTH);
        assert_eq!(bitfield_access(&words("bitfield k get u8")), Access::READ, "an error anyway");
        assert_eq!(Access::of("RW ACCESS UPDATE"), Access::BOTH);
        assert_eq!(Access::of("RO"), Access::NONE);
        assert_eq!(Access::of("OW INSERT"), Access::WRITE);
        assert_eq!(Access::of("RM DELETE"), Access::WRITE);
    }
}
