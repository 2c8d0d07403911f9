//! Access control lists: who may log in, and which commands, keys and channels a user may use.
//!
//! 1. A connection of a user who may do everything pays one comparison for each command ([`Gate`]); any other is checked by [`check`].
//! 2. Users never change; [`Acl`] replaces them. Connections notice by a version, at the latest before their next batch.
//! 3. Rules name commands by their own names, so `rename-command` never opens or closes anything.
//! 4. The registry's locks are innermost: nobody takes another lock while holding them.

pub(crate) mod catalog;
mod check;
mod command;
pub(crate) mod file;
mod log;
mod model;
mod password;
pub(crate) mod rules;

pub(crate) use check::Denied;
pub(crate) use command::ACL;
pub(crate) use log::Context;
pub(crate) use model::User;
pub(crate) use rules::Grammar;

use crate::blocking;
use crate::client::{Client, ClientInfo};
use crate::command::ServerCall;
use crate::config::Config;
use crate::dispatch::{self, Plan};
use crate::net::runtime::Message;
use crate::server::Server;
use crate::session::client_list::describe;
use firn_engine::command::Flags;
use log::{Event, Log};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What stands between a connection and its commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gate {
    /// Nothing: its user may do everything.
    Open,
    /// Each command is checked.
    Checked,
    /// It has to log in first.
    Closed,
}

/// All users, and what they were denied.
#[derive(Debug)]
pub(crate) struct Acl {
    users: Mutex<Users>,
    /// Raised whenever a user changes.
    version: AtomicU64,
    log: Mutex<Log>,
    /// `acl-pubsub-default`.
    all_channels: AtomicBool,
}

#[derive(Debug)]
struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    next_serial: u64,
}

impl Users {
    fn default_user(&self) -> &Arc<User> {
        &self.by_name[&b"default"[..]]
    }

    /// Puts a user in its place; a new one gets its number.
    fn put(&mut self, mut user: User) {
        user.serial = match self.by_name.get(&user.name) {
            Some(old) => old.serial,
            None => {
                self.next_serial += 1;
                self.next_serial
            }
        };
        self.by_name.insert(user.name.clone(), user.into());
    }
}

impl Acl {
    /// These users, `default` among them, and the settings of `config`.
    pub(crate) fn new(users: Vec<User>, config: &Config) -> Acl {
        let mut registry = Users { by_name: BTreeMap::new(), next_serial: 0 };
        users.into_iter().for_each(|user| registry.put(user));
        debug_assert!(registry.by_name.contains_key(&b"default"[..]), "there is always a default user");
        let acl = Acl { users: registry.into(), version: 1.into(), log: Mutex::default(), all_channels: false.into() };
        acl.tune(config);
        acl
    }

    /// Follows `acllog-max-len` and `acl-pubsub-default`.
    pub(crate) fn tune(&self, config: &Config) {
        self.log.lock().set_len_max(usize::try_from(config.size("acllog-max-len")).unwrap_or(usize::MAX));
        self.all_channels.store(opens_channels(config), Ordering::Relaxed);
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The user called `name`.
    pub(crate) fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.lock().by_name.get(name).cloned()
    }

    /// All users, by name.
    pub(crate) fn all(&self) -> Vec<Arc<User>> {
        self.users.lock().by_name.values().cloned().collect()
    }

    /// Whether anybody can come in without a password.
    pub(crate) fn is_open(&self) -> bool {
        is_open(self.users.lock().default_user())
    }

    /// The user that a connection has before it logs in.
    pub(crate) fn default_user(&self) -> Arc<User> {
        self.users.lock().default_user().clone()
    }

    /// `requirepass`: the default user's only password; empty is none.
    pub(crate) fn set_default_password(&self, password: &[u8]) {
        let mut users = self.users.lock();
        let mut user = User::clone(users.default_user());
        user.nopass = password.is_empty();
        user.passwords = if password.is_empty() { Vec::new() } else { vec![password::hash(password)] };
        users.put(user);
        self.changed();
    }

    /// Makes or changes a user by rules, all of them or none.
    ///
    /// # Errors
    /// The rule that cannot be followed.
    fn set_user(&self, grammar: Grammar<'_>, name: &[u8], words: &[&[u8]]) -> Result<(), String> {
        let rules = rules::join_selectors(words).map_err(|open| {
            format!("Unmatched parenthesis in acl selector starting at '{}'.", String::from_utf8_lossy(open))
        })?;
        let mut users = self.users.lock();
        let mut user = match users.by_name.get(name) {
            Some(user) => User::clone(user),
            None => User::new(name, grammar.catalog.len(), grammar.all_channels),
        };
        for rule in rules {
            rules::apply(grammar, &mut user, &rule).map_err(|error| {
                format!("Error in ACL SETUSER modifier '{}': {error}", String::from_utf8_lossy(&rule))
            })?;
        }
        users.put(user);
        self.changed();
        Ok(())
    }

    /// Deletes users; those that were there.
    fn delete(&self, names: &[&[u8]]) -> Vec<Arc<User>> {
        let mut users = self.users.lock();
        let gone = names.iter().filter_map(|name| users.by_name.remove(*name)).collect();
        self.changed();
        gone
    }

    /// Has exactly these users from now on, and the default one; those that are no more.
    fn replace(&self, new: Vec<User>, commands: usize) -> Vec<Arc<User>> {
        let mut users = self.users.lock();
        if !new.iter().any(|user| &user.name[..] == b"default") {
            users.put(User::open(commands));
        }
        let stays = |name: &[u8]| name == b"default" || new.iter().any(|user| &user.name[..] == name);
        let names: Vec<_> = users.by_name.keys().filter(|name| !stays(name)).cloned().collect();
        let gone = names.iter().filter_map(|name| users.by_name.remove(name)).collect();
        new.into_iter().for_each(|user| users.put(user));
        self.changed();
        gone
    }

    /// The user whose name and password these are.
    fn login(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let user = self.get(name).filter(|user| user.enabled)?;
        (user.nopass || password::is_any(&user.passwords, &password::hash(password))).then_some(user)
    }

    /// Brings what a connection knows about its user up to date.
    #[inline]
    pub(crate) fn renew(&self, client: &mut Client) {
        if self.version.load(Ordering::Acquire) != client.acl_version {
            self.renew_now(client);
        }
    }

    #[cold]
    fn renew_now(&self, client: &mut Client) {
        let users = self.users.lock();
        client.acl_version = self.version.load(Ordering::Acquire);
        match users.by_name.get(&client.user.name) {
            Some(user) if user.serial == client.user.serial => {
                let allowed = |(name, is_pattern): (&[u8], bool)| check::check_channel(user, name, is_pattern);
                if !Arc::ptr_eq(user, &client.user) && !client.subscriptions.all().all(allowed) {
                    // It would go on hearing what it may not hear any more.
                    client.info.closing.store(true, Ordering::Relaxed);
                }
                client.set_user(user.clone());
            }
            // It is gone, and the connection is about to be closed.
            _ => {
                client.authenticated = false;
                client.set_user(users.default_user().clone());
                client.gate = Gate::Closed;
                return;
            }
        }
        client.gate = if !client.authenticated && !is_open(users.default_user()) {
            Gate::Closed
        } else if client.user.is_unrestricted() {
            Gate::Open
        } else {
            Gate::Checked
        };
    }

    /// Gives a connection the default user, logged in if that needs no password: as it was when it came.
    pub(crate) fn begin(&self, client: &mut Client) {
        let user = self.default_user();
        client.authenticated = is_open(&user);
        client.set_user(user);
        self.renew_now(client);
    }
}

fn is_open(default_user: &User) -> bool {
    default_user.nopass && default_user.enabled
}

/// `acl-pubsub-default`.
pub(crate) fn opens_channels(config: &Config) -> bool {
    config.choice("acl-pubsub-default") == "allchannels"
}

/// What rules are understood by in this server.
fn grammar(server: &Server) -> Grammar<'_> {
    Grammar { catalog: server.commands.catalog(), all_channels: server.acl.all_channels.load(Ordering::Relaxed) }
}

/// Logs a client in. `word` is the command that asks for it.
pub(crate) fn authenticate(server: &Server, client: &mut Client, name: &[u8], password: &[u8], word: &[u8]) -> bool {
    let Some(user) = server.acl.login(name, password) else {
        let event = Event {
            reason: "auth",
            context: context(client),
            object: word.to_vec(),
            user: name.to_vec(),
            client: shown(server, &client.info),
        };
        server.stats.auth_denied.fetch_add(1, Ordering::Relaxed);
        server.acl.log.lock().add(event, log::now_ms());
        return false;
    };
    client.authenticated = true;
    client.set_user(user);
    server.acl.renew_now(client);
    true
}

fn context(client: &Client) -> Context {
    if client.transaction.is_some() { Context::Multi } else { Context::TopLevel }
}

fn shown(server: &Server, info: &ClientInfo) -> String {
    let mut text = String::new();
    describe(server, info, &mut text);
    text
}

/// Whether `user` may run what was planned of `words`. Only for plans whose verdict is to run.
pub(crate) fn check(server: &Server, user: &User, plan: &Plan, words: &[&[u8]]) -> Result<(), Denied> {
    check::check(server.commands.catalog(), user, server.commands.acl_id(plan), words)
}

/// Notes in ACL LOG, and in the counters, that a client's command was denied.
pub(crate) fn note_denied(
    server: &Server,
    client: &Client,
    plan: &Plan,
    words: &[&[u8]],
    denied: Denied,
    context: Context,
) {
    let (counter, object) = match denied {
        Denied::Command => (&server.stats.command_denied, command_name(server, plan).as_bytes()),
        Denied::Key(at) => (&server.stats.key_denied, words[at]),
        Denied::Channel(at) => (&server.stats.channel_denied, words[at]),
        Denied::Sort(_) => return, // An error of the command, as in Redis.
    };
    counter.fetch_add(1, Ordering::Relaxed);
    if context != Context::Lua {
        client.info.ran(0, plan.command_number(), client.session.db);
    }
    let event = Event {
        reason: denied.kind(),
        context,
        object: object.to_vec(),
        user: client.user.name.to_vec(),
        client: shown(server, &client.info),
    };
    server.acl.log.lock().add(event, log::now_ms());
}

/// The full name of what was planned, as messages tell it.
pub(crate) fn command_name<'s>(server: &'s Server, plan: &Plan) -> &'s str {
    &server.commands.catalog().get(server.commands.acl_id(plan)).name
}

/// Whether a client whose gate is not open may run a command.
///
/// # Errors
/// The error reply.
#[cold]
pub(crate) fn admit(server: &Server, client: &Client, plan: &Plan, words: &[&[u8]]) -> Result<(), String> {
    if client.gate == Gate::Closed {
        return match plan.flags.has(Flags::NO_AUTH) {
            true => Ok(()),
            false => Err("NOAUTH Authentication required.".into()),
        };
    }
    check(server, &client.user, plan, words).map_err(|denied| {
        note_denied(server, client, plan, words, denied, context(client));
        denied.reply(&client.user, command_name(server, plan))
    })
}

/// Whether a client may still run a command that it has queued.
///
/// # Errors
/// The error reply.
pub(crate) fn admit_queued(server: &Server, client: &Client, plan: &Plan, words: &[&[u8]]) -> Result<(), String> {
    if client.gate == Gate::Open || plan.flags.has(Flags::NO_AUTH) {
        return Ok(());
    }
    let allowed = match client.gate {
        Gate::Closed => Err(Denied::Command),
        _ => check(server, &client.user, plan, words),
    };
    allowed.map_err(|denied| {
        note_denied(server, client, plan, words, denied, Context::Multi);
        match denied {
            Denied::Sort(_) => denied.reply(&client.user, command_name(server, plan)),
            _ => format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is \
                 no longer allowed for the following reason: {}",
                denied.reason(&client.user, command_name(server, plan))
            ),
        }
    })
}

/// Has clients that sit and wait notice at once that users have changed: those of `user`, or all. Who listens to channels looks at them
/// itself; a blocked command that is not allowed any more ends with an error.
fn review(call: &mut ServerCall<'_, '_>, user: Option<&[u8]>) {
    let server = call.server;
    for info in server.clients.all() {
        let known = info.user.lock().clone();
        if user.is_some_and(|name| known.name[..] != *name) {
            continue;
        }
        if info.is_subscriber() {
            info.runtime.send(Message::Wake(info.id));
        }
        if info.blocked.lock().is_none() {
            continue;
        }
        // Of a user that is no more, the connection is closed.
        let Some(user) = server.acl.get(&known.name) else { continue };
        blocking::review(call.engine(), &info, |words| {
            let plan = dispatch::plan(&server.commands, words, &server.seed);
            let denied = check(server, &user, &plan, words).err()?;
            Some(denied.reply(&user, command_name(server, &plan)))
        });
    }
}

/// Closes the connections of users that are no more; whether that of client `me` is among them.
fn disconnect(server: &Server, gone: &[Arc<User>], me: u64) -> bool {
    let mut is_mine = false;
    for info in server.clients.all() {
        let serial = info.user.lock().serial;
        if !gone.iter().any(|user| user.serial == serial) || info.closing.swap(true, Ordering::Relaxed) {
            continue;
        }
        if info.id == me {
            is_mine = true;
        } else {
            info.runtime.send(Message::Kill(info.id));
        }
    }
    is_mine
}

/// The catalog of a server without renamed commands.
#[cfg(test)]
fn every_command() -> catalog::Catalog {
    let data = firn_engine::command::table::commands().iter().map(|command| &command.spec);
    let server = crate::start::server_commands().map(|command| &command.spec);
    catalog::Catalog::new(data.chain(server))
}
