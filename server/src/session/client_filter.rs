//! Which clients CLIENT LIST and CLIENT KILL mean: those that pass every filter that is given.

use super::client_list::flags;
use crate::client::ClientInfo;
use crate::server::Server;
use firn_engine::command::CommandError;
use firn_engine::number::parse_integer;
use std::sync::atomic::Ordering::Relaxed;

/// Every letter that a client's flags may show.
const FLAGS: &[u8] = b"ABCDEILMNOPRSTUVbcdeirtuxB";

/// The error for an id that no client can have.
pub(crate) const NOT_POSITIVE: &str = "ERR client-id should be greater than 0";

/// One property of a client.
#[derive(Debug)]
enum Property {
    Ids(Vec<u64>),
    Subscriber,
    /// A type that there are no clients of.
    Nobody,
    User(Vec<u8>),
    Addr(Vec<u8>),
    Laddr(Vec<u8>),
    Ip(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVer(Vec<u8>),
    Flags(Vec<u8>),
    Db(u32),
    Capabilities(Vec<u8>),
    /// Connected for at least so many seconds.
    Age(u64),
    /// Idle for at least so many seconds.
    Idle(u64),
}

impl Property {
    fn holds(&self, server: &Server, info: &ClientInfo) -> bool {
        let seconds_since = |ms: u64| server.clock_ms().saturating_sub(ms) / 1000;
        match self {
            Property::Ids(ids) => ids.contains(&info.id),
            Property::Subscriber => info.is_subscriber(),
            Property::Nobody => false,
            Property::User(name) => info.user.lock().name[..] == **name,
            Property::Addr(addr) => info.addr.as_bytes() == addr,
            Property::Laddr(addr) => info.laddr.as_bytes() == addr,
            Property::Ip(ip) => info.addr.rsplit_once(':').is_some_and(|(host, _)| host.as_bytes() == ip),
            Property::Name(name) => info.names.lock().name == *name,
            Property::LibName(name) => info.names.lock().lib_name == *name,
            Property::LibVer(version) => info.names.lock().lib_ver == *version,
            Property::Flags(wanted) => {
                let flags = flags(info);
                wanted.iter().all(|flag| flags.as_bytes().contains(flag))
            }
            Property::Db(db) => info.db.load(Relaxed) == *db,
            Property::Capabilities(wanted) => wanted.is_empty() || info.redirects.load(Relaxed),
            Property::Age(age) => seconds_since(info.created_ms) >= *age,
            Property::Idle(idle) => seconds_since(info.active_ms.load(Relaxed)) >= *idle,
        }
    }
}

/// Which clients are meant.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Properties, and whether they have to hold or have to not.
    properties: Vec<(Property, bool)>,
    /// SKIPME.
    pub(crate) skip_me: Option<bool>,
}

impl Filter {
    /// Those with this address: the old form of CLIENT KILL.
    pub(crate) fn of_address(addr: &[u8]) -> Filter {
        Filter { properties: vec![(Property::Addr(addr.to_vec()), true)], skip_me: Some(false) }
    }

    /// The filter that these options spell; `no_id` is the error for an id that is no number.
    ///
    /// # Errors
    /// Redis' texts.
    pub(crate) fn parse(server: &Server, mut options: &[&[u8]], no_id: &'static str) -> Result<Filter, CommandError> {
        let mut filter = Filter::default();
        while let [option, rest @ ..] = options {
            let [value, after @ ..] = rest else { return Err(CommandError::Syntax) };
            let option = option.to_ascii_lowercase();
            options = after;
            if option == b"skipme" {
                filter.skip_me = Some(match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(CommandError::Syntax),
                });
                continue;
            }
            let (name, wanted) = match option.strip_prefix(b"not-") {
                Some(b"maxage" | b"idle") => return Err(CommandError::Syntax),
                Some(name) => (name, false),
                None => (&option[..], true),
            };
            if name == b"id" {
                let ids;
                (ids, options) = parse_ids(rest, no_id)?;
                filter.properties.push((Property::Ids(ids), wanted));
            } else if name == b"type" {
                let (property, holds) = parse_type(value)?;
                filter.properties.push((property, holds == wanted));
            } else {
                filter.properties.push((parse_property(server, name, value)?, wanted));
            }
        }
        Ok(filter)
    }

    /// Whether this client, which is not about to be closed, is meant.
    pub(crate) fn wants(&self, server: &Server, info: &ClientInfo) -> bool {
        self.properties.iter().all(|(property, wanted)| property.holds(server, info) == *wanted)
    }
}

/// As many ids as there are; the options that follow.
fn parse_ids<'o, 'w>(
    mut options: &'o [&'w [u8]],
    no_id: &'static str,
) -> Result<(Vec<u64>, &'o [&'w [u8]]), CommandError> {
    let mut ids = Vec::new();
    while let [word, rest @ ..] = options
        && let Some(id) = parse_integer(word)
    {
        let id = u64::try_from(id).ok().filter(|&id| id > 0);
        ids.push(id.ok_or(CommandError::text(NOT_POSITIVE))?);
        options = rest;
    }
    if ids.is_empty() { Err(CommandError::text(no_id)) } else { Ok((ids, options)) }
}

/// A type of clients as a property and whether it holds for them.
fn parse_type(name: &[u8]) -> Result<(Property, bool), CommandError> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok((Property::Subscriber, false)),
        b"pubsub" => Ok((Property::Subscriber, true)),
        b"master" | b"primary" | b"slave" | b"replica" => Ok((Property::Nobody, true)),
        _ => {
            let name = String::from_utf8_lossy(name);
            Err(CommandError::text(format!("ERR Unknown client type '{name}'")))
        }
    }
}

fn parse_property(server: &Server, name: &[u8], value: &[u8]) -> Result<Property, CommandError> {
    let shown = String::from_utf8_lossy(value);
    let error = |text: String| CommandError::text(format!("ERR {text}"));
    let seconds = |name: &str| {
        let number = parse_integer(value).ok_or_else(|| error(format!("{name} is not an integer or out of range")))?;
        u64::try_from(number)
            .ok()
            .filter(|&seconds| seconds > 0)
            .ok_or_else(|| error(format!("{name} should be greater than 0")))
    };
    let value = value.to_vec();
    Ok(match name {
        b"user" => {
            server.acl.get(&value).ok_or_else(|| error(format!("No such user '{shown}'")))?;
            Property::User(value)
        }
        b"addr" => Property::Addr(value),
        b"laddr" => Property::Laddr(value),
        b"ip" => Property::Ip(value),
        b"name" => Property::Name(value),
        b"lib-name" => Property::LibName(value),
        b"lib-ver" => Property::LibVer(value),
        b"maxage" => Property::Age(seconds("maxage")?),
        b"idle" => Property::Idle(seconds("idle")?),
        b"flags" => {
            let unknown = |flag: &u8| !FLAGS.contains(flag);
            if value.iter().any(unknown) {
                return Err(error(format!("Unknown flags found in the provided filter: {shown}")));
            }
            Property::Flags(value)
        }
        b"capa" => {
            if value.iter().any(|capability| *capability != b'r') {
                return Err(error(format!("Unknown capa found in the provided filter: {shown}")));
            }
            Property::Capabilities(value)
        }
        b"db" => {
            let number = parse_integer(&value).ok_or_else(|| error("DB is not an integer or out of range".into()))?;
            let databases = server.settings.get().databases;
            match u32::try_from(number) {
                Ok(db) if number < databases => Property::Db(db),
                _ => return Err(error(format!("DB number should be between 0 and {}", databases - 1))),
            }
        }
        _ => return Err(CommandError::Syntax),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_where_another_option_begins() {
        let words: Vec<&[u8]> = vec![b"3", b"5", b"type", b"normal"];
        let (ids, rest) = parse_ids(&words, "x").expect("two ids");
        assert_eq!((ids, rest.len()), (vec![3, 5], 2));
        for bad in [&b"0"[..], b"-1", b"x"] {
            parse_ids(&[bad], "x").expect_err("no id");
        }
        parse_ids(&[], "x").expect_err("no id");
    }
}
