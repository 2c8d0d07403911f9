//! Users in files: `aclfile`, and the `user` lines of the configuration.
//!
//! A file is read whole or not at all: with one wrong line, nothing of it holds.

use super::model::{Sanitize, User};
use super::rules::{self, Grammar, RuleError, apply, has_spaces, join_selectors};
use crate::config::{Config, FatalError, system_text};
use std::path::Path;

/// Users of a file's text; `name` is how messages call the file.
///
/// # Errors
/// All that is wrong with it, in one line, in Redis' words.
pub(crate) fn parse(name: &str, text: &[u8], grammar: Grammar<'_>) -> Result<Vec<User>, String> {
    let (mut users, mut errors): (Vec<User>, String) = (Vec::new(), String::new());
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let (at, line) = (at + 1, line.trim_ascii());
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').map(<[u8]>::trim_ascii).collect();
        let [b"user", user, words @ ..] = &words[..] else {
            errors.push_str(&format!("{name}:{at} should start with user keyword followed by the username. "));
            continue;
        };
        let shown = String::from_utf8_lossy(user);
        if has_spaces(user) {
            errors.push_str(&format!("'{name}:{at}: username '{shown}' contains invalid characters. "));
            continue;
        }
        if users.iter().any(|known| &known.name[..] == *user) {
            errors.push_str(&format!("WARNING: Duplicate user '{shown}' found on line {at}. "));
            continue;
        }
        let mut user = User::new(user, grammar.catalog.len(), grammar.all_channels);
        let Ok(rules) = join_selectors(words) else {
            errors.push_str(&format!("{name}:{at}: Unmatched parenthesis in selector definition."));
            continue;
        };
        // Only the first: what follows may be wrong because of it. Unknown commands hold no secret, and all of them are told.
        let mut told = false;
        for rule in rules {
            match apply(grammar, &mut user, &rule) {
                Ok(()) => {}
                Err(error @ RuleError::Unknown) => {
                    let rule = String::from_utf8_lossy(&rule);
                    errors.push_str(&format!("{name}:{at}: Error in applying operation '{rule}': {error}. "));
                }
                Err(error) if !told => {
                    errors.push_str(&format!("{name}:{at}: {error}. "));
                    told = true;
                }
                Err(_) => {}
            }
        }
        users.push(user);
    }
    match errors.is_empty() {
        true => Ok(users),
        false => {
            Err(errors + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
        }
    }
}

/// Reads a file of users.
///
/// # Errors
/// As [`parse`], or why it cannot be read.
pub(crate) fn load(path: &Path, grammar: Grammar<'_>) -> Result<Vec<User>, String> {
    let name = path.display().to_string();
    let text = std::fs::read(path)
        .map_err(|error| format!("Error loading ACLs, opening file '{name}': {}", system_text(&error)))?;
    parse(&name, &text, grammar)
}

/// The text of a file of these users.
pub(crate) fn text<'u>(users: impl Iterator<Item = &'u User>) -> Vec<u8> {
    users.flat_map(|user| [&rules::line(user)[..], b"\n"].concat()).collect()
}

/// The default user with the password that `requirepass` asks for, if any.
pub(crate) fn default_user(commands: usize, password: &[u8]) -> User {
    let mut user = User::open(commands);
    if !password.is_empty() {
        user.nopass = false;
        user.passwords = vec![super::password::hash(password)];
    }
    user
}

/// Whether a user is the default one just as `requirepass` has it.
pub(crate) fn is_implied(user: &User, password: &[u8]) -> bool {
    // Rules say all there is to say, whatever the number of commands.
    &user.name[..] == b"default" && rules::describe(user) == rules::describe(&default_user(0, password))
}

/// The users of the `user` lines of a configuration; without a line about it, the default user is as `requirepass` says.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn configured(config: &Config, grammar: Grammar<'_>) -> Result<Vec<User>, FatalError> {
    let mut users = vec![default_user(grammar.catalog.len(), config.bytes("requirepass"))];
    for (at, line) in config.users().iter().enumerate() {
        let wrong = |reason: String| FatalError { place: Some(line.place.clone()), reason };
        let declared = |what: &[u8], why: &dyn std::fmt::Display| {
            wrong(format!("Error in user declaration '{}': {why}", String::from_utf8_lossy(what)))
        };
        let name = &line.words[0];
        if has_spaces(name) {
            return Err(wrong("Spaces not allowed in ACL usernames".into()));
        }
        let mut user = User::new(name, grammar.catalog.len(), grammar.all_channels);
        if name == b"default" {
            user.sanitize = Sanitize::Yes; // As by `reset`.
        }
        if config.users()[..at].iter().any(|earlier| earlier.words[0] == *name) {
            let why = "Duplicate user found. A user can only be defined once in config files";
            return Err(declared(name, &why));
        }
        let words: Vec<&[u8]> = line.words[1..].iter().map(Vec::as_slice).collect();
        let joined = join_selectors(&words).map_err(|open| {
            wrong(format!("Unmatched parenthesis in acl selector starting at '{}'.", String::from_utf8_lossy(open)))
        })?;
        for rule in joined {
            apply(grammar, &mut user, &rule).map_err(|error| declared(&rule, &error))?;
        }
        if !user.enabled {
            crate::log::notice(format_args!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a \
                 configuration error.",
                user.shown_name()
            ));
        }
        match name == b"default" {
            true => users[0] = user,
            false => users.push(user),
        }
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::super::every_command;
    use super::*;

    fn read(text: &str) -> Result<Vec<User>, String> {
        let catalog = every_command();
        parse("f", text.as_bytes(), Grammar { catalog: &catalog, all_channels: false })
    }

    #[test]
    fn a_file_that_was_written_is_read_back() {
        let users = read(
            "user default on nopass ~* &* +@all\n\n  user a on >secret ~a* +@read (%R~b +get)  \r\nuser b reset -@all",
        )
        .expect("good");
        assert_eq!(users.iter().map(User::shown_name).collect::<Vec<_>>(), ["default", "a", "b"]);
        let text = String::from_utf8(text(users.iter())).expect("plain");
        assert!(!text.contains("secret"));
        assert_eq!(read(&text).expect("good"), users);
    }

    #[test]
    fn everything_wrong_is_told_in_one_line() {
        const END: &str = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
        for (text, errors) in [
            ("# c", "f:1 should start with user keyword followed by the username. "),
            ("user", "f:1 should start with user keyword followed by the username. "),
            ("user a on\nuser a on", "WARNING: Duplicate user 'a' found on line 2. "),
            ("user a (+get", "f:1: Unmatched parenthesis in selector definition."),
            (
                "user a +nope ~* ~a %Z~ +none",
                "f:1: Error in applying operation '+nope': Unknown command or category name in ACL. f:1: Adding a pattern after \
                 the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with \
                 an empty list of patterns. f:1: Error in applying operation '+none': Unknown command or category name in ACL. ",
            ),
        ] {
            assert_eq!(read(text), Err(format!("{errors}{END}")), "{text}");
        }
    }
}
