//! What `firn-server --help` prints, and `docs/CONFIGURATION.md`: both from the table.

#[cfg(test)]
use super::table::RETIRED;
use super::table::{DIRECTIVES, Directive, Meaning, SPECIAL, Traits};
use super::value::Value;
use firn_engine::words;
use std::fmt::Write as _;

/// `firn-server --help`.
pub(crate) fn help() -> String {
    let mut text = format!(
        "firn-server {}: a durable key-value server that speaks the Redis protocol\n
Usage: firn-server [FILE] [--DIRECTIVE VALUE ...]
       firn-server - [--DIRECTIVE VALUE ...]   (configuration from standard input)
       firn-server --check-config FILE [--DIRECTIVE VALUE ...]   (says whether a start would take it)
       firn-server --check-system
       firn-server -v | --version
       firn-server -h | --help
\nExamples:
  firn-server                                  on 127.0.0.1:6379, data in ./firn-data, flushed every second
  firn-server /etc/firn.conf                   redis.conf syntax; a redis.conf will do
  firn-server /etc/firn.conf --port 7777       what stands here wins over the file
  firn-server --appendfsync always             no reply before its write is on the device
  firn-server --save 900 1 --dir /var/lib/firn
\nDirectives that act (also CONFIG GET and, where not marked `start`, CONFIG SET):\n",
        env!("CARGO_PKG_VERSION")
    );
    for directive in DIRECTIVES {
        if let Meaning::Acts(what) = directive.meaning {
            let start = if directive.traits.has(Traits::FIXED) { "start; " } else { "" };
            let _ = writeln!(
                text,
                "  {}\n      {what}\n      {start}{}; default {}",
                directive.name,
                directive.kind.describe(),
                default(directive)
            );
        }
    }
    for (name, what) in SPECIAL {
        let _ = writeln!(text, "  {name}\n      {what}");
    }
    text.push_str("\nEvery other directive of Redis and Valkey is known too; docs/CONFIGURATION.md says of each why it changes nothing.\n");
    text
}

/// `docs/CONFIGURATION.md`.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n<!-- Generated from server/src/config/table.rs: `FIRN_UPDATE_DOCS=1 cargo test -p firn-server configuration_page` -->\n\n\
         `firn-server [FILE] [--directive value ...]`: the syntax is redis.conf's; what comes later wins, the command line last.\n\
         A directive that neither Redis 7.2, Valkey 9.1 nor Firn knows, or a value it cannot have, stops the start with file, line and\n\
         reason. *start*: only before the start; all others can be changed by `CONFIG SET` and kept by `CONFIG REWRITE`.\n\
         *protected*: `CONFIG SET` only where `enable-protected-configs` allows.\n\
         *memory*: a number with an optional unit: k, m, g (powers of 1000), kb, mb, gb (of 1024).\n",
    );
    section(&mut text, "What acts", "what it does", |meaning| match meaning {
        Meaning::Acts(what) => Some(what.to_owned()),
        _ => None,
    });
    text.push_str("\nLines that are no values:\n\n| line | what it does |\n| --- | --- |\n");
    for (name, what) in SPECIAL {
        let _ = writeln!(text, "| `{name}` | {} |", cell(what));
    }
    section(&mut text, "What is not there yet", "why other values are refused", |meaning| match meaning {
        Meaning::Refused(why, []) => Some(why.to_owned()),
        Meaning::Refused(why, off) => Some(format!("{why} (`{}` is accepted)", off.join("`, `"))),
        _ => None,
    });
    text.push_str(
        "\nOnly the default is accepted for these: a server that ignored them would promise what it does not keep.\n",
    );
    section(&mut text, "What is accepted and changes nothing", "why", |meaning| match meaning {
        Meaning::Nothing(why) => Some(why.to_owned()),
        _ => None,
    });
    let _ = writeln!(
        text,
        "\nThe log names those that are set to something else than their default, once, at the start.\n\
        Read and forgotten, as Redis does: `{}`.",
        RETIRED.join("`, `")
    );
    text
}

#[cfg(test)]
fn section(text: &mut String, title: &str, column: &str, pick: impl Fn(Meaning) -> Option<String>) {
    let _ = writeln!(text, "\n## {title}\n\n| directive | values | default | {column} |\n| --- | --- | --- | --- |");
    for directive in DIRECTIVES {
        let Some(what) = pick(directive.meaning) else { continue };
        let names: Vec<_> = [directive.name].iter().chain(directive.aliases).map(|name| format!("`{name}`")).collect();
        let mut traits = String::new();
        if directive.traits.has(Traits::FIXED) {
            traits.push_str(" *start*");
        }
        if directive.traits.has(Traits::GUARDED) {
            traits.push_str(" *protected*");
        }
        let _ = writeln!(
            text,
            "| {}{traits} | {} | `{}` | {} |",
            names.join(", "),
            cell(&directive.kind.describe()),
            default(directive),
            cell(&what)
        );
    }
}

fn default(directive: &Directive) -> String {
    let words = words::split(directive.default.as_bytes()).unwrap_or_default();
    let text = match super::value::parse(directive.kind, &words, None) {
        Ok(Value::Memory(_)) => directive.default.as_bytes().to_vec(),
        Ok(value) => value.text(),
        Err(_) => Vec::new(),
    };
    if text.is_empty() { "\"\"".into() } else { String::from_utf8_lossy(&text).into_owned() }
}

#[cfg(test)]
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_page_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
        if std::env::var_os("FIRN_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, markdown()).expect("written");
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            page == markdown(),
            "docs/CONFIGURATION.md differs from the table: run FIRN_UPDATE_DOCS=1 cargo test -p firn-server configuration_page"
        );
    }

    #[test]
    fn help_names_every_directive_that_acts() {
        let help = help();
        for directive in DIRECTIVES {
            if let Meaning::Acts(_) = directive.meaning {
                assert!(help.contains(&format!("  {}\n", directive.name)), "{}", directive.name);
            }
        }
    }

    #[test]
    fn all_of_redis_and_valkey_is_known() {
        // Names as `CONFIG GET *` of Redis 7.0.15 and Valkey 9.1.2 gives them.
        let names = include_str!("known-directives.txt");
        let unknown: Vec<_> =
            names.split_whitespace().filter(|name| super::super::table::find(name.as_bytes()).is_none()).collect();
        assert_eq!(unknown, [""; 0]);
    }
}
