//! Users and what they may do. A [`User`] never changes: a change makes another one, which takes its place in the registry.

use super::catalog::{Access, CommandId};
use super::password::Hash;

/// A set of commands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct CommandSet {
    bits: Box<[u64]>,
}

impl CommandSet {
    /// None or all of `len` commands.
    pub(crate) fn filled(len: usize, all: bool) -> CommandSet {
        CommandSet { bits: vec![if all { u64::MAX } else { 0 }; len.div_ceil(64)].into() }
    }

    /// Whether it holds this one.
    #[inline]
    pub(crate) fn has(&self, id: CommandId) -> bool {
        self.bits.get(usize::from(id) / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Adds or removes one; an empty set holds nothing and grows by [`CommandSet::filled`] only.
    pub(crate) fn set(&mut self, id: CommandId, on: bool) {
        if let Some(word) = self.bits.get_mut(usize::from(id) / 64) {
            *word = *word & !(1 << (id % 64)) | u64::from(on) << (id % 64);
        }
    }

    fn is_full(&self) -> bool {
        self.bits.iter().all(|word| *word == u64::MAX)
    }
}

/// A pattern of keys and what may be done to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyPattern {
    /// What may be done.
    pub(crate) access: Access,
    /// A glob.
    pub(crate) pattern: Vec<u8>,
}

/// Permissions that hold together: a command is allowed if one selector allows all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selector {
    /// It began with `+@all`: commands of later versions are allowed too.
    pub(crate) all_commands: bool,
    /// What may be run.
    pub(crate) commands: CommandSet,
    /// Commands that are not in `commands` but may be run with this first argument (lower case).
    pub(crate) first_arguments: Vec<(CommandId, Vec<u8>)>,
    /// The rules about commands that matter, in order: what ACL LIST shows behind `+@all` or `-@all`.
    pub(crate) command_rules: Vec<String>,
    /// All keys, for everything.
    pub(crate) all_keys: bool,
    /// Some keys.
    pub(crate) keys: Vec<KeyPattern>,
    /// All channels.
    pub(crate) all_channels: bool,
    /// Globs of channels.
    pub(crate) channels: Vec<Vec<u8>>,
}

impl Selector {
    /// Whether nothing needs to be looked at.
    fn is_unrestricted(&self) -> bool {
        self.all_keys && self.all_channels && self.all_commands && self.commands.is_full()
    }
}

/// Whether payloads of RESTORE are looked at; both are here, which is why the flag changes nothing but what is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Sanitize {
    /// Never said.
    #[default]
    Unsaid,
    /// `sanitize-payload`.
    Yes,
    /// `skip-sanitize-payload`.
    Skip,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct User {
    /// Its name.
    pub(crate) name: Box<[u8]>,
    /// Which of all users that ever had this name: a user that was deleted and made anew is another one.
    pub(crate) serial: u64,
    /// Whether one can log in as it.
    pub(crate) enabled: bool,
    /// Whether every password is right.
    pub(crate) nopass: bool,
    /// What is shown about RESTORE.
    pub(crate) sanitize: Sanitize,
    /// Passwords, any of which is right.
    pub(crate) passwords: Vec<Hash>,
    /// What the user may do by the rules outside of parentheses.
    pub(crate) root: Selector,
    /// What else.
    pub(crate) selectors: Vec<Selector>,
}

impl User {
    /// A user that may do nothing; `commands`: how many there are.
    pub(crate) fn new(name: &[u8], commands: usize, all_channels: bool) -> User {
        User {
            name: name.into(),
            serial: 0,
            enabled: false,
            nopass: false,
            sanitize: Sanitize::Unsaid,
            passwords: Vec::new(),
            root: Selector { commands: CommandSet::filled(commands, false), all_channels, ..Selector::default() },
            selectors: Vec::new(),
        }
    }

    /// The default user as it is without a word about it: it may do everything, without a password.
    pub(crate) fn open(commands: usize) -> User {
        let mut user = User::new(b"default", commands, true);
        user.enabled = true;
        user.nopass = true;
        user.root.all_commands = true;
        user.root.all_keys = true;
        user.root.commands = CommandSet::filled(commands, true);
        user
    }

    /// The name for people.
    pub(crate) fn shown_name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// All selectors, the root first.
    pub(crate) fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether the user may do everything, so that no command needs to be looked at.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.all_selectors().any(Selector::is_unrestricted)
    }
}
