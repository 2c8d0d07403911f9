//! Argument trees of COMMAND DOCS, parsed from a declaration's syntax line.
//!
//! ```text
//! key value [NX | XX] [GET] [EX seconds | KEEPTTL]     <LEFT | RIGHT>     [key value ...]
//! ```
//! `[ ]` is optional, `< >` is required, `|` divides alternatives, `...` repeats what stands before it within its brackets. A word in
//! capitals is a token: it belongs to the value behind it, or stands alone. `x [x ...]` is one argument that may come many times.

/// One argument.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Argument {
    /// Its name, in lower case.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: ArgumentKind,
    /// The word before it, or that it is.
    pub(crate) token: Option<String>,
    /// It may be left out.
    pub(crate) optional: bool,
    /// It may come many times.
    pub(crate) multiple: bool,
    /// Its token comes with it each time.
    pub(crate) multiple_token: bool,
    /// Parts of a block, alternatives of a choice.
    pub(crate) parts: Vec<Argument>,
}

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ArgumentKind {
    /// Any text.
    #[default]
    Text,
    /// An integer.
    Integer,
    /// A float.
    Double,
    /// A key.
    Key,
    /// A glob.
    Pattern,
    /// A Unix time.
    UnixTime,
    /// Only its token.
    PureToken,
    /// One of its parts.
    OneOf,
    /// All of its parts.
    Block,
}

impl ArgumentKind {
    /// As COMMAND DOCS names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ArgumentKind::Text => "string",
            ArgumentKind::Integer => "integer",
            ArgumentKind::Double => "double",
            ArgumentKind::Key => "key",
            ArgumentKind::Pattern => "pattern",
            ArgumentKind::UnixTime => "unix-time",
            ArgumentKind::PureToken => "pure-token",
            ArgumentKind::OneOf => "oneof",
            ArgumentKind::Block => "block",
        }
    }
}

/// Why a syntax line cannot be parsed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why} in {syntax:?}")]
pub(crate) struct BadSyntax {
    why: &'static str,
    syntax: String,
}

/// A part of the line, before tokens are joined with their values.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    Word(String),
    /// Alternatives, each a sequence; whether they may be left out.
    Group(Vec<Vec<Item>>, bool),
    Repeat,
}

/// The arguments that a syntax line shows.
///
/// # Errors
/// Brackets that do not match, `...` that repeats nothing, an empty alternative.
pub(crate) fn parse(syntax: &str) -> Result<Vec<Argument>, BadSyntax> {
    let fail = |why| BadSyntax { why, syntax: syntax.to_owned() };
    let spaced =
        ["[", "]", "<", ">", "|"].iter().fold(syntax.to_owned(), |text, mark| text.replace(mark, &format!(" {mark} ")));
    let mut words = spaced.split_whitespace();
    let mut alternatives = group(&mut words, None).map_err(fail)?;
    if alternatives.len() != 1 {
        // `COMMAND a | b` without brackets: a choice of the whole line.
        return choice(&alternatives).map(|choice| vec![choice]).map_err(fail);
    }
    sequence(&alternatives.remove(0)).map_err(fail)
}

fn group<'a>(words: &mut impl Iterator<Item = &'a str>, close: Option<&str>) -> Result<Vec<Vec<Item>>, &'static str> {
    let mut alternatives = vec![Vec::new()];
    loop {
        let items = alternatives.last_mut().expect("never empty");
        match words.next() {
            None if close.is_none() => return Ok(alternatives),
            None => return Err("a bracket that is not closed"),
            Some("[") => items.push(Item::Group(group(words, Some("]"))?, true)),
            Some("<") => items.push(Item::Group(group(words, Some(">"))?, false)),
            Some("|") => alternatives.push(Vec::new()),
            Some(word @ ("]" | ">")) if Some(word) == close => return Ok(alternatives),
            Some("]" | ">") => return Err("a bracket that was not opened"),
            Some("...") => items.push(Item::Repeat),
            Some(word) => items.push(Item::Word(word.to_owned())),
        }
    }
}

fn is_token(word: &str) -> bool {
    !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_value(item: &Item) -> bool {
    matches!(item, Item::Word(word) if !is_token(word))
}

/// One alternative of a group, or the whole line.
fn sequence(items: &[Item]) -> Result<Vec<Argument>, &'static str> {
    let mut arguments: Vec<Argument> = Vec::new();
    let mut at = 0;
    while at < items.len() {
        // `a b [a b ...]`: what the group repeats stands just before it.
        if let Item::Group(alternatives, true) = &items[at]
            && let [inner] = &alternatives[..]
            && let Some((Item::Repeat, repeated)) = inner.split_last()
            && !repeated.is_empty()
            && items[..at].ends_with(repeated)
        {
            let body = sequence(repeated)?;
            let keep = arguments.len().checked_sub(body.len()).ok_or("a repetition of half an argument")?;
            arguments.truncate(keep);
            let mut one = block(body);
            one.multiple = true;
            one.multiple_token = one.token.is_some();
            arguments.push(one);
            at += 1;
            continue;
        }
        match &items[at] {
            Item::Repeat => {
                let last = arguments.last_mut().ok_or("... that repeats nothing")?;
                last.multiple = true;
            }
            Item::Word(word) if is_token(word) => {
                let value = match items.get(at + 1) {
                    Some(Item::Word(next)) if !is_token(next) => Some(named(next)),
                    Some(Item::Group(alternatives, false)) => Some(choice(alternatives)?),
                    _ => None,
                };
                at += usize::from(value.is_some());
                arguments.push(match value {
                    Some(mut value) => {
                        value.token = Some(unquoted(word));
                        value
                    }
                    None => Argument {
                        name: unquoted(word).to_ascii_lowercase(),
                        kind: ArgumentKind::PureToken,
                        token: Some(unquoted(word)),
                        ..Argument::default()
                    },
                });
            }
            Item::Word(word) => arguments.push(named(word)),
            Item::Group(alternatives, optional) => {
                let mut argument = choice(alternatives)?;
                argument.optional |= *optional;
                arguments.push(argument);
            }
        }
        at += 1;
    }
    Ok(arguments)
}

/// What a group holds: one argument, a block, or a choice.
fn choice(alternatives: &[Vec<Item>]) -> Result<Argument, &'static str> {
    if alternatives.iter().any(Vec::is_empty) {
        return Err("an empty alternative");
    }
    let mut parts = Vec::with_capacity(alternatives.len());
    for alternative in alternatives {
        // `[KEY ... ]` within a group repeats the whole alternative.
        let (body, repeats) = match alternative.split_last() {
            Some((Item::Repeat, body)) if !body.is_empty() => (body, true),
            _ => (&alternative[..], false),
        };
        let mut part = match body {
            // `LIMIT offset count`: the token is that of the block.
            [Item::Word(token), values @ ..] if is_token(token) && values.len() > 1 && values.iter().all(is_value) => {
                Argument {
                    name: unquoted(token).to_ascii_lowercase(),
                    token: Some(unquoted(token)),
                    ..block(sequence(values)?)
                }
            }
            _ => block(sequence(body)?),
        };
        part.multiple |= repeats;
        part.multiple_token |= repeats && part.token.is_some() && part.kind != ArgumentKind::PureToken;
        parts.push(part);
    }
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let name = name_of_choice(&parts);
    Ok(Argument { name, kind: ArgumentKind::OneOf, parts, ..Argument::default() })
}

/// One argument as it is, several as a block.
fn block(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    let name = match arguments.first() {
        Some(first) if first.kind == ArgumentKind::PureToken => first.name.clone(),
        _ => "data".to_owned(),
    };
    Argument { name, kind: ArgumentKind::Block, parts: arguments, ..Argument::default() }
}

fn name_of_choice(parts: &[Argument]) -> String {
    let has = |token: &str| parts.iter().any(|part| part.token.as_deref() == Some(token));
    if has("EX") || has("PX") || has("EXAT") {
        "expiration".into()
    } else if ["NX", "XX", "GT", "LT"].iter().any(|token| has(token)) {
        "condition".into()
    } else if has("ASYNC") {
        "flush-type".into()
    } else {
        parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("-or-")
    }
}

fn unquoted(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

/// A value: what it is follows from its name.
fn named(word: &str) -> Argument {
    let kind = match word {
        "key" | "newkey" | "source" | "destination" | "key1" | "key2" => ArgumentKind::Key,
        "destkey" | "sourcekey" => ArgumentKind::Key,
        "pattern" => ArgumentKind::Pattern,
        _ if word.starts_with("unix-time") => ArgumentKind::UnixTime,
        "float-increment" | "increment-float" | "longitude" | "latitude" | "score" => ArgumentKind::Double,
        "seconds" | "milliseconds" | "count" | "cursor" | "index" | "offset" | "start" | "end" | "stop"
        | "increment" | "decrement" | "db" | "index1" | "index2" | "destination-db" | "numkeys" | "numlocal"
        | "numreplicas" | "timeout" | "port" | "bit" | "min-match-len" | "len" | "protover" | "client-id"
        | "samples" => ArgumentKind::Integer,
        _ => ArgumentKind::Text,
    };
    Argument { name: word.to_ascii_lowercase(), kind, ..Argument::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as one line: `name:kind` with `token=`, `?` optional, `*` multiple, `+` multiple token, parts in parentheses.
    fn show(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let mut text = format!("{}:{}", argument.name, argument.kind.name());
            if let Some(token) = &argument.token {
                text.push_str(&format!("={token}"));
            }
            for (mark, on) in [('?', argument.optional), ('*', argument.multiple), ('+', argument.multiple_token)] {
                if on {
                    text.push(mark);
                }
            }
            if !argument.parts.is_empty() {
                text.push_str(&format!("({})", show(&argument.parts)));
            }
            text
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(syntax: &str, tree: &str) {
        assert_eq!(show(&parse(syntax).expect(syntax)), tree, "{syntax}");
    }

    #[test]
    fn values_tokens_and_choices() {
        check("", "");
        check("key", "key:key");
        check("key value", "key:key value:string");
        check("key [NX | XX] [GET]", "key:key condition:oneof?(nx:pure-token=NX xx:pure-token=XX) get:pure-token=GET?");
        check(
            "[EX seconds | EXAT unix-time-seconds | KEEPTTL]",
            "expiration:oneof?(seconds:integer=EX unix-time-seconds:unix-time=EXAT keepttl:pure-token=KEEPTTL)",
        );
        check("cursor [MATCH pattern] [COUNT count]", "cursor:integer pattern:pattern=MATCH? count:integer=COUNT?");
        check("<LEFT | RIGHT>", "left-or-right:oneof(left:pure-token=LEFT right:pure-token=RIGHT)");
        check("FROM <a | b>", "a-or-b:oneof=FROM(a:string b:string)");
        check("[ASYNC | SYNC]", "flush-type:oneof?(async:pure-token=ASYNC sync:pure-token=SYNC)");
    }

    #[test]
    fn repetitions() {
        check("key [key ...]", "key:key*");
        check("key value [key value ...]", "data:block*(key:key value:string)");
        check("[section [section ...]]", "section:string?*");
        check("[section ...]", "section:string?*");
        check("[GET pattern [GET pattern ...]]", "pattern:pattern=GET?*+");
        check("[LIMIT offset count]", "limit:block=LIMIT?(offset:integer count:integer)");
        check("[LIMIT offset count GET]", "data:block?(offset:integer=LIMIT count:integer get:pure-token=GET)");
        check("numkeys key [key ...] arg", "numkeys:integer key:key* arg:string");
    }

    #[test]
    fn what_cannot_be_parsed_says_why() {
        for (syntax, why) in [
            ("[key", "a bracket that is not closed"),
            ("key]", "a bracket that was not opened"),
            ("<a]", "a bracket that was not opened"),
            ("...", "... that repeats nothing"),
            ("[a | ]", "an empty alternative"),
            ("[]", "an empty alternative"),
        ] {
            assert_eq!(parse(syntax).expect_err(syntax).why, why, "{syntax}");
        }
    }
}
