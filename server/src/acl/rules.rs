//! Rules (`+get`, `~key*`, `>password`, `(...)`): how they change a user, and how a user is written as rules again.
//!
//! What [`describe`] writes, [`apply`] reads back to the same user; ACL LIST, ACL SAVE and CONFIG REWRITE rely on it.

use super::catalog::{Access, Catalog, CommandId};
use super::model::{CommandSet, KeyPattern, Sanitize, Selector, User};
use super::password;
use std::borrow::Cow;

/// Why a rule cannot be followed; Redis' texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("Unknown command or category name in ACL")]
    Unknown,
    #[error("Syntax error")]
    Syntax,
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' \
         to start with an empty list of patterns"
    )]
    AfterAllKeys,
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
         'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    #[error("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")]
    BadHash,
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgumentOfSubcommand,
}

/// What rules are understood by.
#[derive(Clone, Copy)]
pub(crate) struct Grammar<'a> {
    /// Every command.
    pub(crate) catalog: &'a Catalog,
    /// Whether new users and selectors begin with all channels (`acl-pubsub-default`).
    pub(crate) all_channels: bool,
}

/// Selectors are one rule each, in parentheses; here they may also come in several words. The word that opens one that is never
/// closed is the error.
pub(crate) fn join_selectors<'w>(words: &[&'w [u8]]) -> Result<Vec<Cow<'w, [u8]>>, &'w [u8]> {
    let mut rules: Vec<Cow<'w, [u8]>> = Vec::with_capacity(words.len());
    let mut open: Option<(&'w [u8], Vec<u8>)> = None;
    for &word in words {
        if let Some((first, mut rule)) = open.take() {
            rule.push(b' ');
            rule.extend_from_slice(word);
            if word.ends_with(b")") {
                rules.push(rule.into());
            } else {
                open = Some((first, rule));
            }
        } else if word.starts_with(b"(") && !word.ends_with(b")") {
            open = Some((word, word.to_vec()));
        } else {
            rules.push(word.into());
        }
    }
    match open {
        Some((first, _)) => Err(first),
        None => Ok(rules),
    }
}

/// Whether a name or pattern would fall apart when it is written into a file.
pub(crate) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0x0b || *byte == 0)
}

/// Changes `user` by one rule; on an error it is as it was.
pub(crate) fn apply(grammar: Grammar<'_>, user: &mut User, rule: &[u8]) -> Result<(), RuleError> {
    let Some((&first, rest)) = rule.split_first() else { return Ok(()) };
    match (rule.to_ascii_lowercase().as_slice(), first) {
        (b"on", _) => user.enabled = true,
        (b"off", _) => user.enabled = false,
        (b"sanitize-payload", _) => user.sanitize = Sanitize::Yes,
        (b"skip-sanitize-payload", _) => user.sanitize = Sanitize::Skip,
        (b"nopass", _) => {
            user.nopass = true;
            user.passwords.clear();
        }
        (b"resetpass", _) => {
            user.nopass = false;
            user.passwords.clear();
        }
        (b"clearselectors", _) => user.selectors.clear(),
        (b"reset", _) => {
            let fresh = User::new(&user.name, grammar.catalog.len(), grammar.all_channels);
            *user = User { serial: user.serial, sanitize: Sanitize::Yes, ..fresh };
        }
        (_, b'>' | b'#') => {
            let hash = if first == b'>' { password::hash(rest) } else { hash_of(rest)? };
            if !user.passwords.contains(&hash) {
                user.passwords.push(hash);
            }
            user.nopass = false;
        }
        (_, b'<' | b'!') => {
            let hash = if first == b'<' { password::hash(rest) } else { hash_of(rest)? };
            let at = user.passwords.iter().position(|known| *known == hash).ok_or(RuleError::NoSuchPassword)?;
            user.passwords.remove(at);
        }
        (_, b'(') if rule.ends_with(b")") && rule.len() > 1 => {
            let inner = rule[1..rule.len() - 1].split(u8::is_ascii_whitespace).filter(|rule| !rule.is_empty());
            let mut selector = Selector {
                commands: CommandSet::filled(grammar.catalog.len(), false),
                all_channels: grammar.all_channels,
                ..Selector::default()
            };
            for rule in inner {
                apply_to_selector(grammar.catalog, &mut selector, rule)?;
            }
            user.selectors.push(selector);
        }
        _ => apply_to_selector(grammar.catalog, &mut user.root, rule)?,
    }
    Ok(())
}

fn hash_of(text: &[u8]) -> Result<password::Hash, RuleError> {
    password::parse_hex(text).ok_or(RuleError::BadHash)
}

fn apply_to_selector(catalog: &Catalog, selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
    let Some((&first, rest)) = rule.split_first() else { return Err(RuleError::Syntax) };
    match (rule.to_ascii_lowercase().as_slice(), first) {
        (b"allkeys" | b"~*", _) => {
            selector.all_keys = true;
            selector.keys.clear();
        }
        (b"resetkeys", _) => {
            selector.all_keys = false;
            selector.keys.clear();
        }
        (b"allchannels" | b"&*", _) => {
            selector.all_channels = true;
            selector.channels.clear();
        }
        (b"resetchannels", _) => {
            selector.all_channels = false;
            selector.channels.clear();
        }
        (b"allcommands" | b"+@all", _) => all_commands(catalog, selector, true),
        (b"nocommands" | b"-@all", _) => all_commands(catalog, selector, false),
        (_, b'~' | b'%') => add_keys(selector, rule)?,
        (_, b'&') => {
            if selector.all_channels {
                return Err(RuleError::AfterAllChannels);
            }
            if has_spaces(rest) {
                return Err(RuleError::Syntax);
            }
            if !selector.channels.iter().any(|known| known == rest) {
                selector.channels.push(rest.to_vec());
            }
        }
        (_, b'+' | b'-') => change_commands(catalog, selector, first == b'+', rest)?,
        _ => return Err(RuleError::Syntax),
    }
    Ok(())
}

fn all_commands(catalog: &Catalog, selector: &mut Selector, on: bool) {
    selector.all_commands = on;
    selector.commands = CommandSet::filled(catalog.len(), on);
    selector.first_arguments.clear();
    selector.command_rules.clear();
}

/// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`.
fn add_keys(selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
    if selector.all_keys {
        return Err(RuleError::AfterAllKeys);
    }
    let (access, pattern) = match rule.strip_prefix(b"%") {
        None => (Access::BOTH, &rule[1..]),
        Some(rest) => {
            // Without a tilde the pattern is the empty one, as in Redis.
            let tilde = rest.iter().position(|&byte| byte == b'~').unwrap_or(rest.len());
            let access = match rest[..tilde].to_ascii_uppercase().as_slice() {
                b"R" => Access::READ,
                b"W" => Access::WRITE,
                b"RW" | b"WR" => Access::BOTH,
                _ => return Err(RuleError::Syntax),
            };
            (access, rest.get(tilde + 1..).unwrap_or_default())
        }
    };
    if has_spaces(pattern) {
        return Err(RuleError::Syntax);
    }
    match selector.keys.iter_mut().find(|known| known.pattern == pattern) {
        Some(known) => known.access = known.access.and(access),
        None => selector.keys.push(KeyPattern { access, pattern: pattern.to_vec() }),
    }
    Ok(())
}

/// `+command`, `-command`, `+command|subcommand`, `+@category` and their like, without the sign.
fn change_commands(catalog: &Catalog, selector: &mut Selector, on: bool, name: &[u8]) -> Result<(), RuleError> {
    if let Some(category) = name.strip_prefix(b"@") {
        let ids: Vec<CommandId> = catalog.category(category).ok_or(RuleError::Unknown)?.collect();
        ids.into_iter().for_each(|id| change_command(catalog, selector, id, on));
        note(selector, on, name);
        return Ok(());
    }
    let bar = name.iter().rposition(|&byte| byte == b'|').filter(|_| on);
    match bar {
        None => {
            let id = catalog.find(name).ok_or(RuleError::Unknown)?;
            change_command(catalog, selector, id, on);
        }
        Some(bar) => {
            let container = catalog.find(&name[..bar]).ok_or(RuleError::Unknown)?;
            let known = catalog.get(container);
            if known.container.is_some() {
                return Err(RuleError::FirstArgumentOfSubcommand);
            }
            let word = &name[bar + 1..];
            if word.is_empty() {
                return Err(RuleError::Syntax);
            }
            if known.spec.subcommands.is_empty() {
                let argument = (container, word.to_ascii_lowercase());
                if !selector.first_arguments.contains(&argument) {
                    selector.first_arguments.push(argument);
                }
            } else {
                let id = catalog.find(name).ok_or(RuleError::Unknown)?;
                change_command(catalog, selector, id, on);
            }
        }
    }
    note(selector, on, name);
    Ok(())
}

/// Allows or forbids a command with all its subcommands.
fn change_command(catalog: &Catalog, selector: &mut Selector, id: CommandId, on: bool) {
    catalog.with_subcommands(id).for_each(|id| selector.commands.set(id, on));
    selector.first_arguments.retain(|(of, _)| *of != id);
}

/// Adds a rule to those that are shown, in place of earlier ones about the same command or its subcommands.
fn note(selector: &mut Selector, on: bool, name: &[u8]) {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    selector.command_rules.retain(|rule| {
        let of = &rule[1..];
        of != name && !of.strip_prefix(&name).is_some_and(|rest| rest.starts_with('|'))
    });
    selector.command_rules.push(format!("{}{name}", if on { '+' } else { '-' }));
}

/// The flags of a user, in the order Redis shows them.
pub(crate) fn flags(user: &User) -> Vec<&'static str> {
    let mut flags = vec![if user.enabled { "on" } else { "off" }];
    if user.nopass {
        flags.push("nopass");
    }
    match user.sanitize {
        Sanitize::Unsaid => {}
        Sanitize::Yes => flags.push("sanitize-payload"),
        Sanitize::Skip => flags.push("skip-sanitize-payload"),
    }
    flags
}

/// The rules about commands.
pub(crate) fn commands(selector: &Selector) -> String {
    let first = if selector.all_commands { "+@all" } else { "-@all" };
    std::iter::once(first).chain(selector.command_rules.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// The rules about keys, separated by spaces.
pub(crate) fn keys(selector: &Selector) -> Vec<u8> {
    if selector.all_keys {
        return b"~*".to_vec();
    }
    let one = |keys: &KeyPattern| {
        let prefix: &[u8] = match keys.access {
            Access::READ => b"%R~",
            Access::WRITE => b"%W~",
            _ => b"~",
        };
        [prefix, &keys.pattern].concat()
    };
    selector.keys.iter().map(one).collect::<Vec<_>>().join(&b' ')
}

/// The rules about channels, separated by spaces.
pub(crate) fn channels(selector: &Selector) -> Vec<u8> {
    if selector.all_channels {
        return b"&*".to_vec();
    }
    selector.channels.iter().map(|channel| [b"&", &channel[..]].concat()).collect::<Vec<_>>().join(&b' ')
}

fn describe_selector(selector: &Selector) -> Vec<u8> {
    let mut parts = vec![keys(selector)];
    if !selector.all_channels {
        parts.push(b"resetchannels".to_vec());
    }
    parts.push(channels(selector));
    parts.push(commands(selector).into_bytes());
    parts.retain(|part| !part.is_empty());
    parts.join(&b' ')
}

/// All rules that make this user out of a new one: what follows `user NAME` in a file.
pub(crate) fn describe(user: &User) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = flags(user).into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
    parts.extend(user.passwords.iter().map(|hash| format!("#{}", password::hex(hash)).into_bytes()));
    parts.push(describe_selector(&user.root));
    parts.extend(user.selectors.iter().map(|selector| [b"(", &describe_selector(selector)[..], b")"].concat()));
    parts.join(&b' ')
}

/// The line of a file: `user NAME rules`.
pub(crate) fn line(user: &User) -> Vec<u8> {
    [b"user ", &user.name[..], b" ", &describe(user)].concat()
}

#[cfg(test)]
mod tests {
    use super::super::check::{Denied, check};
    use super::*;

    fn catalog() -> &'static Catalog {
        static CATALOG: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(super::super::every_command);
        &CATALOG
    }

    const fn grammar(catalog: &Catalog) -> Grammar<'_> {
        Grammar { catalog, all_channels: false }
    }

    fn try_user(rules: &str) -> Result<User, String> {
        let mut user = User::new(b"u", catalog().len(), false);
        let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        let rules = join_selectors(&words).map_err(|open| String::from_utf8_lossy(open).into_owned())?;
        for rule in rules {
            apply(grammar(catalog()), &mut user, &rule)
                .map_err(|error| format!("{}: {error}", String::from_utf8_lossy(&rule)))?;
        }
        Ok(user)
    }

    #[track_caller]
    fn user(rules: &str) -> User {
        let user = try_user(rules).unwrap_or_else(|error| panic!("{error}"));
        let text = String::from_utf8(describe(&user)).expect("plain");
        let again = try_user(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert_eq!(again, user, "what is written is read back: {text}");
        user
    }

    fn runs(user: &User, command: &str) -> Result<(), Denied> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let whole = words.get(..2).map(|two| two.join(&b'|'));
        let id = whole.and_then(|name| catalog().find(&name)).or_else(|| catalog().find(words[0])).expect(command);
        check(catalog(), user, id, &words)
    }

    #[test]
    fn rules_are_shown_as_redis_shows_them() {
        for (rules, shown) in [
            ("on nopass ~* &* +@all", "on nopass ~* &* +@all"),
            ("", "off resetchannels -@all"),
            ("reset", "off sanitize-payload resetchannels -@all"),
            ("on +@all -config +config|get", "on resetchannels +@all -config +config|get"),
            ("+@all -config|get -config", "off resetchannels +@all -config"),
            ("+get +GET -get", "off resetchannels -@all -get"),
            ("+config|get -config +config|set", "off resetchannels -@all -config +config|set"),
            ("+select|0 +select|1", "off resetchannels -@all +select|0 +select|1"),
            ("+select|0 +select", "off resetchannels -@all +select"),
            ("+@read -@read +@READ", "off resetchannels -@all +@read"),
            ("%R~a %W~a %rw~b %W~c ~d", "off ~a ~b %W~c ~d resetchannels -@all"),
            ("%R", "off %R~ resetchannels -@all"),
            ("&a &b", "off resetchannels &a &b -@all"),
            ("allkeys allchannels allcommands", "off ~* &* +@all"),
            (
                "(~a +get) (%R~b +@all -set)",
                "off resetchannels -@all (~a resetchannels -@all +get) (%R~b resetchannels +@all -set)",
            ),
            ("( ~a +get )", "off resetchannels -@all (~a resetchannels -@all +get)"),
            ("(~a +get) clearselectors", "off resetchannels -@all"),
            (
                ">a >a nopass >b",
                "off #3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d resetchannels -@all",
            ),
            (">a <a skip-sanitize-payload", "off skip-sanitize-payload resetchannels -@all"),
        ] {
            assert_eq!(String::from_utf8(describe(&user(rules))).expect("plain"), shown, "{rules}");
        }
    }

    #[test]
    fn wrong_rules_are_told_and_change_nothing() {
        for (rules, error) in [
            ("+nope", "+nope: Unknown command or category name in ACL"),
            ("+@nope", "+@nope: Unknown command or category name in ACL"),
            ("-select|0", "-select|0: Unknown command or category name in ACL"),
            ("+config|nope", "+config|nope: Unknown command or category name in ACL"),
            ("+config|get|x", "+config|get|x: Allowing first-arg of a subcommand is not supported"),
            ("+get|", "+get|: Syntax error"),
            ("%X~a", "%X~a: Syntax error"),
            ("%RR~a", "%RR~a: Syntax error"),
            ("%~a", "%~a: Syntax error"),
            ("%", "%: Syntax error"),
            ("nope", "nope: Syntax error"),
            ("(nope)", "(nope): Syntax error"),
            ("(on)", "(on): Syntax error"),
            ("(+get", "(+get"),
            (
                "#ab",
                "#ab: The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
            ),
            ("<a", "<a: The password you are trying to remove from the user does not exist"),
        ] {
            assert_eq!(try_user(rules), Err(error.to_owned()), "{rules}");
        }
        assert!(try_user("~* ~a").expect_err("no").contains("Try 'resetkeys'"));
        assert!(try_user("&* &a").expect_err("no").contains("Try 'resetchannels'"));
        let mut one = user("+@all ~a");
        let before = one.clone();
        for rule in ["%X~a", "(~a +nope)", "!00"] {
            apply(grammar(catalog()), &mut one, rule.as_bytes()).expect_err(rule);
            assert_eq!(one, before);
        }
    }

    #[test]
    fn commands_and_subcommands() {
        let some = user("+@all -config +config|get -@dangerous +select|0 ~*");
        assert_eq!(runs(&some, "get a"), Ok(()));
        assert_eq!(runs(&some, "config get a"), Err(Denied::Command), "config|get is dangerous");
        assert_eq!(runs(&some, "select 5"), Ok(()), "a first argument takes nothing away");
        let few = user("+select|0 +config|get +hello ~*");
        assert_eq!(runs(&few, "select 0"), Ok(()));
        assert_eq!(runs(&few, "select 1"), Err(Denied::Command));
        assert_eq!(runs(&few, "config get x"), Ok(()));
        assert_eq!(runs(&few, "config set x y"), Err(Denied::Command));
        assert_eq!(runs(&few, "auth a b"), Ok(()), "whoever one is, one may log in as another");
        assert!(!few.is_unrestricted() && !some.is_unrestricted());
        assert!(user("+@all ~* &*").is_unrestricted());
        assert!(user("(+@all ~* &*)").is_unrestricted());
        assert!(!user("+@all ~* &* -get").is_unrestricted());
        assert!(!user("+@all ~*").is_unrestricted());
    }

    #[test]
    fn keys_are_checked_for_what_is_done_to_them() {
        let reader = user("+@all %R~r* %W~w* ~b*");
        for (command, denied) in [
            ("get r", None),
            ("get w", Some(1)),
            ("get b", None),
            ("set r v", Some(1)),
            ("set w v", None),
            ("set w v get", Some(1)),
            ("set b v get", None),
            ("exists r w b", None),
            ("exists r x", Some(2)),
            ("mget r w", Some(2)),
            ("mset w 1 r 2", Some(3)),
            ("copy r w", None),
            ("copy w r", Some(1)),
            ("rename b w", None),
            ("rename r w", Some(1)),
            ("del w b", None),
            ("del r", Some(1)),
            ("bitfield r get u8 0", None),
            ("bitfield r set u8 0 1", Some(1)),
            ("sdiffstore w r r", None),
            ("sdiffstore w r r w", Some(4)),
            ("zunionstore w 2 r r", None),
            ("zunionstore w 2 r w", Some(4)),
            ("zunionstore r 1 r", Some(1)),
            ("sort r store w", None),
            ("sort r store r", Some(3)),
            ("lmpop 2 r b left", Some(2)),
            ("xread streams r b 0 0", None),
            ("xread streams w 0", Some(2)),
            ("object encoding x", Some(2)),
            ("georadius r 0 0 1 m store w", None),
            ("georadius r 0 0 1 m store r", Some(7)),
        ] {
            assert_eq!(runs(&reader, command), denied.map_or(Ok(()), |at| Err(Denied::Key(at))), "{command}");
        }
        assert_eq!(runs(&reader, "ping"), Ok(()));
    }

    #[test]
    fn sort_by_and_get_need_every_key() {
        let some = user("+@all ~k*");
        assert_eq!(runs(&some, "sort k1 by nosort"), Ok(()));
        assert_eq!(runs(&some, "sort k1 by w*"), Err(Denied::Sort("BY")));
        assert_eq!(runs(&some, "sort k1 limit 0 1 get #"), Err(Denied::Sort("GET")));
        assert_eq!(runs(&some, "sort k1 store get"), Err(Denied::Key(3)), "a name is no option");
        assert_eq!(runs(&user("+@all %R~*"), "sort k1 by w* get v*"), Ok(()));
        assert_eq!(runs(&user("+@all ~k* (+get %R~*)"), "sort k1 get v*"), Err(Denied::Sort("GET")));
        assert_eq!(runs(&user("+@all ~k* (+sort %R~*)"), "sort k1 get v*"), Ok(()));
    }

    #[test]
    fn one_selector_must_allow_all_and_the_nearest_miss_is_told() {
        let two = user("+get ~a (+set ~b) (+mget ~a ~c)");
        assert_eq!(runs(&two, "get a"), Ok(()));
        assert_eq!(runs(&two, "set b 1"), Ok(()));
        assert_eq!(runs(&two, "set a 1"), Err(Denied::Key(1)), "selectors do not add up");
        assert_eq!(runs(&two, "mget a c"), Ok(()));
        assert_eq!(runs(&two, "mget a c b"), Err(Denied::Key(3)));
        assert_eq!(runs(&two, "del a"), Err(Denied::Command));
    }
}
