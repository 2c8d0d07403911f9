//! Keyspace notifications: the engine's events as messages of `__keyspace@DB__:KEY` and `__keyevent@DB__:EVENT`.

use super::hub::Hub;
use crate::config::Config;
use firn_engine::engine::{Engine, Event};
use firn_engine::log::Lsn;

/// `notify-keyspace-events`' letters that are no classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Forms {
    /// `K`: the channel names the key.
    keyspace: bool,
    /// `E`: the channel names the event.
    keyevent: bool,
}

/// The classes that `A` stands for.
const ALL: &str = "g$lshzxetd";

/// Makes `notify-keyspace-events` and `tracking-table-max-keys` hold.
pub(crate) fn configure(engine: &mut Engine, config: &Config) {
    let letters = config.chosen("notify-keyspace-events");
    let forms = Forms { keyspace: letters.contains('K'), keyevent: letters.contains('E') };
    let all = if letters.contains('A') { ALL } else { "" };
    let classes = letters.chars().chain(all.chars()).filter(|letter| !matches!(letter, 'K' | 'E' | 'A'));
    let classes = classes.fold(0u128, |set, letter| set | 1 << (u32::from(letter) - u32::from('$')));
    // Without a form no message could be made of an event.
    engine.settings.events = if forms == Forms::default() { 0 } else { classes };
    let random = engine.random();
    if let (Some(hub), _) = Hub::of(engine, 0) {
        hub.notify = forms;
        hub.bound_tracking(usize::try_from(config.size("tracking-table-max-keys")).unwrap_or(usize::MAX), random);
    }
}

impl Hub {
    /// Sends an event to all who listen for it.
    pub(super) fn notify(&mut self, event: &Event, promise: Option<Lsn>) {
        if self.is_silent() {
            return;
        }
        let Forms { keyspace, keyevent } = self.notify;
        let mut channel = Vec::with_capacity(32 + event.key.len().max(event.name.len()));
        let mut send = |kind: &[u8], name: &[u8], message: &[u8]| {
            channel.clear();
            channel.extend_from_slice(kind);
            channel.extend_from_slice(itoa::Buffer::new().format(event.db).as_bytes());
            channel.extend_from_slice(b"__:");
            channel.extend_from_slice(name);
            self.publish(&channel, message, false, promise);
        };
        if keyspace {
            send(b"__keyspace@", &event.key, event.name.as_bytes());
        }
        if keyevent {
            send(b"__keyevent@", event.name.as_bytes(), &event.key);
        }
    }
}
